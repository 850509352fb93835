"""ClickHouse's own engine with the collector's table, in an environment of its own (``make backends``)."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from analysis.backend_servers import sent

from trisignal.analysis.rows import SpanRow

BACKENDS = os.environ.get("TRISIGNAL_BACKENDS", "")
"""Where the environments are; it is read here, as a running test has no such variable any more."""
TABLE = """CREATE TABLE default.otel_traces (
    Timestamp DateTime64(9), TraceId String, SpanId String, ParentSpanId String, TraceState String,
    SpanName LowCardinality(String), SpanKind LowCardinality(String), ServiceName LowCardinality(String),
    ResourceAttributes Map(LowCardinality(String), String), ScopeName String, ScopeVersion String,
    SpanAttributes Map(LowCardinality(String), String), Duration UInt64,
    StatusCode LowCardinality(String), StatusMessage String
) ENGINE = MergeTree PARTITION BY toDate(Timestamp)
ORDER BY (ServiceName, SpanName, toDateTime(Timestamp), Timestamp)"""


@contextmanager
def running(folder: Path, rows: Sequence[SpanRow]) -> Iterator[str]:
    """The engine with these spans.

    Args:
        folder: Where it keeps its files.
        rows: The spans, with their attributes.

    Yields:
        Its URL.
    """
    python = Path(BACKENDS, "chdb", "bin", "python").absolute()
    if not BACKENDS or not python.exists():
        pytest.skip("needs chdb (make backends)")
    command = [str(python), str(Path(__file__).with_name("chdb_server.py")), str(folder)]
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as process:
        assert process.stdout is not None
        try:
            port = int(process.stdout.readline())
            lines = "\n".join(json.dumps(_exported(row, number)) for number, row in enumerate(rows))
            for sql in (TABLE, f"INSERT INTO default.otel_traces FORMAT JSONEachRow {lines}"):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", sql.encode(), timeout=120).close()
            yield f"clickhouse://127.0.0.1:{port}/default"
        finally:
            process.kill()


def _exported(row: SpanRow, number: int) -> dict[str, Any]:
    """A row of the collector's table; older exporters wrote other words for kind and status."""
    old = number % 2
    failed = row.outcome == "error"
    attributes = {
        key: json.dumps(value) if isinstance(value, (list, tuple)) else str(value) for key, value in sent(row).items()
    }
    return {
        "Timestamp": f"{row.start_unix_s:.9f}",
        "TraceId": row.trace_id,
        "SpanId": row.span_id,
        "ParentSpanId": row.parent_span_id,
        "SpanName": row.name,
        "SpanKind": "SPAN_KIND_CLIENT" if old else "Client",
        "ServiceName": row.service,
        "SpanAttributes": attributes,
        "Duration": round(row.duration_s * 1e9),
        "StatusCode": ("STATUS_CODE_ERROR" if old else "Error") if failed else ("STATUS_CODE_OK" if old else "Unset"),
    }
