"""Alerts over a trace store: evaluated once per store, however many workers write to it.

Whichever process holds the store's lock evaluates; when it ends, another takes over, and goes on with
the alerts that are active. What fires carries the analyser's explanation and example traces.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from threading import Event, Thread
from typing import TYPE_CHECKING, Literal

from trisignal import _guard
from trisignal.config.checks import SECONDS, positive
from trisignal.errors import ConfigError, SourceError
from trisignal.watch.alert_handlers import Alert, Handler, alert_to_log
from trisignal.watch.alert_history import History
from trisignal.watch.alert_rules import BEFORE, AlertRule
from trisignal.watch.patterns import AlertPattern, Means, holding, means_of

if TYPE_CHECKING:
    from trisignal.analysis.analyzer import TraceAnalyzer
    from trisignal.analysis.answers import Measure
    from trisignal.analysis.rows import Total

STOP_WAIT_S = 5.0
DEFAULT: tuple[AlertRule | AlertPattern, ...] = (
    AlertPattern("slower_and_worse"),
    AlertPattern("more_errors_same_latency"),
    AlertPattern("cohort_worse", by="tenant"),
    AlertPattern("cohort_worse", by="prompt_version", name="prompt_version_worse"),
)
"""What the console watches by itself."""
_FELL = ("quality",)
_MEASURES: dict[str, Measure] = {
    "error_rate": "error_rate",
    "latency_p95_s": "latency",
    "cost_spike": "cost",
    "quality": "quality",
    "slower_and_worse": "quality",
    "more_errors_same_latency": "error_rate",
    "cohort_worse": "quality",
}
"""What `TraceAnalyzer.compare` explains for each signal and shape."""


class StoreAlerts:
    """Evaluates rules and patterns on a trace store, and notifies handlers.

    An alert is sent once when it begins and once when it has ended, by one process of all that run this
    on the same folder. Its history is kept for 90 days beside the store. Also a context manager.

    Args:
        store: The store's folder.
        rules: `AlertRule` (``error_rate``, ``latency_p95_s``, ``cost_spike``, ``quality``) and `AlertPattern`.
        handlers: Functions that take an `Alert`; by default one that writes to the log.
        every_s: Seconds between two evaluations.

    Raises:
        ConfigError: An argument has a wrong value.
        SourceError: The folder holds no store.
    """

    def __init__(
        self,
        store: str | os.PathLike[str],
        rules: Sequence[AlertRule | AlertPattern] = DEFAULT,
        handlers: Sequence[Handler] = (alert_to_log,),
        *,
        every_s: float = 60.0,
    ) -> None:
        _check(rules, handlers)
        every_s = positive("every_s", every_s, SECONDS)
        from trisignal.analysis.analyzer import TraceAnalyzer

        folder = os.fspath(store)
        self._analyzer = TraceAnalyzer(folder)
        self._history = History(folder)
        self._rules = tuple(rules)
        self._handlers = tuple(handlers)
        self._every_s = every_s
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="trisignal-store-alerts", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Evaluate nothing from now on; may be called again."""
        self._stopping.set()
        self._thread.join(STOP_WAIT_S)
        self._analyzer.close()

    def __enter__(self) -> StoreAlerts:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with self._history.only_one() as mine:
                    while mine and not self._stopping.is_set():
                        self._look()
                        self._stopping.wait(self._every_s)
            except SourceError as error:
                _guard.logger.warning("alerts over the store are late: %s", error)
            except Exception as error:
                _guard.contain("store_alerts", error)
            self._stopping.wait(self._every_s)

    def _look(self) -> None:
        for alert in evaluate(self._analyzer, self._rules, self._history.alerts(time.time())):
            self._history.keep(alert)
            for handler in self._handlers:
                self._send(handler, alert)

    @staticmethod
    def _send(handler: Callable[[Alert], object], alert: Alert) -> None:
        try:
            handler(alert)
        except Exception as error:
            # Not ours, and its text may hold an address with a key in it.
            name = type(error).__name__
            _guard.logger.warning("an alert handler failed with %s: %s was not sent", name, alert.rule)


def _check(rules: Sequence[object], handlers: Sequence[object]) -> None:
    if not rules or not all(isinstance(rule, (AlertRule, AlertPattern)) for rule in rules):
        raise ConfigError("rules", rules, "a list of at least one AlertRule or AlertPattern")
    for rule in rules:
        if isinstance(rule, AlertRule) and rule.signal == "cache_hit_rate":
            raise ConfigError("rules", rule.signal, "signals of calls and scores: a store has no look-ups of caches")
    names = [rule.name for rule in rules if isinstance(rule, (AlertRule, AlertPattern))]
    if len(set(names)) < len(names):
        raise ConfigError("rules", ", ".join(sorted(names)), "names that differ: give name=...")
    if not all(callable(handler) for handler in handlers):
        raise ConfigError("handlers", handlers, "functions that take an Alert")


def evaluate(
    analyzer: TraceAnalyzer,
    rules: Sequence[AlertRule | AlertPattern],
    active: Sequence[Alert],
    now_unix_s: float | None = None,
) -> list[Alert]:
    """What begins and what ends, given what is active.

    Args:
        analyzer: Over the store.
        rules: Which alerts there are.
        active: Alerts that have begun and not ended.
        now_unix_s: End of the windows; the clock when omitted.
    """
    now = time.time() if now_unix_s is None else now_unix_s
    going = {(alert.rule, alert.group): alert for alert in active if alert.ended_unix_s is None}
    changes: list[Alert] = []
    for rule in rules:
        held, samples = _held(analyzer, rule, now)
        for group, (value, limit) in held.items():
            if (rule.name, group) not in going:
                changes.append(_begun(analyzer, rule, group, value, limit, samples.get(group, 0), now))
        for (name, group), alert in going.items():
            # With little traffic nobody knows: what fires goes on until there are enough samples, or none.
            few = 0 < samples.get(group, 0) < rule.min_samples
            if name == rule.name and group not in held and not few:
                changes.append(alert._replace(status="resolved", ended_unix_s=now))
    return changes


Held = dict[str, tuple[float, float]]


def _held(analyzer: TraceAnalyzer, rule: AlertRule | AlertPattern, now: float) -> tuple[Held, dict[str, int]]:
    by = (rule.by,) if rule.by and rule.by != "evaluation" else ()
    start = now - rule.window_s
    current = analyzer.totals(by, since=start, until=now, quantiles=True).groups
    samples = {total.key[0] if total.key else "": total.spans for total in current}
    earlier = analyzer.totals(by, since=start - BEFORE * rule.window_s, until=start).groups
    if isinstance(rule, AlertPattern):
        return holding(rule, means_of(current), means_of(earlier)), samples
    past = means_of(earlier)
    costs = {total.key[0] if total.key else "": total for total in earlier}
    held: Held = {}
    for group, total in zip(samples, current):
        value = _value(rule, total, past.get(group), costs.get(group))
        if value is not None and (value < rule.limit if rule.signal in _FELL else value > rule.limit):
            held[group] = value, rule.limit
    return held, samples


def _value(rule: AlertRule, total: Total, past: Means | None, before: Total | None) -> float | None:
    if rule.signal == "quality":
        return total.quality / total.judged if total.judged >= rule.min_samples else None
    if total.spans < rule.min_samples:
        return None
    if rule.signal == "error_rate":
        return total.errors / total.spans
    if rule.signal == "latency_p95_s":
        return total.p95_s
    # A spike against nothing is not a spike.
    if before is None or before.spans < rule.min_samples or before.cost_usd <= 0:
        return None
    return total.cost_usd / (before.cost_usd / BEFORE)


def _begun(
    analyzer: TraceAnalyzer,
    rule: AlertRule | AlertPattern,
    group: str,
    value: float,
    limit: float,
    samples: int,
    now: float,
) -> Alert:
    signal = rule.signal if isinstance(rule, AlertRule) else rule.shape
    explanation, examples = _explained(analyzer, rule, signal, group, now)
    firing: Literal["firing"] = "firing"
    return Alert(
        rule.name, firing, signal, group, value, limit, samples, rule.window_s, now, None, explanation, examples
    )


def _explained(
    analyzer: TraceAnalyzer, rule: AlertRule | AlertPattern, signal: str, group: str, now: float
) -> tuple[str, tuple[str, ...]]:
    """The three largest parts of the change, and three traces that show it."""
    start = now - rule.window_s
    where = {rule.by: group} if rule.by and rule.by != "evaluation" and group else {}
    before = (start - BEFORE * rule.window_s, start)
    try:
        found = analyzer.compare(before, (start, now), measure=_MEASURES[signal], **where)
    except SourceError:
        return "", ()
    causes = [one for one in found.causes if one.dimension not in where][:3]
    parts = [f"{one.dimension.replace('_', ' ')} {one.value or 'none'} {one.share:.0%}" for one in causes]
    examples = tuple(dict.fromkeys(trace for one in causes for trace in one.examples))[:3]
    return ", ".join(parts), examples
