"""Answers of the analyser as tables, trees and bars."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from trisignal.cli._terminal import clock, count, dollars, plain, seconds

if TYPE_CHECKING:
    from trisignal.analysis import answers
    from trisignal.analysis.rows import SpanRow

_OUTCOMES = {"ok": "green", "error": "bold red", "cancelled": "yellow", "abandoned": "yellow"}
_QUIET = "dim"
_BAR = 24
_EIGHTHS = " ▏▎▍▌▋▊▉"
_LOW = 0.5


def _table(*columns: str, right: Sequence[str] = ()) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style=_QUIET)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", no_wrap=True, overflow="ellipsis")
    return table


def bar(share: float, width: int = _BAR) -> str:
    """A bar of a share from 0 to 1."""
    eighths = round(max(0.0, min(1.0, share)) * width * 8)
    whole, rest = divmod(eighths, 8)
    return ("█" * whole + (_EIGHTHS[rest] if rest else "")).ljust(width)


def coverage(covered: answers.Coverage | None) -> RenderableType:
    """What an answer covers, in one line."""
    if covered is None:
        return Text("")
    parts = [plain(covered.source)]
    if covered.since is not None and covered.until is not None:
        parts.append(f"{clock(covered.since.timestamp())} – {clock(covered.until.timestamp())}")
    if covered.partial:
        parts.append("partial: there is more than this")
    if covered.sampled:
        parts.append("sampled: counts are lower than the truth")
    parts.extend(plain(note) for note in covered.notes)
    return Text(" · ".join(parts), _QUIET)


def _outcome(row: SpanRow) -> Text:
    text = row.outcome if not row.error_kind else f"{row.outcome} {plain(row.error_kind)}"
    return Text(text, _OUTCOMES.get(row.outcome, ""))


def spans(rows: Iterable[SpanRow]) -> RenderableType:
    """Rows of calls."""
    right = ("took", "first token", "in", "out", "cost", "quality")
    table = _table("started", "trace", "what", "tenant", "outcome", *right, right=right)
    for row in rows:
        quality = "–" if row.quality is None else f"{row.quality:.2f}"
        low = row.quality is not None and row.quality < _LOW
        table.add_row(
            clock(row.start_unix_s),
            Text(row.trace_id[:12], "cyan"),
            Text(plain(row.name, 40)),
            Text(plain(row.tenant, 16)),
            _outcome(row),
            seconds(row.duration_s),
            seconds(row.first_token_s),
            count(row.input_tokens),
            count(row.output_tokens),
            dollars(row.cost_usd),
            Text(quality, "bold red" if low else ""),
        )
    return table if table.row_count else Text("no calls", _QUIET)


def slowest(answer: answers.Slowest) -> RenderableType:
    """Slow calls, each with where its request's time went."""
    parts: list[RenderableType] = []
    if answer.threshold_s is not None:
        parts.append(Text(f"at or above {seconds(answer.threshold_s)}", _QUIET))
    for item in answer.items:
        row = item.span
        parts.append(
            Text.assemble(
                (f"{seconds(row.duration_s):>9}", "bold"),
                f"  {plain(row.name, 48)}  ",
                (row.trace_id, "cyan"),
                f"  {clock(row.start_unix_s)}  ",
                _outcome(row),
                f"  {plain(row.tenant)}" if row.tenant else "",
                (f"  in {plain(item.root.name, 40)}, {seconds(item.root.duration_s)}" if item.root else "", _QUIET),
            )
        )
        table = _table("", "", "", "")
        table.show_header = False
        for share in item.breakdown[:6]:
            label = f"{plain(share.name, 32)}{f' ×{share.spans}' if share.spans > 1 else ''}"
            table.add_row("", Text(bar(share.share), "blue"), f"{seconds(share.self_s):>7}", Text(label))
        parts.append(table)
    return Group(*parts) if answer.items else Text("no calls", _QUIET)


def errors(answer: answers.Errors) -> RenderableType:
    """Groups of failures."""
    right = ("errors", "rate", "wasted")
    table = _table(*answer.by, *right, "first", "last", "example", right=right)
    for group in answer.groups:
        table.add_row(
            *(Text(plain(value, 32) or "–") for value in group.key),
            count(group.errors),
            f"{group.rate:.1%}",
            dollars(group.wasted_usd),
            "–" if group.first is None else clock(group.first.timestamp()),
            "–" if group.last is None else clock(group.last.timestamp()),
            Text(group.examples[0][:12] if group.examples else "–", "cyan"),
        )
    foot = Text(f"{answer.errors:,} errors in {answer.calls:,} calls", "bold")
    return Group(table, foot) if answer.groups else foot


def quality(answer: answers.LowestQuality, spread: answers.Quality) -> RenderableType:
    """How scores are spread, by whom, and the worst."""
    most = max(spread.histogram, default=0)
    tenths = _table("score", "", "n", right=("n",))
    for number, hits in enumerate(spread.histogram):
        tenths.add_row(f"{number / 10:.1f}", Text(bar(hits / most if most else 0.0), "blue"), count(hits))
    groups = _table(*spread.by, "mean", "judged", "low", "example", right=("mean", "judged", "low"))
    for group in spread.groups[:20]:
        groups.add_row(
            *(Text(plain(value, 32) or "–") for value in group.key),
            f"{group.mean:.2f}",
            count(group.judged),
            count(group.below),
            Text(group.examples[0][:12] if group.examples else "–", "cyan"),
        )
    worst = _table("score", "evaluation", "label", "trace", "what", right=("score",))
    for one in answer.items:
        worst.add_row(
            "–" if one.score.score is None else f"{one.score.score:.2f}",
            Text(plain(one.score.evaluation, 24)),
            Text(plain(one.score.label, 16)),
            Text(one.score.trace_id[:12], "cyan"),
            Text("not stored" if one.span is None else plain(one.span.name, 40)),
        )
    mean = "–" if answer.mean is None else f"{answer.mean:.3f}"
    head = Text(f"{answer.judged:,} scores, mean {mean}", "bold")
    return Group(head, "", tenths, "", groups, "", worst) if answer.judged else head


def cost(answer: answers.CostAnswer) -> RenderableType:
    """Who spent what."""
    right = ("calls", "in", "out", "cost", "wasted", "cache saved", "unpriced")
    step = ("from",) if answer.step_s is not None else ()
    table = _table(*step, *answer.by, *right, "", right=right)
    most = max((group.cost_usd for group in answer.groups), default=0.0)
    for group in answer.groups:
        table.add_row(
            *((clock(group.step_unix_s or 0.0),) if step else ()),
            *(Text(plain(value, 32) or "–") for value in group.key),
            count(group.spans),
            count(group.input_tokens),
            count(group.output_tokens),
            dollars(group.cost_usd),
            dollars(group.wasted_usd),
            dollars(group.cache_saved_usd),
            count(group.unpriced),
            Text(bar(group.cost_usd / most if most else 0.0), "blue"),
        )
    total = answer.total
    foot = Text(f"{total.spans:,} calls, {dollars(total.cost_usd)}, of it wasted {dollars(total.wasted_usd)}", "bold")
    return Group(table, foot) if answer.groups else foot


def found(answer: answers.Found) -> RenderableType:
    """Spans and log lines of what was looked for."""
    parts: list[RenderableType] = [spans(answer.spans)]
    if answer.logs:
        table = _table("at", "level", "logger", "message")
        for line in answer.logs:
            message = Text(plain(line.message, 200))
            table.add_row(clock(line.unix_s), plain(line.level), Text(plain(line.logger, 32)), message)
        parts += ["", table]
    return Group(*parts)


def trace(answer: answers.Trace, *, attributes: bool) -> RenderableType:
    """One trace as a tree beside its waterfall."""
    head = Text.assemble(
        (answer.trace_id, "bold cyan"),
        f"  {clock(answer.start_unix_s)}  {seconds(answer.duration_s)}  {answer.calls} calls  ",
        f"{answer.errors} errors  {answer.input_tokens:,} → {answer.output_tokens:,} tokens  ",
        dollars(answer.cost_usd),
    )
    right = ("took", "self", "tokens", "cost")
    table = _table("span", "", *right, right=right)
    for depth, node in answer.nodes():
        row = node.span
        tokens = "–" if row.input_tokens is None else f"{row.input_tokens:,} → {row.output_tokens or 0:,}"
        name = Text("  " * min(depth, 24) + plain(row.name, 56), _OUTCOMES["error"] if row.outcome == "error" else "")
        if row.outcome != "ok":
            name.append(f"  {plain(row.error_kind or row.outcome)}", _OUTCOMES.get(row.outcome, ""))
        for score in node.scores:
            value = score.label if score.score is None else f"{score.score:.2f}"
            name.append(f"  {plain(score.evaluation, 24)} {plain(value, 12)}", "magenta")
        table.add_row(
            name, _lane(node, answer.duration_s), seconds(row.duration_s), seconds(node.self_s), tokens,
            dollars(row.cost_usd),
        )  # fmt: skip
        for part in node.parts:
            inset = "  " * min(depth + 1, 24)
            filled = Text(bar(part.duration_s / row.duration_s if row.duration_s else 0.0, 32), _QUIET)
            table.add_row(Text(inset + part.name, _QUIET), filled, Text(seconds(part.duration_s), _QUIET))
        if attributes:
            for key in sorted(row.attributes):
                table.add_row(Text("  " * min(depth + 1, 24) + plain(f"{key}: {row.attributes[key]}", 200), _QUIET))
    parts: list[RenderableType] = [head, "", table, "", Text("self time by kind of work", _QUIET)]
    shares = _table("", "", "")
    shares.show_header = False
    for share in answer.breakdown[:12]:
        shares.add_row(Text(bar(share.share), "blue"), f"{seconds(share.self_s):>7}", Text(plain(share.name, 48)))
    parts.append(shares)
    parts.extend(
        Text(f"{clock(line.unix_s)} {plain(line.level)} {plain(line.logger)}: {plain(line.message, 400)}")
        for line in answer.logs
    )
    return Group(*parts)


def _lane(node: answers.Node, whole_s: float) -> Text:
    """Where a span lies in its trace; the first token is marked."""
    width = 32
    scale = width / whole_s if whole_s > 0 else 0.0
    start = min(width - 1, int(node.offset_s * scale))
    length = max(1, min(width - start, round(node.span.duration_s * scale)))
    lane = list(" " * start + "━" * length + " " * (width - start - length))
    first = node.span.first_token_s
    if first is not None:
        lane[min(start + length - 1, start + int(first * scale))] = "╋"
    return Text("".join(lane), "red" if node.span.outcome == "error" else "blue")


_UNITS: dict[str, Callable[[float], str]] = {
    "latency": seconds,
    "request_latency": seconds,
    "first_token": seconds,
    "cost": dollars,
    "error_rate": lambda value: f"{value:.1%}",
    "request_error_rate": lambda value: f"{value:.1%}",
    "tokens": lambda value: f"{value:,.0f}",
    "calls": lambda value: f"{value:,.0f}",
    "quality": lambda value: f"{value:.3f}",
}


def comparison(answer: answers.Comparison) -> RenderableType:
    """What changed, and who carries the difference."""

    def value(number: float | None) -> str:
        return "–" if number is None else ("-" if number < 0 else "") + _UNITS[answer.measure](abs(number))

    head = Text.assemble(
        (answer.measure.replace("_", " "), "bold"),
        f"  {value(answer.before)} → {value(answer.after)}  ({answer.calls_before:,} → {answer.calls_after:,})",
    )
    right = ("before", "after", "carries", "rate", "mix")
    table = _table("where", "which", *right, "", "example", right=right)
    for cause in answer.causes:
        table.add_row(
            cause.dimension,
            Text(plain(cause.value, 32) or "–"),
            value(cause.before),
            value(cause.after),
            f"{cause.share:.0%}",
            value(cause.rate),
            value(cause.mix),
            Text(bar(cause.share, 12), "blue"),
            Text(cause.examples[0][:12] if cause.examples else "", "cyan"),
        )
    return Group(head, table) if answer.causes else Group(head, Text("no group stands out", _QUIET))
