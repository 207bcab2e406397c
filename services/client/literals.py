"""Texts and names in GoogleSQL."""

import re


def string_literal(text: str) -> str:
    """A text as a literal of GoogleSQL, on one line: characters that cannot be printed are escaped."""
    return f"'{_escaped(text, "'")}'"


def identifier(name: str) -> str:
    """A name as a quoted identifier of GoogleSQL."""
    return f"`{_escaped(name, '`')}`"


def _escaped(text: str, quote: str) -> str:
    def escape(letter: re.Match[str]) -> str:
        if letter[0] in ("\\", quote):
            return f"\\{letter[0]}"
        return letter[0] if letter[0].isprintable() else f"\\U{ord(letter[0]):08x}"

    return re.sub(r"[^A-Za-z0-9 ]", escape, text)
