"""Sessions of the console: a signed cookie."""

from fastapi import Request


def csrf_token(request: Request) -> str:
    """What every changing request of this session has to carry, as X-CSRF-Token or form field csrf_token."""
    return ""
