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
    names = serving.SERVING_ATTRIBUTES
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
    assert found == {serving.QUEUE_S: 0.004, serving.INFERENCE_S: 0.002, serving.TOTAL_S: 0.007}


VLLM = {"time_to_first_token_ms": 4.5, "generation_time_ms": 2.25, "queue_time_ms": 1.5, "mean_itl_ms": None}


@pytest.mark.parametrize("stream", [False, True])
def test_metrics_of_vllm(stream: bool) -> None:
    """Queue, prefill (its first token is counted from the end of the queue) and decode, whole and streamed."""
    last = {**CHAT, "object": "chat.completion.chunk", "metrics": VLLM, "choices": []}
    with Loopback() as server, capture() as seen:
        server.play(
            Reply(200, {"content-type": "text/event-stream"}, sse(last))
            if stream
            else json_reply({**CHAT, "metrics": VLLM})
        )
        ask(server.url, stream)
    found = times(seen)
    assert found.pop(serving.NETWORK_S) >= 0
    assert found == {
        serving.QUEUE_S: 0.0015, serving.PREFILL_S: 0.0045, serving.DECODE_S: 0.00225, serving.TOTAL_S: 0.00825,
    }  # fmt: skip


def test_metrics_of_vllm_with_the_responses_api() -> None:
    """They stand at the top level of the response there, too."""
    openai: Any = pytest.importorskip("openai")
    trisignal.instrument("openai")
    body = {"id": "resp_1", "object": "response", "model": "qwen3-8b", "status": "completed", "output": []}
    with Loopback() as server, capture() as seen, openai.OpenAI(base_url=f"{server.url}/v1", api_key="k") as client:
        server.play(json_reply({**body, "metrics": VLLM}))
        client.responses.create(model="qwen3-8b", input="?")
    assert times(seen)[serving.QUEUE_S] == 0.0015


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("vendor", ["groq", "cerebras"])
def test_times_of_vendors_in_openais_form(vendor: str, stream: bool) -> None:
    """Groq reports them with the tokens, its total without the queue; Cerebras beside them."""
    times_s = {"queue_time": 0.001, "prompt_time": 0.002, "completion_time": 0.003}
    usage = CHAT["usage"]
    more: dict[str, Any] = {"usage": {**usage, **times_s, "total_time": 0.005}}  # type: ignore[dict-item]  # a dict
    if vendor == "cerebras":
        more = {"usage": usage, "time_info": {**times_s, "total_time": 0.007, "created": 1_796_000_000}}
    last = {**CHAT, **more, "object": "chat.completion.chunk", "choices": []}
    with Loopback() as server, capture() as seen:
        server.play(
            Reply(200, {"content-type": "text/event-stream"}, sse(last)) if stream else json_reply({**CHAT, **more})
        )
        ask(server.url, stream)
    found = times(seen)
    assert found.pop(serving.NETWORK_S) >= 0
    assert found == {
        serving.QUEUE_S: 0.001, serving.PREFILL_S: 0.002, serving.DECODE_S: 0.003,
        serving.TOTAL_S: 0.007 if vendor == "cerebras" else 0.006,
    }  # fmt: skip


def test_parameters_of_triton() -> None:
    """A model behind Triton may name its times as engines do: in seconds, over HTTP and over gRPC."""
    over_http, over_grpc = Draft("request"), Draft("request")
    latencies.read_parameters(over_http, {serving.QUEUE_S: 0.25, serving.E2E_S: 0.5, "other": "x"})
    assert over_http.fields == {serving.QUEUE_S: 0.25, serving.TOTAL_S: 0.5}
    grpc: Any = pytest.importorskip("tritonclient.grpc")
    reply = grpc.service_pb2.ModelInferResponse()
    reply.parameters[serving.QUEUE_S].double_param = 0.25
    reply.parameters[serving.DECODE_S].int64_param = 1
    reply.parameters["triton_final_response"].bool_param = True
    latencies.read_parameters(over_grpc, reply.parameters)
    assert over_grpc.fields == {serving.QUEUE_S: 0.25, serving.DECODE_S: 1.0, serving.TOTAL_S: 1.25}
    assert set(reply.parameters) == {serving.QUEUE_S, serving.DECODE_S, "triton_final_response"}


def test_waits_between_attempts_are_not_the_networks() -> None:
    """What earlier attempts took is taken off what is left for the network."""
    openai: Any = pytest.importorskip("openai")
    trisignal.instrument("openai")
    with Loopback() as server, capture() as seen:
        server.play(Reply(503, {"retry-after-ms": "300"}, b"{}"), json_reply({**CHAT, "timings": TIMINGS}))
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key="k", max_retries=1) as client:
            client.chat.completions.create(model="qwen3-8b", messages=[{"role": "user", "content": "?"}])
    attributes = dict(seen.span.attributes or {})
    lost_s, network_s = attributes["llm.retries.lost_s"], attributes[serving.NETWORK_S]
    assert lost_s >= 0.25  # type: ignore[operator]
    assert network_s + lost_s + 0.00175 == pytest.approx(seen.calls[0].duration_s, abs=1e-5)  # type: ignore[operator]


def test_servers_that_report_nothing_add_nothing() -> None:
    """No part is invented."""
    with Loopback() as server, capture() as seen:
        server.play(json_reply(CHAT))
        ask(server.url)
    assert times(seen) == {}


ODD = st.one_of(
    st.none(), st.booleans(), st.text(max_size=3), st.floats(), st.integers(-5, 10**30), st.lists(st.none())
)


@given(st.dictionaries(st.sampled_from(["prompt_ms", "predicted_ms", "queue_time_ms"]), ODD), ODD)
def test_odd_times_are_none(timings: dict[str, Any], other: Any) -> None:
    """Whatever a server sends there: times are numbers from 0 to a day."""
    draft = Draft("chat")
    latencies.read_reply(draft, {"timings": timings, "metrics": other})
    latencies.read_reply(draft, {"timings": other, "metrics": timings})
    latencies.read_parameters(draft, {serving.QUEUE_S: other, serving.E2E_S: other})
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
