"""Names of objects: each from its input alone, no two the same, and prefixes that hold what they say."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.layout import (
    SHARD_BATCHES,
    AuditLayout,
    JobLayout,
    batches_in,
    digest,
    handled_uri,
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


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        (photo_uri("bucket", 7), "images/7.jpg"),
        (handled_uri("bucket", "subscription", "event"), f"handled/subscription/{digest('event')}"),
        (rejected_uri("bucket", "id"), "rejected/id"),
        (recent_uri("bucket", datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC), "job"), "recent/8227399232999/job"),
        (LAYOUT.manifest, "jobs/job/manifest.json"),
        (LAYOUT.summary, "jobs/job/summary.json"),
        (LAYOUT.image(7), "jobs/job/images/7.jpg"),
        (LAYOUT.image(7, "augmented-2"), "jobs/job/augmented/7-2.jpg"),
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


@given(st.lists(st.tuples(st.integers(), st.integers(0, 9)), unique=True))
def test_no_two_variants_share_a_name(variants: list[tuple[int, int]]) -> None:
    names = {LAYOUT.image(product_id, f"augmented-{copy}") for product_id, copy in variants}
    originals = {LAYOUT.image(product_id) for product_id, _ in variants}
    assert len(names) == len(variants)
    assert not names & originals


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=1, max_size=4))
def test_a_digest_names_its_parts_and_their_borders(parts: list[str]) -> None:
    assert digest(*parts) == digest(*parts)
    assert len(digest(*parts)) == 32
    assert digest(*parts) != digest(*parts, "")
    assert digest("".join(parts)) != digest("".join(parts), *parts)


def test_a_digest_stays_the_same_for_ever() -> None:
    """Ids of rows and objects are digests: another function would repeat work that is done."""
    assert digest("job", 7, "original") == "21d2adcf935f7654ebc6642deb9f3ab0"
