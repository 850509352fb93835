"""Looks at an installation, an environment and a metrics page, and says what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from opentelemetry import trace

from trisignal import config
from trisignal.assembly.telemetry import running
from trisignal.engine import state
from trisignal.errors import ConfigError, TrisignalError
from trisignal.operate.doctor import (
    application,
    engines,
    export,
    install,
    machine,
    metrics,
    readers,
    settings,
    store,
    workers,
)
from trisignal.operate.doctor.findings import Finding, grouped, verdict
from trisignal.operate.objectives import RulesPlan
from trisignal.operate.scrape import Scrape

__all__ = ["Finding", "examine", "verdict"]


def examine(
    *,
    url: str = "",
    headers: Mapping[str, str] | None = None,
    plan: RulesPlan | None = None,
    queries: Mapping[str, Sequence[str]] | None = None,
    engine_urls: Sequence[str] = (),
    timeout_s: float = 5.0,
    imported: bool = False,
) -> Iterator[Finding]:
    """Everything that can be seen from here, in this process and its environment; one finding per cause.

    Args:
        url: Metrics page of a running application; none is looked at when empty.
        headers: Sent to that page.
        plan: What the rules are made from; as the page is when omitted.
        queries: PromQL of dashboards and of rules of your own, by what they are from.
        engine_urls: Metrics pages of model servers that the application calls.
        timeout_s: Longest wait for each server, in seconds.
        imported: The application has been imported into this process.
    """
    seen: list[Scrape] = []
    checks: list[tuple[str, Callable[[], Iterable[Finding]]]] = [
        (install.CHECK, install.check),
        (application.CHECK, lambda: application.check(imported=imported)),
        (settings.CHECK, settings.check),
        (export.CHECK, lambda: export.check(_tracer_provider(), timeout_s)),
        (machine.CHECK, machine.check),
        (store.CHECK, store.check),
        (metrics.CHECK, lambda: _page(url, headers or {}, plan, queries or {}, timeout_s, seen)),
        (engines.CHECK, lambda: engines.check(engine_urls, seen, timeout_s)),
    ]
    yield from grouped(finding for name, act in checks for finding in _contained(name, act))


def _contained(check: str, act: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """What a check finds; one that fails itself is a finding, and the others go on."""
    try:
        yield from act()
    except TrisignalError as error:
        yield Finding(check, "error", str(error), "correct it")
    except Exception as error:
        yield Finding(check, "error", f"this could not be checked: {type(error).__name__}: {error}",
                      "report it as a mistake of trisignal doctor")  # fmt: skip


def _tracer_provider() -> object:
    try:
        return state.STATE.tracer_provider or trace.get_tracer_provider()
    except Exception:  # a variable that names none: said by another check
        return None


def _page(
    url: str,
    headers: Mapping[str, str],
    plan: RulesPlan | None,
    queries: Mapping[str, Sequence[str]],
    timeout_s: float,
    seen: list[Scrape],
) -> Iterator[Finding]:
    if url:
        yield from workers.check(url, headers, timeout_s)
        for found in metrics.check(url, headers, _max_label_sets(), timeout_s):
            if isinstance(found, Scrape):
                seen.append(found)
                yield from _readers(found, plan, queries)
            else:
                yield found
    else:
        yield Finding(metrics.CHECK, "info", "no metrics page was looked at", "add --url http://localhost:8000/metrics")


def _max_label_sets() -> int:
    telemetry = running()
    try:
        return (config.load().settings if telemetry is None else telemetry.settings).max_label_sets
    except ConfigError:  # another check reports it
        return config.Settings().max_label_sets


def _readers(page: Scrape, plan: RulesPlan | None, queries: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    if plan is None:
        plan = RulesPlan.model_validate({"metric_profile": page.profile, "metric_prefix": page.prefix})
    series = readers.recorded(plan)
    yield from readers.check(page, readers.of_plan(plan), series, "the rules of trisignal rules")
    for source, readings in queries.items():
        yield from readers.check(page, readings, series, source)
    yield from readers.foreign(page)
