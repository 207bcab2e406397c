"""The parts of a catalogue: each product is judged by heads that were trained on the other parts.

Products with photos of the same picture are in one part: a near-duplicate with the same wrong label would
vouch for it. The part follows from ids alone, so that a repetition, and an audit with another model, cut
alike.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from services.model.duplicates import Pictures, Signature
from services.shared.layout import digest


def pictures(photos: Iterable[tuple[int, Signature]], count: int) -> NDArray[np.int64]:
    """Which products have photos of the same picture, directly or by way of others.

    Args:
        photos: the place of a product, from 0 to `count` - 1, and what tells one of its photos.
        count: of the products, N.

    Returns:
        [N]: of each product the first of those that share a picture with it; itself if none is before it.

    """
    first = np.arange(count)

    def root(number: int) -> int:
        while first[number] != number:
            first[number] = first[first[number]]
            number = int(first[number])
        return number

    known = Pictures()
    kept: list[int] = []  # the product of each number in `known`
    for number, signature in photos:
        near = known.near(signature)
        for other in {root(kept[each]) for each in near}:
            one, two = root(number), root(other)
            first[max(one, two)] = min(one, two)
        if not known.has_equal(signature, near):
            known.add(signature)
            kept.append(number)
    return np.array([root(number) for number in range(count)], np.int64)


def folds(ids: Sequence[str], pictures: NDArray[np.int64], count: int) -> NDArray[np.int8]:
    """The fold of each product, from 0 to `count` - 1.

    Args:
        ids: of the products; each one once.
        pictures: [N], as `pictures` returns them.
        count: of the folds.

    """
    # A picture is known by the least of its products' ids, in whatever order the products come.
    least: dict[int, str] = {}
    for picture, product_id in zip(pictures.tolist(), ids, strict=True):
        least[picture] = min(least.get(picture, product_id), product_id)
    of_picture = {picture: int(digest("fold", name)[:8], 16) % count for picture, name in least.items()}
    return np.array([of_picture[picture] for picture in pictures.tolist()], np.int8)
