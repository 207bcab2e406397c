"""The two public data sets, a small part of each: from `init` to corrections that have reached the catalogue.

VITRINE_DATA names the folder with the data sets as they are downloaded.
"""

import csv
import io
import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from uuid import uuid4

import pytest
import yaml
from typer.testing import CliRunner

from services.client.cli import app
from services.local.cloud import LocalCloud
from tests.e2e.command_line import CommandLine, Shell
from tests.e2e.plain import SMALL_TRAINING, cloud_of, new_job

TRAINING = (
    "name: {name}\ndata: {{kind: catalogue, minimum_photos: 4, validate_share: 0.2}}\n"
    "held_out: A part of it.\nabout: A small part of a public data set.\n" + SMALL_TRAINING
)
OF_EACH = 20  # products of a label
REVIEWER = "ada@example.com"


@dataclass(frozen=True)
class Published:
    """A data set as it is published, and which part of it is taken.

    Args:
        zip: its name in VITRINE_DATA.
        table: in the zip; its lines are taken as they are.
        place: of the label's column.
        labels: whose products are taken.
        head: the bundled model's name of the attribute.
        wrong: the label that one product is given.
        guessed: what `init` says of it; without the doubts.

    """

    zip: str
    table: str
    place: int
    labels: tuple[str, ...]
    head: str
    wrong: str
    guessed: Mapping[str, object]


FASHION = Published(
    "fashion-product-images-small.zip",
    "styles.csv",
    4,
    ("Watches", "Tshirts", "Handbags"),
    "article_type",
    "Jeans",
    {
        "id": "id",
        "display_name": "productDisplayName",
        "photos": {"pattern": "images/{id}"},
        "time": "year",
    },
)
CLOTHING = Published(
    "clothing-dataset.zip",
    "images.csv",
    2,
    ("T-Shirt", "Shoes", "Pants"),
    "garment",
    "Hat",
    {"id": "image", "photos": {"pattern": "images/{id}"}, "attributes": {"label": {}, "kids": {}}},
)


@dataclass(frozen=True)
class Shop:
    """A part of a data set as its user has it."""

    published: Published
    path: Path  # the zip
    wrong: str  # the id of the product whose label is wrong
    truth: str  # its right label

    def correct(self, corrections: str) -> None:
        """Writes what a CSV of corrections says into the table, as the user would."""
        with zipfile.ZipFile(self.path) as file:
            content = {name: file.read(name) for name in file.namelist()}
        lines = content[self.published.table].decode().splitlines()
        for row in csv.DictReader(io.StringIO(corrections, newline="")):
            for place, line in enumerate(lines):
                if line.startswith(f"{row['product_id']},"):
                    cells = line.split(",")
                    cells[self.published.place] = row["corrected"]
                    lines[place] = ",".join(cells)
        content[self.published.table] = "\n".join(lines).encode()
        with zipfile.ZipFile(self.path, "w") as file:
            for name, data in content.items():
                file.writestr(name, data)


def cut_out(published: Published, whole: Path, path: Path) -> Shop:
    """A part of a data set; one product's label is made wrong."""
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(path, "w") as new:
        header, *lines = old.read(published.table).decode().splitlines()
        taken: list[str] = []
        for label in published.labels:
            of_label = (line for line in lines if line.split(",")[published.place] == label)
            taken += islice(of_label, OF_EACH)
        wrong, *others = taken
        cells = wrong.split(",")
        cells[published.place] = published.wrong
        new.writestr(published.table, "\n".join([header, ",".join(cells), *others]))
        for line in taken:
            name = f"images/{line.split(',')[0]}.jpg"
            new.writestr(name, old.read(name))
    return Shop(published, path, cells[0], published.labels[0])


@pytest.fixture(scope="module", params=[FASHION, CLOTHING], ids=lambda published: published.table)
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A part of one of the data sets."""
    data = os.environ.get("VITRINE_DATA")
    if not data:
        pytest.skip("VITRINE_DATA is unset: it names a folder with the public data sets as downloaded")
    published: Published = request.param
    folder = tmp_path_factory.mktemp("shop")
    return cut_out(published, Path(data) / published.zip, folder / published.zip)


@pytest.fixture(scope="module")
def catalogue(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `init` guesses of the whole data set; the label has the name of the model's head."""
    file = tmp_path_factory.mktemp("guess") / "catalogue.yaml"
    whole = Path(os.environ["VITRINE_DATA"]) / shop.published.zip
    done = CliRunner().invoke(app, ["catalogue", "init", str(whole), "--to", str(file)])
    assert done.exit_code == 0, done.stderr
    assert yaml.safe_load(file.read_text()).items() >= shop.published.guessed.items()
    file.write_text(file.read_text().replace("  label: {}", "  garment: {column: label}"))
    return file


@pytest.fixture(scope="module")
def cloud(catalogue: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    """A local cloud that runs with this catalogue."""
    with cloud_of(catalogue, tmp_path_factory.mktemp("public")) as cloud:
        yield cloud


@pytest.mark.timeout(1_800)
def test_from_the_download_to_a_corrected_catalogue_and_a_model_of_its_own(
    cloud: LocalCloud, shop: Shop, tmp_path: Path
) -> None:
    vitrine, head = CommandLine(cloud), shop.published.head
    products = OF_EACH * len(shop.published.labels)
    assert f"{products} products, 0 lines skipped" in vitrine("import", str(shop.path))
    checked = vitrine("catalogue", "check")
    assert f"{products} rows, {products} products" in checked
    assert "without a photo" not in checked

    job, again = new_job(), new_job()
    vitrine("request", "--job-id", job, "--wait")
    results = vitrine.json("results", job)
    assert (results["summary"]["photos"], results["summary"]["errors"]) == (products, {})
    doubts = vitrine.json("disagreements", job, "--head", head, "--limit", "99")
    (found,) = [each for each in doubts if each["product_id"] == shop.wrong]
    assert (found["declared"], found["label"]) == (shop.published.wrong, shop.truth)

    # What disagrees is reviewed: one is wrong in the catalogue, the others are right.
    for each in doubts:
        asked = (job, each["product_id"], head, "--by", REVIEWER)
        if each["product_id"] == shop.wrong:
            vitrine("label", "accept", *asked)
        else:
            vitrine("label", "correct", *asked[:3], each["declared"], *asked[3:])
    export = ("corrections", "export", "--job", job, "--format")
    merge = vitrine(*export, "merge")
    assert "\nMERGE `" in merge
    assert shop.wrong in merge
    shop.correct(vitrine(*export, "csv"))
    vitrine("import", str(shop.path))
    vitrine("request", "--job-id", again, "--wait")
    assert vitrine.json("disagreements", again, "--head", head, "--limit", "99") == []
    assert "0 pending, 1 already applied" in vitrine.run(*export, "csv").stderr

    config = tmp_path / "small.yaml"
    name = f"test-{uuid4().hex[:12]}"
    config.write_text(TRAINING.format(name=name))
    version = Shell(cloud)("train", str(config), "--run", name, "--out", str(tmp_path / "out"), "--publish")
    manifest = json.loads(vitrine("models", "--model", name, "show", version.strip()))
    # Which labels have enough products that train, the years decide.
    assert len({*manifest["heads"][head]} & {*shop.published.labels}) > 1
