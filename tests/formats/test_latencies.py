"""Times that self-hosted servers return, through their real clients; and what these requests carry."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loopback import Loopback, Reply, json_reply, sse

import trisignal
from trisignal.call import Draft
from trisignal.formats import latencies
from trisignal.semconv import serving
from trisignal.testing import Seen, capture

CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "qwen3-8b",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
}
TIMINGS = {"prompt_n": 10, "prompt_ms": 1.5, "predicted_n": 5, "predicted_ms": 0.25, "predicted_per_second": 100.0}
OLLAMA = {
    "model": "qwen3:8b",
    "created_at": "2026-11-30T00:00:00Z",
    "message": {"role": "assistant", "content": "Yes."},
    "done": True,
    "done_reason": "stop",
    "prompt_eval_count": 10,
    "eval_count": 5,
    "load_duration": 1_000_000,
    "prompt_eval_duration": 2_000_000,
    "eval_duration": 3_000_000,
    "total_duration": 6_500_000,
}


def times(seen: Seen) -> dict[str, float]:
    """Times of the server on the only span; the line has the same."""
    attributes = dict(seen.span.attributes or {})
    names = (serving.QUEUE_S, serving.PREFILL_S, serving.DECODE_S, serving.LOAD_S, serving.TOTAL_S, serving.NETWORK_S)
    found = {name: attributes[name] for name in names if name in attributes}
    [line] = seen.logs
    assert {name: line[name] for name in names if name in line} == found
    return found  # type: ignore[return-value]


def ask(url: str, stream: bool = False) -> None:
    """A call of OpenAI's client."""
    openai: Any = pytest.importorskip("openai")
    trisignal.instrument("openai")
    with openai.OpenAI(base_url=f"{url}/v1", api_key="k") as client:
        asked = {"model": "qwen3-8b", "messages": [{"role": "user", "content": "?"}]}
        reply = client.chat.completions.create(**asked, stream=stream)
        if stream:
            list(reply)


@pytest.mark.parametrize("stream", [False, True])
def test_timings_of_llama_cpp(stream: bool) -> None:
    """Prefill and decode, whole and streamed; what is left of the duration is the network's."""
    last = {**CHAT, "object": "chat.completion.chunk", "timings": TIMINGS}
    last["choices"] = [{"index": 0, "delta": {"content": "Yes."}, "finish_reason": "stop"}]
    with Loopback() as server, capture() as seen:
        server.play(
            Reply(200, {"content-type": "text/event-stream"}, sse(last))
            if stream
            else json_reply({**CHAT, "timings": TIMINGS})
        )
        ask(server.url, stream)
    found = times(seen)
    duration_s = seen.calls[0].duration_s
    assert found.pop(serving.NETWORK_S) == pytest.approx(max(0.0, duration_s - 0.00175), abs=1e-5)
    assert found == {serving.PREFILL_S: 0.0015, serving.DECODE_S: 0.00025, serving.TOTAL_S: 0.00175}


@pytest.mark.parametrize("stream", [False, True])
def test_durations_of_ollama(stream: bool) -> None:
    """Loading, prefill, decode and all, in nanoseconds."""
    ollama: Any = pytest.importorskip("ollama")
    trisignal.instrument("ollama")
    with Loopback() as server, capture() as seen:
        server.play(json_reply(OLLAMA))
        client = ollama.Client(host=server.url)
        reply = client.chat(model="qwen3:8b", messages=[{"role": "user", "content": "?"}], stream=stream)
        if stream:
            list(reply)
    found = times(seen)
    assert found.pop(serving.NETWORK_S) >= 0
    assert found == {
        serving.LOAD_S: 0.001, serving.PREFILL_S: 0.002, serving.DECODE_S: 0.003, serving.TOTAL_S: 0.0065,
    }  # fmt: skip


def test_headers_of_text_generation_inference() -> None:
    """Queue and inference in milliseconds."""
    headers = {"x-queue-time": "4", "x-inference-time": "2", "x-total-time": "7", "x-time-per-token": "1"}
    with Loopback() as server, capture() as seen:
        server.play(json_reply(CHAT, headers=headers))
        ask(server.url)
    found = times(seen)
    assert found.pop(serving.NETWORK_S) >= 0
    assert found == {serving.QUEUE_S: 0.004, serving.DECODE_S: 0.002, serving.TOTAL_S: 0.007}


def test_servers_that_report_nothing_add_nothing() -> None:
    """No part is invented."""
    with Loopback() as server, capture() as seen:
        server.play(json_reply(CHAT))
        ask(server.url)
    assert times(seen) == {}


ODD = st.one_of(
    st.none(), st.booleans(), st.text(max_size=3), st.floats(), st.integers(-5, 10**30), st.lists(st.none())
)


@given(st.dictionaries(st.sampled_from(["prompt_ms", "predicted_ms"]), ODD), ODD)
def test_odd_times_are_none(timings: dict[str, Any], other: Any) -> None:
    """Whatever a server sends there: times are numbers from 0 to a day."""
    draft = Draft("chat")
    latencies.read_timings(draft, timings)
    latencies.read_timings(draft, other)
    latencies.read_headers(draft, {b"x-queue-time": json.dumps(other, default=str).encode()})
    assert all(isinstance(value, float) and 0 <= value <= 3 * 86_400 for value in draft.fields.values())


# --- what requests carry ------------------------------------------------------------------------


def test_own_hosts_get_trace_and_request_id() -> None:
    """Hosts that the setting names do; no other host gets anything, nor do they get other bound values."""
    with Loopback() as own, Loopback() as other:
        with capture(provider_hosts={f"127.0.0.1:{own.port}": "vllm"}) as seen:
            for server in (own, other):
                server.play(json_reply(CHAT))
                with trisignal.context(request_id="order-7", user_id="ann", tenant="acme"):
                    ask(server.url)
            spans = seen.spans
        [sent], [foreign] = own.requests, other.requests
    headers = {name.lower(): value for name, value in dict(sent.headers).items()}
    context = spans[0].context
    assert context is not None
    assert headers["traceparent"] == f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    assert headers["x-request-id"] == "order-7"
    assert "acme" not in str(headers)
    others = {name.lower() for name in dict(foreign.headers)}
    assert not others & {"traceparent", "x-request-id", "baggage", "x-trisignal-context"}
