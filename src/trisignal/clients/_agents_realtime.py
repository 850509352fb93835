"""Realtime sessions of openai-agents, which opens its WebSocket connections itself.

The framework's model of a session gets every event parsed, and sends its own as objects. Its session knows which
agent speaks, and runs the tools: what happens in one is inside of its call.
"""

from __future__ import annotations

import sys
from typing import Any
from weakref import ref

from trisignal import _guard
from trisignal.clients import _realtime as realtime
from trisignal.clients._patch import Patches
from trisignal.clients._provider import Args, Kwargs, place_of
from trisignal.engine import current
from trisignal.formats import text, view
from trisignal.formats.openai_realtime import OPENAI_REALTIME
from trisignal.streams.realtime import RealtimeSession

_MODEL, _SESSION = "agents.realtime.openai_realtime", "agents.realtime.session"
MODULES = (_MODEL, _SESSION)
"""Where the classes are; an application imports them when it wants them."""
_SPEAKER = "_trisignal_session"
"""Attribute of a model that refers to the framework's session around it."""
_DEFAULT_URL = "wss://api.openai.com/v1/realtime"
_CLEAN = (1000, 1001)


class _Closed(ConnectionError):
    """A connection was closed in no good order."""


def patch(patches: Patches) -> None:
    """Patch the classes that are imported."""
    model = getattr(sys.modules.get(_MODEL), "OpenAIRealtimeWebSocketModel", None)
    if model is not None:
        patches.wrap(model, "connect", _connect)
        patches.wrap(model, "_listen_for_messages", _listen)
        patches.wrap(model, "_handle_ws_event", _handle)
        for method in ("_send_raw_message", "_send_raw_message_if"):
            patches.wrap(model, method, realtime.asend)
        patches.wrap(model, "close", realtime.aclose)
    session = getattr(sys.modules.get(_SESSION), "RealtimeSession", None)
    if session is not None:
        patches.wrap(session, "__aenter__", _enter)
        patches.wrap(session, "_handle_tool_call", _run_tool)


def _begin(model: Any, args: Args, kwargs: Kwargs) -> RealtimeSession:
    options = view(args[0] if args else kwargs.get("options"))
    wanted = text(view(options.get("initial_model_settings")).get("model_name"))
    place = place_of(text(options.get("url")) or _DEFAULT_URL, "openai")
    return realtime.begin_session(place, wanted or text(getattr(model, "model", "")), OPENAI_REALTIME)


async def _connect(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    session = realtime.begun(_begin, instance, args, kwargs)
    # The framework listens before it returns.
    realtime.keep_session(instance, session)
    try:
        return await wrapped(*args, **kwargs)
    except BaseException as error:
        if session is not None:
            session.close(error)
        raise


async def _listen(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    result = await wrapped(*args, **kwargs)
    session: RealtimeSession | None = realtime.session_of(instance)
    if session is not None:
        # The framework makes events of what reading raised.
        code = getattr(getattr(instance, "_websocket", None), "close_code", None)
        session.broke(None if code in _CLEAN else _Closed(f"code {code}"))
        session.close()
    return result


async def _handle(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    session: RealtimeSession | None = realtime.session_of(instance)
    if session is not None:
        event: Any = args[0] if args else kwargs.get("event")
        if type(event) is dict and event.get("type") == "response.created":
            session.agent = _speaker(instance)
        session.received(event)
    return await wrapped(*args, **kwargs)


def _speaker(model: Any) -> str:
    reference = model.__dict__.get(_SPEAKER)
    around = None if reference is None else reference()
    return text(getattr(getattr(around, "_current_agent", None), "name", None))


async def _enter(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    try:
        instance._model.__dict__[_SPEAKER] = ref(instance)
    except Exception as error:
        _guard.contain("openai_agents.realtime", error)
    return await wrapped(*args, **kwargs)


async def _run_tool(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    draft = None
    try:
        session: RealtimeSession | None = realtime.session_of(instance._model)
        event = args[0] if args else kwargs.get("event")
        if session is not None:
            draft = session.tools.get(text(getattr(event, "call_id", None)))
    except Exception as error:
        _guard.contain("openai_agents.realtime", error)
    if draft is None:
        return await wrapped(*args, **kwargs)
    tokens = current.activate(draft)
    try:
        return await wrapped(*args, **kwargs)
    finally:
        current.deactivate(tokens)
