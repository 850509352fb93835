"""One trace: tree, waterfall, one of its spans in full, log lines."""

from __future__ import annotations

import json
from typing import NamedTuple

from markupsafe import Markup
from starlette.requests import Request

from trisignal import semconv as names
from trisignal.analysis.analyzer import TraceAnalyzer
from trisignal.analysis.answers import Node
from trisignal.analysis.rows import SpanRow
from trisignal.console import asked, charts, display
from trisignal.console.pages import Context, kind_of

DEEPEST_INDENT = 12
NOTABLE_SHARE = 0.2
"""Part of the whole time from which a span's own time stands out."""


class Bar(NamedTuple):
    """A row of the waterfall."""

    node: Node
    depth: int
    kind: str
    lane: Markup
    chosen: bool
    notable: bool
    """It holds a large part of the time itself."""


def trace(analyzer: TraceAnalyzer, request: Request) -> Context:
    """Tree and waterfall of one trace, one of its spans in full, and its log lines."""
    query = asked.read(request.query_params)
    found = analyzer.trace(request.path_params["trace_id"])
    nodes = list(found.nodes())
    wanted = request.query_params.get("span", "")
    chosen = next((node for _, node in nodes if node.span.span_id == wanted), None)
    chosen = chosen or max((node for _, node in nodes), key=lambda node: (node.span.model_call, node.self_s))
    whole = found.duration_s or 1.0
    bars = []
    for depth, node in nodes:
        span = node.span
        kind = kind_of(span.operation, span.model_call)
        first = None if span.first_token_s is None else (node.offset_s + span.first_token_s) / whole
        lane = charts.lane(f"kind-{kind}", node.offset_s / whole, span.duration_s / whole, first)
        bars.append(
            Bar(node, min(depth, DEEPEST_INDENT), kind, lane, node is chosen, node.self_s >= NOTABLE_SHARE * whole)
        )
    root = found.roots[0].span
    return {
        "asked": query,
        "trace": found,
        "root": root,
        "bars": bars,
        "ticks": [whole * part for part in (0.0, 0.25, 0.5, 0.75)],
        "chosen": chosen,
        "facts": facts_of(chosen.span),
        "parts": parts_of(chosen),
        "messages": messages_of(chosen.span),
        "attributes": sorted(chosen.span.attributes.items()),
    }


class PartsBar(NamedTuple):
    """Where a call's duration went: one bar, and what its colours mean."""

    picture: Markup
    legend: list[tuple[str, str, str]]
    """CSS class, name with duration, share."""


def parts_of(node: Node) -> PartsBar | None:
    """The parts of a call whose server reported times; None for all others."""
    if not node.parts:
        return None
    whole = sum(part.duration_s for part in node.parts)
    title = ", ".join(f"{part.name} {display.seconds(part.duration_s)}" for part in node.parts)
    return PartsBar(
        charts.stacked([(f"part-{part.name}", part.duration_s) for part in node.parts], title=title),
        [
            (f"part-{part.name}", f"{part.name} {display.seconds(part.duration_s)}", f"{part.duration_s / whole:.0%}")
            for part in node.parts
        ],
    )


def messages_of(span: SpanRow) -> list[tuple[str, str]]:
    """Role and text of the captured messages of a call, in their order; none where content is off.

    Args:
        span: With its attributes.
    """
    shown: list[tuple[str, str]] = []
    system = span.attributes.get(names.SYSTEM_INSTRUCTIONS)
    if system:
        shown.append(("system", _part(_parsed(system))))
    for key in (names.INPUT_MESSAGES, names.OUTPUT_MESSAGES):
        given = _parsed(span.attributes.get(key))
        for message in given if isinstance(given, list) else [given] if given else []:
            if isinstance(message, dict):
                role = str(message.get("role") or ("assistant" if key == names.OUTPUT_MESSAGES else "user"))
                shown.append((role, _part(message.get("parts", message.get("content", "")))))
            else:
                shown.append(("", str(message)))
    return shown


def _parsed(value: object) -> object:
    """Messages are JSON texts; one that was cut, or is none, is shown as it is."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _part(part: object) -> str:
    """A part of a message as text: what has none is written as JSON."""
    if isinstance(part, list):
        return "\n".join(filter(None, map(_part, part)))
    if isinstance(part, dict):
        text = part.get("content", part.get("text"))
        return text if isinstance(text, str) else json.dumps(part, ensure_ascii=False, default=str)
    return "" if part is None else str(part)


def facts_of(span: SpanRow) -> list[tuple[str, str]]:
    """What is known of a span, in the order in which people ask."""
    output = span.output_tokens or 0
    rest = span.duration_s - (span.first_token_s or 0.0)
    per_token = rest / (output - 1) if span.first_token_s is not None and output > 1 else None
    facts = [
        ("operation", span.operation),
        ("provider", span.provider),
        ("request model", span.model),
        ("response model", span.response_model),
        ("outcome", span.outcome),
        ("error", " · ".join(part for part in (span.error_kind, span.error_type) if part)),
        ("started", display.moment(span.start_unix_s)),
        ("duration", display.seconds(span.duration_s)),
        ("first token", "" if span.first_token_s is None else display.seconds(span.first_token_s)),
        ("per token", "" if per_token is None else display.seconds(per_token)),
        ("input · cached", _pair(span.input_tokens, span.cache_read_tokens)),
        ("output · reasoning", _pair(span.output_tokens, span.reasoning_tokens)),
        ("cost", "" if span.cost_usd is None else display.dollars(span.cost_usd)),
        ("cache saved", "" if not span.cache_saved_usd else display.dollars(span.cache_saved_usd)),
        ("agent", span.agent),
        ("tenant", span.tenant),
        ("user", span.user_id),
        ("request id", span.request_id),
        ("conversation", span.conversation_id),
        ("prompt", " ".join(part for part in (span.prompt_name, span.prompt_version) if part)),
        ("service", span.service),
        ("span id", span.span_id),
    ]
    return [(name, value) for name, value in facts if value]


def _pair(whole: int | None, part: int | None) -> str:
    if whole is None:
        return ""
    return display.count(whole) + ("" if part is None else f" · {display.count(part)}")
