"""Looks at an installation, an environment and a metrics page, and says what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from opentelemetry import trace

from trisignal import config
from trisignal.assembly.telemetry import running
from trisignal.engine import state
from trisignal.errors import ConfigError
from trisignal.operate.doctor import export, install, machine, metrics, readers, settings, store
from trisignal.operate.doctor.findings import Finding
from trisignal.operate.objectives import Plan
from trisignal.operate.scrape import Page


def examine(
    *,
    url: str = "",
    headers: Mapping[str, str] | None = None,
    plan: Plan | None = None,
    queries: Mapping[str, Sequence[str]] | None = None,
    timeout_s: float = 5.0,
) -> Iterator[Finding]:
    """Everything that can be told from here, in this process and its environment.

    Args:
        url: Metrics page of a running application; none is looked at when empty.
        headers: Sent to that page.
        plan: What the rules are made from; as the page is when omitted.
        queries: PromQL of dashboards and of rules of your own, by what they are from.
        timeout_s: Longest wait for each server, in seconds.
    """
    yield from install.check()
    yield from settings.check()
    yield from export.check(state.STATE.tracer_provider or trace.get_tracer_provider(), timeout_s)
    yield from machine.check()
    yield from store.check()
    if url:
        for found in metrics.check(url, headers or {}, _max_label_sets(), timeout_s):
            if isinstance(found, Page):
                yield from _readers(found, plan, queries or {})
            else:
                yield found
    else:
        yield Finding(metrics.CHECK, "info", "no metrics page was looked at", "add --url http://localhost:8000/metrics")


def _max_label_sets() -> int:
    telemetry = running()
    try:
        return (config.load().settings if telemetry is None else telemetry.settings).max_label_sets
    except ConfigError:  # told by another check
        return config.Settings().max_label_sets


def _readers(page: Page, plan: Plan | None, queries: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    if plan is None:
        plan = Plan.model_validate({"metric_profile": page.profile, "metric_prefix": page.prefix})
    series = readers.recorded(plan)
    yield from readers.check(page, readers.of_plan(plan), series, "the rules of trisignal rules")
    for source, told in queries.items():
        yield from readers.check(page, told, series, source)
    yield from readers.foreign(page)
