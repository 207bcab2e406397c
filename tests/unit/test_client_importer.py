import random
from pathlib import Path

import pytest

from services.client.importer import load_products, upload_photos
from services.shared.memory import MemoryObjects
from tests.unit.client_world import OwnedObjects, World
from tests.unit.memory_pipeline import BUCKET
from tests.unit.test_styles import write_catalogue


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
