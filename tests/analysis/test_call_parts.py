"""Where a call's time went, whatever its server says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trisignal.analysis import tree
from trisignal.analysis.rows import SpanRow
from trisignal.semconv import serving

CALL = {"operation": "chat", "model_call": True}
SERVER = {"operation": "chat", "root": True, "service": "qwen-server"}
ENGINE = {serving.QUEUE_S: 0.5, serving.PREFILL_S: 0.25, serving.DECODE_S: 1.0}


def span(number: int, parent: int | None, start_s: float, duration_s: float, **facts: Any) -> SpanRow:
    """A span of one trace."""
    above = "" if parent is None else f"{parent:016x}"
    return SpanRow("0" * 31 + "1", f"{number:016x}", above, f"span {number}", start_s, duration_s, **facts)


def parts(*spans: SpanRow) -> dict[str, float]:
    """Parts of the first span."""
    [root] = tree.roots(spans)
    return {part.name: pytest.approx(part.duration_s) for part in root.parts}


def test_what_the_reply_says_goes_first() -> None:
    """A server's own span is not asked where the reply has said all; earlier attempts are a part of their own."""
    said = {**ENGINE, serving.TOTAL_S: 1.8, serving.NETWORK_S: 0.2, "llm.retries.lost_s": 1.0}
    found = parts(span(1, None, 0, 3.0, attributes=said, **CALL), span(2, 1, 0.1, 2.5, attributes={serving.QUEUE_S: 9}))
    assert found == {"attempts": 1.0, "network": 0.2, "queue": 0.5, "prefill": 0.25, "decode": 1.0, "server": 0.05}


def test_inference_stands_where_it_is_not_split() -> None:
    """Prefill and decode are inside of it: they are not shown beside each other."""
    said = {serving.QUEUE_S: 0.5, serving.INFERENCE_S: 1.25, serving.TOTAL_S: 1.75}
    assert parts(span(1, None, 0, 2.0, attributes=said, **CALL)) == {"network": 0.25, "queue": 0.5, "inference": 1.25}
    both = {**ENGINE, serving.INFERENCE_S: 1.25, serving.TOTAL_S: 1.75}
    assert "inference" not in parts(span(1, None, 0, 2.0, attributes=both, **CALL))


def test_an_engines_span_below() -> None:
    """Its own whole time if it says one, else its length."""
    call = span(1, None, 0, 2.0, **CALL)
    engine = {**ENGINE, serving.E2E_S: 1.9}
    assert parts(call, span(2, 1, 0.1, 1.8, attributes=engine))["network"] == 0.1
    found = parts(call, span(2, 1, 0.1, 1.8, attributes=ENGINE))
    assert found == {"network": 0.2, "queue": 0.5, "prefill": 0.25, "decode": 1.0, "server": 0.05}


def test_a_server_without_times_is_one_part() -> None:
    """What `ServerMiddleware` knows without a report; a span of this program is not a server."""
    call = span(1, None, 0, 2.0, service="chat-api", **CALL)
    assert parts(call, span(2, 1, 0.1, 1.5, **SERVER)) == {"network": 0.5, "server": 1.5}
    assert parts(call, span(2, 1, 0.1, 1.5, operation="chat")) == {}


def test_an_engine_inside_of_a_server() -> None:
    """The network ends at the outer one, the parts are the engine's."""
    found = parts(
        span(1, None, 0, 2.0, **CALL),
        span(2, 1, 0.1, 1.9, **SERVER),
        span(3, 2, 0.2, 1.8, attributes={**ENGINE, serving.E2E_S: 1.8}),
    )
    assert found == {"network": 0.1, "queue": 0.5, "prefill": 0.25, "decode": 1.0, "server": 0.15}


def test_of_several_attempts_the_last_one_counts() -> None:
    """An engine's span of an attempt that failed is not the answer's."""
    found = parts(
        span(1, None, 0, 4.0, attributes={"llm.retries.lost_s": 2.0}, **CALL),
        span(2, 1, 0.1, 1.8, attributes={serving.QUEUE_S: 1.5}),
        span(3, 1, 2.1, 1.8, attributes=ENGINE),
    )
    assert (found["attempts"], found["queue"]) == (2.0, 0.5)
    assert found["network"] == 0.2


def test_what_calls_no_model_has_no_parts() -> None:
    """Nor has a call whose server says nothing."""
    assert parts(span(1, None, 0, 2.0, operation="stage", attributes=ENGINE)) == {}
    assert parts(span(1, None, 0, 2.0, **CALL), span(2, 1, 0.1, 1.0)) == {}


TIME = st.one_of(st.floats(), st.text(max_size=3), st.none(), st.booleans(), st.integers(-3, 10**12))
NAMES = (*serving.SERVING_ATTRIBUTES, serving.E2E_S, "llm.retries.lost_s")


@given(st.dictionaries(st.sampled_from(NAMES), TIME), st.dictionaries(st.sampled_from(NAMES), TIME), st.floats(0, 100))
def test_no_part_is_negative(own: dict[str, Any], below: dict[str, Any], duration_s: float) -> None:
    """Whatever is recorded: parts are finite times above 0, each named once."""
    spans = [span(1, None, 0, duration_s, attributes=own, **CALL), span(2, 1, 0, 1.0, attributes=below)]
    [root] = tree.roots(spans)
    assert all(0 < part.duration_s < float("inf") for part in root.parts)
    assert len({part.name for part in root.parts}) == len(root.parts)
