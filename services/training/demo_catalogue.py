"""Writes the demo catalogue: `python -m services.training.demo_catalogue` made services/local/demo.

It has the layout of the Fashion Product Images data set: `styles.csv` and `images/<id>.jpg`. Beside it stand
`origins.csv` (where each photo comes from), `wrong_labels.csv` (attributes that are wrong on purpose) and
`broken.csv` (photos that cannot be classified, with the pipeline's error code). The same code writes the same
bytes again.
"""

import argparse
import io
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from PIL import Image

from services.shared.errors import ImageErrorCode
from services.training import fashion_mnist
from services.training.packshots import BASE_COLOURS, Seed, packshots

DEMO = Path(__file__).parents[1] / "local" / "demo"

REAL_PHOTOS_PER_TYPE = 24
DRAWINGS = 120
WRONG_LABELS = 29
FIRST_ID = 10_001
JPEG_QUALITY = 90


class Kind(NamedTuple):
    """Where an article type stands in the catalogue, and who wears it where the type alone tells."""

    master_category: str
    sub_category: str
    noun: str
    gender: str = ""


KINDS = {
    "Tshirts": Kind("Apparel", "Topwear", "T-shirt"),
    "Shirts": Kind("Apparel", "Topwear", "Shirt"),
    "Sweaters": Kind("Apparel", "Topwear", "Sweater"),
    "Coats": Kind("Apparel", "Topwear", "Coat"),
    "Jackets": Kind("Apparel", "Topwear", "Jacket"),
    "Dresses": Kind("Apparel", "Dress", "Dress", "Women"),
    "Trousers": Kind("Apparel", "Bottomwear", "Trousers"),
    "Shorts": Kind("Apparel", "Bottomwear", "Shorts"),
    "Skirts": Kind("Apparel", "Bottomwear", "Skirt", "Women"),
    "Ties": Kind("Accessories", "Ties", "Tie", "Men"),
    "Belts": Kind("Accessories", "Belts", "Belt"),
    "Caps": Kind("Accessories", "Headwear", "Cap"),
    "Watches": Kind("Accessories", "Watches", "Watch"),
    "Sunglasses": Kind("Accessories", "Eyewear", "Sunglasses"),
    "Handbags": Kind("Accessories", "Bags", "Handbag", "Women"),
    "Backpacks": Kind("Accessories", "Bags", "Backpack"),
    "Casual Shoes": Kind("Footwear", "Shoes", "Shoes"),
    "Boots": Kind("Footwear", "Shoes", "Boots"),
    "Sandals": Kind("Footwear", "Sandal", "Sandals"),
    "Heels": Kind("Footwear", "Shoes", "Heels", "Women"),
}

# Invented, as is everything about the products but what their photos show.
BRANDS = (
    "Amberlane",
    "Corvia",
    "Dunmoor",
    "Elmwright",
    "Fennholt",
    "Harrow & Pine",
    "Kestrelle",
    "Marlowe Bay",
)
COLUMNS = (
    "id", "gender", "masterCategory", "subCategory", "articleType", "baseColour", "season", "year", "usage",
    "productDisplayName",
)  # fmt: skip


@dataclass(frozen=True)
class Product:
    """A row of `styles.csv`."""

    id: int
    gender: str
    master_category: str
    sub_category: str
    article_type: str
    base_colour: str
    season: str
    year: int
    usage: str
    display_name: str


@dataclass(frozen=True)
class Photo:
    """What a photo truly shows; `index` counts in the data set or the series of drawings."""

    file: bytes | None
    origin: str
    index: int
    article_type: str
    base_colour: str


class WrongLabel(NamedTuple):
    """An attribute of a product that is declared wrongly on purpose."""

    product_id: int
    column: str
    declared: str
    actual: str


def write(folder: Path) -> None:
    """Write the catalogue's tables and photos to a folder, over what stands there."""
    rng = np.random.default_rng(0)
    intact = [*_real_photos(rng), *_drawings()]
    broken = list(_broken_photos(rng))
    photos = [*intact, *(photo for photo, _ in broken)]
    ids = range(FIRST_ID, FIRST_ID + len(photos))
    products = [_product(product_id, photo, rng) for product_id, photo in zip(ids, photos, strict=True)]

    wrong = []
    for position in sorted(rng.choice(len(intact), WRONG_LABELS, replace=False)):
        products[position], mistake = _mislabelled(products[position], rng)
        wrong.append(mistake)

    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    for stale in images.glob("*.jpg"):
        stale.unlink()
    for product_id, photo in zip(ids, photos, strict=True):
        if photo.file is not None:
            (images / f"{product_id}.jpg").write_bytes(photo.file)

    _write_table(folder / "styles.csv", COLUMNS, (vars(product).values() for product in products))
    _write_table(folder / "wrong_labels.csv", WrongLabel._fields, wrong)
    _write_table(
        folder / "broken.csv",
        ("product_id", "kind"),
        zip(ids[len(intact) :], (code for _, code in broken), strict=True),
    )
    _write_table(
        folder / "origins.csv",
        ("product_id", "origin", "index"),
        ((product_id, photo.origin, photo.index) for product_id, photo in zip(ids, intact, strict=False)),
    )


def _real_photos(rng: Generator) -> Iterator[Photo]:
    """By lot from the test split, as many of each type: not chosen by how well the model does."""
    photos, classes = fashion_mnist.load("test")
    for kind, article_type in enumerate(fashion_mnist.ARTICLE_TYPES):
        for index in sorted(rng.choice(np.flatnonzero(classes == kind), REAL_PHOTOS_PER_TYPE, replace=False)):
            # No base colour: what colour a garment has that was photographed in grey cannot be known.
            yield Photo(
                _jpeg(Image.fromarray(photos[index])), "fashion-mnist-test", int(index), article_type, ""
            )


def _drawings() -> Iterator[Photo]:
    for index, shot in enumerate(packshots(DRAWINGS, Seed.DEMO)):
        yield Photo(_jpeg(shot.image), "drawn", index, shot.article_type, shot.base_colour)


def _broken_photos(rng: Generator) -> Iterator[tuple[Photo, ImageErrorCode]]:
    whole = _jpeg(next(packshots(1, Seed.DEMO)).image)
    files: dict[ImageErrorCode, bytes | None] = {
        "photo-missing": None,
        "photo-corrupt": whole[: len(whole) * 2 // 3],
        "photo-not-an-image": b"This is a text file, although its name ends in .jpg.\n",
        "photo-too-many-pixels": _blank_png(30_000),
        "photo-animated": _animation(),
    }
    for index, (code, file) in enumerate(files.items()):
        yield (
            Photo(file, "broken", index, str(rng.choice(list(KINDS))), str(rng.choice(list(BASE_COLOURS)))),
            code,
        )


def _product(product_id: int, photo: Photo, rng: Generator) -> Product:
    kind = KINDS[photo.article_type]
    name = " ".join(part for part in (rng.choice(BRANDS), photo.base_colour, kind.noun) if part)
    if rng.random() < 0.05:
        name += f", Style {rng.integers(100, 1000)}, New"  # the real file has unquoted commas too
    return Product(
        id=product_id,
        gender=kind.gender,
        master_category=kind.master_category,
        sub_category=kind.sub_category,
        article_type=photo.article_type,
        base_colour=photo.base_colour,
        season="",  # no photo here tells it, nor the usage
        year=int(rng.integers(2008, 2019)),
        usage="",
        display_name=f"{name} (drawn)" if photo.origin == "drawn" else name,
    )


def _mislabelled(product: Product, rng: Generator) -> tuple[Product, WrongLabel]:
    """As a merchant errs: another type of the same master category, or another colour."""
    if product.base_colour and rng.random() < 0.5:
        declared = str(rng.choice([colour for colour in BASE_COLOURS if colour != product.base_colour]))
        mistake = WrongLabel(product.id, "baseColour", declared, product.base_colour)
        return replace(product, base_colour=declared), mistake
    others = [
        article_type
        for article_type, kind in KINDS.items()
        if kind.master_category == product.master_category and article_type != product.article_type
    ]
    declared = str(rng.choice(others))
    mistake = WrongLabel(product.id, "articleType", declared, product.article_type)
    return replace(product, article_type=declared), mistake


def _jpeg(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue()


def _animation() -> bytes:
    file = io.BytesIO()
    frames = [Image.new("L", (60, 80), shade) for shade in (60, 120, 180)]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=200)
    return file.getvalue()


def _blank_png(side: int) -> bytes:
    """A square PNG of one bit per pixel, written row by row: in memory it would take a gigabyte."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    compressor = zlib.compressobj(9)
    row = b"\0" + b"\xff" * (side // 8)
    rows = b"".join(compressor.compress(row) for _ in range(side)) + compressor.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def _write_table(path: Path, columns: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    """Comma-separated and never quoted, as the real `styles.csv` is."""
    lines = [",".join(map(str, row)) for row in (columns, *rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m services.training.demo_catalogue", description="Write the demo."
    )
    parser.add_argument("--folder", type=Path, default=DEMO)
    write(parser.parse_args().folder)
