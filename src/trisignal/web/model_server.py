"""Calls that this process answers: an ASGI middleware for OpenAI's and Anthropic's endpoints.

It reads requests and replies as they pass. Nothing is held back, changed or added: each
message goes on first and is looked at afterwards, in buffers of a fixed size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from trisignal import _guard
from trisignal import semconv as names
from trisignal.call import ContentSource, Draft
from trisignal.engine import current, lifecycle, state
from trisignal.engine.state import captures
from trisignal.formats import Format, text, view
from trisignal.formats.anthropic_messages import MESSAGES
from trisignal.formats.openai_chat import CHAT
from trisignal.formats.openai_embeddings import EMBEDDINGS
from trisignal.formats.openai_responses import RESPONSES
from trisignal.outcomes import classify, classify_event, kind_of_status
from trisignal.streams.decoders import BodyDecoder, EventDecoder, inflater
from trisignal.streams.fold import Fold
from trisignal.web.request_id import Arrival, ASGIApp, Message, Receive, Scope, Send

INCOMPLETE = "incomplete_response"
"""``error.type`` of a request to which the application sent no complete response."""


class ServedEndpoint(NamedTuple):
    """What a path stands for."""

    operation: str
    format: Format
    protocol: str
    """Provider id where the user has named none."""


ENDPOINTS = {
    "chat/completions": ServedEndpoint(names.CHAT, CHAT, "openai"),
    "completions": ServedEndpoint(names.TEXT_COMPLETION, CHAT, "openai"),
    "embeddings": ServedEndpoint(names.EMBEDDINGS, EMBEDDINGS, "openai"),
    "responses": ServedEndpoint(names.CHAT, RESPONSES, "openai"),
    "v1/messages": ServedEndpoint(names.CHAT, MESSAGES, "anthropic"),
}
"""Last one or two segments of the path of a POST request to what it asks for."""


class ServerMiddleware:
    """ASGI middleware for programs that serve a model: one call of role ``server`` per request.

    It handles POST requests to paths that end in ``chat/completions``, ``completions``,
    ``embeddings``, ``responses`` or ``v1/messages``; anything else passes untouched. The call
    has a span of kind SERVER in the caller's trace, the caller's request id, and the
    conventions' ``gen_ai.server.*`` metrics. Streams are read as server-sent events, other
    replies as JSON. Works inside and outside of `RequestIdMiddleware`, and alone.

    Args:
        app: The application.
        provider: ``gen_ai.provider.name`` of this server, e.g. ``vllm``; the protocol that is
            spoken (``openai``, ``anthropic``) when omitted.
        model: Requested model where a request names none.
        header: Name of the header with the caller's request id.
        trust_incoming: Take over the caller's request id and trace.
        max_length: Characters that an incoming id may have.
    """

    def __init__(
        self,
        app: ASGIApp,
        provider: str = "",
        model: str = "",
        header: str = "x-request-id",
        trust_incoming: bool = True,
        max_length: int = 128,
    ) -> None:
        self.app = app
        self._provider = provider
        self._model = model
        self._arrival = Arrival(header.lower(), trust_incoming, max_length)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application on one connection."""
        endpoint = None if state.is_off() else _endpoint(scope)
        if endpoint is None:
            await self.app(scope, receive, send)
            return
        _, arrived = self._arrival.enter(scope)
        served = _Served(self._begin(endpoint, scope), endpoint, scope, receive, send)
        tokens = current.activate(served.draft)
        try:
            await self.app(scope, served.receive, served.send)
        except BaseException as error:
            served.left(error)
            raise
        else:
            served.left(None)
        finally:
            current.deactivate(tokens)
            arrived.leave()

    def _begin(self, endpoint: ServedEndpoint, scope: Scope) -> Draft:
        draft = Draft(endpoint.operation, provider=self._provider or endpoint.protocol, request_model=self._model)
        draft.role = "server"
        host, port = scope.get("server") or ("", None)
        if port is not None:
            # A server on a Unix socket has a path in place of a host, and no port.
            draft.server_address, draft.server_port = host, port
        lifecycle.open_call(draft)
        return draft


def _endpoint(scope: Scope) -> ServedEndpoint | None:
    if scope["type"] != "http" or scope["method"] != "POST":
        return None
    segments = scope["path"].rstrip("/").rsplit("/", 2)
    return ENDPOINTS.get("/".join(segments[-2:])) or ENDPOINTS.get(segments[-1])


class _Served:
    """One request and its response."""

    __slots__ = (
        "_asked", "_complete", "_endpoint", "_events", "_feed", "_fold", "_gone", "_receive", "_reply", "_send",
        "_status", "draft",
    )  # fmt: skip

    def __init__(self, draft: Draft, endpoint: ServedEndpoint, scope: Scope, receive: Receive, send: Send) -> None:
        self.draft = draft
        self._endpoint = endpoint
        self._receive = receive
        self._send = send
        # A compressed request is not read: whoever sent it could make it grow without bound.
        self._asked = BodyDecoder(bytes) if _header(scope, b"content-encoding") in ("", "identity") else None
        self._reply: BodyDecoder | None = None
        self._events: EventDecoder | None = None
        self._fold: Fold | None = None
        self._status = 0
        self._complete = False
        self._gone = False
        """The caller has left before the response was complete."""

    # --- what passes -----------------------------------------------------------------

    async def receive(self) -> Message:
        """Pass a message to the application."""
        message = await self._receive()
        _contained("server.request", self._arrived, message)
        return message

    async def send(self, message: Message) -> None:
        """Pass a message of the application on."""
        try:
            await self._send(message)
        except OSError:
            # What newer servers raise when nobody is there to take it.
            self._gone = True
            raise
        if not self.draft.ended:
            _contained("server.response", self._passed, message)

    def _arrived(self, message: Message) -> None:
        if message["type"] == "http.disconnect":
            self._gone = not self._complete
        elif self._asked is not None and message["type"] == "http.request":
            self._asked.feed(message.get("body", b""))
            if not message.get("more_body"):
                body, self._asked = self._asked.body(), None
                if body is not None:
                    self._read_request(body)

    def _read_request(self, body: dict[str, Any]) -> None:
        draft, fallback = self.draft, self.draft.request_model
        self._endpoint.format.read_request(draft, body)
        draft.request_model = draft.request_model or fallback
        if body.get("stream") is True:
            draft.fields[names.REQUEST_STREAM] = True
        if captures():
            draft.content = ContentSource(self._endpoint.format.read_content, body)

    def _passed(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._started(message)
        elif message["type"] == "http.response.body":
            self._body(message.get("body", b""))
            # Some frameworks end a response properly though nobody is there any more.
            if not message.get("more_body") and not self._gone:
                self._complete = True
                self._finish()

    def _started(self, message: Message) -> None:
        self._status = message["status"]
        kind = _header(message, b"content-type")
        inflate = inflater(_header(message, b"content-encoding"))
        if inflate is None:
            return
        if "event-stream" in kind and self._status < 400:
            self._events = EventDecoder(inflate)
            self._fold = Fold(self.draft, self._endpoint.format, keep_content=captures())
        elif "json" in kind:
            self._reply = BodyDecoder(inflate)

    def _body(self, data: bytes) -> None:
        if self._reply is not None:
            self._reply.feed(data)
        elif self._events is not None and self._fold is not None:
            for event in self._events.feed(data):
                self._fold.step(event)
            self._fold.state.finished |= self._events.done

    # --- the end ---------------------------------------------------------------------

    def _finish(self) -> None:
        """The response is complete."""
        if self._fold is not None and self._events is not None:
            for event in self._events.finish():
                self._fold.step(event)
            self._fold.exhausted()
            return
        try:
            self._read_reply(self._reply.body() if self._reply is not None else None)
        finally:
            lifecycle.close_call(self.draft)

    def _read_reply(self, body: dict[str, Any] | None) -> None:
        if self._status >= 400:
            self._refused(body)
        elif body is not None:
            self._endpoint.format.read_response(self.draft, view(body))
            if self.draft.content is not None:
                self.draft.content.response = body

    def _refused(self, body: dict[str, Any] | None) -> None:
        draft = self.draft
        draft.outcome, draft.error_type, draft.error_kind = "error", str(self._status), kind_of_status(self._status)
        problem = (body or {}).get("error")
        if isinstance(problem, dict):
            _, code, kind = classify_event(problem)
            if text(problem.get("code")) == code or text(problem.get("type")) == code:
                draft.error_type = code
            if kind == "content_filter":
                draft.error_kind = kind

    def left(self, error: BaseException | None) -> None:
        """The application is done with the request, be the response complete or not."""
        if not self.draft.ended:
            _contained("server.end", self._settle, error)

    def _settle(self, error: BaseException | None) -> None:
        draft, fold = self.draft, self._fold
        finished = self._complete or (fold is not None and fold.state.finished)
        if self._gone and not finished:
            error = GeneratorExit()
        elif error is None and not finished:
            draft.outcome, draft.error_type, draft.error_kind = "error", INCOMPLETE, "server"
        if error is not None and not finished:
            draft.outcome, draft.error_type, draft.error_kind = classify(error)
            if draft.error_kind == "other":
                # Whatever it is, it is this server that failed.
                draft.error_kind = "server"
            if isinstance(error, Exception):
                draft.error = error
        if fold is not None:
            fold.exhausted()
        else:
            lifecycle.close_call(draft)


def _contained(site: str, look: Callable[[Any], None], seen: Any) -> None:
    try:
        look(seen)
    except Exception as error:
        _guard.contain(site, error)


def _header(holder: Message, name: bytes) -> str:
    for key, value in holder.get("headers") or ():
        if key.lower() == name:
            return str(value.decode("latin-1")).lower()
    return ""
