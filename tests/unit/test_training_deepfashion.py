from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from services.model.fashionnet import CATEGORIES, UNKNOWN, ClothesType
from services.shared.errors import ImageError
from services.training.deepfashion import (
    Annotation,
    Attribute,
    Benchmark,
    Box,
    DeepFashionSource,
    FormatError,
    Landmark,
    Visibility,
    example,
)
from services.training.examples import LeftOut

SHIRT, JEANS, DRESS = (f"img/{name}/img_0000000{index}.jpg" for index, name in enumerate(("A_Tee", "B", "C")))
COLUMNS = "landmark_visibility_{0} landmark_location_x_{0} landmark_location_y_{0}"
LANDMARK_COLUMNS = "  ".join(COLUMNS.format(number) for number in range(1, 9))
CATEGORY_ROWS = [f"{category.name:<15}{category.clothes_type}" for category in CATEGORIES]
ATTRIBUTE_ROWS = ["a-line                       3", "abstract chevron print       1", "wash 5"]

# File -> header and rows, laid out as the published ones are: padded columns, numbers with leading zeros.
FILES: Mapping[str, tuple[str, Sequence[str]]] = {
    "Anno_coarse/list_category_cloth.txt": ("category_name  category_type", CATEGORY_ROWS),
    "Anno_coarse/list_category_img.txt": (
        "image_name                 category_label",
        [f"{SHIRT}          18", f"{JEANS}          26", f"{DRESS}          41"],
    ),
    "Anno_coarse/list_attr_cloth.txt": ("attribute_name  attribute_type", ATTRIBUTE_ROWS),
    "Anno_coarse/list_attr_img.txt": (
        "image_name                 attribute_labels",
        [f"{SHIRT}   -1  1 -1 ", f"{JEANS}    0 -1 -1 ", f"{DRESS}   1 -1  1 "],
    ),
    "Anno_coarse/list_bbox.txt": (
        "image_name  x_1  y_1  x_2  y_2",
        [f"{SHIRT}  072 079 232 273", f"{JEANS}  010 020 110 220", f"{DRESS}  000 000 300 200"],
    ),
    "Anno_coarse/list_landmarks.txt": (
        f"image_name  clothes_type  variation_type  {LANDMARK_COLUMNS}",
        [
            f"{SHIRT}  1  4  0 146 102  0 173 095  1 094 242  2 000 000  0 136 229  0 177 232",
            f"{JEANS}  2  1  0 020 030  1 090 031  0 015 210  0 100 211",
            f"{DRESS}  3  2  0 1 2  0 3 4  1 5 6  2 7 8  0 9 10  0 11 12  0 13 14  0 15 16",
        ],
    ),
    "Eval/list_eval_partition.txt": (
        "image_name  evaluation_status",
        [f"{SHIRT}  train", f"{JEANS}  val", f"{DRESS}  test"],
    ),
}


def _write(folder: Path, files: Mapping[str, tuple[str, Sequence[str]]] = FILES) -> Path:
    for name, (header, rows) in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join([str(len(rows)), header, *rows]) + "\n")
    return folder


def test_names_are_those_of_the_files(tmp_path: Path) -> None:
    benchmark = Benchmark(_write(tmp_path))

    assert benchmark.categories == CATEGORIES
    assert benchmark.attributes == (
        Attribute("a-line", 3),
        Attribute("abstract chevron print", 1),
        Attribute("wash", 5),
    )


def test_annotations_bring_together_what_the_files_say(tmp_path: Path) -> None:
    shirt, jeans, dress = Benchmark(_write(tmp_path)).annotations()

    assert [each.photo for each in (shirt, jeans, dress)] == [tmp_path / n for n in (SHIRT, JEANS, DRESS)]
    assert [each.split for each in (shirt, jeans, dress)] == ["train", "val", "test"]
    assert [CATEGORIES[each.category].name for each in (shirt, jeans, dress)] == ["Tee", "Jeans", "Dress"]
    assert [each.attributes.tolist() for each in (shirt, jeans, dress)] == [
        [0, 1, 0],
        [UNKNOWN, 0, 0],
        [1, 0, 1],
    ]
    assert shirt.box == (72, 79, 232, 273)


def test_each_type_of_clothes_has_its_landmarks_in_their_places(tmp_path: Path) -> None:
    shirt, jeans, dress = Benchmark(_write(tmp_path)).annotations()
    visible, occluded, cut_off = Visibility

    assert shirt.landmarks == (
        (visible, 146, 102),
        (visible, 173, 95),
        (occluded, 94, 242),
        (cut_off, 0, 0),
        None,
        None,
        (visible, 136, 229),
        (visible, 177, 232),
    )
    assert jeans.landmarks[:4] == (None,) * 4
    assert [landmark and landmark.x for landmark in jeans.landmarks[4:]] == [20, 90, 15, 100]
    assert [landmark and landmark.x for landmark in dress.landmarks] == [1, 3, 5, 7, 9, 11, 13, 15]
    assert [each.clothes_type.name for each in (shirt, jeans, dress)] == ["UPPER", "LOWER", "FULL"]


def test_other_folders_and_a_list_without_variation_types_are_read_too(tmp_path: Path) -> None:
    files = {name.replace("Anno_coarse", "Anno"): content for name, content in FILES.items()}
    rows = [f"{SHIRT} 1 0 1 2 0 3 4 0 5 6 0 7 8 0 9 10 0 11 12", f"{JEANS} 2" + " 0 1 2" * 4]
    rows.append(f"{DRESS} 3" + " 0 1 2" * 8)
    files["Anno/list_landmarks.txt"] = (f"image_name clothes_type {LANDMARK_COLUMNS}", rows)
    (tmp_path / "Img").mkdir()

    shirt, *_ = Benchmark(_write(tmp_path, files)).annotations()

    assert shirt.landmarks[0] == (Visibility.VISIBLE, 1, 2)
    assert shirt.photo == tmp_path / "Img" / SHIRT


LISTS = "Anno_coarse/list_"


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("category_cloth", "50\n", "fifty\n", "list_category_cloth.txt:1: expected the number of rows"),
        ("category_cloth", "50\n", "49\n", ":1: expected 49 rows, as the first line says, and not 50"),
        ("category_cloth", "category_name  category_type\n", "", ":2: expected the names of the columns"),
        ("category_cloth", "Blazer         1", "Blazer", ":4: expected at least 2 columns and not 1"),
        ("category_cloth", "Blazer         1", "Blazer 4", ":4: expected a clothes type (1 to 3) and not"),
        ("attr_cloth", "wash 5", "wash out", ":5: expected an attribute type (1 to 5) and not 'out'"),
        ("category_img", "26", "51", ":4: expected the number of a category (1 to 50) and not '51'"),
        ("category_img", "26", "0", ":4: expected the number of a category (1 to 50) and not '0'"),
        ("attr_img", "0 -1 -1", "0 -1", ":4: expected 3 attribute labels and not 2"),
        ("attr_img", "0 -1 -1", "0 -1 2", ":4: expected attribute labels that are 1, -1 or 0 and not 2"),
        ("bbox", "072 079 232 273", "072 079 232", ":3: expected 4 coordinates of a box and not 3"),
        ("bbox", "072 079 232 273", "232 079 072 273", ":3: expected the upper left corner of a box"),
        ("bbox", "072", "7.2", ":3: expected a coordinate in pixels"),
        ("bbox", "072", "9" * 5000, ":3: expected a coordinate in pixels"),
        ("landmarks", "1  4  0 146", "2  4  0 146", ":3: expected 4 landmarks of 3 columns for"),
        ("landmarks", "0 146", "3 146", ":3: expected a landmark's visibility (0 to 2) and not '3'"),
        ("landmarks", "landmark_visibility_1", "x", ":2: expected a column landmark_visibility_1"),
        ("landmarks", JEANS, DRESS, f":4: expected {JEANS}, as in list_category_img.txt:4, and not {DRESS}"),
        ("eval_partition", "  val", "  validation", ":4: expected train, val or test and not validation"),
    ],
)  # fmt: skip
def test_what_is_not_as_published_is_named(
    tmp_path: Path, file: str, old: str, new: str, message: str
) -> None:
    _write(tmp_path)
    path = next(tmp_path.glob(f"*/list_{file}.txt"))
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))

    with pytest.raises(FormatError) as refusal:
        list(Benchmark(tmp_path).annotations())

    assert message in str(refusal.value)
    assert str(path) in str(refusal.value)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    (_write(tmp_path) / name).unlink()
    with pytest.raises(FormatError, match=f"{name}: expected this file"):
        list(Benchmark(tmp_path).annotations())


@pytest.mark.parametrize("short", [name for name, (header, _) in FILES.items() if "image_name" in header])
def test_a_file_with_fewer_photos_than_the_others_is_named(tmp_path: Path, short: str) -> None:
    header, rows = FILES[short]
    _write(tmp_path, {**FILES, short: (header, rows[:2])})
    with pytest.raises(FormatError, match=f"{short}: expected more than 2 rows"):
        list(Benchmark(tmp_path).annotations())


def test_rows_before_a_bad_one_are_had_already(tmp_path: Path) -> None:
    """It streams: nothing waits for the end of a file."""
    header, rows = FILES["Eval/list_eval_partition.txt"]
    _write(tmp_path, {**FILES, "Eval/list_eval_partition.txt": (header, [*rows[:2], "damaged"])})

    assert len(list(islice(Benchmark(tmp_path).annotations(), 2))) == 2


def _annotation(photo: Path, box: Box, *landmarks: Landmark | None) -> Annotation:
    places = (*landmarks, *[None] * (8 - len(landmarks)))
    return Annotation(photo, "train", 0, np.zeros(3, np.int8), box, ClothesType.FULL, places)


def _photo(folder: Path, width: int, height: int, dots: Sequence[tuple[int, int]] = ()) -> Path:
    pixels = np.full((height, width, 3), 200, np.uint8)
    for x, y in dots:
        pixels[y - 3 : y + 3, x - 3 : x + 3] = 0
    path = folder / "photo.png"
    Image.fromarray(pixels).save(path)
    return path


@settings(deadline=None)
@given(
    corner=st.tuples(st.integers(-20, 60), st.integers(-20, 60)),
    extent=st.tuples(st.integers(80, 260), st.integers(80, 260)),
    place=st.tuples(st.floats(0.2, 0.8), st.floats(0.2, 0.8)),
)
def test_a_landmark_is_where_its_pixels_are(
    tmp_path_factory: pytest.TempPathFactory,
    corner: tuple[int, int],
    extent: tuple[int, int],
    place: tuple[float, float],
) -> None:
    box = Box(*corner, corner[0] + extent[0], corner[1] + extent[1])
    x, y = (max(0, at) + round(share * 50) for at, share in zip(corner, place, strict=True))
    photo = _photo(tmp_path_factory.mktemp("photo"), 300, 200, [(x, y)])

    cut = example(_annotation(photo, box, Landmark(Visibility.VISIBLE, x, y)), 224)

    dark = np.argwhere(cut.pixels[..., 0] < 100)
    found = (dark.mean(axis=0)[::-1] + 0.5) / 224
    assert cut.visibility.tolist() == [1] + [0] * 7
    np.testing.assert_allclose(cut.landmarks[0], found, atol=0.03)


def test_only_what_is_visible_and_in_the_box_is_seen(tmp_path: Path) -> None:
    places = [Landmark(visibility, 50, 50) for visibility in Visibility]
    annotation = _annotation(
        _photo(tmp_path, 100, 100), Box(10, 10, 90, 90), *places, Landmark(Visibility.VISIBLE, 95, 50)
    )

    cut = example(annotation, 32)

    assert cut.visibility.tolist() == [1, 0, 0, 0, 0, 0, 0, 0]
    assert cut.pixels.shape == (32, 32, 3)
    assert cut.landmarks.shape == (8, 2)
    assert (cut.landmarks >= 0).all()
    assert (cut.landmarks <= 1).all()


def test_a_box_outside_of_its_photo_is_named(tmp_path: Path) -> None:
    annotation = _annotation(_photo(tmp_path, 100, 80), Box(120, 10, 150, 60))
    with pytest.raises(
        FormatError, match=r"photo\.png: expected a box in 100x80 pixels and not 120 10 150 60"
    ):
        example(annotation, 32)


def test_a_photo_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"<html>")
    with pytest.raises(ImageError, match="photo-not-an-image"):
        example(_annotation(tmp_path / "photo.jpg", Box(0, 0, 9, 9)), 32)


def test_it_is_a_source_of_examples_on_the_published_split(tmp_path: Path) -> None:
    _write(tmp_path)
    for name, size in ((SHIRT, (300, 300)), (DRESS, (300, 200))):
        (tmp_path / name).parent.mkdir(parents=True)
        Image.new("RGB", size, "navy").save(tmp_path / name)
    (tmp_path / JEANS).parent.mkdir(parents=True)
    (tmp_path / JEANS).write_bytes(b"no photo")

    source = DeepFashionSource(tmp_path)
    found = list(source.examples(32))

    assert [(side, each.key) for side, each in found] == [("train", SHIRT), ("test", DRESS)]
    said = [{head: source.heads[head][index] for head, index in each.labels.items()} for _, each in found]
    assert said == [
        {"category": "Tee", "clothes_type": "upper"},
        {"category": "Dress", "clothes_type": "full"},
    ]
    assert all(each.pixels.shape == (32, 32, 3) for _, each in found)
    assert source.left_out == [LeftOut(JEANS, 1, "photo-not-an-image")]


def test_a_photo_that_is_not_there_is_left_out_by_name(tmp_path: Path) -> None:
    source = DeepFashionSource(_write(tmp_path))

    assert list(source.examples(32)) == []
    assert source.left_out == [LeftOut(f"{SHIRT}, {JEANS}, {DRESS}", 3, "photo-missing")]
