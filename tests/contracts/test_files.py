"""No file in schemas/ is without a use."""

import yaml

from services.local.provision import event_proto
from services.shared.wiring import SCHEMAS, load_wiring
from tests.contracts.examples import EVENTS, FOLDER, bad_examples, good_examples, kebab


def names(folder: str, pattern: str) -> set[str]:
    return {path.name for path in (SCHEMAS / folder).glob(pattern)}


def test_every_proto_is_of_an_event() -> None:
    used = {
        event_proto(topic.event).name
        for topic in load_wiring().topics.values()
        if topic.schema_kind == "proto"
    }
    # The request's is documentation: the broker does not enforce it, and says why in topics.yaml.
    assert names("events", "*") == used | {"classification_requested.proto"}


def test_every_table_file_has_its_layout() -> None:
    layouts = yaml.safe_load((SCHEMAS / "tables.yaml").read_text())
    assert names("tables", "*") == {f"{table}.json" for table in layouts}


def test_every_view_is_sql() -> None:
    # The local cloud and Terraform create a view of each .sql file; another file would be none.
    assert names("views", "*") == names("views", "*.sql")


def test_every_example_is_of_an_event_and_is_tested() -> None:
    tested = {example.path for example in good_examples()} | {example.path for example in bad_examples()}
    assert {path for path in FOLDER.rglob("*") if path.is_file()} == tested
    assert {path.name for path in FOLDER.iterdir()} == {kebab(event) for event in EVENTS}


def test_nothing_else_stands_in_schemas() -> None:
    assert {path.name for path in SCHEMAS.iterdir()} == {
        "asyncapi.json",
        "events",
        "examples",
        "openapi.json",
        "tables",
        "tables.yaml",
        "topics.yaml",
        "views",
    }
