"""Cloud Storage, Pub/Sub and BigQuery behind the client's ports, by Google's own clients."""

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cached_property
from io import BytesIO
from typing import Any

from google.api_core.exceptions import Forbidden, NotFound
from google.cloud import bigquery, pubsub_v1
from google.cloud.storage.retry import DEFAULT_RETRY

from services.client import corrections_sql, queries
from services.client.corrections import Correction, Status
from services.client.errors import ClientError
from services.client.ports import (
    EVERYTHING,
    Audited,
    Disagreement,
    IdCounts,
    Matching,
    ObjectFacts,
    Rejection,
    Result,
    ResultFilter,
    Tally,
)
from services.client.review import Against, Cell, HumanLabel, Quality, assess
from services.shared import google_cloud
from services.shared.audits import AuditedLabel
from services.shared.catalogue import ColumnError, ProductTable, product_of, product_row, query
from services.shared.catalogue_config import CatalogueConfig, bundled_config
from services.shared.errors import NotAllowedError
from services.shared.events import Declared, Filters, HeadPhoto, HeadValue, Label, Prediction, Product
from services.shared.google_bigquery import (
    BigQueryWarehouse,
    bigquery_client,
    open_products,
    query_parameters,
    table_schema_path,
)

PUBLISH_TIMEOUT = 60.0  # seconds
PAGE_ROWS = 1_000  # that an answer has in memory at once
IMPORT_KEPT = timedelta(days=1)  # an import that was cut off leaves its table for so long


class CloudObjects(google_cloud.CloudObjects):
    """Cloud Storage."""

    def put(self, uri: str, data: bytes, content_type: str) -> int:  # noqa: D102
        blob = self._blob(uri)
        # The same bytes again change nothing, so that a retry is safe without a precondition.
        blob.upload_from_string(data, content_type=content_type, retry=DEFAULT_RETRY)
        return int(blob.generation)

    def page(self, prefix: str, *, after: str | None, limit: int) -> Sequence[str]:  # noqa: D102
        bucket, _, name = prefix.removeprefix("gs://").partition("/")
        blobs = self._client.list_blobs(
            bucket,
            prefix=name,
            # Names from this one on, itself included: one more is asked for, and it is left out.
            start_offset=None if after is None else after.removeprefix(f"gs://{bucket}/"),
            max_results=limit + 1,
            fields="items(name),nextPageToken",
        )
        uris = [f"gs://{bucket}/{blob.name}" for blob in blobs]
        return [uri for uri in uris if uri != after][:limit]

    def facts(self, prefix: str) -> Mapping[str, ObjectFacts]:  # noqa: D102
        bucket, _, name = prefix.removeprefix("gs://").partition("/")
        blobs = self._client.list_blobs(bucket, prefix=name, fields="items(name,size,md5Hash),nextPageToken")
        return {f"gs://{bucket}/{blob.name}": ObjectFacts(int(blob.size), blob.md5_hash) for blob in blobs}

    def folders(self, prefix: str) -> Sequence[str]:  # noqa: D102
        bucket, _, name = prefix.removeprefix("gs://").partition("/")
        listed = self._client.list_blobs(bucket, prefix=name, delimiter="/", fields="prefixes,nextPageToken")
        # The folders are known when all pages are read.
        for _page in listed.pages:
            pass
        return sorted(folder.removeprefix(name).removesuffix("/") for folder in listed.prefixes)

    def delete(self, uri: str) -> None:  # noqa: D102
        # To delete it twice is no error, so that a retry is safe without a precondition.
        with suppress(NotFound):
            self._blob(uri).delete(retry=DEFAULT_RETRY)


class CloudTopics:
    """Pub/Sub."""

    def __init__(self, project: str) -> None:
        self._project = project
        self._client = pubsub_v1.PublisherClient()

    def publish(self, topic: str, data: bytes, attributes: Mapping[str, str]) -> str:  # noqa: D102
        path = self._client.topic_path(self._project, topic)
        return str(self._client.publish(path, data, **attributes).result(timeout=PUBLISH_TIMEOUT))


class BigQueryTables:
    """A dataset, and a catalogue: by default its table `products`.

    Raises:
        ClientError: the catalogue is a team's own table, which does not exist or has other columns.

    """

    def __init__(self, project: str, dataset: str, config: CatalogueConfig | None = None) -> None:
        self.config = config or bundled_config()
        self._names = (project, dataset)
        self._dataset = f"{project}.{dataset}"
        self._client = bigquery_client(project, dataset)
        if self.config.table is not None:
            # What is wrong with a team's table is told at once; callers who may only publish cannot look.
            with suppress(Forbidden):
                _ = self.product_table

    @cached_property
    def product_table(self) -> ProductTable:  # noqa: D102
        try:
            return open_products(self._client, self.config, self._dataset)
        except (ColumnError, NotFound) as error:
            raise ClientError(f"catalogue.yaml: {error}") from error

    def merge_products(self, products: Sequence[Product]) -> None:
        """One load job into a table of its own, then one statement: readers see all of it or nothing."""
        if self.config.table is not None:
            raise ClientError(
                f"catalogue.yaml: the products are in {self.config.table}, which is only read; to import "
                "products, leave `table` out"
            )
        name = f"{self._dataset}.products_import_{uuid.uuid4().hex}"
        table = bigquery.Table(name, self._client.schema_from_json(table_schema_path("products")))
        table.expires = datetime.now(UTC) + IMPORT_KEPT
        self._client.create_table(table)
        try:
            config = bigquery.LoadJobConfig(
                source_format=bigquery.SourceFormat.NEWLINE_DELIMITED_JSON,
                schema=table.schema,
                write_disposition=bigquery.WriteDisposition.WRITE_TRUNCATE,
            )
            self._client.load_table_from_file(
                BytesIO(self._rows(products)), table.reference, job_config=config
            ).result()
            columns = [column.name for column in table.schema]
            updates = ", ".join(f"{column} = imported.{column}" for column in columns)
            self._client.query_and_wait(
                f"MERGE `{self._dataset}.products` AS product USING `{name}` AS imported "
                "ON product.product_id = imported.product_id "
                f"WHEN MATCHED THEN UPDATE SET {updates} "
                f"WHEN NOT MATCHED THEN INSERT ({', '.join(columns)}) "
                f"VALUES ({', '.join(f'imported.{column}' for column in columns)})"
            )
        finally:
            self._client.delete_table(table, not_found_ok=True)

    def _rows(self, products: Sequence[Product]) -> bytes:
        rows = (product_row(product, self.config) for product in products)
        return b"".join(json.dumps(row).encode() + b"\n" for row in rows)

    def count_ids(self) -> IdCounts:  # noqa: D102
        (row,) = self._query(queries.ids(self.product_table))
        return IdCounts(
            rows=row["total"],
            without=row["without"],
            unusable=row["unusable"],
            unusable_ids=tuple(row["unusable_ids"] or ()),
            duplicates=row["duplicates"],
            duplicate_ids=tuple(row["duplicate_ids"] or ()),
        )

    def catalogue(self) -> Iterator[Product]:  # noqa: D102
        return map(product_of, map(dict, self._query(query(Filters(), self.product_table)[0])))

    def matching(self, filters: Filters) -> Matching:
        """Counts them, which reads less than to select them; what that would read, a dry run says."""
        sql, values = query(filters, self.product_table)
        parameters = query_parameters(values)
        rows = self._client.query_and_wait(
            f"SELECT COUNT(*) AS images, IFNULL(SUM({queries.PHOTOS}), 0) AS photos FROM (\n{sql}\n)",
            job_config=bigquery.QueryJobConfig(query_parameters=parameters),
        )
        config = bigquery.QueryJobConfig(query_parameters=parameters, dry_run=True, use_query_cache=False)
        counts = next(iter(rows))
        return Matching(
            images=counts["images"],
            photos=counts["photos"],
            bytes_scanned=self._client.query(sql, config).total_bytes_processed or 0,
        )

    def tally(self, job_id: str) -> Tally:  # noqa: D102
        (counts,) = self._query(queries.tally(self.product_table), job_id=job_id)
        errors = self._query(queries.errors(self._dataset), job_id=job_id)
        return Tally(
            products=counts["products"],
            photos=counts["photos"],
            predictions=counts["predictions"],
            combined=counts["combined"],
            errors={row["error"]: row["failed"] for row in errors},
            disagreements=counts["disagreements"],
            unsure=counts["unsure"],
            heads=tuple(counts["heads"]),
        )

    def results(  # noqa: D102
        self, job_id: str, limit: int | None, *, where: ResultFilter = EVERYTHING, offset: int = 0
    ) -> Iterator[Result]:
        sql, parameters = queries.results(self.product_table, where, limit, offset)
        for row in self._query(sql, job_id=job_id, **parameters):
            yield Result(_prediction(row), _product(row), tuple(row["disagreements"]))

    def count(self, job_id: str, where: ResultFilter) -> int:  # noqa: D102
        sql, parameters = queries.count(self.product_table, where)
        (row,) = self._query(sql, job_id=job_id, **parameters)
        return int(row["results"])

    def disagreements(  # noqa: D102
        self,
        job_id: str | None,
        *,
        head: str | None = None,
        unsure: bool | None = None,
        limit: int,
        offset: int = 0,
    ) -> list[Disagreement]:
        sql = queries.disagreements(
            self.product_table, of_a_job=job_id is not None, unsure=unsure, limit=limit, offset=offset
        )
        return [
            Disagreement(
                prediction=_prediction(row),
                declared=product_of(row["product"]),
                head=row["doubted"],
                label=row["label"],
                declared_label=row["declared_label"],
                probability=row["probability"],
                declared_probability=row["declared_probability"],
            )
            for row in self._query(sql, job_id=job_id, head=head)
        ]

    def quality(self, job_id: str, head: str, against: Against) -> Quality:  # noqa: D102
        cells, left_out = [], 0
        for row in self._query(queries.quality(self.product_table, against), job_id=job_id, head=head):
            if row["truth"] is None:
                left_out += row["photos"]
            else:
                cells.append(Cell(**row))
        return assess(job_id, head, against, cells, left_out)

    def labels(self, job_id: str | None, limit: int | None) -> list[HumanLabel]:  # noqa: D102
        rows = self._query(queries.labels(self._dataset, limit), job_id=job_id)
        return [HumanLabel(**row) for row in rows]

    def corrections(  # noqa: D102
        self,
        job_id: str | None = None,
        *,
        since: datetime | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[Correction]:
        sql = corrections_sql.corrections(
            self.product_table, since=since is not None, limit=limit, offset=offset
        )
        return [Correction(**row) for row in self._query(sql, job_id=job_id, since=since)]

    def count_corrections(  # noqa: D102
        self, job_id: str | None = None, *, since: datetime | None = None
    ) -> Mapping[Status, int]:
        sql = corrections_sql.counts(self.product_table, since=since is not None)
        rows = self._query(sql, job_id=job_id, since=since)
        return {row["status"]: row["corrections"] for row in rows}

    def audited(self, audit_id: str, *, head: str | None = None, limit: int | None) -> Iterator[Audited]:  # noqa: D102
        sql = queries.audited(self.product_table, limit)
        for row in self._query(sql, audit_id=audit_id, head=head):
            columns = {name: row[name] for name in AuditedLabel.model_fields}
            yield Audited(AuditedLabel(**columns), _product(row))

    def add_label(self, label: HumanLabel) -> None:  # noqa: D102
        self._warehouse.append("labels", [label.model_dump()])

    def prediction(self, prediction_id: str) -> Prediction | None:
        """Looks at the newest partitions, and there where no job is: the view would read all of it."""
        rows = self._query(
            f"SELECT * FROM `{self._dataset}.predictions` WHERE prediction_id = @prediction_id "
            "AND job_id IS NULL "
            "AND predicted_at > TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 1 DAY) LIMIT 1",
            prediction_id=prediction_id,
        )
        return next((_prediction(row) for row in rows), None)

    def rejected(
        self, job_id: str | None, *, rejection_id: str | None = None, limit: int | None = None
    ) -> list[Rejection]:
        """Also a request that named no job: its job would have been called after its message."""
        rows = self._query(
            f"SELECT * FROM `{self._dataset}.unique_rejected` "
            "WHERE (@job_id IS NULL OR job_id = @job_id OR CONCAT('job-', message_id) = @job_id) "
            "AND (@rejection_id IS NULL OR rejection_id = @rejection_id) "
            "ORDER BY rejected_at DESC, rejection_id "
            f"LIMIT {queries.MAX_ROWS if limit is None else limit:d}",
            job_id=job_id,
            rejection_id=rejection_id,
        )
        return [Rejection(**row) for row in rows]

    def values(self) -> Mapping[str, Sequence[tuple[str, int]]]:  # noqa: D102
        found: dict[str, list[tuple[str, int]]] = {name: [] for name in self.config.attributes}
        try:
            for row in self._query(queries.values(self.product_table)):
                found[row["name"]].append((row["value"], row["products"]))
        except Forbidden as error:
            raise NotAllowedError(str(error)) from error
        return found

    @cached_property
    def _warehouse(self) -> BigQueryWarehouse:
        return BigQueryWarehouse(*self._names)

    def _query(
        self, sql: str, **parameters: str | int | float | bool | datetime | None
    ) -> Iterator[Mapping[str, Any]]:
        config = bigquery.QueryJobConfig(
            query_parameters=[
                bigquery.ScalarQueryParameter(name, _TYPES[type(value)], value)
                for name, value in parameters.items()
            ]
        )
        return iter(self._client.query_and_wait(sql, job_config=config, page_size=PAGE_ROWS))


_TYPES = {
    str: "STRING",
    int: "INT64",
    float: "FLOAT64",
    bool: "BOOL",
    datetime: "TIMESTAMP",
    type(None): "STRING",
}


def _prediction(row: Mapping[str, Any]) -> Prediction:
    columns = {name: row[name] for name in Prediction.model_fields}
    repeated = {
        "heads": tuple(Label(**label) for label in row["heads"]),
        "abstained": tuple(row["abstained"]),
        "declared": tuple(Declared(**record) for record in row["declared"] or ()),
        "decided": tuple(HeadPhoto(**each) for each in row["decided"] or ()),
        "misfits": tuple(HeadPhoto(**each) for each in row["misfits"] or ()),
        "head_values": tuple(HeadValue(**value) for value in row["head_values"] or ()),
    }
    return Prediction(**columns | repeated)


def _product(row: Mapping[str, Any]) -> Product | None:
    product = row["product"]
    return product_of(product) if product and product["product_id"] is not None else None
