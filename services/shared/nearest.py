"""The name that somebody probably meant."""

from collections.abc import Iterable
from difflib import get_close_matches

LISTED = 30  # names, where none is near


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like another one, without regard to case; None where none is near."""
    folded = {each.casefold(): each for each in known}
    close = get_close_matches(name.casefold(), [*folded], 1)
    return folded[close[0]] if close else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean ...?` where a known name is near, else `; expected one of ...`."""
    names = [*known]
    if close := nearest(name, names):
        return f"; did you mean {close!r}?"
    more = ", ..." if len(names) > LISTED else ""
    return f"; expected one of {', '.join(names[:LISTED])}{more}" if names else ""
