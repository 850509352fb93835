"""One traffic of 2,000 traces and the questions that every source is asked about it."""

from __future__ import annotations

import dataclasses
import io
import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from math import isclose
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from analysis.planted import AFTER, BEFORE, PLANTS, traffic
from store.filled import NOW_S, hexadecimal, item, judged, many, writer

from trisignal import semconv as names
from trisignal.analysis import span_reading
from trisignal.analysis.analyzer import TraceAnalyzer
from trisignal.call import Call
from trisignal.logs.formatter import JsonFormatter
from trisignal.sinks.json_log import JsonLogSink
from trisignal.store.transaction import CallItem

TRACES = 2_000
_SINGLE = 1_600
SINCE: dict[str, Any] = {"since": NOW_S - 7200, "until": NOW_S + 60}
HOURS: dict[str, Any] = {"before": BEFORE, "after": AFTER}
_BOUND = ("tenant", "user_id", "request_id", "prompt_name", "prompt_version")


# --- the traffic ---------------------------------------------------------------------


def items() -> list[Any]:
    """Calls on their own, and requests with stages, a tool and a model that is slow in the second hour; some judged."""
    made: list[Any] = []
    for number, one in enumerate(many(_SINGLE)):
        alone = one._replace(trace_id=hexadecimal(0xABC000 + number, 32), span_id=hexadecimal(0xDEF000 + number, 16))
        made.append(item(exact(alone)))
        if number % 4 == 0:
            made.append(judged("faithfulness", number / _SINGLE, made[-1].call))
    plant, *_ = PLANTS["a model answers more slowly"]
    planted = traffic((TRACES - _SINGLE) // 2, plant, 11)
    made.extend(item(exact(one.call), one.parent) if isinstance(one, CallItem) else one for one in planted)
    return made


def exact(call: Call) -> Call:
    """A call to the microsecond, as some engines keep times, with the attributes that its span has."""
    usage, cost, times = call.usage, call.cost, call.chunk_times
    entity = span_reading.ENTITY_OF.get(call.operation, "")
    opening = {
        **({} if call.operation == names.STAGE else {names.OPERATION: call.operation}),
        **{key: value for key, value in ((names.PROVIDER, call.provider), (entity, call.name)) if key and value},
        **({names.REQUEST_MODEL: call.request_model} if call.request_model else {}),
        **{span_reading.TEXTS[key]: call.bound[key] for key in _BOUND if call.bound.get(key)},
        **{key: value for key, value in call.opening.items() if key.startswith(names.DIMENSION_PREFIX)},
    }
    closing: dict[str, Any] = {}
    if usage is not None:
        counts = {"input_tokens": usage.input, "cache_read_tokens": usage.cache_read, "output_tokens": usage.output}
        closing |= {span_reading.COUNTS[key]: value for key, value in counts.items() if value is not None}
    if cost is not None:
        closing[span_reading.COST] = cost.total_usd
    if times is not None:
        closing[names.TIME_TO_FIRST_TOKEN_S] = (times.first_token_ns - call.start_ns) / 1e9
    if call.error_type:
        closing[names.ERROR_TYPE] = call.error_type
    return call._replace(
        duration_s=round(call.duration_s, 6),
        start_unix_ns=call.start_unix_ns // 1000 * 1000,
        opening=opening,
        closing=closing,
    )


def fill(folder: Path, made: Sequence[Any]) -> None:
    """Store it, as two services whose requests come in turn."""
    targets = [writer(folder, service="shop"), writer(folder, service="worker")]
    for one in made:
        call = getattr(one, "call", None)
        trace_id = call.trace_id if call is not None else one.verdict.ref["trace_id"]
        targets[int(trace_id, 16) % 2].offer(one)
    for target in targets:
        target.close(60.0)


def log_file(path: Path, made: Sequence[Any]) -> None:
    """The call log of this traffic, by the sink and the formatter that write it."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(JsonFormatter())
    usual = logging.getLogRecordFactory()
    try:
        for one in made:
            if not isinstance(one, CallItem):
                continue
            call = one.call
            ended_s = call.start_unix_ns / 1e9 + call.duration_s
            logging.setLogRecordFactory(lambda *given, at_s=ended_s, **more: _dated(usual(*given, **more), at_s))
            logger = logging.Logger("trisignal.calls", logging.INFO)
            logger.addHandler(handler)
            parent = SimpleNamespace(span_id=one.parent) if one.parent else None
            service = ("shop", "worker")[int(call.trace_id, 16) % 2]
            JsonLogSink(logger, 1.0, service).close(SimpleNamespace(span=SimpleNamespace(parent=parent)), call)
    finally:
        logging.setLogRecordFactory(usual)
    path.write_text(text.getvalue(), encoding="utf-8")


def _dated(record: logging.LogRecord, at_s: float) -> logging.LogRecord:
    record.created = at_s
    return record


# --- the questions -------------------------------------------------------------------

Question = Callable[[TraceAnalyzer], Any]


def _late(made: TraceAnalyzer) -> str:
    return made.spans(of="requests", workflow="answer", limit=1, **SINCE).rows[0].trace_id


QUESTIONS: dict[str, Question] = {
    "slowest calls": lambda a: a.slowest(limit=12, **SINCE),
    "slowest calls of a percentile": lambda a: a.slowest(percentile=99, limit=50, model="large", **SINCE),
    "slowest requests": lambda a: a.slowest(of="requests", workflow="answer", limit=6, **SINCE),
    "slowest spans of one tool": lambda a: a.slowest(of="spans", tool="search", limit=6, **SINCE),
    "errors": lambda a: a.errors(**SINCE),
    "errors by tenant and type": lambda a: a.errors(("tenant", "error_type"), **SINCE),
    "errors of requests": lambda a: a.errors(("service", "error_kind"), of="requests", **SINCE),
    "cost by model": lambda a: a.cost(**SINCE),
    "cost by tenant and model": lambda a: a.cost(("tenant", "model"), **SINCE),
    "cost by user, the highest": lambda a: a.cost("user", limit=5, **SINCE),
    "cost by prompt version in steps": lambda a: a.cost(("prompt_version",), step_s=1800, **SINCE),
    "cost by a value of the context": lambda a: a.cost("context.feature", **SINCE),
    "cost of one provider": lambda a: a.cost(("service",), provider="anthropic", **SINCE),
    "totals with quantiles": lambda a: a.totals(("model",), quantiles=True, **SINCE),
    "totals in steps": lambda a: a.totals(("provider", "outcome"), step_s=900, **SINCE),
    "totals of requests": lambda a: a.totals(("service", "workflow"), of="requests", **SINCE),
    "totals of all spans": lambda a: a.totals(("operation", "tool"), of="spans", **SINCE),
    "totals by stage": lambda a: a.totals(("stage",), of="spans", **SINCE),
    "find a request": lambda a: a.find(request_id="r-77", **SINCE),
    "find a user of two tenants": lambda a: a.find(user="u-7", tenant=("a", "b"), limit=500, **SINCE),
    "find nobody": lambda a: a.find(user="nobody", **SINCE),
    "find by text": lambda a: a.find(text="R-777", **SINCE),
    "a trace": lambda a: a.trace(_late(a)),
    "spans from a page on": lambda a: a.spans(limit=20, offset=100, **SINCE),
    "spans by duration": lambda a: a.spans(of="spans", order="duration", min_duration_s=2.0, limit=50, **SINCE),
    "spans by cost": lambda a: a.spans(order="cost", limit=30, **SINCE),
    "spans by tokens": lambda a: a.spans(order="tokens", limit=30, **SINCE),
    "spans by first token": lambda a: a.spans(order="first_token", descending=False, limit=30, **SINCE),
    "spans of an outcome": lambda a: a.spans(outcome="cancelled", limit=100, **SINCE),
    "values of models": lambda a: a.values("model", **SINCE),
    "values of services": lambda a: a.values("service", **SINCE),
    "quality": lambda a: a.quality(("model",), threshold=0.3, **SINCE),
    "lowest quality": lambda a: a.lowest_quality(threshold=0.05, limit=10, **SINCE),
    "spans by quality": lambda a: a.spans(of="spans", order="quality", descending=False, limit=10, **SINCE),
    "what changed": lambda a: a.compare(**HOURS, workflow=None, prompt_name="answer"),
    "what changed in cost": lambda a: a.compare(**HOURS, measure="cost"),
    "what changed in errors": lambda a: a.compare(**HOURS, measure="error_rate", by=("tenant", "error_kind")),
}
NEEDS = {
    "quality": "scores",
    "lowest quality": "scores",
    "spans by quality": "scores",
    "find by text": "text",
}
"""Questions that a source may decline, and the capability that says so."""
OF_STAGES = (
    "slowest requests", "slowest spans of one tool", "totals of all spans", "totals by stage", "a trace",
)  # fmt: skip
"""Questions whose answers are about stages too."""
_QUANTILES = frozenset(("p50_s", "p95_s", "p99_s"))
_NEAR = 0.051
"""Quantiles are those of buckets this wide."""


# --- comparing -----------------------------------------------------------------------


def plain(answer: Any, without: frozenset[str]) -> Any:
    """An answer as plain values, less what it covers and the fields that a source does not have."""
    if dataclasses.is_dataclass(answer):
        return {
            field.name: plain(getattr(answer, field.name), without)
            for field in dataclasses.fields(answer)
            if field.name not in without
        }
    if isinstance(answer, (list, tuple)):
        return [plain(one, without) for one in answer]
    return answer.timestamp() if isinstance(answer, datetime) else answer


def differences(got: Any, expected: Any, path: str = "") -> Iterator[str]:
    """Where two plain answers differ; numbers may by a microsecond, or by a millionth of themselves."""
    if isinstance(expected, dict) and isinstance(got, dict):
        for key in sorted(expected.keys() | got.keys()):
            one, other = got.get(key), expected.get(key)
            if key not in _QUANTILES or one is None or other is None or not isclose(one, other, rel_tol=_NEAR):
                yield from differences(one, other, f"{path}.{key}")
    elif isinstance(expected, list) and isinstance(got, list):
        if len(got) != len(expected):
            yield f"{path}: {len(got)} items, not {len(expected)}"
        for index, (one, other) in enumerate(zip(got, expected)):
            yield from differences(one, other, f"{path}[{index}]")
    elif isinstance(expected, float) and isinstance(got, (int, float)):
        if not isclose(got, expected, rel_tol=1e-6, abs_tol=3e-6):
            yield f"{path}: {got}, not {expected}"
    elif got != expected:
        yield f"{path}: {got!r}, not {expected!r}"
