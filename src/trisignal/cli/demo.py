"""``trisignal demo``: real client, made-up provider, and the three signals of one call side by side."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import click

import trisignal
from trisignal import semconv as names
from trisignal.cli._demo_provider import BUSY, SCENE, TOO_LONG, DemoProvider
from trisignal.errors import MissingExtraError
from trisignal._exposition import MULTIPROCESS_VARIABLES, MetricsServer, serve_metrics
from trisignal.testing import Seen, capture

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

    from trisignal.call import Call

PORT = 9464
"""Default TCP port of ``--serve``."""
SVG_COLUMNS = 112
OPENMETRICS = "application/openmetrics-text; version=1.0.0"

_NOT_OURS = ("TRISIGNAL_", "OTEL_", "OPENAI_")
_PROXY = "_PROXY"
_LINE = re.compile(r'([a-zA-Z_:][\w:]*)\{((?:\w+="(?:[^"\\]|\\.)*",?)*)\} (\S+)(?: # (.+))?')
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_SHOWN = ("requests", "inference_duration", "first_token", "tokens", "cost", "request_cost")
"""Metrics of the call on show, by their keys in `semconv.profile`."""

_QUESTION = "Where is order 1042? Write to jane.doe@example.com."
_HANDBOOK = "Orders leave the warehouse within two days; a delivery can be moved until noon of its day. " * 48
_TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "look_up_order",
            "parameters": {"type": "object", "properties": {"order": {"type": "integer"}}},
        },
    }
]


class MetricLine(NamedTuple):
    """One sample of the metrics page."""

    text: str
    """The line as it was served."""
    name: str
    labels: dict[str, str]
    value: str
    exemplar: str
    """What stands behind ``#``, or ""."""


class Outcome(NamedTuple):
    """What the demo has to show."""

    client: str
    """Name and version of the real client."""
    base_url: str
    call: Call
    """The call on show."""
    span: ReadableSpan
    trace: list[ReadableSpan]
    """All spans of its trace, in the order of their starts."""
    log: dict[str, Any]
    metrics: list[MetricLine]
    calls: list[Call]
    """All model calls, in the order of their starts."""


@click.command(name="demo", help="Show the span, the log line and the metrics of real calls; no key, no network.")
@click.option("--serve", is_flag=True, help="Leave /metrics up on loopback afterwards, until Ctrl-C.")
@click.option("--port", type=click.IntRange(0, 65535), help=f"Port of --serve; 0 takes a free one.  [{PORT}]")
@click.option(
    "--for", "for_s", metavar="SECONDS", type=click.FloatRange(0), help="End --serve after this many seconds."
)
@click.option("--json", "as_json", is_flag=True, help="Print the three signals as one JSON object.")
@click.option("--svg", "svg_file", type=click.Path(dir_okay=False, writable=True), hidden=True)
def command(serve: bool, port: int | None, for_s: float | None, as_json: bool, svg_file: str | None) -> None:
    """Run the demo."""
    for option, given in (("--port", port), ("--for", for_s)):
        if given is not None and not serve:
            raise click.UsageError(f"{option} has no effect without --serve")
    for variable in MULTIPROCESS_VARIABLES:
        if os.environ.get(variable):
            raise click.UsageError(f"the demo shows one process: unset {variable}")
    with _as_shipped(), capture(strict=False) as seen, _serving(serve, port, seen) as page:
        with _status(as_json):
            shown = _run(seen, page)
        if as_json:
            click.echo(json.dumps(_as_json(shown)))
        elif svg_file is not None:
            _save(shown, svg_file)
        else:
            _print(shown, serve)
        if serve:
            _wait(page, for_s)


# --- surroundings --------------------------------------------------------------------


@contextmanager
def _as_shipped() -> Iterator[None]:
    """The demo is the same everywhere, and sends nothing anywhere: no settings, no proxies."""
    aside = {k: v for k, v in os.environ.items() if k.startswith(_NOT_OURS) or k.upper().endswith(_PROXY)}
    for name in aside:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(aside)


@contextmanager
def _serving(serve: bool, port: int | None, seen: Seen) -> Iterator[MetricsServer]:
    wanted = (PORT if port is None else port) if serve else 0
    try:
        page = serve_metrics(wanted, registry=seen.registry)
    except OSError as error:
        raise click.UsageError(f"cannot listen on port {wanted} ({error.strerror}); choose another --port") from None
    try:
        yield page
    finally:
        page.close()


@contextmanager
def _status(quiet: bool) -> Iterator[None]:
    if quiet or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status("calling the made-up provider"):
        yield


def _wait(page: MetricsServer, for_s: float | None) -> None:
    until = "until Ctrl-C" if for_s is None else f"for {for_s:g} s"
    click.echo(f"serving {page.url} {until}; try: curl -H 'Accept: {OPENMETRICS}' {page.url}", err=True)
    try:
        threading.Event().wait(for_s)
    except KeyboardInterrupt:
        click.echo(err=True)


# --- the application -----------------------------------------------------------------


def _run(seen: Seen, page: MetricsServer) -> Outcome:
    try:
        import openai
    except ImportError:
        raise MissingExtraError("the demo", "demo") from None
    trisignal.instrument("openai")
    try:
        with DemoProvider() as provider:
            _make_calls(openai, provider.base_url)
            return _gather(seen, page, f"openai {openai.__version__}", provider.base_url)
    finally:
        trisignal.uninstrument("openai")


def _make_calls(openai: Any, base_url: str) -> None:
    with openai.OpenAI(base_url=base_url, api_key="none") as client:
        with trisignal.context(request_id="req-7f3a", conversation_id="conv-12"):
            _answer(client)
        client.responses.create(model="gpt-5-mini", input=_HANDBOOK + _QUESTION, reasoning={"effort": "low"})
        client.chat.completions.create(model="gpt-4o", messages=_asked(), extra_headers={SCENE: BUSY})
        try:
            client.chat.completions.create(model="gpt-4o", messages=_asked(), extra_headers={SCENE: TOO_LONG})
        except openai.BadRequestError:
            pass  # the application handles it; the signals tell of it
        with client.chat.completions.create(model="gpt-4.1", messages=_asked(), stream=True) as chunks:
            for number, _ in enumerate(chunks):
                if number == 5:
                    break
    asyncio.run(_acall(openai, base_url))


async def _acall(openai: Any, base_url: str) -> None:
    async with openai.AsyncOpenAI(base_url=base_url, api_key="none") as client:
        await client.chat.completions.create(model="gpt-4o-mini", messages=_asked())


@trisignal.workflow("answer_question")
def _answer(client: Any) -> None:
    with trisignal.stage("retrieve"):
        client.embeddings.create(model="text-embedding-3-small", input=_QUESTION)
        with trisignal.retrieval("handbook", top_k=3):
            time.sleep(0.02)
    with trisignal.agent("planner"):
        client.chat.completions.create(model="gpt-4o-mini", messages=_asked(), tools=_TOOLS)
        _look_up_order(1042)
        chunks = client.chat.completions.create(
            model="gpt-4.1-mini",
            messages=[{"role": "system", "content": _HANDBOOK}, *_asked()],
            stream=True,
            stream_options={"include_usage": True},
        )
        for _ in chunks:
            pass


@trisignal.tool("look_up_order")
def _look_up_order(order: int) -> str:
    time.sleep(0.015)
    return f"order {order} is on its way"


def _asked() -> list[dict[str, str]]:
    return [{"role": "user", "content": _QUESTION}]


# --- the signals ---------------------------------------------------------------------


def _gather(seen: Seen, page: MetricsServer, client: str, base_url: str) -> Outcome:
    calls = sorted((c for c in seen.calls if c.model_call), key=lambda c: c.start_unix_ns)
    # The first stream is the one inside the workflow: it has everything that a call can have.
    call = next(c for c in calls if c.chunk_times is not None)
    spans = {s.context.span_id: s for s in seen.spans if s.context is not None}
    trace_id, span_id = int(call.trace_id, 16), int(call.span_id, 16)
    trace = [s for s in spans.values() if s.context is not None and s.context.trace_id == trace_id]
    trace.sort(key=lambda s: s.start_time or 0)
    log = next(line for line in seen.logs if line.get("span_id") == call.span_id)
    return Outcome(client, base_url, call, spans[span_id], trace, log, _lines_of(call, _fetch(page.url)), calls)


def _fetch(url: str) -> str:
    from urllib.request import Request, urlopen

    with urlopen(Request(url, headers={"Accept": OPENMETRICS})) as answer:
        return str(answer.read().decode())


def _lines_of(call: Call, page: str) -> list[MetricLine]:
    """Lines of the page that this call moved: its totals, and the buckets that carry its ids."""
    found: list[tuple[int, MetricLine]] = []
    table = names.profile(names.PROFILES[0])
    order = {table[key].prometheus_name: place for place, key in enumerate(_SHOWN)}
    wanted = {_label(names.OPERATION): call.operation, _label(names.REQUEST_MODEL): call.request_model}
    for text in page.splitlines():
        read = _LINE.fullmatch(text)
        if read is None:
            continue
        labels = dict(_LABEL.findall(read[2]))
        line = MetricLine(text, read[1], labels, read[3], read[4] or "")
        total = line.name.endswith("_total") or line.name == table["tokens"].prometheus_name + "_sum"
        base = line.name if line.name in order else line.name.rpartition("_")[0]
        if base not in order or not wanted.items() <= labels.items() or float(line.value) == 0:
            continue
        if total or call.span_id in line.exemplar:
            found.append((order[base], line))
    return [line for _, line in sorted(found, key=lambda pair: pair[0])]


def _label(attribute: str) -> str:
    return attribute.replace(".", "_")


def span_as_dict(span: ReadableSpan) -> dict[str, Any]:
    """A span in plain values, its ids as they are in logs and exemplars."""
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


def _as_json(shown: Outcome) -> Mapping[str, Any]:
    return {
        "trace_id": shown.call.trace_id,
        "span_id": shown.call.span_id,
        "span": span_as_dict(shown.span),
        "log": shown.log,
        "metrics": [line.text for line in shown.metrics],
        "trace": [span_as_dict(span) for span in shown.trace],
        "calls": [_call_as_dict(call) for call in shown.calls],
    }


def _call_as_dict(call: Call) -> dict[str, Any]:
    usage = call.usage
    return {
        "operation": call.operation,
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


# --- output --------------------------------------------------------------------------


def _print(shown: Outcome, serve: bool) -> None:
    from rich.console import Console

    from trisignal.cli._demo_view import show

    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        # A terminal that cannot show a character shows a question mark.
        reconfigure(errors="replace")
    show(Console(highlight=False), shown, serving=serve)


def _save(shown: Outcome, path: str) -> None:
    from trisignal.cli._demo_view import svg

    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(svg(shown, SVG_COLUMNS))
    except OSError as error:
        raise click.UsageError(f"cannot write {path}: {error.strerror}") from None
