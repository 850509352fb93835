"""How the demo looks in a terminal: three panels that share one trace id, and a table of all calls."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from io import StringIO
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from trisignal import semconv as names
from trisignal.cli._demo_calls import MetricLine, Shown, label
from trisignal.cli._terminal import plain

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

    from trisignal.call import Call

SIDE_BY_SIDE = 96
"""Columns from which the span stands beside the log line."""
_AIRY = 108
_ROOMY = 88

# Reversed, so that it is seen without colours too.
_TRACE = "bold reverse yellow"
_SPAN = "bold yellow"
_KEY, _TEXT, _NUMBER, _QUIET = "cyan", "green", "magenta", "dim"
_OUTCOMES = {"ok": "green", "error": "bold red", "cancelled": "yellow", "abandoned": "yellow"}


def show(console: Console, shown: Shown, *, serving: bool) -> None:
    """Print the demo.

    Args:
        console: Where to; panels are stacked where it is narrow.
        shown: What to print.
        serving: The metrics page stays up, so do not suggest it.
    """
    console.print(_heading(shown), end="\n\n")
    span = _panel("span", "OpenTelemetry, GenAI conventions", "cyan", _span(shown))
    log = _panel("log line", "logger trisignal.calls, unfolded", "green", _log(shown))
    if console.width >= SIDE_BY_SIDE:
        console.print(_beside(console, span, log))
    else:
        console.print(span)
        console.print(log)
    console.print(_panel("/metrics", "OpenMetrics, with exemplars", "magenta", _metrics(shown)))
    console.print(_panel("calls", "all of this run; in and out are tokens", "blue", _table(shown, console.width)))
    console.print(_ending(shown, serving))


def svg(shown: Shown, columns: int) -> str:
    """The demo as a self-contained picture.

    Args:
        shown: What to draw.
        columns: Width of the terminal to draw.
    """
    console = Console(
        record=True, width=columns, file=StringIO(), force_terminal=True, color_system="truecolor",
        legacy_windows=False, highlight=False,
    )  # fmt: skip
    show(console, shown, serving=False)
    drawn = console.export_svg(title="trisignal demo", unique_id="demo")
    # As it is, the picture loads its font from elsewhere.
    drawn = re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL)
    return drawn.replace("Fira Code", "DejaVu Sans Mono, Menlo, Consolas")


def _panel(name: str, origin: str, colour: str, content: RenderableType) -> Panel:
    title = Text.assemble((name, f"bold {colour}"), ("  " + origin, _QUIET))
    return Panel(content, title=title, title_align="left", border_style=colour, box=box.ROUNDED)


def _beside(console: Console, left: Panel, right: Panel) -> Table:
    """Two panels of one height."""
    width = (console.width - 1) // 2
    options = console.options.update(width=width)
    left.height = right.height = max(len(console.render_lines(panel, options)) for panel in (left, right))
    left.width, right.width = width, console.width - 1 - width
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_row(left, right)
    return grid


def _heading(shown: Shown) -> Text:
    return Text.assemble(
        ("trisignal demo", "bold"),
        (f"   the real client ({shown.client}) called a provider on this machine ({shown.base_url}).\n", ""),
        ("One of its calls in three signals, joined by trace ", ""),
        (shown.call.trace_id, _TRACE),
        (" and span ", ""),
        (shown.call.span_id, _SPAN),
    )


# --- the three signals ---------------------------------------------------------------


def _span(shown: Shown) -> RenderableType:
    tree = Table.grid(padding=(0, 1), expand=True)
    tree.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    tree.add_column(justify="right", no_wrap=True)
    for guide, span in _walk(shown.trace):
        chosen = span is shown.span
        took_ms = ((span.end_time or 0) - (span.start_time or 0)) / 1e6
        name = Text.assemble((guide, _QUIET), (plain(span.name), _SPAN if chosen else ""))
        tree.add_row(name, Text(f"{took_ms:.0f} ms", _SPAN if chosen else _QUIET))
    facts = Text.assemble(("trace_id ", _KEY), (shown.call.trace_id, _TRACE), ("\nspan_id ", _KEY))
    facts.append(shown.call.span_id, _SPAN)
    for key, value in (shown.span.attributes or {}).items():
        facts.append(f"\n{plain(key)} ", _KEY).append(*_value(value))
    return Group(tree, Rule(style=_QUIET), facts)


def _walk(trace: list[ReadableSpan]) -> Iterator[tuple[str, ReadableSpan]]:
    """Spans from the root down, each with the lines that lead to it."""
    children: dict[int | None, list[ReadableSpan]] = {}
    for span in trace:
        children.setdefault(span.parent.span_id if span.parent is not None else None, []).append(span)

    def below(parent: int | None, lead: str) -> Iterator[tuple[str, ReadableSpan]]:
        found = children.get(parent, [])
        for span in found:
            last = span is found[-1]
            branch = "" if parent is None else "└─ " if last else "├─ "
            yield lead + branch, span
            further = "" if parent is None else "   " if last else "│  "
            yield from below(span.context.span_id if span.context is not None else -1, lead + further)

    return below(None, "")


def _log(shown: Shown) -> Text:
    text = Text("{")
    for place, (key, value) in enumerate(shown.log.items()):
        text.append("," if place else "").append(f'\n "{plain(key)}": ', _KEY).append(*_value(value))
    text.append("}")
    return _marked(text, shown)


def _value(value: Any) -> tuple[str, str]:
    if isinstance(value, tuple):
        value = list(value)
    written = plain(json.dumps(value, ensure_ascii=False))
    return written, _NUMBER if isinstance(value, (int, float)) else _TEXT


def _metrics(shown: Shown) -> Text:
    shared = tuple(label(name) for name in names.R)
    left_out = (*(label(name) for name in names.COMMON), label(names.ERROR_TYPE))
    labels = ", ".join(f'{name}="{shown.metrics[0].labels[name]}"' for name in shared)
    text = Text.assemble((f"… {labels} and more", _QUIET))
    for line in shown.metrics:
        text.append("\n").append_text(_metric(line, left_out))
    return _marked(text, shown)


def _metric(line: MetricLine, left_out: tuple[str, ...]) -> Text:
    text = Text.assemble((line.name, "bold"), ("{…", _QUIET))
    for name, value in line.labels.items():
        if name not in left_out:
            text.append(f",{name}=", _KEY).append(f'"{plain(value)}"', _TEXT)
    text.append("} ", _QUIET).append(line.value, _NUMBER)
    if line.exemplar:
        ids_and_value, _, _time = line.exemplar.rpartition(" ")
        text.append("\n   # ", _QUIET).append(ids_and_value)
    return text


def _marked(text: Text, shown: Shown) -> Text:
    """The ids look the same wherever they are."""
    text.highlight_words([shown.call.trace_id], _TRACE)
    text.highlight_words([shown.call.span_id], _SPAN)
    return text


# --- all calls -----------------------------------------------------------------------


def _table(shown: Shown, columns: int) -> Table:
    roomy, gap = columns >= _ROOMY, 2 if columns >= _AIRY else 1
    table = Table(box=None, expand=True, pad_edge=False, padding=(0, gap, 0, 0), header_style=_QUIET)
    if roomy:
        table.add_column("operation", no_wrap=True)
    table.add_column("request model", overflow="ellipsis")
    table.add_column("outcome", no_wrap=True)
    for heading in ("in", "out", "cost", "TTFT"):
        table.add_column(heading, justify="right", no_wrap=True)
    if roomy:
        table.add_column("took", justify="right", no_wrap=True)
        table.add_column("", style=_QUIET, ratio=1, overflow="fold")
    for call in shown.calls:
        usage, first = call.usage, call.closing.get(names.TIME_TO_FIRST_TOKEN_S)
        cells: list[RenderableType] = [
            Text(plain(call.request_model)),
            Text(call.outcome, _OUTCOMES[call.outcome]),
            _count(None if usage is None else usage.input),
            _count(None if usage is None else usage.output),
            "–" if call.cost is None else f"${call.cost.total_usd:.8f}",
            f"{first * 1e3:.0f} ms" if isinstance(first, float) else "–",
        ]
        if roomy:
            cells = [Text(plain(call.operation)), *cells, f"{call.duration_s * 1e3:.0f} ms", Text(plain(_remark(call)))]
        table.add_row(*cells, style="bold" if call is shown.call else "")
    return table


def _count(tokens: int | None) -> str:
    return "–" if tokens is None else f"{tokens:,}"


def _remark(call: Call) -> str:
    found: list[str] = []
    if call.outcome == "abandoned":
        found.append("stream left early")
    found += [f"{times} retry: {kind}" for kind, times in Counter(call.retries).items()]
    if call.error_kind is not None:
        found.append(call.error_kind)
    if call.usage is not None and call.usage.reasoning:
        found.append(f"{call.usage.reasoning:,} reasoning")
    return ", ".join(found)


def _ending(shown: Shown, serving: bool) -> Text:
    calls = shown.calls
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in Counter(c.outcome for c in calls).items())
    tokens = sum(call.usage.total for call in calls if call.usage is not None)
    cost_usd = sum(call.cost.total_usd for call in calls if call.cost is not None)
    text = Text.assemble(
        (f"{len(calls)} calls: {outcomes}; {tokens:,} tokens; ${cost_usd:.5f}.", "bold"),
        "\nThe question and the answers are in none of the signals: content is off by default.\n",
        ("Next: ", "bold"),
        ("trisignal.setup(); trisignal.instrument()", _KEY),
        " in your program",
    )
    if not serving:
        text.append(", or ").append("trisignal demo --serve", _KEY).append(" to scrape this page.")
    else:
        text.append(".")
    return text
