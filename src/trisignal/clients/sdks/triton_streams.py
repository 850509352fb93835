"""What a stream of Triton's gRPC clients reports: each request is a call, which ends with its last reply."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any
from weakref import WeakKeyDictionary

from trisignal import _guard
from trisignal import semconv as names
from trisignal.call import Draft
from trisignal.clients._patch import Wrapper
from trisignal.clients._provider import Args, Kwargs
from trisignal.engine import lifecycle
from trisignal.engine.state import is_off
from trisignal.formats import NOTABLE, StreamState, View, latencies, text
from trisignal.formats.openai_media import MEDIA
from trisignal.outcomes import Failure, called, classify, classify_rpc
from trisignal.streams import fold

_FINAL = "triton_final_response"


def read_reply(draft: Draft, reply: View) -> None:
    """Facts of a reply: a dict over HTTP, a message over gRPC."""
    draft.response_model = text(reply.get("model_name"))
    draft.response_id = text(reply.get("id"))
    latencies.read_parameters(draft, reply.get("parameters"))


def _failure(error: BaseException) -> Failure:
    # The client's methods, and gRPC's own.
    status = called(error, "status", "code")
    return classify_rpc(status, called(error, "message", "details")) if status else classify(error)


def fail(draft: Draft, error: BaseException) -> None:
    """Note the outcome that an error means: the client's exception has its status in a method."""
    draft.error = error
    draft.outcome, draft.error_type, draft.error_kind = _failure(error)


def _look(reply: Any) -> int:
    return NOTABLE


def _fold(draft: Draft, state: StreamState, reply: View) -> None:
    read_reply(draft, reply)


_REPLIES = MEDIA._replace(name="triton", look=_look, fold=_fold)


class _Replies(fold.Fold):
    """The replies to one request."""

    __slots__ = ("id",)

    def __init__(self, draft: Draft, id: str) -> None:
        super().__init__(draft, _REPLIES, keep_content=False)
        self.id = id

    def failed(self, error: BaseException) -> None:
        """It was refused, or the stream broke."""
        if not self.ended:
            fail(self.draft, error)
            self.exhausted()


class Stream:
    """The open calls of one stream, oldest first."""

    def __init__(self) -> None:
        self._open: list[_Replies] = []

    def add(self, draft: Draft, id: str) -> None:
        """A request is about to be sent."""
        draft.fields[names.REQUEST_STREAM] = True
        self._open.append(_Replies(draft, id))

    def arrived(self, result: Any, error: Any) -> None:
        """A reply has come, or an error: one with a status is the end of the whole stream."""
        try:
            if error is not None and error.status():
                self.end(error)
            else:
                self._settle(result.get_response() if error is None else None, error)
        except Exception as failure:
            _guard.contain("triton.stream", failure)

    def _settle(self, reply: Any, error: Any) -> None:
        id: str = getattr(reply, "id", "")
        self._open = [replies for replies in self._open if not replies.ended]
        replies = next((found for found in self._open if not id or found.id == id), None)
        if replies is None:
            return
        if error is not None:
            replies.failed(error)
            return
        replies.step(reply)
        # Models that may send several replies mark the last one.
        parameters = reply.parameters
        if _FINAL not in parameters or parameters[_FINAL].bool_param:
            replies.exhausted()

    def end(self, error: BaseException | None = None) -> None:
        """No more replies come; a call that had some is complete, as the last one need not be marked."""
        ended, self._open = self._open, []
        for replies in ended:
            replies.state.finished = bool(replies.times.last_ns)
            if error is not None:
                replies.failed(error)
            else:
                replies.closed()


started: WeakKeyDictionary[Any, Stream] = WeakKeyDictionary()
"""The stream of each client that has one."""


def start_stream(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    """See what the application's callback gets, before it does."""
    given = args[0] if args else kwargs.get("callback")
    if is_off() or given is None:
        return wrapped(*args, **kwargs)
    stream = Stream()

    def called(result: Any, error: Any) -> None:
        stream.arrived(result, error)
        given(result=result, error=error)

    made = wrapped(called, *args[1:], **{name: value for name, value in kwargs.items() if name != "callback"})
    started[instance] = stream
    return made


def stop_stream(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    """The stream ends, and with it the calls that are open."""
    try:
        return wrapped(*args, **kwargs)
    finally:
        stream = started.pop(instance, None)
        if stream is not None:
            stream.end()


def stream_infer(begin: Callable[[Any, Args, Kwargs], Draft | None]) -> Wrapper:
    """The wrapper of the asynchronous client's streams.

    Args:
        begin: Makes the draft of one request.
    """

    def infer(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
        given = args[0] if args else kwargs.get("inputs_iterator")
        if is_off() or given is None:
            return wrapped(*args, **kwargs)
        stream = Stream()

        async def asked() -> AsyncIterator[Any]:
            async for inputs in given:
                _ask(stream, begin, instance, inputs)
                yield inputs

        made = wrapped(
            asked(), *args[1:], **{name: value for name, value in kwargs.items() if name != "inputs_iterator"}
        )
        cls: Any = type(made)  # made for this very stream
        following = cls.__anext__

        async def follow(replies: Any) -> Any:
            try:
                found = await following(replies)
            except StopAsyncIteration:
                stream.end()
                raise
            except BaseException as error:
                stream.end(error)
                raise
            stream.arrived(*found)
            return found

        cls.__anext__ = follow
        return made

    return infer


def _ask(stream: Stream, begin: Callable[[Any, Args, Kwargs], Draft | None], client: Any, inputs: Any) -> None:
    try:
        draft = begin(client, (), inputs)
        if draft is not None:
            draft.leaf = True
            lifecycle.open_call(draft)
            stream.add(draft, text(inputs.get("request_id")))
    except Exception as error:
        _guard.contain("triton.request", error)
