from collections.abc import Iterator

import numpy as np
import pytest

from services.shared.memory import MemoryObjects
from services.training import snapshot
from services.training.examples import UNKNOWN, Example, LeftOut, Side
from services.training.snapshot import Shard, Snapshot, SnapshotError
from tests.unit.training_world import SIZE, Squares, frozen

ROOT = "gs://bucket/run/snapshot"


def test_what_was_written_is_read_in_order() -> None:
    read = frozen(Squares(train=600))

    assert read.manifest.examples == {"train": 600, "validate": 24, "test": 12}
    assert [len(shard) for shard in read.shards("train")] == [256, 256, 88]
    whole = Shard.concatenate(list(read.shards("train")))
    expected = [example for side, example in Squares(train=600).examples(SIZE) if side == "train"]
    assert whole.keys.tolist() == [example.key for example in expected]
    np.testing.assert_array_equal(whole.pixels, np.stack([example.pixels for example in expected]))
    assert whole.targets[:4].tolist() == [[0, 0], [1, 0], [0, 1], [UNKNOWN, 1]]
    assert whole.years[:4].tolist() == [2000, 2000, 2001, 2001]


def test_the_manifest_says_what_is_in_it_and_what_is_not() -> None:
    manifest = frozen().manifest

    assert manifest.labels == {
        "shade": {"dark": 48, "light": 24},
        "half": {"left": 48, "right": 48, "none": 0},
    }
    assert manifest.left_out == (LeftOut("product 7", 1, "photo-missing"),)
    assert manifest.source == {"kind": "squares"}


def test_the_digest_is_the_contents() -> None:
    assert frozen().manifest.digest == frozen().manifest.digest
    assert frozen().manifest.digest != frozen(Squares(seed=1)).manifest.digest


def test_a_repeat_after_an_interruption_completes_it() -> None:
    objects = MemoryObjects()

    class Broken(Squares):
        def examples(self, image_size: int) -> Iterator[tuple[Side, Example]]:
            yield from list(super().examples(image_size))[:300]
            raise ConnectionError

    with pytest.raises(ConnectionError):
        frozen(Broken(train=600), objects)
    with pytest.raises(SnapshotError, match="not to its end"):
        Snapshot(objects, ROOT)
    assert frozen(Squares(train=600), objects).manifest == frozen(Squares(train=600)).manifest


def test_another_snapshot_in_its_place_is_refused() -> None:
    objects = MemoryObjects()
    frozen(objects=objects)

    assert frozen(objects=objects).manifest.examples["train"] == 96
    with pytest.raises(SnapshotError, match=r"holds another snapshot, of \{'kind': 'squares'\}"):
        frozen(Squares(seed=1), objects)


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 not a shard"])
def test_a_damaged_shard_is_named(damage: bytes) -> None:
    objects = MemoryObjects()
    written = frozen(objects=objects)
    uri = f"{ROOT}/shards/{written.manifest.shards['test'][0]}.npz"
    objects.put(uri, damage)

    with pytest.raises(SnapshotError, match=uri):
        list(written.shards("test"))


def test_a_malformed_manifest_is_named() -> None:
    objects = MemoryObjects()
    objects.put(f"{ROOT}/{snapshot.MANIFEST}", b"{}")

    with pytest.raises(SnapshotError, match=r"snapshot\.json: .*image_size"):
        Snapshot(objects, ROOT)
