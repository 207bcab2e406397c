"""Labels as people type them into a catalogue, compared with the labels that a model has."""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence

# The label of a product that an attribute does not apply to, such as the sleeve length of shoes.
NOT_APPLICABLE = "Not applicable"

# Between the values of an attribute that has several, where they are written as one text.
SEPARATOR = "|"
JOINT = f" {SEPARATOR} "

# Characters that no font draws and that are not of Unicode's category Cf: the grapheme joiner, the Hangul
# fillers, two Khmer vowels, and the variation selectors.
_UNDRAWN = frozenset(
    chr(code)
    for codes in (
        (0x34F, 0x115F, 0x1160, 0x17B4, 0x17B5),
        range(0x180B, 0x1810),
        range(0xFE00, 0xFE10),
        range(0xE0100, 0xE01F0),
    )
    for code in codes
)


def join(values: Iterable[str]) -> str:
    """Several values as one text, which is the same whatever their order; of one value, this value."""
    return JOINT.join(sorted({*values}))


def split(text: str) -> tuple[str, ...]:
    """The values of a text that `join` made, or that somebody wrote; each once, in order."""
    return tuple(sorted({value.strip() for value in text.split(SEPARATOR)} - {""}))


def normalised(label: str) -> str:
    """A label without what the eye does not tell apart: case, runs of blanks, and invisible characters.

    Two labels are the same if they are equal after Unicode's NFKC and case folding, without characters that
    nobody sees (soft hyphens, zero-width characters, byte order marks), and with one blank for each run of
    blanks, no-break spaces among them. Spelling counts: `Tshirt` is not `Tshirts`. Idempotent.
    """
    while (simpler := _simplified(label)) != label:
        label = simpler
    return label


def _simplified(label: str) -> str:
    seen = "".join(letter for letter in label if _is_seen(letter))
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", seen).casefold())
    return " ".join(folded.split())


def _is_seen(letter: str) -> bool:
    # Of control characters, those that are blanks separate words.
    if letter.isspace():
        return True
    return letter not in _UNDRAWN and unicodedata.category(letter) not in ("Cc", "Cf")


class Vocabulary:
    """The labels of a model, found by what a catalogue calls them; made once for a model.

    Args:
        labels: head -> its labels, in the manifest's order.

    """

    def __init__(self, labels: Mapping[str, Sequence[str]]) -> None:
        self._exact = {head: _places(known) for head, known in labels.items()}
        self._normalised = {head: _places(map(normalised, known)) for head, known in labels.items()}

    def find(self, head: str, label: str) -> int | None:
        """The place of a label among those of a head; None where the model has no such label.

        Among labels that differ in nothing that is seen, one that is equal comes first, then the order of
        the manifest.
        """
        place = self._exact.get(head, {}).get(label)
        return self._normalised.get(head, {}).get(normalised(label)) if place is None else place


def _places(labels: Iterable[str]) -> dict[str, int]:
    places: dict[str, int] = {}
    for place, label in enumerate(labels):
        places.setdefault(label, place)
    return places
