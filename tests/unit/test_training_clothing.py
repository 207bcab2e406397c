"""People's photos of their own clothes as training data: senders and pictures stay on one side."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from services.model.duplicates import signature
from services.model.learnt import photo_digest
from services.shared import images
from services.shared.clothing_dataset import ClothingError, label_map
from services.training.clothing import ClothingSource
from services.training.examples import UNKNOWN, Example, LeftOut, Side
from services.training.sides import Sides
from tests.unit.archives import damaged, unzipped, with_size, zipped
from tests.unit.training_photos import photo, picture

SIZE = 32
SENDERS = 60
KINDS = ("T-Shirt", "Pants", "Shoes", "Longsleeve", "Hat", "Not sure")
LABELS = {kind: label_map("clothing-dataset")[kind] for kind in KINDS}

# Image -> sender, label. Of each sender there are two photos.
ROWS = {
    f"photo-{number:03}": (f"sender-{number // 2}", KINDS[number % len(KINDS)])
    for number in range(2 * SENDERS)
}


def files(
    rows: Mapping[str, tuple[str, str]] = ROWS, photos: Mapping[str, bytes] | None = None
) -> dict[str, bytes]:
    """The data set's files: each image has a picture of its own, but for those given."""
    lines = [f"{image},{sender},{label},False" for image, (sender, label) in rows.items()]
    own = {image: photo(number, side=24) for number, image in enumerate(rows)}
    return {"images.csv": "\n".join(["image,sender_id,label,kids", *lines]).encode()} | {
        f"images/{image}.jpg": content for image, content in (own | dict(photos or {})).items()
    }


def split(path: Path, **images: Sequence[str]) -> Path:
    rows = [f"{image},{side}" for side, named in images.items() for image in named]
    path.write_text("\n".join(["image,split", *rows]))
    return path


def source(
    path: Path,
    official_split: Path | None = None,
    validate_share: float = 0.2,
    new_sender_share: float = 0.2,
    sides: Sides | None = None,
    kinds: Collection[str] = KINDS,
) -> ClothingSource:
    return ClothingSource(
        path,
        {kind: LABELS[kind] for kind in kinds},
        official_split=official_split,
        validate_share=validate_share,
        new_sender_share=new_sender_share,
        sides=sides,
    )


def read(made: ClothingSource) -> dict[str, tuple[Side, Example]]:
    return {example.key: (side, example) for side, example in made.examples(SIZE)}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return zipped(tmp_path_factory.mktemp("clothing") / "clothing-dataset.zip", files())


def test_heads_are_what_the_labels_tell(whole: Path) -> None:
    made = source(whole)

    assert made.heads == {
        "garment": ["Hat", "Longsleeve", "Pants", "Shoes", "T-Shirt"],
        "article_type": ["Caps", "Tshirts"],
        "sub_category": ["Bottomwear", "Headwear", "Topwear"],
        "master_category": ["Accessories", "Apparel", "Footwear"],
    }
    for key, (_, example) in read(made).items():
        meaning = LABELS[ROWS[key][1]]
        told = {head: made.heads[head][index] for head, index in example.labels.items() if index != UNKNOWN}
        assert told == meaning


def test_no_sender_is_on_two_sides_and_each_photo_on_one(whole: Path) -> None:
    examples = read(source(whole))

    assert examples.keys() == ROWS.keys()
    sure = {key: side for key, (side, example) in examples.items() if example.origin != "snapshot_unsure"}
    sides: dict[str, set[Side]] = {}
    for key, side in sure.items():
        sides.setdefault(ROWS[key][0], set()).add(side)
    assert {len(each) for each in sides.values()} == {1}
    counted = Counter(side for each in sides.values() for side in each)
    assert counted.total() == SENDERS
    assert all(5 <= counted[side] <= 20 for side in ("validate", "test"))


def test_origins_of_the_test_side_say_why_a_photo_tests(whole: Path, tmp_path: Path) -> None:
    official = ["photo-000", "photo-001", "photo-002", "photo-060"]
    chosen = split(tmp_path / "split.csv", test=official, train=["photo-003"], validation=["photo-004"])
    examples = read(source(whole, chosen))

    origins = {key: (side, example.origin) for key, (side, example) in examples.items()}
    assert all(origins[key] == ("test", "snapshot") for key in official)
    assert {key for key, origin in origins.items() if origin == ("test", "snapshot")} == {*official}
    unsure = {key for key, (_, label) in ROWS.items() if label == "Not sure"}
    assert {key for key, (_, origin) in origins.items() if origin == "snapshot_unsure"} == unsure - {
        *official
    }
    for key, (side, origin) in origins.items():
        assert (
            origin
            in {
                "train": ("snapshot",),
                "validate": ("snapshot",),
                "test": ("snapshot", "snapshot_new_sender", "snapshot_unsure"),
            }[side]
        ), key
    # Nobody who tests as a new sender trains or validates, the official split notwithstanding.
    new = {ROWS[key][0] for key, (_, origin) in origins.items() if origin == "snapshot_new_sender"}
    others = {ROWS[key][0] for key, (side, _) in origins.items() if side != "test"}
    assert new
    assert not new & others


def test_a_photos_side_does_not_depend_on_the_other_photos(whole: Path, tmp_path: Path) -> None:
    some = dict(list(ROWS.items())[::3])
    kinds = {kind for _, kind in some.values()}
    fewer = read(source(unzipped(tmp_path / "fewer", files(some)), kinds=kinds))
    assert {key: side for key, (side, _) in fewer.items()} == {
        key: side for key, (side, _) in read(source(whole)).items() if key in some
    }


def test_sides_come_in_order_and_the_same_each_time(whole: Path) -> None:
    made = source(whole)
    first, second = list(made.examples(SIZE)), list(made.examples(SIZE))
    order = ["train", "validate", "test"]
    assert [side for side, _ in first] == sorted((side for side, _ in first), key=order.index)
    assert [(side, example.key) for side, example in first] == [(side, each.key) for side, each in second]


def test_an_example_is_the_photo(whole: Path) -> None:
    _, example = read(source(whole))["photo-007"]
    assert example.pixels.shape == (SIZE, SIZE, 3)
    assert example.pixels.dtype == np.uint8
    assert example.photo == photo_digest(files()["images/photo-007.jpg"])
    assert example.year is None


@pytest.mark.parametrize("pack", [zipped, unzipped])
def test_photos_that_cannot_be_used_are_counted_by_reason(pack: object, tmp_path: Path) -> None:
    rows = {f"photo-{number}": ("sender", "Hat") for number in range(6)}
    photos = {"photo-1": b"", "photo-2": b"no photo", "photo-3": photo(3)[:300]}
    content = files(rows, photos)
    del content["images/photo-4.jpg"]
    if pack is zipped:
        path = zipped(tmp_path / "set.zip", content)
        damaged(path, "images/photo-3.jpg")
        with_size(path, "images/photo-5.jpg", images.MAX_BYTES + 1)
    else:
        path = unzipped(tmp_path / "set", content)
        with (path / "images" / "photo-5.jpg").open("r+b") as file:
            file.truncate(images.MAX_BYTES + 1)

    made = source(path, validate_share=0.01, new_sender_share=0, kinds=["Hat"])
    expected = [
        LeftOut("photos", 1, reason)
        for reason in (
            "photo-corrupt",
            "photo-empty",
            "photo-missing",
            "photo-not-an-image",
            "photo-too-large",
        )
    ]

    assert read(made).keys() == {"photo-0"}
    assert made.left_out == expected
    # To read it once more counts nothing twice.
    read(made)
    assert made.left_out == expected


def test_a_picture_is_on_one_side_also_with_those_of_other_sources(whole: Path, tmp_path: Path) -> None:
    kinds = {side: key for key, (side, _) in read(source(whole)).items()}
    trains, validates = kinds["train"], kinds["validate"]
    # The same picture, once as it is and once saved smaller.
    path = unzipped(tmp_path / "set", files(ROWS, {trains: photo(900), validates: photo(900, 96, 70)}))
    made = source(path)
    assert read(made).keys() == ROWS.keys() - {validates}
    assert made.left_out == [
        LeftOut("photos", 1, "would validate, but are near-duplicates of photos that train")
    ]

    others = Sides()
    others.place(signature(picture(900)), "test")
    made = source(path, sides=others)
    assert read(made).keys() == ROWS.keys() - {trains, validates}
    assert {each.why for each in made.left_out} == {
        "would train, but are near-duplicates of photos that test",
        "would validate, but are near-duplicates of photos that test",
    }


def test_what_was_read_is_described(whole: Path, tmp_path: Path) -> None:
    chosen = split(tmp_path / "split.csv", test=["photo-000", "of another set"])
    assert source(whole, chosen, 0.05, 0.08).description == {
        "folder": "clothing-dataset.zip",
        "photos": "120",
        "official test photos": "1",
        "senders that validate": "5%",
        "senders that test": "8%",
    }


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "expected a CSV file with the columns image and split"),
        (b"photo,split\na,test\n", "expected a CSV file with the columns image and split"),
        (b"image,split\na,train\n", "no image has the split test"),
        (b"\xff\xfe\0", "expected a CSV file with the columns image and split: 'utf-8' codec"),
        (
            b'image,split\n"' + b"a" * 200_000,
            "expected a CSV file with the columns image and split: field larger",
        ),
    ],
)
def test_an_official_split_that_is_none_is_refused(
    whole: Path, content: bytes, complaint: str, tmp_path: Path
) -> None:
    path = tmp_path / "split.csv"
    path.write_bytes(content)
    with pytest.raises(ClothingError) as refused:
        source(whole, path)
    assert str(refused.value).startswith(f"{path}: {complaint}")
    with pytest.raises(ClothingError, match=r"nowhere\.csv: expected a CSV file"):
        source(whole, tmp_path / "nowhere.csv")


def test_a_data_set_with_an_unknown_label_is_refused(tmp_path: Path) -> None:
    path = unzipped(tmp_path / "set", files({"a": ("1", "Hat"), "b": ("1", "Hut")}))
    with pytest.raises(
        ClothingError, match=r"images\.csv, line 3: label: unknown label 'Hut'; did you mean 'Hat'"
    ):
        source(path)


def test_a_label_map_that_names_a_label_no_photo_has_is_refused(whole: Path) -> None:
    with pytest.raises(ClothingError, match="the label map names 'Kilt', which no photo has"):
        ClothingSource(
            whole,
            {**LABELS, "Kilt": {"garment": "Kilt"}},
            official_split=None,
            validate_share=0.2,
            new_sender_share=0.2,
        )
