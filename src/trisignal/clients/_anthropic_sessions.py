"""Anthropic's managed agents: what the events of a session say about its model requests, while they are streamed.

The agent runs at Anthropic. Each request of its model has a begin and an end with its tokens; the model is that of the
session's agent, which a session says when it is created or retrieved. Events that nobody streams are not seen.
"""

from __future__ import annotations

import importlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

from trisignal import _guard
from trisignal import semconv as names
from trisignal.call import Draft
from trisignal.clients._patch import Patches
from trisignal.clients._provider import Args, ClientExchange, Kwargs, Place, draft_at, place_of
from trisignal.clients.frameworks._framework import entity
from trisignal.engine import current, lifecycle, state
from trisignal.formats import text, view
from trisignal.formats.anthropic_messages import usage
from trisignal.formats.plain import PLAIN

_PROVIDER = "anthropic"
_RESOURCES = "anthropic.resources.beta.sessions"
_RUNNING, _OVER = "session.status_running", ("session.status_idle", "session.status_terminated")
_BEGUN, _ENDED = "span.model_request_start", "span.model_request_end"
_MOST_SESSIONS = 4096
_MOST_REQUESTS = 16_384
_MOST_OPEN = 64


class _Agent(NamedTuple):
    """What a session says of its agent."""

    name: str = ""
    model: str = ""


class ManagedSessions:
    """Patches sessions and their streams; it knows the agents of sessions, and which requests were counted."""

    def __init__(self) -> None:
        self._agents: OrderedDict[str, _Agent] = OrderedDict()
        self._counted: OrderedDict[str, None] = OrderedDict()

    def patch(self, patches: Patches) -> None:
        """Patch both, where the version has them."""
        try:
            sessions = importlib.import_module(_RESOURCES)
            events = importlib.import_module(f"{_RESOURCES}.events")
        except ModuleNotFoundError:
            return
        for method in ("create", "retrieve", "update"):
            patches.wrap(sessions.Sessions, method, self._session)
            patches.wrap(sessions.AsyncSessions, method, self._asession)
        patches.wrap(events.Events, "stream", self._stream)
        patches.wrap(events.AsyncEvents, "stream", self._astream)

    # --- sessions ---------------------------------------------------------------------

    def _session(self, wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
        session = wrapped(*args, **kwargs)
        self._note(session)
        return session

    async def _asession(self, wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
        session = await wrapped(*args, **kwargs)
        self._note(session)
        return session

    def _note(self, session: Any) -> None:
        try:
            agent = view(view(session).get("agent"))
            model = view(agent.get("model")).get("id")
            _keep(self._agents, text(view(session).get("id")), _Agent(text(agent.get("name")), text(model)))
            if len(self._agents) > _MOST_SESSIONS:
                self._agents.popitem(last=False)
        except Exception as error:
            _guard.contain("anthropic.session", error)

    # --- events -----------------------------------------------------------------------

    def _stream(self, wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
        stream = wrapped(*args, **kwargs)
        run = self._run(instance, args, kwargs)
        if run is not None and hasattr(stream, "_iterator"):
            stream._iterator = _watched(stream._iterator, run)
        return stream

    async def _astream(self, wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
        stream = await wrapped(*args, **kwargs)
        run = self._run(instance, args, kwargs)
        if run is not None and hasattr(stream, "_iterator"):
            stream._iterator = _awatched(stream._iterator, run)
        return stream

    def _run(self, instance: Any, args: Args, kwargs: Kwargs) -> _Run | None:
        if state.is_off():
            return None
        try:
            session = text(args[0] if args else kwargs.get("session_id"))
            place = place_of(str(instance._client.base_url), _PROVIDER)
            return _Run(self, session, place, self._agents.get(session, _Agent()))
        except Exception as error:
            _guard.contain("anthropic.session", error)
            return None

    def counts(self, request: str) -> bool:
        """Whether a request is seen for the first time: several streams of a session may be open."""
        if request in self._counted:
            return False
        _keep(self._counted, request, None)
        if len(self._counted) > _MOST_REQUESTS:
            self._counted.popitem(last=False)
        return True


class _Run:
    """What is open of a session, as one stream of its events says."""

    def __init__(self, sessions: ManagedSessions, session: str, place: Place, agent: _Agent) -> None:
        self._sessions = sessions
        self._session = session
        self._place = place
        self._about = agent
        self._agent: Draft | None = None
        self._requests: dict[str, Draft] = {}

    def take(self, event: Any) -> None:
        """Take an event; whatever is wrong with it is ours to bear."""
        try:
            fields = view(event)
            kind = text(fields.get("type"))
            if kind == _RUNNING and self._agent is None and self._sessions.counts(text(fields.get("id"))):
                self._agent = entity(names.INVOKE_AGENT, self._about.name, self._session)
                self._agent.provider = self._place.provider
                lifecycle.open_call(self._agent, refusable=False)
            elif kind == _BEGUN and len(self._requests) < _MOST_OPEN:
                self._begin(text(fields.get("id")))
            elif kind == _ENDED:
                self._end(self._requests.pop(text(fields.get("model_request_start_id")), None), fields)
            elif kind in _OVER:
                self.over()
        except Exception as error:
            _guard.contain("anthropic.event", error)

    def over(self, error: BaseException | None = None) -> None:
        """The agent is idle, or its stream is over: then what has not ended is left."""
        for draft in self._requests.values():
            lifecycle.close_call(draft, error or GeneratorExit())
        self._requests.clear()
        agent, self._agent = self._agent, None
        if agent is not None:
            lifecycle.close_call(agent, error)

    def _begin(self, request: str) -> None:
        if not self._sessions.counts(request):
            return
        draft = draft_at(self._place, names.CHAT, ClientExchange(PLAIN), {}, model=self._about.model)
        draft.conversation_id = draft.fields[names.CONVERSATION_ID] = self._session
        if self._agent is None:
            lifecycle.open_call(draft, refusable=False)
        else:
            tokens = current.activate(self._agent)
            try:
                lifecycle.open_call(draft, refusable=False)
            finally:
                current.deactivate(tokens)
        self._requests[request] = draft

    def _end(self, draft: Draft | None, fields: Any) -> None:
        if draft is None:
            return
        counts = view(fields.get("model_usage"))
        draft.usage = usage(counts)
        speed = text(counts.get("speed"))
        draft.tier = speed if speed != "standard" else ""
        if fields.get("is_error"):
            draft.outcome, draft.error_type, draft.error_kind = "error", "model_request_failed", "other"
        lifecycle.close_call(draft)


def _keep(held: OrderedDict[str, Any], key: str, value: Any) -> None:
    held[key] = value
    held.move_to_end(key)


def _watched(events: Iterator[Any], run: _Run) -> Iterator[Any]:
    try:
        for event in events:
            run.take(event)
            yield event
    except BaseException as error:
        run.over(error)
        raise
    run.over()


async def _awatched(events: AsyncIterator[Any], run: _Run) -> AsyncIterator[Any]:
    try:
        async for event in events:
            run.take(event)
            yield event
    except BaseException as error:
        run.over(error)
        raise
    run.over()
