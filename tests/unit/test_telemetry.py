"""Logs as Cloud Logging reads them, and one trace from a publication to its handling."""

import io
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from services.shared import telemetry

LABELS = "logging.googleapis.com/labels"
TRACE = "logging.googleapis.com/trace"
SPAN = "logging.googleapis.com/spanId"
TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACED = {"googclient_traceparent": f"00-{TRACE_ID}-{SPAN_ID}-01"}


class Log:
    """What a service has written to its standard output, one JSON object a line."""

    def __init__(self, output: io.StringIO) -> None:
        self._output = output

    def entries(self) -> list[dict[str, Any]]:
        """What came since the last call."""
        lines = self._output.getvalue().splitlines()
        self._output.seek(0)
        self._output.truncate()
        return [json.loads(line) for line in lines]

    def entry(self) -> dict[str, Any]:
        (entry,) = self.entries()
        return entry


@contextmanager
def captured_log() -> Iterator[Log]:
    """`configure` replaces the process's handlers, pytest's among them; afterwards these are back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        with redirect_stdout(io.StringIO()) as output:
            yield Log(output)
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


@pytest.fixture
def log() -> Iterator[Log]:
    """The log of a process that is configured as a service of the project `a-project`."""
    with captured_log() as log:
        telemetry.configure("inference", "a-project")
        log.entries()  # a second configuration in one process is warned of
        yield log


def test_an_entry_has_the_keys_of_cloud_logging(log: Log) -> None:
    logging.getLogger("vitrine.example").warning("%s of %s\nphotos", 3, 4)
    assert log.entry() == {
        "severity": "WARNING",
        "message": "3 of 4\nphotos",
        "logger": "vitrine.example",
        LABELS: {},
    }


@pytest.mark.parametrize("level", ["INFO", "WARNING", "ERROR", "CRITICAL"])
def test_severities_are_cloud_loggings(log: Log, level: str) -> None:
    logging.getLogger("x").log(getattr(logging, level), "text")
    assert log.entry()["severity"] == level


def test_what_is_too_fine_is_not_logged(log: Log) -> None:
    logging.getLogger("x").debug("text")
    assert log.entries() == []


def test_fields_stand_beside_the_message(log: Log) -> None:
    logging.getLogger("x").info("text", extra={"fields": {"message_id": "7", "when": object}})
    entry = log.entry()
    assert entry["message_id"] == "7"
    assert entry["when"] == str(object)


def test_an_exception_ends_the_message_with_its_stack(log: Log) -> None:
    try:
        json.loads("no JSON")
    except ValueError:
        logging.getLogger("x").exception("failed")
    lines = log.entry()["message"].splitlines()
    assert lines[:2] == ["failed", "Traceback (most recent call last):"]
    assert lines[-1].startswith("json.decoder.JSONDecodeError: ")


def test_a_metric_is_an_entry_with_its_value_and_labels(log: Log) -> None:
    telemetry.count("image_errors", 2, code="photo-corrupt")
    entry = log.entry()
    assert (entry["metric"], entry["value"], entry["code"]) == ("image_errors", 2, "photo-corrupt")
    assert entry["message"] == "image_errors 2"


# ------------------------------------------------------------------------------------- messages


def test_what_is_logged_while_a_message_is_handled_carries_its_job_batch_and_trace(log: Log) -> None:
    attributes = TRACED | {"job_id": "job", "batch": "7", "classify": "true"}
    with telemetry.handling("batch-staged-to-inference", attributes):
        logging.getLogger("x").info("text")
    entry = log.entry()
    assert entry[LABELS] == {"subscription": "batch-staged-to-inference", "job_id": "job", "batch": "7"}
    assert entry[TRACE] == f"projects/a-project/traces/{TRACE_ID}"
    assert entry["logging.googleapis.com/trace_sampled"] is True
    assert len(entry[SPAN]) == 16
    assert entry[SPAN] != SPAN_ID


def test_a_message_without_a_trace_begins_one(log: Log) -> None:
    for _ in range(2):
        with telemetry.handling("s", {}):
            logging.getLogger("x").info("text")
    first, second = log.entries()
    assert first[TRACE] != second[TRACE]


def test_spans_that_go_nowhere_are_recorded_only_where_the_publisher_asks_for_it(log: Log) -> None:
    for attributes in ({}, TRACED):
        with telemetry.handling("s", attributes):
            logging.getLogger("x").info("text")
    assert [entry["logging.googleapis.com/trace_sampled"] for entry in log.entries()] == [False, True]


def test_a_broken_trace_context_begins_a_new_one(log: Log) -> None:
    with telemetry.handling("s", {"googclient_traceparent": "nonsense"}):
        logging.getLogger("x").info("text")
    assert log.entry()[TRACE].startswith("projects/a-project/traces/")


def test_nothing_of_a_message_is_left_when_it_is_done_or_has_failed(log: Log) -> None:
    with pytest.raises(ValueError, match="bad"), telemetry.handling("s", TRACED | {"job_id": "job"}):
        raise ValueError("bad")
    logging.getLogger("x").info("text")
    entry = log.entry()
    assert entry[LABELS] == {}
    assert TRACE not in entry


def test_threads_do_not_mix_their_messages(log: Log) -> None:
    both = threading.Barrier(2)

    def handle(job: str) -> None:
        with telemetry.handling("s", {"job_id": job}):
            both.wait(10)
            logging.getLogger("x").info(job)

    threads = [threading.Thread(target=handle, args=[job]) for job in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {entry["message"]: entry[LABELS]["job_id"] for entry in log.entries()} == {
        "one": "one",
        "two": "two",
    }


@pytest.mark.usefixtures("log")
def test_the_trace_goes_on_from_a_publication_to_its_handling() -> None:
    with telemetry.handling("batch-selected-to-staging", TRACED):
        published = telemetry.trace_attributes()
    with telemetry.handling("batch-staged-to-inference", published):
        again = telemetry.trace_attributes()
    spans = [each["googclient_traceparent"].split("-") for each in (TRACED, published, again)]
    assert {trace for _, trace, _, _ in spans} == {TRACE_ID}
    assert len({span for _, _, span, _ in spans}) == 3


def test_outside_of_a_message_there_is_no_trace_to_pass_on() -> None:
    assert telemetry.trace_attributes() == {}


# ------------------------------------------------------------------------------------- export


def test_spans_are_exported_where_the_environment_says() -> None:
    """In a process of its own: a process has one tracer provider."""
    received: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    program = (
        "from services.shared import telemetry\n"
        "telemetry.configure('inference', 'a-project')\n"
        f"with telemetry.handling('batch-staged-to-inference', {TRACED!r}): pass\n"
    )
    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_port}"
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ
            | {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_COMPRESSION": "none"},
            timeout=60,
            check=True,
        )
        server.shutdown()
    ((path, body),) = received
    assert path == "/v1/traces"
    for part in (b"inference", b"batch-staged-to-inference process", bytes.fromhex(TRACE_ID)):
        assert part in body
