"""The forms in which corrections leave for a catalogue."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.client.corrections import Correction, Format, LeftOut, outdated, to_csv
from services.client.corrections_sql import merge
from services.client.merchant_center import feed
from services.shared.catalogue import ProductTable

FILES = {"csv": "corrections.csv", "merge": "corrections.sql", "merchant-center": "merchant-center.tsv"}
MEDIA_TYPES = {"csv": "text/csv", "merge": "application/sql", "merchant-center": "text/tab-separated-values"}


@dataclass(frozen=True)
class Export:
    """Corrections in one form.

    Args:
        text: the file's content.
        left_out: the corrections that it does not contain, each with the reason; those that the catalogue
            has already are not listed.

    """

    text: str
    left_out: tuple[LeftOut, ...]


def export(found: Sequence[Correction], form: Format, products: ProductTable) -> Export:
    """Writes corrections in a form.

    Args:
        found: the corrections.
        form: `csv` and `merge` have those that are pending, `merchant-center` also those that are applied.
        products: the catalogue.

    """
    late = tuple(outdated(found))
    match form:
        case "csv":
            return Export("".join(to_csv(found)), late)
        case "merge":
            return Export("".join(merge(found, products)), late)
        case "merchant-center":
            made = feed(found)
            return Export(made.text, (*late, *made.left_out))
