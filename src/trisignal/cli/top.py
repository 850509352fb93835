"""``trisignal top``: a metrics page, live in the terminal."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from trisignal.operate import scrape, top

if TYPE_CHECKING:
    from rich.console import RenderableType

_BAD_RATIO, _MOST_FAILURES = 0.05, 3


@click.command(name="top", short_help="Watch a metrics page: rate, errors, latency, tokens and cost per model.")
@click.argument("url")
@click.option("--interval", "interval_s", type=click.FloatRange(0.1, 3600), default=2.0, show_default=True,
              help="Seconds between scrapes.")  # fmt: skip
@click.option("--window", "window_s", type=click.FloatRange(0.1, 3600), default=30.0, show_default=True,
              help="Seconds that rates and quantiles are taken over.")  # fmt: skip
@click.option("--once", is_flag=True, help="Scrape twice, one interval apart, print the difference, and end.")
@click.option("--json", "as_json", is_flag=True, help="With --once: one JSON object per model and line.")
@click.option("--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="Sent with each scrape.")
def command(
    url: str, interval_s: float, window_s: float, once: bool, as_json: bool, headers: tuple[str, ...]
) -> None:  # fmt: skip
    """Show what happens per model at URL, the metrics page of an application, until Ctrl-C.

    All figures are of the last --window seconds: nothing of them is since the start. Prometheus is not needed.
    """
    if as_json and not once:
        raise click.UsageError("--json has no effect without --once")
    sent = scrape.header(headers)
    first = _ours(url, sent)
    if once:
        time.sleep(interval_s)
        rows = top.rates(first, scrape.read(url, sent))
        if as_json:
            for row in rows:
                click.echo(json.dumps(row._asdict()))
        else:
            _console().print(_table(rows))
        return
    _watch(url, sent, first, interval_s, window_s)


def _ours(url: str, headers: Mapping[str, str]) -> scrape.Page:
    page = scrape.read(url, headers)
    if not page.ours:
        raise scrape.Unreachable(url, "the page has no metric of trisignal")
    return page


def _watch(url: str, headers: Mapping[str, str], first: scrape.Page, interval_s: float, window_s: float) -> None:
    from rich.live import Live

    pages = deque([first])
    failures = 0
    with Live(_frame(url, pages, ""), console=_console(), screen=True, auto_refresh=False) as live:
        try:
            while failures < _MOST_FAILURES:
                time.sleep(interval_s)
                try:
                    pages.append(scrape.read(url, headers))
                    failures, trouble = 0, ""
                except scrape.Unreachable as error:
                    failures, trouble = failures + 1, str(error)
                while len(pages) > 2 and pages[-1].at_s - pages[1].at_s >= window_s:
                    pages.popleft()
                live.update(_frame(url, pages, trouble), refresh=True)
        except KeyboardInterrupt:
            return
    raise scrape.Unreachable(url, f"no page {_MOST_FAILURES} times in a row")


def _console() -> Any:
    from rich.console import Console

    return Console(highlight=False)


def _frame(url: str, pages: deque[scrape.Page], trouble: str) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    rows = top.rates(pages[0], pages[-1])
    passed_s = pages[-1].at_s - pages[0].at_s
    head = Text.assemble((url, "bold"), f"   {time.strftime('%H:%M:%S')}   last {passed_s:.0f} s")
    foot = Text(trouble, "bold red") if trouble else Text("Ctrl-C ends", "dim")
    return Group(head, "", _table(rows), "", foot)


def _table(rows: list[top.Rates]) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    if not rows:
        return Text("no model call yet", "dim")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("model", overflow="ellipsis", no_wrap=True, min_width=8)
    table.add_column("provider", overflow="ellipsis", no_wrap=True, min_width=6)
    for heading in ("calls/s", "errors", "p50", "p95", "TTFT p50", "p95", "in tok/s", "out tok/s", "USD/h", "open"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        bad = row.error_ratio is not None and row.error_ratio > _BAD_RATIO
        table.add_row(
            row.model or "(unknown)", row.provider, f"{row.requests_per_s:.2f}",
            Text("–" if row.error_ratio is None else f"{row.error_ratio:.1%}", "bold red" if bad else ""),
            _seconds(row.p50_s), _seconds(row.p95_s), _seconds(row.first_token_p50_s), _seconds(row.first_token_p95_s),
            f"{row.input_tokens_per_s:,.0f}", f"{row.output_tokens_per_s:,.0f}", f"{row.usd_per_hour:,.2f}",
            f"{row.in_flight:.0f}",
        )  # fmt: skip
    if len(rows) > 1:
        sums = [sum(getattr(row, name) for row in rows) for name in (
            "requests_per_s", "input_tokens_per_s", "output_tokens_per_s", "usd_per_hour", "in_flight")]  # fmt: skip
        table.add_row(
            "all", "", f"{sums[0]:.2f}", "", "", "", "", "", f"{sums[1]:,.0f}", f"{sums[2]:,.0f}", f"{sums[3]:,.2f}",
            f"{sums[4]:.0f}", style="bold",
        )  # fmt: skip
    return table


def _seconds(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"
