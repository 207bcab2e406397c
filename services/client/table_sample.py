"""A few rows of a table or view in BigQuery, from which `vitrine catalogue init` guesses what it means."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from google.api_core.exceptions import Forbidden, GoogleAPICallError, NotFound
from google.cloud import bigquery

from services.client.errors import ClientError
from services.client.guess import Guess, guess
from services.shared.catalogue_config import CatalogueConfig
from services.shared.google_bigquery import bigquery_credentials
from services.shared.nearest import did_you_mean
from services.shared.table_files import Row, TableFile, Value

SAMPLE_ROWS = 10_000
# A LIMIT does not bound what a query reads of a view; a query that would read more fails, and costs nothing.
SAMPLE_BYTES = 20 * 1024**3

NAME = re.compile(r"(?:(?P<project>[a-z0-9:.-]+)\.)?(?P<dataset>[A-Za-z0-9_]+)\.(?P<table>[^.\s/\\`]+)")
# Types that no column of a catalogue.yaml may have.
_UNUSABLE = ("RECORD", "STRUCT", "JSON", "BYTES", "GEOGRAPHY", "RANGE", "INTERVAL")
_IDS = ("STRING", "INTEGER", "INT64")


@dataclass(frozen=True)
class Sample:
    """Rows of a table.

    Args:
        name: of the table, as `project.dataset.table`.
        table: some of its rows, and the columns that can be used.
        ids: the columns whose type an id can have.
        unusable: the columns that cannot be used, each with its type.
        whole: whether these are all rows.

    """

    name: str
    table: TableFile
    ids: Sequence[str]
    unusable: Mapping[str, str]
    whole: bool


def full_name(name: str, project: str) -> str | None:
    """`project.dataset.table` of a name that may lack the project; None if it is no table's name."""
    match = NAME.fullmatch(name)
    return match and f"{match['project'] or project}.{match['dataset']}.{match['table']}"


def sample(project: str, name: str) -> Sample:
    """Read some rows of a table or view, at most SAMPLE_ROWS.

    Args:
        project: that the query runs in, if one is needed.
        name: `project.dataset.table`.

    Raises:
        ClientError: it does not exist, may not be read, has no rows or columns that can be used, or is a view
            of which even some rows would read more than SAMPLE_BYTES.

    """
    client = bigquery.Client(project, credentials=bigquery_credentials())
    try:
        table = client.get_table(name)
    except NotFound as error:
        raise ClientError(f"there is no table or view {name}{_hint(client, name)}") from error
    except Forbidden as error:
        raise ClientError(f"{name} may not be read: {error.message}") from error
    fields = [each for each in table.schema if each.field_type not in _UNUSABLE]
    if not fields:
        raise ClientError(f"{name} has no column that a catalogue.yaml can name")
    try:
        found = [dict(row) for row in _rows(client, table, fields)]
    except GoogleAPICallError as error:
        raise ClientError(_reason(name, error)) from error
    if not found:
        raise ClientError(f"{name} has no rows")
    rows = [
        Row(line, {key: _value(value) for key, value in row.items()})
        for line, row in enumerate(found[:SAMPLE_ROWS], start=1)
    ]
    return Sample(
        name,
        TableFile([each.name for each in fields], rows),
        [each.name for each in fields if each.field_type in _IDS and each.mode != "REPEATED"],
        {each.name: each.field_type for each in table.schema if each not in fields},
        whole=len(found) <= SAMPLE_ROWS,
    )


def guess_table(found: Sample) -> Guess:
    """Guess what the columns of a table mean.

    Raises:
        services.client.guess.GuessError: no column can be the id, or none an attribute.

    """
    guessed = guess(found.table, ids=found.ids)
    document = guessed.config.model_dump(exclude_defaults=True) | {"table": found.name}
    doubts = {place: [*each] for place, each in guessed.doubts.items()}
    if not found.whole:
        doubts.setdefault("table", []).append(
            f"Guessed from {SAMPLE_ROWS} rows. `vitrine catalogue check` counts all of them."
        )
    if found.unusable:
        listed = ", ".join(f"{name} ({type_})" for name, type_ in found.unusable.items())
        doubts.setdefault("ignored", []).append(
            f"Of a type that cannot be used: {listed}. A view can make plain columns of them."
        )
    return Guess(CatalogueConfig.model_validate(document), doubts)


def _rows(client: bigquery.Client, table: Any, fields: Sequence[Any]) -> Iterable[Any]:
    """One row more than SAMPLE_ROWS, if there are so many."""
    if table.table_type == "TABLE":
        # Reading rows costs nothing, where a query would read whole columns.
        return list(client.list_rows(table, selected_fields=fields, max_results=SAMPLE_ROWS + 1))
    columns = ", ".join(f"`{each.name}`" for each in fields)
    name = f"{table.project}.{table.dataset_id}.{table.table_id}"
    return list(
        client.query_and_wait(
            f"SELECT {columns} FROM `{name}` LIMIT {SAMPLE_ROWS + 1}",
            job_config=bigquery.QueryJobConfig(maximum_bytes_billed=SAMPLE_BYTES),
        )
    )


def _value(value: Any) -> Value:
    """A value as a file would have it: text where it is neither a number nor true or false."""
    if isinstance(value, list):
        return [_value(each) for each in value]  # type: ignore[misc]  # an array has no arrays
    if value is None or isinstance(value, str | bool | int | float):
        return value
    return value.isoformat() if isinstance(value, date | datetime) else str(value)


def _hint(client: bigquery.Client, name: str) -> str:
    """The nearest table of the dataset, or the nearest dataset."""

    def names(listed: Iterator[Any], attribute: str) -> list[str]:
        return [str(getattr(each, attribute)) for each in listed]

    project, dataset, table = name.rsplit(".", 2)
    try:
        try:
            return did_you_mean(table, names(client.list_tables(f"{project}.{dataset}"), "table_id"))
        except NotFound:
            known = names(client.list_datasets(project), "dataset_id")
            return f": there is no dataset {dataset}{did_you_mean(dataset, known)}"
    except GoogleAPICallError:
        return ""  # it may not be listed


def _reason(name: str, error: GoogleAPICallError) -> str:
    # The client has no type of its own for this.
    if "bytes billed" in str(error):
        return (
            f"{name}: reading some rows of this view would read more than {SAMPLE_BYTES // 1024**3} GiB; "
            "write the catalogue.yaml by hand, or name a smaller table with the same columns"
        )
    return f"{name} cannot be read: {' '.join(str(error.message).split())}"
