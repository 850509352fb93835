"""Rules of alerts and their state, per window; used by one thread, with a given clock."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

from trisignal.config.checks import SECONDS, positive
from trisignal.errors import ConfigError
from trisignal.policy.cardinality import OTHER
from trisignal.watch.alert_handlers import Alert
from trisignal.watch.sliding_windows import SlidingWindow, Sums

Signal = Literal["error_rate", "latency_p95_s", "cost_spike", "cache_hit_rate", "quality"]

BEFORE = 6
"""Windows that a cost spike is compared with."""
MAX_GROUPS = 50
"""Groups of one rule with a window of their own; the others share that of `OTHER`."""


class Sample(NamedTuple):
    """What happened: a call, a look-up in a cache, or an evaluation."""

    source: str
    at_s: float
    groups: tuple[str, ...]
    """In the order of the source's names in `GROUPS`."""
    value: float
    """Seconds of a call, score of an evaluation."""
    marked: bool
    """An error, or a hit."""
    ok: bool = True
    cost_usd: float = 0.0


GROUPS = {"call": ("model", "provider"), "cache": ("cache",), "score": ("evaluation",)}
SOURCES = {
    "error_rate": "call",
    "latency_p95_s": "call",
    "cost_spike": "call",
    "cache_hit_rate": "cache",
    "quality": "score",
}
FALLS = frozenset({"cache_hit_rate", "quality"})
"""Signals that are bad when they are low."""


class AlertRule:
    """When to alert.

    Args:
        signal: ``error_rate`` (failed calls among all, 0 to 1), ``latency_p95_s`` (seconds, successful
            calls only), ``cost_spike`` (cost of the window by that of an average window of the six before it),
            ``cache_hit_rate`` (0 to 1), ``quality`` (average score, 0 to 1; where low scores are
            good, 1 minus the score counts).
        limit: The rule holds above it; for ``cache_hit_rate`` and ``quality`` below it.
        window_s: Length of the sliding window in seconds.
        min_samples: Nothing begins to hold with fewer calls, look-ups or scores in the window.
        by: A window for each ``model`` or ``provider``, ``cache``, or ``evaluation``; "" for one of all.
        name: Name of the alert; the signal's by default.

    Raises:
        ConfigError: An argument has a wrong value.
    """

    def __init__(
        self,
        signal: Signal,
        limit: float,
        *,
        window_s: float = 300.0,
        min_samples: int = 20,
        by: str = "",
        name: str = "",
    ) -> None:
        if signal not in SOURCES:
            raise ConfigError("signal", signal, ", ".join(get_args(Signal)))
        limit, window_s = positive("limit", limit), positive("window_s", window_s, SECONDS)
        if isinstance(min_samples, bool) or not isinstance(min_samples, int) or min_samples < 1:
            raise ConfigError("min_samples", min_samples, "a whole number above 0")
        known = GROUPS[SOURCES[signal]]
        if by and by not in known:
            raise ConfigError("by", by, f"{', '.join(known)} or nothing for {signal}")
        self.signal = signal
        self.limit = limit
        self.window_s = window_s
        self.min_samples = min_samples
        self.by = by
        self.name = name or signal


class _Group:
    """One rule for one value of what it goes by."""

    __slots__ = ("began_s", "since_unix_s", "value", "window")

    def __init__(self, rule: AlertRule, at_s: float) -> None:
        self.window = SlidingWindow(rule.window_s, BEFORE if rule.signal == "cost_spike" else 0)
        self.began_s = at_s
        self.since_unix_s: float | None = None
        """When it began to fire; None while it does not."""
        self.value = 0.0


class RuleState:
    """Windows and state of one rule; used by one thread."""

    def __init__(self, rule: AlertRule) -> None:
        self.rule = rule
        self._source = SOURCES[rule.signal]
        self._at = GROUPS[self._source].index(rule.by) if rule.by else None
        self._groups: dict[str, _Group] = {}

    def add(self, sample: Sample) -> None:
        """Put a sample into its window."""
        rule = self.rule
        if sample.source != self._source or (rule.signal == "latency_p95_s" and not sample.ok):
            return
        key = "" if self._at is None else sample.groups[self._at]
        if key not in self._groups and len(self._groups) >= MAX_GROUPS:
            key = OTHER
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = _Group(rule, sample.at_s)
        value = sample.cost_usd if rule.signal == "cost_spike" else sample.value
        group.window.add(sample.at_s, value, sample.marked)

    def look(self, now_s: float, unix_s: float) -> list[Alert]:
        """What has begun or ceased to hold since the last look."""
        changes = []
        for key, group in list(self._groups.items()):
            sums = group.window.recent(now_s)
            value = self._value(group, sums, now_s)
            holds = group.since_unix_s is not None
            if value is not None:
                group.value = value
            if value is None:
                # With little traffic nobody knows: what fires goes on until there is none.
                now_holds = holds and sums.samples > 0
            elif self.rule.signal in FALLS:
                now_holds = value < self.rule.limit
            else:
                now_holds = value > self.rule.limit
            if now_holds != holds:
                started = unix_s if group.since_unix_s is None else group.since_unix_s
                changes.append(self._alert(key, group, sums, started, None if now_holds else unix_s))
                group.since_unix_s = unix_s if now_holds else None
            if group.window.forget(now_s) and group.since_unix_s is None:
                del self._groups[key]
        return changes

    def _value(self, group: _Group, sums: Sums, now_s: float) -> float | None:
        rule = self.rule
        if sums.samples < rule.min_samples:
            return None
        if rule.signal == "latency_p95_s":
            return sums.quantile(0.95)
        if rule.signal == "quality":
            return sums.mean
        if rule.signal != "cost_spike":
            return sums.share
        earlier = group.window.earlier(now_s)
        # Until a whole window lies behind it, a process that has just begun would always be a spike.
        windows = min((now_s - group.began_s) / rule.window_s - 1, BEFORE)
        if windows < 1 or earlier.samples < rule.min_samples or earlier.total <= 0:
            return None
        return sums.total / (earlier.total / windows)

    def _alert(self, key: str, group: _Group, sums: Sums, started: float, ended: float | None) -> Alert:
        rule = self.rule
        status: Literal["firing", "resolved"] = "firing" if ended is None else "resolved"
        return Alert(
            rule.name, status, rule.signal, key, group.value, rule.limit, sums.samples, rule.window_s, started, ended
        )
