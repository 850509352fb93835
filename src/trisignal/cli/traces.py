"""``trisignal traces``: questions to a store, a trace backend or a call log, answered in the terminal."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, get_args

import click

from trisignal.analysis.analyzer import TraceAnalyzer
from trisignal.analysis.answers import Measure
from trisignal.analysis.query import Subject
from trisignal.cli import _terminal
from trisignal.config import PREFIX
from trisignal.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import RenderableType

DEFAULT_STORE = "trisignal-store"
_SHORT = ("model", "provider", "tenant", "user", "request-id", "conversation", "prompt-version", "outcome")
"""Dimensions with an option of their own; ``--where`` takes any."""
_POLL_S = 1.0
_LOOK_BACK_S = 900.0
"""How long a call may have run and still be shown by ``tail``."""


def source_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that say what is asked, and how the answer is printed."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON."),
        click.option("--logs", metavar="FILE", help="Ask a call log of JSON lines."),
        click.option("--store", metavar="FOLDER|URL", help=f"What to ask; ${PREFIX}STORE or ./{DEFAULT_STORE}."),
    ):
        command = option(command)
    return command


def asking(view: Callable[..., RenderableType] | None = None) -> Callable[..., Any]:
    """A subcommand that asks an analyser and prints the answer.

    The function gets the analyser and its options; what it returns is printed, as JSON where that is wanted.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @source_options
        @functools.wraps(function)
        @click.pass_context
        def run(context: click.Context, /, store: str | None, logs: str | None, as_json: bool, **options: Any) -> None:
            given = context.obj or {}
            with opened(store or given.get("store"), logs or given.get("logs")) as analyzer:
                answer = function(analyzer, **options)
                if as_json or given.get("as_json"):
                    click.echo(_terminal.as_json(answer))
                else:
                    _show(answer, view, options)

        return run

    return decorate


def _show(answer: Any, view: Callable[..., RenderableType] | None, options: dict[str, Any]) -> None:
    from trisignal.cli import _traces_view as views

    console = _terminal.console()
    if isinstance(answer, str):
        click.echo(answer, nl=False)
        return
    pieces: tuple[Any, ...] = answer if isinstance(answer, tuple) else (answer,)
    shown = views.trace(pieces[0], attributes=options["attributes"]) if view is None else view(*pieces)
    console.print(shown)
    console.print(views.coverage(pieces[0].coverage))


@contextmanager
def opened(store: str | None, logs: str | None) -> Iterator[TraceAnalyzer]:
    """The analyser of what the options name."""
    if store and logs:
        raise click.UsageError("--store and --logs exclude each other")
    if logs:
        from trisignal.analysis.log_lines import log_source

        analyzer = TraceAnalyzer(log_source(logs))
    else:
        analyzer = TraceAnalyzer(store or os.environ.get(PREFIX + "STORE", "") or DEFAULT_STORE)
    with analyzer:
        yield analyzer


def filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options of what is asked for."""
    for name in reversed(_SHORT):
        dimension = name.replace("-", "_")
        command = click.option(f"--{name}", f"dimension_{dimension}", multiple=True, hidden=name in _SHORT[4:])(command)
    return click.option(
        "--where", "where", multiple=True, metavar="NAME=VALUE", help="Only spans with this value; repeatable."
    )(command)


def window_options(default: str = "24h") -> Callable[..., Any]:
    """Options of the window and of what is asked for."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        command = click.option("--until", metavar="TIME", help="End of the window; now.")(filter_options(command))
        return click.option(
            "--since", default=default, show_default=True, metavar="TIME", help="15m, 1h, 7d, or 2026-11-30T08:00."
        )(command)

    return decorate


def conditions(options: dict[str, Any]) -> dict[str, Any]:
    """The filters among the options; they are taken out."""
    filters: dict[str, list[str]] = {}
    for given in options.pop("where"):
        name, separator, value = given.partition("=")
        if not separator:
            raise ConfigError("--where", given, "NAME=VALUE, e.g. tenant=acme")
        filters.setdefault(name.strip(), []).append(value)
    for name in _SHORT:
        dimension = name.replace("-", "_")
        filters.setdefault(dimension, []).extend(options.pop(f"dimension_{dimension}"))
    return {name: tuple(values) for name, values in filters.items() if values}


def _view(name: str) -> Callable[..., RenderableType]:
    """A view that is loaded when it is needed: rich costs a tenth of a second."""

    def draw(*pieces: Any) -> RenderableType:
        from trisignal.cli import _traces_view as views

        drawn: RenderableType = getattr(views, name)(*pieces)
        return drawn

    return draw


_of = click.option(
    "--of", type=click.Choice(get_args(Subject)), default="calls", show_default=True, help="What is looked at."
)
_by = functools.partial(click.option, "--by", show_default=True, metavar="NAMES", help="Dimensions, comma-separated.")
_limit = functools.partial(click.option, "--limit", type=click.IntRange(1, 10_000), show_default=True)


@click.group(
    name="traces",
    invoke_without_command=True,
    short_help="Query what was recorded: slow, failed, expensive or badly scored calls.",
)
@source_options
@click.pass_context
def command(context: click.Context, store: str | None, logs: str | None, as_json: bool) -> None:
    """Ask a store, a trace backend or a call log. Without a subcommand the latest calls are listed."""
    context.obj = {"store": store, "logs": logs, "as_json": as_json}
    if context.invoked_subcommand is None:
        context.invoke(latest)


@command.command(short_help="The latest calls.")
@window_options()
@_of
@_limit(default=20)
@asking(lambda answer: _view("spans")(answer.rows))
def latest(
    analyzer: TraceAnalyzer,
    since: str = "24h",
    until: str | None = None,
    of: Any = "calls",
    limit: int = 20,
    **options: Any,
) -> Any:
    """List the latest calls, requests or spans."""
    where = conditions(options) if options else {}
    return analyzer.spans(of=of, since=since, until=until, limit=limit, **where)


@command.command(short_help="The slowest calls, and where their time went.")
@window_options()
@_of
@_limit(default=10)
@click.option("--percentile", type=click.FloatRange(0, 100), help="Only those at or above this percentile.")
@asking(_view("slowest"))
def slow(
    analyzer: TraceAnalyzer,
    since: str,
    until: str | None,
    of: Any,
    limit: int,
    percentile: float | None,
    **options: Any,
) -> Any:
    """Show the slowest calls, each with the self times of its request."""
    where = conditions(options)
    return analyzer.slowest(of=of, since=since, until=until, limit=limit, percentile=percentile, **where)


@command.command(short_help="Failures by group, with examples.")
@window_options()
@_of
@_limit(default=50)
@_by(default="provider,model,error_kind")
@asking(_view("errors"))
def errors(analyzer: TraceAnalyzer, since: str, until: str | None, of: Any, limit: int, by: str, **options: Any) -> Any:
    """Show which calls fail, how often, since when."""
    return analyzer.errors(_names(by), of=of, since=since, until=until, limit=limit, **conditions(options))


@command.command(short_help="Scores: spread, worst groups, worst calls.")
@window_options()
@_limit(default=10)
@_by(default="model")
@click.option("--threshold", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="What counts as low.")
@click.option("--evaluation", default="", metavar="NAME", help="Only this evaluation.")
@asking(_view("quality"))
def quality(
    analyzer: TraceAnalyzer, since: str, until: str | None, limit: int, by: str, threshold: float, evaluation: str,
    **options: Any,
) -> Any:  # fmt: skip
    """Show how evaluations and feedback are spread, and what scored lowest."""
    asked = {"since": since, "until": until, "evaluation": evaluation, **conditions(options)}
    return (
        analyzer.lowest_quality(limit=limit, **asked),
        analyzer.quality(_names(by), threshold=threshold, **asked),
    )


@command.command(short_help="Who spent what.")
@window_options("7d")
@_by(default="tenant,model")
@click.option("--step", "step", metavar="TIME", help="Split by steps of this length, e.g. 1h or 1d.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option("--focus", "as_focus", is_flag=True, help="Print CSV in the columns of FOCUS 1.2.")
@asking(_view("cost"))
def cost(
    analyzer: TraceAnalyzer, since: str, until: str | None, by: str, step: str | None, as_csv: bool, as_focus: bool,
    **options: Any,
) -> Any:  # fmt: skip
    """Show cost, waste and cache savings by any dimensions."""
    from trisignal.analysis.query import moment

    if as_csv and as_focus:
        raise click.UsageError("give one of --csv and --focus")
    step_s = None if step is None else -moment(step, "--step", 0.0)
    answer = analyzer.cost(_names(by), since=since, until=until, step_s=step_s, **conditions(options))
    return answer.to_focus() if as_focus else answer.to_csv() if as_csv else answer


@command.command(short_help="Everything of a request, user, conversation or text.")
@window_options("30d")
@_limit(default=100)
@click.argument("text", default="")
@asking(_view("found"))
def find(analyzer: TraceAnalyzer, since: str, until: str | None, limit: int, text: str, **options: Any) -> Any:
    """Show spans and log lines, e.g. trisignal traces find --request-id r-123.

    TEXT is looked for in attributes; in content only where it was captured.
    """
    return analyzer.find(text=text, since=since, until=until, limit=limit, **conditions(options))


@command.command(short_help="One trace as a tree.")
@click.argument("trace_id")
@click.option("--attributes", is_flag=True, help="With all attributes.")
@asking()
def show(analyzer: TraceAnalyzer, trace_id: str, attributes: bool) -> Any:
    """Show the trace TRACE_ID; its first digits are enough in a store."""
    return analyzer.trace(trace_id.strip().lower())


@command.command(short_help="What changed between two windows, and who carries it.")
@filter_options
@click.option("--before", default="2h,1h", show_default=True, metavar="FROM,TO", help="The earlier window.")
@click.option("--after", default="1h,now", show_default=True, metavar="FROM,TO", help="The later window.")
@click.option("--measure", type=click.Choice(get_args(Measure)), help="What to explain; what changed most.")
@_by(default="")
@asking(_view("comparison"))
def compare(analyzer: TraceAnalyzer, before: str, after: str, measure: Any, by: str, **options: Any) -> Any:
    """Explain a change of latency, errors, cost, tokens or quality."""
    return analyzer.compare(
        _pair(before, "--before"), _pair(after, "--after"), measure=measure, by=_names(by), **conditions(options)
    )


@command.command(short_help="Calls as they end.")
@source_options
@click.option("--for", "for_s", type=click.FloatRange(0), metavar="SECONDS", help="End after so many seconds.")
@_of
@click.pass_context
def tail(
    context: click.Context, store: str | None, logs: str | None, as_json: bool, for_s: float | None, of: Any
) -> None:
    """Print calls as they end, until Ctrl-C."""
    given = context.obj or {}
    path = logs or given.get("logs")
    end = None if for_s is None else time.monotonic() + for_s
    printed: dict[tuple[str, str], None] = {}
    begun = time.time()
    try:
        while True:
            with opened(store or given.get("store"), path) as analyzer:
                rows = analyzer.spans(of=of, since=begun - _LOOK_BACK_S, limit=1000).rows
            fresh = [
                row for row in reversed(rows) if (row.trace_id, row.span_id) not in printed and row.end_unix_s >= begun
            ]
            printed.update(dict.fromkeys((row.trace_id, row.span_id) for row in rows))
            for row in fresh:
                click.echo(_terminal.as_json(row) if as_json or given.get("as_json") else _line(row))
            if end is not None and time.monotonic() >= end:
                return
            time.sleep(_POLL_S if end is None else max(0.0, min(_POLL_S, end - time.monotonic())))
    except KeyboardInterrupt:
        return


def _line(row: Any) -> str:
    plain = _terminal.plain
    parts = [
        _terminal.clock(row.end_unix_s),
        row.trace_id[:12],
        f"{plain(row.name, 40):<40}",
        f"{plain(row.error_kind or row.outcome):<10}",
        f"{_terminal.seconds(row.duration_s):>9}",
        f"{_terminal.count(row.input_tokens):>8} → {_terminal.count(row.output_tokens):<8}",
        f"{_terminal.dollars(row.cost_usd):>10}",
        plain(row.tenant, 24),
    ]
    return "  ".join(parts).rstrip()


def _names(by: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in by.split(",") if name.strip())


def _pair(text: str, option: str) -> tuple[str, str]:
    first, separator, second = text.partition(",")
    if not separator:
        raise ConfigError(option, text, "two times, e.g. 2h,1h")
    return first.strip(), second.strip() or "now"
