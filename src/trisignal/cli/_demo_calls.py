"""The demo's application: real calls of each kind, and what they left in the three signals."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from trisignal import semconv as names
from trisignal._context import context
from trisignal.cli._demo_provider import BUSY, SCENE, TOO_LONG, DemoProvider
from trisignal.clients import instrument, uninstrument
from trisignal.errors import MissingExtraError
from trisignal.observe.decorators import agent, retrieval, stage, tool, workflow

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

    from trisignal.call import Call
    from trisignal.testing import Seen

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
"""What must be accepted to be shown exemplars."""
QUESTION = "Where is order 1042? Write to jane.doe@example.com."
"""What the application asks; it must be in none of the signals."""

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
_READ_BEFORE_LEAVING = 5

_NOT_OURS = ("TRISIGNAL_", "OTEL_", "OPENAI_")
_PROXY = "_PROXY"
_LINE = re.compile(r'([a-zA-Z_:][\w:]*)\{((?:\w+="(?:[^"\\]|\\.)*",?)*)\} (\S+)(?: # (.+))?')
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_SHOWN = ("requests", "inference_duration", "first_token", "tokens", "cost", "request_cost")
"""Metrics of the call on show, by their keys in `semconv.profile`."""


class MetricLine(NamedTuple):
    """One sample of the metrics page."""

    text: str
    """The line as it was served."""
    name: str
    labels: dict[str, str]
    value: str
    exemplar: str
    """What stands behind ``#``, or ""."""


class Shown(NamedTuple):
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


@contextmanager
def as_shipped() -> Iterator[None]:
    """Put this machine's settings and proxies aside: the demo is the same everywhere, and stays on it."""
    aside = {k: v for k, v in os.environ.items() if k.startswith(_NOT_OURS) or k.upper().endswith(_PROXY)}
    for name in aside:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(aside)


def run(seen: Seen, page_url: str) -> Shown:
    """Make the calls.

    Args:
        seen: What captures them.
        page_url: Address of the metrics page.

    Raises:
        MissingExtraError: The client is not installed.
    """
    try:
        openai = import_module("openai")
    except ImportError:
        raise MissingExtraError("the demo", "demo") from None
    instrument("openai")
    try:
        with DemoProvider() as provider:
            _make_calls(openai, provider.base_url)
            return _gather(seen, page_url, f"openai {openai.__version__}", provider.base_url)
    finally:
        uninstrument("openai")


# --- the application -----------------------------------------------------------------


def _make_calls(openai: Any, base_url: str) -> None:
    with openai.OpenAI(base_url=base_url, api_key="none") as client:
        with context(request_id="req-7f3a", conversation_id="conv-12"):
            _answer(client)
        if hasattr(client, "responses"):  # openai 1.66 brought it
            prompt = _HANDBOOK + QUESTION
            client.responses.create(model="gpt-5-mini", input=prompt, reasoning={"effort": "low"})
        client.chat.completions.create(model="gpt-4o", messages=_asked(), extra_headers={SCENE: BUSY})
        try:
            client.chat.completions.create(model="gpt-4o", messages=_asked(), extra_headers={SCENE: TOO_LONG})
        except openai.BadRequestError:
            pass  # the application copes with it; the signals show it
        with client.chat.completions.create(model="gpt-4.1", messages=_asked(), stream=True) as chunks:
            for number, _ in enumerate(chunks):
                if number == _READ_BEFORE_LEAVING:
                    break
    asyncio.run(_acall(openai, base_url))


async def _acall(openai: Any, base_url: str) -> None:
    async with openai.AsyncOpenAI(base_url=base_url, api_key="none") as client:
        await client.chat.completions.create(model="gpt-4o-mini", messages=_asked())


@workflow("answer_question")
def _answer(client: Any) -> None:
    with stage("retrieve"):
        client.embeddings.create(model="text-embedding-3-small", input=QUESTION)
        with retrieval("handbook", top_k=3):
            time.sleep(0.02)
    with agent("planner"):
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


@tool("look_up_order")
def _look_up_order(order: int) -> str:
    time.sleep(0.015)
    return f"order {order} is on its way"


def _asked() -> list[dict[str, str]]:
    return [{"role": "user", "content": QUESTION}]


# --- the signals ---------------------------------------------------------------------


def _gather(seen: Seen, page_url: str, client: str, base_url: str) -> Shown:
    calls = sorted((call for call in seen.calls if call.model_call), key=lambda call: call.start_unix_ns)
    # The first stream is the one inside the workflow: it has everything that a call can have.
    call = next(call for call in calls if call.chunk_times is not None)
    spans = {span.context.span_id: span for span in seen.spans if span.context is not None}
    trace_id, span_id = int(call.trace_id, 16), int(call.span_id, 16)
    trace = [span for span in spans.values() if span.context is not None and span.context.trace_id == trace_id]
    trace.sort(key=lambda span: span.start_time or 0)
    log = next(line for line in seen.logs if line.get("span_id") == call.span_id)
    return Shown(client, base_url, call, spans[span_id], trace, log, _lines_of(call, _fetch(page_url)), calls)


def _fetch(url: str) -> str:
    from urllib.request import Request, urlopen

    with urlopen(Request(url, headers={"Accept": OPENMETRICS})) as answer:
        return str(answer.read().decode())


def _lines_of(call: Call, page: str) -> list[MetricLine]:
    """Lines of the page that this call moved: its totals, and the buckets that carry its ids."""
    table = names.profile(names.PROFILES[0])
    order = {table[key].prometheus_name: place for place, key in enumerate(_SHOWN)}
    tokens = table["tokens"].prometheus_name + "_sum"
    wanted = {label(names.OPERATION): call.operation, label(names.REQUEST_MODEL): call.request_model}
    found: list[tuple[int, MetricLine]] = []
    for text in page.splitlines():
        read = _LINE.fullmatch(text)
        if read is None:
            continue
        line = MetricLine(text, read[1], dict(_LABEL.findall(read[2])), read[3], read[4] or "")
        base = line.name if line.name in order else line.name.rpartition("_")[0]
        if base not in order or not wanted.items() <= line.labels.items() or float(line.value) == 0:
            continue
        if line.name in order or line.name == tokens or call.span_id in line.exemplar:
            found.append((order[base], line))
    return [line for _, line in sorted(found, key=lambda pair: pair[0])]


def label(attribute: str) -> str:
    """Prometheus label of an attribute."""
    return attribute.replace(".", "_")
