"""The forms in which corrections leave for a catalogue."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.client.corrections import Correction, Format, LeftOut, outdated, to_csv
from services.client.corrections_sql import catalogue_table, merge
from services.client.merchant_center import feed
from services.shared.catalogue_config import CatalogueConfig

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


def export(found: Sequence[Correction], form: Format, dataset: str, config: CatalogueConfig) -> Export:
    """Writes corrections in a form.

    Args:
        found: the corrections.
        form: `csv` and `merge` have those that are pending, `merchant-center` also those that are applied.
        dataset: `project.dataset` of the pipeline's own tables.
        config: what the catalogue's columns mean.

    """
    late = tuple(outdated(found))
    match form:
        case "csv":
            return Export("".join(to_csv(found)), late)
        case "merge":
            several = config.named("values")
            unstored = tuple(
                LeftOut(
                    each, "it has several values, which this statement does not change; use the csv export"
                )
                for each in found
                if each.status == "pending" and each.attribute in several
            )
            table = catalogue_table(dataset, config)
            return Export("".join(merge(table, found, config)), (*late, *unstored))
        case "merchant-center":
            made = feed(found)
            return Export(made.text, (*late, *made.left_out))
