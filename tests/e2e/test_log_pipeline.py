"""The JSON log file of four processes, through a real log pipeline: file, filelog, OTLP, collector."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from e2e.collectors import Filelog, Rotel
from e2e.load import Load, Provider
from e2e.servers import Gunicorn, wait_equal, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

SEVERITY = {"ok": "SEVERITY_NUMBER_INFO(9)", "abandoned": "SEVERITY_NUMBER_WARN(13)"}


def test_lines_become_log_records(tmp_path: Path) -> None:
    """Each call is one log record with its severity and with the trace and span ids of the span that was sent."""
    lines = tmp_path / "calls.log"
    with Provider() as provider, Rotel(tmp_path / "rotel") as collector:
        sent = {
            "TRISIGNAL_LOGS": str(lines),
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.grpc_url,
            "OTEL_BSP_SCHEDULE_DELAY": "200",
        }
        with (
            Gunicorn(tmp_path / "app", "uvicorn.workers.UvicornWorker", **provider.variables, **sent) as app,
            Load(app.address) as load,
            Filelog(tmp_path / "filelog", lines, collector.http_url),
        ):
            wait_for(lambda: len(load.processes) == 4 and sum(load.counts.values()) > 150, "calls of all workers")
            load.stop()
            made = sum(provider.counts().values())
            wait_equal(lambda: len(collector.spans()), made)
            wait_equal(lambda: len(collector.logs()), made)
    logs = collector.logs()
    spans = {(span.fields["Trace ID"], span.fields["ID"]) for span in collector.spans()}
    assert {(log.fields["Trace ID"], log.fields["Span ID"]) for log in logs} == spans
    assert Counter(
        (log.attributes["gen_ai.request.model"], log.attributes["llm_outcome"]) for log in logs
    ) == provider.counts()  # fmt: skip
    for log in logs:
        outcome, kind = log.attributes["llm_outcome"], log.attributes.get("llm_error_kind")
        mild = "SEVERITY_NUMBER_WARN(13)" if kind == "rate_limit" else "SEVERITY_NUMBER_ERROR(17)"
        assert log.fields["SeverityNumber"] == SEVERITY.get(outcome, mild)
