"""``trisignal demo``: real client, made-up provider, and the three signals of one call side by side."""

from __future__ import annotations

import codecs
import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from trisignal import semconv as names
from trisignal.cli._demo_calls import OPENMETRICS, Shown, as_shipped, run
from trisignal.cli._demo_provider import DemoProvider
from trisignal.web.metrics_page import MULTIPROCESS_VARIABLES, MetricsServer, serve_metrics

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from prometheus_client import CollectorRegistry

    from trisignal.call import Call

PORT = 9464
"""Default TCP port of ``--serve``."""
PROVIDER_PORT = 9465
"""Default TCP port of ``--provider``."""
SVG_COLUMNS = 114
_PLAIN = {"├": "|", "└": "`", "│": "|", "─": "-", "…": "~", "–": "-"}


@click.command(name="demo")
@click.option("--provider", is_flag=True, help="Serve only the demo's provider, for your own programs, until Ctrl-C.")
@click.option("--serve", is_flag=True, help="Leave /metrics up on loopback afterwards, until Ctrl-C.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help=f"Port of --serve ({PORT}), --provider ({PROVIDER_PORT}) or --console (4319); 0 takes a free one.",
)
@click.option(
    "--for",
    "for_s",
    metavar="SECONDS",
    type=click.FloatRange(0),
    help="End --serve or --provider after this many seconds.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the three signals as one JSON object.")
@click.option("--store", metavar="FOLDER", help="Keep the calls in a trace store, to be asked by trisignal traces.")
@click.option("--console", is_flag=True, help="Open what the calls left in the console afterwards, until Ctrl-C.")
@click.option("--svg", "svg_file", type=click.Path(dir_okay=False), help="Write the output as an SVG picture.")
def command(
    provider: bool,
    serve: bool,
    port: int | None,
    for_s: float | None,
    as_json: bool,
    store: str | None,
    console: bool,
    svg_file: str | None,
) -> None:
    """Show the three signals of real calls side by side.

    The openai client calls a provider that this command starts on this machine: no key, no
    account, nothing leaves.
    """
    if console:
        if provider or serve or as_json or svg_file is not None:
            raise click.UsageError("--console goes with --store and --port only")
        _open_console(store, port)
        return
    for option, given in (("--port", port), ("--for", for_s)):
        if given is not None and not (serve or provider):
            raise click.UsageError(f"{option} has no effect without --serve or --provider")
    if provider:
        if serve or as_json or svg_file is not None:
            raise click.UsageError("--provider makes no calls: it goes with --port and --for only")
        _serve_provider(PROVIDER_PORT if port is None else port, for_s)
        return
    for variable in MULTIPROCESS_VARIABLES:
        if os.environ.get(variable):
            raise click.UsageError(f"the demo shows one process only: unset {variable}")
    _show_calls((PORT if port is None else port) if serve else 0, serve, for_s, as_json, store, svg_file)


def _show_calls(
    port: int, serve: bool, for_s: float | None, as_json: bool, store: str | None, svg_file: str | None
) -> None:
    """Make the calls, and write what they left where it was asked for."""
    from trisignal.testing import capture

    with as_shipped(), capture(strict=False, store=store) as seen, _serving(port, seen.registry) as page:
        with _status(as_json):
            shown = run(seen, page.url)
        if as_json:
            click.echo(json.dumps(_as_dict(shown)))
        elif svg_file is not None:
            _save(shown, svg_file)
        else:
            _print(shown, serve)
        if serve:
            click.echo(f"serving {page.url} {_until(for_s)}; with exemplars:", err=True)
            click.echo(f"  curl -H 'Accept: {OPENMETRICS}' {page.url}", err=True)
            _wait(for_s)


def _open_console(store: str | None, port: int | None) -> None:
    """Make the calls, keep them, and show them in the console."""
    from tempfile import TemporaryDirectory

    from trisignal.cli.console import PORT as CONSOLE_PORT
    from trisignal.cli.console import show

    with TemporaryDirectory(prefix="trisignal-demo-") as folder:
        kept = store or os.path.join(folder, "store")
        _show_calls(0, False, None, False, kept, None)
        show(kept, port=CONSOLE_PORT if port is None else port)


def _serve_provider(port: int, for_s: float | None) -> None:
    """Answer OpenAI's API for other programs; what they need to set goes to stdout, ready for a shell."""
    try:
        provider = DemoProvider(port)
    except OSError as error:
        raise _cannot_listen(port, error) from None
    with provider:
        click.echo(f"export OPENAI_BASE_URL={provider.base_url}")
        click.echo("export OPENAI_API_KEY=demo")
        click.echo(f"a made-up provider answers OpenAI's API {_until(for_s)}; set these for your program", err=True)
        _wait(for_s)


@contextmanager
def _serving(port: int, registry: CollectorRegistry) -> Iterator[MetricsServer]:
    try:
        page = serve_metrics(port, registry=registry)
    except OSError as error:
        raise _cannot_listen(port, error) from None
    try:
        yield page
    finally:
        page.close()


def _cannot_listen(port: int, error: OSError) -> click.UsageError:
    return click.UsageError(f"cannot listen on port {port} ({error.strerror or error}): choose another with --port")


def _until(for_s: float | None) -> str:
    return "until Ctrl-C" if for_s is None else f"for {for_s:g} s"


def _wait(for_s: float | None) -> None:
    try:
        threading.Event().wait(for_s)
    except KeyboardInterrupt:
        click.echo(err=True)


# --- output --------------------------------------------------------------------------


@contextmanager
def _status(quiet: bool) -> Iterator[None]:
    if quiet or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status("calling the provider on this machine"):
        yield


def _print(shown: Shown, serving: bool) -> None:
    from rich.console import Console

    from trisignal.cli._demo_view import show

    codecs.register_error("trisignal.plain", _plain)
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="trisignal.plain")
    show(Console(highlight=False), shown, serving=serving)


def _plain(error: UnicodeError) -> tuple[str, int]:
    """Stand-ins of one column each, for terminals that lack a character."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    return "".join(_PLAIN.get(character, "?") for character in missing), error.end


def _save(shown: Shown, path: str) -> None:
    from trisignal.cli._demo_view import svg

    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(svg(shown, SVG_COLUMNS))
    except OSError as error:
        raise click.UsageError(f"cannot write {path}: {error.strerror}") from None


def _as_dict(shown: Shown) -> dict[str, Any]:
    return {
        "trace_id": shown.call.trace_id,
        "span_id": shown.call.span_id,
        "span": _span_as_dict(shown.span),
        "log": shown.log,
        "metrics": [line.text for line in shown.metrics],
        "trace": [_span_as_dict(span) for span in shown.trace],
        "calls": [_call_as_dict(call) for call in shown.calls],
    }


def _span_as_dict(span: ReadableSpan) -> dict[str, Any]:
    assert span.context is not None
    return {
        "name": span.name,
        "trace_id": f"{span.context.trace_id:032x}",
        "span_id": f"{span.context.span_id:016x}",
        "parent_span_id": f"{span.parent.span_id:016x}" if span.parent is not None else None,
        "kind": span.kind.name,
        "status": span.status.status_code.name,
        "start_unix_ns": span.start_time,
        "end_unix_ns": span.end_time,
        "attributes": dict(span.attributes or {}),
    }


def _call_as_dict(call: Call) -> dict[str, Any]:
    usage = call.usage
    return {
        "operation": call.operation,
        "provider": call.provider,
        "request_model": call.request_model,
        "outcome": call.outcome,
        "error_kind": call.error_kind,
        "retries": len(call.retries),
        "input_tokens": usage.input if usage is not None else None,
        "output_tokens": usage.output if usage is not None else None,
        "cost_usd": call.cost.total_usd if call.cost is not None else None,
        "time_to_first_token_s": call.closing.get(names.TIME_TO_FIRST_TOKEN_S),
        "duration_s": call.duration_s,
        "trace_id": call.trace_id,
    }
