"""``python -m coexistence.beside.program LIBRARY ORDER``: the calls of an application that has one more library.

ORDER says where trisignal stands: ``library_first``, ``trisignal_first``, or ``bridge`` (no client of ours is
patched; the library's spans are all there is). Prints what was sent, counted and raised as one line of JSON.
Connections to other machines are refused, and named in the report.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from importlib.metadata import version
from typing import Any

from coexistence.beside.libraries import LIBRARIES, Addresses, Clients, set_variables
from coexistence.scene import CLAUDE, MODEL, Provider
from loopback import Loopback, Recorded, Reply, json_reply
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

import trisignal

REFUSED = "refused-model"
TEXT = "Three days."
ASK: dict[str, Any] = {"messages": [{"role": "user", "content": "Plan three days."}]}
CLAUDE_ASK: dict[str, Any] = {"max_tokens": 64, **ASK}
USAGE: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
_LOCAL = ("127.", "::1", "localhost", "0.0.0.0", "/", "::ffff:127.")

elsewhere: Counter[str] = Counter()
"""Hosts of other machines that were asked for."""


def _stay_here(event: str, arguments: tuple[Any, ...]) -> None:
    """Audit hook: no name is resolved and no connection made outside of this machine."""
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event == "socket.connect":
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else "/"
    else:
        return
    name = host.decode() if isinstance(host, bytes) else str(host or "localhost")
    if not name.startswith(_LOCAL):
        elsewhere[name] += 1
        raise OSError(f"{name} is not on this machine")


class RefusingProvider(Provider):
    """Refuses one model; answers the others."""

    def __init__(self) -> None:
        self.refused = 0
        super().__init__(failing=False)

    def _answer(self, request: Recorded) -> Reply:
        if request.method == "POST" and request.json().get("model") == REFUSED:
            self.refused += 1
            error = {"type": "invalid_request_error", "message": "no such model", "code": "model_not_found"}
            return json_reply({"type": "error", "error": error}, status=400)
        return super()._answer(request)


class Calls:
    """Makes the calls, and keeps what the application got that it had not asked for."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self.raised: list[str] = []
        self.made: Counter[str] = Counter()

    def make(self) -> None:
        """Each vendor: a plain call, a stream and a refused call, sync and async."""
        with self._clients.around():
            if self._clients.openai is not None:
                self._openai(self._clients.openai)
            if self._clients.anthropic is not None:
                self._anthropic(self._clients.anthropic)
            asyncio.run(self._amake())

    def _check(self, vendor: str, text: Any) -> None:
        self.made[vendor] += 1
        if text != TEXT:
            self.raised.append(f"{vendor}: text is {text!r}")

    def _refused(self, vendor: str, error: BaseException) -> None:
        self.made[f"{vendor}_refused"] += 1
        if type(error).__name__ != "BadRequestError":
            self.raised.append(f"{vendor}: {type(error).__name__}: {error}"[:300])

    def _unexpected(self, vendor: str, error: BaseException) -> None:
        self.made[vendor] += 1
        self.raised.append(f"{vendor}: {type(error).__name__}: {error}"[:300])

    def _openai(self, client: Any) -> None:
        try:
            self._check("openai", client.chat.completions.create(model=MODEL, **ASK).choices[0].message.content)
        except Exception as error:
            self._unexpected("openai", error)
        try:
            self._check("openai", _text(list(client.chat.completions.create(model=MODEL, **ASK, **USAGE))))
        except Exception as error:
            self._unexpected("openai", error)
        try:
            client.chat.completions.create(model=REFUSED, **ASK)
        except Exception as error:
            self._refused("openai", error)

    def _anthropic(self, client: Any) -> None:
        try:
            self._check("anthropic", client.messages.create(model=CLAUDE, **CLAUDE_ASK).content[0].text)
        except Exception as error:
            self._unexpected("anthropic", error)
        try:
            self._check("anthropic", _said(list(client.messages.create(model=CLAUDE, **CLAUDE_ASK, stream=True))))
        except Exception as error:
            self._unexpected("anthropic", error)
        try:
            client.messages.create(model=REFUSED, **CLAUDE_ASK)
        except Exception as error:
            self._refused("anthropic", error)

    async def _amake(self) -> None:
        if self._clients.aopenai is not None:
            await self._aopenai(self._clients.aopenai)
        if self._clients.aanthropic is not None:
            await self._aanthropic(self._clients.aanthropic)

    async def _aopenai(self, client: Any) -> None:
        create = client.chat.completions.create
        try:
            self._check("openai", (await create(model=MODEL, **ASK)).choices[0].message.content)
        except Exception as error:
            self._unexpected("openai", error)
        try:
            self._check("openai", _text([chunk async for chunk in await create(model=MODEL, **ASK, **USAGE)]))
        except Exception as error:
            self._unexpected("openai", error)
        try:
            await create(model=REFUSED, **ASK)
        except Exception as error:
            self._refused("openai", error)

    async def _aanthropic(self, client: Any) -> None:
        create = client.messages.create
        try:
            self._check("anthropic", (await create(model=CLAUDE, **CLAUDE_ASK)).content[0].text)
        except Exception as error:
            self._unexpected("anthropic", error)
        try:
            stream = await create(model=CLAUDE, **CLAUDE_ASK, stream=True)
            self._check("anthropic", _said([event async for event in stream]))
        except Exception as error:
            self._unexpected("anthropic", error)
        try:
            await create(model=REFUSED, **CLAUDE_ASK)
        except Exception as error:
            self._refused("anthropic", error)


def _text(chunks: list[Any]) -> str:
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


def _said(events: list[Any]) -> str:
    return "".join(event.delta.text for event in events if event.type == "content_block_delta")


class Counted:
    """What trisignal has counted."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._samples = [sample for family in registry.collect() for sample in family.samples]

    def sum(self, metric: str, **labels: str) -> int:
        """Sum of the samples of one name with these labels."""
        return int(sum(s.value for s in self._samples if s.name == metric and labels.items() <= s.labels.items()))

    def of(self, vendor: str) -> dict[str, int]:
        """Calls and tokens of one vendor."""
        ours = {"gen_ai_provider_name": vendor}
        tokens = "gen_ai_client_token_usage_sum"
        return {
            "ok": self.sum("llm_requests_total", llm_outcome="ok", **ours),
            "error": self.sum("llm_requests_total", llm_outcome="error", **ours),
            "all": self.sum("llm_requests_total", **ours),
            "input": self.sum(tokens, gen_ai_token_type="input", **ours),
            "output": self.sum(tokens, gen_ai_token_type="output", **ours),
        }


def _keep_spans() -> InMemorySpanExporter:
    kept = InMemorySpanExporter()
    add = getattr(trace.get_tracer_provider(), "add_span_processor", None)
    if add is not None:
        add(SimpleSpanProcessor(kept))
    return kept


def _set_up(registry: CollectorRegistry, order: str) -> trisignal.Telemetry:
    telemetry = trisignal.setup(service_name="coexistence", registry=registry)
    if order != "bridge":
        trisignal.instrument()
    return telemetry


def run(name: str, order: str) -> dict[str, Any]:
    """One library in one order.

    Args:
        name: Key of `LIBRARIES`.
        order: One of ``ORDERS`` of the table.

    Returns:
        The report.
    """
    library = LIBRARIES[name]
    provider = RefusingProvider()
    backend = Loopback()
    backend.handle(lambda request: json_reply(library.answer))
    set_variables(library, backend.url)
    if library.host_provider:
        trace.set_tracer_provider(TracerProvider())
    registry = CollectorRegistry()
    at = Addresses(provider.server.url, backend.url)
    if order == "trisignal_first":
        telemetry = _set_up(registry, order)
        clients = library.switch(at)
    else:
        clients = library.switch(at)
        telemetry = _set_up(registry, order)
    kept = _keep_spans()
    calls = Calls(clients)
    calls.make()
    try:
        clients.flush()
    except Exception as error:
        calls.raised.append(f"flush: {type(error).__name__}: {error}"[:300])
    flushed = telemetry.force_flush(10.0)
    counted = Counted(registry)
    spans = Counter(str(getattr(span.instrumentation_scope, "name", "")) for span in kept.get_finished_spans())
    deadline_s = time.monotonic() + 5
    while not backend.requests and not spans and time.monotonic() < deadline_s:
        time.sleep(0.1)
    return {
        "version": version(library.distribution),
        "clients": {one: version(one) for one in ("openai", "anthropic") if calls.made[one]},
        "made": dict(calls.made),
        "sent": {"input": provider.input_tokens, "output": provider.output_tokens, "refused": provider.refused},
        "counted": {vendor: counted.of(vendor) for vendor in ("openai", "anthropic")},
        "all": counted.sum("llm_requests_total"),
        "active": counted.sum("llm_active_requests"),
        "internal_errors": counted.sum("trisignal_internal_errors_total"),
        "usage_missing": counted.sum("llm_usage_missing_total"),
        "flushed": flushed,
        "raised": calls.raised,
        "spans": dict(spans),
        "backend_requests": len(backend.requests),
        "elsewhere": dict(elsewhere),
    }


if __name__ == "__main__":
    sys.addaudithook(_stay_here)
    print("REPORT " + json.dumps(run(*sys.argv[1:3])), flush=True)
