"""Everything that leaves the process during a run, as bytes by output."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

from trisignal.testing import Seen, capture

SECRETS = {
    "email": "canary.nine@hidden-mail.org",
    "phone": "+49 30 90183099",
    "card": "5555555555554444",
    "iban": "GB29NWBK60161331926819",
    "us_ssn": "219-09-9998",
    "ip": "198.51.100.99",
    "api_key": "sk-hidden0123456789abcdefHIDDEN",
    "jwt": "eyJhbGciOiJub25lIn0.eyJoaWRkZW4iOiJ5ZXMifQ.aGlkZGVuc2ln",
    "private_key": "-----BEGIN PRIVATE KEY-----MIIhiddenKEYbody-----END PRIVATE KEY-----",
}
"""One per built-in detector."""
MARKS = (*(secret for name, secret in SECRETS.items() if name != "private_key"), "MIIhiddenKEYbody")
ALL = "; ".join(SECRETS.values())
WORD = "zuvoptikramelhondisquate"
"""A text that no detector knows."""
TEXT = f"{ALL} {WORD}"


class Leaving:
    """The outputs of one run."""

    def __init__(self) -> None:
        self.seen: Seen
        """What the library's own test helper saw: registry and call log."""
        self.exporter = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()
        self.records = InMemoryLogRecordExporter()
        self.own = io.StringIO()

    def sent(self) -> dict[str, bytes]:
        """Bytes by the name of the output; to be read inside the run."""
        lines = self.seen.log_text
        metrics = self.reader.get_metrics_data()
        return {
            "otlp spans": encode_spans(self.exporter.get_finished_spans()).SerializeToString(),
            "otlp metrics": b"" if metrics is None else encode_metrics(metrics).SerializeToString(),
            "otlp events": encode_logs(self.records.get_finished_logs()).SerializeToString(),
            "prometheus": generate_latest(self.seen.registry),
            "openmetrics": openmetrics.generate_latest(self.seen.registry),
            "call log": lines.encode(),
            "own loggers": self.own.getvalue().encode(),
        }

    def leaks(self, *marks: str) -> dict[str, list[str]]:
        """The outputs that hold any of the marks, and which."""
        found = {name: [mark for mark in marks if mark.encode() in data] for name, data in self.sent().items()}
        return {name: present for name, present in found.items() if present}


@contextmanager
def leaving(*, strict: bool = True, **settings: Any) -> Iterator[Leaving]:
    """Run a block with every sink on and every logger of the library at DEBUG.

    Args:
        strict: Contained errors are raised.
        **settings: Arguments of `trisignal.setup`.
    """
    made = Leaving()
    # Not behind the export gate: what policy lets through must be clean by itself.
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(made.exporter))
    meters = MeterProvider([made.reader])
    loggers = LoggerProvider()
    loggers.add_log_record_processor(SimpleLogRecordProcessor(made.records))
    own, calls = logging.getLogger("trisignal"), logging.getLogger("trisignal.calls")
    handler = logging.StreamHandler(made.own)
    levels = own.level, calls.level
    own.addHandler(handler)
    own.setLevel(logging.DEBUG)
    given = {"tracer_provider": tracers, "meter_provider": meters, "logger_provider": loggers, **settings}
    try:
        with capture(strict=strict, metric_dimensions=["tenant"], **given) as made.seen:
            calls.setLevel(logging.DEBUG)
            yield made
    finally:
        own.removeHandler(handler)
        own.setLevel(levels[0])
        calls.setLevel(levels[1])
        meters.shutdown()
        loggers.shutdown()
