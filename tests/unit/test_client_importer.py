import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.client.errors import ClientError
from services.client.importer import (
    COLUMNS,
    Catalogue,
    load_products,
    parse_line,
    read_catalogue,
    upload_photos,
)
from services.shared.memory import MemoryObjects
from tests.unit.client_world import OwnedObjects, World
from tests.unit.memory_pipeline import BUCKET

HEADER = ",".join(COLUMNS)
LINE = "1163,Men,Apparel,Topwear,Tshirts,Blue,Summer,2011,Sports,Nike Sahara Team India, Fanwear, Round Neck"

# What a column may hold: no comma, no line break, nothing that stripping would change, and not "not known".
words = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Z"), exclude_characters=","), min_size=1
).filter(lambda text: text != "NA")
names = st.text(st.characters(exclude_categories=("Cs", "Cc", "Z")), min_size=1).filter(
    lambda text: not text.startswith('"')
)


@given(
    image_id=st.integers(0, 2**63 - 1),
    columns=st.lists(st.none() | words, min_size=6, max_size=6),
    year=st.none() | st.integers(1900, 2100),
    usage=st.none() | words,
    name=st.none() | st.lists(names, min_size=1).map(", ".join),
)
def test_a_line_means_its_columns_and_everything_after_the_ninth_comma_is_the_name(
    image_id: int, columns: list[str | None], year: int | None, usage: str | None, name: str | None
) -> None:
    fields = [image_id, *columns, year, usage, name]
    line = ",".join("" if field is None else str(field) for field in fields).encode()

    product = parse_line(line + b"\r\n")

    assert list(product.model_dump().values()) == fields
    assert list(product.model_dump()) == list(COLUMNS.values())


@given(st.binary() | st.lists(st.binary(max_size=6), min_size=9, max_size=12).map(b",".join))
def test_any_line_is_a_product_or_a_reason(line: bytes) -> None:
    reason = ""
    try:
        product = parse_line(line)
    except ValueError as error:
        reason = str(error)
    assert reason or 0 <= product.image_id < 2**63


def test_unquoted_commas_belong_to_the_name() -> None:
    product = parse_line(LINE.encode())
    assert product.display_name == "Nike Sahara Team India, Fanwear, Round Neck"
    assert product.usage == "Sports"


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ('"Shirt, Oxford"', "Shirt, Oxford"),
        ('"Shirt, ""Oxford"""', 'Shirt, "Oxford"'),
        ('"A" and "B"', '"A" and "B"'),
        ('7" tie', '7" tie'),
        ('"', '"'),
        ("NA", "NA"),
    ],
)
def test_a_name_may_be_quoted_as_spreadsheets_do(written: str, name: str) -> None:
    assert parse_line(f"1,,,,,,,,,{written}".encode()).display_name == name


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"1,Men,Apparel", "3 columns instead of 10"),
        (b"x1,,,,,,,,,", "id: must be a whole number"),
        (b",,,,,,,,,", "id: must be a whole number"),
        (b"-1,,,,,,,,,", "id: must be a whole number"),
        (b"9223372036854775808,,,,,,,,,", "id: must be a whole number"),
        (b"1,,,,,,,20x1,,", "year: must be a whole number from 1900 to 2100 (got '20x1')"),
        (b"1,,,,,,,2011.0,,", "year: must be a whole number"),
        (b"1,,,,,,,20111,,", "year: must be a whole number"),
        (b"1,\xff,,,,,,,,", "not UTF-8 at byte 2"),
    ],
)
def test_a_bad_line_says_why(line: bytes, reason: str) -> None:
    with pytest.raises(ValueError) as refusal:  # noqa: PT011 - the message is what is checked
        parse_line(line)
    assert reason in str(refusal.value)


def write_catalogue(folder: Path, *lines: str, photos: dict[int, bytes] | None = None) -> Catalogue:
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "styles.csv").write_text("\n".join([HEADER, *lines]) + "\n")
    for image_id, data in (photos or {}).items():
        (folder / "images" / f"{image_id}.jpg").write_bytes(data)
    return read_catalogue(folder)


def test_bad_lines_are_left_out_with_their_number(tmp_path: Path) -> None:
    catalogue = write_catalogue(tmp_path, LINE, "oops", "", LINE, LINE.replace("1163", "1164"))
    assert [product.image_id for product in catalogue.products] == [1163, 1164]
    assert [(row.line, row.reason) for row in catalogue.bad_rows] == [
        (3, "1 columns instead of 10"),
        (5, "id: 1163 is in line 2 already"),
    ]


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    (tmp_path / "styles.csv").write_bytes(b"\xef\xbb\xbf" + f"{HEADER}\r\n{LINE}\r\n".encode())
    assert len(read_catalogue(tmp_path).products) == 1


def test_a_folder_without_styles_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ClientError, match=r"has no styles\.csv"):
        read_catalogue(tmp_path)


def test_another_header_is_refused(tmp_path: Path) -> None:
    (tmp_path / "styles.csv").write_text("id,name\n1,Shirt\n")
    with pytest.raises(ClientError, match="the first line must be id,gender"):
        read_catalogue(tmp_path)


def test_only_photos_that_are_missing_or_differ_are_uploaded(tmp_path: Path) -> None:
    world = World()
    photos = {1: b"one", 2: b"two", 3: b"three"}
    lines = [f"{image_id},,,,,,,,,Shirt" for image_id in (1, 2, 3, 4)]
    catalogue = write_catalogue(tmp_path, *lines, photos=photos)
    for image_id, data in {1: b"one", 2: b"TWO"}.items():
        world.objects.put(f"gs://{BUCKET}/images/{image_id}.jpg", data, "image/jpeg")
    world.objects.puts.clear()
    told: list[str] = []

    transfers = upload_photos(catalogue, world.objects, BUCKET, told.append)

    assert (transfers.uploaded, transfers.present, transfers.missing) == (2, 1, (4,))
    assert sorted(told) == ["missing", "present", "uploaded", "uploaded"]
    assert sorted(world.objects.puts) == [f"gs://{BUCKET}/images/{image_id}.jpg" for image_id in (2, 3)]
    assert world.objects.read(f"gs://{BUCKET}/images/2.jpg").data == b"two"

    again = upload_photos(catalogue, world.objects, BUCKET, told.append)
    assert (again.uploaded, again.present, again.missing) == (0, 3, (4,))


class UnsteadyObjects(OwnedObjects):
    """Objects of which some cannot be put as long as `failing`."""

    failing = True

    def put(self, uri: str, data: bytes, content_type: str) -> int:
        if self.failing and random.Random(uri).random() < 0.3:
            raise ConnectionError("reset by peer")
        return super().put(uri, data, content_type)


def test_an_upload_that_was_cut_off_is_carried_on(tmp_path: Path) -> None:
    objects = UnsteadyObjects(MemoryObjects())
    photos = {image_id: f"photo {image_id}".encode() for image_id in range(1, 61)}
    catalogue = write_catalogue(
        tmp_path, *(f"{image_id},,,,,,,,,Shirt" for image_id in photos), photos=photos
    )
    with pytest.raises(ConnectionError):
        upload_photos(catalogue, objects, BUCKET, lambda outcome: None)
    done = len(objects.facts(f"gs://{BUCKET}/images/"))
    objects.failing = False

    transfers = upload_photos(catalogue, objects, BUCKET, lambda outcome: None)

    assert (transfers.uploaded, transfers.present) == (60 - done, done)
    assert len(objects.facts(f"gs://{BUCKET}/images/")) == 60


def test_products_replace_those_of_the_same_id(tmp_path: Path) -> None:
    world = World()
    load_products(write_catalogue(tmp_path / "a", "1,,,,,,,,,Shirt", "2,,,,,,,,,Tie"), world.tables)
    load_products(write_catalogue(tmp_path / "b", "2,,,,,,,,,Bow tie"), world.tables)
    load_products(write_catalogue(tmp_path / "c"), world.tables)
    assert {key: product.display_name for key, product in world.tables.products.items()} == {
        1: "Shirt",
        2: "Bow tie",
    }
