"""A server that speaks xAI's gRPC protocol, on this machine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from itertools import islice
from types import TracebackType
from typing import Any, NamedTuple

import grpc
from loopback import Recorded
from waiting import LIMIT_S
from xai_sdk.proto import chat_pb2, chat_pb2_grpc, deferred_pb2, image_pb2, image_pb2_grpc, sample_pb2, usage_pb2

Answer = Callable[[Any], Any]
"""Reply to a request; it may raise `Refusal`."""


class Exchange(NamedTuple):
    """One answer of a server, and how it ends."""

    whole: Any = None
    code: grpc.StatusCode | None = None
    """Status that it ends with in place of a good one."""
    details: str = ""
    pieces: int | None = None
    """Pieces of a stream that are sent before that."""
    stays: bool = False
    """Whether the server then falls silent and keeps the call open."""


class Refusal(Exception):
    """A request is refused.

    Args:
        code: Status.
        details: Text beside it.
    """

    def __init__(self, code: grpc.StatusCode, details: str = "") -> None:
        super().__init__(details)
        self.code, self.details = code, details


def reply(text: str = "Three days.", *, model: str = "grok-4", id: str = "r-1", **counts: Any) -> Any:
    """A whole answer.

    Args:
        text: What the model says.
        model: The model.
        id: Id of the answer.
        **counts: Fields of its usage.
    """
    output = chat_pb2.CompletionOutput(
        index=0,
        finish_reason=sample_pb2.FinishReason.REASON_STOP,
        message=chat_pb2.CompletionMessage(content=text, role=chat_pb2.MessageRole.ROLE_ASSISTANT),
    )
    usage = usage_pb2.SamplingUsage(**counts) if counts else None
    return chat_pb2.GetChatCompletionResponse(id=id, model=model, outputs=[output], usage=usage)


class XaiServer(chat_pb2_grpc.ChatServicer, image_pb2_grpc.ImageServicer):
    """The server; requests are answered by one function, streams in pieces of a word.

    Args:
        answer: Makes the whole answer to each request.
    """

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
        chat_pb2_grpc.add_ChatServicer_to_server(self, self._server)
        image_pb2_grpc.add_ImageServicer_to_server(self, self._server)
        self.port: int = self._server.add_insecure_port("127.0.0.1:0")
        self.host = f"127.0.0.1:{self.port}"
        self._deferred: Any = None
        self._server.start()

    def __enter__(self) -> XaiServer:
        return self

    def __exit__(self, cls: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening."""
        self._server.stop(None).wait()

    def _reply(self, request: Any, context: Any) -> Any:
        try:
            return self._answer(request)
        except Refusal as refusal:
            context.abort(refusal.code, refusal.details)

    def GetCompletion(self, request: Any, context: Any) -> Any:
        """A whole answer."""
        return self._reply(request, context)

    def GetCompletionChunk(self, request: Any, context: Any) -> Iterator[Any]:
        """The same in pieces; each has the usage so far."""
        whole = self._reply(request, context)
        output = whole.outputs[0]
        head = {"id": whole.id, "model": whole.model}
        words = output.message.content.split(" ")
        for at, word in enumerate(words):
            last = at == len(words) - 1
            delta = chat_pb2.Delta(content=word if last else f"{word} ", role=output.message.role)
            if last:
                delta.tool_calls.extend(output.message.tool_calls)
            piece = chat_pb2.CompletionOutputChunk(
                index=0, delta=delta, finish_reason=output.finish_reason if last else 0
            )
            usage = whole.usage if last else usage_pb2.SamplingUsage(prompt_tokens=whole.usage.prompt_tokens)
            yield chat_pb2.GetChatCompletionChunk(**head, outputs=[piece], usage=usage)

    def StartDeferredCompletion(self, request: Any, context: Any) -> Any:
        """Begin an answer that is fetched later."""
        self._deferred = self._reply(request, context)
        return deferred_pb2.StartDeferredResponse(request_id="d-1")

    def GetDeferredCompletion(self, request: Any, context: Any) -> Any:
        """It is ready."""
        done = deferred_pb2.DeferredStatus.DONE
        return chat_pb2.GetDeferredCompletionResponse(status=done, response=self._deferred)

    def GenerateImage(self, request: Any, context: Any) -> Any:
        """An image, with what it costs."""
        usage = usage_pb2.SamplingUsage(cost_in_usd_ticks=700_000_000)
        images = [image_pb2.GeneratedImage(url="https://none/1.png", respect_moderation=True)]
        return image_pb2.ImageResponse(images=images, model=request.model, usage=usage)


class PlayingServer(XaiServer):
    """A server that answers with exchanges, in order, and keeps what was asked."""

    def __init__(self) -> None:
        self._exchanges: list[Exchange] = []
        self._closing = threading.Event()
        self.requests: list[Recorded] = []
        self.silent = threading.Event()
        """Set when a call is kept open and nothing more comes."""
        super().__init__(lambda request: None)
        self.url = f"http://{self.host}"

    def play(self, *exchanges: Exchange) -> None:
        """Answer the next requests like this."""
        self._exchanges += exchanges

    def close(self) -> None:
        """Let go of what is kept open, and stop listening."""
        self._closing.set()
        super().close()

    def _next(self, method: str, request: Any, context: Any) -> Exchange:
        headers = [(key, str(value)) for key, value in context.invocation_metadata()]
        self.requests.append(Recorded("POST", method, tuple(headers), request.SerializeToString(deterministic=True)))
        return self._exchanges.pop(0)

    def _finish(self, exchange: Exchange, context: Any) -> None:
        if exchange.stays:
            self.silent.set()
            self._closing.wait(LIMIT_S)
        if exchange.code is not None:
            context.abort(exchange.code, exchange.details)

    def GetCompletion(self, request: Any, context: Any) -> Any:
        """A whole answer, or none."""
        exchange = self._next("GetCompletion", request, context)
        self._finish(exchange, context)
        return exchange.whole

    def GetCompletionChunk(self, request: Any, context: Any) -> Iterator[Any]:
        """The same in pieces."""
        exchange = self._next("GetCompletionChunk", request, context)
        if exchange.whole is not None:
            self._answer = lambda _: exchange.whole
            yield from islice(super().GetCompletionChunk(request, context), exchange.pieces)
        self._finish(exchange, context)
