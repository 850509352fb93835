"""Exporters by the names that the standard variables use: the SDK's, OTLP's, and whatever entry points offer."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from trisignal import _guard
from trisignal.export.fast_otlp import fast_otlp
from trisignal.export.standard_variables import PROTOCOLS, known

_GROUPS = {
    "TRACES": "opentelemetry_traces_exporter",
    "METRICS": "opentelemetry_metrics_exporter",
    "LOGS": "opentelemetry_logs_exporter",
}
PAGE = "prometheus"
"""Means the metrics page, which has every metric whether or not it is named."""


def variable(*names: str) -> str:
    """The first variable of several that has a text, stripped; "" where none has.

    Args:
        *names: Names of variables.
    """
    for name in names:
        value = os.environ.get(name, "").strip()
        if value:
            return value
    return ""


def exporters_of(signal: str, *, warn: bool = True) -> tuple[str, ...]:
    """Names of a signal's exporters, by its variable, or by an endpoint for it.

    The general endpoint switches traces on only: the same metrics would be in one backend twice where they are
    scraped as well.

    Args:
        signal: TRACES, METRICS or LOGS.
        warn: Warn of names that nobody knows; they are left out.
    """
    chosen = variable(f"OTEL_{signal}_EXPORTER")
    if not chosen:
        endpoints = [f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"]
        if signal == "TRACES":
            endpoints.append("OTEL_EXPORTER_OTLP_ENDPOINT")
        return ("otlp",) if variable(*endpoints) else ()
    names = []
    for name in filter(None, (part.strip() for part in chosen.split(","))):
        if name.lower() == "none" or (signal == "METRICS" and name.lower() == PAGE):
            continue
        if name.lower() in ("otlp", "console"):
            names.append(name.lower())
            continue
        found = next((one for one in known(_GROUPS[signal]) if one.lower() == name.lower()), "")
        if found:
            names.append(found)
        elif warn:
            offered = ", ".join(dict.fromkeys(("otlp", "console", "none", *known(_GROUPS[signal]))))
            _guard.warn(
                f"OTEL_{signal}_EXPORTER={chosen!r}: there is no exporter {name!r}, it is left out; allowed: {offered}",
                contained=True,
            )
    return tuple(dict.fromkeys(names))


def unknown_exporters(signal: str) -> tuple[str, ...]:
    """Names in a signal's variable that no exporter has.

    Args:
        signal: TRACES, METRICS or LOGS.
    """
    given = {part.strip().lower() for part in variable(f"OTEL_{signal}_EXPORTER").split(",")} - {"", "none"}
    offered = {"otlp", "console", *(name.lower() for name in known(_GROUPS[signal]))}
    return tuple(sorted(given - offered - ({PAGE} if signal == "METRICS" else set())))


def protocol(signal: str) -> str:
    """``grpc`` or ``http/protobuf``, by the standard variables of a signal.

    Args:
        signal: TRACES, METRICS or LOGS.
    """
    for name in (f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        chosen = variable(name).lower()
        if chosen in PROTOCOLS:
            return chosen
        if chosen.startswith("http"):
            return "http/protobuf"  # JSON goes to the same port, and there is no exporter for it
    return "grpc"


def build(signal: str, names: tuple[str, ...]) -> list[Any]:
    """Exporters of a signal; one that cannot be built is warned of and left out.

    Args:
        signal: TRACES, METRICS or LOGS.
        names: As `exporters_of` gives them.
    """
    built = []
    for name in names:
        try:
            built.append(_staying(_class(signal, name)()))
        except Exception as error:
            _guard.warn(
                f"the exporter {name!r} of {signal.lower()} cannot be built and is left out: "
                f"{type(error).__name__}: {error}",
                contained=True,
            )
    return built


def _staying(exporter: Any) -> Any:
    """Versions of OTLP's exporter that send with requests would follow a redirection, and take their headers along."""
    session: Any = getattr(exporter, "_session", None)
    if hasattr(session, "get_redirect_target"):
        session.get_redirect_target = lambda response: None
    return exporter


def _class(signal: str, name: str) -> Callable[[], Any]:
    if name == "otlp":
        return _OTLP[signal, protocol(signal)]
    if name == "console":
        return _CONSOLE[signal]
    from importlib.metadata import entry_points

    [point, *_] = entry_points(group=_GROUPS[signal], name=name)
    loaded: Callable[[], Any] = point.load()
    return loaded


def _grpc_traces() -> Any:
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    return fast_otlp(OTLPSpanExporter())


def _http_traces() -> Any:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return fast_otlp(OTLPSpanExporter())


def _grpc_metrics() -> Any:
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter

    return OTLPMetricExporter()


def _http_metrics() -> Any:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

    return OTLPMetricExporter()


def _grpc_logs() -> Any:
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter

    return OTLPLogExporter()


def _http_logs() -> Any:
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter

    return OTLPLogExporter()


def _console_traces() -> Any:
    from opentelemetry.sdk.trace.export import ConsoleSpanExporter

    return ConsoleSpanExporter()


def _console_metrics() -> Any:
    from opentelemetry.sdk.metrics.export import ConsoleMetricExporter

    return ConsoleMetricExporter()


def _console_logs() -> Any:
    from opentelemetry.sdk._logs.export import ConsoleLogRecordExporter

    return ConsoleLogRecordExporter()


_OTLP: dict[tuple[str, str], Callable[[], Any]] = {
    ("TRACES", "grpc"): _grpc_traces,
    ("TRACES", "http/protobuf"): _http_traces,
    ("METRICS", "grpc"): _grpc_metrics,
    ("METRICS", "http/protobuf"): _http_metrics,
    ("LOGS", "grpc"): _grpc_logs,
    ("LOGS", "http/protobuf"): _http_logs,
}
_CONSOLE: dict[str, Callable[[], Any]] = {"TRACES": _console_traces, "METRICS": _console_metrics, "LOGS": _console_logs}
