"""What every kind of credential has in common."""


class Refused(Exception):  # noqa: N818 - as with Reject: an answer, not an error
    """A credential that proves nothing. The reason is for the log, and not for who sent it."""
