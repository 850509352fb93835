"""Private numbers that are not texts: of any type, at any place, they do not leave."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from typing import Any

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loopback import Loopback, Reply
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import trisignal
from trisignal.policy.redact import PatternRedactor
from trisignal.semconv.digits import redact_number
from trisignal.testing import capture

CARD = 5555555555554444
DIGITS = str(CARD)


class Number(int):
    """An integer of another class."""


class Kind(Enum):
    CARD = CARD


TYPES: tuple[Callable[[int], Any], ...] = (
    int, float, Decimal, Fraction, Number, lambda n: -n, lambda n: Decimal(n).scaleb(-2).scaleb(2), lambda n: Decimal(f"{n}.00"),
    lambda n: Decimal(n).normalize(), lambda n: Kind.CARD, str, lambda n: str(n).encode(), lambda n: float(n) + 0.5,
)  # fmt: skip
SHAPES: tuple[Callable[[Any], Any], ...] = (
    lambda v: v, lambda v: [v], lambda v: (1, v), lambda v: {"n": v}, lambda v: {"a": [{"b": (v, "x")}]}, lambda v: {v: 1},
)  # fmt: skip


def hidden(sent: object) -> bool:
    """Whether the digits stand nowhere, with an exponent neither."""
    text = str(sent)
    return DIGITS not in text and "5.55555555555" not in text


@pytest.mark.parametrize("shape", range(len(SHAPES)))
@pytest.mark.parametrize("kind", range(len(TYPES)))
def test_no_number_leaves(kind: int, shape: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tool arguments and results, messages, attributes, bound values and log extras, of every type, at every depth."""
    value = SHAPES[shape](TYPES[kind](CARD))
    printed = io.StringIO()
    monkeypatch.setattr("sys.stderr", printed)
    with capture(capture_content="span_only", logs="root") as seen:

        @trisignal.tool("charge")
        def charge(card: Any) -> Any:
            return {"charged": card}

        charge(value)
        with trisignal.llm(provider="p", model="m") as call:
            call.set_attribute("card", value)
            call.set_content(input=[{"role": "user", "parts": [{"type": "data", "content": value}]}])
        logging.getLogger("shop").warning("x", extra={"card": value})
        sent = [dict(span.attributes or {}) for span in seen.spans]
        assert all(hidden(attributes) for attributes in sent), sent
        assert len(sent[0]) > 4
        assert hidden(seen.log_text)
    assert hidden(printed.getvalue())


@pytest.mark.parametrize("value", [CARD, float(CARD), [CARD, 2], (1.0, float(CARD)), DIGITS.encode()])
def test_spans_of_others_carry_none(value: Any) -> None:
    """Behind the gate, attributes of spans, events and resources of other libraries have no private number."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(trisignal.redacting(exporter)))
    with provider.get_tracer("other").start_as_current_span(
        "s", attributes={"card": value, "gen_ai.usage.input_tokens": 812}
    ) as span:
        span.add_event("paid", {"card": value})
    data = encode_spans(exporter.get_finished_spans())
    assert hidden(data)
    assert (exporter.get_finished_spans()[0].attributes or {})["gen_ai.usage.input_tokens"] == 812


def test_numbers_that_are_not_private_stay_numbers() -> None:
    """Amounts, counts and times are as they were given, in type too."""
    with capture(capture_content=True) as seen:
        with trisignal.llm(provider="p", model="m") as call:
            call.set_attribute("n", 1042)
            call.set_attribute("x", 0.25)
            call.set_attribute("at_ns", 1_732_966_453_123_456_789)
            call.set_content(output=[{"n": 1042, "x": 0.25, "b": True, "z": None}])
        attributes = seen.span.attributes or {}
        assert (attributes["n"], attributes["x"], attributes["at_ns"]) == (1042, 0.25, 1_732_966_453_123_456_789)
        assert json.loads(str(attributes["gen_ai.output.messages"])) == [{"n": 1042, "x": 0.25, "b": True, "z": None}]


def test_own_patterns_see_short_numbers() -> None:
    """A pattern of the user's own is applied to numbers of any length."""
    with capture(redact_patterns={"pin": r"\b\d{4}\b"}) as seen:
        with trisignal.llm(provider="p", model="m") as call:
            call.set_attribute("ticket", 4711)
            call.set_usage(input_tokens=4711, output_tokens=1)
        assert (seen.span.attributes or {})["ticket"] == "[REDACTED:pin]"
        assert (seen.span.attributes or {})["gen_ai.usage.input_tokens"] == 4711


@given(st.one_of(st.integers(), st.floats(), st.decimals(), st.fractions()))
@settings(max_examples=300, deadline=None)
def test_any_number_can_be_looked_at(value: Any) -> None:
    """Nothing raises; what comes back is a number of Python's, a text, or nothing."""
    assert isinstance(redact_number(value, PatternRedactor()), (int, float, str, type(None)))


def test_stop_sequences_are_content() -> None:
    """With content off, control words stay and anything longer is withheld."""
    stops = ["END", "\n\nHuman:", "<|im_end|>", "Ann Smith of 5 Park Lane"]
    for captured, last in ((False, "[content]"), (True, stops[-1])):
        with capture(capture_content=captured) as seen:
            with trisignal.llm(provider="p", model="m") as call:
                call.set_request(stop=stops)
            assert (seen.span.attributes or {})["gen_ai.request.stop_sequences"] == (*stops[:-1], last)


DEEP = "[" * 200_000 + "]" * 200_000


@pytest.mark.parametrize(
    "arguments", [DEEP, json.dumps({"n": ["x" * 50] * 40_000}), "9" * 10_000, f'{{"a": {"9" * 10_000}}}']
)
def test_deep_and_huge_arguments_cost_their_field_only(arguments: str) -> None:
    """Tool arguments that cannot be parsed are cut like a text; the rest of the content and all counts stay."""
    call = {"id": "t", "type": "function", "function": {"name": "f", "arguments": arguments}}
    message = {"role": "assistant", "content": "kept", "tool_calls": [call]}
    reply = {
        "id": "c", "object": "chat.completion", "model": "m", "created": 1,
        "choices": [{"index": 0, "finish_reason": "tool_calls", "message": message}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }  # fmt: skip
    with Loopback() as server, capture(capture_content=True) as seen:
        trisignal.instrument("openai")
        server.play(Reply(200, {"content-type": "application/json"}, json.dumps(reply).encode()))
        client = openai.OpenAI(base_url=server.url + "/v1", api_key="x", max_retries=0)
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "asked"}])
        trisignal.uninstrument()
        attributes = seen.span.attributes or {}
        assert "kept" in str(attributes["gen_ai.output.messages"])
        assert "asked" in str(attributes["gen_ai.input.messages"])
        assert len(str(attributes["gen_ai.output.messages"])) <= 16_384
        assert seen.value("llm_redaction_failures_total") == 0
        assert seen.value("llm_requests_total", llm_outcome="ok") == 1


def test_an_object_that_cannot_be_written_costs_its_field_only() -> None:
    """Content whose own methods raise is dropped, and is not a failure of the redactor."""

    class Odd:
        def __str__(self) -> str:
            raise RuntimeError

    with capture(capture_content=True) as seen:
        with trisignal.llm(provider="p", model="m") as call:
            call.set_content(input=[{"role": "user", "x": Odd()}], output=[{"kept": 1}])
        attributes = seen.span.attributes or {}
        assert attributes["gen_ai.output.messages"] == '[{"kept":1}]'
        assert attributes["llm.content.dropped"] == "unreadable"
        assert seen.value("llm_redaction_failures_total") == 0


@pytest.mark.parametrize(
    ("header", "resource"),
    [("tokens", "tokens"), ("req-minute", "req_minute"), ("req-10-second", "req_10_second"), ("ann-smith", "other"), ("zuvoptik", "other")],
)  # fmt: skip
def test_names_in_headers_become_labels_only_if_they_are_words_of_the_trade(header: str, resource: str) -> None:
    """What a server calls its limits is a label; a word that nobody expects there is not."""
    headers = {"content-type": "application/json", f"x-ratelimit-remaining-{header}": "7"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    reply = {"id": "c", "object": "chat.completion", "model": "m", "created": 1, "choices": [], "usage": usage}
    with Loopback() as server, capture() as seen:
        trisignal.instrument("openai")
        server.play(Reply(200, headers, json.dumps(reply).encode()))
        client = openai.OpenAI(base_url=server.url + "/v1", api_key="x", max_retries=0)
        client.chat.completions.create(model="m", messages=[])
        trisignal.uninstrument()
        assert seen.value("llm_ratelimit_remaining", resource=resource) == 7
