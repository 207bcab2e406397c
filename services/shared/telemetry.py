"""Logs as Cloud Logging reads them, metrics as log entries, and traces that cross the topics.

The trace context travels in message attributes under the names that google-cloud-pubsub gives them
(`googclient_traceparent`). Spans are exported by OTLP where OTEL_EXPORTER_OTLP_ENDPOINT says so.
"""

import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, override

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from services.shared.metrics import Metric

PREFIX = "googclient_"

_labels: ContextVar[Mapping[str, str]] = ContextVar("labels", default={})  # noqa: B039
_propagator = TraceContextTextMapPropagator()
_tracer = trace.get_tracer("vitrine")
_logger = logging.getLogger("vitrine")


class JsonFormatter(logging.Formatter):
    """One JSON object a line, with the keys that Cloud Logging gives a meaning to."""

    def __init__(self, project: str) -> None:
        super().__init__()
        self._project = project

    @override
    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "severity": record.levelname,
            "message": record.getMessage(),
            "logger": record.name,
            "logging.googleapis.com/labels": dict(_labels.get()),
            **getattr(record, "fields", {}),
        }
        span = trace.get_current_span().get_span_context()
        if span.is_valid:
            entry["logging.googleapis.com/trace"] = f"projects/{self._project}/traces/{span.trace_id:032x}"
            entry["logging.googleapis.com/spanId"] = f"{span.span_id:016x}"
            entry["logging.googleapis.com/trace_sampled"] = span.trace_flags.sampled
        if record.exc_info:
            # Error Reporting groups by the stack trace at the end of the message.
            entry["message"] += "\n" + self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


def configure(service: str, project: str) -> None:
    """Sends this process's logs to standard output as JSON, and its spans where the environment says."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter(project))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    exported = bool(os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"))
    # Spans that go nowhere need not be recorded: log lines and messages have their trace's id all the same.
    provider = TracerProvider(
        sampler=ParentBased(ALWAYS_ON if exported else ALWAYS_OFF),
        resource=Resource.create({SERVICE_NAME: service}),
    )
    if exported:
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)


def count(metric: Metric, value: float, **labels: str) -> None:
    """Records one value of a metric."""
    _logger.info("%s %s", metric, value, extra={"fields": {"metric": metric, "value": value, **labels}})


@contextmanager
def handling(subscription: str, attributes: Mapping[str, str]) -> Iterator[None]:
    """Everything inside belongs to one message: its labels on each log line, its trace as the parent."""
    carrier = {
        name.removeprefix(PREFIX): value for name, value in attributes.items() if name.startswith(PREFIX)
    }
    labels = {"subscription": subscription}
    labels |= {name: attributes[name] for name in ("job_id", "batch") if name in attributes}
    token = _labels.set(labels)
    try:
        with _tracer.start_as_current_span(
            f"{subscription} process",
            context=_propagator.extract(carrier),
            kind=trace.SpanKind.CONSUMER,
            attributes={
                "messaging.system": "gcp_pubsub",
                "messaging.destination.name": subscription,
                **labels,
            },
        ):
            yield
    finally:
        _labels.reset(token)


def trace_attributes() -> dict[str, str]:
    """The current trace's context, as attributes of a message to publish."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return {PREFIX + name: value for name, value in carrier.items()}
