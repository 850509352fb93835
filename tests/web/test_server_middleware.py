"""ServerMiddleware on a real server, asked by real clients and by bare sockets."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import uvicorn
from loopback import Loopback, json_reply
from opentelemetry.trace import SpanKind, StatusCode
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from waiting import LIMIT_S, until

import trisignal
from trisignal import RequestIdMiddleware, ServerMiddleware
from trisignal.testing import Seen, capture

openai: Any = pytest.importorskip("openai")

TRACE_ID = "a" * 32
TRACEPARENT = f"00-{TRACE_ID}-{'b' * 16}-01"
SERVER = "gen_ai_server_request_duration_seconds_count"
FIRST = "gen_ai_server_time_to_first_token_seconds_count"
PER_TOKEN = "gen_ai_server_time_per_output_token_seconds_count"
USAGE = {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}
ASK: dict[str, Any] = {"model": "qwen", "messages": [{"role": "user", "content": "Well?"}]}
WORDS = ("a", "b", "c")
CHOICES = [{"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}]
REPLY = {"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": CHOICES, "usage": USAGE}
left = threading.Event()
"""Set by the endless stream when it is over."""


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    body = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "qwen-1", "choices": [choice], **more}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


async def words(asked: dict[str, Any]) -> AsyncIterator[bytes]:
    """A chat stream."""
    yield chunk({"role": "assistant", "content": ""})
    for word in WORDS:
        await asyncio.sleep(0.01)
        yield chunk({"content": word})
        if asked["model"] == "broken":
            raise OverflowError("private text")
        if asked["model"] == "sorry":
            yield b'data: {"error": {"code": "server_error", "message": "private text"}}\n\n'
            return
    yield chunk({}, "stop")
    if asked.get("stream_options"):
        yield chunk({}, usage=USAGE).replace(
            b'"choices": [{"index": 0, "delta": {}, "finish_reason": null}]', b'"choices": []'
        )
    yield b"data: [DONE]\n\n"


async def endless() -> AsyncIterator[bytes]:
    try:
        while True:
            yield chunk({"content": "on and on"})
            await asyncio.sleep(0.01)
    finally:
        left.set()


async def chat(request: Request) -> Response:
    asked = await request.json()
    model = asked["model"]
    if model == "missing":
        error = {"message": "private text", "type": "invalid_request_error", "code": "model_not_found"}
        return JSONResponse({"error": error}, 404)
    if model == "busy":
        return JSONResponse({"detail": "private text"}, 503)
    if model == "raises":
        raise ValueError("private text")
    if model == "endless":
        return StreamingResponse(endless(), media_type="text/event-stream")
    if asked.get("stream"):
        return StreamingResponse(words(asked), media_type="text/event-stream")
    content = asked.get("user") or trisignal.request_id()
    message = {"role": "assistant", "content": content}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    reply = {"id": "c1", "object": "chat.completion", "created": 1, "model": "qwen-1", "choices": choices}
    return JSONResponse({**reply, "usage": USAGE})


async def embeddings(request: Request) -> Response:
    asked = await request.json()
    data = [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}]
    usage = {"prompt_tokens": 4, "total_tokens": 4}
    return JSONResponse({"object": "list", "data": data, "model": asked["model"], "usage": usage})


async def responses(request: Request) -> Response:
    asked = await request.json()
    usage = {"input_tokens": 11, "output_tokens": 3, "total_tokens": 14}
    part = {"type": "output_text", "text": "Yes.", "annotations": []}
    output = [{"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": [part]}]
    reply = {"id": "r1", "object": "response", "created_at": 1, "model": asked["model"], "status": "completed"}
    return JSONResponse({**reply, "output": output, "usage": usage, "tools": [], "parallel_tool_calls": True})


async def messages(request: Request) -> Response:
    asked = await request.json()

    async def events() -> AsyncIterator[bytes]:
        head = {"id": "m1", "type": "message", "role": "assistant", "model": asked["model"], "content": []}
        usage = {"input_tokens": 11, "output_tokens": 1}
        for event in (
            {"type": "message_start", "message": {**head, "stop_reason": None, "stop_sequence": None, "usage": usage}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Yes."}},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
            {"type": "message_stop"},
        ):
            yield f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()

    return StreamingResponse(events(), media_type="text/event-stream")


ROUTES = [
    Route("/v1/chat/completions", chat, methods=["GET", "POST"]),
    Route("/v1/embeddings", embeddings, methods=["POST"]),
    Route("/v1/responses", responses, methods=["POST"]),
    Route("/v1/messages", messages, methods=["POST"]),
    Route("/v1/else", chat, methods=["POST"]),
]
OURS = Middleware(ServerMiddleware, provider="acme", model="fallback")


@contextlib.contextmanager
def running(app: Any) -> Iterator[str]:
    """A real server in a thread; yields its address."""
    config = uvicorn.Config(app, log_config=None, date_header=False, server_header=False, lifespan="off")
    server = uvicorn.Server(config)
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()


@pytest.fixture(name="seen")
def _seen() -> Iterator[Seen]:
    """What the test emits; the client sends its trace."""
    with capture(propagate_trace_context=True) as seen:
        yield seen


@pytest.fixture(name="url", scope="module")
def _url() -> Iterator[str]:
    """A server whose outermost layer but the framework's own is ours."""
    with running(Starlette(routes=ROUTES, middleware=[OURS])) as url:
        yield url


@pytest.fixture(name="client")
def _client(seen: Seen, url: str) -> Iterator[Any]:
    """A patched client of the server."""
    trisignal.instrument("openai")
    with openai.OpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0) as client:
        yield client


def served(seen: Seen, wanted: int = 1) -> Any:
    """The served call, or all of them, once they have ended: a response is read before its call is over."""

    def ended() -> list[Any]:
        return [call for call in seen.calls if call.role == "server"]

    until(lambda: len(ended()) >= wanted, "the end of a served call")
    calls = ended()
    assert len(calls) == wanted
    return calls if wanted > 1 else calls[0]


def post(url: str, body: bytes | dict[str, Any], path: str = "/v1/chat/completions", *headers: str) -> bytes:
    """Every byte of the answer to one request."""
    host, _, port = url.removeprefix("http://").partition(":")
    sent = json.dumps(body).encode() if isinstance(body, dict) else body
    head = [f"POST {path} HTTP/1.1", "host: h", f"content-length: {len(sent)}", "connection: close", *headers]
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall("\r\n".join([*head, "", ""]).encode() + sent)
        return b"".join(iter(lambda: connection.recv(65536), b""))


# --- what is told -----------------------------------------------------------------------------


def test_client_and_server_are_one_trace(seen: Seen, client: Any) -> None:
    """The server's span is the child of the client's, and each role has its own duration."""
    client.chat.completions.create(**ASK)
    call = served(seen)
    inner, outer = sorted(seen.spans, key=lambda span: span.kind is not SpanKind.SERVER)
    assert (inner.kind, outer.kind) == (SpanKind.SERVER, SpanKind.CLIENT)
    assert inner.parent is not None
    assert outer.context is not None
    assert (inner.parent.trace_id, inner.parent.span_id) == (outer.context.trace_id, outer.context.span_id)
    assert (inner.name, call.provider, call.response_model, call.usage[:2]) == ("chat qwen", "acme", "qwen-1", (11, 3))
    assert (call.closing["gen_ai.response.id"], call.server_address) == ("c1", "127.0.0.1")
    assert seen.value(SERVER, gen_ai_provider_name="acme", gen_ai_request_model="qwen", llm_outcome="ok") == 1
    assert seen.value("gen_ai_client_operation_duration_seconds_count") == 1
    assert seen.value("gen_ai_client_operation_duration_seconds_count", gen_ai_provider_name="acme") == 0
    assert seen.value(FIRST) == 0


def test_a_stream_tells_its_token_times(seen: Seen, client: Any) -> None:
    """A served stream with usage has a time to the first token and a time per token after it."""
    stream = client.chat.completions.create(**ASK, stream=True, stream_options={"include_usage": True})
    assert "".join(c.choices[0].delta.content or "" for c in stream if c.choices) == "abc"
    call = served(seen)
    assert (call.outcome, call.usage[:2], call.closing["gen_ai.response.finish_reasons"]) == ("ok", (11, 3), ("stop",))
    assert seen.value(FIRST) == seen.value(PER_TOKEN) == 1
    per_token = seen.value("gen_ai_server_time_per_output_token_seconds_sum")
    assert 0.005 < per_token < 1
    assert seen.value("gen_ai_client_operation_time_to_first_chunk_seconds_count", gen_ai_provider_name="acme") == 0


def test_a_stream_without_usage_has_unknown_usage(seen: Seen, client: Any) -> None:
    """Nothing is invented where the application tells no tokens."""
    list(client.chat.completions.create(**ASK, stream=True))
    assert served(seen).usage is None
    # Who asked is in this process, so the call is counted where it was made, and once.
    assert seen.value("llm_usage_missing_total") == 1
    assert (seen.value(FIRST), seen.value(PER_TOKEN)) == (1, 0)


@pytest.mark.parametrize("path", ["embeddings", "responses"])
def test_other_endpoints_of_openai(seen: Seen, client: Any, path: str) -> None:
    """Embeddings and responses are read in their own formats."""
    getattr(client, path).create(model="qwen", input="Well?")
    call = served(seen)
    assert (call.operation, call.request_model) == ("embeddings" if path == "embeddings" else "chat", "qwen")
    assert call.usage.input == (4 if path == "embeddings" else 11)


def test_anthropics_endpoint(seen: Seen, url: str) -> None:
    """A stream of messages is read in Anthropic's format."""
    post(url, {**ASK, "stream": True, "max_tokens": 9}, "/v1/messages")
    call = served(seen)
    assert (call.outcome, call.usage[:2], call.opening.get("gen_ai.provider.name")) == ("ok", (11, 3), "acme")
    assert seen.value(FIRST) == seen.value(PER_TOKEN) == 1


@pytest.mark.parametrize(
    ("path", "body"),
    [("/v1/else", ASK), ("/v1/chat/completions/else", ASK), ("/v1/models", {})],
)
def test_other_paths_are_left_alone(seen: Seen, url: str, path: str, body: dict[str, Any]) -> None:
    """What is not an endpoint of a model is not recorded."""
    post(url, body, path)
    post(url, ASK)
    assert served(seen).operation == "chat"


def test_the_protocol_stands_in_for_the_provider(seen: Seen) -> None:
    """Without a name of its own the server counts as what it speaks."""
    with running(ServerMiddleware(Starlette(routes=ROUTES))) as url:
        post(url, {**ASK, "stream": True}, "/v1/messages")
        assert served(seen).provider == "anthropic"


# --- the caller's trace and id ------------------------------------------------------------------

STACKS: dict[str, list[Middleware]] = {
    "alone": [OURS],
    "inside": [Middleware(RequestIdMiddleware), OURS],
    "outside": [OURS, Middleware(RequestIdMiddleware)],
}


@pytest.mark.parametrize("given", ["req-1", ""])
@pytest.mark.parametrize("stack", STACKS)
def test_one_request_id_everywhere(seen: Seen, stack: str, given: str) -> None:
    """The application, the call and the response header know one id, however the layers are stacked."""
    headers = [f"traceparent: {TRACEPARENT}", *([f"x-request-id: {given}"] if given else [])]
    with running(Starlette(routes=ROUTES, middleware=STACKS[stack])) as url:
        head, _, body = post(url, ASK, "/v1/chat/completions", *headers).partition(b"\r\n\r\n")
        call = served(seen)
    heard = json.loads(body)["choices"][0]["message"]["content"]
    assert heard == call.bound["request_id"]
    assert heard == given or len(heard) == 32
    assert call.trace_id == TRACE_ID
    assert (f"x-request-id: {heard}".encode() in head) is (stack != "alone")


def test_callers_may_be_distrusted(seen: Seen) -> None:
    """With trust_incoming off, trace and id start over."""
    app = ServerMiddleware(Starlette(routes=ROUTES), trust_incoming=False)
    with running(app) as url:
        post(url, ASK, "/v1/chat/completions", f"traceparent: {TRACEPARENT}", "x-request-id: req-1")
        call = served(seen)
    assert call.trace_id != TRACE_ID
    assert call.bound["request_id"] != "req-1"


# --- what is passed -----------------------------------------------------------------------------


def test_no_byte_is_changed(seen: Seen, url: str) -> None:
    """The wire carries the same bytes with and without the middleware, whatever the answer."""
    with running(Starlette(routes=ROUTES)) as bare:
        for model in ("qwen", "missing", "busy", "raises", "broken", "sorry"):
            for stream in (False, True):
                body = {**ASK, "model": model, "stream": stream, "user": "ann"}
                answers = [post(address, body) for address in (bare, url)]
                assert answers[0] == answers[1]
                assert len(answers[0]) > 50
    assert len(served(seen, 12)) == 12


def test_messages_pass_one_by_one_and_at_once() -> None:
    """Each message goes on before the next one is asked for, and as the very same object."""
    order: list[Any] = []
    parts: list[dict[str, Any]] = [
        {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]},
        {"type": "http.response.body", "body": chunk({"content": "a"}), "more_body": True},
        {"type": "http.response.body"},
    ]
    asked: list[dict[str, Any]] = [
        {"type": "http.request", "body": b'{"model":', "more_body": True},
        {"type": "http.request", "body": b' "qwen"}'},
    ]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in asked:
            assert await receive() is message
        for part in parts:
            order.append("app")
            await send(part)

    async def send(message: Any) -> None:
        order.append(message)

    async def run() -> None:
        waiting = iter(asked)

        async def receive() -> Any:
            return next(waiting)

        scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": []}
        await ServerMiddleware(app)(scope, receive, send)

    with capture() as seen:
        asyncio.run(run())
        assert [item for item in order if item != "app"] == parts
        assert order[::2] == ["app"] * 3
        assert served(seen).request_model == "qwen"


def test_compressed_answers_are_read(seen: Seen) -> None:
    """Where a layer inside compresses, the reply is read all the same."""
    layers = [OURS, Middleware(GZipMiddleware, minimum_size=1)]
    with running(Starlette(routes=ROUTES, middleware=layers)) as url:
        answer = post(url, {**ASK, "stream_options": {}}, "/v1/chat/completions", "accept-encoding: gzip")
        assert b"qwen-1" in gzip.decompress(answer.partition(b"\r\n\r\n")[2])
        assert served(seen).usage[:2] == (11, 3)


def test_compressed_requests_are_not_inflated(seen: Seen, url: str) -> None:
    """A small body of a stranger must not become a large one here: the fallback stands for its model."""
    answer = post(url, gzip.compress(b" " * 10_000_000), "/v1/chat/completions", "content-encoding: gzip")
    assert b"500" in answer.splitlines()[0]
    assert served(seen).request_model == "fallback"


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'"text"', b'{"stream": 7}', b"\xff\xfe"])
def test_bodies_that_are_none(seen: Seen, url: str, body: bytes) -> None:
    """Whatever a caller sends, the application gets it, and the call has the fallback for a model."""
    post(url, body)
    assert (served(seen).request_model, served(seen).outcome) == ("fallback", "error")


# --- how it ends --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "stream", "error_type", "kind"),
    [
        ("missing", False, "model_not_found", "invalid_request"),
        ("busy", True, "503", "overloaded"),
        ("raises", False, "ValueError", "server"),
        ("broken", True, "OverflowError", "server"),
        ("sorry", True, "server_error", "server"),
    ],
)
def test_failures_have_a_kind(seen: Seen, url: str, model: str, stream: bool, error_type: str, kind: str) -> None:
    """Refusals, exceptions and errors inside of streams are errors, and no text of them leaves."""
    post(url, {**ASK, "model": model, "stream": stream})
    call = served(seen)
    assert (call.outcome, call.error_type, call.error_kind, call.request_model) == ("error", error_type, kind, model)
    [span] = seen.spans
    assert span.status.status_code is StatusCode.ERROR
    assert "private" not in span.to_json()
    assert seen.value("llm_errors_total", llm_error_kind=kind) == 1
    assert seen.value(FIRST) == 0


def leave(url: str) -> None:
    """Ask for the endless stream, read some of it, and hang up."""
    host, _, port = url.removeprefix("http://").partition(":")
    sent = json.dumps({**ASK, "model": "endless", "stream": True}).encode()
    with socket.create_connection((host, int(port))) as connection:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\ncontent-length: {len(sent)}\r\n\r\n"
        connection.sendall(head.encode() + sent)
        while b"on and on" not in connection.recv(65536):
            pass


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_caller_that_leaves_abandons_the_stream(seen: Seen, wrapped: bool) -> None:
    """A stream whose reader has gone is abandoned, no error, and the application is told as ever."""

    async def dispatch(request: Request, following: Callable[..., Any]) -> Any:
        return await following(request)

    layers = [OURS, *([Middleware(BaseHTTPMiddleware, dispatch=dispatch)] if wrapped else [])]
    left.clear()
    with running(Starlette(routes=ROUTES, middleware=layers)) as url:
        leave(url)
        call = served(seen)
        assert left.wait(LIMIT_S)
    assert (call.outcome, call.error_kind) == ("abandoned", None)
    assert seen.spans[0].status.status_code is StatusCode.UNSET
    assert seen.value("llm_active_requests") == 0


async def silent(scope: Any, receive: Any, send: Any) -> None:
    """An application that forgets to answer."""


async def halfway(scope: Any, receive: Any, send: Any) -> None:
    """An application that forgets to end its answer."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    await send({"type": "http.response.body", "body": chunk({"content": "a"}), "more_body": True})


@pytest.mark.parametrize("app", [silent, halfway])
def test_answers_without_an_end_are_errors(seen: Seen, app: Any) -> None:
    """An application that returns before its response is complete has failed."""
    scope = {"type": "http", "method": "POST", "path": "/chat/completions", "headers": []}

    async def anything(*args: Any) -> Any:
        return {}

    asyncio.run(ServerMiddleware(app)(scope, anything, anything))
    assert (served(seen).outcome, served(seen).error_type) == ("error", "incomplete_response")


def test_a_stream_that_has_said_that_it_is_over_is_ok(seen: Seen) -> None:
    """After its last mark a stream lacks nothing, whatever becomes of the connection."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await halfway(scope, receive, send)
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n", "more_body": True})
        await receive()

    scope = {"type": "http", "method": "POST", "path": "/chat/completions", "headers": []}

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        """There is nobody to take it."""

    asyncio.run(ServerMiddleware(app)(scope, receive, send))
    assert served(seen).outcome == "ok"


def test_a_cancelled_request_is_cancelled(seen: Seen) -> None:
    """A server that stops cancels what it is at, which is not an error."""
    scope = {"type": "http", "method": "POST", "path": "/chat/completions", "headers": []}

    async def forever(*args: Any) -> None:
        await asyncio.sleep(60)

    async def run() -> None:
        await asyncio.wait_for(ServerMiddleware(forever)(scope, forever, forever), 0.01)

    with pytest.raises(TimeoutError if issubclass(asyncio.TimeoutError, TimeoutError) else asyncio.TimeoutError):
        asyncio.run(run())
    assert served(seen).outcome == "cancelled"


# --- a gateway ----------------------------------------------------------------------------------


def test_a_gateway_s_own_calls_are_counted_once(seen: Seen) -> None:
    """Calls of a patched client inside a handler are children of the served one, which counts no tokens."""
    trisignal.instrument("openai")
    upstream = openai.AsyncOpenAI(base_url="http://127.0.0.1:9", api_key="k")

    async def pass_on(request: Request) -> Response:
        reply = await upstream.chat.completions.create(**ASK)
        return JSONResponse(reply.model_dump())

    with Loopback() as provider:
        provider.handle(lambda request: json_reply(REPLY))
        upstream.base_url = provider.url
        routes = [Route("/v1/chat/completions", pass_on, methods=["POST"])]
        with running(ServerMiddleware(Starlette(routes=routes), "gateway")) as address:
            post(address, ASK)
            call = served(seen)
    inner, outer = seen.spans
    assert inner.parent is not None
    assert outer.context is not None
    assert (inner.parent.span_id, outer.kind) == (outer.context.span_id, SpanKind.SERVER)
    assert (call.provider, call.counted) == ("gateway", False)
    assert seen.value(SERVER, gen_ai_provider_name="gateway") == 1
    assert seen.value("llm_requests_total") == seen.value("llm_requests_total", gen_ai_provider_name="openai") == 1
    assert seen.value("gen_ai_client_token_usage_sum") == USAGE["total_tokens"]


def test_nothing_is_recorded_before_setup() -> None:
    """Without setup() requests pass through untouched."""
    with running(Starlette(routes=ROUTES, middleware=[OURS])) as url:
        assert b"qwen-1" in post(url, ASK)
    assert trisignal.summary().total.calls == 0
