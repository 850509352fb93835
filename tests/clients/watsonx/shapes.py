"""ibm-watsonx-ai's calls for the call-shape contract: the SDK insists on its own addresses, so requests are led."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, closing, contextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import httpx
import ibm_watsonx_ai as watsonx
from contract.shapes import ClientKit, Expected, Shape
from contract.ways import BrokenOut, ClosedEarly, NeverIterated, Plain, ReadAll
from ibm_watsonx_ai import foundation_models as models
from loopback import Reply, json_reply, sse

MODEL = "ibm/granite-3-8b-instruct"
_PROJECT = "11111111-1111-1111-1111-111111111111"
_ENTITY = {"storage": {"type": "bmcos_object_storage"}, "compute": [{"type": "machine_learning", "guid": _PROJECT}]}
_HEAD = {"id": "chat-Loop7Pq2Xv", "model_id": MODEL, "model": MODEL, "created": 1_790_000_000}
_USAGE = {"prompt_tokens": 21, "completion_tokens": 9, "total_tokens": 30}
_ASKED: dict[str, Any] = {"messages": [{"role": "user", "content": "Plan a trip to Lisbon."}]}
ANSWERED = Expected(
    MODEL,
    input_tokens=21,
    output_tokens=9,
    response_model=MODEL,
    response_id="chat-Loop7Pq2Xv",
    finish_reasons=("stop",),
)
_BEGUN = Expected(MODEL, stream=True, response_model=MODEL, response_id="chat-Loop7Pq2Xv")


def _own(request: httpx.Request) -> httpx.Response | None:
    """What the SDK asks when a client is made, which no model answers."""
    return None if "/text/" in request.url.path else httpx.Response(200, json={"resources": [], "entity": _ENTITY})


class Led(httpx.HTTPTransport):
    """Leads requests of models to one port of this machine."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._port = port

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send it there."""
        request.url = request.url.copy_with(scheme="http", host="127.0.0.1", port=self._port)
        return _own(request) or super().handle_request(request)


class AsyncLed(httpx.AsyncHTTPTransport):
    """The asynchronous twin."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._port = port

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send it there."""
        request.url = request.url.copy_with(scheme="http", host="127.0.0.1", port=self._port)
        return _own(request) or await super().handle_async_request(request)


def _whole() -> Reply:
    message = {"role": "assistant", "content": "Three days in Alfama."}
    return json_reply(
        {**_HEAD, "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": _USAGE}
    )


def _chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {**_HEAD, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


HEAD = (_chunk({"role": "assistant", "content": "Three"}), _chunk({"content": " days"}))
STREAMED = Reply(body=sse(*HEAD, _chunk({}, "stop"), {**_HEAD, "choices": [], "usage": _USAGE}, done=False))
_EMBEDDED = {"model_id": MODEL, "input_token_count": 6, "results": [{"embedding": [0.25, -0.5]}]}


class _Calls:
    """The SDK's calls by one name each, whether they are awaited or not."""

    def __init__(self, url: str, retries: int, timeout_s: float, prefix: str) -> None:
        port = urlsplit(url).port or 0
        self.http = httpx.Client(transport=Led(port), timeout=timeout_s)
        self.ahttp = httpx.AsyncClient(transport=AsyncLed(port), timeout=timeout_s)
        client = watsonx.APIClient(
            watsonx.Credentials(url="https://us-south.ml.cloud.ibm.com", token="none"),
            project_id=_PROJECT,
            httpx_client=self.http,
            async_httpx_client=self.ahttp,
        )
        chats = models.ModelInference(model_id=MODEL, api_client=client, validate=False, max_retries=retries)
        vectors = models.Embeddings(model_id=MODEL, api_client=client, max_retries=retries)
        self.chat = getattr(chats, f"{prefix}chat")
        self.stream = getattr(chats, f"{prefix}chat_stream")
        self.embed = getattr(vectors, f"{prefix}generate")


@contextmanager
def opened(url: str, max_retries: int, timeout_s: float) -> Iterator[_Calls]:
    """Clients."""
    calls = _Calls(url, max_retries, timeout_s, "")
    with closing(calls.http):
        yield calls


@asynccontextmanager
async def aopened(url: str, max_retries: int, timeout_s: float) -> AsyncIterator[_Calls]:
    """Clients whose calls are awaited."""
    calls = _Calls(url, max_retries, timeout_s, "a")
    with closing(calls.http):
        async with aclosing(calls.ahttp):
            yield calls


def create(client: Any) -> Any:
    """A plain chat call."""
    return client.chat(**_ASKED)


def stream(client: Any) -> Any:
    """A streamed one."""
    return client.stream(**_ASKED)


def _failures() -> tuple[Shape, ...]:
    failed = Expected(MODEL, outcome="error")
    refusal = json_reply({"errors": [{"code": "invalid_input_argument", "message": "Too long."}]}, status=400)
    return (
        Shape("client-error", create, Plain(), (refusal,), replace(failed, error_kind="invalid_request")),
        Shape("timeout", create, Plain(), (Reply(hang=True),), replace(failed, error_kind="timeout"), timeout_s=0.2),
        Shape("refused", create, Plain(), (), replace(failed, error_kind="connection"), refused=True),
    )


KIT = ClientKit(
    name="ibm-watsonx-ai",
    provider="ibm.watsonx.ai",
    client=opened,
    async_client=aopened,
    shapes=(
        Shape("create", create, Plain(), (_whole(),), ANSWERED),
        Shape(
            "embeddings",
            lambda client: client.embed(inputs=["Lisbon"]),
            Plain(),
            (json_reply(_EMBEDDED),),
            Expected(MODEL, "embeddings", input_tokens=6, response_model=MODEL),
        ),
        Shape("stream-read", stream, ReadAll(), (STREAMED,), replace(ANSWERED, stream=True)),
        Shape("stream-broken-out", stream, BrokenOut(), (STREAMED,), replace(_BEGUN, outcome="abandoned")),
        Shape("stream-closed-early", stream, ClosedEarly(), (STREAMED,), replace(_BEGUN, outcome="abandoned")),
        Shape("stream-never-iterated", stream, NeverIterated(), (), Expected(MODEL, stream=True, outcome="abandoned")),
        *_failures(),
    ),
    lacks=frozenset(
        {
            "parse",
            "responses",
            "stream-in-context",
            "stream-helper",
            "stream-cancelled",
            "raw-create",
            "raw-stream",
            "streaming-response-parsed",
            "streaming-response-lines",
            "error-in-stream",
            "retried",
        }
    ),
)
