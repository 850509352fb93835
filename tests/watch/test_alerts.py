"""Alerts in the process: when a rule begins and ceases to hold, who is told, and that no call waits for it."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loopback import Loopback, Reply, json_reply
from prometheus_client import CollectorRegistry
from waiting import LIMIT_S, until

import trisignal
from trisignal import Alert, AlertRule
from trisignal.errors import ConfigError
from trisignal.testing import Seen
from trisignal.watch import alert_handlers, alert_rules, alerts
from trisignal.watch.alert_rules import RuleState, Sample
from trisignal.watch.alerts import _Sender
from trisignal.watch.sliding_windows import SLOTS, SlidingWindow

FAST: dict[str, Any] = {"every_s": 0.02}


def ours() -> list[str]:
    """Names of the threads of alerts."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("trisignal-alert")]


def call(model: str = "gpt-4o", fails: bool = False) -> None:
    """One call."""
    with trisignal.llm(provider="openai", model=model) as active:
        active.set_usage(input_tokens=1000, output_tokens=100)
        if fails:
            raise ConnectionError("secret prompt")


def fail(model: str = "gpt-4o") -> None:
    """One failed call."""
    with pytest.raises(ConnectionError):
        call(model, fails=True)


# --- windows -----------------------------------------------------------------------------------------

TIMES = st.lists(st.tuples(st.floats(0, 200), st.floats(0.001, 1000), st.booleans()), max_size=60)


@given(TIMES, st.floats(0.5, 60), st.floats(0, 50))
def test_a_window_holds_what_is_young_and_nothing_that_is_old(
    samples: list[tuple[float, float, bool]], length_s: float, later_s: float
) -> None:
    """All samples younger than 19/20 of the length are in it, and none older than the length."""
    window, now_s = SlidingWindow(length_s), 200 + later_s
    for at_s, value, marked in samples:
        window.add(at_s, value, marked)
    got = window.recent(now_s)
    tolerance = 1e-6
    young = [s for s in samples if now_s - s[0] < length_s * (1 - 1 / SLOTS) - tolerance]
    old = [s for s in samples if now_s - s[0] > length_s + tolerance]
    assert len(young) <= got.samples <= len(samples) - len(old)
    assert sum(m for *_, m in young) <= got.marked <= sum(m for *_, m in samples) - sum(m for *_, m in old)
    upper = sum(v for _, v, _ in samples) - sum(v for _, v, _ in old)
    assert sum(v for _, v, _ in young) <= got.total + tolerance
    assert got.total <= upper + tolerance


def test_a_window_has_as_many_slots_as_it_says() -> None:
    """It holds the slot of this moment and those before it, up to its length and no further."""
    window = SlidingWindow(SLOTS, before=1)
    for second in range(3 * SLOTS):
        window.add(second + 0.5, 1.0)
    now_s = 3 * SLOTS - 0.5
    assert (window.recent(now_s).samples, window.earlier(now_s).samples) == (SLOTS, SLOTS)


@given(TIMES, st.floats(0.5, 60), st.integers(1, 6))
def test_forgetting_changes_nothing(samples: list[tuple[float, float, bool]], length_s: float, before: int) -> None:
    """What is dropped is in no sum; window and the time before it share no sample; memory is bounded."""
    window = SlidingWindow(length_s, before)
    for at_s, value, marked in samples:
        window.add(at_s, value, marked)
    told = window.recent(200), window.earlier(200)
    empty = window.forget(200)
    assert (window.recent(200), window.earlier(200)) == told
    assert told[0].samples + told[1].samples <= len(samples)
    assert len(window._slots) <= SLOTS * (before + 1) + 1
    assert empty == (not window._slots)
    assert window.forget(200 + length_s * (before + 2))


@given(st.lists(st.floats(0.001, 10_000), min_size=1, max_size=80), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_quantile_is_within_five_percent(values: list[float], share: float) -> None:
    """It is the value at that rank, but for the width of a bucket."""
    window = SlidingWindow(60)
    for value in values:
        window.add(1.0, value)
    exact = sorted(values)[max(0, -int(-share * len(values) // 1) - 1)]
    assert window.recent(1.0).quantile(share) == pytest.approx(exact, rel=0.05)


# --- rules -------------------------------------------------------------------------------------------


def test_samples_of_another_source_are_ignored() -> None:
    """A rule about scores sees no calls."""
    watch = RuleState(AlertRule("quality", 0.7, min_samples=1))
    watch.add(Sample("call", 0.0, ("m", "p"), 1.0, True))
    assert watch.look(1.0, 1.0) == []


def feed(watch: RuleState, at_s: float, n: int, source: str = "call", **facts: Any) -> list[Alert]:
    """Samples, and a look at the same moment."""
    groups = {"call": ("gpt-4o", "openai"), "cache": ("answers",), "score": ("faithfulness",)}[source]
    for _ in range(n):
        watch.add(Sample(source, at_s, **{"groups": groups, "value": 1.0, "marked": False, **facts}))
    return watch.look(at_s, 1_000_000 + at_s)


def test_it_is_told_once_and_resolved_once() -> None:
    """While a rule holds nothing more is told; when it ceases to, one alert says so, with both times."""
    watch = RuleState(AlertRule("error_rate", 0.2, window_s=100, min_samples=10))
    assert feed(watch, 0, 10) == []
    [fired] = feed(watch, 10, 10, marked=True)
    assert fired[:9] == ("error_rate", "firing", "error_rate", "", 0.5, 0.2, 20, 100.0, 1_000_010)
    assert feed(watch, 20, 10, marked=True) == []
    [resolved] = feed(watch, 115, 90)
    assert (resolved.status, resolved.started_unix_s, resolved.ended_unix_s) == ("resolved", 1_000_010, 1_000_115)
    assert resolved.value == pytest.approx(0.1)
    assert feed(watch, 116, 1) == []
    assert len(feed(watch, 117, 100, marked=True)) == 1


def test_nothing_begins_with_little_traffic_nor_ends_before_it_is_gone() -> None:
    """Under the least number of samples an alert neither begins nor ends; with an empty window it ends."""
    watch = RuleState(AlertRule("error_rate", 0.2, window_s=100, min_samples=10))
    assert feed(watch, 0, 9, marked=True) == []
    assert [a.status for a in feed(watch, 1, 1, marked=True)] == ["firing"]
    assert feed(watch, 102, 1) == []
    assert [a.status for a in feed(watch, 300, 0)] == ["resolved"]
    assert watch._groups == {}


def test_latency_is_that_of_successful_calls() -> None:
    """Slow errors do not count, slow answers do."""
    watch = RuleState(AlertRule("latency_p95_s", 5, min_samples=10))
    assert feed(watch, 0, 90, value=1.0) == []
    assert feed(watch, 1, 90, value=60.0, ok=False, marked=True) == []
    [fired] = feed(watch, 2, 10, value=20.0)
    assert fired.value == pytest.approx(20.0, rel=0.05)


def test_a_cost_spike_is_measured_by_the_time_before() -> None:
    """Twice the usual is one; a process that has just begun, or is steady, is none."""
    watch = RuleState(AlertRule("cost_spike", 2, window_s=20, min_samples=1))
    for at_s in range(100):
        assert feed(watch, at_s, 1, cost_usd=0.01) == []
    [fired] = [alert for at_s in range(100, 120) for alert in feed(watch, at_s, 5, cost_usd=0.01)]
    assert (fired.status, fired.signal) == ("firing", "cost_spike")
    assert 2 < fired.value < 3


@pytest.mark.parametrize(("signal", "source"), [("cache_hit_rate", "cache"), ("quality", "score")])
def test_some_signals_are_bad_when_low(signal: Any, source: str) -> None:
    """Hit rate and quality alert below their limit."""
    watch = RuleState(AlertRule(signal, 0.5, min_samples=4))
    assert feed(watch, 0, 4, source, value=0.9, marked=True) == []
    [fired] = feed(watch, 1, 40, source, value=0.1, marked=False)
    assert fired.value < 0.5


def test_groups_are_judged_apart_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each model has a window, until there are too many: they share one."""
    monkeypatch.setattr(alert_rules, "MAX_GROUPS", 2)
    watch = RuleState(AlertRule("error_rate", 0.5, min_samples=2, by="model"))
    feed(watch, 0, 2, groups=("good", "openai"))
    assert [a.group for a in feed(watch, 0, 2, groups=("bad", "openai"), marked=True)] == ["bad"]
    assert feed(watch, 0, 1, groups=("third", "openai"), marked=True) == []
    assert [a.group for a in feed(watch, 0, 1, groups=("fourth", "openai"), marked=True)] == ["_OTHER"]


# --- from calls to handlers --------------------------------------------------------------------------


def test_calls_caches_and_scores_reach_the_rules(seen: Seen) -> None:
    """What the application does is what the rules see; ok calls of another model tell nothing."""
    told: list[Alert] = []
    rules = [
        AlertRule("error_rate", 0.5, min_samples=2, by="model"),
        AlertRule("cache_hit_rate", 0.5, min_samples=2, by="cache"),
        AlertRule("quality", 0.7, min_samples=2, by="evaluation"),
    ]
    with trisignal.Alerts(rules, [told.append], **FAST):
        for _ in range(2):
            trisignal.evaluate("toxicity", 0.02, higher_is_better=False)
            trisignal.evaluate("bias", 0.75, higher_is_better=False)
            call("gpt-4o-mini")
            fail()
            trisignal.cache("answers").miss()
            trisignal.evaluate("faithfulness", 0.2)
        until(lambda: len(told) == 4)
    assert sorted((a.signal, a.group, a.value, a.samples) for a in told) == [
        ("cache_hit_rate", "answers", 0.0, 2),
        ("error_rate", "gpt-4o", 1.0, 2),
        ("quality", "bias", 0.25, 2),
        ("quality", "faithfulness", 0.2, 2),
    ]


def test_the_log_is_told_by_default(seen: Seen, caplog: pytest.LogCaptureFixture) -> None:
    """One warning when it begins, one line of information when it is over; no text of an exception."""
    caplog.set_level(logging.INFO, "trisignal.alerts")
    with trisignal.Alerts([AlertRule("error_rate", 0.5, min_samples=2, window_s=0.4, name="errors")], **FAST):
        fail()
        fail()
        until(lambda: len([r for r in caplog.records if r.name == "trisignal.alerts"]) == 2)
    records = [record for record in caplog.records if record.name == "trisignal.alerts"]
    assert [record.levelname for record in records] == ["WARNING", "INFO"]
    assert records[0].getMessage() == "FIRING errors: error_rate is 1, the limit is 0.5 (2 samples in 0.4 s)"
    assert records[1].getMessage().startswith("RESOLVED errors")
    assert "secret" not in "".join(record.getMessage() for record in records)


def test_a_webhook_gets_json(seen: Seen) -> None:
    """All facts, a line for people, and the headers that were given."""
    with Loopback() as server:
        server.play(json_reply({}))
        hook = trisignal.alert_to_webhook(f"{server.url}/hook", headers={"Authorization": "Bearer k"})
        with trisignal.Alerts([AlertRule("error_rate", 0.5, min_samples=1, by="model")], [hook], **FAST):
            fail()
            until(lambda: server.requests)
        request = server.requests[0]
    body = json.loads(request.body)
    assert (request.method, request.header("Authorization")) == ("POST", "Bearer k")
    assert request.header("Content-Type") == "application/json"
    assert (body["rule"], body["status"], body["group"], body["value"]) == ("error_rate", "firing", "gpt-4o", 1.0)
    assert body["text"].startswith("FIRING error_rate: error_rate of gpt-4o is 1")
    assert body["started_at"].endswith("+00:00")
    assert body["ended_at"] is None


def test_slack_gets_its_format() -> None:
    """One text, in which nothing is markup."""
    alert = Alert("<a&b>", "resolved", "quality", "", 0.9, 0.7, 5, 60.0, 1.0, 2.0)
    with Loopback() as server:
        server.play(Reply(body=b"ok"))
        trisignal.alert_to_slack(f"{server.url}/services/T/B/x")(alert)
        sent = json.loads(server.requests[0].body)
    assert sent == {"text": "RESOLVED &lt;a&amp;b&gt;: quality is 0.9, the limit is 0.7 (5 samples in 60 s)"}


def test_a_webhook_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the server or of the connection is not the end; three of them are."""
    monkeypatch.setattr(alert_handlers, "FIRST_PAUSE_S", 0.01)
    alert = Alert("r", "firing", "quality", "", 0.1, 0.7, 5, 60.0, 1.0, None)
    with Loopback() as server:
        server.play(json_reply({}, status=503), Reply(drop=True), json_reply({}))
        trisignal.alert_to_webhook(server.url)(alert)
        assert len(server.requests) == 3
        server.play(*[json_reply({}, status=503)] * 3)
        with pytest.raises(OSError):
            trisignal.alert_to_webhook(server.url)(alert)
        assert len(server.requests) == 6


@pytest.mark.parametrize("trouble", ["slow", "down"])
def test_a_bad_webhook_holds_up_nothing(
    trouble: str, seen: Seen, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls are as quick as ever, other handlers are called at once, and the log says what was not sent."""
    monkeypatch.setattr(alert_handlers, "FIRST_PAUSE_S", 0.01)
    told: list[Alert] = []
    with Loopback() as server:
        server.play(*[Reply(hang=True)] * 3)
        url = server.url if trouble == "slow" else "http://127.0.0.1:9"
        hook = trisignal.alert_to_webhook(f"{url}/secret-token", timeout_s=60)
        with trisignal.Alerts([AlertRule("error_rate", 0.5, min_samples=1)], [hook, told.append], **FAST):
            fail()
            until(lambda: told)
            for _ in range(50):
                call()
            if trouble == "slow":
                assert "was not sent" not in caplog.text
                server.close()
            until(lambda: "was not sent" in caplog.text)
    assert "secret-token" not in caplog.text


def test_calls_never_wait_for_the_thread(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call only queues; what does not fit is dropped and counted."""
    monkeypatch.setattr(alerts, "MAX_WAITING", 3)
    monkeypatch.setattr(alerts, "READ_EVERY_S", 60.0)
    told: list[Alert] = []
    with trisignal.Alerts([AlertRule("error_rate", 0.5, min_samples=1)], [told.append], every_s=60):
        for _ in range(5):
            fail()
    assert told == []
    assert seen.value("trisignal_dropped_total", queue="alert_samples") == 2


def test_a_stuck_handler_drops_alerts(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alerts that wait for a handler have a limit, and what is over it is counted."""
    monkeypatch.setattr(alerts, "MAX_UNSENT", 1)
    release = threading.Event()
    handler = _Sender(lambda _: release.wait(LIMIT_S))
    alert = Alert("r", "firing", "quality", "", 0.1, 0.7, 5, 60.0, 1.0, None)
    for _ in range(4):
        handler.send(alert)
    release.set()
    handler.stop(LIMIT_S)
    assert seen.value("trisignal_dropped_total", queue="alerts") in (2, 3)


def test_a_handler_may_end_the_alerts(seen: Seen) -> None:
    """Closing from a handler does not wait for the handler itself."""
    closed = threading.Event()

    def close(_: Alert) -> None:
        running.close()
        closed.set()

    running = trisignal.Alerts([AlertRule("error_rate", 0.5, min_samples=1)], [close], **FAST)
    fail()
    assert closed.wait(LIMIT_S)
    until(lambda: not ours())


# --- threads -----------------------------------------------------------------------------------------


def test_threads_begin_with_the_first_call_and_end_with_close(seen: Seen) -> None:
    """Before a call there is none, after `close` there is none, and further calls start none."""
    running = trisignal.Alerts([AlertRule("error_rate", 0.5, min_samples=1)], **FAST)
    assert ours() == []
    call()
    assert ours() == ["trisignal-alerts"]
    running.close()
    running.close()
    call()
    assert ours() == []


def test_shutdown_ends_them() -> None:
    """What undoes setup() ends the alerts, too."""
    with trisignal.setup(registry=CollectorRegistry()):
        trisignal.Alerts([AlertRule("error_rate", 0.5)], **FAST)
        call()
        assert ours() == ["trisignal-alerts"]
    assert ours() == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_watches_its_own_calls(seen: Seen) -> None:
    """The child's windows begin empty, with a thread of its own from its first call."""
    told: list[Alert] = []
    with trisignal.Alerts([AlertRule("error_rate", 0.5, min_samples=2)], [told.append], **FAST):
        fail()
        child = os.fork()
        if child == 0:
            try:
                fail()
                time.sleep(0.2)
                before = list(told)
                fail()
                until(lambda: told)
                os._exit(1 if before else 0)
            except BaseException:
                os._exit(2)
        assert os.waitpid(child, 0)[1] == 0
        assert told == []


# --- settings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "setting", "allowed"),
    [
        ({"signal": "errors"}, "signal", "error_rate, latency_p95_s, cost_spike, cache_hit_rate, quality"),
        ({"limit": 0}, "limit", "above 0"),
        ({"limit": "5"}, "limit", "above 0"),
        ({"window_s": float("nan")}, "window_s", "above 0"),
        ({"min_samples": 0}, "min_samples", "whole number"),
        ({"by": "tenant"}, "by", "model, provider"),
        ({"signal": "quality", "by": "model"}, "by", "evaluation"),
    ],
)
def test_wrong_rules_are_named(arguments: dict[str, Any], setting: str, allowed: str) -> None:
    """The error says which argument is wrong and what may be given."""
    given: dict[str, Any] = {"signal": "error_rate", "limit": 0.5, **arguments}
    with pytest.raises(ConfigError, match=allowed) as wrong:
        AlertRule(**given)
    assert wrong.value.setting == setting


def test_wrong_alerts_are_named() -> None:
    """Rules, handlers and the pace are checked before anything is in force."""
    rule = AlertRule("error_rate", 0.5)
    for arguments, setting in [
        (([],), "rules"),
        ((["error_rate"],), "rules"),
        (([rule, AlertRule("error_rate", 0.9)],), "rules"),
        (([rule], ["https://x"]), "handlers"),
        (([rule], []), "handlers"),
    ]:
        with pytest.raises(ConfigError) as wrong:
            trisignal.Alerts(*arguments)  # type: ignore[arg-type]
        assert wrong.value.setting == setting
    with pytest.raises(ConfigError, match="every_s"):
        trisignal.Alerts([rule], every_s=0)
    for make in (trisignal.alert_to_webhook, trisignal.alert_to_slack):
        with pytest.raises(ConfigError, match="http://"):
            make("hooks.example.com")
        with pytest.raises(ConfigError, match="timeout_s"):
            make("https://hooks.example.com", timeout_s=0)
