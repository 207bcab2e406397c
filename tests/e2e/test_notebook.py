"""The notebook as it is shipped, run from its first cell to its last against the local cloud."""

import base64
import csv
import html
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from PIL import Image

from services import client, local
from services.client.importer import load_products, upload_photos
from services.client.notebook import connect
from services.shared.catalogue_files import read_catalogue
from services.shared.wiring import SCHEMAS
from tests.conftest import running_cloud

NOTEBOOK = Path(client.__path__[0]) / "quickstart.ipynb"
DEMO = Path(local.__path__[0]) / "demo"
CELL_TIMEOUT = 180  # seconds: generous, because the machines that run this are shared

pytestmark = pytest.mark.timeout(900)


class Shown:
    """What each cell shows."""

    def __init__(self, notebook: Any) -> None:
        self._outputs: Mapping[str, Sequence[Any]] = {
            cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"
        }

    def all(self, cell: str, kind: str) -> list[str]:
        return [str(each.data[kind]) for each in self._outputs[cell] if kind in each.get("data", {})]

    def result(self, cell: str) -> str:
        """The value of the cell's last line, as text."""
        (text,) = [
            each.data["text/plain"] for each in self._outputs[cell] if each.output_type == "execute_result"
        ]
        return str(text)

    def table(self, cell: str) -> list[list[str]]:
        """The rows of the cell's data frame, their index first."""
        (shown,) = self.all(cell, "text/html")
        body = shown.partition("<tbody>")[2]
        rows = re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL)
        return [[html.unescape(cell) for cell in re.findall(r"<t[hd]>(.*?)</t[hd]>", row)] for row in rows]

    def picture(self, cell: str) -> Image.Image:
        (encoded,) = self.all(cell, "image/png")
        return Image.open(io.BytesIO(base64.b64decode(encoded)))


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """The notebook, run where a user would: the local cloud has the demo catalogue and nothing else."""
    folder = tmp_path_factory.mktemp("notebook")
    with running_cloud(tmp_path_factory) as cloud, pytest.MonkeyPatch.context() as patch:
        patch.setenv("VITRINE_HOME", str(cloud.home))
        # The kernel is this Python, with these services, and leaves nothing at home.
        patch.setenv("PYTHONPATH", str(SCHEMAS.parent))
        for variable in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR"):
            patch.setenv(variable, str(folder / variable))
        vitrine, catalogue = connect(), read_catalogue(DEMO)
        upload_photos(catalogue, vitrine.objects, vitrine.bucket, lambda _outcome: None)
        load_products(catalogue, vitrine.tables)
        notebook = nbformat.read(NOTEBOOK, as_version=4)
        NotebookClient(
            notebook, timeout=CELL_TIMEOUT, kernel_name="python3", resources={"metadata": {"path": folder}}
        ).execute()
        yield Shown(notebook)


@pytest.fixture(scope="module")
def actual() -> dict[int, str]:
    """The article types that the demo declares wrongly, and what the photos show."""
    with (DEMO / "wrong_labels.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {int(row["product_id"]): row["actual"] for row in rows if row["column"] == "articleType"}


def test_it_is_kept_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    codes = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert codes
    assert [cell.id for cell in codes if cell.outputs or cell.execution_count is not None] == []


def test_it_follows_both_jobs_to_their_end(shown: Shown) -> None:
    (preparing,) = shown.all("prepare", "text/html")
    assert "completed: 0 predictions, 0 errors" in preparing
    assert "augmented" in preparing
    (classifying,) = shown.all("classify", "text/html")
    assert "completed: 180 predictions, 0 errors" in classifying
    assert shown.result("prepare") == shown.result("classify") == "'completed'"


def test_it_shows_each_photo_beside_its_variants_and_its_metadata(shown: Shown) -> None:
    picture = shown.picture("side-by-side")
    # Four rows of a photo, two variants and text: the photos' three columns are filled, in each row.
    pixels = np.asarray(picture.convert("L"))
    rows, columns = 4, 4
    tiles = [
        tile
        for band in np.array_split(pixels, rows, axis=0)
        for tile in np.array_split(band, columns, axis=1)
    ]
    assert all(np.count_nonzero(tile < 250) > 100 for tile in tiles)


def test_it_shows_results_with_the_disagreements_on_top(shown: Shown, actual: Mapping[int, str]) -> None:
    rows = shown.table("results")
    assert len(rows) == 10
    ids = [int(row[1]) for row in rows]
    # The wrong labels that the job has are the first ones, whatever the photos look like instead.
    assert {*ids[:3]} <= actual.keys()
    assert shown.picture("gallery").width > 400


def test_it_lists_disagreements_the_least_likely_labels_first_and_these_are_wrong(
    shown: Shown, actual: Mapping[int, str]
) -> None:
    rows = shown.table("disagreements")
    probabilities = [float(row[7]) for row in rows]
    assert probabilities == sorted(probabilities)
    wrong = [int(row[2]) in actual for row in rows]
    assert wrong[:2] == [True, True]
    half = len(rows) // 2
    assert sum(wrong[:half]) > sum(wrong[half:])


def test_what_was_judged_is_not_listed_again(shown: Shown) -> None:
    before = [row[2] for row in shown.table("disagreements")]
    after = [row[2] for row in shown.table("judge")]
    assert len(before) >= 3
    assert after == before[1:-1]


def test_it_measures_against_the_catalogue_and_against_people(shown: Shown) -> None:
    by_class = {row[0]: row[1:] for row in shown.table("quality")}
    assert sum(int(support) for support, *_ in by_class.values()) == 60
    disagreements = shown.table("disagreements")
    # The rows of the confusion are the truths; a diagonal of the supports would be a perfect catalogue.
    confusion = [[int(count) for count in row[1:]] for row in shown.table("confusion")]
    assert sum(map(sum, confusion)) == 60
    wrong = 60 - sum(confusion[place][place] for place in range(len(confusion)))
    assert wrong >= len(disagreements)
    assert shown.picture("calibration").width > 300
    surest, weakest = disagreements[0], disagreements[-1]
    supported = {row[0] for row in shown.table("people") if int(row[1])}
    assert {surest[4], weakest[6]} <= supported
