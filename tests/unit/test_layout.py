"""Names of objects: each from its input alone, no two the same, and prefixes that hold what they say."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.shared.events import MAX_COPIES, MAX_PRODUCT_ID, PRODUCT_ID
from services.shared.layout import (
    NAME_PART,
    SHARD_BATCHES,
    AuditLayout,
    JobLayout,
    batches_in,
    digest,
    handled_uri,
    id_to_name,
    name_to_id,
    photo_uri,
    recent_prefix,
    recent_uri,
    rejected_uri,
    shard_of,
    shards,
)

LAYOUT = JobLayout("bucket", "job")
AUDIT = AuditLayout("bucket", "autumn")
batches = st.integers(0, 10_000_000)
product_ids = st.text(st.characters(codec="utf-8"), min_size=1, max_size=MAX_PRODUCT_ID).filter(
    re.compile(PRODUCT_ID).fullmatch
)


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        (photo_uri("bucket", "7"), "images/7.jpg"),
        (handled_uri("bucket", "subscription", "event"), f"handled/subscription/{digest('event')}"),
        (rejected_uri("bucket", "id"), "rejected/id"),
        (recent_uri("bucket", datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC), "job"), "recent/8227399232999/job"),
        (LAYOUT.manifest, "jobs/job/manifest.json"),
        (LAYOUT.summary, "jobs/job/summary.json"),
        (LAYOUT.image("7"), "jobs/job/images/7.jpg"),
        (LAYOUT.image("7", "augmented-2"), "jobs/job/augmented/7-2.jpg"),
        (LAYOUT.metadata(1_234), "jobs/job/metadata/0001/00001234.ndjson"),
        (LAYOUT.predictions(1_234), "jobs/job/predictions/0001/00001234.ndjson"),
        (LAYOUT.augmentation(1_234), "jobs/job/augmentation/0001/00001234"),
        (LAYOUT.ledger(1_234), "jobs/job/ledger/0001/00001234"),
        (LAYOUT.loaded(1), "jobs/job/loaded/0001"),
        (AUDIT.manifest, "audits/autumn/audit.json"),
        (AUDIT.selection, "audits/autumn/selection.json"),
        (AUDIT.products("a1", 1_234), "audits/autumn/products/a1/001234.ndjson"),
        (AUDIT.embeddings(1_234), "audits/autumn/embeddings/001234.npz"),
        (AUDIT.rows("usage", 1_234), "audits/autumn/rows/usage-001234.ndjson"),
        (AUDIT.all_rows, "audits/autumn/rows/*.ndjson"),
        (AUDIT.attribute("usage"), "audits/autumn/attributes/usage.json"),
        (AUDIT.summary, "audits/autumn/summary.json"),
    ],
)
def test_the_names_are_those_that_are_documented(uri: str, name: str) -> None:
    """Jobs outlive releases: a name that changes loses what stands under the old one."""
    assert uri == f"gs://bucket/{name}"


@given(batches, st.integers(0, 10_000))
def test_a_shard_s_prefixes_hold_its_batches_and_no_others(batch: int, shard: int) -> None:
    holds = shard == shard_of(batch)
    assert LAYOUT.ledger(batch).startswith(LAYOUT.shard_ledger(shard)) == holds
    assert LAYOUT.predictions(batch).startswith(LAYOUT.shard_predictions(shard)) == holds


@given(batches, batches)
def test_batches_come_in_the_order_of_their_names_within_a_shard(one: int, other: int) -> None:
    if shard_of(one) == shard_of(other):
        assert (LAYOUT.ledger(one) < LAYOUT.ledger(other)) == (one < other)


@given(st.integers(1, 300_000))
def test_shards_divide_the_batches(count: int) -> None:
    sizes = [batches_in(shard, count) for shard in range(shards(count))]
    assert sum(sizes) == count
    assert all(1 <= size <= SHARD_BATCHES for size in sizes)
    assert shard_of(count - 1) == shards(count) - 1


def test_the_markers_of_loaded_shards_have_one_prefix() -> None:
    assert all(LAYOUT.loaded(shard).startswith(LAYOUT.all_loaded) for shard in (0, 1, 12_345))


@given(
    st.datetimes(datetime(1970, 1, 1), datetime(2286, 1, 1)),
    st.timedeltas(timedelta(milliseconds=2), timedelta(36_500)),
)
def test_the_job_that_was_asked_for_later_is_listed_first(asked: datetime, after: timedelta) -> None:
    earlier, later = (
        recent_uri("bucket", moment.replace(tzinfo=UTC), job)
        for moment, job in ((asked, "a"), (min(asked + after, datetime(2286, 2, 1)), "z"))
    )
    assert later < earlier
    assert later.startswith(recent_prefix("bucket"))


def test_a_job_does_not_hold_what_belongs_to_a_job_of_a_longer_name() -> None:
    assert not JobLayout("bucket", "job-2").manifest.startswith(f"{LAYOUT.root}/")


@given(st.lists(st.tuples(product_ids, st.integers(0, 9)), unique=True))
def test_no_two_variants_share_a_name(variants: list[tuple[str, int]]) -> None:
    names = {LAYOUT.image(product_id, f"augmented-{copy}") for product_id, copy in variants}
    originals = {LAYOUT.image(product_id) for product_id, _ in variants}
    assert len(names) == len(variants)
    assert not names & originals


IDS = (
    *("a/b", "..", ".", "../x", "a#b", "%2F", "/", "\N{GRINNING FACE}", "0090230", "90230", "sku", "SKU"),
    *("a" * 200, "\N{GRINNING FACE}" * 200, "/" * 200, "a" * 160 + "..", "a" * 160 + "/", "a-0", "a"),
)


def with_examples(test: Callable[[str], None]) -> Callable[[str], None]:
    for product_id in IDS:
        test = example(product_id)(test)
    return given(product_ids)(test)


@with_examples
def test_the_name_of_an_id_is_read_back(product_id: str) -> None:
    assert name_to_id(id_to_name(product_id)) == product_id


@with_examples
def test_the_parts_of_a_name_are_short_and_stay_in_their_folder(product_id: str) -> None:
    parts = id_to_name(product_id).split("/")
    assert all(1 <= len(part.encode()) <= NAME_PART for part in parts)
    for uri in (
        photo_uri("bucket", product_id),
        LAYOUT.image(product_id),
        LAYOUT.image(product_id, "augmented-0"),
    ):
        assert not {"", ".", ".."} & set(uri.removeprefix("gs://").split("/"))
        # A file name on Linux has at most 255 bytes.
        assert all(len(part.encode()) <= NAME_PART + len("-0.jpg") for part in uri.split("/"))
        assert not set("#?*[]\\") & set(uri)


@pytest.mark.parametrize(
    "character", ["a", "/", "%", "\N{LATIN SMALL LETTER E WITH ACUTE}", "\N{GRINNING FACE}"]
)
def test_the_longest_name_is_one_that_cloud_storage_takes(character: str) -> None:
    product_id = character * MAX_PRODUCT_ID
    layout = JobLayout("bucket", "j" * 63)
    for uri in (photo_uri("bucket", product_id), layout.image(product_id, f"augmented-{MAX_COPIES - 1}")):
        assert len(uri.removeprefix("gs://bucket/").encode()) <= 1_024


@given(st.lists(st.sampled_from(IDS) | product_ids, unique=True))
@example([*IDS])
def test_no_two_ids_share_a_name(ids: list[str]) -> None:
    assert len({id_to_name(product_id) for product_id in ids}) == len(ids)
    names = [*(photo_uri("bucket", each) for each in ids), *map(LAYOUT.image, ids)]
    assert len(set(names)) == 2 * len(ids)
    # On disk a name is a file or a folder.
    assert not any(f"{other}/" in name for name in names for other in names)


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=1, max_size=4))
def test_a_digest_names_its_parts_and_their_borders(parts: list[str]) -> None:
    assert digest(*parts) == digest(*parts)
    assert len(digest(*parts)) == 32
    assert digest(*parts) != digest(*parts, "")
    assert digest("".join(parts)) != digest("".join(parts), *parts)


def test_a_digest_stays_the_same_for_ever() -> None:
    """Ids of rows and objects are digests: another function would repeat work that is done."""
    assert digest("job", "7", "original") == "21d2adcf935f7654ebc6642deb9f3ab0"
