"""Turns of a realtime session: what the user said, with every response and tool call that answers it.

Each turn starts a trace of its own, which links to the session's span. What is kept is of fixed size while content
is off: open responses, open tool calls, the names of the turn's tool calls.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

from trisignal import _context
from trisignal import semconv as names
from trisignal.call import ChunkTimes, ContentSource, Draft, RateLimit
from trisignal.engine import current, lifecycle, meters, state
from trisignal.formats import ANSWER, TOKEN
from trisignal.formats.realtime import AUDIO, RealtimeFormat, SessionFacts
from trisignal.outcomes import Failure
from trisignal.semconv import realtime

_BOUNDS_NS = tuple(round(bound * 1e9) for bound in names.SECONDS)
CONTENT = TOKEN | ANSWER | AUDIO
"""Flags of a message that holds output of the model."""
MOST_OPEN = 16
"""Responses that run, and requests that wait for one, at most."""
MOST_ITEMS = 64
"""Items of a conversation, and tool calls of a turn, that are remembered at most."""
_COUNTED = (
    realtime.SESSION_TURNS, realtime.SESSION_RESPONSES, realtime.SESSION_INTERRUPTIONS, realtime.SESSION_ERRORS,
    realtime.SESSION_RECONNECTS,
)  # fmt: skip


class Response:
    """An open response."""

    __slots__ = ("draft", "request", "timed", "times", "tools", "wanted")

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.times = draft.chunk_times = ChunkTimes(len(_BOUNDS_NS) + 1)
        self.wanted = CONTENT
        self.timed = True
        """When it was asked for is known, and so how long its output took to come."""
        self.tools = 0
        self.request: dict[str, Any] | None = None
        """What content is read from, while it is captured."""

    def mark(self, flags: int, now: int) -> None:
        """Note the time of a message with output."""
        times = self.times
        last, times.last_ns = times.last_ns, now
        if last:
            times.intervals[bisect_left(_BOUNDS_NS, now - last)] += 1
        elif self.timed:
            times.first_chunk_ns = now
        else:
            self.wanted = 0
        news = flags & self.wanted
        if news:
            self.wanted &= ~news
            if news & TOKEN:
                times.first_token_ns = now
            if news & ANSWER:
                times.first_answer_ns = now
            if news & AUDIO:
                times.first_audio_ns = now


class Turns:
    """The calls of one session: opens and closes turns, responses and tool calls.

    Args:
        draft: The session's call; it is opened here.
        format: How its messages are written.
    """

    def __init__(self, draft: Draft, format: RealtimeFormat) -> None:
        self.draft = draft
        self.format = format
        self.facts = SessionFacts(model=draft.request_model)
        self.agent = ""
        """Name of the agent that the next responses belong to."""
        self.tools: dict[str, Draft] = {}
        """Open tool calls by their id."""
        self._drafted = state.STATE.settings.metric_profile != names.PROFILES[0]
        self._keep = state.captures()
        self._turn: Draft | None = None
        self._last_turn: Draft | None = None
        self._turn_tools: dict[str, str] = {}
        """Names of the turn's tool calls by id; "" once the application has answered."""
        self._turn_responses = 0
        self._awaits = False
        """The last response of the turn has called a tool: another one will follow."""
        self._responses: dict[str, Response] = {}
        self._latest: Response | None = None
        self._limits: tuple[RateLimit, ...] = ()
        self._items: list[Any] = []
        self._heard: dict[str, str] = {}
        self._counts: dict[str, int] = dict.fromkeys(_COUNTED, 0)
        lifecycle.open_call(draft, refusable=False)
        self._conversation_id = draft.conversation_id or _context.active(_context.CONVERSATION_ID, "")
        self._known_conversation = bool(self._conversation_id)

    @property
    def session_key(self) -> str:
        """Attribute of the session's id: ours, or the draft conventions' in the dated profile."""
        return names.DRAFT[names.REALTIME_SESSION_ID] if self._drafted else names.REALTIME_SESSION_ID

    def _count(self, name: str, key: str = "", *labels: str) -> None:
        self._counts[name] += 1
        if key:
            draft = self.draft
            own = (draft.provider, draft.request_model, *labels)
            meters.count(key, tuple([meters.clean(value) for value in own]))

    # --- turns -----------------------------------------------------------------------

    def _open(self, draft: Draft, start_ns: int, inside: Draft | None) -> None:
        """Open a call of the session.

        Args:
            draft: The call.
            start_ns: When it began.
            inside: The turn that it is a part of; None for a turn.
        """
        session = self.draft
        draft.server_address, draft.server_port = session.server_address, session.server_port
        draft.provider = session.provider
        draft.request_model = draft.request_model or session.request_model or self.facts.model
        draft.conversation_id = self._conversation_id
        if self.facts.id:
            draft.fields[self.session_key] = self.facts.id
        # By the session's own pair of clock readings: two calls that begin at one instant do so in their spans, too.
        draft.start_ns, draft.start_unix_ns = start_ns, session.start_unix_ns + start_ns - session.start_ns
        with current.apart(session):
            if inside is None:
                draft.link = None if session.span is None else session.span.get_span_context()
                lifecycle.open_call(draft, refusable=False)
                return
            tokens = current.activate(inside)
            try:
                lifecycle.open_call(draft, refusable=False)
            finally:
                current.deactivate(tokens)

    def _within(self, start_ns: int) -> Draft:
        """The turn that something belongs to: the open one, or a new one."""
        turn = self._turn
        if turn is None:
            turn = self._turn = Draft(names.REALTIME_TURN, kind="internal")
            self._turn_responses, self._awaits = 0, False
            self._turn_tools.clear()
            self._open(turn, start_ns, None)
            self._count(realtime.SESSION_TURNS)
        return turn

    def _end_turn(self) -> None:
        turn, self._turn = self._turn, None
        if turn is not None:
            self._awaits = False
            self._last_turn = turn
            lifecycle.close_call(turn)

    @property
    def _idle(self) -> bool:
        return not self._responses and not self.tools

    # --- responses -------------------------------------------------------------------

    def _begin(self, id_: str, start_ns: int, spoken_ns: int) -> Response:
        """Open a response.

        Args:
            id_: Its id, as far as the provider names it.
            start_ns: When it was asked for.
            spoken_ns: When what the user said ended; 0 where it was not spoken.
        """
        if self._turn_responses and not self._awaits and self._idle:
            self._end_turn()
        turn = self._within(min(spoken_ns or start_ns, start_ns))
        self._turn_responses += 1
        draft = Draft(names.REALTIME_INFERENCE if self._drafted else self.format.operation)
        draft.leaf = True
        draft.agent = self.agent
        draft.response_id, draft.response_model = id_, self.facts.model
        draft.fields.update(self.facts.fields)
        draft.fields[names.REQUEST_STREAM] = True
        draft.rate_limits, self._limits = self._limits, ()
        response = Response(draft)
        response.times.speech_end_ns = spoken_ns
        if self._keep:
            request = {"settings": self.facts.settings, "items": self._items, "heard": self._heard, "said": []}
            response.request = request
            draft.content = ContentSource(self.format.read_content, request)
            self._items = []
            if self.format.unannounced:
                # What is heard comes before the response, and has no ids to distinguish it by.
                self._heard = {}
        self._open(draft, start_ns, turn)
        self._count(realtime.SESSION_RESPONSES)
        if len(self._responses) >= MOST_OPEN:
            self._finish(self._responses.pop(next(iter(self._responses))), GeneratorExit())
        self._responses[id_] = self._latest = response
        return response

    def _leave(self, response: Response) -> None:
        """Take a response out of the open ones."""
        self._responses = {id_: other for id_, other in self._responses.items() if other is not response}
        self._latest = next(reversed(self._responses.values()), None)

    def _finish(self, response: Response, error: BaseException | None = None) -> None:
        """Close a response that is no longer among the open ones, and its turn if nothing is to follow."""
        draft = response.draft
        self._awaits = bool(response.tools)
        call = lifecycle.close_call(draft, error)
        if draft.outcome == "cancelled":
            self._count(realtime.SESSION_INTERRUPTIONS, "interruptions", next(iter(draft.finish_reasons), "error"))
        turn = self._turn
        if turn is not None and call is not None:
            turn.outcome, turn.error_type, turn.error_kind = call.outcome, call.error_type, call.error_kind
            turn.response_model = call.response_model
        if not self._awaits and self._idle:
            self._end_turn()

    # --- tools -----------------------------------------------------------------------

    def _call_tool(self, id_: str, name: str, arguments: Any, now: int) -> None:
        """Open a tool call, unless it is known already."""
        name = name or self._turn_tools.get(id_, "")
        if self._latest is not None:
            self._latest.tools += 1
        if id_ in self.tools or self._turn_tools.get(id_, name) == "" or len(self.tools) >= MOST_ITEMS:
            return
        turn = self._within(now)
        self._turn_tools[id_] = name
        draft = Draft(names.EXECUTE_TOOL, name=name, kind="internal")
        draft.fields[names.TOOL_TYPE] = "function"
        draft.agent = self.agent
        if id_:
            draft.fields[names.TOOL_CALL_ID] = id_
        if self._keep:
            draft.content = ContentSource()
            draft.content.arguments = arguments
        self.tools[id_] = draft
        self._open(draft, now, turn)

    def _end_tool(self, id_: str, result: Any = None) -> None:
        draft = self.tools.pop(id_, None)
        if draft is None:
            return
        self._turn_tools[id_] = ""
        if draft.content is not None:
            draft.content.result = result
        lifecycle.close_call(draft)

    # --- the end ---------------------------------------------------------------------

    def _drop(self, failure: Failure) -> None:
        """End everything that is open inside of the session."""
        responses, self._responses, self._latest = self._responses, {}, None
        for response in responses.values():
            draft = response.draft
            draft.outcome, draft.error_type, draft.error_kind = failure
            response.tools = 0
            self._finish(response)
        for id_ in tuple(self.tools):
            self.tools[id_].outcome = "abandoned"
            self._end_tool(id_)
        self._end_turn()
