"""An own catalogue, through the whole pipeline by one file: init, import, check, a job, disagreements."""

import csv
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from services import local
from services.shared.catalogue_config import Photos, read_config
from tests.e2e.command_line import CommandLine
from tests.e2e.plain import cloud_of, new_job

DEMO = Path(local.__file__).parent / "demo"
PRODUCTS = 24
LAST_REAL = 10240  # the id of a real photo, see the demo's README
FOREIGN = 5  # the product whose last photo is of something else


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table of semicolons, whose ids are SKUs, and 1 to 3 photos of each product."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "photos").mkdir()
    with (DEMO / "styles.csv").open(encoding="utf-8") as file:
        known = [
            row for row in csv.DictReader(file) if row["articleType"] in ("Dresses", "Boots", "Handbags")
        ]
    real = [row for row in known if int(row["id"]) <= LAST_REAL]
    lines = ["sku;colour;kind;price;photos"]
    for number, row in enumerate(known[:PRODUCTS]):
        sku = f"SKU/{number:03}-é"
        alike = [each for each in real if each["articleType"] == row["articleType"] and each is not row]
        shown = [row, *alike[number % 20 :][: number % 3]]
        if number == FOREIGN:
            shown[-1] = next(
                each for each in real if each["articleType"] not in (row["articleType"], "Dresses")
            )
        names = [f"photos/{sku}-{place}.png" for place in range(len(shown))]
        # One is in the wrong drawer.
        kind = {"Dresses": "Boots"}.get(row["articleType"], "Dresses") if number == 0 else row["articleType"]
        lines.append(f"{sku};{row['baseColour']};{kind};{5 + number},90;{'|'.join(names)}")
        for name, each in zip(names, shown, strict=True):
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copy(DEMO / "images" / f"{each['id']}.jpg", folder / name)
    (folder / "shop.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def catalogue(shop: Path) -> Path:
    """Its catalogue.yaml: what `init` guesses, with the names of what the bundled model knows."""
    file = shop / "catalogue.yaml"
    file.write_text(
        "id: sku\n"
        "photos: {column: photos, separator: '|'}\n"
        "attributes:\n"
        "  base_colour: {column: colour}\n"
        "  article_type: {column: kind}\n"
        "  price: {type: number}\n"
    )
    return file


@pytest.fixture(scope="module")
def vitrine(shop: Path, catalogue: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """The command line of a local cloud that runs with this catalogue, which is imported."""
    with cloud_of(catalogue, tmp_path_factory.mktemp("own")) as cloud:
        command = CommandLine(cloud)
        assert f"{PRODUCTS} products, 0 lines skipped" in command("import", str(shop))
        yield command


def test_init_guesses_what_the_columns_mean(vitrine: CommandLine, shop: Path, tmp_path: Path) -> None:
    file = tmp_path / "guessed.yaml"
    done = vitrine.run("catalogue", "init", str(shop / "shop.csv"), "--to", str(file))
    guessed = read_config(file)
    assert guessed.id == "sku"
    assert guessed.photos == Photos(column="photos", separator="|")
    assert {name: each.type for name, each in guessed.attributes.items()} == {
        "kind": "value",
        "price": "number",
    }
    # Of so few products, hardly two have the same colour.
    assert "Not used: colour." in done.stderr
    assert "exists" in vitrine.refused("catalogue", "init", str(shop), "--to", str(file))
    assert vitrine("catalogue", "init", str(shop), "--to", str(file), "--force")


def test_check_counts_rows_and_values(vitrine: CommandLine) -> None:
    printed = vitrine("catalogue", "check")
    assert f"{PRODUCTS} rows, {PRODUCTS} products" in printed
    assert "5.90 to 28.90" in printed
    assert "without a photo" not in printed


def test_a_job_selects_by_the_catalogues_own_attributes(vitrine: CommandLine) -> None:
    job = new_job()
    vitrine(
        *("request", "--job-id", job, "--wait"),
        *("--filter", "article_type=Boots", "--filter", "article_type=Dresses", "--filter", "price=..20"),
    )
    rows = vitrine.json("results", job)["results"]
    assert rows
    for row in rows:
        assert row["declared"]["article_type"] in ("Boots", "Dresses")
        assert row["declared"]["price"] <= 20


def test_what_the_catalogue_does_not_have_is_named(vitrine: CommandLine) -> None:
    asked = ("request", "--filter")
    assert "filters.colour: the catalogue has no attribute 'colour'" in vitrine.refused(*asked, "colour=Red")
    assert "did you mean 'Boots'?" in vitrine.refused(*asked, "article_type=Boot")
    assert "gender: the catalogue has no attribute 'gender'" in vitrine.refused("request", "--gender", "Men")
    assert "--filter: expected NAME=VALUE" in vitrine.refused(*asked, "price")


def test_a_product_in_the_wrong_drawer_is_a_disagreement(vitrine: CommandLine) -> None:
    job = new_job()
    vitrine("request", "--job-id", job, "--wait")
    found = vitrine.json("disagreements", job, "--head", "article_type", "--limit", "100")
    assert "SKU/000-é" in {each["product_id"] for each in found}


def test_each_photo_has_a_row_and_each_product_an_answer(vitrine: CommandLine) -> None:
    job = new_job()
    vitrine("request", "--job-id", job, "--wait")
    results = vitrine.json("results", job)
    counted = results["summary"]
    assert (counted["products"], counted["photos"], counted["errors"]) == (PRODUCTS, 2 * PRODUCTS, {})
    rows = {(row["product_id"], row.get("photo_number")): row for row in results["results"]}
    skus = [f"SKU/{number:03}-é" for number in range(PRODUCTS)]
    assert rows.keys() == {(sku, None) for sku in skus} | {
        (sku, photo) for number, sku in enumerate(skus) if number % 3 for photo in range(1, 2 + number % 3)
    }
    # The photo of something else is named.
    answer = rows[skus[FOREIGN], None]
    assert {"head": "article_type", "photo_number": 3} in answer["misfits"]
    assert "photo 3 does not fit the others" in " ".join(vitrine("results", job, "--limit", "99").split())
    # In figures and disagreements a product counts once.
    quality = vitrine.json("quality", job, "--head", "article_type")
    assert quality["photos"] + quality["left_out"] == PRODUCTS
    doubts = [each["product_id"] for each in vitrine.json("disagreements", job, "--head", "article_type")]
    assert len(doubts) == len({*doubts})


def test_another_catalogue_than_the_clouds_is_refused(
    vitrine: CommandLine, shop: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.yaml"
    other.write_text("id: sku\nattributes: {kind: {}}\n")
    assert "`vitrine up --catalogue" in vitrine.refused("import", str(shop), "--catalogue", str(other))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("id: sku\nattributes: {kind: {}}\nphoto: x\n", "photo: no such field; did you mean 'photos'?"),
        ("id: sku\nid: ean\nattributes: {kind: {}}\n", "'id' is given twice"),
        ("id: sku\nattributes: {sort: {column: kinds}}\n", "no column 'kinds'; did you mean 'kind'?"),
    ],
)
def test_a_catalogue_file_that_is_wrong_is_named(
    vitrine: CommandLine, shop: Path, tmp_path: Path, text: str, complaint: str
) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(text)
    assert complaint in vitrine.refused("catalogue", "check", str(shop), "--catalogue", str(file))


def test_a_check_stops_where_nothing_can_be_used(vitrine: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "shop.csv").write_text("sku;kind\n1;Shirt\n1;Shirt\n;Tie\n")
    file = tmp_path / "catalogue.yaml"
    file.write_text("id: sku\nattributes: {kind: {}}\n")
    done = vitrine.run("catalogue", "check", str(tmp_path), "--catalogue", str(file))
    assert done.returncode == 1
    assert "1 products without a photo: 1" in done.stdout
    assert "1 ids that come again: line 3" in done.stdout
