"""The public data sets as they are downloaded; README.md says where they come from.

VITRINE_DATA names the folder with them. A small part of the photos is read.
"""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import f1_score

from services.audit.embedder import LiteRTEmbedder
from services.audit.regression import fit, whitened
from services.client.importer import read
from services.model.calibration import fit_temperature
from services.model.decoding import Decoder
from services.model.learnt import photo_digest
from services.model.manifest import DEFAULT_DIRECTORY, SeveralValues
from services.model.several import decisions, fit_label_threshold, sigmoid
from services.shared.catalogue_config import CatalogueConfig
from services.shared.clothing_dataset import label_map, read_photos
from services.shared.events import Filters, Product
from services.shared.images import MAX_BYTES, decode
from services.shared.labels import NOT_APPLICABLE
from services.shared.layout import digest
from services.shared.memory import MemoryCatalogue
from services.training import catalogue
from services.training.catalogue import CatalogueSource
from services.training.clothing import ClothingSource
from services.training.examples import UNKNOWN
from services.training.fashion_products import FolderPhotos, folder_source
from services.training.measures import measure_several
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


# What the labels of clothing-dataset say of sleeves, and where garments are worn. A shirt, a dress, a body, a
# top or a blouse may have sleeves of any length: of theirs nothing is stated.
SLEEVES = {
    "T-Shirt": "Short",
    "Polo": "Short",
    "Longsleeve": "Long",
    "Hoodie": "Long",
    "Outwear": "Long",
    "Blazer": "Long",
    "Undershirt": "Sleeveless",
}
WORN_ON = {
    **dict.fromkeys([*SLEEVES, "Shirt", "Top", "Blouse"], ("upper body",)),
    **dict.fromkeys(["Dress", "Body"], ("upper body", "lower body")),
    **dict.fromkeys(["Pants", "Shorts", "Skirt"], ("lower body",)),
    "Shoes": ("feet",),
    "Hat": ("head",),
}
DERIVED = CatalogueConfig.model_validate(
    {
        "id": "image",
        "attributes": {
            "garment": {},
            "sleeve_length": {
                "applies_to": {"garment": [name for name, on in WORN_ON.items() if "upper body" in on]}
            },
            "worn_on": {"type": "values"},
        },
    }
)
TAUGHT = 3  # of the photos that the network knows, one of so many teaches the heads


def test_not_applicable_and_several_values_are_told_on_photos_that_were_not_learnt(folder: Path) -> None:
    """Heads on the embeddings of the bundled network, fitted to photos that it knows, tested on others."""
    embedder = LiteRTEmbedder(DEFAULT_DIRECTORY)
    assert embedder.learnt is not None
    sent, photos = read_photos(folder / CLOTHING, label_map("clothing-dataset"))
    products = [
        Product.of(
            photo.image,
            garment=photo.label,
            sleeve_length=SLEEVES.get(photo.label),
            worn_on=WORN_ON[photo.label],
        )
        for number, photo in enumerate(photos)
        if photo.label in WORN_ON
        if number % TAUGHT == 0 or photo_digest(sent.read(photo.photo, MAX_BYTES)) not in embedder.learnt
    ]
    source = CatalogueSource(
        MemoryCatalogue(products, config=DERIVED),
        FolderPhotos(sent),
        "folder",
        Filters(),
        selection_id="derived",
        minimum_photos=10,
        validate_share=0.0,
        test=catalogue.TestSide(share=0.5),
        read_from={},
    )
    assert NOT_APPLICABLE in source.heads["sleeve_length"]
    assert source.several == {"worn_on": ["feet", "head", "lower body", "upper body"]}
    examples = [example for _, example in source.examples(embedder.image_size)]
    embeddings = embedder.embed(np.stack([example.pixels for example in examples]))
    inputs = whitened(embeddings.astype(np.float16))
    learnt = np.array([example.photo in embedder.learnt for example in examples])
    drawn = np.array([int(digest("held", example.key)[:8], 16) % 2 == 0 for example in examples])
    held, tested = ~learnt & drawn, ~learnt & ~drawn

    targets = {head: np.array([example.labels[head] for example in examples]) for head in source.heads}
    logits = {}
    for head, labels in source.heads.items():
        rows = learnt & (targets[head] >= 0)
        logits[head] = fit(inputs[rows], targets[head][rows].astype(np.int32), len(labels)).logits(inputs)
    sets = np.array([example.several["worn_on"] for example in examples])
    pairs = [
        fit(inputs[learnt], sets[learnt, place].astype(np.int32), 2).logits(inputs) for place in range(4)
    ]
    logits["worn_on"] = np.stack([each[:, 1] - each[:, 0] for each in pairs], axis=1)

    def of(rows: NDArray[np.bool_]) -> dict[str, NDArray[np.float32]]:
        return {head: values[rows] for head, values in logits.items()}

    temperatures = {
        head: fit_temperature(logits[head][held & (own >= 0)], own[held & (own >= 0)])
        for head, own in targets.items()
    }
    temperature = fit_temperature(*decisions(logits["worn_on"][held], sets[held]))
    probable = sigmoid(logits["worn_on"][held], temperature)
    several = SeveralValues(
        labels=tuple(source.several["worn_on"]),
        temperature=temperature,
        thresholds=tuple(fit_label_threshold(probable[:, place], sets[held, place]) for place in range(4)),
    )
    decoder = Decoder(source.heads, temperatures, None, source.applies_to, {}, {"worn_on": several})
    answers = decoder(of(tested))

    known = targets["sleeve_length"][tested] >= 0
    special = source.heads["sleeve_length"].index(NOT_APPLICABLE)
    there = targets["sleeve_length"][tested][known] == special
    said = answers["sleeve_length"][known].argmax(axis=1) == special
    each_f1 = [f1_score(there, said), f1_score(~there, ~said)]
    figures = measure_several(
        several.labels,
        decoder.sets(of(tested), answers)["worn_on"],
        sets[tested],
        np.full(tested.sum(), "p"),
        0,
    )["p"]
    print(
        f"{known.sum()} of {tested.sum()} photos: F1 of not applicable {each_f1[0]:.3f}, of the others "
        f"{each_f1[1]:.3f}; worn_on: macro F1 {figures.macro_f1:.3f}, micro F1 {figures.micro_f1:.3f}, "
        f"right {figures.accuracy.value:.3f}, ECE {figures.calibration_error:.3f}; "
        + ", ".join(f"{each.label} {each.f1:.3f} of {each.photos}" for each in figures.classes)
    )
    assert known.sum() > 100
    assert each_f1[0] >= 0.9
    assert np.mean(each_f1) >= 0.9
    assert figures.macro_f1 >= 0.85
    assert figures.calibration_error < 0.05
