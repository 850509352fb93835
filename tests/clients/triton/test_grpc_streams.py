"""On a stream of gRPC each request is one call, which ends with its last reply."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from clients.triton.server import Server, reply
from clients.triton.shapes import MODEL, tensors
from tritonclient import grpc as plain
from tritonclient.grpc import aio

import trisignal
from trisignal import testing

pytestmark = pytest.mark.instruments("triton")

WAIT_S = 60.0
Got = list[tuple[Any, Any]]


def one(request: Any, context: Any) -> Any:
    """A model that sends one reply."""
    return [reply(request)]


def three(request: Any, context: Any) -> Any:
    """A model that sends several, and marks the last."""
    return [reply(request, False), reply(request, False), reply(request, True)]


def unmarked(request: Any, context: Any) -> Any:
    """A model whose end would be an empty reply that nobody has asked for."""
    return [reply(request, False), reply(request, False)]


def refused(request: Any, context: Any) -> Any:
    """A model that refuses."""
    return ["it failed"]


def broken(request: Any, context: Any) -> Any:
    """A stream that ends with a status, after one reply."""
    yield reply(request, False)
    context.abort(grpc.StatusCode.UNAVAILABLE, "shutting down")


def sync(url: str, ids: tuple[str, ...], replies: int) -> Got:
    """Send requests on a stream, and take so many replies to each."""
    got: queue.Queue[tuple[Any, Any]] = queue.Queue()
    with plain.InferenceServerClient(url) as client:
        client.start_stream(lambda result, error: got.put((result, error)))
        found = []
        for id in ids:
            client.async_stream_infer(MODEL, tensors(plain), request_id=id)
            found += [got.get(timeout=WAIT_S) for _ in range(replies)]
        client.stop_stream()
    return found


def awaited(url: str, ids: tuple[str, ...], replies: int) -> Got:
    """The same with the asynchronous client."""

    async def asked() -> AsyncIterator[dict[str, Any]]:
        for id in ids:
            yield {"model_name": MODEL, "inputs": tensors(plain), "request_id": id}

    async def run() -> Got:
        found: Got = []
        async with aio.InferenceServerClient(url) as client:
            try:
                async for result, error in client.stream_infer(asked()):
                    found.append((result, error))
            except grpc.RpcError as failure:
                found.append((None, failure))
        return found

    return asyncio.run(run())


WAYS = pytest.mark.parametrize("way", [sync, awaited])


@WAYS
@pytest.mark.parametrize(("answer", "replies"), [(one, 1), (three, 3), (unmarked, 2)])
def test_each_request_is_a_call(seen: testing.Seen, way: Any, answer: Any, replies: int) -> None:
    """One span and one count per request, however many replies it has."""
    with Server(answer) as server:
        got = way(server.url, ("a", "b"), replies)
    assert [result.get_response().id for result, _ in got] == ["a"] * replies + ["b"] * replies
    assert [span.name for span in seen.spans] == [f"request {MODEL}"] * 2
    told = [span.attributes or {} for span in seen.spans]
    assert [attributes["gen_ai.response.id"] for attributes in told] == ["a", "b"]
    assert all(attributes["gen_ai.request.stream"] for attributes in told)
    assert all("gen_ai.response.time_to_first_chunk" in attributes for attributes in told)
    assert seen.value("llm_requests_total", llm_outcome="ok") == 2
    assert seen.value("gen_ai_client_token_usage_count") == 0


@WAYS
def test_replies_without_ids_belong_to_the_oldest_request(seen: testing.Seen, way: Any) -> None:
    """Requests need no id: replies to them come in their order."""
    with Server(one) as server:
        assert len(way(server.url, ("", ""), 1)) == 2
    assert seen.value("llm_requests_total", llm_outcome="ok") == 2


@WAYS
def test_a_refusal_is_one_calls_error(seen: testing.Seen, way: Any) -> None:
    """The stream goes on after an error that it tells about one request."""
    with Server(lambda request, context: (refused if request.id == "a" else one)(request, context)) as server:
        got = way(server.url, ("a", "b"), 1)
    assert [error is not None for _, error in got] == [True, False]
    assert seen.value("llm_requests_total", llm_outcome="error") == 1
    assert seen.value("llm_requests_total", llm_outcome="ok") == 1


@WAYS
def test_a_broken_stream_is_every_open_calls_error(seen: testing.Seen, way: Any) -> None:
    """A status ends the stream, and with it the call that was waiting."""
    with Server(broken) as server:
        got = way(server.url, ("a",), 2)
    assert got[-1][1] is not None
    [span] = seen.spans
    attributes = span.attributes or {}
    assert (attributes["error.type"], attributes["llm.error_kind"]) == ("UNAVAILABLE", "overloaded")


def test_a_stream_that_is_cancelled(seen: testing.Seen) -> None:
    """A request whose stream the application cancels is cancelled."""
    with Server() as server:
        server._answer = lambda request, context: [server.release.wait(WAIT_S) and reply(request)]
        got: queue.Queue[tuple[Any, Any]] = queue.Queue()
        with plain.InferenceServerClient(server.url) as client:
            client.start_stream(callback=lambda result, error: got.put((result, error)))
            client.async_stream_infer(model_name=MODEL, inputs=tensors(plain))
            client.stop_stream(cancel_requests=True)
        server.release.set()
    assert got.get(timeout=WAIT_S)[1].status() == "StatusCode.CANCELLED"
    assert seen.value("llm_requests_total", llm_outcome="cancelled") == 1
    assert seen.value("llm_errors_total") == 0


def test_a_stream_of_another_time_is_left_alone() -> None:
    """Requests on a stream that began before we were there pass through unrecorded."""
    got: queue.Queue[tuple[Any, Any]] = queue.Queue()
    with Server(one) as server, plain.InferenceServerClient(server.url) as client, testing.capture() as seen:
        client.start_stream(lambda result, error: got.put((result, error)))
        trisignal.instrument("triton")
        client.async_stream_infer(MODEL, tensors(plain))
        assert got.get(timeout=WAIT_S)[0] is not None
        client.stop_stream()
        trisignal.uninstrument()
        assert seen.spans == []
