"""Whether anything can be recorded at all: said at the latest when the process ends."""

from __future__ import annotations

import atexit
import functools
import time

from trisignal import _guard
from trisignal.assembly.telemetry import Telemetry, running
from trisignal.engine import state
from trisignal.export.global_provider import SharedTracerProvider
from trisignal.web.metrics_page import before_scrape

PATIENCE_S = 60.0
"""A process that still has no source of calls after this many seconds hears of it with the next scrape."""


def watch(telemetry: Telemetry) -> None:
    """Look at each scrape, and when the process ends, whether this setup() has a source of calls.

    Args:
        telemetry: Handle of the setup() that has just been built.
    """
    began_s = time.monotonic()

    def look() -> None:
        if time.monotonic() - began_s > PATIENCE_S:
            _check(telemetry)

    before_scrape.append(look)
    telemetry.undo.append(lambda: before_scrape.remove(look))
    _at_exit()


@functools.cache
def _at_exit() -> None:
    atexit.register(_check_running)


def _check_running() -> None:
    telemetry = running()
    if telemetry is not None:
        _check(telemetry)


def _check(telemetry: Telemetry) -> None:
    if not has_source(telemetry):
        _guard.warn(
            "trisignal.setup() was called, and nothing is recorded: no client is instrumented and nothing is "
            "decorated; call trisignal.instrument(), or use @trisignal.llm",
            contained=True,
        )


def has_source(telemetry: Telemetry) -> bool:
    """Whether the application has done anything that calls can come from.

    Spans of other instrumentations are a source wherever the host has a tracer provider of its own.

    Args:
        telemetry: Handle of the setup() in force.
    """
    # The parent of workers may only set up: what they do is not seen here.
    if telemetry.settings.disabled or not state.SIGNS.isdisjoint(("instrument", "decorator", "capture", "fork")):
        return True
    bridged = telemetry.settings.bridge and not isinstance(telemetry.tracer_provider, SharedTracerProvider)
    return bridged or telemetry.tally.summary().total.calls > 0 or len(state.STATE.attached) > 0
