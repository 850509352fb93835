"""Our OTLP encoder against OpenTelemetry's own: what they send parses equal."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from decimal import Decimal
from enum import IntEnum
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans as stock
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState
from prometheus_client import CollectorRegistry

import trisignal
from trisignal.export import otlp_encoder


class Shade(IntEnum):
    """Numbers that are not plain ones."""

    DARK = 3


class Word(str):
    """Text that is not a plain one."""


TEXT = st.text(max_size=80)
ODD_TEXT = st.one_of(TEXT, st.text(st.characters(categories=["Cs", "Cc", "Lu"]), max_size=5))
WHOLE = st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(), st.sampled_from([0, 127, 128, 16383, 16384, -1]))
SCALARS = st.one_of(
    ODD_TEXT, WHOLE, st.floats(), st.booleans(), st.none(), st.binary(max_size=40),
    st.sampled_from([Shade.DARK, Word("word"), Decimal("1.5"), object(), 2**64, -(2**63) - 1]),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.one_of(TEXT, st.integers(0, 9)), inner, max_size=4),
    ),
    max_leaves=8,
)
ATTRIBUTES = st.dictionaries(TEXT, VALUES, max_size=8)
IDS = st.builds(
    SpanContext,
    st.integers(0, 2**128 - 1),
    st.integers(0, 2**64 - 1),
    st.booleans(),
    st.sampled_from([TraceFlags(0), TraceFlags(1), TraceFlags(3)]),
    st.sampled_from([TraceState(), TraceState([("a", "1"), ("b@c", "xy")])]),
)
NANOSECONDS = st.integers(0, 2**64 - 1)
EVENTS = st.builds(Event, TEXT, ATTRIBUTES, NANOSECONDS)
LINKS = st.builds(Link, IDS, ATTRIBUTES)
STATUSES = st.one_of(
    st.just(Status()), st.just(Status(StatusCode.OK)), st.builds(Status, st.just(StatusCode.ERROR), TEXT)
)
RESOURCES = st.sampled_from(
    [
        Resource({"service.name": "chat"}),
        Resource({"service.name": "chat"}),  # equal to the first, not the same
        Resource({"service.name": "other", "numbers": (1, 2)}, "https://schemas.test/1"),
        Resource({}),
    ]
)
SCOPES = st.sampled_from(
    [
        InstrumentationScope("trisignal", "1", "https://schemas.test/1"),
        InstrumentationScope("trisignal", "1", "https://schemas.test/1"),
        InstrumentationScope("other", None, None, {"kind": "test"}),
        None,
    ]
)


@st.composite
def spans(draw: Any) -> ReadableSpan:
    """Finished spans of every form that the SDK can give to an exporter."""
    attributes: Any = draw(ATTRIBUTES)
    if draw(st.booleans()):
        attributes = BoundedAttributes(draw(st.sampled_from([None, 2])), attributes)
    return ReadableSpan(
        name=draw(TEXT),
        context=draw(IDS),
        parent=draw(st.one_of(st.none(), IDS)),
        resource=draw(RESOURCES),
        attributes=attributes,
        events=draw(st.lists(EVENTS, max_size=3)),
        links=draw(st.lists(LINKS, max_size=3)),
        kind=draw(st.sampled_from(list(SpanKind))),
        status=draw(STATUSES),
        start_time=draw(st.one_of(st.none(), NANOSECONDS)),
        end_time=draw(st.one_of(st.none(), NANOSECONDS)),
        instrumentation_scope=draw(SCOPES),
    )


def parsed(batch: Sequence[ReadableSpan]) -> ExportTraceServiceRequest:
    """What a receiver makes of our bytes."""
    return ExportTraceServiceRequest.FromString(otlp_encoder.encode_spans(batch))


def text_of(message: ExportTraceServiceRequest) -> str:
    """A message as text: NaN differs from itself, but its text does not."""
    return str(message)


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    """OpenTelemetry's encoder logs each attribute that it drops."""
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)


@given(st.lists(spans(), max_size=4))
@settings(deadline=None)
def test_both_encoders_parse_equal(batch: list[ReadableSpan]) -> None:
    """Whatever OpenTelemetry's encoder takes, ours writes so that it parses to the same message."""
    assert text_of(parsed(batch)) == text_of(stock(batch))


def span(name: str = "chat", attributes: Any = None, **more: Any) -> ReadableSpan:
    """A finished span."""
    return ReadableSpan(name, context=SpanContext(1, 2, False), attributes=attributes, start_time=1, end_time=2, **more)


def test_large_and_deep_values_parse_equal() -> None:
    """A megabyte of text, thousands of items and nesting near the limit are not a special case."""
    deep: Any = "bottom"
    for _ in range(40):
        deep = [deep]
    batch = [span(attributes={"text": "ü" * 500_000, "items": tuple(range(20_000)), "deep": deep, "": "empty key"})]
    assert parsed(batch) == stock(batch)


def test_a_span_that_cannot_be_encoded_does_not_take_the_batch_along() -> None:
    """OpenTelemetry's encoder fails with the whole batch; ours leaves one span out and counts it."""
    registry = CollectorRegistry()
    with trisignal.setup(registry=registry):
        batch = [span("before"), _impossible(), span("after")]
        names = [one.name for one in parsed(batch).resource_spans[0].scope_spans[0].spans]
        assert names == ["before", "after"]
        assert registry.get_sample_value("trisignal_dropped_total", {"queue": "traces"}) == 1


def _impossible() -> ReadableSpan:
    return ReadableSpan("times", context=SpanContext(1, 2, False), start_time=-5, end_time=2)


def test_a_name_that_no_encoder_takes_is_replaced() -> None:
    """Lone surrogates in names become question marks."""
    [only] = parsed([span("chat \ud800")]).resource_spans[0].scope_spans[0].spans
    assert only.name == "chat ?"


def test_what_is_left_to_the_other_encoder_is_counted() -> None:
    """Values of unusual types cost more, and how many there were can be seen."""
    registry = CollectorRegistry()
    with trisignal.setup(registry=registry):
        parsed([span(attributes={"plain": 1, "odd": Shade.DARK, "huge": 2**70})])
        assert registry.get_sample_value("trisignal_encoder_fallbacks_total", {"item": "attribute"}) == 2
