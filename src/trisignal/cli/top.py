"""``trisignal top``: a metrics page, live in the terminal."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from trisignal.analysis.opening import is_source
from trisignal.cli import _top_store
from trisignal.cli._keys import Keys, chosen, hint
from trisignal.cli._terminal import plain
from trisignal.errors import ConfigError, shown
from trisignal.operate import scrape, top

if TYPE_CHECKING:
    from rich.console import RenderableType

_BAD_RATIO, _MOST_FAILURES = 0.05, 3
_HEADINGS = ("calls/s", "errors", "p50", "p95", "TTFT p50", "TTFT p95", "in tok/s", "out tok/s", "USD/h", "open")
_FEWER = ("calls/s", "errors", "p50", "p95", "TTFT p95", "out tok/s", "USD/h", "open")
_ROOMY = 120
"""From this many columns on every figure is shown."""


@click.command(
    name="top", short_help="Watch a metrics page or a store: rate, errors, latency, tokens and cost per model."
)
@click.argument("place", metavar="URL|FOLDER")
@click.option("--interval", "interval_s", type=click.FloatRange(0.1, 3600), default=2.0, show_default=True,
              help="Seconds between scrapes.")  # fmt: skip
@click.option("--window", "window_s", type=click.FloatRange(0.1, 3600), default=30.0, show_default=True,
              help="Seconds that rates and quantiles are taken over.")  # fmt: skip
@click.option("--once", is_flag=True, help="Scrape twice, one interval apart, print the difference, and end.")
@click.option("--json", "as_json", is_flag=True, help="With --once: one JSON object per model and line.")
@click.option("--sort", type=click.Choice(tuple(_top_store.SORTS)), default="calls", show_default=True,
              help="What rows are sorted by, largest first; in the live view a letter key changes it.")  # fmt: skip
@click.option("--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="Sent with each scrape.")
def command(
    place: str, interval_s: float, window_s: float, once: bool, as_json: bool, sort: str, headers: tuple[str, ...]
) -> None:  # fmt: skip
    """Show what happens per model at URL, the metrics page of an application, until Ctrl-C.

    For a store's FOLDER, or a trace backend's URL: totals, errors by kind and tenants of the last --window seconds.

    All figures are of the last --window seconds: nothing of them is since the start. Prometheus is not needed.
    """
    if as_json and not once:
        raise click.UsageError("--json has no effect without --once")
    if is_source(place):
        if headers:
            raise click.UsageError("--header has no effect on a store: it is sent to a metrics page")
        if not once and not _console().is_terminal:
            raise click.UsageError("standard output is not a terminal: use --once")
        _top_store.watch(place, interval_s=interval_s, window_s=window_s, once=once, as_json=as_json, sort=sort)
        return
    if not place.lower().startswith(("http://", "https://")):
        allowed = "a metrics page (http://localhost:8000/metrics), a store's folder, or the URL of a trace backend"
        raise ConfigError("URL|FOLDER", place, allowed)
    url, sent = place, scrape.header(headers)
    first = _ours(url, sent)
    if once:
        time.sleep(interval_s)
        rows = _sorted(top.rates(first, scrape.read(url, sent)), sort)
        if as_json:
            for row in rows:
                click.echo(json.dumps(row._asdict()))
        else:
            console = _console()
            console.print(_table(rows, console.width))
        return
    if not _console().is_terminal:
        raise click.UsageError("standard output is not a terminal: use --once")
    _watch(url, sent, first, interval_s, window_s, sort)


def _ours(url: str, headers: Mapping[str, str]) -> scrape.Scrape:
    page = scrape.read(url, headers)
    if not page.ours:
        raise scrape.Unreachable(url, "the page has no metric of trisignal")
    return page


SORTS: dict[str, Callable[[top.ModelRates], float]] = {
    "calls": lambda row: row.requests_per_s,
    "errors": lambda row: row.requests_per_s * (row.error_ratio or 0.0),
    "latency": lambda row: row.p95_s or 0.0,
    "tokens": lambda row: row.input_tokens_per_s + row.output_tokens_per_s,
    "cost": lambda row: row.usd_per_hour,
}
"""What rows of a metrics page are sorted by, under the names that a store has."""


def _sorted(rows: list[top.ModelRates], sort: str) -> list[top.ModelRates]:
    return sorted(rows, key=lambda row: (-SORTS[sort](row), row.model, row.provider))


def _watch(
    url: str, headers: Mapping[str, str], first: scrape.Scrape, interval_s: float, window_s: float, sort: str
) -> None:
    from rich.live import Live

    pages = deque([first])
    failures, trouble = 0, ""
    console = _console()
    begun = _frame(url, pages, "", console.width, sort)
    with Keys() as keys, Live(begun, console=console, screen=True, auto_refresh=False) as live:
        due_s = time.monotonic() + interval_s
        try:
            while failures < _MOST_FAILURES:
                key = keys.wait(due_s - time.monotonic()) if due_s > time.monotonic() else ""
                if key == "q":
                    return
                sort = chosen(key, sort)
                if time.monotonic() >= due_s:
                    due_s = time.monotonic() + interval_s
                    try:
                        pages.append(scrape.read(url, headers))
                        failures, trouble = 0, ""
                    except scrape.Unreachable as error:
                        failures, trouble = failures + 1, str(error)
                while len(pages) > 2 and pages[-1].at_s - pages[1].at_s >= window_s:
                    pages.popleft()
                foot = trouble or hint(keys.readable)
                live.update(_frame(url, pages, foot, console.width, sort, bad=bool(trouble)), refresh=True)
        except KeyboardInterrupt:
            return
    raise scrape.Unreachable(url, f"no page {_MOST_FAILURES} times in a row")


def _console() -> Any:
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    # What reads from a pipe has no margin to fit into.
    return console if console.is_terminal else Console(highlight=False, markup=False, emoji=False, width=_ROOMY)


def _frame(
    url: str, pages: deque[scrape.Scrape], foot: str, columns: int, sort: str, *, bad: bool = False
) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    rows = _sorted(top.rates(pages[0], pages[-1]), sort)
    passed_s = pages[-1].at_s - pages[0].at_s
    clock = time.strftime("%H:%M:%S")
    head = Text.assemble((plain(shown(url)), "bold"), f"   {clock}   last {passed_s:.0f} s, by {sort}")
    return Group(head, "", _table(rows, columns), "", Text(plain(foot), "bold red" if bad else "dim"))


def _table(rows: list[top.ModelRates], columns: int) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    if not rows:
        return Text("no model call yet", "dim")
    roomy = columns >= _ROOMY
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("model", overflow="ellipsis", no_wrap=True, min_width=8)
    if roomy:
        table.add_column("provider", overflow="ellipsis", no_wrap=True, min_width=6)
    for heading in _HEADINGS if roomy else _FEWER:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        bad = row.error_ratio is not None and row.error_ratio > _BAD_RATIO
        cells: dict[str, RenderableType] = {
            "calls/s": f"{row.requests_per_s:.2f}",
            "errors": Text("–" if row.error_ratio is None else f"{row.error_ratio:.1%}", "bold red" if bad else ""),
            "p50": _seconds(row.p50_s),
            "p95": _seconds(row.p95_s),
            "TTFT p50": _seconds(row.first_token_p50_s),
            "TTFT p95": _seconds(row.first_token_p95_s),
            "in tok/s": f"{row.input_tokens_per_s:,.0f}",
            "out tok/s": f"{row.output_tokens_per_s:,.0f}",
            "USD/h": f"{row.usd_per_hour:,.2f}",
            "open": f"{row.in_flight:.0f}",
        }
        who = [Text(plain(name)) for name in (row.model or "(unknown)", row.provider)]
        table.add_row(*(who if roomy else who[:1]), *(cells[heading] for heading in (_HEADINGS if roomy else _FEWER)))
    if len(rows) > 1:
        table.add_row(*_sums(rows, roomy), style="bold")
    return table


def _sums(rows: list[top.ModelRates], roomy: bool) -> list[str]:
    fields = {
        "calls/s": f"{sum(row.requests_per_s for row in rows):.2f}",
        "in tok/s": f"{sum(row.input_tokens_per_s for row in rows):,.0f}",
        "out tok/s": f"{sum(row.output_tokens_per_s for row in rows):,.0f}",
        "USD/h": f"{sum(row.usd_per_hour for row in rows):,.2f}",
        "open": f"{sum(row.in_flight for row in rows):.0f}",
    }
    who = ["all", ""] if roomy else ["all"]
    return [*who, *(fields.get(heading, "") for heading in (_HEADINGS if roomy else _FEWER))]


def _seconds(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"
