"""Health: asks providers now and then whether they answer, on threads of its own.

One thread keeps the time; a probe runs on a thread that lives as long as that probe. A probe that
hangs is counted as down and is not started again before it returns: at most one thread per
provider, and one more, ever exist.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import random
from collections.abc import Awaitable, Callable, Mapping
from threading import Event, Lock, Thread
from time import monotonic
from typing import NamedTuple

from trisignal import _context, _guard
from trisignal.config.checks import SECONDS, http_url, positive
from trisignal.engine import state
from trisignal.engine.meters import clean, gauge, observe
from trisignal.errors import ConfigError
from trisignal.web.requests import send

logger = logging.getLogger("trisignal.health")

Probe = Callable[[], object] | Callable[[], Awaitable[object]]
"""Asks a provider. It is down when this raises, answers False, or takes too long."""

STOP_WAIT_S = 1.0
"""How long `Health.stop` waits for the thread, in seconds; probes are not waited for."""


class ProviderHealth(NamedTuple):
    """Result of the last probe of a provider."""

    up: bool | None
    """None before the first probe has ended."""
    duration_s: float | None
    """Seconds that it took."""
    error_type: str
    """Type of what it raised; ``timeout``, or ``answered_false``; "" when up."""


_UNKNOWN = ProviderHealth(None, None, "")


def http_probe(url: str, *, headers: Mapping[str, str] | None = None, timeout_s: float = 10.0) -> Callable[[], bool]:
    """A probe that sends one GET request; the provider is up when it answers with a status under 500.

    A refused key (401) or too many requests (429) is an answer: the provider is there.

    Args:
        url: Address, with ``http`` or ``https``; choose one that costs nothing, e.g. the list of models.
        headers: Headers to send, e.g. ``Authorization``; they appear nowhere else.
        timeout_s: Longest wait for the connection and for each read, in seconds.

    Raises:
        ConfigError: The address or the timeout is wrong.
    """
    url, timeout_s = http_url("url", url), positive("timeout_s", timeout_s, SECONDS)

    def probe() -> bool:
        # Loads much that a process without probes can spare.
        from urllib.error import HTTPError
        from urllib.request import Request

        try:
            with send(Request(url, headers=dict(headers or {})), timeout_s) as reply:
                return int(reply.status) < 500
        except HTTPError as error:
            with error:
                return error.code < 500

    return probe


class _Target:
    """One provider and what is known of it; changed by the timing thread only, but for the outcome."""

    __slots__ = ("began_s", "due_s", "outcome", "probe", "provider", "running", "state", "timed_out")

    def __init__(self, provider: str, probe: Probe, due_s: float) -> None:
        self.provider = provider
        self.probe = probe
        self.due_s = due_s
        self.began_s = 0.0
        self.running = False
        self.timed_out = False
        self.outcome: tuple[float, str] | None = None
        """Seconds and error of the probe that has just ended."""
        self.state = _UNKNOWN


class Health:
    """Probes of providers, as started by `health`.

    Also a context manager, which stops them. Thread-safe.
    """

    name = "health"

    def __init__(self, probes: Mapping[str, Probe], every_s: float, timeout_s: float, jitter: float) -> None:
        self._probes = dict(probes)
        self._every_s = every_s
        self._timeout_s = timeout_s
        self._jitter = jitter
        self._targets: dict[str, _Target] = {}
        self._lock = Lock()
        self._pid = os.getpid()
        self._thread: Thread | None = None
        self._stopping = Event()
        self._wake = Event()

    def start(self) -> None:
        """Begin to probe; does nothing while it does. A forked child calls this for probes of its own."""
        if self._pid != os.getpid():
            self.after_fork()
        with self._lock:
            if self.running:
                return
            self._stopping, self._wake = Event(), Event()
            now_s = monotonic()
            self._targets = {clean(who): _Target(clean(who), probe, now_s) for who, probe in self._probes.items()}
            self._thread = Thread(
                target=self._keep_time, args=(self._stopping, self._wake), name="trisignal-health", daemon=True
            )
            self._thread.start()
        state.detach(self)
        state.attach(self)

    @property
    def running(self) -> bool:
        """Whether this process probes."""
        return self._thread is not None and self._thread.is_alive() and not self._stopping.is_set()

    def stop(self) -> None:
        """Stop probing; may be called again. The metrics keep their last values."""
        state.detach(self)
        self.detached()

    def status(self) -> dict[str, ProviderHealth]:
        """The last state of each provider."""
        return {target.provider: target.state for target in list(self._targets.values())}

    def __enter__(self) -> Health:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def detached(self) -> None:
        """`shutdown` stops it, too."""
        thread = self._thread
        self._stopping.set()
        self._wake.set()
        if thread is not None and thread.is_alive():
            thread.join(STOP_WAIT_S)

    def after_fork(self) -> None:
        """Threads stay with the parent; the child probes when it is asked to."""
        self._lock = Lock()
        self._pid = os.getpid()
        self._thread = None
        self._targets = {}

    # --- the timing thread -------------------------------------------------------------

    def _keep_time(self, stopping: Event, wake: Event) -> None:
        targets = list(self._targets.values())
        while not stopping.is_set():
            wake.clear()
            now_s = monotonic()
            try:
                next_s = min(self._look(target, now_s, wake) for target in targets)
            except Exception as error:
                _guard.contain("health", error)
                next_s = now_s + self._every_s
            wake.wait(max(0.0, next_s - monotonic()))

    def _look(self, target: _Target, now_s: float, wake: Event) -> float:
        """Do what is to be done for one provider; when to look again."""
        ended = target.outcome
        if ended is not None:
            target.outcome = None
            target.running = False
            if not target.timed_out:
                self._tell(target, *ended)
        if target.running and not target.timed_out and now_s >= target.began_s + self._timeout_s:
            target.timed_out = True
            self._tell(target, now_s - target.began_s, "timeout")
        if now_s >= target.due_s:
            # Many processes started together are not to ask together.
            target.due_s = now_s + self._every_s * (1 + self._jitter * random.uniform(-1, 1))
            if not target.running:
                target.running, target.timed_out, target.began_s = True, False, now_s
                Thread(target=self._ask, args=(target, wake), name="trisignal-probe", daemon=True).start()
        if target.running and not target.timed_out:
            return min(target.due_s, target.began_s + self._timeout_s)
        return target.due_s

    def _ask(self, target: _Target, wake: Event) -> None:
        began_s, error_type = monotonic(), ""
        try:
            # A probe is not a call of the application: it would change every ratio.
            with _context.suppress():
                answer = target.probe()
                if inspect.isawaitable(answer):
                    answer = asyncio.run(self._wait(answer))
            if answer is False:
                error_type = "answered_false"
        except (TimeoutError, asyncio.TimeoutError):
            error_type = "timeout"
        except BaseException as error:
            # Also SystemExit: whatever ends a probe ends nothing else.
            error_type = type(error).__name__
        target.outcome = monotonic() - began_s, error_type
        wake.set()

    async def _wait(self, answer: Awaitable[object]) -> object:
        return await asyncio.wait_for(answer, self._timeout_s)

    def _tell(self, target: _Target, duration_s: float, error_type: str) -> None:
        before = target.state.up
        up = not error_type
        target.state = ProviderHealth(up, duration_s, error_type)
        result = "ok" if up else "timeout" if error_type == "timeout" else "error"
        gauge("provider_up", (target.provider,), float(up))
        observe("probe_duration", (target.provider, result), duration_s)
        if up == before:
            return
        if up:
            logger.info("provider %s is up: probed in %.3f s", target.provider, duration_s)
        else:
            # Only the type: the text of an exception may hold keys or prompts.
            logger.warning(
                "provider %s is down: probe ended with %s after %.3f s", target.provider, error_type, duration_s
            )


def health(
    probes: Mapping[str, Probe], *, every_s: float = 30.0, timeout_s: float = 10.0, jitter: float = 0.1
) -> Health:
    """Probe providers from now on, until `Health.stop` or `shutdown`.

    Calls of patched clients inside a probe are not recorded. Each process that calls this probes
    by itself; a forked child does not, until it calls `Health.start`.

    Args:
        probes: What asks each provider, by its name in the metrics, e.g. ``openai``: a function
            or coroutine function without arguments, or what `http_probe` returns. A coroutine
            function runs in an event loop of its own.
        every_s: Seconds from one probe to the next.
        timeout_s: Seconds after which a provider that has not answered is down.
        jitter: Share of ``every_s`` by which each wait differs at random, 0 to 1.

    Returns:
        The running probes.

    Raises:
        ConfigError: An argument has a wrong value.
    """
    if not isinstance(probes, Mapping) or not probes:
        raise ConfigError("probes", probes, "a mapping of at least one provider's name to a function")
    for provider, probe in probes.items():
        if not isinstance(provider, str) or not provider:
            raise ConfigError("probes", provider, "names of providers, e.g. openai")
        if not callable(probe):
            raise ConfigError(f"probes[{provider!r}]", probe, "a function, a coroutine function, or http_probe(url)")
    positive("every_s", every_s, SECONDS)
    positive("timeout_s", timeout_s, SECONDS)
    if isinstance(jitter, bool) or not isinstance(jitter, (int, float)) or not 0 <= jitter <= 1:
        raise ConfigError("jitter", jitter, "a number from 0 to 1")
    made = Health(probes, every_s, timeout_s, jitter)
    made.start()
    return made
