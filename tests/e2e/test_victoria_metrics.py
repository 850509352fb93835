"""The same application and rules on VictoriaMetrics with vmalert, beside Prometheus: both page for the same cause."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from e2e.load import Load, Provider
from e2e.servers import Alertmanager, Prometheus, Uvicorn, wait_equal, wait_for
from e2e.test_prometheus import COUNTS, LABELS, fast_rules, routing
from e2e.victoria_metrics import VictoriaMetrics, VmAlert
from loopback import Loopback, Recorded, Reply, json_reply

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

SILENT = {"LlmNoData", "LlmTelemetryErrors", "LlmTelemetryDropped", "LlmRedactionFailures", "LlmProviderDown"}
"""Alerts for which there is no reason."""

FAILING = 'llm:errors:ratio15m{model="gpt-4o"} > 0.2 < 0.6'
"""What rules record in either store: of the ended calls, two of five fail."""


class Both(NamedTuple):
    """Both stores, after the load has ended."""

    load: Load
    prometheus: Prometheus
    store: VictoriaMetrics
    firing: dict[str, set[str]]
    """What fired in vmalert while there was load, by name: the models."""
    errors: list[str]
    paged: list[dict[str, Any]]
    """Alerts that reached the pager."""


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """One application, scraped by both, each with the shipped rules, until a page of vmalert has arrived."""
    folder = tmp_path_factory.mktemp("victoria")
    paged: list[dict[str, Any]] = []
    with Loopback() as webhook, Provider() as provider:

        def arrived(request: Recorded) -> Reply:
            if request.path == "/pager":
                paged.extend(request.json()["alerts"])
            return json_reply({})

        webhook.handle(arrived)
        rules = fast_rules()
        with (
            Uvicorn(folder / "app", **provider.variables) as app,
            Alertmanager(folder / "alertmanager", routing(webhook.url)) as alertmanager,
            VictoriaMetrics(folder / "store", app.address) as store,
            Prometheus(folder / "prometheus", app.address, rules) as prometheus,
            VmAlert(folder / "vmalert", store, rules, alertmanager.address) as vmalert,
        ):
            with Load(app.address) as load:
                wait_for(lambda: paged, "a page from vmalert")
                for one in (prometheus, store):
                    wait_for(lambda one=one: one.query(FAILING, "model"), "the recorded share")  # type: ignore[misc]
                firing, errors = vmalert.alerts(), vmalert.errors()
            yield Both(load, prometheus, store, firing, errors, paged)


def test_vmalert_evaluates_every_rule(both: Both) -> None:
    """No rule of the shipped file ends in an error of MetricsQL."""
    assert both.errors == []


def test_the_outage_pages_and_nothing_else_is_said(both: Both) -> None:
    """The model of which calls fail pages, through Alertmanager's routing example; what has no reason is silent."""
    assert "gpt-4o" in both.firing["LlmAvailabilityBudgetPage"]
    assert not SILENT & both.firing.keys()
    names = {(alert["labels"]["alertname"], alert["labels"].get("model")) for alert in both.paged}
    assert ("LlmAvailabilityBudgetPage", "gpt-4o") in names
    assert "<no value>" not in json.dumps(both.paged)


def test_both_stores_count_the_same(both: Both) -> None:
    """Counts are those of the application in both."""
    for store in (both.prometheus, both.store):
        wait_equal(lambda one=store: one.query(COUNTS, *LABELS), dict(both.load.counts))  # type: ignore[misc]
