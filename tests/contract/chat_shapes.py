"""Chat calls of the SDKs that OpenAI's generator made for other vendors, for the call-shape contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from contract.shapes import Expected, Shape
from contract.ways import (
    BrokenOut,
    Cancelled,
    ClosedEarly,
    InContext,
    NeverIterated,
    Plain,
    Raw,
    RawStream,
    ReadAll,
    StreamingParsed,
    StreamingPieces,
    Way,
)
from loopback import Reply, json_reply, sse

NOT_OFFERED = frozenset({"parse", "responses", "stream-helper"})
"""What none of these SDKs has."""
_ID = "chatcmpl-Loop7Pq2Xv"
_USAGE = {"prompt_tokens": 21, "completion_tokens": 9, "total_tokens": 30}
_CREATED = 1760000000
_LEAVE_OPEN = 2


@dataclass(frozen=True)
class ChatShapes:
    """The chat calls of one vendor.

    Args:
        model: Name that is asked for.
        answered_by: Name that the replies tell.
        usage_at: Key of a chunk below which the vendor puts the usage; "" for the chunk itself.
        extra: What the vendor adds to a whole reply, and to the last chunk of a stream.
        error: What it sends with status 400, as a JSON object.
        error_in_stream: The object that it sends as an event in the middle of a stream.
    """

    model: str
    answered_by: str
    usage_at: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)
    error: Mapping[str, Any] = field(
        default_factory=lambda: {"error": {"message": "Too long.", "type": "invalid_request_error"}}
    )
    error_in_stream: Mapping[str, Any] = field(
        default_factory=lambda: {"error": {"message": "The server had an error.", "type": "server_error"}}
    )

    def shapes(self) -> tuple[Shape, ...]:
        """Every shape that all of these SDKs offer."""
        return (self.create("create"), *self._streams(), *self._raw(), *self._failures())

    def create(self, name: str, *replies: Reply, **expected: Any) -> Shape:
        """A plain chat call."""
        return Shape(name, self._create, Plain(), replies or (self._whole(),), replace(self._answered(), **expected))

    def streamed(self, name: str, way: Way, reply: Reply | None = None, **expected: Any) -> Shape:
        """A streamed chat call, used in some way."""
        told = replace(self._answered(), stream=True, **expected)
        return Shape(name, self._stream, way, (reply or self._chunks(),), told)

    def _asked(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "messages": [{"role": "user", "content": "Plan a trip to Lisbon."}],
            "temperature": 0.2,
        }

    def _create(self, client: Any) -> Any:
        return client.chat.completions.create(**self._asked())

    def _stream(self, client: Any) -> Any:
        return client.chat.completions.create(**self._asked(), stream=True)

    def _whole(self) -> Reply:
        message = {"role": "assistant", "content": "Three days in Alfama."}
        return json_reply(
            {
                "id": _ID,
                "object": "chat.completion",
                "created": _CREATED,
                "model": self.answered_by,
                "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
                "usage": _USAGE,
                **self.extra,
            },
            headers={"x-request-id": "req_loop0001"},
        )

    def _chunk(self, delta: Mapping[str, Any], finish: str | None = None, **more: object) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return {
            "id": _ID,
            "object": "chat.completion.chunk",
            "created": _CREATED,
            "model": self.answered_by,
            "choices": [choice],
            **more,
        }

    def chunks_before_an_error(self) -> tuple[dict[str, Any], ...]:
        """The first chunks of a stream that goes on, or fails."""
        return self._chunk({"role": "assistant", "content": ""}), self._chunk({"content": "Three days"})

    def _chunks(self) -> Reply:
        usage = {self.usage_at: {"id": "req_loop0002", "usage": _USAGE}} if self.usage_at else {"usage": _USAGE}
        last = self._chunk({}, "stop", **usage, **self.extra)
        return Reply(body=sse(*self.chunks_before_an_error(), self._chunk({"content": " in Alfama."}), last))

    def _answered(self) -> Expected:
        return Expected(
            self.model,
            input_tokens=21,
            output_tokens=9,
            response_model=self.answered_by,
            response_id=_ID,
            finish_reasons=("stop",),
        )

    def _streams(self) -> tuple[Shape, ...]:
        left: dict[str, Any] = {"input_tokens": None, "output_tokens": None, "finish_reasons": None}
        unseen = {**left, "response_model": None, "response_id": None}
        waiting = Reply(body=sse(self.chunks_before_an_error()[0], done=False), hang=True)
        return (
            self.streamed("stream-read", ReadAll()),
            self.streamed("stream-in-context", InContext()),
            self.streamed("stream-broken-out", BrokenOut(_LEAVE_OPEN), outcome="abandoned", **left),
            self.streamed("stream-never-iterated", NeverIterated(), outcome="abandoned", **unseen),
            self.streamed("stream-closed-early", ClosedEarly(), outcome="abandoned", **left),
            self.streamed("stream-cancelled", Cancelled(), waiting, outcome="cancelled", **left),
        )

    def _raw(self) -> tuple[Shape, ...]:
        raw, streaming = "with_raw_response", "with_streaming_response"

        def through(wrapper: str, **more: Any) -> Any:
            return lambda client: getattr(client.chat.completions, wrapper).create(**self._asked(), **more)

        whole, read = self.create("create"), self.streamed("stream-read", ReadAll())
        return (
            replace(whole, name="raw-create", start=through(raw), way=Raw()),
            replace(read, name="raw-stream", start=through(raw, stream=True), way=RawStream()),
            replace(whole, name="streaming-response-parsed", start=through(streaming), way=StreamingParsed()),
            replace(
                read, name="streaming-response-lines", start=through(streaming, stream=True), way=StreamingPieces()
            ),
        )

    def _failures(self) -> tuple[Shape, ...]:
        failed = Expected(self.model, outcome="error")
        begun = replace(failed, stream=True, response_model=self.answered_by, response_id=_ID)
        broken = Reply(body=sse(*self.chunks_before_an_error(), self.error_in_stream, done=False))
        again = json_reply({"message": "Try again."}, status=500, headers={"retry-after-ms": "1"})
        return (
            Shape(
                "client-error",
                self._create,
                Plain(),
                (json_reply(self.error, status=400, headers={"x-request-id": "req_loop0003"}),),
                replace(failed, error_kind="invalid_request"),
            ),
            Shape("error-in-stream", self._stream, ReadAll(), (broken,), replace(begun, error_kind="server")),
            Shape(
                "timeout",
                self._create,
                Plain(),
                (Reply(hang=True),),
                replace(failed, error_kind="timeout"),
                timeout_s=0.2,
            ),
            Shape("refused", self._create, Plain(), (), replace(failed, error_kind="connection"), refused=True),
            replace(self.create("retried", again, self._whole(), retried_for=("server",)), max_retries=2),
        )


def embeddings(model: str) -> Shape:
    """An embeddings call."""
    reply = {
        "object": "list",
        "model": model,
        "data": [{"object": "embedding", "index": 0, "embedding": [0.25, -0.5, 1.0]}],
        "usage": {"prompt_tokens": 6, "total_tokens": 6},
    }
    return Shape(
        "embeddings",
        lambda client: client.embeddings.create(model=model, input="Lisbon"),
        Plain(),
        (json_reply(reply),),
        Expected(model, "embeddings", input_tokens=6, response_model=model),
    )
