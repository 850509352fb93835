"""The client makes spans of its own when asked to: one call still is one span and one count, and no fact is lost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from clients.mistral import shapes
from loopback import Loopback, Reply, json_reply
from opentelemetry import baggage, trace
from opentelemetry import context as otel_context
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

import trisignal
from trisignal import testing

pytestmark = pytest.mark.instruments("mistral", capture_content="span_only")

observability = pytest.importorskip("mistralai.extra.observability")
if not hasattr(observability, "set_tracer_provider"):
    pytest.skip("this version makes no spans of its own, or only where everybody's go", allow_module_level=True)

REFUSED = json_reply(
    {"object": "error", "message": "Invalid model: x", "type": "invalid_model", "code": "1500"}, status=400
)
ASKED = {**shapes.CHAT, "random_seed": 7, "top_p": 0.5, "max_tokens": 64, "stop": ["END"]}
CALLS: dict[str, tuple[Callable[[Any], Any], tuple[Reply, ...]]] = {
    "create": (lambda c: c.chat.complete(**ASKED), (shapes.WHOLE,)),
    "stream": (lambda c: list(c.chat.stream(**shapes.CHAT)), (shapes.STREAMED,)),
    "fim": (lambda c: c.fim.complete(model="codestral-latest", prompt="def f("), (shapes.WHOLE,)),
    "agents": (
        lambda c: c.agents.complete(agent_id="ag_loop", messages=shapes.CHAT["messages"]),
        (shapes.WHOLE,),
    ),
    "embeddings": (
        lambda c: c.embeddings.create(model="mistral-embed", inputs=["Lisbon"]),
        (json_reply(shapes.EMBEDDED),),
    ),
    "refused": (lambda c: c.chat.complete(**shapes.CHAT), (REFUSED,)),
}
CHANGES = {"http.url", "server.address", "server.port"}
"""Holds the port of the server at hand."""
NAMED_OTHERWISE = {
    "agents": {"gen_ai.operation.name"},  # it is one inference, and counted as such
    "embeddings": {"gen_ai.response.id"},  # the conventions have none
}
CONTENT = {"gen_ai.input.messages", "gen_ai.output.messages"}


class Elsewhere:
    """A tracer provider that is not the one of `setup`."""

    def __init__(self) -> None:
        self._kept = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._kept))

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        """What was exported there."""
        return self._kept.get_finished_spans()


def client(server: Loopback, provider: Any) -> Any:
    """A client whose own spans go to a provider."""
    made = shapes.client(server.url)
    observability.set_tracer_provider(made, provider)
    return made


def use(call: Callable[[Any], Any], made: Any) -> None:
    """Make a call, whatever comes of it."""
    try:
        call(made)
    except shapes.SDKError:
        pass


def facts(span: ReadableSpan, name: str) -> dict[str, Any]:
    """What a span tells, apart from what differs from run to run."""
    left_out = CHANGES | CONTENT | NAMED_OTHERWISE.get(name, set())
    return {key: value for key, value in (span.attributes or {}).items() if key not in left_out}


@pytest.mark.parametrize("name", CALLS)
def test_one_span_knows_all_that_the_clients_own_would(name: str, seen: testing.Seen) -> None:
    """Every attribute of the span that the client would make has its value on the one span that there is."""
    call, replies = CALLS[name]
    trisignal.uninstrument()
    alone = Elsewhere()
    with Loopback() as server:
        server.play(*replies)
        use(call, client(server, alone.provider))
    trisignal.instrument("mistral")
    with Loopback() as server:
        server.play(*replies)
        use(call, client(server, seen.telemetry.tracer_provider))
    [native] = alone.spans
    [ours] = seen.spans
    known = facts(ours, name)
    assert {fact: known.get(fact) for fact in facts(native, name)} == facts(native, name)
    assert set(ours.attributes or {}) >= CHANGES
    assert (set(native.attributes or {}) & CONTENT) <= set(ours.attributes or {})
    assert (native.status.status_code is StatusCode.ERROR) == (ours.status.status_code is StatusCode.ERROR)


@pytest.mark.parametrize("name", CALLS)
def test_one_call_is_counted_once(name: str, seen: testing.Seen) -> None:
    """One span, one log line, one duration and one request per call."""
    call, replies = CALLS[name]
    with Loopback() as server:
        server.play(*replies)
        use(call, client(server, seen.telemetry.tracer_provider))
    assert len(seen.spans) == 1
    assert len([line for line in seen.logs if "gen_ai.operation.name" in line]) == 1
    assert seen.value("gen_ai_client_operation_duration_seconds_count") == 1
    assert seen.value("llm_requests_total") == 1
    assert seen.value("trisignal_internal_errors_total") == 0


def test_async_calls_have_one_span_too(seen: testing.Seen) -> None:
    """The hooks of asynchronous calls run in another thread: they find the call all the same."""

    async def run(server: Loopback) -> None:
        async with client(server, seen.telemetry.tracer_provider) as made:
            await made.chat.complete_async(**shapes.CHAT)
            async for _ in await made.chat.stream_async(**shapes.CHAT):
                pass

    with Loopback() as server:
        server.play(shapes.WHOLE, shapes.STREAMED)
        asyncio.run(run(server))
    assert [span.name for span in seen.spans] == [f"chat {shapes.MODEL}"] * 2
    assert [(span.attributes or {})["http.response.status_code"] for span in seen.spans] == [200, 200]
    assert seen.value("llm_requests_total") == 2


def test_content_is_told_by_us_only() -> None:
    """Messages that the client would put on its span appear only where they are captured."""
    with testing.capture() as seen, Loopback() as server:
        trisignal.instrument("mistral")
        server.play(shapes.WHOLE)
        client(server, seen.telemetry.tracer_provider).chat.complete(**shapes.CHAT)
        trisignal.uninstrument()
        assert not CONTENT & set(seen.span.attributes or {})
        assert "Lisbon" not in json.dumps(dict(seen.span.attributes or {}), default=str)


def test_requests_carry_the_context_of_our_span(seen: testing.Seen) -> None:
    """The client propagates as it would by itself, with the span that there is."""
    with Loopback() as server:
        server.play(shapes.WHOLE)
        client(server, seen.telemetry.tracer_provider).chat.complete(**shapes.CHAT)
        sent = server.requests[0].header("traceparent")
    context = seen.span.get_span_context()
    assert context is not None
    assert sent == f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def test_a_client_that_was_not_asked_sends_nothing(seen: testing.Seen) -> None:
    """Without telemetry of its own the client sends no trace headers, and nor do we."""
    with Loopback() as server:
        server.play(shapes.WHOLE)
        shapes.create(shapes.client(server.url))
        assert server.requests[0].header("traceparent") is None


def test_spans_that_go_elsewhere_are_as_without_us(seen: testing.Seen) -> None:
    """A client with a provider of its own keeps its spans there, under the application's; the call is counted once."""
    elsewhere = Elsewhere()
    around = elsewhere.provider.get_tracer("app")
    with Loopback() as server, around.start_as_current_span("request") as outer:
        server.play(shapes.WHOLE, shapes.STREAMED)
        made = client(server, elsewhere.provider)
        made.chat.complete(**shapes.CHAT)
        list(made.chat.stream(**shapes.CHAT))
        sent = [request.header("traceparent") for request in server.requests]
    theirs = elsewhere.spans[:2]
    assert [span.parent.span_id for span in theirs if span.parent] == [outer.get_span_context().span_id] * 2
    ids = [f"{span.get_span_context().span_id:016x}" for span in theirs if span.get_span_context()]
    assert [head and head.split("-")[2] for head in sent] == ids
    assert [span.name for span in seen.spans] == [f"chat {shapes.MODEL}"] * 2
    assert seen.value("llm_requests_total") == 2


def test_calls_that_are_not_ours_keep_their_spans(seen: testing.Seen) -> None:
    """What calls no model is left to the client."""
    with Loopback() as server:
        server.play(json_reply({"object": "list", "data": []}))
        client(server, seen.telemetry.tracer_provider).models.list()
    [span] = seen.spans
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.name == observability.MISTRAL_SDK_OTEL_TRACER_NAME
    assert seen.value("llm_requests_total") == 0


def test_the_conversation_in_the_baggage_is_told(seen: testing.Seen) -> None:
    """The client reads the conversation from the baggage; it is the call's, unless a block of ours names one."""
    token = otel_context.attach(baggage.set_baggage("gen_ai.conversation.id", "conv_baggage"))
    try:
        with Loopback() as server:
            server.play(shapes.WHOLE, shapes.WHOLE)
            made = client(server, seen.telemetry.tracer_provider)
            made.chat.complete(**shapes.CHAT)
            with trisignal.context(conversation_id="conv_bound"):
                made.chat.complete(**shapes.CHAT)
    finally:
        otel_context.detach(token)
    told = [(span.attributes or {})["gen_ai.conversation.id"] for span in seen.spans]
    assert told == ["conv_baggage", "conv_bound"]


def test_after_undo_the_clients_own_spans_are_back(seen: testing.Seen) -> None:
    """`uninstrument` gives the client its tracer back, for objects that exist too."""
    with Loopback() as server:
        server.play(shapes.WHOLE, shapes.WHOLE)
        made = client(server, seen.telemetry.tracer_provider)
        made.chat.complete(**shapes.CHAT)
        trisignal.uninstrument()
        made.chat.complete(**shapes.CHAT)
    scopes = [span.instrumentation_scope.name for span in seen.spans if span.instrumentation_scope]
    assert scopes[1:] == [observability.MISTRAL_SDK_OTEL_TRACER_NAME]
    assert trace.get_current_span() is trace.INVALID_SPAN
