"""A folder and a zip file are read alike; what is damaged or forged is refused in one line."""

import os
import random
import sys
import tracemalloc
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_LZMA, ZIP_STORED, ZipFile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.shared.errors import ObjectNotFoundError, ObjectTooLargeError
from services.shared.folders import MAX_INDEX_BYTES, Folder, FolderError, open_folder, read_index
from tests.unit.archives import damaged, unzipped, with_flags, with_link, with_size, zipped

INDEX = ("styles.csv", "images.csv")
FILES = {"styles.csv": b"id\n1\n", "images/1.jpg": b"one", "images/2.jpg": b"two" * 1000}


def made_folder(tmp_path: Path, files: Mapping[str, bytes]) -> Path:
    return unzipped(tmp_path / "catalogue", files)


def made_zip(tmp_path: Path, files: Mapping[str, bytes]) -> Path:
    return zipped(tmp_path / "catalogue.zip", files)


both = pytest.mark.parametrize("made", [made_folder, made_zip], ids=["folder", "zip"])
type Made = Callable[[Path, Mapping[str, bytes]], Path]


def refusal(path: Path) -> str:
    """What is said of a folder or zip that cannot be opened: one line that names it."""
    with pytest.raises(FolderError) as refused:
        open_folder(path, INDEX)
    return line_of(refused.value, path)


def line_of(error: Exception, path: Path) -> str:
    message = str(error)
    assert len(message.splitlines()) == 1
    assert message.startswith(str(path))
    return message


# ------------------------------------------------------------------------------------- what is read

names = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/\\:"), min_size=1, max_size=8
)
parts = names.filter(lambda name: name.strip(".") != "" and name.strip() == name and name != "__MACOSX")


@settings(deadline=None, max_examples=40)
@given(
    root=st.lists(parts, max_size=2),
    photos=st.dictionaries(parts, st.binary(max_size=40), max_size=5),
    method=st.sampled_from([ZIP_STORED, ZIP_DEFLATED]),
)
def test_a_folder_and_its_zip_have_the_same_files(
    tmp_path_factory: pytest.TempPathFactory, root: list[str], photos: dict[str, bytes], method: int
) -> None:
    inner = {"styles.csv": b"id\n"} | {f"images/{name}": content for name, content in photos.items()}
    files = {"/".join([*root, name]): content for name, content in inner.items()}
    place = tmp_path_factory.mktemp("both")
    for opened in (
        open_folder(unzipped(place / "folder", files), INDEX),
        open_folder(zipped(place / "file.zip", files, method), INDEX),
    ):
        assert opened.index == "styles.csv"
        assert opened.names("images") == sorted(inner.keys() - {"styles.csv"})
        assert {name: opened.read(name, 40) for name in inner} == inner
        assert read_index(opened) == b"id\n"


@both
def test_a_file_that_is_not_there_or_too_large_is_told_apart(made: Made, tmp_path: Path) -> None:
    folder = open_folder(made(tmp_path, FILES), INDEX)

    assert folder.read("images/2.jpg", 3000) == b"two" * 1000
    assert folder.read("images/2.jpg") == b"two" * 1000
    with pytest.raises(ObjectTooLargeError, match="more than 2999 bytes"):
        folder.read("images/2.jpg", 2999)
    for absent in ("images/3.jpg", "images", "images/\0.jpg", "../catalogue/styles"):
        with pytest.raises(ObjectNotFoundError):
            folder.read(absent, 10)
    assert folder.names("photos") == []


@pytest.mark.parametrize(
    ("files", "root", "index"),
    [
        (["styles.csv"], "", "styles.csv"),
        (["images.csv"], "", "images.csv"),
        # The large version of Fashion Product Images has an images.csv, too.
        (["images.csv", "styles.csv"], "", "styles.csv"),
        (["fashion/styles.csv"], "fashion", "styles.csv"),
        (["a/b/styles.csv"], "a/b", "styles.csv"),
        # The small version has a copy of itself inside.
        (["styles.csv", "myntradataset/styles.csv"], "", "styles.csv"),
        (["data/images.csv", "data/old/styles.csv"], "data", "images.csv"),
        (["__MACOSX/styles.csv", "Meine Bücher 📦/styles.csv"], "Meine Bücher 📦", "styles.csv"),
        (["__MACOSX/styles.csv", "a/b/styles.csv"], "a/b", "styles.csv"),
        (["archive.zip", "the fashion set/images.csv"], "the fashion set", "images.csv"),
    ],
)
@both
def test_the_index_that_is_the_least_deep_counts(
    made: Made, files: list[str], root: str, index: str, tmp_path: Path
) -> None:
    path = made(tmp_path, {name: name.encode() for name in files})
    folder = open_folder(path, INDEX)

    assert folder.index == index
    assert read_index(folder).decode() == f"{root}/{index}".lstrip("/")
    assert folder.where == str(path / root)


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ([], "has no styles.csv or images.csv"),
        (["images/1.jpg"], "has no styles.csv or images.csv"),
        (["__MACOSX/._styles.csv", "__MACOSX/styles.csv"], "has no styles.csv or images.csv"),
        (["a/b/c/styles.csv"], "has no styles.csv or images.csv"),
        (
            ["a/styles.csv", "b/styles.csv"],
            "has styles.csv or images.csv in 2 folders, expected one: 'a', 'b'",
        ),
        (
            ["a/styles.csv", "b/images.csv"],
            "has styles.csv or images.csv in 2 folders, expected one: 'a', 'b'",
        ),
    ],
)
@both
def test_without_one_index_nothing_is_read(
    made: Made, files: list[str], complaint: str, tmp_path: Path
) -> None:
    assert complaint in refusal(made(tmp_path, dict.fromkeys(files, b"")))


def test_a_zip_of_nothing_but_folders_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "folders.zip", {"styles.csv/": b"", "images/": b""})
    assert "has no styles.csv or images.csv" in refusal(path)


def test_a_zip_from_windows_may_have_backslashes_between_its_folders(tmp_path: Path) -> None:
    path = zipped(tmp_path / "windows.zip", {"data\\styles.csv": b"id\n", "data\\images\\1.jpg": b"one"})
    folder = open_folder(path, INDEX)
    assert folder.names("images") == ["images/1.jpg"]
    assert folder.read("images/1.jpg", 10) == b"one"


def test_names_that_begin_with_a_dot_and_a_slash_are_read(tmp_path: Path) -> None:
    folder = open_folder(
        zipped(tmp_path / "dots.zip", {"./styles.csv": b"", "./images//1.jpg": b"one"}), INDEX
    )
    assert folder.read("images/1.jpg", 10) == b"one"


def test_links_in_a_folder_are_followed(tmp_path: Path) -> None:
    kept = unzipped(tmp_path / "kept", {"1": b"one"})
    path = unzipped(tmp_path / "catalogue", {"styles.csv": b"id\n"})
    (path / "images").mkdir()
    (path / "images" / "1.jpg").symlink_to(kept / "1")
    (path / "images" / "2.jpg").symlink_to(kept / "nowhere")
    folder = open_folder(path, INDEX)
    assert folder.read("images/1.jpg", 10) == b"one"
    with pytest.raises(ObjectNotFoundError):
        folder.read("images/2.jpg", 10)


def test_a_file_that_fails_while_it_is_read_is_named(tmp_path: Path) -> None:
    path = unzipped(tmp_path / "catalogue", FILES)
    (path / "images" / "3.jpg").symlink_to("/proc/self/mem")
    folder = open_folder(path, INDEX)
    with pytest.raises(FolderError, match=r"images/3\.jpg cannot be read: Input/output error"):
        folder.read("images/3.jpg", 10)
    with pytest.raises(FolderError, match=r"xx\.jpg cannot be read: File name too long"):
        folder.read(f"images/{'x' * 300}.jpg", 10)


# ------------------------------------------------------------------------------------- what is no zip


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"id,gender\n", "is neither a folder nor a zip file"),
        (b"\x1f\x8b\x08\0" + bytes(100), "is neither a folder nor a zip file"),
        (b"PK\x03\x04", "its end is missing: the download was cut short"),
        (b"\n<!DOCTYPE html><html>Sign in", "is a web page, not a zip file"),
    ],
)
def test_a_file_that_is_no_zip_is_refused(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "styles.csv"
    path.write_bytes(content)
    assert reason in refusal(path)


def test_a_zip_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    whole = zipped(tmp_path / "whole.zip", FILES).read_bytes()
    path = tmp_path / "cut.zip"
    for length in range(7, len(whole), 7):
        path.write_bytes(whole[:length])
        assert "its end is missing: the download was cut short" in refusal(path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert "is neither a folder nor a zip file" in refusal(pipe)
    assert "does not exist" in refusal(tmp_path / "nowhere.zip")


@settings(deadline=None, max_examples=300)
@given(
    data=st.data(),
    method=st.sampled_from([ZIP_STORED, ZIP_DEFLATED]),
    value=st.integers(0, 255),
    length=st.sampled_from([1, 1, 1, 2, 4, 8]),
)
def test_a_zip_with_any_damage_has_the_right_files_or_a_reason(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, method: int, value: int, length: int
) -> None:
    path = zipped(tmp_path_factory.mktemp("damage") / "catalogue.zip", FILES, method)
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place : place + length] = bytes([value]) * length
    path.write_bytes(content[: path.stat().st_size])
    try:
        folder = open_folder(path, INDEX)
    except FolderError as refused:
        line_of(refused, path)
        return
    for name, expected in FILES.items():
        try:
            assert folder.read(name, 5000) == expected
        except FolderError as refused:
            line_of(refused, path)
        except (ObjectNotFoundError, ObjectTooLargeError):
            pass


# ------------------------------------------------------------------------------------- what is forged


@pytest.mark.parametrize(
    "name",
    [
        "../styles.csv",
        "images/../../1.jpg",
        "images/..",
        "/etc/passwd",
        "//server/share/1.jpg",
        "..\\1.jpg",
        "images\\..\\..\\1.jpg",
        "\\\\server\\share\\1.jpg",
        "C:\\1.jpg",
        "C:/1.jpg",
        "c:1.jpg",
        "../",
    ],
)
def test_a_zip_that_names_a_file_outside_of_itself_is_refused(name: str, tmp_path: Path) -> None:
    path = zipped(tmp_path / "outside.zip", FILES | {name: b""})
    assert f"the file {name!r} would be outside of the archive" in refusal(path)


def test_dots_that_leave_nothing_are_names(tmp_path: Path) -> None:
    files = FILES | {"images/...jpg": b"1", "images/a..b.jpg": b"2"}
    folder = open_folder(zipped(tmp_path / "dots.zip", files), INDEX)
    assert folder.read("images/a..b.jpg", 10) == b"2"


@pytest.mark.parametrize("method", [ZIP_STORED, ZIP_DEFLATED])
@pytest.mark.parametrize("announced", [0, 1, 640_000])
def test_an_entry_that_is_larger_than_it_says_is_damaged_and_takes_no_memory(
    method: int, announced: int, tmp_path: Path
) -> None:
    path = zipped(tmp_path / "forged.zip", FILES | {"images/3.jpg": bytes(64_000_000)}, method)
    folder = open_folder(with_size(path, "images/3.jpg", announced), INDEX)

    tracemalloc.start()
    with pytest.raises(FolderError, match=r"images/3\.jpg is damaged"):
        folder.read("images/3.jpg", 1_000_000)
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 3_000_000
    assert folder.read("images/1.jpg", 10) == b"one"


@pytest.mark.parametrize("method", [ZIP_STORED, ZIP_DEFLATED])
def test_an_entry_that_is_smaller_than_it_says_is_damaged(method: int, tmp_path: Path) -> None:
    path = with_size(zipped(tmp_path / "forged.zip", FILES, method), "images/1.jpg", 100)
    with pytest.raises(FolderError, match=r"images/1\.jpg is damaged: it ends after 3 bytes"):
        open_folder(path, INDEX).read("images/1.jpg", 1000)


def test_an_entry_that_says_it_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = with_size(zipped(tmp_path / "forged.zip", FILES), "images/1.jpg", 2**32 - 2)
    with pytest.raises(ObjectTooLargeError):
        open_folder(path, INDEX).read("images/1.jpg", 1000)


@pytest.mark.parametrize(("method", "number"), [(ZIP_BZIP2, 12), (ZIP_LZMA, 14)])
def test_a_method_that_unpacks_without_bounds_is_refused(method: int, number: int, tmp_path: Path) -> None:
    folder = open_folder(zipped(tmp_path / "catalogue.zip", FILES, method), INDEX)
    with pytest.raises(FolderError, match=f"compressed with method {number}; only deflate is read"):
        folder.read("images/1.jpg", 10)


def test_an_entry_that_is_encrypted_is_told_so(tmp_path: Path) -> None:
    path = with_flags(zipped(tmp_path / "locked.zip", FILES), "images/1.jpg", 1)
    folder = open_folder(with_flags(path, "styles.csv", 1), INDEX)
    for name in ("images/1.jpg", "styles.csv"):
        with pytest.raises(FolderError, match=f"{name} is encrypted"):
            folder.read(name, 10)
    with pytest.raises(FolderError, match=r"styles\.csv is encrypted"):
        read_index(folder)
    assert folder.read("images/2.jpg") == FILES["images/2.jpg"]


def test_an_entry_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    path = with_link(zipped(tmp_path / "links.zip", FILES), "images/3.jpg", "../../../../etc/passwd")
    folder = open_folder(path, INDEX)
    with pytest.raises(FolderError, match=r"images/3\.jpg is a link, not a file"):
        folder.read("images/3.jpg", 1000)

    index = open_folder(with_link(zipped(tmp_path / "index.zip", {}), "styles.csv", "/etc/passwd"), INDEX)
    with pytest.raises(FolderError, match=r"styles\.csv is a link"):
        read_index(index)


def test_a_damaged_entry_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    noise = random.Random(0).randbytes(3000)
    path = damaged(zipped(tmp_path / "damaged.zip", FILES | {"images/3.jpg": noise}), "images/3.jpg")
    folder = open_folder(path, INDEX)
    with pytest.raises(FolderError, match=r"images/3\.jpg is damaged") as refused:
        folder.read("images/3.jpg", 5000)
    line_of(refused.value, path)
    assert folder.read("images/2.jpg", 5000) == FILES["images/2.jpg"]


@pytest.mark.parametrize(
    ("first", "second"),
    [("images/1.jpg", "images/1.jpg"), ("images/1.jpg", "images\\1.jpg"), ("a/b", "a//./b")],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_file_that_is_there_twice_is_refused(first: str, second: str, tmp_path: Path) -> None:
    path = tmp_path / "twice.zip"
    with ZipFile(path, "w") as archive:
        for name in ("data/styles.csv", f"data/{first}", f"data/{second}"):
            archive.writestr(name, name)
    assert f"has the file 'data/{first}' twice" in refusal(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_files_that_nothing_reads_may_be_there_twice(tmp_path: Path) -> None:
    path = tmp_path / "twice.zip"
    with ZipFile(path, "w") as archive:
        for name in ("data/styles.csv", "__MACOSX/data/._styles.csv", "__MACOSX/data/._styles.csv"):
            archive.writestr(name, "id\n")
    assert read_index(open_folder(path, INDEX)) == b"id\n"


def test_an_index_without_an_end_is_not_read(tmp_path: Path) -> None:
    huge = unzipped(tmp_path / "huge", {"styles.csv": b""})
    with (huge / "styles.csv").open("r+b") as file:
        file.truncate(MAX_INDEX_BYTES + 1)  # takes no room on the disk
    forged = with_size(zipped(tmp_path / "forged.zip", FILES), "styles.csv", MAX_INDEX_BYTES + 1)
    for path in (huge, forged):
        tracemalloc.start()
        with pytest.raises(FolderError, match=rf"styles\.csv has more than {MAX_INDEX_BYTES} bytes"):
            read_index(open_folder(path, INDEX))
        _now, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 10_000_000


# ------------------------------------------------------------------------------------- many threads


@pytest.fixture
def restless() -> object:
    """Threads are changed as often as Python can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("restless")
@pytest.mark.parametrize("method", [ZIP_STORED, ZIP_DEFLATED])
def test_many_threads_read_one_zip(method: int, tmp_path: Path) -> None:
    draw = random.Random(0)
    photos = {f"images/{number}.jpg": draw.randbytes(draw.randrange(20_000)) for number in range(200)}
    path = damaged(zipped(tmp_path / "catalogue.zip", FILES | photos, method), "images/7.jpg")
    folder: Folder = open_folder(path, INDEX)
    asked = [*photos, *photos, *photos]
    draw.shuffle(asked)

    def read(name: str) -> bytes | str:
        try:
            return folder.read(name, 20_000)
        except FolderError:
            return "damaged"

    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(read, asked))

    wrong = [
        name
        for name, content in zip(asked, found, strict=True)
        if content != ("damaged" if name == "images/7.jpg" else photos[name])
    ]
    assert wrong == []
