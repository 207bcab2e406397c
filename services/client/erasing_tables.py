"""The rows of products in BigQuery, as an erasure needs them."""

from collections.abc import Mapping, Sequence, Set
from functools import cached_property
from typing import Any

from google.cloud import bigquery

from services.client.erasing import Erasure
from services.shared.catalogue import ProductTable
from services.shared.catalogue_config import CatalogueConfig, bundled_config
from services.shared.google_bigquery import BigQueryWarehouse, bigquery_client, open_products

_TABLES = ("predictions", "labels", "audited_labels")  # beside `products`


class BigQueryRows:
    """A dataset, and a catalogue: by default its table `products`."""

    def __init__(self, project: str, dataset: str, config: CatalogueConfig | None = None) -> None:
        self._names = (project, dataset)
        self._dataset = f"{project}.{dataset}"
        self._config = config or bundled_config()
        self._client = bigquery_client(project, dataset)

    @cached_property
    def _products(self) -> ProductTable:
        return open_products(self._client, self._config, self._dataset)

    @property
    def owns_products(self) -> bool:  # noqa: D102
        return self._config.table is None

    def photos(self, product_ids: Sequence[str]) -> Mapping[str, Sequence[str]]:  # noqa: D102
        found: dict[str, list[str]] = {}
        # A team's table may have an id more than once.
        for row in self._query(
            f"SELECT product_id, photos FROM ({self._products.sql}) WHERE product_id IN UNNEST(@ids)",
            product_ids,
        ):
            found.setdefault(row["product_id"], []).extend(row["photos"] or ())
        return found

    def named_by_others(self, photos: Sequence[str], product_ids: Sequence[str]) -> Set[str]:  # noqa: D102
        config = bigquery.QueryJobConfig(
            query_parameters=[
                bigquery.ArrayQueryParameter("ids", "STRING", list(product_ids)),
                bigquery.ArrayQueryParameter("photos", "STRING", list(photos)),
            ]
        )
        rows = self._client.query_and_wait(
            f"SELECT DISTINCT photo FROM ({self._products.sql}), UNNEST(photos) AS photo "
            "WHERE product_id NOT IN UNNEST(@ids) AND photo IN UNNEST(@photos)",
            job_config=config,
        )
        return {row["photo"] for row in rows}

    def count(self, product_ids: Sequence[str]) -> Mapping[str, int]:  # noqa: D102
        tables = " UNION ALL ".join(
            f"SELECT product_id FROM `{self._dataset}.{table}` WHERE product_id IN UNNEST(@ids)"
            for table in self._tables
        )
        found = self._query(
            f"SELECT product_id, COUNT(*) AS held FROM ({tables}) GROUP BY product_id", product_ids
        )
        return {row["product_id"]: row["held"] for row in found}

    def delete(self, product_ids: Sequence[str]) -> None:  # noqa: D102
        # `products` first: no job selects them from then on.
        for table in self._tables:
            self._query(
                f"DELETE FROM `{self._dataset}.{table}` WHERE product_id IN UNNEST(@ids)", product_ids
            )

    def delete_rejected(self, rejection_ids: Sequence[str]) -> None:  # noqa: D102
        self._query(
            f"DELETE FROM `{self._dataset}.rejected` WHERE rejection_id IN UNNEST(@ids)", rejection_ids
        )

    def nearest(self, product_id: str) -> str | None:  # noqa: D102
        config = bigquery.QueryJobConfig(
            query_parameters=[bigquery.ScalarQueryParameter("id", "STRING", product_id)]
        )
        rows = self._client.query_and_wait(
            f"SELECT product_id FROM ({self._products.sql}) WHERE product_id IS NOT NULL "
            "ORDER BY EDIT_DISTANCE(product_id, @id), product_id LIMIT 1",
            job_config=config,
        )
        return next((str(row["product_id"]) for row in rows), None)

    def recorded(self, product_ids: Sequence[str]) -> Sequence[Erasure]:  # noqa: D102
        sql = (
            f"SELECT * FROM `{self._dataset}.erased` WHERE product_id IN UNNEST(@ids) ORDER BY erased_at DESC"
        )
        return [
            Erasure(**row | {"kept_in": tuple(row["kept_in"])})
            for row in map(dict, self._query(sql, product_ids))
        ]

    def record(self, erasures: Sequence[Erasure]) -> None:  # noqa: D102
        warehouse = BigQueryWarehouse(*self._names)
        warehouse.append("erased", [erasure.model_dump() for erasure in erasures])

    @property
    def _tables(self) -> Sequence[str]:
        return ("products", *_TABLES) if self.owns_products else _TABLES

    def _query(self, sql: str, ids: Sequence[str]) -> list[Any]:
        config = bigquery.QueryJobConfig(
            query_parameters=[bigquery.ArrayQueryParameter("ids", "STRING", list(ids))]
        )
        return [*self._client.query_and_wait(sql, job_config=config)]
