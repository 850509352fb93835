"""Triton's gRPC clients: one inference is one call, however its reply comes."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from clients.triton.server import Answer, Server, reply
from clients.triton.shapes import MODEL, tensors
from opentelemetry import trace
from opentelemetry.trace import StatusCode
from tritonclient import grpc as plain
from tritonclient.grpc import aio
from tritonclient.utils import InferenceServerException

import trisignal
from trisignal import testing
from trisignal.semconv import serving

pytestmark = pytest.mark.instruments("triton")

WAIT_S = 60.0


def failing(code: grpc.StatusCode) -> Answer:
    """An answer that is a status."""
    return lambda request, context: context.abort(code, "it failed")


def _later(client: Any, **more: Any) -> tuple[Any, queue.Queue[tuple[Any, Any]]]:
    got: queue.Queue[tuple[Any, Any]] = queue.Queue()
    handle = client.async_infer(MODEL, tensors(plain), lambda result, error: got.put((result, error)), **more)
    return handle, got


def _all(url: str) -> Iterator[tuple[str, Any]]:
    """Make the same call in every way: yields its reply, or the error that the application got."""
    with plain.InferenceServerClient(url) as client:
        try:
            yield "infer", client.infer(MODEL, tensors(plain), request_id="7")
        except InferenceServerException as error:
            yield "infer", error
        result, failure = _later(client, request_id="7")[1].get(timeout=WAIT_S)
        yield "async_infer", failure or result

    async def run() -> Any:
        async with aio.InferenceServerClient(url) as client:
            try:
                return await client.infer(MODEL, tensors(plain), request_id="7")
            except InferenceServerException as error:
                return error

    yield "aio", asyncio.run(run())


def test_an_inference_is_one_call(seen: testing.Seen) -> None:
    """Plain, with a callback and awaited: one span with model, id and address, one log line and one count."""
    with Server() as server:
        got = list(_all(server.url))
    assert [type(result).__name__ for _, result in got] == ["InferResult"] * 3
    assert [span.name for span in seen.spans] == [f"request {MODEL}"] * 3
    for span in seen.spans:
        attributes = span.attributes or {}
        assert attributes["gen_ai.operation.name"] == "request"
        assert attributes["gen_ai.provider.name"] == "triton"
        assert attributes["gen_ai.response.model"] == MODEL
        assert attributes["gen_ai.response.id"] == "7"
        assert (attributes["server.address"], attributes["server.port"]) == ("127.0.0.1", server.port)
        assert not [name for name in attributes if name.startswith("gen_ai.usage.")]
    assert len(seen.logs) == 3
    assert seen.value("llm_requests_total", gen_ai_provider_name="triton", llm_outcome="ok") == 3
    assert seen.value("gen_ai_client_operation_duration_seconds_count") == 3
    assert seen.value("gen_ai_client_token_usage_count") == 0
    assert seen.value("llm_usage_missing_total") == 0
    assert seen.value("llm_active_requests") == 0


def test_times_among_the_parameters_of_a_reply(seen: testing.Seen) -> None:
    """A model that names its times as engines do has them on the span, and the rest is the network's."""

    def answer(request: Any, context: Any) -> Any:
        made = reply(request, final=True)
        made.parameters[serving.QUEUE_S].double_param = 0.0005
        made.parameters[serving.INFERENCE_S].double_param = 0.00025
        return made

    with Server(answer) as server:
        list(_all(server.url))
    for span in seen.spans:
        attributes = dict(span.attributes or {})
        assert (attributes[serving.QUEUE_S], attributes[serving.INFERENCE_S]) == (0.0005, 0.00025)
        assert attributes[serving.TOTAL_S] == 0.00075
        assert serving.NETWORK_S in attributes
    assert len(seen.spans) == 3


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, "invalid_request"),
        (grpc.StatusCode.NOT_FOUND, "invalid_request"),
        (grpc.StatusCode.UNAVAILABLE, "overloaded"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "rate_limit"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "timeout"),
        (grpc.StatusCode.UNAUTHENTICATED, "auth"),
        (grpc.StatusCode.PERMISSION_DENIED, "auth"),
        (grpc.StatusCode.INTERNAL, "server"),
    ],
)
def test_a_status_is_an_error_of_its_kind(seen: testing.Seen, code: grpc.StatusCode, kind: str) -> None:
    """The application gets the client's exception; the operator its status as ``error.type``, and a kind."""
    with Server(failing(code)) as server:
        got = list(_all(server.url))
    assert [error.status() for _, error in got] == [str(code)] * 3
    for span in seen.spans:
        attributes = span.attributes or {}
        assert (attributes["error.type"], attributes["llm.error_kind"]) == (code.name, kind)
        assert span.status.status_code is StatusCode.ERROR
    assert seen.value("llm_errors_total", llm_error_kind=kind) == 3


def test_nobody_listens(seen: testing.Seen) -> None:
    """A connection that cannot be made is an error of that kind."""
    with Server() as server:
        url = server.url
    assert len(list(_all(url))) == 3
    assert seen.value("llm_errors_total", llm_error_kind="connection") == 3


def test_a_deadline_of_the_client(seen: testing.Seen) -> None:
    """A server that is too slow for the client's deadline is a timeout."""
    with Server() as server:
        server._answer = lambda request, context: server.release.wait(WAIT_S) and reply(request)
        with plain.InferenceServerClient(server.url) as client, pytest.raises(InferenceServerException):
            client.infer(MODEL, tensors(plain), client_timeout=0.1)
    assert seen.value("llm_errors_total", llm_error_kind="timeout") == 1


def test_a_cancelled_inference(seen: testing.Seen) -> None:
    """What the application cancels is cancelled, and no error."""
    with Server() as server:
        server._answer = lambda request, context: server.release.wait(WAIT_S) and reply(request)
        with plain.InferenceServerClient(server.url) as client:
            handle, got = _later(client)
            handle.cancel()
            assert got.get(timeout=WAIT_S)[1].status() == "StatusCode.CANCELLED"
    assert seen.value("llm_requests_total", llm_outcome="cancelled") == 1
    assert seen.value("llm_errors_total") == 0


def test_the_call_has_ended_when_the_callback_begins(seen: testing.Seen) -> None:
    """Time that the application spends in its callback is not the model's; no span is current there."""
    inside: list[Any] = []
    done: queue.Queue[None] = queue.Queue()

    def callback(result: Any, error: Any) -> None:
        inside.append((len(seen.spans), trace.get_current_span() is trace.INVALID_SPAN))
        done.put(None)

    with Server() as server, plain.InferenceServerClient(server.url) as client:
        client.async_infer(model_name=MODEL, inputs=tensors(plain), callback=callback)
        done.get(timeout=WAIT_S)
    assert inside == [(1, True)]


def test_other_requests_are_no_calls(seen: testing.Seen) -> None:
    """Asking whether a server lives calls no model."""
    with Server() as server, plain.InferenceServerClient(server.url) as client:
        with pytest.raises(InferenceServerException):
            client.is_server_live()
    assert seen.spans == []


def test_the_parent_is_what_the_call_was_made_in(seen: testing.Seen) -> None:
    """A reply that comes in another thread ends a call that began in this one."""
    with Server() as server, plain.InferenceServerClient(server.url) as client, trisignal.workflow("rank"):
        _, got = _later(client)
        got.get(timeout=WAIT_S)
    inner, outer = seen.spans
    assert inner.parent is not None
    assert outer.get_span_context() is not None
    assert inner.parent.span_id == outer.get_span_context().span_id  # type: ignore[union-attr]


def test_trace_context_is_sent_where_it_is_asked_for() -> None:
    """Metadata carry ``traceparent`` with the setting on, and only then."""
    for wanted in (False, True):
        with testing.capture(propagate_trace_context=wanted) as seen, Server() as server:
            trisignal.instrument("triton")
            assert len(list(_all(server.url))) == 3
            trisignal.uninstrument()
            sent = [data.get("traceparent", "").split("-")[2:3] for data in server.metadata]
            ids = [[f"{span.get_span_context().span_id:016x}"] for span in seen.spans]  # type: ignore[union-attr]
            assert sent == (ids if wanted else [[]] * 3)
