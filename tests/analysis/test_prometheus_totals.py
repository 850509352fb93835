"""Totals by metrics: what is asked of Prometheus, and what its answers mean; e2e asks a real one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from analysis.backend_servers import Asked, Server
from store.filled import call, item, store

from trisignal import TraceAnalyzer
from trisignal.errors import ConfigError, SourceError

MODEL = "gen_ai_request_model"
ANSWERS: dict[str, list[tuple[dict[str, str], float]]] = {
    "llm_requests_total": [
        ({MODEL: "small", "llm_outcome": "ok"}, 95.2), ({MODEL: "small", "llm_outcome": "error"}, 3.9),
        ({MODEL: "small", "llm_outcome": "cancelled"}, 1.0), ({MODEL: "large", "llm_outcome": "ok"}, 10.0),
        ({MODEL: "idle", "llm_outcome": "ok"}, 0.0),
    ],
    "gen_ai_client_operation_duration_seconds_sum": [({MODEL: "small"}, 120.5)],
    "llm_tokens_total": [
        ({MODEL: "small", "llm_token_bucket": bucket}, count)
        for bucket, count in {"input": 700, "input_audio": 50, "cache_read": 200, "cache_write_1h": 50,
                              "output": 90, "reasoning": 10}.items()
    ],
    "llm_cost_usd_total": [({MODEL: "small"}, 1.25)],
    "histogram_quantile(0.95": [({MODEL: "small"}, 2.5), ({MODEL: "large"}, float("nan"))],
}  # fmt: skip


def prometheus(path: str, asked: Asked, _: bytes) -> Any:
    """Answers by the metric that a query names."""
    if path != "/api/v1/query":
        return 404
    name = re.search(r"histogram_quantile\([\d.]+|\w+(?=\{)", asked["query"])
    assert name is not None
    found = ANSWERS.get(name[0], [])
    return {"status": "success", "data": {"result": [{"metric": m, "value": [1, str(v)]} for m, v in found]}}


def test_figures_of_metrics(tmp_path: Path) -> None:
    """Outcomes, inclusive token totals, money and quantiles come from metrics, beside what the source holds."""
    store(tmp_path, [item(call(1))])
    with Server(prometheus).running() as running:
        with TraceAnalyzer(tmp_path, metrics=f"prometheus+http://{running.place}") as analyzer:
            found = analyzer.measured(
                "model", since=1_000_000_000, until=1_000_003_600, quantiles=True, tenant=("a", 'b"')
            )
    small = next(one for one in found.groups if one.key == ("small",))
    assert [one.key[0] for one in found.groups] == ["large", "small"]
    assert (small.spans, small.errors, small.cancelled, small.duration_s) == (100, 4, 1, 120.5)
    assert (small.input_tokens, small.cache_read_tokens, small.cache_write_tokens) == (1000, 200, 50)
    assert (small.output_tokens, small.reasoning_tokens, small.cost_usd, small.p95_s) == (100, 10, 1.25, 2.5)
    assert found.groups[0].p95_s is None
    assert (found.coverage.sampled, found.coverage.source) == (False, f"prometheus+http://{running.place}")
    _, asked = running.asked[0]
    assert asked["time"] == "1000003600.000"
    assert "[3600s]" in asked["query"]
    assert 'tenant=~"a|b\\""' in asked["query"]
    assert "execute_tool" in asked["query"], "tools have durations, and are not calls"


def test_what_metrics_cannot_answer(tmp_path: Path) -> None:
    """Without metrics, with a label that none has, and with another server, the error says what is to be given."""
    store(tmp_path, [item(call(1))])
    with TraceAnalyzer(tmp_path) as analyzer, pytest.raises(ConfigError, match=r"metrics=.*prometheus\+http://"):
        analyzer.measured()
    with Server(prometheus).running() as running:
        with TraceAnalyzer(tmp_path, metrics=f"prometheus+http://{running.place}") as analyzer:
            with pytest.raises(ConfigError, match="metric_dimensions"):
                analyzer.measured("tenant")
        with TraceAnalyzer(tmp_path, metrics=f"prometheus+http://{running.place}/other") as analyzer:
            with pytest.raises(SourceError, match="is this the address of Prometheus"):
                analyzer.measured()
        for wrong in ("?profile=1.0", "?prefix=a%20b"):
            with pytest.raises(SourceError, match="allowed"):
                TraceAnalyzer(tmp_path, metrics=f"prometheus+http://{running.place}/{wrong}")
    with pytest.raises(SourceError, match="the address must be"):
        TraceAnalyzer(tmp_path, metrics="prometheus://h")
