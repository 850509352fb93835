"""An application under load, scraped by a real Prometheus: its counts, exemplars and alerts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from e2e.collectors import Rotel
from e2e.load import Load, Provider
from e2e.servers import ROOT, Alertmanager, Prometheus, Uvicorn, wait_equal, wait_for
from loopback import Loopback, Recorded, Reply, json_reply

from trisignal import TraceAnalyzer
from trisignal.operate import objectives, rule_files

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
WINDOWS_FASTER, HOLDS_FASTER = 60, 300
COUNTS = "sum by (gen_ai_request_model, llm_outcome) (llm_requests_total) > 0"
LABELS = ("gen_ai_request_model", "llm_outcome")


class Scene(NamedTuple):
    """Everything that is running, with the load stopped."""

    load: Load
    provider: Provider
    prometheus: Prometheus
    collector: Rotel
    messages: list[tuple[str, dict[str, Any]]]
    """What arrived at the webhooks: path and message."""


def faster(text: str, times: int) -> str:
    """Durations of a text, divided; none is under a second."""

    def shorter(match: re.Match[str]) -> str:
        return f"{max(1, round(int(match[1]) * SECONDS[match[2]] / times))}s"

    return re.sub(r"\b(\d+)([smhd])\b", shorter, text)


def fast_rules() -> dict[str, Any]:
    """The rules that trisignal writes, for a world that goes 60 times as fast, and alerts that do not wait."""
    rules = rule_files.plain(objectives.RulesPlan())
    for group in rules["groups"]:
        group.pop("interval", None)
        for rule in group["rules"]:
            rule["expr"] = re.sub(
                r"\[\d+[smhd]\]|offset \d+[smhd]", lambda found: faster(found[0], WINDOWS_FASTER), rule["expr"]
            )
            if "for" in rule:
                rule["for"] = faster(rule["for"], HOLDS_FASTER)
    return rules


def routing(webhook: str) -> dict[str, Any]:
    """The routing example with its receivers' hosts on this machine, and without its waits."""
    text = (ROOT / "examples" / "alertmanager.yml").read_text(encoding="utf-8")
    config: dict[str, Any] = yaml.safe_load(re.sub(r"http://(\w+)\.example/\S*?(?=\")", rf"{webhook}/\1", text))
    config["route"].update(group_wait="1s", group_interval="1s")
    return config


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """The application under uvicorn, scraped each second while it is under load, until two alerts have arrived."""
    folder = tmp_path_factory.mktemp("prometheus")
    messages: list[tuple[str, dict[str, Any]]] = []
    with Loopback() as webhook, Provider() as provider, Rotel(folder / "rotel") as collector:

        def arrived(request: Recorded) -> Reply:
            messages.append((request.path, request.json()))
            return json_reply({})

        webhook.handle(arrived)
        sent = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.grpc_url, "OTEL_BSP_SCHEDULE_DELAY": "500"}
        with (
            Uvicorn(folder / "app", **provider.variables, **sent) as app,
            Alertmanager(folder / "alertmanager", routing(webhook.url)) as alertmanager,
            Prometheus(folder / "prometheus", app.address, fast_rules(), alertmanager.address) as prometheus,
        ):
            with Load(app.address) as load:
                wait_for(lambda: {"/pager", "/chat"} <= {path for path, _ in messages}, "an alert of each severity", 60)
            yield Scene(load, provider, prometheus, collector, messages)


def test_counts_are_the_calls_made(scene: Scene) -> None:
    """Per model and outcome Prometheus has what the application made, and what the provider was asked."""
    assert scene.load.counts == scene.provider.counts()
    assert scene.load.lost == 0
    assert {outcome for _, outcome in scene.load.counts} == {"ok", "error", "abandoned"}
    wait_equal(lambda: scene.prometheus.query(COUNTS, *LABELS), dict(scene.load.counts))
    assert scene.prometheus.query("sum(llm_active_requests)") == {(): 0}


def test_kinds_of_errors_tokens_and_retries_add_up(scene: Scene) -> None:
    """Errors by kind, retries, first tokens and token sums are those of the calls that the provider answered."""
    kinds, query = scene.provider.kinds(), scene.prometheus.query
    by_kind = {"server": kinds["failing"], "rate_limit": kinds["limited"], "invalid_request": kinds["invalid"]}
    wait_equal(
        lambda: {
            kind: n for (kind,), n in query("sum by (llm_error_kind) (llm_errors_total)", "llm_error_kind").items()
        },
        by_kind,
    )
    assert query("sum(llm_retries_total)") == {(): kinds["retried"]}
    assert query("sum(llm_time_to_first_token_seconds_count)") == {(): kinds["stream"] + kinds["left"]}
    told = kinds["plain"] + kinds["stream"] + kinds["retried"]
    sums = query("sum by (gen_ai_token_type) (gen_ai_client_token_usage_sum)", "gen_ai_token_type")
    assert sums == {("input",): 20 * told, ("output",): 8 * told}


def test_the_analyser_asks_for_totals(scene: Scene, tmp_path: Path) -> None:
    """Beside any source, totals of all calls come from Prometheus, as near as increases between scrapes are."""
    with TraceAnalyzer(tmp_path, metrics=f"prometheus+{scene.prometheus.url}") as analyzer:
        found = analyzer.measured("model", since="15m", quantiles=True).groups
    by_model = {one.key[0]: one for one in found}
    assert by_model.keys() == {model for model, _ in scene.load.counts}
    assert 0.5 < sum(one.spans for one in found) / scene.load.counts.total() < 1.2
    assert all(one.errors <= one.spans for one in found)
    assert any(one.p95_s for one in found)


def test_exemplars_lead_to_a_span(scene: Scene) -> None:
    """Each exemplar that Prometheus keeps names a span that the collector has received, of the series' model."""
    found = scene.prometheus.exemplars("gen_ai_client_operation_duration_seconds_bucket")
    assert len({one["trace_id"] for one in found}) > 5
    wait_for(lambda: len(scene.collector.spans()) == scene.load.counts.total(), "all spans")
    spans = {(span.fields["Trace ID"], span.fields["ID"]): span for span in scene.collector.spans()}
    for one in found:
        attributes = spans[one["trace_id"], one["span_id"]].attributes
        assert attributes["gen_ai.request.model"] == one["gen_ai_request_model"]
        assert attributes.get("llm.outcome", "ok") == one["llm_outcome"]


def test_alerts_reach_who_is_to_act(scene: Scene) -> None:
    """Through Alertmanager's routing example critical alerts reach the pager, warnings the chat, with the runbook."""
    by_path: dict[str, list[dict[str, Any]]] = {}
    for path, message in scene.messages:
        by_path.setdefault(path, []).extend(message["alerts"])
    assert {alert["labels"]["severity"] for alert in by_path["/pager"]} == {"critical"}
    assert {alert["labels"]["severity"] for alert in by_path["/chat"]} == {"warning"}
    paged = {(alert["labels"]["alertname"], alert["labels"].get("model")) for alert in by_path["/pager"]}
    assert ("LlmAvailabilityBudgetPage", "gpt-4o") in paged
    assert "LlmRetriesHigh" in {alert["labels"]["alertname"] for alert in by_path["/chat"]}
    for alert in (alert for alerts in by_path.values() for alert in alerts):
        anchor = alert["annotations"]["runbook_url"].partition("#")[2]
        assert f"{{#{anchor}}}" in (ROOT / "docs" / "runbooks.md").read_text(encoding="utf-8")
        assert "<no value>" not in json.dumps(alert)
    firing = scene.prometheus.query('ALERTS{alertstate="firing"}', "alertname")
    assert not {name for (name,) in firing} & {"LlmNoData", "LlmTelemetryErrors", "LlmTelemetryDropped"}
