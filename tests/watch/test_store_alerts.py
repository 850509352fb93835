"""Alerts over a trace store: patterns, history, one evaluation for all processes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from console.traffic import recording

import trisignal
from trisignal import Alert, AlertPattern, AlertRule
from trisignal.analysis.analyzer import TraceAnalyzer
from trisignal.errors import ConfigError
from trisignal.watch.alert_history import History
from trisignal.watch.patterns import Shape
from trisignal.watch.store_alerts import DEFAULT, evaluate

WAIT_S = 60.0
WINDOW_S = 600.0
TENANTS = ("acme", "globex", "initech")
Change = Callable[[str], tuple[float, bool, float]]
"""For a tenant in the last window: duration in seconds, failed, score."""


def steady(tenant: str) -> tuple[float, bool, float]:
    """Nothing changes."""
    return 1.0, False, 0.9


def record(folder: Path, now: Change = steady) -> float:
    """Seven windows of calls of three tenants, the last one changed; returns the end of it in Unix seconds."""
    end_s = time.time()
    with recording(folder) as clock:
        for window in range(7):
            last = window == 6
            for number in range(90):
                start_s = end_s - (7 - window) * WINDOW_S + number * (WINDOW_S - 20) / 90
                clock.now_ns = round(start_s * 1e9)
                tenant = TENANTS[number % 3]
                duration_s, failed, score = (now if last else steady)(tenant)
                with trisignal.context(tenant=tenant, prompt_version="v2" if tenant == "acme" else "v1"):
                    call = trisignal.llm(provider="openai", model="gpt-4.1-mini")
                    try:
                        with call as running:
                            clock.pass_s(duration_s)
                            if failed and number % 9 < 4:
                                raise ConnectionError
                            running.set_usage(input_tokens=100, output_tokens=10)
                            ref = running.ref
                    except ConnectionError:
                        continue
                trisignal.evaluate("faithfulness", score, ref=ref)
    return end_s


def fired(folder: Path, end_s: float, *rules: AlertRule | AlertPattern) -> list[Alert]:
    """What the rules say at the end of the traffic."""
    with TraceAnalyzer(folder) as analyzer:
        return evaluate(analyzer, rules, [], end_s)


def pattern(shape: Shape, by: str = "") -> AlertPattern:
    """A pattern over the windows of the traffic."""
    return AlertPattern(shape, by=by, window_s=WINDOW_S)


def test_steady_traffic_is_silent(tmp_path: Path) -> None:
    """Nothing fires while nothing changes, and nothing on a store without calls."""
    end_s = record(tmp_path / "steady")
    rules = [
        AlertPattern(r.shape, by=r.by, window_s=WINDOW_S, name=r.name) for r in DEFAULT if isinstance(r, AlertPattern)
    ]
    assert fired(tmp_path / "steady", end_s, *rules) == []
    with recording(tmp_path / "empty"):
        pass
    assert fired(tmp_path / "empty", end_s, *DEFAULT) == []


def test_slower_and_worse(tmp_path: Path) -> None:
    """Latency up with quality down is one alert; either alone is none of this kind."""
    end_s = record(tmp_path / "both", lambda tenant: (1.6, False, 0.7))
    [alert] = fired(tmp_path / "both", end_s, pattern("slower_and_worse"))
    assert (alert.signal, alert.value) == ("slower_and_worse", pytest.approx(0.7))
    for name, change in (("slow", (1.6, False, 0.9)), ("bad", (1.0, False, 0.7))):
        end_s = record(tmp_path / name, lambda tenant, change=change: change)  # type: ignore[misc]
        assert fired(tmp_path / name, end_s, pattern("slower_and_worse")) == []


def test_more_errors_at_equal_latency(tmp_path: Path) -> None:
    """Errors that come while calls are as quick as ever fire, and name the tenant that has them."""
    end_s = record(tmp_path / "errors", lambda tenant: (1.0, tenant == "acme", 0.9))
    [alert] = fired(tmp_path / "errors", end_s, pattern("more_errors_same_latency"))
    assert "tenant acme" in alert.explanation
    assert 1 <= len(alert.examples) <= 3
    assert alert.text.endswith(alert.explanation)
    end_s = record(tmp_path / "slow", lambda tenant: (2.0, tenant == "acme", 0.9))
    assert fired(tmp_path / "slow", end_s, pattern("more_errors_same_latency")) == []


def test_one_cohort_is_worse(tmp_path: Path) -> None:
    """A fall of one tenant's scores fires for it alone, though the mean of all hardly moves."""
    end_s = record(tmp_path / "store", lambda tenant: (1.0, False, 0.6 if tenant == "globex" else 0.92))
    [alert] = fired(tmp_path / "store", end_s, pattern("cohort_worse", "tenant"))
    assert (alert.group, alert.value) == ("globex", pytest.approx(0.6))
    assert fired(tmp_path / "store", end_s, pattern("cohort_worse", "prompt_version")) == []


def test_rules_with_limits(tmp_path: Path) -> None:
    """The rules of a process work on a store, for all calls together and by model."""
    end_s = record(tmp_path / "store", lambda tenant: (2.0, tenant == "acme", 0.6))
    rules = [
        AlertRule("error_rate", 0.1, window_s=WINDOW_S),
        AlertRule("latency_p95_s", 1.5, window_s=WINDOW_S, by="model"),
        AlertRule("quality", 0.7, window_s=WINDOW_S),
        AlertRule("cost_spike", 3.0, window_s=WINDOW_S),
    ]
    alerts = {alert.rule: alert for alert in fired(tmp_path / "store", end_s, *rules)}
    assert set(alerts) == {"error_rate", "latency_p95_s", "quality"}
    assert alerts["latency_p95_s"].group == "gpt-4.1-mini"


def test_an_alert_ends_once(tmp_path: Path) -> None:
    """What is active is not begun again, and ends when the windows are calm."""
    end_s = record(tmp_path / "store", lambda tenant: (1.0, True, 0.9))
    rule = AlertRule("error_rate", 0.1, window_s=WINDOW_S)
    with TraceAnalyzer(tmp_path / "store") as analyzer:
        [begun] = evaluate(analyzer, [rule], [], end_s)
        assert evaluate(analyzer, [rule], [begun], end_s) == []
        [ended] = evaluate(analyzer, [rule], [begun], end_s + 2 * WINDOW_S)
    assert (ended.status, ended.started_unix_s, ended.ended_unix_s) == ("resolved", end_s, end_s + 2 * WINDOW_S)


def test_one_store_is_evaluated_once(tmp_path: Path) -> None:
    """Of two evaluators one sends; when it ends, the other goes on and sends nothing twice."""
    store = tmp_path / "store"
    record(store, lambda tenant: (1.0, True, 0.9))
    rule = AlertRule("error_rate", 0.1, window_s=WINDOW_S)
    sent: list[tuple[str, Alert]] = []
    arrived = threading.Event()

    def handler(name: str) -> Callable[[Alert], None]:
        def take(alert: Alert) -> None:
            sent.append((name, alert))
            arrived.set()

        return take

    first = trisignal.StoreAlerts(store, [rule], [handler("first")], every_s=0.05)
    assert arrived.wait(WAIT_S)
    looked = threading.Event()
    second = trisignal.StoreAlerts(store, [rule], [handler("second")], every_s=0.05)
    first.close()
    second._look = lambda original=second._look: (original(), looked.set())  # type: ignore[method-assign]
    assert looked.wait(WAIT_S)
    second.close()
    assert [(name, alert.status) for name, alert in sent] == [("first", "firing")]
    [kept] = History(str(store)).alerts()
    assert kept == sent[0][1]


def test_a_handler_that_fails_stops_nothing(tmp_path: Path) -> None:
    """The next handler is called, and the alert is kept."""
    store = tmp_path / "store"
    record(store, lambda tenant: (1.0, True, 0.9))
    arrived = threading.Event()

    def broken(alert: Alert) -> None:
        raise RuntimeError("a secret")

    handlers = [broken, lambda alert: arrived.set()]
    with trisignal.StoreAlerts(store, [AlertRule("error_rate", 0.1, window_s=WINDOW_S)], handlers, every_s=0.05):
        assert arrived.wait(WAIT_S)
    assert len(History(str(store)).alerts()) == 1


@pytest.mark.parametrize(
    ("act", "allowed"),
    [
        (lambda: AlertPattern("worse"), "slower_and_worse"),  # type: ignore[arg-type]
        (lambda: AlertPattern("cohort_worse", by="color"), "tenant"),
        (lambda: AlertPattern("cohort_worse", window_s=0), "above 0"),
        (lambda: AlertPattern("cohort_worse", min_samples=True), "whole number"),
        (lambda: trisignal.StoreAlerts("x", []), "at least one"),
        (lambda: trisignal.StoreAlerts("x", [AlertRule("cache_hit_rate", 0.3)]), "signals of calls"),
        (lambda: trisignal.StoreAlerts("x", [AlertRule("quality", 0.3), AlertRule("quality", 0.4)]), "differ"),
    ],
)
def test_wrong_arguments_are_named(act: Callable[[], object], allowed: str) -> None:
    """An error says what is allowed."""
    with pytest.raises(ConfigError, match=allowed):
        act()
