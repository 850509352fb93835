"""The call log: where its lines go, so that they go on whatever the host does to logging afterwards."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from trisignal import _guard
from trisignal.assembly.telemetry import Telemetry
from trisignal.errors import ConfigError
from trisignal.export.log_file import LogFile, check_writable
from trisignal.export.log_stream import LogStream, write_line
from trisignal.export.losses import lost
from trisignal.sinks import Sink
from trisignal.sinks.json_log import JsonLogSink

if TYPE_CHECKING:
    from trisignal.sinks.console import ConsoleLine

CALL_LOGGER = "trisignal.calls"


def sinks(telemetry: Telemetry, given: logging.Handler | None) -> list[Sink]:
    """The sinks of the call log; what they change is undone by shutdown.

    Args:
        telemetry: Handle of the setup() that is being built.
        given: A handler of the user's.

    Raises:
        ConfigError: The log file cannot be written to.
    """
    settings, ratio = telemetry.settings, telemetry.settings.log_sample_ratio
    if settings.logs == "emf" and ratio < 1:
        allowed = "1 with logs='emf', whose metrics are those of the lines"
        raise ConfigError("log_sample_ratio", ratio, allowed, telemetry.sources.get("log_sample_ratio", "argument"))
    log = JsonLogSink(logging.getLogger(CALL_LOGGER), ratio, telemetry.service)
    if settings.logs == "console" and given is None:
        from trisignal.sinks.console import ConsoleSink

        console = ConsoleSink(_print, ratio)
        telemetry.undo.append(console.flush)
        return [log, console]
    handler = _own_handler(telemetry) if given is None else given
    if handler is not None:
        _attach(telemetry, handler, closes=given is None)
        log.own, log.direct = handler, _direct(handler)
        log.silenced = partial(lost, "call_log")
        if settings.logs == "root":
            log.replaced = partial(
                _guard.warn,
                "logging was configured after setup(logs='root'), which took our handler from the root logger: calls "
                "are logged as before, other lines of the application are not; configure logging first",
                contained=True,
            )
    return [log]


def _direct(handler: logging.Handler) -> Callable[[int, str, Mapping[str, Any]], bool]:
    # As in `_attach`.
    from trisignal.sinks._direct_line import DirectLine

    return DirectLine(logging.getLogger(CALL_LOGGER), handler).write


def _own_handler(telemetry: Telemetry) -> logging.Handler | None:
    target = telemetry.settings.logs
    if not target:
        return None
    if target in ("stderr", "root"):
        return LogStream("stderr")
    if target in ("stdout", "emf"):
        return LogStream("stdout")
    check_writable(target, telemetry.sources.get("logs", "argument"))
    return LogFile(target)


def _attach(telemetry: Telemetry, handler: logging.Handler, *, closes: bool) -> None:
    # Its base takes milliseconds to import, which a process without call logs can spare.
    from trisignal.logs import ContextFilter, EmfFormatter, JsonFormatter

    calls = logging.getLogger(CALL_LOGGER)
    logger = logging.getLogger() if telemetry.settings.logs == "root" else calls
    context = ContextFilter()
    formatter, level = handler.formatter, calls.level
    if formatter is None:
        fields = {"service.name": telemetry.service} if telemetry.service else {}
        settings = telemetry.settings
        if settings.logs == "emf":
            handler.setFormatter(
                EmfFormatter(
                    redactor=telemetry.redactor,
                    static_fields=fields,
                    namespace=settings.emf_namespace,
                    dimensions=settings.metric_dimensions,
                    most=settings.max_label_sets,
                )
            )
        else:
            handler.setFormatter(JsonFormatter(redactor=telemetry.redactor, static_fields=fields))
    handler.addFilter(context)
    logger.addHandler(handler)
    if level == logging.NOTSET:
        calls.setLevel(logging.INFO)

    def undo() -> None:
        logger.removeHandler(handler)
        handler.removeFilter(context)
        handler.setFormatter(formatter)
        calls.setLevel(level)
        if closes:
            handler.close()

    telemetry.undo.append(undo)


def _print(lines: list[ConsoleLine]) -> None:
    from trisignal.sinks.console import render

    write_line("stderr", render(lines, color=_is_terminal()))


def _is_terminal() -> bool:
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    try:
        return bool(sys.stderr.isatty())
    except (AttributeError, ValueError):  # there is no stderr, or it is closed
        return False
