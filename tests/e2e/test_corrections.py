"""From a wrong catalogue to a corrected one: a job, its review, the export, and the catalogue's own table."""

import csv
from io import StringIO
from pathlib import Path

from services import local
from services.local.cloud import LocalCloud
from tests.e2e.command_line import CommandLine
from tests.e2e.plain import Outsider, new_job
from tests.unit.merchant_feed import problems

PHOTOS = Path(local.__file__).parent / "demo" / "images"
HEAD = "article_type"


def test_what_reviewers_correct_reaches_the_catalogue(
    cloud: LocalCloud, outsider: Outsider, tmp_path: Path
) -> None:
    vitrine = CommandLine(cloud)
    # T-shirts, which the catalogue calls ties.
    photos: list[bytes | None] = [(PHOTOS / f"{number}.jpg").read_bytes() for number in range(10001, 10005)]
    usage, ids = outsider.add_products(photos, article_type="Ties")
    job, again = new_job(), new_job()
    vitrine("request", "--usage", usage, "--job-id", job, "--wait")
    doubts = vitrine.json("disagreements", job, "--head", HEAD)
    assert sorted(each["product_id"] for each in doubts) == ids
    accepted, corrected, changed, open_ = doubts
    judged = ("--by", "ada@example.com")
    vitrine("label", "accept", job, accepted["product_id"], HEAD, *judged)
    vitrine("label", "correct", job, corrected["product_id"], HEAD, "Crew 'n' V-Necks", *judged)
    vitrine("label", "accept", job, changed["product_id"], HEAD, *judged)
    sql = f"UPDATE `{{dataset}}.products` SET {HEAD} = 'Caps' WHERE product_id = @id"
    outsider.query(sql, id=changed["product_id"])
    truth = {
        accepted["product_id"]: accepted["label"],
        corrected["product_id"]: "Crew 'n' V-Necks",
    }

    export = ("corrections", "export", "--job", job, "--format")
    done = vitrine.run(*export, "csv")
    rows = list(csv.DictReader(StringIO(done.stdout, newline="")))
    assert {row["product_id"]: row["corrected"] for row in rows} == truth
    assert {(row["attribute"], row["declared"], row["reviewer"], row["job_id"]) for row in rows} == {
        (HEAD, "Ties", "ada@example.com", job)
    }
    assert done.stderr == (
        f"left out {changed['product_id']} {HEAD}: the catalogue said 'Ties' when it was reviewed, "
        "and says 'Caps' now\n"
        "3 corrections: 2 pending, 0 already applied, 1 left out\n"
    )
    feed = vitrine(*export, "merchant-center")
    assert problems(feed) == []
    assert f"{accepted['product_id']}\t{accepted['label']}" in feed.splitlines()

    file = tmp_path / "corrections.sql"
    vitrine(*export, "merge", "--out", str(file))
    outsider.bigquery.query(file.read_text()).result()
    catalogue = truth | {changed["product_id"]: "Caps", open_["product_id"]: "Ties"}
    sql = f"SELECT product_id, {HEAD} FROM `{{dataset}}.products` WHERE usage = @usage"
    assert {row["product_id"]: row[HEAD] for row in outsider.query(sql, usage=usage)} == catalogue

    vitrine("request", "--usage", usage, "--job-id", again, "--wait")
    left = vitrine.json("disagreements", again, "--head", HEAD)
    assert [each["product_id"] for each in left] == [open_["product_id"]]
    assert "3 corrections: 0 pending, 2 already applied, 1 left out" in vitrine.run(*export, "csv").stderr
    assert "no corrections to apply" in vitrine(*export, "merge")
    assert "there is no job" in vitrine.refused("corrections", "export", "--job", "nobody", "--format", "csv")
