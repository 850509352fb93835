"""OpenAI's Responses API over a websocket: one connection, over which one response after the other is asked for.

Each ``response.create`` is a call, which ends with the last event of its response. Several may run at once, known
by the ``stream_id`` that the application gives them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from threading import RLock
from typing import Any

from trisignal import _context, _guard
from trisignal import semconv as names
from trisignal.call import Draft
from trisignal.clients import _realtime as realtime
from trisignal.clients._background import BackgroundResponses
from trisignal.clients._openai_realtime import RealtimeConnections, Resolve
from trisignal.clients._provider import Args, ClientExchange, Kwargs, Place, draft_at
from trisignal.engine import lifecycle, state
from trisignal.formats import text, view
from trisignal.formats.openai_responses import RESPONSES
from trisignal.outcomes import INCOMPLETE_STREAM
from trisignal.streams.fold import Fold

_OPENAI = frozenset({"openai", "azure.ai.openai"})
_MOST_OPEN = 1024


def asked(place: Place, body: Any) -> Draft:
    """A draft of one response.

    Args:
        place: Where it is asked for.
        body: The request.
    """
    draft = draft_at(place, names.CHAT, ClientExchange(RESPONSES, True), body)
    RESPONSES.read_request(draft, body)
    if draft.provider in _OPENAI:
        draft.fields[names.OPENAI_API_TYPE] = "responses"
    draft.leaf = True
    return draft


class ResponsesSession:
    """The responses of one connection.

    Args:
        place: Where the connection leads.
        background: Where responses that are made in the background are noted.
    """

    def __init__(self, place: Place, background: BackgroundResponses) -> None:
        self._place = place
        self._background = background
        self._open: dict[str, list[Fold]] = {}
        """The responses that run, by stream id: the first is answered first."""
        self._lock = RLock()

    def sent(self, message: Any) -> None:
        """Take a message of the application, which is about to be sent: one that asks for a response is a call.

        Raises:
            LimitExceeded: A gate refuses the call.
        """
        event = _read(message)
        if text(event.get("type")) == "response.create" and event.get("generate") is not False:
            self._begin(text(event.get("stream_id")), event)

    def _begin(self, stream_id: str, event: Any) -> None:
        if not state.STATE.active or _context.suppressed.get():
            return
        try:
            # Early events have the request in an object of its own.
            draft = asked(self._place, view(event.get("response")) or event)
        except Exception as error:
            _guard.contain("responses.begin", error)
            return
        lifecycle.open_call(draft)
        fold = Fold(draft, RESPONSES, keep_content=state.captures())
        fold.before_end = lambda: self._background.created(draft)
        with self._lock:
            running = self._open.setdefault(stream_id, [])
            running.append(fold)
            lost = running.pop(0) if sum(map(len, self._open.values())) > _MOST_OPEN else None
        if lost is not None:
            lost.abandon()

    def received(self, message: Any) -> None:
        """Take a message of the provider."""
        try:
            event = _read(message)
            stream_id = text(event.get("stream_id"))
            if text(event.get("type")) == "response.created" and not self._open.get(stream_id):
                # It was asked for in a way that cannot be seen, before there was a connection.
                self._begin(stream_id, event)
            running = self._open.get(stream_id)
            if not running:
                return
            fold = running[0]
            fold.step(event)
            if fold.state.finished or fold.state.error is not None:
                with self._lock:
                    running.remove(fold)
                    if not running:
                        self._open.pop(stream_id, None)
                fold.exhausted()
        except Exception as error:
            _guard.contain("responses.received", error)

    def broke(self, error: BaseException | None) -> None:
        """The connection has ended: what still ran is incomplete."""
        for fold in self._left():
            if error is None or type(error).__name__ == "ConnectionClosedOK":
                draft = fold.draft
                draft.outcome, draft.error_type, draft.error_kind = "error", INCOMPLETE_STREAM, "server"
                fold.exhausted()
            else:
                fold.failed(error)

    def close(self, error: BaseException | None = None) -> None:
        """The application leaves: what still runs is abandoned, or failed with the connection."""
        for fold in self._left():
            if error is None:
                fold.closed()
            else:
                fold.failed(error)

    def _left(self) -> Iterable[Fold]:
        with self._lock:
            folds = [fold for running in self._open.values() for fold in running]
            self._open.clear()
        return folds


def _read(message: Any) -> Any:
    """An event as a view, be it an object of the SDK, a mapping, text or bytes; empty where it cannot be read."""
    if isinstance(message, (str, bytes, bytearray)):
        try:
            message = json.loads(message)
        except ValueError:  # the application hears of it
            return {}
    return view(message) if hasattr(message, "__dict__") or isinstance(message, dict) else {}


class ResponsesConnections(RealtimeConnections):
    """Keeps the responses of each connection.

    Args:
        resolve: Where a client's base URL leads.
        background: The background responses that this client knows.
    """

    modules = ("openai.resources.responses.responses", "openai.resources.beta.responses.responses")
    kind = "Responses"

    def __init__(self, resolve: Resolve, background: BackgroundResponses) -> None:
        super().__init__(resolve)
        self._background = background

    def _begin(self, manager: Any, args: Args, kwargs: Kwargs) -> realtime.Session:
        return ResponsesSession(self._place(manager), self._background)
