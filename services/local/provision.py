"""Creates what Terraform creates in a real project: topics, subscriptions, buckets, tables, views."""

from collections.abc import Mapping
from pathlib import Path

import yaml
from google.api_core.exceptions import AlreadyExists, Conflict, NotFound
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery, pubsub_v1
from google.cloud.pubsub_v1 import types
from google.cloud.storage import Client
from google.protobuf import duration_pb2, field_mask_pb2
from google.pubsub_v1.types import Schema

from services.local.processes import LocalCloudError
from services.shared.catalogue import ColumnError
from services.shared.catalogue_config import CatalogueConfig
from services.shared.google_bigquery import open_products
from services.shared.google_upgrade import new_table, upgrade
from services.shared.wiring import SCHEMAS, Topic, load_wiring

KEPT = 7 * 24 * 3600  # seconds that a message waits for its subscriber


def provision_pubsub(project: str, endpoints: Mapping[str, str]) -> None:
    """Creates or updates the topics of schemas/topics.yaml.

    Args:
        project: its id.
        endpoints: the URL that each service is pushed to.

    """
    publisher, subscriber = pubsub_v1.PublisherClient(), pubsub_v1.SubscriberClient()
    wiring = load_wiring()
    for name, topic in wiring.topics.items():
        request: dict[str, object] = {"name": publisher.topic_path(project, name)}
        if topic.schema_kind == "proto":
            request["schema_settings"] = {"schema": _schema(project, name, topic), "encoding": "JSON"}
        try:
            publisher.create_topic(request=request)
        except AlreadyExists:
            if "schema_settings" in request:
                publisher.update_topic(
                    request={"topic": request, "update_mask": {"paths": ["schema_settings"]}}
                )
    for name, (topic_name, service, options) in wiring.subscriptions().items():
        subscription = types.Subscription(
            name=subscriber.subscription_path(project, name),
            topic=publisher.topic_path(project, topic_name),
            ack_deadline_seconds=options.ack_deadline,
            filter=options.filter,
            message_retention_duration=duration_pb2.Duration(seconds=KEPT),
        )
        if not options.pull:
            subscription.push_config = types.PushConfig(push_endpoint=endpoints[service])
            subscription.retry_policy = types.RetryPolicy(
                minimum_backoff=duration_pb2.Duration(seconds=options.backoff[0]),
                maximum_backoff=duration_pb2.Duration(seconds=options.backoff[1]),
            )
            subscription.dead_letter_policy = types.DeadLetterPolicy(
                dead_letter_topic=publisher.topic_path(project, options.dead_letter),
                max_delivery_attempts=options.attempts,
            )
        try:
            subscriber.create_subscription(request=subscription)
        except AlreadyExists:
            paths = ["push_config", "ack_deadline_seconds", "retry_policy", "dead_letter_policy"]
            mask = field_mask_pb2.FieldMask(paths=paths if not options.pull else ["ack_deadline_seconds"])
            subscriber.update_subscription(request={"subscription": subscription, "update_mask": mask})


def provision_buckets(project: str, *buckets: str) -> None:
    """Creates the buckets that do not stand yet."""
    client = Client(project)
    for bucket in buckets:
        try:
            client.create_bucket(bucket)
        except Conflict:
            continue


def provision_dataset(project: str, dataset: str) -> None:
    """Creates the dataset, its tables as schemas/ says, and its views."""
    client = bigquery.Client(project, credentials=AnonymousCredentials())
    try:
        client.create_dataset(dataset)
    except Conflict:
        upgrade(client, f"{project}.{dataset}", print)
    for name, layout in yaml.safe_load((SCHEMAS / "tables.yaml").read_text()).items():
        table = new_table(client, f"{project}.{dataset}.{name}", name, layout)
        try:
            client.create_table(table)
        except Conflict:
            # One of an earlier release: columns that have come since are added.
            client.update_table(table, ["schema"])
    for path in sorted((SCHEMAS / "views").glob("*.sql")):
        view = bigquery.Table(f"{project}.{dataset}.{path.stem}")
        view.view_query = view_query(path, project, dataset)
        client.delete_table(view, not_found_ok=True)
        client.create_table(view)


def check_table(project: str, dataset: str, config: CatalogueConfig) -> None:
    """Looks at the table that a catalogue.yaml names.

    Raises:
        LocalCloudError: it does not exist, or has other columns.

    """
    client = bigquery.Client(project, credentials=AnonymousCredentials())
    try:
        open_products(client, config, f"{project}.{dataset}")
    except NotFound:
        raise LocalCloudError(
            f"catalogue.yaml: table: the local BigQuery has no table {config.table}. Remove `table` and "
            "import a file; or start without this catalogue, create the table, and start with it again"
        ) from None
    except ColumnError as error:
        raise LocalCloudError(f"catalogue.yaml: {error}") from None


def view_query(path: Path, project: str, dataset: str) -> str:
    """A view's query, for a dataset."""
    return path.read_text().format(project=project, dataset=dataset)


def _schema(project: str, name: str, topic: Topic) -> str:
    """Creates the topic's schema, or a revision of it where the file has changed; its full name."""
    client = pubsub_v1.SchemaServiceClient()
    definition = event_proto(topic.event).read_text()
    path: str = client.schema_path(project, name)
    schema = Schema(name=path, type_=Schema.Type.PROTOCOL_BUFFER, definition=definition)
    try:
        client.create_schema(parent=f"projects/{project}", schema=schema, schema_id=name)
    except AlreadyExists:
        if client.get_schema(name=path).definition != definition:
            client.commit_schema(name=path, schema=schema)
    return path


def event_proto(event: str) -> Path:
    """The file of an event's proto: BatchStaged is batch_staged.proto."""
    snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in event)
    return SCHEMAS / "events" / f"{snake.lstrip('_')}.proto"
