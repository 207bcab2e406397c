"""The public data sets as they are downloaded; README.md says where they come from.

VITRINE_DATA names the folder with them. A small part of the photos is read.
"""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from services.client.importer import read
from services.shared.clothing_dataset import label_map
from services.shared.events import Filters
from services.shared.images import MAX_BYTES, decode
from services.training import catalogue
from services.training.clothing import ClothingSource
from services.training.examples import UNKNOWN
from services.training.fashion_products import folder_source
from services.training.mixture import Mixture, Part

FASHION, CLOTHING = "fashion-product-images-small.zip", "clothing-dataset.zip"
SPLIT = "clothing-dataset-small-split.csv"
SOME = 50  # photos


@pytest.fixture(scope="module")
def folder() -> Path:
    named = os.environ.get("VITRINE_DATA")
    if not named:
        pytest.skip("VITRINE_DATA is unset: it names a folder with the public data sets as downloaded")
    return Path(named)


def some[T](everything: Iterator[T]) -> list[T]:
    return list(islice(everything, SOME))


def test_fashion_product_images_is_read_whole(folder: Path) -> None:
    shop = read(folder / FASHION)

    assert len(shop.products) > 40_000
    assert shop.bad_rows == ()
    assert len(shop.folder.names("images")) > 0.999 * len(shop.products)
    assert len({product.value("article_type") for product in shop.products}) > 100
    # Names with commas are whole, and no column is shifted by them.
    assert sum("," in (product.display_name or "") for product in shop.products) > 10
    assert {product.value("gender") for product in shop.products} == {
        "Boys",
        "Girls",
        "Men",
        "Unisex",
        "Women",
    }
    for product in shop.products[:: len(shop.products) // SOME]:
        assert min(decode(shop.photo(product, MAX_BYTES)).size) >= 60


def test_clothing_dataset_is_read_whole(folder: Path) -> None:
    worn = read(folder / CLOTHING)

    assert len(worn.products) > 4_000
    assert len({product.product_id for product in worn.products}) == len(worn.products)
    assert len(worn.folder.names("images")) == len(worn.products)
    assert {product.value("master_category") for product in worn.products} == {
        "Accessories",
        "Apparel",
        "Footwear",
        None,
    }
    for product in worn.products[:: len(worn.products) // SOME]:
        assert min(decode(worn.photo(product, MAX_BYTES)).size) >= 200


def test_what_people_wear_has_the_labels_of_the_shop(folder: Path) -> None:
    shop = folder_source(
        folder / FASHION,
        Filters(),
        minimum_photos=10,
        validate_share=0.04,
        test=catalogue.TestSide(share=0.1),
    )
    worn = ClothingSource(
        folder / CLOTHING,
        label_map("clothing-dataset"),
        official_split=folder / SPLIT,
        validate_share=0.05,
        new_sender_share=0.08,
    )
    mixture = Mixture([Part("shop", shop), Part("worn", worn)])

    assert mixture.heads.keys() == shop.heads.keys() | {"garment"}
    assert len(mixture.heads["article_type"]) > 100
    assert worn.description["official test photos"] == "291"
    for source in (shop, worn):
        for side, example in some(source.examples(64)):
            assert side == "train"
            assert example.pixels.shape == (64, 64, 3)
            assert any(index != UNKNOWN for index in example.labels.values())
            assert example.photo
