"""The shipped demo catalogue is what its side files say."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from services.inference.predictors import load_predictor
from services.model.manifest import DEFAULT_DIRECTORY, load_manifest
from services.model.preprocessing import to_array
from services.shared.errors import ImageError
from services.shared.images import decode
from services.training import demo_catalogue, fashion_mnist
from services.training.demo_catalogue import COLUMNS, DEMO, KINDS
from services.training.packshots import BASE_COLOURS

FASHION_MNIST_INSTALLED = fashion_mnist.DEBIAN_FOLDER.is_dir()


def _table(name: str) -> list[dict[str, str]]:
    with (DEMO / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def products() -> dict[int, dict[str, str]]:
    """The last column takes the rest of the line, commas and all, as in the real file."""
    header, *lines = (DEMO / "styles.csv").read_text(encoding="utf-8").splitlines()
    assert tuple(header.split(",")) == COLUMNS
    rows = [dict(zip(COLUMNS, line.split(",", len(COLUMNS) - 1), strict=True)) for line in lines]
    return {int(row["id"]): row for row in rows}


@pytest.fixture(scope="module")
def origins() -> dict[int, str]:
    return {int(row["product_id"]): row["origin"] for row in _table("origins.csv")}


@pytest.fixture(scope="module")
def broken() -> dict[int, str]:
    return {int(row["product_id"]): row["kind"] for row in _table("broken.csv")}


def _photo(product_id: int) -> Path:
    return DEMO / "images" / f"{product_id}.jpg"


def test_the_folder_is_small_and_holds_a_photo_of_each_product_but_one(
    products: dict[int, dict[str, str]],
) -> None:
    photos = {int(path.stem) for path in (DEMO / "images").iterdir()}

    assert set(products) - photos == {
        product_id for product_id in products if not _photo(product_id).exists()
    }
    assert len(set(products) - photos) == 1
    assert photos < set(products)
    assert sum(path.stat().st_size for path in DEMO.rglob("*") if path.is_file()) < 1_500_000


def test_every_product_is_either_real_or_drawn_or_broken(
    products: dict[int, dict[str, str]], origins: dict[int, str], broken: dict[int, str]
) -> None:
    assert set(origins) | set(broken) == set(products)
    assert not set(origins) & set(broken)
    counts = {origin: list(origins.values()).count(origin) for origin in set(origins.values())}
    assert counts == {"fashion-mnist-test": 240, "drawn": 120}


def test_the_attributes_are_of_the_catalogues_vocabulary(products: dict[int, dict[str, str]]) -> None:
    for product in products.values():
        assert product["masterCategory"] in {"Apparel", "Footwear", "Accessories"}
        assert product["articleType"] in KINDS
        assert product["baseColour"] in {*BASE_COLOURS, ""}
        assert 2008 <= int(product["year"]) <= 2018
        assert product["gender"] in {"Men", "Women", ""}
    assert sum("," in product["productDisplayName"] for product in products.values()) >= 5


def test_what_no_photo_tells_is_not_declared(products: dict[int, dict[str, str]]) -> None:
    for product in products.values():
        assert product["season"] == product["usage"] == ""
    assert sum(product["gender"] == "Women" for product in products.values()) > 50


def test_drawn_products_say_so_and_real_ones_claim_no_colour(
    products: dict[int, dict[str, str]], origins: dict[int, str]
) -> None:
    for product_id, origin in origins.items():
        product = products[product_id]
        assert ("(drawn)" in product["productDisplayName"]) == (origin == "drawn")
        assert (product["baseColour"] == "") == (origin == "fashion-mnist-test")


def test_the_wrong_labels_are_declared_as_listed(
    products: dict[int, dict[str, str]], origins: dict[int, str]
) -> None:
    wrong = _table("wrong_labels.csv")

    assert 0.06 < len(wrong) / len(products) < 0.10
    assert {row["column"] for row in wrong} == {"articleType", "baseColour"}
    for row in wrong:
        assert int(row["product_id"]) in origins
        assert products[int(row["product_id"])][row["column"]] == row["declared"] != row["actual"]


@pytest.mark.skipif(not FASHION_MNIST_INSTALLED, reason="Debian's dataset-fashion-mnist is not installed")
def test_real_photos_are_the_test_photos_that_they_are_said_to_be(
    products: dict[int, dict[str, str]],
) -> None:
    photos, classes = fashion_mnist.load("test")
    actual = {int(row["product_id"]): row["actual"] for row in _table("wrong_labels.csv")}
    per_type = dict.fromkeys(fashion_mnist.ARTICLE_TYPES, 0)

    for row in _table("origins.csv"):
        if row["origin"] == "fashion-mnist-test":
            product_id, index = int(row["product_id"]), int(row["index"])
            shown = fashion_mnist.ARTICLE_TYPES[classes[index]]
            per_type[shown] += 1
            assert actual.get(product_id, products[product_id]["articleType"]) == shown
            with Image.open(_photo(product_id)) as image:
                assert np.abs(np.asarray(image).astype(int) - photos[index]).mean() < 6

    assert set(per_type.values()) == {24}


def test_every_broken_photo_is_broken_as_listed(broken: dict[int, str]) -> None:
    assert len(broken) == 5
    for product_id, code in broken.items():
        if code == "photo-missing":
            assert not _photo(product_id).exists()
        else:
            with pytest.raises(ImageError) as raised:
                decode(_photo(product_id).read_bytes())
            assert raised.value.code == code


def test_the_broken_files_are_what_the_readme_says(broken: dict[int, str]) -> None:
    files = {code: _photo(product_id) for product_id, code in broken.items()}

    assert files["photo-not-an-image"].read_bytes().isascii()
    assert files["photo-corrupt"].read_bytes().startswith(b"\xff\xd8\xff")
    assert files["photo-too-many-pixels"].stat().st_size < 200_000
    with Image.open(io.BytesIO(files["photo-animated"].read_bytes()), formats=["GIF"]) as animation:
        assert animation.n_frames == 3  # type: ignore[attr-defined]


def test_every_intact_photo_decodes(origins: dict[int, str]) -> None:
    for product_id, origin in origins.items():
        assert decode(_photo(product_id).read_bytes()).size == {"drawn": (60, 80)}.get(origin, (28, 28))


def test_the_shipped_model_is_as_good_on_the_real_photos_as_its_card_says(
    products: dict[int, dict[str, str]], origins: dict[int, str]
) -> None:
    predictor = load_predictor()
    actual = {int(row["product_id"]): row["actual"] for row in _table("wrong_labels.csv")}
    real = [product_id for product_id, origin in origins.items() if origin == "fashion-mnist-test"]

    pixels = np.stack([to_array(decode(_photo(i).read_bytes()), predictor.image_size) for i in real])
    answers = predictor.predict(pixels).probabilities["article_type"].argmax(axis=1)

    shown = [actual.get(product_id, products[product_id]["articleType"]) for product_id in real]
    accuracy = np.mean(
        [predictor.labels["article_type"][a] == s for a, s in zip(answers, shown, strict=True)]
    )
    # 240 photos drawn by lot: three standard errors of 2 %.
    assert accuracy == pytest.approx(
        load_manifest(DEFAULT_DIRECTORY).figures["article_type.grey_photo.accuracy"], abs=0.06
    )


@pytest.mark.skipif(not FASHION_MNIST_INSTALLED, reason="Debian's dataset-fashion-mnist is not installed")
def test_the_script_writes_the_shipped_catalogue_again(tmp_path: Path) -> None:
    demo_catalogue.write(tmp_path)

    for name in ("styles.csv", "wrong_labels.csv", "broken.csv", "origins.csv"):
        assert (tmp_path / name).read_bytes() == (DEMO / name).read_bytes()
    written = {path.name: path.read_bytes() for path in (tmp_path / "images").iterdir()}
    assert written == {path.name: path.read_bytes() for path in (DEMO / "images").iterdir()}
