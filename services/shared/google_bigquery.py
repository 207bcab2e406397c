"""BigQuery behind the ports: selections are query jobs, shards are load jobs, uploads are appended.

BIGQUERY_EMULATOR_HOST is the client's own business, but covers REST only; where it is set,
BIGQUERY_STORAGE_EMULATOR_HOST (host:port) says where the emulator listens for the Storage Write API's gRPC.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from datetime import datetime
from functools import cache, cached_property
from pathlib import Path
from typing import Any, cast

from google.api_core.exceptions import Conflict, GoogleAPICallError, ServiceUnavailable
from google.api_core.retry import Retry, if_exception_type
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field

from services.shared.catalogue import (
    Parameters,
    ProductTable,
    product_of,
    query,
    team_table,
    values_query,
)
from services.shared.catalogue_config import CatalogueConfig, bundled_config
from services.shared.events import Filters, Product
from services.shared.wiring import SCHEMAS

JOB_ATTEMPTS = 100  # ids that one job may have used up by failing
APPEND_TIMEOUT = 10.0  # seconds for rows to be taken
JOB_TIMEOUT = 300.0  # seconds; then the push fails, and the next delivery waits for the same job again


def bigquery_credentials() -> AnonymousCredentials | None:
    """What to sign in to BigQuery with; None where Google's client finds that itself."""
    return AnonymousCredentials() if os.environ.get("BIGQUERY_EMULATOR_HOST") else None


def bigquery_client(project: str, dataset: str) -> bigquery.Client:
    """A client whose jobs run, and are looked up, where the dataset is."""
    credentials = bigquery_credentials()
    location = bigquery.Client(project, credentials=credentials).get_dataset(dataset).location
    return bigquery.Client(project, credentials=credentials, location=location)


def run_once[J: (bigquery.QueryJob, bigquery.LoadJob)](
    client: bigquery.Client, name: str, start: Callable[[str], J]
) -> J:
    """Runs a job once for ever under a name: a repeat finds the first run, unless that one failed.

    Args:
        client: looks earlier runs up.
        name: job ids are `<name>-0`, `<name>-1` and so on: a failed run has used its id up.
        start: starts the job under the id it is given.

    Raises:
        GoogleAPICallError: the job that this call started failed; a repeat will start the next.

    """
    for attempt in range(JOB_ATTEMPTS):
        job_id = f"{name}-{attempt}"
        try:
            job = start(job_id)
            job.result(timeout=JOB_TIMEOUT)
        except Conflict:
            job = cast("J", client.get_job(job_id))
            try:
                job.result(timeout=JOB_TIMEOUT)
            except GoogleAPICallError:
                continue
        return job
    raise RuntimeError(f"{name} failed {JOB_ATTEMPTS} times")


def open_products(client: bigquery.Client, config: CatalogueConfig, dataset: str) -> ProductTable:
    """Where a catalogue's products are read from.

    Args:
        client: looks a team's own table up.
        config: of the catalogue.
        dataset: `project.dataset` of the pipeline's own tables.

    Raises:
        services.shared.catalogue.ColumnError: a team's table has not the columns that the catalogue names.
        google.api_core.exceptions.GoogleAPICallError: there is no such table, or it may not be read.

    """
    if config.table is None:
        return ProductTable(config, dataset)
    fields = client.get_table(config.table).schema
    columns = {each.name: (each.field_type, each.mode == "REPEATED") for each in fields}
    return team_table(config, dataset, columns)


_TYPES = {bool: "BOOL", float: "FLOAT64", int: "INT64", str: "STRING"}


def query_parameters(parameters: Parameters) -> list[Any]:
    """The parameters of a catalogue's query as BigQuery's client takes them."""
    return [
        bigquery.ArrayQueryParameter(name, _TYPES[type(value[0])], list(value))
        if isinstance(value, tuple)
        else bigquery.ScalarQueryParameter(name, _TYPES[type(value)], value)
        for name, value in parameters.items()
    ]


class BigQuerySelection:
    """The result table of a query job; BigQuery keeps it for 24 hours."""

    def __init__(self, client: bigquery.Client, job: bigquery.QueryJob) -> None:
        self._client = client
        self._table = job.destination
        self.total = int(job.result(max_results=0).total_rows)

    def rows(self, start: int, count: int) -> Iterator[Product]:  # noqa: D102
        rows = self._client.list_rows(self._table, start_index=start, max_results=count)
        return (product_of(dict(row)) for row in rows)


class BigQueryCatalogue:
    """A catalogue, by default in the table `products`, and the tables `predictions` and `jobs`."""

    def __init__(self, project: str, dataset: str, config: CatalogueConfig | None = None) -> None:
        self.config = config or bundled_config()
        self._dataset = f"{project}.{dataset}"
        self._client = bigquery_client(project, dataset)
        self._products = open_products(self._client, self.config, self._dataset)

    def select(self, selection_id: str, filters: Filters) -> BigQuerySelection:  # noqa: D102
        sql, parameters = query(filters, self._products)
        config = bigquery.QueryJobConfig(query_parameters=query_parameters(parameters))
        job = run_once(
            self._client,
            selection_id,
            lambda job_id: self._client.query(sql, config, job_id=job_id, job_retry=None),
        )
        return BigQuerySelection(self._client, job)

    def values(self, attributes: Sequence[str]) -> Mapping[str, Set[str]]:  # noqa: D102
        found: dict[str, set[str]] = {name: set() for name in attributes}
        for row in self._client.query_and_wait(values_query(attributes, self._products)):
            found[row["name"]].add(row["value"])
        return found

    def has_run(self, job_id: str) -> bool:  # noqa: D102
        sql = f"SELECT 1 FROM `{self._dataset}.jobs` WHERE job_id = @job_id LIMIT 1"
        config = bigquery.QueryJobConfig(query_parameters=query_parameters({"job_id": job_id}))
        return any(True for _ in self._client.query_and_wait(sql, job_config=config))


class BigQueryWarehouse:
    """A dataset."""

    def __init__(self, project: str, dataset: str) -> None:
        self._project, self._dataset = project, dataset
        self._client = bigquery_client(project, dataset)

    def load(self, table: str, uri: str, load_id: str) -> None:  # noqa: D102
        config = bigquery.LoadJobConfig(
            source_format=bigquery.SourceFormat.NEWLINE_DELIMITED_JSON,
            schema=self._client.schema_from_json(table_schema_path(table)),
            write_disposition=bigquery.WriteDisposition.WRITE_APPEND,
            create_disposition=bigquery.CreateDisposition.CREATE_NEVER,
        )
        target = f"{self._project}.{self._dataset}.{table}"
        run_once(
            self._client,
            load_id,
            lambda job_id: self._client.load_table_from_uri(uri, target, job_id=job_id, job_config=config),
        )

    def append(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:  # noqa: D102
        from google.cloud.bigquery_storage_v1 import types

        row_type, descriptor = row_message(table)
        request = types.AppendRowsRequest(
            write_stream=f"projects/{self._project}/datasets/{self._dataset}/tables/{table}/streams/_default",
            proto_rows=types.AppendRowsRequest.ProtoData(
                writer_schema=types.ProtoSchema(proto_descriptor=descriptor),
                rows=types.ProtoRows(
                    serialized_rows=[
                        json_format.ParseDict(_with_epochs(row), row_type()).SerializeToString()
                        for row in rows
                    ]
                ),
            ),
        )
        # The client's own timeout is a day, and so is that of its repeats.
        retry = Retry(if_exception_type(ServiceUnavailable), timeout=APPEND_TIMEOUT)
        for response in self._appender.append_rows(iter([request]), retry=retry, timeout=APPEND_TIMEOUT):
            if response.row_errors:
                raise RuntimeError(
                    f"{table} refuses rows: {[error.message for error in response.row_errors]}"
                )

    def tally(self, job_id: str) -> tuple[int, int]:  # noqa: D102
        sql = (
            "SELECT COUNTIF(error IS NULL) AS predictions, COUNTIF(error IS NOT NULL) AS errors "
            f"FROM `{self._project}.{self._dataset}.predictions` WHERE job_id = @job_id "
            "AND IFNULL(ARRAY_LENGTH(decided), 0) = 0"
        )
        config = bigquery.QueryJobConfig(
            query_parameters=[bigquery.ScalarQueryParameter("job_id", "STRING", job_id)]
        )
        row = next(iter(self._client.query_and_wait(sql, job_config=config)))
        return int(row["predictions"]), int(row["errors"])

    @cached_property
    def _appender(self) -> Any:
        from google.cloud.bigquery_storage_v1 import BigQueryWriteClient
        from google.cloud.bigquery_storage_v1.services.big_query_write.transports import (
            BigQueryWriteGrpcTransport,
        )

        emulator = os.environ.get("BIGQUERY_STORAGE_EMULATOR_HOST")
        if emulator is None:
            return BigQueryWriteClient()
        import grpc

        return BigQueryWriteClient(
            transport=BigQueryWriteGrpcTransport(channel=grpc.insecure_channel(emulator))
        )


def table_schema_path(table: str) -> str:
    """The file that has a table's columns, in BigQuery's own JSON form."""
    return str(SCHEMAS / "tables" / f"{table}.json")


_PROTO_TYPES = {
    "STRING": Field.TYPE_STRING,
    "JSON": Field.TYPE_STRING,
    "INT64": Field.TYPE_INT64,
    "FLOAT64": Field.TYPE_DOUBLE,
    "BOOL": Field.TYPE_BOOL,
    "TIMESTAMP": Field.TYPE_INT64,  # microseconds since the epoch
}


@cache
def row_message(table: str) -> tuple[type[Any], descriptor_pb2.DescriptorProto]:
    """The protobuf message that the Storage Write API takes for a row of the table, and its description."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{table}.proto", syntax="proto2")
    columns = json.loads(Path(table_schema_path(table)).read_text())
    row = file.message_type.add(name="Row")
    _describe(row, columns)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    # As it was built: a pool makes the nested names absolute, and the API cannot resolve those.
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("Row")), row


def _describe(message: descriptor_pb2.DescriptorProto, columns: Sequence[Mapping[str, Any]]) -> None:
    for number, column in enumerate(columns, start=1):
        field = message.field.add(name=column["name"], number=number)
        field.label = Field.LABEL_REPEATED if column["mode"] == "REPEATED" else Field.LABEL_OPTIONAL
        if column["type"] == "RECORD":
            nested = column["name"].title().replace("_", "")
            field.type, field.type_name = Field.TYPE_MESSAGE, nested
            _describe(message.nested_type.add(name=nested), column["fields"])
        else:
            field.type = _PROTO_TYPES[column["type"]]


def _with_epochs(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _with_epochs(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_epochs(item) for item in value]
    return int(value.timestamp() * 1_000_000) if isinstance(value, datetime) else value
