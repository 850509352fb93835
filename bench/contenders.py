"""What is measured: each contender is a name and the way a user would set it up."""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Callable
from typing import Any

from bench.sink import Sink

BARE, FLOOR, PLAIN, LOG = "bare", "floor", "trisignal", "trisignal+log"
CONTENT, UNCUT = "trisignal+content", "trisignal+uncut"
OFFICIAL_BARE, OFFICIAL, OFFICIAL_CONTENT = "official-bare", "official", "official+content"

WITH_CONTENT = frozenset({CONTENT, UNCUT, OFFICIAL_CONTENT})
"""Contenders that capture content; they run the large prompt only."""


def bare_of(name: str) -> str:
    """The contender without instrumentation in the same interpreter."""
    return OFFICIAL_BARE if name.startswith(OFFICIAL) else BARE


def _none(sink: Sink) -> None:
    """Leave the client alone."""


def _floor(sink: Sink) -> None:
    from bench import floor

    floor.install(sink.tracer_provider.get_tracer("floor"))


def _trisignal(sink: Sink, **settings: Any) -> None:
    import trisignal

    trisignal.setup(tracer_provider=sink.tracer_provider, **settings)
    trisignal.instrument("openai")


def _log(sink: Sink) -> None:
    # A device that drops what it gets: the line and its write are paid for, no disk is.
    _trisignal(sink, logs=logging.FileHandler(os.devnull))


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


SETUP: dict[str, Callable[[Sink], None]] = {
    BARE: _none,
    FLOOR: _floor,
    PLAIN: _trisignal,
    LOG: _log,
    CONTENT: _content,
    UNCUT: _uncut,
    OFFICIAL_BARE: _none,
    OFFICIAL: _official,
    OFFICIAL_CONTENT: _official_content,
}
