"""Triton's HTTP client's calls for the call-shape contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from contract.shapes import ClientKit, Expected, Shape
from contract.ways import Plain
from loopback import Reply, json_reply
from tritonclient import http as plain
from tritonclient.http import aio

MODEL = "ranker"
_ID = "call-7"
ANSWER: dict[str, Any] = {
    "id": _ID,
    "model_name": MODEL,
    "model_version": "3",
    "outputs": [{"name": "SCORE", "datatype": "FP32", "shape": [2], "data": [0.25, 0.75]}],
}
WHOLE = json_reply(ANSWER)
ANSWERED = Expected(MODEL, "request", response_model=MODEL, response_id=_ID)


def tensors(package: Any) -> list[Any]:
    """The inputs of a call, of the package whose client makes it."""
    given = package.InferInput("QUERY", [2], "FP32")
    if package is plain:
        given.set_data_from_numpy(np.array([1.0, 2.0], dtype=np.float32), binary_data=False)
    else:
        given.set_data_from_numpy(np.array([1.0, 2.0], dtype=np.float32))
    return [given]


def create(client: Any) -> Any:
    """One inference, and its reply as a dict."""
    made = client.infer(MODEL, tensors(plain), request_id=_ID)
    return _later(made) if isinstance(client, aio.InferenceServerClient) else made.get_response()


async def _later(made: Any) -> Mapping[str, Any]:
    reply: Mapping[str, Any] = (await made).get_response()
    return reply


def client(url: str, max_retries: int = 0, timeout_s: float = 10.0) -> Any:
    """A client for synchronous code."""
    return plain.InferenceServerClient(
        url.removeprefix("http://"), connection_timeout=timeout_s, network_timeout=timeout_s
    )


def async_client(url: str, max_retries: int = 0, timeout_s: float = 10.0) -> Any:
    """A client for asynchronous code."""
    return aio.InferenceServerClient(url.removeprefix("http://"), conn_timeout=timeout_s)


FAILED = replace(ANSWERED, outcome="error", response_model=None, response_id=None)
REFUSED = json_reply({"error": "Request for unknown model: 'ranker' is not found"}, status=400)
KIT = ClientKit(
    name="triton",
    provider="triton",
    client=client,
    async_client=async_client,
    shapes=(
        Shape("create", create, Plain(), (WHOLE,), ANSWERED),
        Shape("client-error", create, Plain(), (REFUSED,), replace(FAILED, error_kind="invalid_request")),
        Shape("timeout", create, Plain(), (Reply(hang=True),), replace(FAILED, error_kind="timeout"), timeout_s=0.2),
        Shape("refused", create, Plain(), (), replace(FAILED, error_kind="connection"), refused=True),
    ),
    lacks=frozenset(
        {
            "parse",
            "responses",
            "embeddings",
            "stream-read",
            "stream-in-context",
            "stream-helper",
            "stream-broken-out",
            "stream-never-iterated",
            "stream-closed-early",
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
