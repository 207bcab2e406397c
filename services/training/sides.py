"""Which side of the split each picture is on: near-duplicates (services/model/duplicates.py) share one."""

from array import array

from services.model.duplicates import Pictures, Signature
from services.training.examples import Side

_SIDES: tuple[Side, ...] = ("train", "validate", "test")


class Sides:
    """Which side each picture is on. Keeps some 80 bytes a photo."""

    def __init__(self) -> None:
        self._pictures = Pictures()
        self._sides = array("B")  # of each photo that is kept, by its number

    def place(self, photo: Signature, side: Side) -> Side | None:
        """Puts a photo on a side, but if its picture is on another side already, there.

        Returns:
            The side it was put on; None if its near-duplicates are on two sides, so that it can be on none.

        """
        near = self._pictures.near(photo)
        sides = {_SIDES[self._sides[number]] for number in near}
        if len(sides) > 1:
            return None
        placed = sides.pop() if sides else side
        if not self._pictures.has_equal(photo, near):
            self._pictures.add(photo)
            self._sides.append(_SIDES.index(placed))
        return placed
