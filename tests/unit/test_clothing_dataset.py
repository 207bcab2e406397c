"""images.csv and the meaning of its labels: what is wrong is named by file, line and value, in one line."""

from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.shared import clothing_dataset
from services.shared.catalogue_files import Catalogue
from services.shared.clothing_dataset import (
    LABEL_MAPS,
    ClothingError,
    SentPhoto,
    catalogue_of,
    label_map,
    read_label_map,
    read_photos,
)
from services.shared.errors import ObjectNotFoundError
from services.shared.events import Filters, Product
from services.shared.folders import open_folder
from tests.unit.archives import unzipped, with_size, zipped

LABELS = label_map("clothing-dataset")
HEADER = "image,sender_id,label,kids"
SHIRT, HAT = "4285fab0-751a-4b74-8e9b-43af05deee22", "ea7b6656-3f84-4eb3-9099-23e623fc1018"
ROWS = f"{SHIRT},124,T-Shirt,False\n{HAT},148,Hat,True\n"
PHOTOS = (SentPhoto(SHIRT, "124", "T-Shirt", kids=False), SentPhoto(HAT, "148", "Hat", kids=True))


def write(path: Path, content: str | bytes) -> Path:
    data = content.encode() if isinstance(content, str) else content
    return unzipped(path, {"images.csv": data, f"images/{SHIRT}.jpg": b"shirt"})


def refusal(path: Path) -> str:
    with pytest.raises(ClothingError) as refused:
        read_photos(path, LABELS)
    message = str(refused.value)
    assert len(message.splitlines()) == 1
    assert message.startswith(str(path))
    assert len(message) < len(str(path)) + 400
    return message.removeprefix(f"{path}: ")


def read(path: Path) -> Catalogue:
    return catalogue_of(open_folder(path, ("images.csv",)), LABELS)


# ------------------------------------------------------------------------------------- what is read


@pytest.mark.parametrize(
    "content",
    [
        f"{HEADER}\n{ROWS}",
        f"{HEADER}\n{ROWS}".replace("\n", "\r\n"),
        f"{HEADER}\n{ROWS}".replace("\n", "\r"),
        f"\ufeff{HEADER}\n{ROWS}",
        f"\ufeff{HEADER}\n\n{ROWS}\n\n".replace("\n", "\r\n"),
        f"{HEADER}\n{ROWS}".rstrip("\n"),
        # As spreadsheets write it.
        f"{HEADER}\n{ROWS}".replace("False", "FALSE").replace("True", "TRUE"),
        f'"image","sender_id","label","kids"\n"{SHIRT}","124","T-Shirt","False"\n{HAT},148,"Hat",True\n',
        f" image , sender_id, label ,kids\n {SHIRT} ,124, T-Shirt ,False\n{HAT},148,Hat, True \n",
        f"kids,label,size,image,sender_id\nFalse,T-Shirt,M,{SHIRT},124\nTrue,Hat,,{HAT},148\n",
    ],
    ids=["plain", "crlf", "cr", "mark", "mark-crlf-blank", "no-end", "capitals", "quoted", "blanks", "order"],
)
def test_each_way_to_write_the_rows_means_the_same(content: str, tmp_path: Path) -> None:
    folder, photos = read_photos(write(tmp_path / "set", content), LABELS)
    assert photos == PHOTOS
    assert folder.read(photos[0].photo, 10) == b"shirt"


def test_a_zip_is_read_as_it_was_downloaded(tmp_path: Path) -> None:
    files = {"clothing-dataset/images.csv": f"{HEADER}\n{ROWS}".encode(), "clothing-dataset/README.md": b""}
    assert read_photos(zipped(tmp_path / "set.zip", files), LABELS)[1] == PHOTOS


def test_labels_become_the_columns_that_they_tell(tmp_path: Path) -> None:
    labels = ("T-Shirt", "Longsleeve", "Shoes", "Not sure")
    rows = "".join(f"photo-{label},1,{label},False\n" for label in labels)
    products = read(write(tmp_path / "set", f"{HEADER}\n{rows}")).products

    assert products == tuple(
        Product.of(f"photo-{label}", display_name=f"{label} photo-{label}", **columns)
        for label, columns in {
            "T-Shirt": {"article_type": "Tshirts", "sub_category": "Topwear", "master_category": "Apparel"},
            "Longsleeve": {"sub_category": "Topwear", "master_category": "Apparel"},
            "Shoes": {"master_category": "Footwear"},
            "Not sure": {},
        }.items()
    )


def test_a_product_has_the_photo_of_its_row(tmp_path: Path) -> None:
    catalogue = read(write(tmp_path / "set", f"{HEADER}\n{ROWS}"))
    assert catalogue.photo(catalogue.products[0], 10) == b"shirt"
    with pytest.raises(ObjectNotFoundError):
        catalogue.photo(catalogue.products[1], 10)


def test_an_id_is_the_photos_uuid(tmp_path: Path) -> None:
    catalogue = read(write(tmp_path / "set", f"{HEADER}\n{ROWS}"))
    assert [product.product_id for product in catalogue.products] == [SHIRT, HAT]


# ------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("column", clothing_dataset.COLUMNS)
def test_a_column_that_is_missing_is_named(column: str, tmp_path: Path) -> None:
    header = HEADER.replace(column, f"x{column}")
    assert refusal(write(tmp_path / "set", f"{header}\n{ROWS}")) == (
        f"images.csv: the column {column!r} is missing; expected image,sender_id,label,kids, found {header}"
    )


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("a,1,T-Shrt,False", "label: unknown label 'T-Shrt'; did you mean 'T-Shirt'?"),
        ("a,1,tshirt,False", "label: unknown label 'tshirt'; did you mean 'T-Shirt'?"),
        (
            "a,1,Kimono,False",
            "label: unknown label 'Kimono'; expected one of Blazer, Blouse, Body, Dress, Hat",
        ),
        ("a,1,,False", "label: unknown label ''; expected one of Blazer"),
        ("a,1,T-Shirt", "3 columns instead of 4"),
        ("a,1,T-Shirt,False,yes", "kids: must be True or False (got 'False,yes')"),
        ("a,1,T-Shirt,no", "kids: must be True or False (got 'no')"),
        (",1,T-Shirt,False", "image: must be the name of a photo in images/ without .jpg (got '')"),
        ("../a,1,T-Shirt,False", "image: must be the name of a photo in images/ without .jpg (got '../a')"),
        ("..\\a,1,T-Shirt,False", "image: must be the name of a photo in images/ without .jpg"),
        ("a\0,1,T-Shirt,False", "image: must be the name of a photo in images/ without .jpg (got 'a\\x00')"),
        (f"{SHIRT},1,Hat,False", f"image: '{SHIRT}' is in line 2 already"),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_row_that_cannot_be_used_is_named_by_its_line(
    row: str, complaint: str, end: str, tmp_path: Path
) -> None:
    content = f"{HEADER}\n{ROWS}\n".replace("\n", end) + row + end + f"b,1,Hat,False{end}"
    line = 5
    assert refusal(write(tmp_path / "set", content)).startswith(f"images.csv, line {line}: {complaint}")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "images.csv is empty"),
        (b"\n\n", "images.csv is empty"),
        (f"{HEADER}\na,1,Möbel,False".encode("cp1252"), "images.csv, line 2: label: unknown label 'Möbel'"),
        (f'{HEADER}\na,1,"T-Shirt,False\n{ROWS}'.encode(), "images.csv, line 2: label: unknown label"),
        (f'{HEADER}\n"{"a" * 200_000}",1,T-Shirt,False'.encode(), "images.csv, line 2: image: must be"),
    ],
)
def test_a_file_that_is_no_index_is_refused(content: bytes, complaint: str, tmp_path: Path) -> None:
    assert refusal(write(tmp_path / "set", content)).startswith(complaint)


def test_an_index_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    files = {"images.csv": f"{HEADER}\n{ROWS}".encode()}
    forged = with_size(zipped(tmp_path / "forged.zip", files), "images.csv", 10)
    assert refusal(forged).startswith("images.csv is damaged")
    with pytest.raises(ClothingError, match=r"has no images\.csv"):
        read_photos(unzipped(tmp_path / "empty", {}), LABELS)


@settings(deadline=None, max_examples=200)
@given(
    st.lists(
        st.lists(
            st.sampled_from(["a", "b", "1", "T-Shirt", "Hat", "True", "False", '"', "\r", "\n", ""]),
            max_size=5,
        )
        | st.lists(st.text(max_size=5), max_size=5),
        max_size=6,
    )
)
def test_any_rows_are_photos_or_a_reason(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]
) -> None:
    content = "\n".join([HEADER, *(",".join(row) for row in rows)]).encode(errors="surrogatepass")
    path = write(tmp_path_factory.mktemp("set"), content)
    try:
        _folder, photos = read_photos(path, LABELS)
    except ClothingError:
        assert refusal(path).startswith("images.csv")
        return
    assert len({photo.image for photo in photos}) == len(photos)
    assert all(photo.label in LABELS and photo.image for photo in photos)


# ------------------------------------------------------------------------------------- label maps


@pytest.mark.parametrize("name", sorted(path.stem for path in LABEL_MAPS.iterdir()))
def test_a_map_that_ships_names_columns_of_the_catalogue(name: str) -> None:
    columns = {column for meaning in label_map(name).values() for column in meaning}
    assert {"article_type", "sub_category", "master_category"} <= columns
    assert columns <= {*Filters.COLUMNS, "garment"}


def test_the_maps_that_ship_put_each_article_type_into_one_category() -> None:
    parents: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for path in LABEL_MAPS.iterdir():
        for meaning in read_label_map(path).values():
            for child, parent in (("article_type", "sub_category"), ("sub_category", "master_category")):
                if child in meaning:
                    parents[child, meaning[child]].add(meaning[parent])
    assert [child for child, found in parents.items() if len(found) != 1] == []


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "expected `label: {column: value}`"),
        ("- Hat", "expected `label: {column: value}`"),
        ("Hat: Caps", "Hat: expected {column: value}"),
        ("Hat: {article_type: 7}", "Hat: article_type: expected a text, not 7"),
        ("Hat: {article_type: ''}", "Hat: article_type: expected a text, not ''"),
        ("No: {article_type: Caps}", "False: expected {column: value}"),
        ("Hat: {article_type: Caps", "expected a label map in YAML: while parsing"),
    ],
)
def test_a_map_that_is_none_is_refused(content: str, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "map.yaml"
    path.write_text(content)
    with pytest.raises(ClothingError) as refused:
        read_label_map(path)
    assert str(refused.value).startswith(f"{path}: {complaint}")
    assert len(str(refused.value).splitlines()) == 1


def test_a_map_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ClothingError, match=r"nowhere\.yaml"):
        read_label_map(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(
    "content",
    [
        f"{HEADER}\n{ROWS}".replace(",", ";").encode(),
        f"{HEADER}\n{ROWS}".replace(",", "\t").encode(),
        f"{HEADER.upper()}\n{ROWS}".encode(),
        f"{HEADER}\n{ROWS}".encode("utf-16"),
        f"{HEADER}\n{ROWS}".replace("T-Shirt", "t-shirt").encode(),
    ],
)
def test_an_index_in_another_form_is_read(content: bytes, tmp_path: Path) -> None:
    assert (
        read(write(tmp_path / "set", content)).products
        == read(write(tmp_path / "plain", f"{HEADER}\n{ROWS}")).products
    )
