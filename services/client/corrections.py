"""Corrections: reviewed values that differ from what the catalogue declared, and how they are exported."""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from io import StringIO
from typing import Literal

Format = Literal["csv", "merge", "merchant-center"]
Status = Literal["pending", "applied", "changed", "missing", "no-column"]
"""Where the catalogue is with a correction.

`pending`: it still says what was reviewed. `applied`: it says the corrected value. `changed`: it says
something else since the review. `missing`: it no longer has the product. `no-column`: it has no column for
the attribute.
"""

CSV_COLUMNS = (
    "product_id",
    "attribute",
    "declared",
    "corrected",
    "reviewer",
    "reviewed_at",
    "job_id",
    "model_version",
)


@dataclass(frozen=True)
class Correction:
    """The last review of a product's attribute, where it contradicts what the catalogue declared."""

    product_id: str
    attribute: str
    declared: str | None  # what the catalogue said when it was reviewed
    corrected: str
    reviewer: str
    reviewed_at: datetime
    job_id: str | None  # None: the photo was uploaded on its own
    model_version: str | None
    current_value: str | None  # what the catalogue says today
    status: Status

    @property
    def name(self) -> str:
        """How messages name it."""
        return f"{self.product_id} {self.attribute}"

    @property
    def outdated(self) -> str | None:
        """Why it cannot be applied any more, in a clause; None if it can be, or is."""
        match self.status:
            case "changed":
                return (
                    f"the catalogue said {_shown(self.declared)} when it was reviewed, "
                    f"and says {_shown(self.current_value)} now"
                )
            case "missing":
                return "the catalogue no longer has the product"
            case "no-column":
                return f"the catalogue has no column for {self.attribute}"
            case _:
                return None


def _shown(value: str | None) -> str:
    return "nothing" if value is None else repr(value)


@dataclass(frozen=True)
class LeftOut:
    """A correction that an export does not contain, and why."""

    correction: Correction
    reason: str

    def __str__(self) -> str:
        return f"{self.correction.name}: {self.reason}"


def outdated(corrections: Iterable[Correction]) -> list[LeftOut]:
    """The corrections that no export contains, because the catalogue has changed since the review."""
    return [LeftOut(each, each.outdated) for each in corrections if each.outdated is not None]


def to_csv(corrections: Iterable[Correction]) -> Iterator[str]:
    """The pending corrections as CSV (RFC 4180), a line at a time, with a header."""
    buffer = StringIO(newline="")
    writer = csv.writer(buffer)

    def line(*values: str | None) -> str:
        writer.writerow(values)
        written = buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
        return written

    yield line(*CSV_COLUMNS)
    for each in corrections:
        if each.status == "pending":
            yield line(
                each.product_id,
                each.attribute,
                each.declared,
                each.corrected,
                each.reviewer,
                each.reviewed_at.isoformat(),
                each.job_id,
                each.model_version,
            )
