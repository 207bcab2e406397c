"""Products with 1 to 8 photos, drawn from real photos: one answer each, and the photo that does not fit."""

import os
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from services.inference.predictors import load_predictor
from services.model.combining import combine, misfits
from services.model.learnt import LEARNT_FILE, Learnt, photo_digest
from services.model.manifest import DEFAULT_DIRECTORY
from services.model.preprocessing import to_array
from services.shared.catalogue_files import read_catalogue
from services.shared.errors import ObjectNotFoundError
from services.shared.images import decode
from services.shared.layout import digest

VITRINE_DATA = os.environ.get("VITRINE_DATA", "")
HEAD = "article_type"
PHOTOS = 700
MOST = 8  # photos of a product
PRODUCTS = 100

pytestmark = pytest.mark.skipif(
    not VITRINE_DATA, reason="VITRINE_DATA does not name the folder of the public data sets"
)


@dataclass(frozen=True)
class Pool:
    """Photos that the model has not learnt."""

    probabilities: NDArray[np.float32]  # [PHOTOS, labels]
    shown: Sequence[int]  # the label of each
    by_label: Mapping[int, Sequence[int]]  # label -> its photos, where there are enough for a product

    def product(self, drawn: random.Random, photos: int) -> tuple[int, list[int]]:
        """A label and so many photos of it; the more frequent a label, the more products have it."""
        while True:
            label = self.shown[drawn.randrange(len(self.shown))]
            if label in self.by_label:
                return label, drawn.sample(self.by_label[label], photos)


@pytest.fixture(scope="module")
def pool() -> Pool:
    catalogue = read_catalogue(Path(VITRINE_DATA) / "fashion-product-images-small.zip")
    learnt = Learnt.load(DEFAULT_DIRECTORY / LEARNT_FILE)
    predictor = load_predictor()
    places = {label: place for place, label in enumerate(predictor.labels[HEAD])}
    pixels, shown = [], []
    for product in sorted(catalogue.products, key=lambda product: digest(product.product_id)):
        place = places.get(product.value(HEAD) or "")
        try:
            data = catalogue.photo(product)
        except ObjectNotFoundError:
            continue
        if place is not None and photo_digest(data) not in learnt:
            pixels.append(to_array(decode(data), predictor.image_size))
            shown.append(place)
        if len(shown) == PHOTOS:
            break
    answers = [
        predictor.predict(np.stack(pixels[start : start + 50])).probabilities[HEAD]
        for start in range(0, PHOTOS, 50)
    ]
    by_label: defaultdict[int, list[int]] = defaultdict(list)
    for photo, label in enumerate(shown):
        by_label[label].append(photo)
    enough = {label: photos for label, photos in by_label.items() if len(photos) >= MOST}
    return Pool(np.concatenate(answers).astype(np.float32), shown, enough)


def test_products_are_answered_better_than_their_photos(pool: Pool) -> None:
    drawn = random.Random(0)
    right, photos_right, photos = 0, 0, 0
    for number in range(400):
        label, group = pool.product(drawn, 1 + number % MOST)
        probabilities = pool.probabilities[group]
        right += int(combine(probabilities).argmax()) == label
        photos_right += int((probabilities.argmax(axis=1) == label).sum())
        photos += len(group)
    assert right / 400 > photos_right / photos + 0.02


def test_a_photo_of_something_else_is_named_and_hardly_any_other(pool: Pool) -> None:
    drawn = random.Random(1)
    named, false_alarms = 0, 0
    for number in range(PRODUCTS):
        label, group = pool.product(drawn, 1 + number % (MOST - 1))
        others = [photo for photo in range(PHOTOS) if pool.shown[photo] != label]
        planted = drawn.choice(others)
        place = drawn.randrange(len(group) + 1)
        with_foreign = [*group[:place], planted, *group[place:]]
        named += bool(misfits(pool.probabilities[with_foreign], label)[place])
        _, clean = pool.product(drawn, 2 + number % (MOST - 1))
        false_alarms += bool(misfits(pool.probabilities[clean], pool.shown[clean[0]]).any())
    assert named >= 0.9 * PRODUCTS
    assert false_alarms <= 0.05 * PRODUCTS
