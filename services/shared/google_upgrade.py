"""`vitrine upgrade`: makes the tables of release 0.1 what this release expects.

Until release 0.1 a product's id was a number, in the column `image_id`. BigQuery cannot change a column's
type, or what a table is clustered by, in place. So the rows are copied to a new table, which then takes the
old one's name. Files of jobs need no change: `services.shared.events` reads those of release 0.1.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import yaml
from google.api_core.exceptions import GoogleAPICallError, NotFound
from google.cloud import bigquery

from services.shared.wiring import SCHEMAS

OLD_ID = "image_id"
NEW = "_upgraded"  # the end of the new table's name, until the old one is deleted


class UpgradeError(Exception):
    """A table cannot be upgraded; the message says why, and what to do."""


def upgrade(client: bigquery.Client, dataset: str, say: Callable[[str], None]) -> Sequence[str]:
    """Upgrades the tables that need it; a repetition goes on where the last one ended.

    Args:
        client: of the project.
        dataset: `project.dataset`.
        say: is called with a line of text for each table that was upgraded.

    Returns:
        The tables that were upgraded.

    Raises:
        UpgradeError: `products` is a view of a team, which only its team can change; or BigQuery refuses a
            step, and what was done before stays.

    """
    layouts: Mapping[str, Any] = yaml.safe_load((SCHEMAS / "tables.yaml").read_text())
    upgraded = []
    for name, layout in layouts.items():
        try:
            if _upgrade(client, dataset, name, layout):
                say(f"{name}: upgraded")
                upgraded.append(name)
        except GoogleAPICallError as error:
            raise UpgradeError(
                f"{name}: BigQuery refuses the upgrade: {error.message}; repeat `vitrine upgrade` when that "
                "is mended, it goes on where it ended"
            ) from error
    return upgraded


def new_table(client: bigquery.Client, table: str, name: str, layout: Mapping[str, Any]) -> bigquery.Table:
    """A table that is to be created.

    Args:
        client: reads schemas.
        table: `project.dataset.table`.
        name: of the file in schemas/tables that has its columns.
        layout: what schemas/tables.yaml says of it.

    """
    new = bigquery.Table(table, schema=client.schema_from_json(str(SCHEMAS / "tables" / f"{name}.json")))
    new.clustering_fields = layout["cluster_by"]
    if "partition_by" in layout:
        new.time_partitioning = bigquery.TimePartitioning(field=layout["partition_by"])
    return new


def _upgrade(client: bigquery.Client, dataset: str, name: str, layout: Mapping[str, Any]) -> bool:
    table, copy = f"{dataset}.{name}", f"{dataset}.{name}{NEW}"
    old = _find(client, table)
    if old is None and _find(client, copy) is None:
        return False  # release 0.1 did not have this table
    if old is not None:
        columns = [each.name for each in old.schema if each.name != OLD_ID]
        if len(columns) == len(old.schema):
            return False
        if old.table_type != "TABLE":
            raise UpgradeError(
                f"{name} is a view with the column {OLD_ID}; give it CAST({OLD_ID} AS STRING) AS product_id "
                "instead, then repeat `vitrine upgrade`"
            )
        client.delete_table(copy, not_found_ok=True)  # an upgrade was interrupted
        client.create_table(new_table(client, copy, name, layout))
        listed = ", ".join(f"`{each}`" for each in columns)
        client.query_and_wait(
            f"INSERT INTO `{copy}` (product_id, {listed}) "
            f"SELECT CAST({OLD_ID} AS STRING), {listed} FROM `{table}`"
        )
        if _rows(client, copy) != _rows(client, table):
            raise UpgradeError(f"{name}: something still writes rows; stop it, then repeat `vitrine upgrade`")
        client.delete_table(table)
    client.query_and_wait(f"ALTER TABLE `{copy}` RENAME TO `{name}`")
    return True


def _rows(client: bigquery.Client, table: str) -> int:
    (row,) = client.query_and_wait(f"SELECT COUNT(*) AS found FROM `{table}`")
    return int(row["found"])


def _find(client: bigquery.Client, table: str) -> bigquery.Table | None:
    try:
        return client.get_table(table)
    except NotFound:
        return None
