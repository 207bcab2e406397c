"""Corrections to test with."""

from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import strategies as st

from services.client.corrections import Correction, Status

REVIEWED_AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
STATUSES: tuple[Status, ...] = ("pending", "applied", "changed", "missing", "no-column")


def correction(
    attribute: str = "base_colour",
    corrected: str = "Blue",
    *,
    product_id: str = "1",
    declared: str | None = "Red",
    status: Status = "pending",
    reviewer: str = "ada@example.com",
) -> Correction:
    made = Correction(
        product_id=product_id,
        attribute=attribute,
        declared=declared,
        corrected=corrected,
        reviewer=reviewer,
        reviewed_at=REVIEWED_AT,
        job_id="spring",
        model_version="7",
        current_value=declared,
        status=status,
    )
    return replace(made, current_value={"applied": corrected, "changed": "Green"}.get(status, declared))


# What breaks quoting, more often than it comes by chance.
TEXTS = st.text(
    st.one_of(
        st.sampled_from("'\"`\\\n\r\t\0,;-/>\u2028\x85\u200d é😀"), st.characters(exclude_categories=["Cs"])
    ),
    min_size=1,
    max_size=50,
)
