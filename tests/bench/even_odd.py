"""How a version trained on even years answers on odd ones, as the published figures are measured.

    python -m tests.bench.even_odd CATALOGUE VERSION

CATALOGUE is a folder or zip in the layout of Fashion Product Images. VERSION is the folder of a version that
`vitrine train fashion-product-images-even-odd` made.

The published network (uditarora/fashion-product-classification, RESULTS.md and MTRESULTS.md) is trained and
tested on two parts of the products: those of the 20 most frequent article types, and those of all others. On
each part it chooses among the article types of this part alone. So does the column "among its part"; "among
all" has the answers as they are served. A label without a photo to learn from counts as wrong everywhere.
"""

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import batched
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from services.inference.predictors import LiteRTPredictor
from services.model.preprocessing import to_array
from services.shared.catalogue_files import Catalogue, read_catalogue
from services.shared.errors import ImageError, ObjectNotFoundError
from services.shared.events import Product
from services.shared.folders import FolderError
from services.shared.images import decode
from services.shared.parallel import in_parallel

FREQUENT = 20
PHOTOS_AT_ONCE = 256
HEAD = "article_type"
PUBLISHED = (("ResNet-50", 87.01, 42.96), ("ResNet-50, multi-task", 87.46, 46.23))


def answers(
    source: Catalogue, products: Sequence[Product], predictor: LiteRTPredictor
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """The declared article type of each product with a usable photo, and the probabilities of all types."""

    def answer(product: Product) -> NDArray[np.float32] | None:
        try:
            image = decode(source.photo(product), about=predictor.image_size)
        except (FolderError, ObjectNotFoundError, ImageError):
            return None
        pixels = to_array(image, predictor.image_size)
        return np.asarray(predictor.predict(pixels[np.newaxis]).probabilities[HEAD][0])

    for some in track(
        batched(products, PHOTOS_AT_ONCE, strict=False),
        "odd years",
        total=-(-len(products) // PHOTOS_AT_ONCE),
        console=console,
    ):
        for product, found in zip(some, in_parallel(answer, some), strict=True):
            label = product.value(HEAD)
            if found is not None and label is not None:
                yield label, found


def right(
    answered: Sequence[tuple[str, NDArray[np.float32]]], labels: Sequence[str], among: Sequence[str]
) -> float:
    """The share of photos whose likeliest label among some is the declared one."""
    allowed = np.isin(labels, among)
    said = [labels[int(np.where(allowed, found, -1).argmax())] for _, found in answered]
    return float(np.mean([label == best for (label, _), best in zip(answered, said, strict=True)]))


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    asked.add_argument("catalogue", type=Path)
    asked.add_argument("version", type=Path)
    given = asked.parse_args()
    predictor = LiteRTPredictor(given.version)
    source = read_catalogue(given.catalogue)
    declared = Counter(label for product in source.products if (label := product.value(HEAD)))
    frequent = [label for label, _ in declared.most_common(FREQUENT)]
    years = ((product, product.value("year")) for product in source.products)
    odd = [product for product, year in years if year and int(year[:4]) % 2 == 1]
    answered = [*answers(source, odd, predictor)]
    labels = predictor.labels[HEAD]
    table = Table("network", "part", "photos", "among its part", "among all")
    for part, names in (
        (f"{FREQUENT} most frequent", frequent),
        ("all others", [*{*declared} - {*frequent}]),
    ):
        own = [each for each in answered if each[0] in {*names}]
        table.add_row(
            f"{predictor.name} {predictor.version}",
            part,
            str(len(own)),
            f"{right(own, labels, names):.2%}",
            f"{right(own, labels, labels):.2%}",
        )
    for name, often, others in PUBLISHED:
        table.add_row(name, f"{FREQUENT} most frequent", "", f"{often} %", "")
        table.add_row(name, "all others", "", f"{others} %", "")
    console.print(table)


console = Console(width=120)

if __name__ == "__main__":
    main()
