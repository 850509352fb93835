"""Late versions make spans of their own: one call still is one span and one count, and no fact is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import anthropic
import pytest
from anthropic._base_client import BaseClient
from clients.anthropic import shapes
from loopback import Loopback, Reply, json_reply
from opentelemetry import baggage, trace
from opentelemetry import context as otel_context
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

import trisignal
from trisignal import testing

pytestmark = [
    pytest.mark.skipif(not hasattr(BaseClient, "_tracer"), reason="this version makes no spans of its own"),
    pytest.mark.instruments("anthropic"),
]

HEADERS = {**shapes.HEADERS, "anthropic-workspace-id": "wrkspc_01Loop"}
BATCH: dict[str, Any] = {
    "id": "msgbatch_01Loop",
    "type": "message_batch",
    "processing_status": "in_progress",
    "request_counts": {"processing": 1, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0},
    "created_at": "2026-01-01T00:00:00Z",
    "expires_at": "2026-01-02T00:00:00Z",
    "ended_at": None,
    "archived_at": None,
    "cancel_initiated_at": None,
    "results_url": None,
}
COMPACTED = {
    **shapes.USAGE,
    "output_tokens_details": {"thinking_tokens": 3},
    "iterations": [
        {"type": "compaction", "input_tokens": 90, "cache_read_input_tokens": 8, "output_tokens": 5},
        {"type": "message", "input_tokens": 12, "output_tokens": 9},
    ],
}
ASKED: dict[str, Any] = {
    **shapes.CHAT,
    "thinking": {"type": "enabled", "budget_tokens": 128},
    "service_tier": "auto",
    "output_config": {"effort": "high", "format": {"type": "json_schema", "schema": {"type": "object"}}},
    "extra_headers": {"anthropic-beta": "first-2026-01-01, second-2026-01-01"},
}


def _answered(payload: object, status: int = 200, **headers: str) -> Reply:
    return json_reply(payload, status=status, headers={**HEADERS, **headers})


def _helped(client: Any) -> None:
    with client.messages.stream(**shapes.CHAT) as stream:
        stream.get_final_message()


_OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
_BROKEN = shapes.event("error", error={"type": "overloaded_error", "message": "Overloaded"})
CALLS: dict[str, tuple[Callable[[Any], Any], tuple[Reply, ...]]] = {
    "create": (lambda c: c.messages.create(**ASKED), (_answered(shapes.message("{}")),)),
    "beta": (
        lambda c: c.beta.messages.create(**shapes.CHAT, betas=["third-2026-01-01"]),
        (_answered(shapes.message("Yes.", usage=COMPACTED)),),
    ),
    "raw": (lambda c: c.messages.with_raw_response.create(**shapes.CHAT), (_answered(shapes.message("Yes.")),)),
    "stream": (lambda c: list(c.messages.create(**shapes.STREAM)), (shapes.streamed(*shapes.EVENTS),)),
    "helper": (_helped, (shapes.streamed(*shapes.EVENTS),)),
    "retried": (
        lambda c: c.messages.create(**shapes.CHAT),
        (_answered(_OVERLOADED, 529, **{"retry-after-ms": "1"}), _answered(shapes.message("Yes."))),
    ),
    "refused": (lambda c: c.messages.create(**shapes.CHAT), (_answered(_OVERLOADED, 400),)),
    "broken": (lambda c: list(c.messages.create(**shapes.STREAM)), (shapes.streamed(*shapes.HEAD, _BROKEN),)),
    "count_tokens": (
        lambda c: c.messages.count_tokens(model=shapes.MODEL, messages=shapes.CHAT["messages"]),
        (_answered({"input_tokens": 14}),),
    ),
    "batch_create": (
        lambda c: c.messages.batches.create(requests=[{"custom_id": "a", "params": shapes.CHAT}]),
        (_answered(BATCH),),
    ),
    "batch_retrieve": (lambda c: c.messages.batches.retrieve("msgbatch_01Loop"), (_answered(BATCH),)),
    "batch_cancel": (lambda c: c.beta.messages.batches.cancel("msgbatch_01Loop"), (_answered(BATCH),)),
    "batch_list": (lambda c: c.messages.batches.list(limit=2), (_answered({"data": [BATCH], "has_more": False}),)),
}
CHANGES = {"url.full", "server.port", "gen_ai.response.time_to_first_chunk"}
"""Holds the port of the server at hand, or a time."""


def client(server: Loopback, provider: Any, **options: object) -> anthropic.Anthropic:
    """A client whose own spans go to a provider."""
    return anthropic.Anthropic(
        api_key="sk-ant-loopback",
        base_url=server.url,
        max_retries=1,
        open_telemetry={"tracer_provider": provider, **options},
    )


def use(call: Callable[[Any], Any], made: Any) -> None:
    """Make a call, whatever comes of it."""
    try:
        call(made)
    except anthropic.APIError:
        pass


class Elsewhere:
    """A tracer provider that is not the one of `setup`."""

    def __init__(self) -> None:
        self._kept = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._kept))

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        """What was exported there."""
        return self._kept.get_finished_spans()


def told(span: ReadableSpan) -> dict[str, Any]:
    """What a span tells, apart from what differs from run to run."""
    return {name: value for name, value in (span.attributes or {}).items() if name not in CHANGES}


@pytest.mark.parametrize("name", CALLS)
def test_one_span_knows_all_that_the_clients_own_would(name: str, seen: testing.Seen) -> None:
    """Every attribute of the span that the client would make has its value on the one span that there is."""
    call, replies = CALLS[name]
    trisignal.uninstrument()
    alone = Elsewhere()
    with Loopback() as server:
        server.play(*replies)
        use(call, client(server, alone.provider, conversation_id="conv_loop"))
    trisignal.instrument("anthropic")
    with Loopback() as server:
        server.play(*replies)
        use(call, client(server, seen.telemetry.tracer_provider, conversation_id="conv_loop"))
    [native] = alone.spans
    [ours] = seen.spans
    known = told(ours)
    assert {fact: known.get(fact) for fact in told(native)} == told(native)
    assert set(native.attributes or {}) <= set(ours.attributes or {})
    assert ours.kind is native.kind


@pytest.mark.parametrize("name", CALLS)
def test_one_call_is_counted_once(name: str, seen: testing.Seen) -> None:
    """One log line and one duration per call; tokens and requests of inferences only."""
    call, replies = CALLS[name]
    with Loopback() as server:
        server.play(*replies)
        use(call, client(server, seen.telemetry.tracer_provider))
    inference = name not in ("count_tokens", "batch_create", "batch_retrieve", "batch_cancel", "batch_list")
    assert len(seen.spans) == len(seen.logs) == 1
    assert seen.value("gen_ai_client_operation_duration_seconds_count") == 1
    assert seen.value("llm_requests_total") == inference
    assert seen.value("llm_usage_missing_total") == 0
    assert seen.value("trisignal_internal_errors_total") == 0
    if not inference:
        assert seen.value("gen_ai_client_token_usage_count") == 0


def test_async_calls_have_one_span_too(seen: testing.Seen) -> None:
    """The asynchronous client's span is held back like the synchronous one's."""

    async def run(url: str) -> None:
        options: Any = {"tracer_provider": seen.telemetry.tracer_provider}
        async with anthropic.AsyncAnthropic(api_key="k", base_url=url, open_telemetry=options) as made:
            await made.messages.create(**shapes.CHAT)
            async for _ in await made.messages.create(**shapes.STREAM):
                pass

    with Loopback() as server:
        server.play(_answered(shapes.message("Yes.")), shapes.streamed(*shapes.EVENTS))
        asyncio.run(run(server.url))
    assert [span.name for span in seen.spans] == [f"chat {shapes.MODEL}"] * 2
    assert seen.value("llm_requests_total") == 2


def test_requests_carry_the_context_of_our_span(seen: testing.Seen) -> None:
    """The client propagates as it would by itself, with the span that there is, on each attempt."""
    call, replies = CALLS["retried"]
    with Loopback() as server:
        server.play(*replies)
        use(call, client(server, seen.telemetry.tracer_provider))
        headers = [request.header("traceparent") for request in server.requests]
    context = seen.span.get_span_context()
    assert context is not None
    assert headers == [f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"] * 2


def test_propagation_that_was_switched_off_stays_off(seen: testing.Seen) -> None:
    """A client told not to propagate sends no trace headers."""
    call, replies = CALLS["create"]
    with Loopback() as server:
        server.play(*replies)
        use(call, client(server, seen.telemetry.tracer_provider, propagation=False))
        assert server.requests[0].header("traceparent") is None
    assert len(seen.spans) == 1


@pytest.mark.parametrize("traces", [False, {"enabled": False}])
def test_a_client_without_spans_of_its_own_sends_nothing(traces: Any, seen: testing.Seen) -> None:
    """Where the client's tracing is off, ours adds nothing to the request."""
    call, replies = CALLS["create"]
    with Loopback() as server:
        server.play(*replies)
        use(call, client(server, seen.telemetry.tracer_provider, traces=traces))
        assert server.requests[0].header("traceparent") is None
    assert len(seen.spans) == 1
    assert "http.request.method" not in (seen.span.attributes or {})


def test_without_a_provider_nothing_is_sent(seen: testing.Seen) -> None:
    """A client with no place for spans sends no trace headers, even inside a block of ours."""
    with Loopback() as server:
        server.play(_answered(shapes.message("Yes.")), _answered(shapes.message("Yes.")))
        made = anthropic.Anthropic(api_key="k", base_url=server.url)
        made.messages.create(**shapes.CHAT)
        with trisignal.agent("planner"):
            made.messages.create(**shapes.CHAT)
        assert [request.header("traceparent") for request in server.requests] == [None, None]


@pytest.mark.parametrize("wanted", [False, True])
def test_a_provider_that_setup_brought_changes_no_request(wanted: bool) -> None:
    """Where the application has set no provider, trace headers are sent only if a setting asks, baggage never."""
    call, replies = CALLS["create"]
    with trisignal.setup(propagate_trace_context=wanted) as telemetry, Loopback() as server:
        trisignal.instrument("anthropic")
        token = otel_context.attach(baggage.set_baggage("customer", "42"))
        try:
            server.play(*replies, *replies)
            with anthropic.Anthropic(api_key="k", base_url=server.url) as plain:
                use(call, plain)
            with client(server, telemetry.tracer_provider) as asked:
                use(call, asked)
        finally:
            otel_context.detach(token)
            trisignal.uninstrument()
        sent, given = server.requests
    assert (sent.header("traceparent") is not None) is wanted
    assert sent.header("baggage") is None
    assert given.header("traceparent") is not None


def test_spans_that_go_elsewhere_go_on(seen: testing.Seen) -> None:
    """A client with a provider of its own keeps its spans there; the call is counted once."""
    elsewhere = Elsewhere()
    call, replies = CALLS["create"]
    with Loopback() as server:
        server.play(*replies)
        use(call, client(server, elsewhere.provider))
    assert [span.name for span in elsewhere.spans] == ["anthropic.messages.create"]
    assert [span.name for span in seen.spans] == [f"chat {shapes.MODEL}"]
    assert seen.value("llm_requests_total") == 1


def test_calls_that_are_not_ours_keep_their_spans(seen: testing.Seen) -> None:
    """What calls no model is left to the client, also when a middleware does it inside of one of our calls."""
    model = {"id": "m", "type": "model", "display_name": "M", "created_at": "2026-01-01T00:00:00Z"}
    with Loopback() as server:
        server.play(_answered(model), _answered(model), _answered(shapes.message("Yes.")))
        made = client(server, seen.telemetry.tracer_provider)
        made.models.retrieve("m")

        def look_up(request: Any, go_on: Any) -> Any:
            made.models.retrieve("m")
            return go_on(request)

        made.with_options(middleware=[look_up]).messages.create(**shapes.CHAT)
    assert [span.name for span in seen.spans] == ["anthropic.models.retrieve"] * 2 + [f"chat {shapes.MODEL}"]
    inner, outer = seen.spans[1:]
    assert inner.parent is not None
    assert inner.parent.span_id == outer.get_span_context().span_id  # type: ignore[union-attr]


def test_calls_that_are_not_sampled_propagate_that() -> None:
    """The decision of the sampler travels with the request, and the call is counted."""
    provider = TracerProvider(sampler=ALWAYS_OFF)
    with testing.capture(tracer_provider=provider) as seen, Loopback() as server:
        trisignal.instrument("anthropic")
        server.play(_answered(shapes.message("Yes.")))
        client(server, provider).messages.create(**shapes.CHAT)
        trisignal.uninstrument()
        sent = server.requests[0].header("traceparent")
        assert sent is not None
        assert int(sent[-2:], 16) & 1 == 0
        assert seen.value("llm_requests_total") == 1


def test_after_undo_the_clients_own_spans_are_back(seen: testing.Seen) -> None:
    """`uninstrument` gives the client its tracer back, for objects that exist too."""
    call, replies = CALLS["create"]
    with Loopback() as server:
        server.play(*replies, *replies)
        made = client(server, seen.telemetry.tracer_provider)
        use(call, made)
        trisignal.uninstrument()
        use(call, made)
    assert [span.name for span in seen.spans] == [f"chat {shapes.MODEL}", "anthropic.messages.create"]


def test_the_conversation_of_the_block_wins(seen: testing.Seen) -> None:
    """A conversation bound around the call is meant rather than the one of the client."""
    call, replies = CALLS["create"]
    with Loopback() as server, trisignal.context(conversation_id="conv_bound"):
        server.play(*replies)
        use(call, client(server, seen.telemetry.tracer_provider, conversation_id="conv_client"))
    assert (seen.span.attributes or {})["gen_ai.conversation.id"] == "conv_bound"


def test_a_client_that_was_told_to_make_no_spans_sends_its_requests_within_none(seen: testing.Seen) -> None:
    """A provider of no spans, given to the client, leaves the current span as it is; the call is recorded."""
    current = []

    def look(request: Any, go_on: Any) -> Any:
        current.append(trace.get_current_span().get_span_context())
        return go_on(request)

    around = trace.NonRecordingSpan(trace.SpanContext(0x1234, 0x5678, is_remote=False, trace_flags=trace.TraceFlags(1)))
    with Loopback() as server:
        server.play(*[_answered(shapes.message("Yes."))] * 2)
        made = client(server, trace.NoOpTracerProvider(), propagation=False).with_options(middleware=[look])
        made.messages.create(**shapes.CHAT)
        with trace.use_span(around):
            made.messages.create(**shapes.CHAT)
    assert [(seen_by.trace_id, seen_by.span_id) for seen_by in current] == [(0, 0), (0x1234, 0x5678)]
    assert len(seen.spans) == seen.value("llm_requests_total") == 2


def test_a_client_without_spans_asks_opentelemetry_for_nothing(
    seen: testing.Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the client's tracing is off, a call works, and is recorded, while OpenTelemetry's functions raise."""
    asked = []
    for name in ("get_tracer_provider", "get_tracer", "get_current_span", "use_span", "set_span_in_context"):
        monkeypatch.setattr(trace, name, lambda *_args, name=name, **_kwargs: asked.append(name))
    call, replies = CALLS["create"]
    with Loopback() as server:
        server.play(*replies)
        use(call, client(server, None, traces=False))
    assert asked == []
    assert seen.value("trisignal_internal_errors_total") == 0
    assert seen.value("llm_requests_total") == 1
