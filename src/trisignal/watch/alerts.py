"""Alerts without a Prometheus: rules over sliding windows of this process, and handlers that receive what fires.

A call only leaves a few values in a queue. One thread reads it, keeps the windows and checks the
rules; each handler has a thread of its own, so that a slow one holds up nothing else.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Sequence
from queue import Empty, Full, Queue
from threading import Event, RLock, Thread, current_thread
from typing import Any

from trisignal import _guard
from trisignal import semconv as names
from trisignal.call import Call, Draft
from trisignal.config.checks import SECONDS, positive
from trisignal.engine import state
from trisignal.engine.meters import count
from trisignal.errors import ConfigError
from trisignal.watch.alert_handlers import Alert, Handler, alert_to_log
from trisignal.watch.alert_rules import AlertRule, RuleState, Sample

logger = logging.getLogger("trisignal.alerts")

MAX_WAITING = 10_000
"""Samples between two looks at the queue; further ones are dropped and counted."""
MAX_UNSENT = 100
"""Alerts that wait for one handler; further ones are dropped and counted."""
READ_EVERY_S = 1.0
"""Longest time between two looks at the queue."""
STOP_WAIT_S = 1.0
"""How long `Alerts.close` waits for each thread."""


class _Sender:
    """Hands alerts to one handler, on a thread that begins with the first alert."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._waiting: Queue[Alert | None] = Queue(MAX_UNSENT)
        self._thread: Thread | None = None

    def send(self, alert: Alert) -> None:
        """Queue an alert."""
        if self._thread is None:
            self._thread = Thread(target=self._run, name="trisignal-alert-handler", daemon=True)
            self._thread.start()
        try:
            self._waiting.put_nowait(alert)
        except Full:
            count("dropped", ("alerts",))

    def stop(self, wait_s: float) -> None:
        """Send what waits, for a while, and end."""
        if self._thread is None:
            return
        try:
            self._waiting.put_nowait(None)
        except Full:
            # It is stuck: let it go on with the next one, and end there.
            self._drain()
            self._waiting.put_nowait(None)
        if self._thread is not current_thread():
            self._thread.join(wait_s)

    def _drain(self) -> None:
        try:
            while True:
                self._waiting.get_nowait()
        except Empty:
            return

    def _run(self) -> None:
        while True:
            alert = self._waiting.get()
            if alert is None:
                return
            try:
                self._handler(alert)
            except Exception as error:
                # Not ours, and its text may hold an address with a key in it.
                logger.warning("an alert handler failed with %s: %s was not sent", type(error).__name__, alert.rule)


class Alerts:
    """Checks rules in this process and notifies handlers when one starts or stops to hold.

    Active until `close` or `shutdown`; an alert is sent once when its rule holds, and once more when it is
    resolved. The thread starts with the first call of the process, in a forked child with the
    child's first. Also a context manager, which closes it.

    Args:
        rules: What to alert on.
        handlers: Functions that take an `Alert`; by default one that writes to the log.
        every_s: Seconds between two checks.

    Raises:
        ConfigError: An argument has a wrong value.
    """

    def __init__(
        self, rules: Sequence[AlertRule], handlers: Sequence[Handler] = (alert_to_log,), *, every_s: float = 15.0
    ) -> None:
        if not rules or not all(isinstance(rule, AlertRule) for rule in rules):
            raise ConfigError("rules", rules, "a list of at least one AlertRule")
        names = [rule.name for rule in rules]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError("rules", name, "names that differ: give AlertRule(name=...)")
        if not handlers or not all(callable(handler) for handler in handlers):
            raise ConfigError("handlers", handlers, "a list of at least one function that takes an Alert")
        every_s = positive("every_s", every_s, SECONDS)
        self._watcher = _Watcher(tuple(rules), tuple(handlers), every_s)
        state.attach(self._watcher)

    def close(self) -> None:
        """Check nothing from now on; alerts on their way have a second to leave. May be called again."""
        state.detach(self._watcher)
        self._watcher.detached()

    def __enter__(self) -> Alerts:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class _Watcher:
    """The sink and meter that samples come from, and the thread that reads them."""

    name = "alerts"

    def __init__(self, rules: tuple[AlertRule, ...], handlers: tuple[Handler, ...], every_s: float) -> None:
        self._rules = rules
        self._handlers = handlers
        self._every_s = every_s
        self._fresh()

    def _fresh(self) -> None:
        self._pid = os.getpid()
        self._lock = RLock()
        self._samples: deque[Sample] = deque()
        self._watches = [RuleState(rule) for rule in self._rules]
        self._senders = [_Sender(handler) for handler in self._handlers]
        self._stopping = Event()
        self._thread: Thread | None = None

    # --- on the caller's thread ---------------------------------------------------------

    def close(self, draft: Draft, call: Call) -> None:
        """Keep what the rules need of a call."""
        if not call.model_call or not call.counted:
            return
        cost = call.cost.total_usd if call.cost is not None else 0.0
        groups = (call.request_model, call.provider)
        self._keep("call", groups, call.duration_s, call.outcome == "error", call.outcome == "ok", cost)

    def count(self, key: str, labels: tuple[str, ...], amount: float = 1.0) -> None:
        """Keep the look-ups of caches."""
        if key == "cache_requests":
            self._keep("cache", labels[:1], 0.0, labels[1] == "hit")

    def observe(self, key: str, labels: tuple[str, ...], value: float) -> None:
        """Keep the scores of evaluations."""
        if key == "quality_score":
            evaluation, better = labels[:2]
            self._keep("score", (evaluation,), 1 - value if better == names.LOWER else value, False)

    def gauge(self, key: str, labels: tuple[str, ...], value: float) -> None:
        """No rule is about a gauge."""

    def _keep(
        self, source: str, groups: tuple[str, ...], value: float, marked: bool, ok: bool = True, cost_usd: float = 0.0
    ) -> None:
        if self._pid != os.getpid():
            self._fresh()
        if len(self._samples) >= MAX_WAITING:
            count("dropped", ("alert_samples",))
            return
        self._samples.append(Sample(source, state.STATE.perf_ns() * 1e-9, groups, value, marked, ok, cost_usd))
        if self._thread is None and not self._stopping.is_set():
            self._start()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None and not self._stopping.is_set():
                thread = Thread(target=self._run, args=(self._stopping,), name="trisignal-alerts", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # an interpreter that ends starts no threads any more
                    self._stopping.set()
                else:
                    self._thread = thread

    # --- on the thread ------------------------------------------------------------------

    def _run(self, stopping: Event) -> None:
        waited_s, step_s = 0.0, min(READ_EVERY_S, self._every_s)
        while not stopping.wait(step_s):
            waited_s += step_s
            # Half a step of tolerance: sums of floats are not exact.
            due = waited_s >= self._every_s - step_s / 2
            waited_s = 0.0 if due else waited_s
            self._contained(self._read)
            if due:
                self._contained(self._check)

    @staticmethod
    def _contained(step: Callable[[], Any]) -> None:
        try:
            step()
        except Exception as error:
            _guard.contain("alerts", error)

    def _read(self) -> None:
        while self._samples:
            sample = self._samples.popleft()
            for watch in self._watches:
                watch.add(sample)

    def _check(self) -> None:
        now_s, unix_s = state.STATE.perf_ns() * 1e-9, state.STATE.unix_ns() * 1e-9
        for watch in self._watches:
            for alert in watch.look(now_s, unix_s):
                for sender in self._senders:
                    sender.send(alert)

    def detached(self) -> None:
        """End the threads; what is on its way has a moment."""
        self._stopping.set()
        thread = self._thread
        if thread is not None:
            thread.join(STOP_WAIT_S)
        for sender in self._senders:
            sender.stop(STOP_WAIT_S)

    def after_fork(self) -> None:
        """A forked child keeps windows and threads of its own."""
        self._fresh()
