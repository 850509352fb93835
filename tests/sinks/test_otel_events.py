"""The conventions' events: when they are told, what they hold, which span they belong to."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest
from opentelemetry import trace
from opentelemetry._logs import Logger, NoOpLogger, SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider, export
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context
from sinks.calls import SPAN, TRACE, ended

from trisignal import semconv as names
from trisignal.call import Call, Draft
from trisignal.sinks import Verdict
from trisignal.sinks.otel_events import OtelEventSink

MESSAGES = [{"role": "user", "parts": [{"type": "text", "content": "hello"}]}]


class Event(NamedTuple):
    """What reached the exporter."""

    name: str | None
    attributes: dict[str, Any]
    severity: tuple[SeverityNumber | None, str | None]
    trace_id: int | None
    span_id: int | None
    timestamp: int | None
    body: Any


class Collected:
    """A logger whose events can be read back."""

    def __init__(self) -> None:
        # Renamed in opentelemetry-sdk 1.39.
        make = getattr(export, "InMemoryLogRecordExporter", None) or vars(export)["InMemoryLogExporter"]
        self._exporter: Any = make()
        self.provider = LoggerProvider(shutdown_on_exit=False)
        self.provider.add_log_record_processor(export.SimpleLogRecordProcessor(self._exporter))
        self.logger: Logger = self.provider.get_logger("test")

    @property
    def events(self) -> list[Event]:
        """The events so far."""
        found = []
        for data in self._exporter.get_finished_logs():
            r = data.log_record
            severity = (r.severity_number, r.severity_text)
            attributes = dict(r.attributes or {})
            found.append(Event(r.event_name, attributes, severity, r.trace_id, r.span_id, r.timestamp, r.body))
        return found


@pytest.fixture(name="collected")
def _collected() -> Collected:
    """A fresh collection."""
    return Collected()


def span(flags: int = 1) -> NonRecordingSpan:
    """The span of the call, as its context."""
    return NonRecordingSpan(SpanContext(int(TRACE, 16), int(SPAN, 16), False, TraceFlags(flags)))


def close(collected: Collected, call: Call, *, details: bool = True, content: bool = False) -> list[Event]:
    """Close a call that has a span; what was told."""
    sink = OtelEventSink(collected.logger, details=details, content=content)
    draft = Draft(call.operation)
    sink.open(draft)
    draft.span = span()
    sink.close(draft, call)
    return collected.events


def test_details_hold_the_facts_of_the_span(collected: Collected) -> None:
    """The details event has the span's attributes, no body, and severity DEBUG."""
    closing = {names.RESPONSE_FINISH_REASONS: ("stop",), names.USAGE_INPUT: 10}
    [event] = close(collected, ended(closing=closing))
    assert event.name == "gen_ai.client.inference.operation.details"
    assert event.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 10,
    }
    assert (event.severity, event.body) == ((SeverityNumber.DEBUG, "DEBUG"), None)


def test_events_belong_to_the_span_of_the_call(collected: Collected) -> None:
    """Trace and span id are the call's, whatever span is current; the time is its end."""
    other = NonRecordingSpan(SpanContext(1, 2, False, TraceFlags(1)))
    with trace.use_span(other):
        [event] = close(collected, ended())
    assert (event.trace_id, event.span_id) == (int(TRACE, 16), int(SPAN, 16))
    assert event.timestamp == 1_700_000_000_600_000_000


def test_content_is_structured(collected: Collected) -> None:
    """Messages are values in the event, not JSON text."""
    call = ended(content={names.INPUT_MESSAGES: json.dumps(MESSAGES)})
    [event] = close(collected, call, content=True)
    [message] = event.attributes[names.INPUT_MESSAGES]
    [part] = message["parts"]
    assert (message["role"], dict(part)) == ("user", {"type": "text", "content": "hello"})


def test_content_stays_away_unless_asked_for(collected: Collected) -> None:
    """Content that was captured for spans is not told in events."""
    [event] = close(collected, ended(content={names.INPUT_MESSAGES: json.dumps(MESSAGES)}))
    assert names.INPUT_MESSAGES not in event.attributes


def test_details_can_be_switched_off(collected: Collected) -> None:
    """Without details a successful call tells nothing."""
    assert close(collected, ended(), details=False) == []


@pytest.mark.parametrize("operation", ["embeddings", "execute_tool", "invoke_workflow", "stage", "retrieval"])
def test_only_inference_has_details(collected: Collected, operation: str) -> None:
    """Operations that are not an inference have no details event."""
    assert close(collected, ended(operation=operation)) == []


def test_served_requests_are_no_client_events(collected: Collected) -> None:
    """A model server's own spans tell neither details nor client exceptions."""
    assert close(collected, ended(role="server", outcome="error", error_type="boom")) == []


def test_a_failure_is_an_exception_event(collected: Collected) -> None:
    """The exception has type, text and stack, at severity WARN, beside the details."""
    facts = {"error_type": "openai.RateLimitError", "error_message": "slow down", "error_stack": "Traceback"}
    [details, event] = close(collected, ended(outcome="error", **facts))
    assert details.name == names.EVENT_DETAILS
    assert event.name == "gen_ai.client.operation.exception"
    assert event.attributes == {
        "exception.type": "openai.RateLimitError",
        "exception.message": "slow down",
        "exception.stacktrace": "Traceback",
    }
    assert event.severity == (SeverityNumber.WARN, "WARN")
    assert (event.trace_id, event.span_id) == (int(TRACE, 16), int(SPAN, 16))


def test_a_failure_without_content_tells_its_type_only(collected: Collected) -> None:
    """Text and stack are absent, not empty, when policy held them back."""
    [event] = close(collected, ended(outcome="error", error_type="rate_limit_exceeded"), details=False)
    assert event.attributes == {"exception.type": "rate_limit_exceeded"}


def test_a_failure_without_a_type_is_another_one(collected: Collected) -> None:
    """The conventions want a type or a message, so there is always a type."""
    [event] = close(collected, ended(outcome="error"), details=False)
    assert event.attributes == {"exception.type": "_OTHER"}


@pytest.mark.parametrize("operation", ["embeddings", "retrieval", "invoke_agent"])
def test_all_client_operations_tell_exceptions(collected: Collected, operation: str) -> None:
    """The exception event is not limited to inference."""
    [event] = close(collected, ended(operation=operation, outcome="error", error_type="E"))
    assert event.name == names.EVENT_EXCEPTION


def test_internal_operations_tell_no_client_exception(collected: Collected) -> None:
    """A failed tool or agent of this process is not a failed client operation."""
    assert close(collected, ended(operation="execute_tool", kind="internal", outcome="error")) == []


@pytest.mark.parametrize("outcome", ["cancelled", "abandoned"])
def test_giving_up_is_no_exception(collected: Collected, outcome: str) -> None:
    """Cancelled and abandoned calls have details and no exception event."""
    assert [event.name for event in close(collected, ended(outcome=outcome))] == [names.EVENT_DETAILS]


@pytest.mark.parametrize(
    ("outcome", "trace_id", "told"),
    [("ok", TRACE, 0), ("abandoned", TRACE, 1), ("error", TRACE, 2), ("ok", "", 1), ("ok", "0" * 32, 1)],
)
def test_success_follows_the_sampling_of_its_span(collected: Collected, outcome: str, trace_id: str, told: int) -> None:
    """Details of a success whose span was not sampled are not told; failures always are."""
    assert len(close(collected, ended(outcome=outcome, trace_id=trace_id, sampled=False))) == told


def test_a_call_without_a_span_is_told_in_the_current_context(collected: Collected) -> None:
    """Where nothing opened a span the event falls under the current one."""
    with trace.use_span(span()):
        OtelEventSink(collected.logger, details=True, content=False).close(Draft("chat"), ended())
    assert [event.span_id for event in collected.events] == [int(SPAN, 16)]


class Deaf(NoOpLogger):
    """A logger that is disabled and must not be given anything."""

    def emit(self, *args: Any, **kwargs: Any) -> None:
        """Refuse."""
        raise AssertionError

    def enabled(self, **_: Any) -> bool:
        """Tell so; older logs APIs cannot be asked."""
        return False


def test_a_disabled_logger_is_given_nothing() -> None:
    """No event is built for a logger that says it would drop it."""
    sink = OtelEventSink(Deaf("test"), details=True, content=True)
    sink.close(Draft("chat"), ended(outcome="error", content={names.INPUT_MESSAGES: "not read"}))
    sink.verdict(Verdict("quality", 0.5, "", "", None))


def test_a_verdict_belongs_to_the_evaluated_span(collected: Collected) -> None:
    """An evaluation is told under the ids of the call it is about."""
    ref = {"trace_id": TRACE, "span_id": SPAN, "trace_flags": "01", "response_id": "resp_1"}
    sink = OtelEventSink(collected.logger, details=True, content=False)
    sink.verdict(Verdict("faithfulness", 0.92, "good", "it is all there", ref))
    [event] = collected.events
    assert event.name == "gen_ai.evaluation.result"
    assert event.attributes == {
        "gen_ai.evaluation.name": "faithfulness",
        "gen_ai.evaluation.score.value": 0.92,
        "gen_ai.evaluation.score.label": "good",
        "gen_ai.evaluation.explanation": "it is all there",
        "gen_ai.response.id": "resp_1",
    }
    assert (event.trace_id, event.span_id) == (int(TRACE, 16), int(SPAN, 16))


def test_a_verdict_tells_nothing_it_does_not_know(collected: Collected) -> None:
    """Score, label, explanation and response id are absent when there are none."""
    sink = OtelEventSink(collected.logger, details=True, content=False)
    sink.verdict(Verdict("faithfulness", None, "", "", None))
    [event] = collected.events
    assert event.attributes == {"gen_ai.evaluation.name": "faithfulness"}


@pytest.mark.parametrize(
    "ids",
    [
        {},
        {"trace_id": TRACE},
        {"trace_id": "x", "span_id": SPAN},
        {"trace_id": "0", "span_id": "0"},
        {"trace_id": TRACE, "span_id": SPAN, "trace_flags": "zz"},
    ],
)
@pytest.mark.parametrize("given", [True, False])
def test_a_verdict_without_usable_ids_is_told_by_response_id(
    collected: Collected, ids: dict[str, str], given: bool
) -> None:
    """Missing or broken ids leave the given or current context, and the response id."""
    here = NonRecordingSpan(SpanContext(7, 8, False, TraceFlags(1)))
    sink = OtelEventSink(collected.logger, details=True, content=False)
    verdict = Verdict("quality", 0.0, "", "", {**ids, "response_id": "resp_1"})
    if given:
        sink.verdict(verdict, set_span_in_context(here))
    else:
        with trace.use_span(here):
            sink.verdict(verdict)
    [event] = collected.events
    assert event.attributes[names.RESPONSE_ID] == "resp_1"
    assert event.attributes[names.EVALUATION_SCORE] == 0.0
    assert (event.trace_id, event.span_id) == (7, 8)
