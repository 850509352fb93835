"""Health: probes of providers run aside, in time, and leave no thread behind."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from itertools import pairwise
from typing import Any

import pytest
from loopback import Loopback, json_reply
from prometheus_client import CollectorRegistry
from waiting import LIMIT_S, until

import trisignal
from trisignal.errors import ConfigError
from trisignal.testing import Seen
from trisignal.watch.health import Health


def ours() -> list[str]:
    """Names of the threads that probe."""
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name in ("trisignal-health", "trisignal-probe")]


def known(watch: Health) -> bool:
    """Whether every provider was probed."""
    return all(state.up is not None for state in watch.status().values())


async def refuse() -> None:
    """A probe that finds nobody."""
    raise ConnectionRefusedError("secret-key refused")


async def answer() -> str:
    """A probe that is answered."""
    return "yes"


def test_probes_become_metrics(seen: Seen) -> None:
    """Functions and coroutine functions are asked: 1 for an answer, 0 for an exception or False."""
    probes = {"openai": lambda: None, "anthropic": answer, "vllm": refuse, "tgi": lambda: False}
    with trisignal.health(probes) as watch:
        until(lambda: known(watch))
    up = {who: seen.value("llm_provider_up", gen_ai_provider_name=who) for who in probes}
    assert up == {"openai": 1, "anthropic": 1, "vllm": 0, "tgi": 0}
    probed = "llm_provider_probe_duration_seconds_count"
    assert seen.value(probed, gen_ai_provider_name="openai", result="ok") == 1
    assert seen.value(probed, gen_ai_provider_name="vllm", result="error") == 1
    assert watch.status()["vllm"].error_type == "ConnectionRefusedError"
    assert watch.status()["tgi"].error_type == "answered_false"


def test_only_changes_are_logged(seen: Seen, caplog: pytest.LogCaptureFixture) -> None:
    """Down and up again are one line each, however often it is probed; no line holds the exception's text."""
    caplog.set_level(logging.INFO, "trisignal.health")
    asked: list[int] = []

    def probe() -> None:
        asked.append(1)
        if 3 <= len(asked) < 6:
            raise ConnectionRefusedError("secret-key refused")

    with trisignal.health({"openai": probe}, every_s=0.01, jitter=0):
        until(lambda: len(asked) >= 9)
    lines = [record.getMessage().split(":")[0] for record in caplog.records if record.name == "trisignal.health"]
    assert lines == ["provider openai is up", "provider openai is down", "provider openai is up"]
    assert "secret-key" not in caplog.text


def test_a_hanging_probe_is_down_and_is_not_started_again(seen: Seen) -> None:
    """It is told after the time it has, other providers are probed meanwhile, and it holds one thread only."""
    release, asked, others = threading.Event(), [], []

    def hang() -> None:
        asked.append(1)
        release.wait(LIMIT_S)

    probes: dict[str, Any] = {"slow": hang, "fast": lambda: others.append(1)}
    with trisignal.health(probes, every_s=0.02, timeout_s=0.05) as watch:
        until(lambda: len(others) > 10)
        assert watch.status()["slow"].error_type == "timeout"
        assert watch.status()["fast"].up
        assert len(asked) == 1
        assert ours().count("trisignal-probe") <= 2
        release.set()
        until(lambda: watch.status()["slow"].up)
    assert seen.value("llm_provider_probe_duration_seconds_count", gen_ai_provider_name="slow", result="timeout") == 1


def test_a_hanging_coroutine_is_cancelled(seen: Seen) -> None:
    """A coroutine function that takes too long is cancelled, so that its connection is closed."""
    cancelled: list[int] = []

    async def hang() -> None:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            cancelled.append(1)
            raise

    with trisignal.health({"slow": hang}, timeout_s=0.05) as watch:
        until(lambda: known(watch) and cancelled)
        assert watch.status()["slow"].error_type == "timeout"


def test_probes_go_on_at_their_pace(seen: Seen) -> None:
    """Waits differ by the jitter, and by no more."""
    times: list[float] = []
    with trisignal.health({"openai": lambda: times.append(time.monotonic())}, every_s=0.1, jitter=0.5):
        until(lambda: len(times) >= 6)
    waits = [later - earlier for earlier, later in pairwise(times)]
    assert min(waits) >= 0.045
    assert max(waits) - min(waits) > 0.001


@pytest.mark.parametrize(("status", "up"), [(200, True), (401, True), (429, True), (500, False), (503, False)])
def test_an_http_probe_reads_the_status(status: int, up: bool, seen: Seen) -> None:
    """Whoever answers is there; an error of the server is none."""
    with Loopback() as server:
        server.play(json_reply({}, status=status))
        probe = trisignal.http_probe(f"{server.url}/models", headers={"authorization": "Bearer k"})
        assert probe() is up
        assert server.requests[0].header("authorization") == "Bearer k"


def test_an_http_probe_of_nobody_is_down(seen: Seen) -> None:
    """A refused connection is an error like any other."""
    with Loopback() as server:
        gone = server.url
    with trisignal.health({"openai": trisignal.http_probe(gone)}) as watch:
        until(lambda: known(watch))
        assert watch.status()["openai"].up is False


def test_calls_inside_a_probe_are_not_recorded(seen: Seen) -> None:
    """A probe through an instrumented client changes no ratio, costs no budget, and is never refused."""
    trisignal.Budget(tokens=1, action="raise")
    spend = trisignal.llm(provider="openai", model="gpt-4o")
    with spend as call:
        call.set_usage(input_tokens=5, output_tokens=5)

    def probe() -> None:
        with spend:
            pass

    with trisignal.health({"openai": probe}) as watch:
        until(lambda: known(watch))
        assert watch.status()["openai"].up
    assert seen.value("llm_requests_total") == 1


def test_stopping_leaves_no_thread(seen: Seen) -> None:
    """After `stop`, twice or more, no thread is left; `start` begins again."""
    watch = trisignal.health({"openai": lambda: None})
    assert watch.running
    watch.start()
    until(lambda: ours().count("trisignal-health") == 1)
    watch.stop()
    watch.stop()
    assert not watch.running
    until(lambda: not ours())
    watch.start()
    until(lambda: known(watch))
    watch.stop()
    until(lambda: not ours())


def test_shutdown_stops_it() -> None:
    """What undoes setup() ends the probes, too."""
    with trisignal.setup(registry=CollectorRegistry()):
        watch = trisignal.health({"openai": lambda: None})
        assert watch.running
    assert not watch.running
    until(lambda: not ours())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_probes_when_told(seen: Seen) -> None:
    """The child has no thread of the parent's, may start its own, and does not stop the parent's."""
    with trisignal.health({"openai": lambda: None}) as watch:
        until(lambda: known(watch))
        child = os.fork()
        if child == 0:
            try:
                still = watch.running
                watch.start()
                until(lambda: known(watch))
                watch.stop()
                os._exit(1 if still else 0)
            except BaseException:
                os._exit(2)
        assert os.waitpid(child, 0)[1] == 0
        assert watch.running


def test_whatever_a_probe_raises_ends_only_itself(seen: Seen) -> None:
    """Not even an exit of the interpreter stops the others or the next one."""
    asked: list[int] = []

    def leave() -> None:
        asked.append(1)
        raise SystemExit(3)

    with trisignal.health({"openai": leave}, every_s=0.01) as watch:
        until(lambda: len(asked) > 3)
        assert watch.status()["openai"].error_type == "SystemExit"


@pytest.mark.parametrize(
    ("arguments", "setting", "allowed"),
    [
        ({"probes": {}}, "probes", "at least one"),
        ({"probes": {"": print}}, "probes", "names of providers"),
        ({"probes": {"openai": "https://x"}}, "probes['openai']", "http_probe"),
        ({"probes": {"openai": print}, "every_s": 0}, "every_s", "above 0"),
        ({"probes": {"openai": print}, "every_s": float("inf")}, "every_s", "above 0"),
        ({"probes": {"openai": print}, "timeout_s": "1"}, "timeout_s", "above 0"),
        ({"probes": {"openai": print}, "jitter": 2}, "jitter", "from 0 to 1"),
    ],
)
def test_wrong_settings_are_named(arguments: dict[str, Any], setting: str, allowed: str) -> None:
    """The error says which argument is wrong and what may be given; no thread has started."""
    with pytest.raises(ConfigError, match=allowed) as wrong:
        trisignal.health(**arguments)
    assert wrong.value.setting == setting
    assert not ours()


def test_a_wrong_address_is_named() -> None:
    """An HTTP probe wants an HTTP address."""
    with pytest.raises(ConfigError, match="http://"):
        trisignal.http_probe("file:///etc/passwd")
