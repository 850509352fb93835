"""Whether what is to be sent arrives, and whether it leaves through the redaction gate."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from opentelemetry.util.re import parse_env_headers

from trisignal.errors import ConfigError
from trisignal.export.exporters import exporters_of, protocol, unknown_exporters
from trisignal.export.redaction_gate import RedactingExporter
from trisignal.export.standard_variables import malformed
from trisignal.operate.doctor.findings import Finding
from trisignal.operate.doctor.machine import clock
from trisignal.operate.scrape import Unreachable, fetch

CHECK = "export"
_DEFAULTS = {"grpc": "http://localhost:4317", "http/protobuf": "http://localhost:4318"}
_SERVICES = {"TRACES": "trace.v1.Trace", "METRICS": "metrics.v1.Metrics", "LOGS": "logs.v1.Logs"}
_DEEPEST = 8
_OFF, _BY_RATIO = ("always_off", "parentbased_always_off"), ("traceidratio", "parentbased_traceidratio")
_ZERO = re.compile(r"[+-]?0*\.?0*")
_NOTHING = re.compile(r"^(Recording\{)?(ParentBased\{root:)?(?P<which>AlwaysOffSampler|TraceIdRatioBased\{0(\.0*)?\})")
"""How samplers describe themselves that keep no trace which begins here."""


class Target(NamedTuple):
    """Where one signal goes."""

    signal: str
    protocol: str
    url: str


def check(provider: object, timeout_s: float) -> Iterator[Finding]:
    """Ask every endpoint that the environment names, then look at the exporters of this process.

    Args:
        provider: The tracer provider in use.
        timeout_s: How long to wait for each endpoint, in seconds.
    """
    for wrong in malformed():
        yield Finding(CHECK, "warning", str(wrong), f"correct or unset {wrong.name}")
    sent = False
    for signal in _SERVICES:
        unknown = unknown_exporters(signal)
        if unknown:
            yield Finding(CHECK, "warning", f"OTEL_{signal}_EXPORTER names exporters that are not installed: "
                          f"{', '.join(unknown)}", "correct the variable, or install their package")  # fmt: skip
        try:
            target = target_of(signal)
        except ConfigError as error:
            yield Finding(CHECK, "error", str(error), "correct the variable: setup() raises the same")
            continue
        if target is not None:
            sent = True
            yield from _ask(target, timeout_s)
    found = list(gates(provider))
    if sent or found:
        yield from _sampled(provider)
    if not sent and not found:
        yield Finding(CHECK, "info", "no OTLP endpoint is set: spans have ids, and are not sent",
                      "set OTEL_EXPORTER_OTLP_ENDPOINT to send them")  # fmt: skip
    yield from found


def target_of(signal: str) -> Target | None:
    """Where a signal goes by the standard variables; None when it is not sent.

    Args:
        signal: TRACES, METRICS or LOGS.
    """
    if "otlp" not in exporters_of(signal, warn=False):
        return None
    chosen = protocol(signal)
    own = os.environ.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT", "").strip()
    if own:
        return Target(signal, chosen, own)
    base = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").strip() or _DEFAULTS[chosen]
    return Target(signal, chosen, base if chosen == "grpc" else f"{base.rstrip('/')}/v1/{signal.lower()}")


def _headers(signal: str) -> dict[str, str]:
    own = os.environ.get(f"OTEL_EXPORTER_OTLP_{signal}_HEADERS", "")
    return dict(parse_env_headers(own or os.environ.get("OTEL_EXPORTER_OTLP_HEADERS", ""), liberal=True))


def _ask(target: Target, timeout_s: float) -> Iterator[Finding]:
    where = f"{target.signal.lower()} to {_without_secrets(target.url)} ({target.protocol})"
    if target.protocol == "grpc":
        wrong, said = _grpc(target, timeout_s)
        ahead_s = None
    else:
        wrong, said, ahead_s = _http(target, timeout_s)
    if wrong:
        yield Finding(CHECK, "error", f"{where}: {wrong}", f"{_remedy(wrong)}; until then what is queued is dropped")
    else:
        yield Finding(CHECK, "ok", f"{where}: an empty message was answered with {said}")
    yield from clock(_without_secrets(target.url), ahead_s)


def _remedy(wrong: str) -> str:
    if any(f"it answered {code}" in wrong for code in ("401", "403", "UNAUTHENTICATED", "PERMISSION_DENIED")):
        return "it refuses the key: correct OTEL_EXPORTER_OTLP_HEADERS"
    if any(f"it answered {code}" in wrong for code in ("404", "405", "UNIMPLEMENTED")):
        return "it takes no telemetry there: correct the path of the endpoint, or OTEL_EXPORTER_OTLP_PROTOCOL"
    return ("start the collector, or correct the endpoint, its port (gRPC 4317, HTTP 4318) or "
            "OTEL_EXPORTER_OTLP_PROTOCOL")  # fmt: skip


def _without_secrets(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()


def _http(target: Target, timeout_s: float) -> tuple[str, str, float | None]:
    headers = {"Content-Type": "application/x-protobuf", **_headers(target.signal)}
    try:
        answer = fetch(target.url, headers, body=b"", timeout_s=timeout_s)
    except Unreachable as error:
        return f"no answer ({error.why})", "", None
    except ConfigError:
        return "no http or https address", "", None
    # Some receivers refuse an empty message: they are there all the same.
    good = 200 <= answer.status < 300 or answer.status == 400
    return ("" if good else f"it answered {answer.status}"), str(answer.status), answer.ahead_s


def _grpc(target: Target, timeout_s: float) -> tuple[str, str]:
    import grpc  # type: ignore[import-untyped,unused-ignore]  # it has none of its own

    url = target.url if "://" in target.url else f"http://{target.url}"
    parts = urlsplit(url)
    with _channel(grpc, parts.netloc, parts.scheme == "https") as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=timeout_s)
            export = channel.unary_unary(
                f"/opentelemetry.proto.collector.{_SERVICES[target.signal]}Service/Export",
                request_serializer=bytes, response_deserializer=bytes,
            )  # fmt: skip
            metadata = [(name.lower(), value) for name, value in _headers(target.signal).items()]
            export(b"", timeout=timeout_s, metadata=metadata)
        except grpc.FutureTimeoutError:
            return f"no gRPC answer within {timeout_s:g} s", ""
        except grpc.RpcError as error:
            code, details = (getattr(error, name, lambda: None)() for name in ("code", "details"))
            name = getattr(code, "name", "an error")
            if name == "INVALID_ARGUMENT":
                return "", name
            return f"it answered {name}: {details}", ""
    return "", "OK"


def _channel(grpc: Any, where: str, secure: bool) -> Any:
    if not secure:
        return grpc.insecure_channel(where)
    roots = os.environ.get("OTEL_EXPORTER_OTLP_CERTIFICATE", "")
    certificate = None
    if roots and os.path.isfile(roots):
        with open(roots, "rb") as file:
            certificate = file.read()
    return grpc.secure_channel(where, grpc.ssl_channel_credentials(certificate))


def _sampled(provider: object) -> Iterator[Finding]:
    """Whether a sampler drops everything; a provider that is none of the SDK's will be made as the variables say."""
    described_by = getattr(getattr(provider, "sampler", None), "get_description", None)
    if callable(described_by):
        nothing = _NOTHING.search(str(described_by()))
        none, described = nothing is not None, nothing["which"] if nothing else ""
    else:
        described = os.environ.get("OTEL_TRACES_SAMPLER", "").strip().lower()
        share = os.environ.get("OTEL_TRACES_SAMPLER_ARG", "").strip()
        none = described in _OFF or (described in _BY_RATIO and bool(_ZERO.fullmatch(share or "1")))
    if none:
        yield Finding(CHECK, "error", f"the sampler drops every trace ({described}): no span is sent",
                      "raise trace_sample_ratio, or correct OTEL_TRACES_SAMPLER and its argument")  # fmt: skip


def gates(provider: object) -> Iterator[Finding]:
    """Whether each span exporter of a tracer provider is behind the redaction gate."""
    for exporter in _exporters(getattr(provider, "_active_span_processor", None), 0):
        name = type(exporter).__name__
        if isinstance(exporter, RedactingExporter):
            yield Finding(CHECK, "ok", f"{type(exporter.inner).__name__} is behind the redaction gate")
        else:
            yield Finding(
                CHECK, "warning",
                f"{name} is not behind the redaction gate: spans of other libraries leave as they are",
                f"trisignal.redacting({name}(...)) where you make it",
            )  # fmt: skip


def _exporters(node: Any, depth: int) -> Iterator[Any]:
    # The SDK has no public way from a provider to its exporters; the names differ between versions.
    if node is None or depth > _DEEPEST:
        return
    for name in ("span_exporter", "_exporter"):
        exporter = getattr(node, name, None)
        if exporter is not None:
            yield exporter
            return
    yield from _exporters(getattr(node, "_batch_processor", None), depth + 1)
    for inner in getattr(node, "_span_processors", ()):
        yield from _exporters(inner, depth + 1)
