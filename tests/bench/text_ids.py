"""Text ids beside INT64 ids: the same job over two tables of a team. `python -m tests.bench.text_ids`.

Two local clouds run at once, and one is idle while the other works. The tables have the same products, whose
photos are the same few objects; only the type of the id column differs. Memory is the peak of each process.
"""

import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from rich.console import Console
from rich.table import Table

from services import local
from services.local.cloud import LocalCloud, down, up
from tests.conftest import free_ports
from tests.e2e.plain import Outsider, new_job, until

PRODUCTS = 100_000
ROUNDS = 3
END = 7_200.0  # seconds
DEMO = Path(local.__file__).parent / "demo" / "images"
PHOTOS = 200

IDS = {"INT64": "n", "STRING": "CONCAT('sku/', TO_HEX(MD5(CAST(n AS STRING))))"}
CONFIG = """\
table: vitrine-local.vitrine.pim
id: sku
photos: {column: photo}
attributes: {article_type: {}, base_colour: {}}
"""


@dataclass(frozen=True)
class Measured:
    """One job: its seconds, and what was seen of the processes after it."""

    seconds: float
    peaks: Mapping[str, float]  # process -> its largest resident memory so far, MB


class Side:
    """A local cloud that runs with a team's table."""

    def __init__(self, cloud: LocalCloud, products: int) -> None:
        self._cloud, self._products = cloud, products
        with pytest.MonkeyPatch.context() as patch:
            self._outsider = Outsider(cloud, patch)

    def job(self) -> Measured:
        """One job over all products, from its request to its last row."""
        name = new_job()
        started = time.monotonic()
        self._outsider.publish({"job_id": name, "filters": {"article_type": "Tshirts"}})
        # Cheap to look for: queries as frequent would slow down what is measured.
        until(self._outsider.bucket.blob(f"jobs/{name}/summary.json").exists, "the job's end", timeout=END)
        seconds = time.monotonic() - started
        sql = (
            "SELECT COUNT(*) AS found, COUNT(DISTINCT product_id) AS products FROM `{dataset}.predictions` "
            "WHERE job_id = @job_id AND error IS NULL"
        )
        (row,) = self._outsider.query(sql, job_id=name)
        if (row["found"], row["products"]) != (self._products, self._products):
            raise RuntimeError(f"expected {self._products} rows, one for each product (got {row})")
        return Measured(seconds, dict(_peaks(self._cloud)))


def _peaks(cloud: LocalCloud) -> Iterator[tuple[str, float]]:
    """The largest resident memory of each process that listens, with its children, in MB."""
    listening = {
        each.laddr[1]: each.pid
        for each in psutil.net_connections("tcp")
        if len(each.laddr) == 2 and each.status == psutil.CONN_LISTEN
    }
    for name in cloud.names:
        pid = listening.get(cloud.port(name))
        if pid is None:
            continue
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        status = [Path(f"/proc/{each.pid}/status").read_text() for each in family]
        found = [re.search(r"VmHWM:\s+(\d+) kB", text) for text in status]
        yield name, sum(int(match[1]) for match in found if match) / 1000


@contextmanager
def _side(type_: str, folder: Path, products: int) -> Iterator[Side]:
    cloud = LocalCloud(folder, free_ports(16))
    try:
        # The table has to be there when the services read the catalogue.yaml that names it.
        up(cloud, progress=lambda line: None)
        with pytest.MonkeyPatch.context() as patch:
            _create_products(type_, Outsider(cloud, patch), products)
        down(folder)
        (folder / "own.yaml").write_text(CONFIG)
        cloud.use_catalogue(folder / "own.yaml")
        up(cloud, progress=lambda line: None)
        yield Side(cloud, products)
    finally:
        down(folder)


def _create_products(type_: str, outsider: Outsider, products: int) -> None:
    photos = sorted(DEMO.glob("*.jpg"))[:PHOTOS]
    for number, photo in enumerate(photos):
        outsider.bucket.blob(f"shop/{number}.jpg").upload_from_filename(str(photo))
    bucket = outsider.bucket.name
    outsider.bigquery.query_and_wait(
        f"CREATE TABLE `{outsider.dataset}.pim` AS SELECT {IDS[type_]} AS sku, "
        "'Tshirts' AS article_type, 'Blue' AS base_colour, "
        f"CONCAT('gs://{bucket}/shop/', CAST(MOD(n, {len(photos)}) AS STRING), '.jpg') AS photo "
        f"FROM UNNEST(GENERATE_ARRAY(1, {products})) AS n"
    )


def main() -> None:
    """Measures, and prints a table. The arguments are the number of products, and of rounds."""
    asked = [int(each) for each in sys.argv[1:]]
    products, rounds = [*asked, *(PRODUCTS, ROUNDS)[len(asked) :]]
    console = Console()
    with ExitStack() as stack:
        sides = {
            type_: stack.enter_context(
                _side(type_, Path(stack.enter_context(tempfile.TemporaryDirectory())), products)
            )
            for type_ in IDS
        }
        measured: dict[str, list[Measured]] = {type_: [] for type_ in sides}
        for number in range(rounds):
            # Whoever comes first finds the disk emptier.
            for type_ in sorted(sides, reverse=bool(number % 2)):
                measured[type_].append(sides[type_].job())
                console.print(f"round {number + 1}, {type_}: {measured[type_][-1].seconds:.1f} s")
    table = Table(f"{products} products, median of {rounds}", *IDS, "ratio")
    seconds = [statistics.median(each.seconds for each in measured[type_]) for type_ in IDS]
    table.add_row("seconds", *(f"{each:.1f}" for each in seconds), f"{seconds[1] / seconds[0]:.3f}")
    for name in measured["INT64"][-1].peaks:
        peaks = [measured[type_][-1].peaks[name] for type_ in IDS]
        table.add_row(f"{name}, peak MB", *(f"{each:.0f}" for each in peaks), f"{peaks[1] / peaks[0]:.3f}")
    console.print(table)


if __name__ == "__main__":
    main()
