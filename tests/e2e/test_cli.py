"""The command line as its user runs it, against the local cloud and its demo catalogue."""

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest

from services import local
from services.local.cloud import LocalCloud
from services.model.decoding import Decoder
from services.model.familiarity import EMBEDDING, FAMILIARITY_FILE, Familiarity
from services.model.manifest import DEFAULT_DIRECTORY, MODEL_FILE, load_manifest
from services.model.preprocessing import to_array
from services.shared.images import decode
from services.training.exports import of_litert
from tests.e2e.command_line import CommandLine, Shell
from tests.e2e.plain import Outsider, new_job
from tests.unit.archives import damaged, zipped
from tests.unit.photos import jpeg
from tests.unit.test_catalogue_files import COLUMNS

DEMO = Path(local.__file__).parent / "demo"


@pytest.fixture
def vitrine(cloud: LocalCloud) -> CommandLine:
    return CommandLine(cloud)


@pytest.fixture(scope="module")
def demo_job(cloud: LocalCloud) -> str:
    """A job of the demo catalogue's women's products, completed."""
    vitrine = Shell(cloud)
    vitrine("import", str(DEMO))
    job = new_job()
    printed = vitrine("request", "--gender", "Women", "--job-id", job, "--wait")
    assert printed == f"{job}\n"
    return job


def write_catalogue(folder: Path, rows: Sequence[Mapping[str, object]], photos: Mapping[str, bytes]) -> Path:
    (folder / "images").mkdir(parents=True)
    lines = [",".join(str(row.get(column, "")) for column in COLUMNS) for row in rows]
    (folder / "styles.csv").write_text("\n".join([",".join(COLUMNS), *lines]) + "\n")
    for product_id, photo in photos.items():
        path = folder / "images" / f"{product_id}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(photo)
    return folder


def test_importing_twice_leaves_each_product_once_and_uploads_nothing_again(
    vitrine: CommandLine, outsider: Outsider
) -> None:
    vitrine("import", str(DEMO))
    again = vitrine("import", str(DEMO))
    assert again == "365 products, 0 lines skipped; photos: 0 uploaded, 364 already there, 1 missing\n"
    sql = (
        "SELECT COUNT(*) AS n, COUNT(DISTINCT product_id) AS ids FROM `{dataset}.products` "
        "WHERE product_id BETWEEN '10001' AND '10365' AND LENGTH(product_id) = 5"
    )
    assert outsider.query(sql) == [{"n": 365, "ids": 365}]
    sql = "SELECT table_name FROM `{dataset}`.INFORMATION_SCHEMA.TABLES WHERE table_name LIKE 'products%'"
    assert outsider.query(sql) == [{"table_name": "products"}]


def test_an_import_replaces_products_of_the_same_id_and_leaves_the_others(
    vitrine: CommandLine, outsider: Outsider, tmp_path: Path
) -> None:
    usage, stem = f"test-{uuid4().hex[:12]}", uuid4().hex[:12]
    first, second, third = f"{stem}/1", f"{stem} #2", f"00{stem}"

    def row(product_id: str, name: str) -> dict[str, object]:
        return {"id": product_id, "usage": usage, "year": 2011, "productDisplayName": name}

    old = write_catalogue(
        tmp_path / "old",
        [row(first, "Shirt, blue, Oxford"), row(second, "Tie")],
        {first: jpeg(1), second: jpeg(2)},
    )
    new = write_catalogue(
        tmp_path / "new",
        [row(second, "Bow tie"), row("", "Scarf"), row(third, "Hat"), row(third, "Cap")],
        {second: jpeg(3), third: jpeg(4)},
    )
    assert vitrine("import", str(old)).endswith("2 uploaded, 0 already there, 0 missing\n")
    done = vitrine.run("import", str(new))

    assert done.stdout == "2 products, 2 lines skipped; photos: 2 uploaded, 0 already there, 0 missing\n"
    assert "skipped line 3: id: expected 1 to 200 characters on one line (got '')" in done.stderr
    assert f"skipped line 5: id: {third!r} is in line 4 already" in done.stderr
    (products,) = outsider.query("SELECT COUNT(*) AS n FROM `{dataset}.products`")
    assert f"the catalogue has {products['n']} products now, including those of other imports" in done.stderr
    rows = outsider.query("SELECT * FROM `{dataset}.products` WHERE usage = @usage", usage=usage)
    assert {(row["product_id"], row["display_name"], row["year"]) for row in rows} == {
        (first, "Shirt, blue, Oxford", 2011),
        (second, "Bow tie", 2011),
        (third, "Hat", 2011),
    }
    assert len(rows) == 3
    photos = [
        outsider.bucket.blob(name).download_as_bytes()
        for name in (f"images/{stem}%2F1.jpg", f"images/{stem}%20%232.jpg")
    ]
    assert photos == [jpeg(1), jpeg(3)]


def test_a_zip_file_in_the_other_layout_is_imported_and_its_damaged_photos_are_told(
    vitrine: CommandLine, outsider: Outsider, tmp_path: Path
) -> None:
    images = [str(uuid4()) for _ in range(4)]
    rows = [
        f"{image},7,{label},False"
        for image, label in zip(images, ("T-Shirt", "Hat", "Skip", "Dress"), strict=True)
    ]
    names = [f"clothing-dataset/images/{image}.jpg" for image in images]
    path = zipped(
        tmp_path / "clothing-dataset.zip",
        {"clothing-dataset/images.csv": "\n".join(["image,sender_id,label,kids", *rows]).encode()}
        | {name: jpeg(number) for number, name in enumerate(names[:3])},
    )
    done = vitrine.run("import", str(damaged(path, names[1])))

    assert done.stdout == (
        "4 products, 0 lines skipped; photos: 2 uploaded, 0 already there, 1 missing, 1 unusable\n"
    )
    assert f"no photo of {images[3]}\n" in done.stderr
    assert f"unusable photo of {images[1]}: " in done.stderr
    assert f"images/{images[1]}.jpg is damaged" in done.stderr
    sql = "SELECT * FROM `{dataset}.products` WHERE display_name LIKE @name"
    found = {
        row["product_id"]: (row["display_name"], row["article_type"], row["gender"], row["year"])
        for image in images
        for row in outsider.query(sql, name=f"%{image}")
    }
    assert found == {
        images[0]: (f"T-Shirt {images[0]}", "Tshirts", None, None),
        images[1]: (f"Hat {images[1]}", "Caps", None, None),
        images[2]: (f"Skip {images[2]}", None, None, None),
        images[3]: (f"Dress {images[3]}", "Dresses", None, None),
    }
    assert outsider.bucket.blob(f"images/{images[0]}.jpg").download_as_bytes() == jpeg(0)
    assert not outsider.bucket.blob(f"images/{images[1]}.jpg").exists()


def test_a_catalogue_without_products_is_an_error(vitrine: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "styles.csv").write_text(f"{','.join(COLUMNS)}\n,,,,,,,,,Shirt\n")
    assert "styles.csv has no products: 1 lines skipped, the first is line 2" in vitrine.refused(
        "import", str(tmp_path)
    )


def test_results_as_json_have_each_photo_once_and_the_disagreements_first(
    vitrine: CommandLine, demo_job: str
) -> None:
    answer = vitrine.json("results", demo_job, "--limit", "1000")
    rows, summary = answer["results"], answer["summary"]
    assert answer["completed"]
    assert answer["job"]["request"] == {"gender": ["Women"], "job_id": demo_job}
    with (DEMO / "styles.csv").open() as styles:
        asked = {line.split(",")[0] for line in styles if line.split(",")[1] == "Women"}
    assert sorted(row["product_id"] for row in rows) == sorted(asked)

    # The rule, from the catalogue and what the model knows.
    known = load_manifest(DEFAULT_DIRECTORY).heads
    expected = {}
    for row in rows:
        best = {label["head"]: label["label"] for label in row["heads"] if label["rank"] == 1}
        likely = {each["head"]: each["probability"] for each in row["declared_labels"]}
        against = [
            (likely[head], head)
            for head, label in best.items()
            if row["declared"].get(head) in known[head] and row["declared"][head] != label
        ]
        if against:
            expected[row["product_id"]] = sorted(against)
    assert len(expected) > 3
    unsure = {
        row["product_id"]
        for row in rows
        if all(
            row["unfamiliar"] or head in row["abstained"] for _, head in expected.get(row["product_id"], ())
        )
    }
    assert expected.keys() & unsure
    assert expected.keys() - unsure
    found = {row["product_id"]: row["disagreements"] for row in rows if row["disagreements"]}
    assert {product_id: sorted(heads) for product_id, heads in found.items()} == {
        product_id: sorted(head for _, head in against) for product_id, against in expected.items()
    }
    assert [row["product_id"] for row in rows[: len(expected)]] == list(found)
    ranked = [expected[product_id][0][0] for product_id in found]
    assert ranked == sorted(ranked)

    errors = [row["error"] for row in rows if row["error"]]
    assert {"photo-corrupt", "photo-not-an-image"} <= {*errors}
    assert [bool(row["error"]) for row in rows[len(expected) :]] == [True] * len(errors) + [False] * (
        len(rows) - len(expected) - len(errors)
    )
    assert summary == {
        "products": len({row["product_id"] for row in rows}),
        "photos": len(rows),
        "combined": 0,
        "predictions": len(rows) - len(errors),
        "errors": {code: errors.count(code) for code in errors},
        "disagreements": len(expected),
        "unsure": len(expected.keys() & unsure),
        "heads": sorted(known),
    }


def test_the_pipeline_says_what_the_evaluation_measured(vitrine: CommandLine, demo_job: str) -> None:
    manifest = load_manifest(DEFAULT_DIRECTORY)
    rows = [row for row in vitrine.json("results", demo_job)["results"] if not row["error"]]
    photos = [(DEMO / "images" / f"{row['product_id']}.jpg").read_bytes() for row in rows]
    pixels = np.stack([to_array(decode(photo), manifest.image_size) for photo in photos])
    measured = of_litert(DEFAULT_DIRECTORY / MODEL_FILE)(pixels)
    familiarity = Familiarity.load(DEFAULT_DIRECTORY / FAMILIARITY_FILE)

    decoded = Decoder.of(manifest)(measured)
    for head, labels in manifest.heads.items():
        for row, expected in zip(rows, decoded[head], strict=True):
            said = [each for each in row["heads"] if each["head"] == head]
            best = (-expected).argsort()[: len(said)]
            assert [each["label"] for each in said] == [labels[index] for index in best]
            assert [each["probability"] for each in said] == pytest.approx(expected[best].tolist(), abs=1e-5)
            for each in row["declared_labels"]:
                if each["head"] == head and each["known"] is not None:
                    assert each["label"] == each["known"] == row["declared"][head]
                    likely = expected[labels.index(each["known"])]
                    assert each["probability"] == pytest.approx(float(likely), rel=1e-3, abs=1e-9)
    assert any(each["known"] for row in rows for each in row["declared_labels"])
    unfamiliar = familiarity.distance(measured[EMBEDDING]) > familiarity.threshold
    assert [row["unfamiliar"] for row in rows] == unfamiliar.tolist()


def test_what_is_judged_is_not_asked_again_and_is_a_truth_to_measure_against(
    vitrine: CommandLine, demo_job: str
) -> None:
    with (DEMO / "wrong_labels.csv").open() as wrong_labels:
        wrong = {
            (row["product_id"], row["declared"], row["actual"])
            for row in csv.DictReader(wrong_labels)
            if row["column"] == "articleType"
        }
    types = vitrine.json("disagreements", demo_job, "--head", "article_type")
    assert {(each["product_id"], each["declared"], each["label"]) for each in types} & wrong
    doubts = ("disagreements", demo_job, "--head", "base_colour")
    asked = vitrine.json(*doubts)
    surest, second, *rest = asked
    assert surest["product_id"] in vitrine(*doubts)
    likely = [each["declared_probability"] for each in asked]
    assert likely == sorted(likely)
    parts = [vitrine.json(*doubts, option) for option in ("--unsure", "--no-unsure")]
    assert [each for each in asked if each["unsure"]] == parts[0]
    assert [each for each in asked if not each["unsure"]] == parts[1]

    judged = ("--by", "ada@example.com")
    on_first = (demo_job, surest["product_id"], "base_colour")
    on_second = (demo_job, second["product_id"], "base_colour")
    assert "by ada@example.com" in vitrine("label", "accept", *on_first, *judged)
    vitrine("label", "correct", *on_second, "Chartreuse", *judged)
    assert "is what the model says" in vitrine.refused("label", "correct", *on_first, surest["label"])
    assert "has no photo 7" in vitrine.refused("label", "dismiss", demo_job, "7", "base_colour")

    assert vitrine.json(*doubts) == rest
    latest, before = vitrine.json("label", "list", "--job", demo_job)
    assert (latest["verdict"], latest["label"]) == ("corrected", "Chartreuse")
    assert (before["verdict"], before["label"]) == ("accepted", surest["label"])
    assert "Chartreuse" in vitrine("label", "list")
    measured = vitrine.json("quality", demo_job, "--head", "base_colour", "--against", "labels")
    compared = {(each["truth"], each["predicted"]) for each in measured["confusion"]}
    assert {(surest["label"], surest["label"]), ("Chartreuse", second["label"])} <= compared
    assert "expected calibration error" in vitrine("quality", demo_job, "--head", "article_type")


def test_results_as_csv_as_a_table_and_as_a_page_say_the_same(
    vitrine: CommandLine, demo_job: str, tmp_path: Path
) -> None:
    rows = vitrine.json("results", demo_job, "--limit", "1000")["results"]
    lines = list(csv.DictReader(io.StringIO(vitrine("results", demo_job, "--csv", "--limit", "1000"))))
    assert [line["product_id"] for line in lines] == [row["product_id"] for row in rows]
    assert [line["disagreements"].split() for line in lines] == [row["disagreements"] for row in rows]
    assert [line["abstained"].split() for line in lines] == [row["abstained"] for row in rows]
    assert [line["unfamiliar"] for line in lines] == [
        "" if row["error"] else str(row["unfamiliar"]) for row in rows
    ]
    assert any(row["abstained"] for row in rows)
    for line, row in zip(lines, rows, strict=True):
        for each in row["declared_labels"]:
            written = line[f"declared_{each['head']}_probability"]
            assert written == ("" if each["probability"] is None else str(each["probability"]))
    assert [line["declared_article_type"] for line in lines] == [
        row["declared"]["article_type"] or "" for row in rows
    ]

    table = vitrine("results", demo_job, "--limit", "3")
    assert f"{demo_job} completed" in table
    assert f"3 of {len(rows)} rows" in table
    assert rows[2]["product_id"] in table
    assert rows[3]["product_id"] not in table

    page = tmp_path / "page.html"
    vitrine("results", demo_job, "--html", str(page))
    document = page.read_text()
    assert document.count('<li class="card"') == sum(not row["error"] for row in rows)
    assert document.count('<li class="disagree"') == sum(bool(row["disagreements"]) for row in rows)
    assert "no photo" not in document.partition("</style>")[2].replace("there is no photo of it", "")
    assert "http" not in document.replace("http-equiv", "")


def test_variants_are_followed_and_listed_and_never_held_against_the_catalogue(
    vitrine: CommandLine, demo_job: str
) -> None:
    job = new_job()
    augmentation = '{"rotation": {"degrees": 15}, "flip": {"horizontal": 0.5}, "copies": 2}'
    arguments = ["--job-id", job, "--limit", "5", "--augmentation", augmentation, "--classify", "augmented"]
    done = vitrine.run("request", "--article-type", "Tshirts", *arguments, "--wait")
    assert done.returncode == 0, done.stderr
    # Of batches, not of variants: those are never listed.
    assert re.search(r"augmented .* 1/1 batches", done.stderr)
    assert f"job {job} is completed: 5 products, 10 predictions, 0 errors" in done.stderr
    rows = vitrine.json("results", job)["results"]
    assert sorted(row["variant"] for row in rows) == ["augmented-0"] * 5 + ["augmented-1"] * 5
    assert not any(row["disagreements"] for row in rows)


def test_a_job_of_another_request_is_refused_and_the_same_request_finds_its_job(
    vitrine: CommandLine, demo_job: str
) -> None:
    again = ("request", "--gender", "Women", "--job-id", demo_job, "--wait")
    assert vitrine(*again) == f"{demo_job}\n"
    assert "belongs to another request" in vitrine.refused("request", "--job-id", demo_job)


def test_a_rejected_request_ends_the_wait_is_listed_and_can_be_replayed(vitrine: CommandLine) -> None:
    done = vitrine.run("request", "--model", "no-such-version", "--wait")
    job = done.stdout.strip()
    assert done.returncode == 1
    assert "model: 'no-such-version' is not served" in done.stderr
    (rejection,) = vitrine.json("rejected", "--job", job)
    assert rejection["topic"] == "classification-requested"
    assert rejection["attempts"] == 1
    assert not rejection["replayed"]
    assert json.loads(rejection["payload_preview"]) == {"model": "no-such-version"}

    replayed_as = vitrine("replay", rejection["rejection_id"]).strip()

    (rejection,) = vitrine.json("rejected", "--job", job)
    assert rejection["replayed"]
    assert "model: 'no-such-version' is not served" in vitrine.refused("watch", f"job-{replayed_as}")
    (again,) = vitrine.json("rejected", "--job", f"job-{replayed_as}")
    assert not again["replayed"]
    assert vitrine("replay", rejection["rejection_id"]) == ""
    listed = vitrine("rejected", "--job", job)
    assert rejection["rejection_id"] in listed
    assert "replayed" in listed
    assert "no rejected message has the id nonsense" in vitrine.refused("replay", "nonsense")


def test_uploads_are_answered(vitrine: CommandLine, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_text("no image")
    left = tmp_path / "Thumbs.db"
    left.write_bytes(b"what Windows leaves beside photos")
    printed = vitrine("upload", str(DEMO / "images" / "10001.jpg"), str(left), str(broken)).splitlines()
    assert len(printed) == 2
    assert printed[0].startswith(f"{DEMO / 'images' / '10001.jpg'} ")
    assert "article type: " in printed[0]
    assert "base colour: " in printed[0]
    assert printed[1] == f"{broken} photo-not-an-image"
    assert vitrine("upload", "--no-wait", str(broken)).startswith("gs://vitrine-local-uploads/")


def test_a_job_that_is_not_there_is_not_waited_for_without_end(vitrine: CommandLine) -> None:
    assert "there is no job 'nobody'" in vitrine.refused("results", "nobody")
    assert "there is no job 'nobody' after 1 s" in vitrine.refused("watch", "nobody", "--timeout", "1")


def test_env_and_logs_are_those_of_the_cloud(vitrine: CommandLine, cloud: LocalCloud, demo_job: str) -> None:
    exported = vitrine("env")
    assert exported == "".join(f"export {name}={value}\n" for name, value in cloud.environment.items())
    assert "messages_handled" in vitrine("logs", "recording")
    done = vitrine.run("up")
    assert done.returncode == 0
    assert "it runs already" in done.stderr
