"""A server that speaks xAI's gRPC protocol, on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent import futures
from types import TracebackType
from typing import Any

import grpc
from xai_sdk.proto import chat_pb2, chat_pb2_grpc, deferred_pb2, image_pb2, image_pb2_grpc, sample_pb2, usage_pb2

Answer = Callable[[Any], Any]
"""Reply to a request; it may raise `Refusal`."""


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
