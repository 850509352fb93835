"""Responses that openai-agents asks for over websockets which it opens itself: its model yields every event, parsed."""

from __future__ import annotations

import sys
from typing import Any

from trisignal import _context, _guard
from trisignal.clients._openai_responses import asked
from trisignal.clients._patch import Patches
from trisignal.clients._provider import Args, Kwargs, place_of
from trisignal.engine import lifecycle, state
from trisignal.formats import view
from trisignal.formats.openai_responses import RESPONSES
from trisignal.streams.fold import Fold, aiterate

MODULE = "agents.models.openai_responses"
"""Where the class is; the framework imports it with itself."""


def patch(patches: Patches) -> None:
    """Patch the model of responses over websockets, where the version has one.

    Args:
        patches: Where the patches are noted.
    """
    model = getattr(sys.modules.get(MODULE), "OpenAIResponsesWSModel", None)
    if model is not None:
        patches.wrap(model, "_iter_websocket_response_events", _watch)


def _watch(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    events = wrapped(*args, **kwargs)
    if not state.STATE.active or _context.suppressed.get():
        state.check_set_up()
        return events
    try:
        given = args[0] if args else kwargs.get("create_kwargs")
        client = instance._client
        url = client.websocket_base_url or client.base_url
        # What the framework leaves out is an object that says so.
        body = {name: value for name, value in view(given).items() if type(value).__name__ not in ("Omit", "NotGiven")}
        draft = asked(place_of(str(url), "openai"), body)
    except Exception as error:
        _guard.contain("openai_agents.responses", error)
        return events
    lifecycle.open_call(draft)
    return aiterate(events, Fold(draft, RESPONSES, keep_content=state.captures()))
