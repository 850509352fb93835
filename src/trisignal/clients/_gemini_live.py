"""Live sessions of Google's SDK: `aio.live.connect`, and the session that it gives to the application."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from trisignal import _guard
from trisignal.clients import _realtime as realtime
from trisignal.clients._patch import Patches
from trisignal.clients._provider import Args, Kwargs, Place
from trisignal.formats import text, view
from trisignal.formats.gemini import model_name
from trisignal.formats.gemini_live import GEMINI_LIVE
from trisignal.formats.realtime import SessionFacts
from trisignal.streams.realtime import RealtimeSession

_SENDING = ("send_client_content", "send_realtime_input", "send_tool_response", "send")


class LiveSessions:
    """Opens sessions for the connections of the SDK.

    Args:
        resolve: Where an API client with a configuration leads.
    """

    def __init__(self, resolve: Callable[[Any, Any], Place]) -> None:
        self._resolve = resolve
        self._handles: dict[str, str] = {}
        """Conversation per handle with which another connection may continue it."""

    def patch(self, patches: Patches) -> None:
        """Patch the classes of live sessions, where this version has them."""
        try:
            live = importlib.import_module("google.genai.live")
        except ImportError:
            return
        if not hasattr(live.AsyncSession, "_receive"):
            return
        patches.wrap(live.AsyncLive, "connect", self._connect)
        patches.wrap(live.AsyncSession, "_receive", realtime.areceive)
        for method in _SENDING:
            patches.wrap(live.AsyncSession, method, _send)
        patches.wrap(live.AsyncSession, "close", realtime.aclose)

    def _begin(self, instance: Any, args: Args, kwargs: Kwargs) -> RealtimeSession:
        config = kwargs.get("config")
        place = self._resolve(instance._api_client, config)
        session = realtime.begin_session(place, model_name(kwargs.get("model")), GEMINI_LIVE)
        session.handles = self._handles
        handle = text(view(view(config).get("session_resumption")).get("handle"))
        session.configure(GEMINI_LIVE.read_session({"config": config or {}}))
        if handle:
            session.resumed(self._handles.get(handle, ""))
        return session

    def _connect(self, wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
        """A context manager of the same kind, whose session is recorded."""
        session = realtime.begun(self._begin, instance, args, kwargs)
        if session is None:
            return wrapped(*args, **kwargs)
        return _recorded(wrapped, args, kwargs, session)


@asynccontextmanager
async def _recorded(wrapped: Any, args: Args, kwargs: Kwargs, session: RealtimeSession) -> AsyncIterator[Any]:
    began = False
    try:
        async with wrapped(*args, **kwargs) as connection:
            began = True
            try:
                session.configure(SessionFacts(text(getattr(connection, "session_id", None)) or uuid4().hex))
                realtime.keep_session(connection, session)
            except Exception as error:
                _guard.contain("google-genai.live", error)
            yield connection
    except BaseException as error:
        session.close(None if began else error)
        raise
    finally:
        session.close()


async def _send(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    session = realtime.session_of(instance)
    if session is not None:
        # Without a word about it, the turn of the client is complete.
        session.sent({"turn_complete": True, **kwargs} if wrapped.__name__ == "send_client_content" else kwargs)
    return await wrapped(*args, **kwargs)
