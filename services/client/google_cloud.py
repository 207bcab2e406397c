"""Cloud Storage, Pub/Sub and BigQuery behind the client's ports, by Google's own clients."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

from google.cloud import bigquery, pubsub_v1
from google.cloud.storage.retry import DEFAULT_RETRY

from services.client.ports import ObjectFacts, Rejection, Result, Tally
from services.shared import google_cloud
from services.shared.events import Filters, Label, Prediction, Product
from services.shared.google_bigquery import bigquery_client, table_schema_path
from services.shared.jobs import ndjson

PUBLISH_TIMEOUT = 60.0  # seconds
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


class CloudTopics:
    """Pub/Sub."""

    def __init__(self, project: str) -> None:
        self._project = project
        self._client = pubsub_v1.PublisherClient()

    def publish(self, topic: str, data: bytes, attributes: Mapping[str, str]) -> str:  # noqa: D102
        path = self._client.topic_path(self._project, topic)
        return str(self._client.publish(path, data, **attributes).result(timeout=PUBLISH_TIMEOUT))


# What a result is; @job_id is its job. A catalogue may list a product twice: one of the rows counts.
_JOB = """
WITH job_rows AS (
  SELECT * FROM `{dataset}.predictions` WHERE job_id = @job_id
),
declared AS (
  SELECT * FROM `{dataset}.products` WHERE TRUE
  QUALIFY ROW_NUMBER() OVER (PARTITION BY image_id ORDER BY display_name) = 1
),
known AS (
  SELECT DISTINCT label.head, label.label FROM job_rows CROSS JOIN UNNEST(job_rows.heads) AS label
),
best AS (
  SELECT
    job_rows.prediction_id, label.head, label.label, label.probability,
    CASE label.head {declared_labels} END AS declared_label
  FROM job_rows CROSS JOIN UNNEST(job_rows.heads) AS label
  JOIN declared ON declared.image_id = job_rows.image_id
  WHERE label.rank = 1 AND job_rows.variant = 'original'
    AND label.head NOT IN UNNEST(job_rows.abstained) AND NOT IFNULL(job_rows.unfamiliar, FALSE)
),
doubts AS (
  SELECT
    best.prediction_id,
    MAX(best.probability) AS confidence,
    ARRAY_AGG(best.head ORDER BY best.probability DESC) AS heads
  FROM best JOIN known ON known.head = best.head AND known.label = best.declared_label
  WHERE best.label != best.declared_label
  GROUP BY best.prediction_id
)
"""

_TALLY = """
SELECT
  COUNT(DISTINCT image_id) AS photos,
  COUNTIF(error IS NULL) AS predictions,
  (SELECT COUNT(*) FROM doubts) AS disagreements,
  ARRAY(SELECT DISTINCT known.head FROM known ORDER BY 1) AS heads
FROM job_rows
"""

_ERRORS = """
SELECT error, COUNT(*) AS failed FROM job_rows WHERE error IS NOT NULL
GROUP BY error ORDER BY failed DESC, error
"""

_RESULTS = """
SELECT job_rows.*, declared AS product, doubts.heads AS disagreements
FROM job_rows
LEFT JOIN declared ON declared.image_id = job_rows.image_id
LEFT JOIN doubts ON doubts.prediction_id = job_rows.prediction_id
ORDER BY doubts.confidence DESC NULLS LAST, error IS NULL, job_rows.image_id, variant
"""


class BigQueryTables:
    """A dataset."""

    def __init__(self, project: str, dataset: str) -> None:
        self._dataset = f"{project}.{dataset}"
        self._client = bigquery_client(project, dataset)
        declared = " ".join(f"WHEN '{column}' THEN declared.{column}" for column in Filters.COLUMNS)
        self._job = _JOB.format(dataset=self._dataset, declared_labels=declared)

    def merge_products(self, products: Sequence[Product]) -> None:
        """One load job into a table of its own, then one statement: readers see all of it or nothing."""
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
                BytesIO(ndjson(products)), table.reference, job_config=config
            ).result()
            columns = list(Product.model_fields)
            updates = ", ".join(f"{column} = imported.{column}" for column in columns)
            self._client.query_and_wait(
                f"MERGE `{self._dataset}.products` AS product USING `{name}` AS imported "
                "ON product.image_id = imported.image_id "
                f"WHEN MATCHED THEN UPDATE SET {updates} "
                f"WHEN NOT MATCHED THEN INSERT ({', '.join(columns)}) "
                f"VALUES ({', '.join(f'imported.{column}' for column in columns)})"
            )
        finally:
            self._client.delete_table(table, not_found_ok=True)

    def tally(self, job_id: str) -> Tally:  # noqa: D102
        (counts,) = self._query(self._job + _TALLY, job_id=job_id)
        errors = self._query(self._job + _ERRORS, job_id=job_id)
        return Tally(
            photos=counts["photos"],
            predictions=counts["predictions"],
            errors={row["error"]: row["failed"] for row in errors},
            disagreements=counts["disagreements"],
            heads=tuple(counts["heads"]),
        )

    def results(self, job_id: str, limit: int | None) -> Iterator[Result]:  # noqa: D102
        sql = self._job + _RESULTS + (f"LIMIT {limit:d}" if limit is not None else "")
        for row in self._query(sql, job_id=job_id):
            product = row["product"]
            yield Result(
                prediction=_prediction(row),
                declared=Product(**product) if product and product["image_id"] is not None else None,
                disagreements=tuple(row["disagreements"]),
            )

    def prediction(self, prediction_id: str) -> Prediction | None:
        """Looks at the newest partitions of the table: the view would read all of it at each look."""
        rows = self._query(
            f"SELECT * FROM `{self._dataset}.predictions` WHERE prediction_id = @prediction_id "
            "AND predicted_at > TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 1 DAY) LIMIT 1",
            prediction_id=prediction_id,
        )
        return next((_prediction(row) for row in rows), None)

    def rejected(self, job_id: str | None) -> list[Rejection]:
        """Also a request that named no job: its job would have been called after its message."""
        rows = self._query(
            f"SELECT * FROM `{self._dataset}.unique_rejected` "
            "WHERE @job_id IS NULL OR job_id = @job_id OR CONCAT('job-', message_id) = @job_id "
            "ORDER BY rejected_at DESC, rejection_id",
            job_id=job_id,
        )
        return [Rejection(**row) for row in rows]

    def _query(self, sql: str, **parameters: str | None) -> Iterator[Mapping[str, Any]]:
        config = bigquery.QueryJobConfig(
            query_parameters=[
                bigquery.ScalarQueryParameter(name, "STRING", value) for name, value in parameters.items()
            ]
        )
        return iter(self._client.query_and_wait(sql, job_config=config))


def _prediction(row: Mapping[str, Any]) -> Prediction:
    columns = {name: row[name] for name in Prediction.model_fields}
    heads, abstained = tuple(Label(**label) for label in row["heads"]), tuple(row["abstained"])
    return Prediction(**columns | {"heads": heads, "abstained": abstained})
