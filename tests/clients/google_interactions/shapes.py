"""The calls of google-genai's interactions for the call-shape contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from clients.google_genai.shapes import KIT as GENERATE
from clients.google_genai.shapes import MODEL, PROMPT
from contract.shapes import SHAPE_NAMES, Expected, FaultRules, Shape
from contract.ways import BrokenOut, Cancelled, ClosedEarly, Plain, ReadAll
from google import genai
from loopback import Reply, json_reply, sse

if not hasattr(genai.Client, "interactions"):
    raise ImportError("this version of google-genai has no interactions", name="google.genai.interactions")

ID = "v1_LoopInteraction"
USAGE = {
    "total_input_tokens": 21, "total_output_tokens": 7, "total_thought_tokens": 2, "total_tokens": 30,
    "input_tokens_by_modality": [{"modality": "text", "tokens": 21}],
}  # fmt: skip


def interaction(status: str = "completed", **more: Any) -> dict[str, Any]:
    """A whole interaction."""
    steps = [{"type": "model_output", "content": [{"type": "text", "text": "Three days in Alfama."}]}]
    return {
        "id": ID, "object": "interaction", "model": MODEL, "role": "model", "status": status, "steps": steps,
        "created": "2026-04-01T00:00:00Z", "updated": "2026-04-01T00:00:01Z", "usage": USAGE, **more,
    }  # fmt: skip


def event(kind: str, **fields: Any) -> Mapping[str, Any]:
    """An event of a stream."""
    return {"event_type": kind, **fields}


HEAD = (
    event(
        "interaction.created", interaction={"id": ID, "object": "interaction", "model": MODEL, "status": "in_progress"}
    ),
    event("step.start", index=0, step={"type": "model_output"}),
    event("step.delta", index=0, delta={"type": "text", "text": "Three days"}),
)
TAIL = (
    event("step.delta", index=0, delta={"type": "text", "text": " in Alfama."}),
    event("step.stop", index=0),
)
LAST = event(
    "interaction.completed",
    interaction={"id": ID, "object": "interaction", "model": MODEL, "status": "completed", "usage": USAGE},
)
STREAMED = (Reply(body=sse(*HEAD, *TAIL, LAST)),)
_FAILURE = {"error": {"code": "internal", "message": "An internal error has occurred."}}
_TOO_LONG = {"error": {"code": 400, "message": "Too many tokens.", "status": "INVALID_ARGUMENT"}}

_ASKED = Expected(model=MODEL)
ANSWERED = replace(
    _ASKED, input_tokens=21, output_tokens=9, response_model=MODEL, response_id=ID, finish_reasons=("completed",)
)
_BEGUN = replace(_ASKED, stream=True, response_model=MODEL, response_id=ID)
_READ = replace(ANSWERED, stream=True)
_LEFT = replace(_BEGUN, outcome="abandoned")


def whole(**more: Any) -> Reply:
    """A complete reply."""
    return json_reply(interaction(**more))


def _create(client: Any) -> Any:
    return client.interactions.create(model=MODEL, input=PROMPT, generation_config={"temperature": 0.2})


def _stream(client: Any) -> Any:
    return client.interactions.create(model=MODEL, input=PROMPT, stream=True)


def _shapes() -> tuple[Shape, ...]:
    failed = replace(_ASKED, outcome="error")
    waiting = Reply(body=sse(*HEAD, done=False), hang=True)
    again = json_reply(_FAILURE, status=500)
    refused = json_reply(_TOO_LONG, status=400)
    return (
        Shape("create", _create, Plain(), (whole(),), ANSWERED),
        Shape("stream-read", _stream, ReadAll(), STREAMED, _READ),
        Shape("stream-broken-out", _stream, BrokenOut(), STREAMED, _LEFT),
        Shape("stream-closed-early", _stream, ClosedEarly(), STREAMED, _LEFT),
        Shape("stream-cancelled", _stream, Cancelled(), (waiting,), replace(_BEGUN, outcome="cancelled")),
        Shape("client-error", _create, Plain(), (refused,), replace(failed, error_kind="invalid_request")),
        Shape(
            "timeout", _create, Plain(), (Reply(hang=True),), replace(failed, error_kind="timeout"), timeout_s=0.2
        ),
        Shape("refused", _create, Plain(), (), replace(failed, error_kind="connection"), refused=True),
        Shape(
            "retried",
            _create,
            Plain(),
            (again, whole()),
            replace(ANSWERED, retried_for=("server",)),
            max_retries=2,
        ),
    )  # fmt: skip


_SPOILT = frozenset(
    {"body-nan", "leaves-object", "leaves-list", "stream-for-create"}
    | {f"{depth}-{kind}-on-stream" for depth in ("leaves", "values") for kind in ("list", "object")}
    | {"no-stream-async"}
    | {f"values-{kind}" for kind in ("negative", "fraction", "flag", "huge", "surrogate", "text", "list")}
)
"""The client takes such replies, and breaks on them later, in what it adds to them."""
_OFFERED = _shapes()
KIT = replace(
    GENERATE,
    api="interactions",
    shapes=_OFFERED,
    lacks=frozenset(SHAPE_NAMES) - {shape.name for shape in _OFFERED},
    faults=FaultRules(lacks=_SPOILT),
)
