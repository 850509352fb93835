"""The relabelling that the page on cardinality recommends: it drops much, and nothing that a rule reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from relabelling import dropped

from trisignal import semconv as names
from trisignal.operate import objectives, rule_files

promql: Any = pytest.importorskip("promql_parser")


def selectors(expr: str) -> Iterator[tuple[str, dict[str, tuple[str, str]]]]:
    """Name and matchers, as operator and value, of every series that a query reads."""
    found: list[Any] = []

    def visit(node: Any) -> bool:
        if isinstance(node, promql.VectorSelector):
            found.append(node)
        return True

    promql.walk(promql.parse(expr), pre_visit=visit)
    for one in found:
        yield one.name, {m.name: (str(m.op), m.value) for m in one.matchers.matchers}


def every_series() -> Iterator[dict[str, str]]:
    """A series of every metric, bound and outcome, as a page may have them."""
    for metric in names.profile("1.41").values():
        name = metric.prometheus_name
        outcomes = (
            ("ok", "error", "cancelled", "abandoned")
            if "outcome" in str(metric.labels) or "duration" in name
            else ("",)
        )
        for outcome in outcomes:
            labels = {"llm_outcome": outcome, "gen_ai_operation_name": "chat", "better": "lower"}
            if metric.instrument != "histogram":
                yield {"__name__": name, **labels}
                continue
            for bound in (*map(str, map(float, metric.bounds)), "+Inf"):
                yield {"__name__": f"{name}_bucket", "le": bound, **labels}
            yield {"__name__": f"{name}_sum", **labels}
            yield {"__name__": f"{name}_count", **labels}


def read(labels: dict[str, str], matchers: dict[str, tuple[str, str]]) -> bool:
    """Whether a selector's matchers on outcome and bound let a series through."""
    for name in ("le", "llm_outcome"):
        if name not in matchers:
            continue
        operator, value = matchers[name]
        found = re.fullmatch(value, labels.get(name, "")) if "Re" in operator else value == labels.get(name, "")
        if bool(found) is ("Not" in operator):
            return False
    return True


def test_no_rule_reads_what_is_dropped() -> None:
    """Of each series that goes no rule of the default plan has a selector, nor of a plan with all alerts on."""
    plans = ({}, {"evaluations": {"toxicity": {}}, "dimensions": ["tenant"], "thresholds": {"cache_hit_ratio": 0.3}})
    wanted = [
        (rule["expr"], name, matchers)
        for plan in plans
        for group in rule_files.plain(objectives.of(plan))["groups"]
        for rule in group["rules"]
        for name, matchers in selectors(rule["expr"])
    ]
    gone = [series for series in every_series() if dropped(series)]
    assert len(gone) > 100
    assert [
        (series, expr)
        for series in gone
        for expr, name, matchers in wanted
        if name == series["__name__"] and read(series, matchers)
    ] == []


def test_what_alerts_read_stays() -> None:
    """The bound of the cost objective, durations of successful calls and times to the first token are kept."""
    for name, labels in (
        ("llm_request_cost_usd_bucket", {"le": "0.05"}),
        ("llm_request_cost_usd_bucket", {"le": "+Inf"}),
        ("gen_ai_client_operation_duration_seconds_bucket", {"le": "5.0", "llm_outcome": "ok"}),
        ("llm_time_to_first_token_seconds_bucket", {"le": "2.56"}),
        ("gen_ai_client_token_usage_sum", {}),
    ):
        assert not dropped({"__name__": name, **labels})
