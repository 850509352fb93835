"""The processor itself: where it is added, what it sees, and that nobody notices it."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Status, StatusCode
from privacy.leaving import ALL, MARKS, TEXT, WORD, leaving
from prometheus_client import CollectorRegistry

import trisignal
from trisignal import _guard
from trisignal import semconv as names
from trisignal.engine import nesting, state
from trisignal.engine import vocabularies as words
from trisignal.export import exporters
from trisignal.testing import capture

INFERENCE: Any = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.usage.input_tokens": 20,
    "gen_ai.usage.output_tokens": 5,
}


def chat(provider: Any, **attributes: Any) -> None:
    """One finished span of another instrumentation."""
    provider.get_tracer("other").start_span("chat", attributes={**INFERENCE, **attributes}).end()


def counted(registry: CollectorRegistry) -> float:
    """Model calls that the metrics tell."""
    return sum(s.value for f in registry.collect() for s in f.samples if s.name == "llm_requests_total")


def test_setup_adds_it_to_the_provider_in_use(registry: CollectorRegistry) -> None:
    """A provider given by the host, or built here, is looked at without further ado."""
    host = TracerProvider()
    with trisignal.setup(tracer_provider=host, registry=registry):
        chat(host)
        assert counted(registry) == 1
    built = CollectorRegistry()
    with trisignal.setup(registry=built) as telemetry:
        chat(telemetry.tracer_provider)
        assert counted(built) == 1


def test_it_can_be_switched_off(registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """``bridge=False``, or the variable, leaves spans of other instrumentations alone."""
    host = TracerProvider()
    with trisignal.setup(tracer_provider=host, registry=registry, bridge=False):
        chat(host)
    monkeypatch.setenv("TRISIGNAL_BRIDGE", "false")
    with trisignal.setup(tracer_provider=host, registry=registry):
        chat(host)
        assert counted(registry) == 0


def test_it_falls_silent_at_shutdown(registry: CollectorRegistry) -> None:
    """Setting up and shutting down again and again counts once, and nothing after the end."""
    host = TracerProvider()
    for _ in range(3):
        with trisignal.setup(tracer_provider=host, registry=registry):
            chat(host)
            assert counted(registry) == 1
    chat(host)
    assert not state.NESTING.spans
    assert state.NESTING.watchers == 0


def test_it_works_on_a_provider_that_setup_does_not_see(registry: CollectorRegistry) -> None:
    """Added by hand to the host's own provider, it feeds the metrics of setup()."""
    host = TracerProvider()
    bridge = trisignal.BridgeSpanProcessor()
    host.add_span_processor(bridge)
    chat(host)
    with trisignal.setup(tracer_provider=TracerProvider(), registry=registry):
        chat(host)
        with host.get_tracer("other").start_as_current_span("outer", attributes=INFERENCE):
            with trisignal.llm(model="gpt-4o-mini"):
                pass
        assert counted(registry) == 2
    host.shutdown()
    assert state.NESTING.watchers == 0


def test_two_on_one_provider_count_once(registry: CollectorRegistry) -> None:
    """Adding it by hand where setup() has added it already does no harm."""
    host = TracerProvider()
    with trisignal.setup(tracer_provider=host, registry=registry):
        second = trisignal.BridgeSpanProcessor()
        host.add_span_processor(second)
        chat(host)
        chat(host)
        tool: Any = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "weather"}
        host.get_tracer("other").start_span("tool", attributes=tool).end()
        assert counted(registry) == 2
        samples = [sample for family in registry.collect() for sample in family.samples]
        assert sum(s.value for s in samples if s.name == "gen_ai_execute_tool_duration_seconds_count") == 1
    second.shutdown()


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_sampling_does_not_touch_metrics(ratio: float, registry: CollectorRegistry, monkeypatch: Any) -> None:
    """On a provider of setup() what is sampled out is recorded and counted, and not exported."""
    exported = InMemorySpanExporter()
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    monkeypatch.setitem(exporters._CONSOLE, "TRACES", lambda: exported)
    with trisignal.setup(registry=registry, trace_sample_ratio=ratio) as telemetry:
        for _ in range(5):
            chat(telemetry.tracer_provider)
        with trisignal.llm(model="m"):
            pass
        telemetry.force_flush()
        assert counted(registry) == 6
        assert len(exported.get_finished_spans()) == 6 * ratio


def test_errors_of_ours_stay_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug in the bridge is contained and counted; the span ends as it would."""

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("ours")

    with capture(strict=False) as seen:
        monkeypatch.setattr("trisignal.bridge.translation.draft_of", broken)
        chat(seen.telemetry.tracer_provider)
        monkeypatch.setattr(nesting, "begin", broken)
        chat(seen.telemetry.tracer_provider)
        assert len(seen.spans) == 2
        assert seen.value("trisignal_internal_errors_total", site="bridge.on_end") == 2
        assert seen.value("trisignal_internal_errors_total", site="bridge.on_start") == 1
        _guard.STATE.counts.clear()


def test_a_span_ended_inside_of_a_sink_waits() -> None:
    """The collector may end a span while a sink holds its locks: it is told afterwards."""

    class Collecting(SpanProcessor):
        """Ends a foreign span while ours is told, as the garbage collector may."""

        def __init__(self) -> None:
            self.others: list[Any] = []

        def on_end(self, span: ReadableSpan) -> None:
            """End what waits."""
            if self.others and (span.instrumentation_scope or span).name == names.SCOPE:  # type: ignore[union-attr]
                assert state.inside
                self.others.pop().end()
                assert seen.telemetry.tally.summary().total.calls == 0

    with capture() as seen:
        provider: Any = seen.telemetry.tracer_provider
        collecting = Collecting()
        provider.add_span_processor(collecting)
        collecting.others.append(provider.get_tracer("other").start_span("chat", attributes=INFERENCE))
        with trisignal.llm(model="m"):
            pass
        assert seen.telemetry.tally.summary().total.calls == 2


def test_a_start_costs_little() -> None:
    """Remembering a span takes a bounded number of Python calls, whatever else is open."""
    with capture() as seen:
        tracer = seen.telemetry.tracer_provider.get_tracer("other")
        bare = TracerProvider().get_tracer("other")

        def calls(make: Any) -> int:
            count = 0

            def count_call(frame: Any, event: str, _: Any) -> None:
                nonlocal count
                count += event == "call"

            make()
            sys.setprofile(count_call)
            make()
            sys.setprofile(None)
            return count

        with trace.use_span(tracer.start_span("request", attributes={"http.request.method": "GET"})):
            added = calls(lambda: tracer.start_span("query").end()) - calls(lambda: bare.start_span("query").end())
        assert added <= 70, added


VOCABULARIES = sorted(
    {key for key, _ in words.KINDS}
    | {key for row in words.USAGE.values() for key in row}
    | {key for fact in words.FACTS for key in (fact.name, *fact.others)}
    | {key for row in words.ENTITY.values() for key in row}
    | {
        *words.CONVERSATION, *words.AGENT, *words.PROVIDER, *words.REQUEST_MODEL, *words.ONLY_MODEL, *words.PARAMETERS,
        *words.RESPONSE_MODEL, *words.RESPONSE_ID, *words.FINISH_REASONS, *words.VENDOR_REQUEST_ID, *words.BILLED_TIER,
        *words.BASE_URL, "server.address", "error.type", "gen_ai.input.messages", "gen_ai.output.messages",
        "gen_ai.system_instructions", "gen_ai.tool.definitions", "gen_ai.tool.call.arguments", "input.value",
        "output.value", "llm.input_messages.0.message.content", "llm.output_messages.0.message.content",
        "traceloop.entity.input", "traceloop.entity.output", "gen_ai.prompt.0.content", "gen_ai.completion.0.content",
        "pydantic_ai.all_messages", "final_result", "request_data", "response_data", "llm.headers",
    }
)  # fmt: skip
"""Every attribute that is read, and those in which the vocabularies put content."""
OUTPUTS_OF_OURS = ("otlp metrics", "otlp events", "prometheus", "openmetrics", "call log", "own loggers")


@pytest.mark.parametrize("key", VOCABULARIES)
def test_nothing_private_comes_over(key: str) -> None:
    """Whatever stands in an attribute of a bridged span, no output of ours carries a secret."""
    told = {**INFERENCE, key: ALL if key not in dict(words.KINDS) else INFERENCE.get(key, "LLM")}
    with leaving(capture_content=True) as made:
        tracer = made.seen.telemetry.tracer_provider.get_tracer("other")
        for attributes in (
            told,
            {**told, "openinference.span.kind": "TOOL"},
            {**told, "openinference.span.kind": "AGENT"},
        ):
            with tracer.start_as_current_span("chat", attributes=attributes) as span:
                span.add_event("exception", {"exception.type": ALL, "exception.message": TEXT})
                span.set_status(Status(StatusCode.ERROR, TEXT))
        leaks = made.leaks(*MARKS)
    assert {name: marks for name, marks in leaks.items() if name in OUTPUTS_OF_OURS} == {}


def test_content_of_a_bridged_span_stays_there() -> None:
    """With content off no word of a prompt leaves through any output of ours."""
    content = {key: TEXT for key in VOCABULARIES if key.endswith(("content", "messages", "value", "input", "output"))}
    with leaving() as made:
        chat(made.seen.telemetry.tracer_provider, **content)
        leaks = made.leaks(WORD)
    assert {name for name in leaks if name in OUTPUTS_OF_OURS} == set()


@pytest.mark.parametrize("key", [key for key in VOCABULARIES if key != "server.port"])
def test_the_gate_redacts_every_vocabulary(key: str) -> None:
    """Attributes, texts in lists and in JSON, and events leave redacted through the gate."""
    exported = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(trisignal.redacting(exported)))
    with provider.get_tracer("other").start_as_current_span("chat") as span:
        span.set_attribute(key, json.dumps([{"role": "user", "content": ALL}]))
        span.add_event("gen_ai.user.message", {"content": ALL, key: [ALL]})
    [sent] = exported.get_finished_spans()
    assert [mark for mark in MARKS if mark in sent.to_json()] == []
