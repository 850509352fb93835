"""What is measured: each contender is a name and the way a user would set it up."""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Callable
from tempfile import mkdtemp
from typing import Any

from bench.sink import QUEUE, Sink

BARE, FLOOR, SMALL = "bare", "floor", "floor_prom"
PLAIN, LOG, OWN = "trisignal", "trisignal+log", "trisignal+own"
FILE, CONTENT, UNCUT, OWN_CONTENT = "trisignal+file", "trisignal+content", "trisignal+uncut", "own+content"
OFFICIAL_BARE, OFFICIAL, OFFICIAL_CONTENT = "official-bare", "official", "official+content"

WITH_CONTENT = frozenset({CONTENT, UNCUT, OWN_CONTENT, OFFICIAL_CONTENT})
"""Contenders that capture content; they make calls with the small and the large prompt only."""
OF_CONTENT = ("small", "large")
"""Commands of these."""

PEERS = (OFFICIAL, "langfuse", "openllmetry", "logfire")
"""Contenders that need an interpreter of their own; each has a bare one there, ``NAME-bare``."""


def peer_of(name: str) -> str:
    """The peer in whose interpreter a contender runs, or ""."""
    return next((peer for peer in PEERS if name.startswith(peer)), "")


def bare_of(name: str) -> str:
    """The contender without instrumentation in the same interpreter."""
    peer = peer_of(name)
    return f"{peer}-bare" if peer else BARE


def _none(sink: Sink) -> None:
    """Leave the client alone."""


def _floor(sink: Sink) -> None:
    from bench import floor

    floor.install(sink.tracer_provider.get_tracer("floor"))


def _small(sink: Sink) -> None:
    from bench import floor

    floor.install_small(sink.tracer_provider.get_tracer("floor"))


def _trisignal(sink: Sink, **settings: Any) -> None:
    import trisignal

    trisignal.setup(tracer_provider=sink.tracer_provider, **settings)
    trisignal.instrument("openai")


def _own(sink: Sink, **settings: Any) -> None:
    # What `setup()` builds where the host has no provider: its sampler, gate, queue, exporter and encoder.
    os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://127.0.0.1:9"
    os.environ["OTEL_EXPORTER_OTLP_PROTOCOL"] = "http/protobuf"
    os.environ["OTEL_BSP_MAX_QUEUE_SIZE"] = str(QUEUE)
    from trisignal.export import exporters

    build = exporters._OTLP["TRACES", "http/protobuf"]
    exporters._OTLP["TRACES", "http/protobuf"] = lambda: sink.drop_requests(build())

    import trisignal
    from trisignal.engine.state import STATE

    trisignal.setup(service_name="bench", **settings)
    trisignal.instrument("openai")
    sink.flush = STATE.tracer_provider.force_flush  # type: ignore[method-assign]  # its own queue


def _log(sink: Sink) -> None:
    # A device that drops what it gets: the line and its write are paid for, no disk is.
    _trisignal(sink, logs=logging.FileHandler(os.devnull))


def _file(sink: Sink) -> None:
    _trisignal(sink, logs=os.path.join(mkdtemp(prefix="bench-"), "calls.log"))


def _own_content(sink: Sink) -> None:
    _own(sink, capture_content=True)


def _content(sink: Sink) -> None:
    _trisignal(sink, capture_content=True)


def _uncut(sink: Sink) -> None:
    _trisignal(sink, capture_content=True, content_field_bytes=1 << 20, content_span_bytes=1 << 22)


def _official(sink: Sink, content: str = "no_content") -> None:
    os.environ["OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"] = content
    package = importlib.import_module("opentelemetry.instrumentation.genai.openai")
    package.OpenAIInstrumentor().instrument(
        tracer_provider=sink.tracer_provider,
        meter_provider=sink.meter_provider,
        logger_provider=sink.logger_provider,
    )


def _official_content(sink: Sink) -> None:
    _official(sink, "span_only")


def _langfuse(sink: Sink) -> None:
    langfuse: Any = importlib.import_module("langfuse")
    keys = {"public_key": "pk-bench", "secret_key": "sk-bench", "base_url": "http://127.0.0.1:9"}
    client = langfuse.Langfuse(**keys, span_exporter=sink.exporter)
    importlib.import_module("langfuse.openai")  # patches the client
    sink.flush = client.flush  # type: ignore[method-assign]  # its own queue


def _openllmetry(sink: Sink) -> None:
    os.environ["TRACELOOP_TRACE_CONTENT"] = "false"
    package: Any = importlib.import_module("opentelemetry.instrumentation.openai")
    package.OpenAIInstrumentor().instrument(tracer_provider=sink.tracer_provider, meter_provider=sink.meter_provider)


def _logfire(sink: Sink) -> None:
    logfire: Any = importlib.import_module("logfire")
    logfire.configure(
        send_to_logfire=False,
        console=False,
        inspect_arguments=False,
        additional_span_processors=[sink.processor],
        metrics=logfire.MetricsOptions(additional_readers=[sink.reader]),
    )
    logfire.instrument_openai()


SETUP: dict[str, Callable[[Sink], None]] = {
    BARE: _none,
    FLOOR: _floor,
    SMALL: _small,
    PLAIN: _trisignal,
    OWN: _own,
    LOG: _log,
    FILE: _file,
    CONTENT: _content,
    UNCUT: _uncut,
    OWN_CONTENT: _own_content,
    OFFICIAL: _official,
    OFFICIAL_CONTENT: _official_content,
    **{f"{peer}-bare": _none for peer in PEERS},
    "langfuse": _langfuse,
    "openllmetry": _openllmetry,
    "logfire": _logfire,
}
