"""What the application has set up, once it is imported: setup, clients, tracer provider, call log."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from opentelemetry import trace

from trisignal.assembly.call_log import CALL_LOGGER
from trisignal.assembly.sources import has_source
from trisignal.assembly.telemetry import Telemetry, running
from trisignal.clients import instrumented, refused
from trisignal.engine import state
from trisignal.export.global_provider import SharedTracerProvider, is_unset
from trisignal.operate.doctor.findings import Finding
from trisignal.sinks.json_log import JsonLogSink

CHECK = "application"


def check(*, imported: bool) -> Iterator[Finding]:
    """Look at this process.

    Args:
        imported: The application has been imported: what it has not done by then is missing.
    """
    for name, reason in refused().items():
        yield Finding(CHECK, "warning", f"calls of {name} are not recorded: {reason}",
                      "install a supported version, or take the name out of the variable")  # fmt: skip
    telemetry = running()
    if telemetry is None:
        if imported:
            yield _no_setup()
        return
    if telemetry.settings.disabled:
        return
    yield Finding(CHECK, "ok", "setup() is called")
    if imported:
        yield from _sources(telemetry)
    yield from _provider(telemetry)
    yield from _log()


def _no_setup() -> Finding:
    also = ", instrument() is" if "instrument" in state.SIGNS else ""
    return Finding(CHECK, "error", f"setup() is not called by the application{also}: nothing is recorded",
                   "call trisignal.setup() where the application starts; --app names the module that does")  # fmt: skip


def _sources(telemetry: Telemetry) -> Iterator[Finding]:
    if "instrument" in state.SIGNS:
        names = ", ".join(instrumented()) or "none is imported yet"
        yield Finding(CHECK, "ok", f"instrument() is called; patched: {names}")
    elif "decorator" in state.SIGNS:
        yield Finding(CHECK, "info", "instrument() is not called: only decorated functions and blocks are recorded",
                      "call trisignal.instrument() to record clients, too")  # fmt: skip
    elif has_source(telemetry):
        yield Finding(CHECK, "warning", "instrument() is not called: only spans of other instrumentations become calls",
                      "call trisignal.instrument() after setup()")  # fmt: skip
    else:
        yield Finding(CHECK, "error", "instrument() is not called, and nothing is decorated: nothing is recorded",
                      "call trisignal.instrument() after setup()")  # fmt: skip


def _provider(telemetry: Telemetry) -> Iterator[Finding]:
    used, present = telemetry.tracer_provider, trace.get_tracer_provider()
    kind = type(used).__name__
    if telemetry.followed and present is used:
        yield Finding(CHECK, "ok", f"spans go to the application's {kind}, which it has set after setup()")
    elif present is used:
        whose = (
            "that setup() built, which is the global one" if isinstance(used, SharedTracerProvider) else "of the host"
        )
        yield Finding(CHECK, "ok", f"spans go to the tracer provider {whose}")
    elif isinstance(used, SharedTracerProvider) and is_unset(present):
        yield Finding(CHECK, "info", "spans go to a private tracer provider: spans of frameworks are not seen",
                      "let setup() make it the global one (set_global), or set a global one before")  # fmt: skip
    elif isinstance(used, SharedTracerProvider):
        yield Finding(CHECK, "warning", f"the global tracer provider is a {type(present).__name__}, set past "
                      "OpenTelemetry's own function: our spans do not go there",
                      "set it before setup(), or pass it: setup(tracer_provider=...)")  # fmt: skip
    else:
        yield Finding(CHECK, "ok", f"spans go to the {kind} that setup() was given")


def _log() -> Iterator[Finding]:
    sink = next((one for one in state.STATE.sinks if isinstance(one, JsonLogSink)), None)
    if sink is None or sink.own is None:
        return
    logger = logging.getLogger(CALL_LOGGER)
    level = logging.getLevelName(max(logger.manager.disable, logger.level))
    if logger.manager.disable >= logging.INFO:
        yield Finding(CHECK, "warning", f"logging.disable({level}) is in force: lines of calls are dropped and counted",
                      "take it back: logging.disable(logging.NOTSET)")  # fmt: skip
    elif logger.level > logging.INFO:
        yield Finding(CHECK, "warning", f"the logger {CALL_LOGGER} has level {level}: lines of successful calls are "
                      "not written", f"set the level of {CALL_LOGGER} to INFO")  # fmt: skip
    elif sink.replaced is not None and sink.own not in logging.getLogger().handlers:
        yield Finding(CHECK, "warning", "logging was configured after setup(logs='root'): only lines of calls are "
                      "formatted by us", "configure logging before setup()")  # fmt: skip
    else:
        yield Finding(CHECK, "ok", "lines of calls are written")
