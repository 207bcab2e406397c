import random
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from services.client.importer import load_products, read, upload_photos
from services.shared import images
from services.shared.catalogue_config import CatalogueConfig
from services.shared.catalogue_files import Catalogue
from services.shared.folders import FolderError
from services.shared.jobs import photo_uris
from services.shared.memory import MemoryObjects
from tests.unit.archives import damaged, unzipped, with_flags, with_link, with_size, zipped
from tests.unit.client_world import OwnedObjects, World
from tests.unit.memory_pipeline import BUCKET
from tests.unit.test_catalogue_files import HEADER, write_catalogue
from tests.unit.web_host import answer, silence, web_host


def test_only_photos_that_are_missing_or_differ_are_uploaded(tmp_path: Path) -> None:
    world = World()
    photos = {"1": b"one", "2": b"two", "3": b"three"}
    lines = [f"{product_id},,,,,,,,,Shirt" for product_id in "1234"]
    catalogue = write_catalogue(tmp_path, *lines, photos=photos)
    for product_id, data in {"1": b"one", "2": b"TWO"}.items():
        world.objects.put(f"gs://{BUCKET}/images/{product_id}.jpg", data, "image/jpeg")
    world.objects.puts.clear()
    told: list[str] = []

    transfers = upload_photos(catalogue, world.objects, BUCKET, told.append)

    assert (transfers.uploaded, transfers.present, transfers.missing) == (2, 1, ("4",))
    assert sorted(told) == ["missing", "present", "uploaded", "uploaded"]
    assert sorted(world.objects.puts) == [f"gs://{BUCKET}/images/{product_id}.jpg" for product_id in "23"]
    assert world.objects.read(f"gs://{BUCKET}/images/2.jpg").data == b"two"

    again = upload_photos(catalogue, world.objects, BUCKET, told.append)
    assert (again.uploaded, again.present, again.missing) == (0, 3, ("4",))


class UnsteadyObjects(OwnedObjects):
    """Objects of which some cannot be put as long as `failing`."""

    failing = True

    def put(self, uri: str, data: bytes, content_type: str) -> int:
        if self.failing and random.Random(uri).random() < 0.3:
            raise ConnectionError("reset by peer")
        return super().put(uri, data, content_type)


def test_an_upload_that_was_cut_off_is_carried_on(tmp_path: Path) -> None:
    objects = UnsteadyObjects(MemoryObjects())
    photos = {product_id: f"photo {product_id}".encode() for product_id in map(str, range(1, 61))}
    catalogue = write_catalogue(
        tmp_path, *(f"{product_id},,,,,,,,,Shirt" for product_id in photos), photos=photos
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
        "1": "Shirt",
        "2": "Bow tie",
    }


STYLES = f"{HEADER}\n1,,,,,,,,,Shirt\n2,,,,,,,,,Tie\n".encode()
SENT = b"image,sender_id,label,kids\na-uuid,7,T-Shirt,False\n"
FASHION = {"styles.csv": STYLES, "images/1.jpg": b"one", "images/2.jpg": b"two"}
CLOTHING = {"images.csv": SENT, "images/a-uuid.jpg": b"one"}


@pytest.mark.parametrize("inner", ["", "the set/"])
@pytest.mark.parametrize("pack", [unzipped, zipped])
def test_the_index_tells_the_layout(
    pack: Callable[[Path, Mapping[str, bytes]], Path], inner: str, tmp_path: Path
) -> None:
    def packed(name: str, files: Mapping[str, bytes]) -> Path:
        return pack(tmp_path / name, {inner + file: content for file, content in files.items()})

    fashion, clothing = read(packed("fashion", FASHION)), read(packed("clothing", CLOTHING))

    assert [product.display_name for product in fashion.products] == ["Shirt", "Tie"]
    assert [product.display_name for product in clothing.products] == ["T-Shirt a-uuid"]
    world = World()
    for catalogue in (fashion, clothing):
        load_products(catalogue, world.tables)
        upload_photos(catalogue, world.objects, BUCKET, lambda _outcome: None)
    stored = {uri: world.objects.read(uri).data for uri in world.objects.names(f"gs://{BUCKET}/")}
    assert stored == {
        f"gs://{BUCKET}/images/1.jpg": b"one",
        f"gs://{BUCKET}/images/2.jpg": b"two",
        f"gs://{BUCKET}/images/a-uuid.jpg": b"one",
    }
    assert world.tables.products.keys() == {"1", "2", "a-uuid"}
    assert world.tables.products["a-uuid"].value("article_type") == "Tshirts"


def test_photos_that_cannot_be_read_are_told_and_the_others_uploaded(tmp_path: Path) -> None:
    lines = "".join(f"{number},,,,,,,,,Shirt\n" for number in range(1, 9))
    photos = {f"images/{number}.jpg": b"photo of %d" % number * 50 for number in range(1, 7)}
    path = zipped(tmp_path / "shop.zip", {"styles.csv": f"{HEADER}\n{lines}".encode()} | photos)
    damaged(path, "images/2.jpg")
    with_flags(path, "images/3.jpg", 1)
    with_size(path, "images/4.jpg", 5)
    with_size(path, "images/5.jpg", images.MAX_BYTES + 1)
    with_link(path, "images/7.jpg", "/etc/passwd")
    world = World()
    told: list[str] = []

    transfers = upload_photos(read(path), world.objects, BUCKET, told.append)

    assert (transfers.uploaded, transfers.present, transfers.missing) == (2, 0, ("8",))
    assert [*transfers.unusable] == ["2", "3", "4", "5", "7"]
    reasons = ["is damaged", "is encrypted", "is damaged", f"more than {images.MAX_BYTES} bytes", "is a link"]
    for (number, reason), expected in zip(transfers.unusable.items(), reasons, strict=True):
        assert f"images/{number}.jpg" in reason
        assert expected in reason
    assert Counter(told) == {"unusable": 5, "uploaded": 2, "missing": 1}
    assert sorted(world.objects.puts) == [f"gs://{BUCKET}/images/{number}.jpg" for number in (1, 6)]


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({"styles.csv": HEADER.encode()}, "styles.csv has no products: it has no lines below the header"),
        (
            {"styles.csv": f"{HEADER}\n\n,,,,,,,,,Shirt\n  ,,,,,,,,,Tie\n".encode()},
            "styles.csv has no products: 2 lines skipped, the first is line 3: id: expected 1 to 200 char",
        ),
        ({"styles.csv": b""}, "styles.csv is empty"),
        ({"styles.csv": b"sku,articleType\n1,Shirts\n"}, "styles.csv has no column 'id', only 'sku'"),
        (
            {"images.csv": SENT.splitlines()[0]},
            "images.csv has no products: it has no lines below the header",
        ),
        ({"images.csv": SENT + b"b,7,T-Shrt,False\n"}, "images.csv, line 3: label: unknown label 'T-Shrt'"),
        ({"images.csv": b"image,label\n"}, "images.csv: the column 'sender_id' is missing"),
        ({"photos.csv": SENT}, "has no styles.csv or images.csv"),
    ],
)
@pytest.mark.parametrize("pack", [unzipped, zipped])
def test_a_catalogue_of_which_nothing_can_be_loaded_is_refused(
    pack: Callable[[Path, Mapping[str, bytes]], Path],
    files: Mapping[str, bytes],
    complaint: str,
    tmp_path: Path,
) -> None:
    path = pack(tmp_path / "catalogue", {**files, "images/1.jpg": b"one"})
    with pytest.raises(FolderError) as refused:
        read(path)
    assert str(refused.value).startswith(str(path))
    assert complaint in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


SHOP = CatalogueConfig.model_validate(
    {"id": "sku", "photos": {"column": "photo"}, "attributes": {"kind": {}}}
)


def at_addresses(folder: Path, *addresses: str) -> Catalogue:
    lines = (f"{number},a,{address}\n" for number, address in enumerate(addresses, start=1))
    (folder / "shop.csv").write_text(f"sku,kind,photo\n{''.join(lines)}")
    return read(folder / "shop.csv", SHOP)


def test_photos_at_web_addresses_are_fetched_once(tmp_path: Path) -> None:
    world = World()
    told: list[str] = []
    with web_host() as host:
        host.pages = {f"/{number}.jpg": [answer(200, b"photo %d" % number)] for number in (1, 2, 3)}
        host.pages["/2.jpg"] = [answer(403), answer(200, b"photo 2")]
        addresses = [host.url(f"/{number}.jpg") for number in (1, 2)]
        catalogue = at_addresses(tmp_path, *addresses)

        first = upload_photos(catalogue, world.objects, BUCKET, told.append, host.photos())
        again = upload_photos(catalogue, world.objects, BUCKET, told.append, host.photos())
        moved = at_addresses(tmp_path, host.url("/3.jpg"), addresses[1])
        changed = upload_photos(moved, world.objects, BUCKET, told.append, host.photos())
        asked = host.asked

    assert (first.fetched, first.present, first.uploaded, first.missing) == (1, 0, 0, ())
    assert first.not_fetched == {"photo-unavailable": {"2": f"{host.name()} answers 403"}}
    assert (again.fetched, again.present, again.not_fetched) == (1, 1, {})
    assert (changed.fetched, changed.present) == (1, 1)
    assert asked == {"/1.jpg": 1, "/2.jpg": 2, "/3.jpg": 1}
    assert sorted(told[:2]) == ["fetched", "not fetched"]
    assert [product.photos for product in catalogue.products] == [(each,) for each in addresses]
    stored = [world.objects.read(photo_uris(BUCKET, each)[0]).data for each in catalogue.products]
    assert stored == [b"photo 1", b"photo 2"]


def test_what_cannot_be_fetched_is_told_by_its_code(tmp_path: Path) -> None:
    world = World()
    with web_host() as host:
        host.pages = {
            "/page.jpg": [answer(200, b"<!doctype html>")],
            "/large.jpg": [answer(200, bytes(100_001))],
            "/elsewhere.jpg": [answer(302, Location="https://other.example/1.jpg")],
            "/never.jpg": [silence],
        }
        paths = ("/missing.jpg", "/page.jpg", "/large.jpg", "/elsewhere.jpg", "/never.jpg")
        addresses = [*map(host.url, paths), "http://photos.shop.example/1.jpg", "https://b.example/1.jpg"]
        catalogue = at_addresses(tmp_path, *addresses)
        transfers = upload_photos(catalogue, world.objects, BUCKET, lambda _outcome: None, host.photos())

    assert {code: [*products] for code, products in transfers.not_fetched.items()} == {
        "photo-missing": ["1"],
        "photo-not-allowed": ["4", "6", "7"],
        "photo-not-an-image": ["2"],
        "photo-too-large": ["3"],
        "photo-unavailable": ["5"],
    }
    assert transfers.fetched == 0
    assert not world.objects.names(f"gs://{BUCKET}/")


def test_no_host_is_allowed_that_is_not_named(tmp_path: Path) -> None:
    catalogue = at_addresses(tmp_path, "https://a.example/1.jpg")
    transfers = upload_photos(catalogue, World().objects, BUCKET, lambda _outcome: None)
    reason = "a.example is not among photos.hosts of the catalogue.yaml"
    assert transfers.not_fetched == {"photo-not-allowed": {"1": reason}}
