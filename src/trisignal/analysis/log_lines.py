"""The call log as a source: JSON lines as trisignal writes them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from trisignal import semconv as names
from trisignal.analysis.memory_source import MemorySource
from trisignal.analysis.query import DIMENSIONS
from trisignal.analysis.rows import LogLine, SpanRow
from trisignal.analysis.source import Capabilities
from trisignal.errors import SourceError

MOST_LINES = 1_000_000
"""Lines that are read: a log larger than this is better asked elsewhere."""
_SPENT = frozenset(
    (
        names.USAGE_INPUT, names.USAGE_CACHE_READ, names.USAGE_CACHE_WRITE, names.USAGE_OUTPUT, names.USAGE_REASONING,
        names.COST_USD,
    )
)  # fmt: skip
_LONGEST = 1 << 22
"""Characters of one line."""
_ENTITY_OF = {
    names.INVOKE_AGENT: names.AGENT_NAME,
    names.CREATE_AGENT: names.AGENT_NAME,
    names.EXECUTE_TOOL: names.TOOL_NAME,
    names.INVOKE_WORKFLOW: names.WORKFLOW_NAME,
    names.RETRIEVAL: names.DATA_SOURCE_ID,
}
_ABLE = Capabilities(filters=frozenset(DIMENSIONS) - {"stage"}, scores=False, savings=False)
"""Evaluations, stages and what caches saved are on no line."""


def log_source(path: str | os.PathLike[str]) -> MemorySource:
    """Read a log file.

    Lines of the logger ``trisignal.calls`` are calls; other lines that carry a trace id are log lines of their
    trace; lines that are not JSON objects are counted and skipped.

    Args:
        path: A file of JSON lines.

    Raises:
        SourceError: It cannot be read.
    """
    name = os.fspath(path)
    spans: list[SpanRow] = []
    logs: list[LogLine] = []
    skipped = 0
    try:
        with open(name, encoding="utf-8", errors="replace") as file:
            for line in _lines(file):
                entry = _parse(line)
                if entry is None:
                    skipped += 1
                elif names.DURATION_S in entry and names.OPERATION in entry:
                    spans.append(_span(entry))
                elif entry.get("trace_id"):
                    logs.append(_log(entry))
    except OSError as error:
        raise SourceError(name, f"cannot be read ({error.strerror})") from None
    notes = ["the log has no stages, no evaluations and no spans of other instrumentations"]
    if skipped:
        notes.append(f"{skipped} lines are not JSON objects")
    return MemorySource(name, _rooted(spans), (), logs, capabilities=_ABLE, notes=tuple(notes))


def _lines(file: Any) -> Iterator[str]:
    for _ in range(MOST_LINES):
        line = file.readline(_LONGEST)
        if not line:
            return
        if line.strip():
            yield line


def _parse(line: str) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None


def _rooted(spans: list[SpanRow]) -> Iterator[SpanRow]:
    """A line whose parent has no line is the first of its request, as far as the log shows."""
    known = {(span.trace_id, span.span_id) for span in spans}
    for span in spans:
        yield replace(span, root=(span.trace_id, span.parent_span_id) not in known)


def _span(entry: Mapping[str, Any]) -> SpanRow:
    duration_s = _number(entry.get(names.DURATION_S)) or 0.0
    operation = _text(entry, names.OPERATION)
    if entry.get(names.SPAN_KIND) == "server":
        # Whoever called the model server has a line of its own, and pays.
        entry = {key: value for key, value in entry.items() if key not in _SPENT}
    counted = operation not in names.MODEL_CALLS_EXCLUDED and entry.get(names.SPAN_KIND) != "server"
    outcome = _text(entry, names.OUTCOME.replace(".", "_"), names.OUTCOME) or "ok"
    return SpanRow(
        trace_id=_text(entry, "trace_id"),
        span_id=_text(entry, "span_id"),
        parent_span_id=_text(entry, "parent_span_id"),
        name=_text(entry, "message").rpartition(f" {outcome} ")[0] or operation,
        start_unix_s=max(0.0, _unix_s(entry.get("timestamp")) - duration_s),
        duration_s=duration_s,
        operation=operation,
        service=_text(entry, "service.name", "service"),
        provider=_text(entry, names.PROVIDER),
        model=_text(entry, names.REQUEST_MODEL),
        response_model=_text(entry, names.RESPONSE_MODEL),
        outcome=outcome if outcome in ("ok", "error", "cancelled", "abandoned") else "error",
        error_kind=_text(entry, names.ERROR_KIND.replace(".", "_"), names.ERROR_KIND),
        error_type=_text(entry, names.ERROR_TYPE),
        entity=_text(entry, _ENTITY_OF.get(operation, "")),
        agent=_text(entry, names.AGENT_NAME),
        tenant=_text(entry, "tenant", names.DIMENSION_PREFIX + "tenant"),
        user_id=_text(entry, "user_id", names.USER_ID),
        request_id=_text(entry, "request_id", names.REQUEST_ID),
        conversation_id=_text(entry, "conversation_id", names.CONVERSATION_ID),
        prompt_name=_text(entry, "prompt_name", names.PROMPT_NAME),
        prompt_version=_text(entry, "prompt_version", names.PROMPT_VERSION),
        input_tokens=_count(entry.get(names.USAGE_INPUT)),
        cache_read_tokens=_count(entry.get(names.USAGE_CACHE_READ)),
        cache_write_tokens=_count(entry.get(names.USAGE_CACHE_WRITE)),
        output_tokens=_count(entry.get(names.USAGE_OUTPUT)),
        reasoning_tokens=_count(entry.get(names.USAGE_REASONING)),
        cost_usd=_number(entry.get(names.COST_USD)),
        first_token_s=_number(entry.get(names.TIME_TO_FIRST_TOKEN_S)),
        model_call=counted,
        sampled=entry.get("trace_flags") == "01",
        attributes=dict(entry),
    )


def _log(entry: Mapping[str, Any]) -> LogLine:
    known = ("timestamp", "level", "logger", "message", "trace_id", "span_id")
    return LogLine(
        _unix_s(entry.get("timestamp")),
        _text(entry, "level"),
        _text(entry, "logger"),
        _text(entry, "message"),
        _text(entry, "trace_id"),
        _text(entry, "span_id"),
        {key: value for key, value in entry.items() if key not in known},
    )


def _text(entry: Mapping[str, Any], *keys: str) -> str:
    return next((value for key in keys if isinstance(value := entry.get(key), str) and value), "")


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _unix_s(value: Any) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    try:
        return datetime.fromisoformat(str(value).replace("Z", "+00:00")).timestamp()
    except ValueError:
        return 0.0
