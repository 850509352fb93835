"""Starting without a line in the application: for `trisignal run` and `opentelemetry-instrument`.

Both end in `start`, early in every Python process of the application. What goes wrong is
reported in one line on stderr, and the application runs on without us.
"""

from __future__ import annotations

import atexit
import errno
import os
import shutil
import sys
from collections.abc import Collection
from glob import escape, glob
from typing import Any

from trisignal import clients
from trisignal.assembly.setup import setup
from trisignal.assembly.telemetry import add_sink, running
from trisignal.call import Call, Draft
from trisignal.errors import ConfigError
from trisignal.web import metrics_page
from trisignal.web.metrics_page import MULTIPROCESS_VARIABLES, serve_metrics

SWITCH = "TRISIGNAL_AUTO"
"""Variable that makes Python processes start trisignal: `FIRST` at first, then `INHERITED`."""
FIRST = "1"
INHERITED = "child"
"""Value of `SWITCH` below a process in which trisignal is active."""
PORT_VARIABLE = "TRISIGNAL_METRICS_PORT"
"""Variable with the loopback port of the metrics page; without it none is served."""
SERVING = "TRISIGNAL_METRICS_SERVING"
"""Variable that reports child processes that a process above them serves the page."""
DIRECTORY_VARIABLE = "TRISIGNAL_METRICS_DIRECTORY"
"""Variable with the multiprocess directory that `trisignal run` made, and that goes with it."""


def start(**providers: Any) -> None:
    """Set up from the environment, instrument every client, serve the metrics page.

    Args:
        **providers: Objects for `trisignal.setup`, where the host has some.
    """
    fresh = running() is None
    telemetry = setup(**providers)
    if fresh:
        telemetry.automatic = True
    clients.instrument()
    port = _port()
    if port and not telemetry.settings.disabled:
        _serve(port)


def complain(line: str) -> None:
    """Say it to the user in one line on stderr."""
    if sys.stderr is not None:
        sys.stderr.write(f"trisignal: {' '.join(line.split())}\n")


def _port() -> int:
    port = os.environ.get(PORT_VARIABLE, "").strip()
    if not port:
        return 0
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise ConfigError(PORT_VARIABLE, port, "a TCP port, 1 to 65535", "environment")
    return int(port)


def _serve(port: int) -> None:
    """The first process of a family serves; the others are seen there in multiprocess mode only."""
    try:
        page = serve_metrics(port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE and os.environ.get(SERVING):
            _warn_of_lost_calls(port)
        else:
            why = error.strerror or str(error)
            complain(f"no metrics page: cannot listen on port {port} ({why}); choose another with {PORT_VARIABLE}")
        return
    os.environ[SERVING] = page.url
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: _warn_of_lost_calls(port))
    directory = os.environ.get(DIRECTORY_VARIABLE)
    if directory:
        metrics_page.before_scrape.append(lambda: _forget_ended(directory))
        atexit.register(_remove, directory, os.getpid())


def _remove(directory: str, owner: int) -> None:
    # Forked children inherit what is to be done at exit.
    if os.getpid() == owner:
        shutil.rmtree(directory, ignore_errors=True)


def _forget_ended(directory: str) -> None:
    """Calls in flight of a process that has ended are none."""
    for path in glob(os.path.join(escape(directory), "gauge_live*_*.db")):
        pid = path.rpartition("_")[2].removesuffix(".db")
        if pid.isdecimal() and not _is_alive(int(pid)):
            os.unlink(path)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _warn_of_lost_calls(port: int) -> None:
    if not any(os.environ.get(name) for name in MULTIPROCESS_VARIABLES):
        add_sink(_Unseen(port))


class _Unseen:
    """Says once that the metrics page does not show the calls of this process."""

    name = "unseen"

    def __init__(self, port: int) -> None:
        self._port = port
        self._told = False

    def open(self, draft: Draft) -> None:
        """Nothing is lost yet."""

    def close(self, draft: Draft, call: Call) -> None:
        """A call has ended."""
        if call.model_call and not self._told:
            self._told = True
            complain(
                f"the page on port {self._port} does not show the calls of process {os.getpid()}: "
                f"use trisignal run --multiprocess, or set {MULTIPROCESS_VARIABLES[0]}"
            )


class Instrumentor:
    """What ``opentelemetry-instrument`` finds under the entry point ``opentelemetry_instrumentor``.

    It has the methods of ``opentelemetry.instrumentation.instrumentor.BaseInstrumentor``,
    whose package is not a dependency of ours. The providers that the command has configured by
    then are used: spans, pushed metrics and log events go where everything else goes.
    """

    @property
    def is_instrumented_by_opentelemetry(self) -> bool:
        """Whether trisignal is set up."""
        return running() is not None

    def instrumentation_dependencies(self) -> Collection[str]:
        """Nothing has to be installed: clients that are there are patched when they are imported."""
        return ()

    def instrument(self, **options: Any) -> None:
        """Start trisignal; a failure is reported and never raised, as it would stop other instrumentations.

        Args:
            **options: ``tracer_provider``, ``meter_provider`` and ``logger_provider`` are used
                in place of the global ones; others are ignored.
        """
        try:
            given = {key: value for key, value in options.items() if key in _PROVIDERS and value is not None}
            start(**{**_global_providers(), **given})
        except Exception as error:
            complain(f"not active: {error}")

    def uninstrument(self, **options: Any) -> None:
        """Undo `instrument`.

        Args:
            **options: Ignored.
        """
        clients.uninstrument()
        telemetry = running()
        if telemetry is not None:
            telemetry.shutdown()


_PROVIDERS = frozenset({"tracer_provider", "meter_provider", "logger_provider"})


def _global_providers() -> dict[str, Any]:
    """The providers that are set already; `setup` finds the tracer provider by itself."""
    from opentelemetry import _logs, metrics
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk.metrics import MeterProvider

    found: dict[str, Any] = {}
    meters, loggers = metrics.get_meter_provider(), _logs.get_logger_provider()
    if isinstance(meters, MeterProvider):
        found["meter_provider"] = meters
    if isinstance(loggers, LoggerProvider):
        found["logger_provider"] = loggers
    return found
