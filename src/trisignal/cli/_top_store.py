"""``trisignal top`` over a store: the last window by model, errors by kind, tenants."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from trisignal.analysis.analyzer import TraceAnalyzer
from trisignal.cli import _terminal
from trisignal.cli._keys import Keys, chosen, hint
from trisignal.cli._terminal import plain

if TYPE_CHECKING:
    from rich.console import RenderableType

    from trisignal.analysis.rows import Total

SORTS: dict[str, Callable[[Total], float]] = {
    "calls": lambda total: total.spans,
    "errors": lambda total: total.errors,
    "latency": lambda total: total.p95_s or 0.0,
    "tokens": lambda total: total.input_tokens + total.output_tokens,
    "cost": lambda total: total.cost_usd,
}
"""Names of what rows are sorted by, largest first."""
_MOST_ROWS = 12


def answers(analyzer: TraceAnalyzer, window_s: float, sort: str) -> dict[str, Any]:
    """Totals of the last seconds: of all calls, by model, by kind of error and by tenant."""
    now_s = time.time()
    asked: dict[str, Any] = {"since": now_s - window_s, "until": now_s}

    def by(*names: str) -> list[Total]:
        groups = analyzer.totals(names, quantiles=True, **asked).groups
        return sorted(groups, key=lambda total: (-SORTS[sort](total), total.key))

    errors = analyzer.errors(("error_kind",), **asked)
    return {
        "all": by(),
        "models": by("model", "provider"),
        "errors": [(group.key[0], group.errors) for group in errors.groups],
        "tenants": by("tenant"),
    }


def view(given: dict[str, Any], title: str, foot: str = "") -> RenderableType:
    """The tables of one moment."""
    from rich.console import Group
    from rich.text import Text

    ends = [Text(foot, "dim")] if foot else []
    if not given["models"]:
        return Group(Text(title, "bold"), Text("no model call in this window", "dim"), *ends)
    kinds = ", ".join(f"{plain(kind or 'unknown')} {count}" for kind, count in given["errors"]) or "none"
    pieces = [Text(title, "bold"), _table("model", given["models"], given["all"]), Text(f"errors by kind: {kinds}")]
    if any(total.key[0] for total in given["tenants"]):
        pieces.append(_table("tenant", given["tenants"], []))
    return Group(*pieces, *ends)


def _table(heading: str, totals: list[Total], sums: list[Total]) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(heading, overflow="ellipsis", no_wrap=True, min_width=8)
    for name in ("calls", "errors", "p50", "p95", "in tok", "out tok", "USD"):
        table.add_column(name, justify="right", no_wrap=True)
    for total in totals[:_MOST_ROWS]:
        table.add_row(plain(total.key[0] or "(none)"), *_cells(total))
    if len(totals) > 1:
        for total in sums:
            table.add_row("all", *_cells(total), style="bold")
    return table


def _cells(total: Total) -> tuple[str, ...]:
    return (
        f"{total.spans:,}",
        f"{total.errors / total.spans:.1%}" if total.spans else "–",
        _terminal.seconds(total.p50_s),
        _terminal.seconds(total.p95_s),
        f"{total.input_tokens:,}",
        f"{total.output_tokens:,}",
        f"{total.cost_usd:,.4f}",
    )


def watch(place: str, *, interval_s: float, window_s: float, once: bool, as_json: bool, sort: str) -> None:
    """Show a store until Ctrl-C, or once.

    Raises:
        SourceError: The source cannot be opened or does not answer.
    """
    import click
    from rich.live import Live

    with TraceAnalyzer(place) as analyzer:
        name = plain(analyzer.holding().name)
        title = f"{name}   last {window_s:g} s, by {sort}"
        given = answers(analyzer, window_s, sort)
        if once and as_json:
            click.echo(_terminal.as_json(given))
            return
        console = _terminal.console()
        if once:
            console.print(view(given, title))
            return
        with Keys() as keys, Live(view(given, title), console=console, screen=True, auto_refresh=False) as live:
            try:
                while (key := keys.wait(interval_s)) != "q":
                    sort = chosen(key, sort)
                    title = f"{name}   last {window_s:g} s, by {sort}"
                    shown = view(answers(analyzer, window_s, sort), title, hint(keys.readable))
                    live.update(shown, refresh=True)
            except KeyboardInterrupt:
                return
