"""What is published never changes, what is fetched is what was published, and one promotion of many wins."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.model.manifest import ModelError, load_manifest
from services.model.registry import FILES, Registry, UnknownVersionError
from services.shared.memory import MemoryObjects
from services.shared.parallel import in_parallel
from tests.unit.models import NAME, write_model

BUCKET = "bucket"
ROOT = f"gs://{BUCKET}/models/{NAME}"
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def objects() -> MemoryObjects:
    return MemoryObjects()


@pytest.fixture
def registry(objects: MemoryObjects) -> Registry:
    return Registry(objects, BUCKET, NAME)


@pytest.fixture
def publish(registry: Registry, tmp_path: Path) -> Callable[[str], None]:
    def publish(version: str) -> None:
        registry.publish(write_model(tmp_path / f"source-{version}", version))

    return publish


def test_what_was_published_is_fetched_as_it_was(registry: Registry, tmp_path: Path) -> None:
    source = write_model(
        tmp_path / "source", "v1", model_dot_tflite=b"a", saved_model__saved_model_dot_pb=b"b"
    )
    (source / "CARD.md").write_text("# A card")
    (source / "notes.txt").write_text("nobody's business")
    published = registry.publish(source)
    assert registry.versions() == ["v1"]
    assert registry.manifest("v1") == published
    target = tmp_path / "cache" / "v1"
    assert registry.fetch("v1", target) == published == load_manifest(target)
    files = {str(path.relative_to(target)): path for path in target.rglob("*") if path.is_file()}
    assert files.keys() == {"model.json", "model.tflite", "saved_model/saved_model.pb", "CARD.md"}
    assert files["CARD.md"].read_text() == "# A card"
    assert [path.name for path in target.parent.iterdir()] == ["v1"]


def test_a_version_never_changes(registry: Registry, objects: MemoryObjects, tmp_path: Path) -> None:
    source = write_model(tmp_path / "source", "v1")
    registry.publish(source)
    before = {uri: objects.read(uri) for uri in objects.names(ROOT)}
    registry.publish(source)
    other = write_model(tmp_path / "other", "v1", model_dot_tflite=b"another network")
    with pytest.raises(ModelError, match=r"model\.tflite stands already, with other content"):
        registry.publish(other)
    assert {uri: objects.read(uri) for uri in objects.names(ROOT)} == before


def test_a_publication_that_was_cut_off_is_not_seen_and_can_be_finished(
    registry: Registry, objects: MemoryObjects, tmp_path: Path
) -> None:
    source = write_model(tmp_path / "source", "v1")
    objects.put(f"{ROOT}/v1/model.tflite", (source / "model.tflite").read_bytes())
    assert registry.versions() == []
    assert registry.has("v1") is False
    with pytest.raises(UnknownVersionError):
        registry.fetch("v1", tmp_path / "cache")
    registry.publish(source)
    assert registry.versions() == ["v1"]


def test_a_directory_of_another_model_is_refused(objects: MemoryObjects, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="'test', and this is the registry of 'other'"):
        Registry(objects, BUCKET, "other").publish(write_model(tmp_path, "v1"))


@pytest.mark.parametrize(
    "name",
    [
        "model.pkl",
        "weights.npy",
        "model.keras",
        "model.h5",
        "code.py",
        "libop.so",
        "saved_model/keras_metadata.pb",
        "saved_model/assets/run.sh",
        "saved_model/assets.extra/x",
        "model.tflite/x",
        "model.json",
        "model.tflite\n",
    ],
)
def test_a_file_that_could_run_code_is_neither_published_nor_fetched(
    registry: Registry, objects: MemoryObjects, tmp_path: Path, name: str
) -> None:
    source = write_model(tmp_path / "source", "v1", **{name.replace("/", "__"): b"cos\nsystem\n"})
    with pytest.raises(ModelError):
        registry.publish(source)
    assert objects.names(ROOT) == []
    # Somebody with access to the bucket did it by hand.
    objects.put(f"{ROOT}/v1/{name}", b"cos\nsystem\n")
    objects.put(f"{ROOT}/v1/model.json", (source / "model.json").read_bytes())
    for attempt in (
        lambda: registry.fetch("v1", tmp_path / "cache" / "v1"),
        lambda: registry.promote("v1", "me", "why", NOON),
    ):
        with pytest.raises(ModelError):
            attempt()
    assert not (tmp_path / "cache").exists()
    assert registry.production() is None


@given(st.text(st.sampled_from("./\\a1-_é\n\0 ~%"), max_size=12))
def test_no_name_of_a_version_or_a_file_leaves_its_folder(name: str) -> None:
    registry = Registry(MemoryObjects(), BUCKET, NAME)
    assert registry.has(name) is False
    with pytest.raises(UnknownVersionError):
        registry.manifest(name)
    assert FILES.fullmatch(name) is None
    assert FILES.fullmatch(f"saved_model/variables/{name}") is None


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "-a", "a.b", "a\n", "a" * 64])
def test_a_wrong_name_of_a_model_is_refused(objects: MemoryObjects, name: str) -> None:
    with pytest.raises(ModelError, match="no name of a model"):
        Registry(objects, BUCKET, name)


@pytest.mark.parametrize("damage", [b"another network!", b"", b"x" * 1_000])
def test_a_corrupted_file_is_refused_by_name(
    registry: Registry, objects: MemoryObjects, publish: Callable[[str], None], tmp_path: Path, damage: bytes
) -> None:
    publish("v1")
    objects.put(f"{ROOT}/v1/model.tflite", damage)
    with pytest.raises(ModelError, match=r"v1/model\.tflite has SHA-256"):
        registry.fetch("v1", tmp_path / "cache" / "v1")
    assert list((tmp_path / "cache").iterdir()) == []
    with pytest.raises(ModelError, match=r"v1/model\.tflite has SHA-256"):
        registry.promote("v1", "me", "why", NOON)


def test_a_missing_file_is_refused_by_name(
    registry: Registry, objects: MemoryObjects, tmp_path: Path
) -> None:
    source = write_model(tmp_path / "source", "v1")
    objects.put(f"{ROOT}/v1/model.json", (source / "model.json").read_bytes())
    with pytest.raises(ModelError, match=r"v1/model\.tflite is missing"):
        registry.fetch("v1", tmp_path / "cache")


@pytest.mark.parametrize("manifest", [b"", b"{}", b"\x80\x04", b" " * 1_000_001])
def test_a_malformed_manifest_is_refused(registry: Registry, objects: MemoryObjects, manifest: bytes) -> None:
    objects.put(f"{ROOT}/v1/model.json", manifest)
    with pytest.raises(ModelError, match=r"v1/model\.json"):
        registry.manifest("v1")


def test_a_version_under_anothers_name_is_refused(
    registry: Registry, objects: MemoryObjects, publish: Callable[[str], None]
) -> None:
    publish("v1")
    for name in ("model.json", "model.tflite"):
        objects.copy(f"{ROOT}/v1/{name}", f"{ROOT}/v2/{name}")
    with pytest.raises(ModelError, match="is that of test v1"):
        registry.manifest("v2")


def test_promotions_and_rollbacks_say_who_and_why(registry: Registry, publish: Callable[[str], None]) -> None:
    assert registry.production() is None
    publish("v1")
    publish("v2")
    first = registry.promote("v1", "ann", "the first", NOON)
    assert (first.version, first.previous, first.by, first.why, first.at) == (
        "v1",
        None,
        "ann",
        "the first",
        NOON,
    )
    second = registry.promote("v2", "bob", "half a point better", NOON)
    assert registry.production() == second
    assert (second.version, second.previous) == ("v2", "v1")
    back = registry.rollback("ann", "worse on shoes", NOON)
    assert (back.version, back.previous, back.by, back.why) == ("v1", "v2", "ann", "worse on shoes")
    assert registry.rollback("bob", "it was not", NOON).version == "v2"


def test_a_rollback_of_the_first_promotion_returns_to_what_services_carry(
    registry: Registry, publish: Callable[[str], None]
) -> None:
    publish("v1")
    registry.promote("v1", "ann", "the first", NOON)
    back = registry.rollback("ann", "no good", NOON)
    assert (back.version, back.previous) == (None, "v1")


def test_what_cannot_be_promoted_leaves_production_as_it_is(
    registry: Registry, publish: Callable[[str], None]
) -> None:
    with pytest.raises(ModelError, match="no version of test was ever promoted"):
        registry.rollback("ann", "why", NOON)
    publish("v1")
    with pytest.raises(UnknownVersionError, match="'v2' is no published version"):
        registry.promote("v2", "ann", "why", NOON)
    with pytest.raises(ModelError, match="why"):
        registry.promote("v1", "ann", "", NOON)
    assert registry.production() is None
    standing = registry.promote("v1", "ann", "why", NOON)
    with pytest.raises(ModelError, match="in production already"):
        registry.promote("v1", "bob", "again", NOON)
    assert registry.production() == standing


class MovedMeanwhile(MemoryObjects):
    """Cloud Storage in which somebody else is faster, once."""

    def __init__(self, by: bytes | None) -> None:
        super().__init__()
        self._by = by

    def replace(self, uri: str, data: bytes, content_type: str, generation: int) -> bool:
        if uri.endswith("production.json"):
            self.put(uri, self._by or data)
        return super().replace(uri, data, content_type, generation)


def test_who_is_overtaken_is_told_by_whom(tmp_path: Path) -> None:
    other = Registry(MemoryObjects(), BUCKET, NAME)
    source = write_model(tmp_path, "v1")
    other.publish(source)
    theirs = other.promote("v1", "bob", "mine first", NOON)
    registry = Registry(MovedMeanwhile(theirs.model_dump_json().encode()), BUCKET, NAME)
    registry.publish(source)
    with pytest.raises(ModelError, match=r"moved meanwhile.*bob.*mine first"):
        registry.promote("v1", "ann", "why", NOON)
    assert registry.production() == theirs


def test_a_write_whose_answer_was_lost_is_found_to_have_happened(tmp_path: Path) -> None:
    registry = Registry(MovedMeanwhile(None), BUCKET, NAME)
    registry.publish(write_model(tmp_path, "v1"))
    assert registry.promote("v1", "ann", "why", NOON) == registry.production()


def test_of_many_promotions_at_once_every_winner_had_seen_the_one_before(
    registry: Registry, publish: Callable[[str], None]
) -> None:
    versions = [f"v{number}" for number in range(12)]
    for version in versions:
        publish(version)

    def promote(version: str) -> str | None:
        try:
            return registry.promote(version, version, "race", NOON).previous or "nothing"
        except ModelError:
            return None

    seen = [previous for previous in in_parallel(promote, versions) if previous]
    # A chain from nothing to what stands: nobody overwrote a move that he had not seen.
    assert len(seen) == len(set(seen))
    assert "nothing" in seen
    standing = registry.production()
    assert standing
    assert standing.version not in seen


@pytest.mark.parametrize("data", [b"", b'{"version": "../x"}', b"[]"])
def test_a_malformed_pointer_is_named(registry: Registry, objects: MemoryObjects, data: bytes) -> None:
    objects.put(f"{ROOT}/production.json", data)
    with pytest.raises(ModelError, match=r"production\.json"):
        registry.production()
