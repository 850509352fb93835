"""Recorded spans of other instrumentations, made again on a provider of the real SDK."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import SpanKind, Status, StatusCode, TracerProvider

FOLDER = Path(__file__).parent.parent / "fixtures" / "spans"
EMITTERS = sorted(path.stem for path in FOLDER.glob("*.json"))
BASE_NS = 1_700_000_000_000_000_000


def recording(emitter: str) -> dict[str, Any]:
    """What ``scripts/record_spans.py`` wrote for one emitter."""
    found: dict[str, Any] = json.loads((FOLDER / f"{emitter}.json").read_text(encoding="utf-8"))
    return found


def replay(emitter: str, provider: TracerProvider) -> None:
    """Start and end the recorded spans in their order, at their times, with their parents."""
    spans = recording(emitter)["spans"]
    moments = [(span["start"], 1, -span["id"], span) for span in spans]
    # A span of no duration starts before it ends; of spans that end together the inner one does so first.
    moments += [(span["end"], 2, span["id"], span) for span in spans]
    live: dict[int, Any] = {}
    for at, phase, _, told in sorted(moments, key=lambda moment: moment[:3]):
        if phase == 1:
            live[told["id"]] = _start(provider, told, live.get(told["parent"]), BASE_NS + at)
        else:
            _end(live[told["id"]], told, BASE_NS + at)


def _start(provider: TracerProvider, told: dict[str, Any], parent: Any, at: int) -> Any:
    context = trace.set_span_in_context(parent if parent is not None else trace.INVALID_SPAN)
    tracer = provider.get_tracer(told["scope"])
    return tracer.start_span(told["name"], context, SpanKind[told["kind"]], told["attributes"], start_time=at)


def _end(span: Any, told: dict[str, Any], at: int) -> None:
    for event in told["events"]:
        span.add_event(event["name"], event["attributes"], BASE_NS + event["time"])
    if told["status"] != "UNSET":
        span.set_status(Status(StatusCode[told["status"]], told["description"]))
    span.end(at)
