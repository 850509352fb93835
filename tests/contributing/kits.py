"""Test kits of the made-up vendors: what CONTRIBUTING asks of a new provider."""

from __future__ import annotations

import importlib
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any

from contract.chat_shapes import NOT_OFFERED, ChatShapes, embeddings
from contract.shapes import SHAPE_NAMES, ClientKit, Expected, Shape
from contract.ways import BrokenOut, ClosedEarly, NeverIterated, Plain, ReadAll
from loopback import Reply, json_reply

_ACME_CHAT = ChatShapes("acme-large", "acme-large-2026", usage_at="x_acme")


def _acme(name: str, url: str, max_retries: int, timeout_s: float) -> Any:
    cls = getattr(importlib.import_module("acme_ai"), name)
    return cls(api_key="loopback", base_url=url, max_retries=max_retries, timeout=timeout_s)


ACME = ClientKit(
    name="acme",
    provider="acme",
    client=lambda url, max_retries, timeout_s: _acme("AcmeAI", url, max_retries, timeout_s),
    async_client=lambda url, max_retries, timeout_s: _acme("AsyncAcmeAI", url, max_retries, timeout_s),
    shapes=(*_ACME_CHAT.shapes(), embeddings("acme-embed")),
    lacks=NOT_OFFERED,
)

MODEL = "plain-1"
ENDED = {"id": "talk-1", "model": MODEL, "ended": "stop", "tokens": {"in": 21, "out": 9}}
ANSWERED = Expected(
    MODEL, input_tokens=21, output_tokens=9, response_model=MODEL, response_id="talk-1", finish_reasons=("stop",)
)
_BEGUN = Expected(MODEL, stream=True)
_HEAD = ({"text": "Three"}, {"text": " days"})


def _lines(*chunks: Any) -> Reply:
    body = [json.dumps(chunk).encode() + b"\n" for chunk in chunks]
    return Reply(headers={"content-type": "application/x-ndjson"}, body=body)


def _talk(client: Any) -> Any:
    return client.talk(MODEL, "Plan a trip to Lisbon.", warmth=0.2)


def _stream(client: Any) -> Any:
    return client.talk_stream(MODEL, "Plan a trip to Lisbon.")


_WHOLE = _lines(*_HEAD, {"text": " in Alfama."}, ENDED)
_SHAPES = (
    Shape("create", _talk, Plain(), (json_reply({**ENDED, "text": "Three days in Alfama."}),), ANSWERED),
    Shape("stream-read", _stream, ReadAll(), (_WHOLE,), replace(ANSWERED, stream=True)),
    Shape("stream-broken-out", _stream, BrokenOut(), (_WHOLE,), replace(_BEGUN, outcome="abandoned")),
    Shape("stream-never-iterated", _stream, NeverIterated(), (), replace(_BEGUN, outcome="abandoned")),
    Shape("stream-closed-early", _stream, ClosedEarly(), (_WHOLE,), replace(_BEGUN, outcome="abandoned")),
    Shape(
        "client-error",
        _talk,
        Plain(),
        (json_reply({"problem": "too long"}, status=400),),
        Expected(MODEL, outcome="error", error_kind="invalid_request"),
    ),
    Shape("refused", _talk, Plain(), (), Expected(MODEL, outcome="error", error_kind="connection"), refused=True),
)


@contextmanager
def _client(url: str, max_retries: int, timeout_s: float) -> Iterator[Any]:
    yield importlib.import_module("plainchat").Client(url)


@asynccontextmanager
async def _async_client(url: str, max_retries: int, timeout_s: float) -> AsyncIterator[Any]:
    yield importlib.import_module("plainchat").AsyncClient(url)


PLAINCHAT = ClientKit(
    name="plainchat",
    provider="plainchat",
    client=_client,
    async_client=_async_client,
    shapes=_SHAPES,
    lacks=frozenset(SHAPE_NAMES) - {shape.name for shape in _SHAPES},
)
