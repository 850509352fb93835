"""Realtime sessions: the messages of a connection, in both directions, become calls.

A session is a call of its own, whose turns are in `streams.turns`. What a message means is up to its format.
"""

from __future__ import annotations

from collections.abc import Iterable
from threading import RLock
from typing import Any

from trisignal import _guard
from trisignal import semconv as names
from trisignal.call import Draft
from trisignal.engine import lifecycle, state
from trisignal.formats import NOTABLE, text, view
from trisignal.formats.realtime import EXPIRED, GENERAL, REFUSED, SAID, RealtimeFormat, SessionFacts, Step
from trisignal.outcomes import INCOMPLETE_STREAM, Failure, classify, classify_event
from trisignal.semconv import realtime
from trisignal.streams.turns import CONTENT, MOST_ITEMS, MOST_OPEN, Response, Turns

_MOST_HANDLES = 1024
_MOST_TEXT = 1 << 20
"""Characters of what one item said, and pieces of what one response said, that are kept."""
_ENDED = Failure("ok", "", None)
_LEFT = Failure("abandoned", "", None)
_CUT = Failure("error", INCOMPLETE_STREAM, "server")


class RealtimeSession(Turns):
    """One session, over one connection or several that continue it.

    What it does is contained: no public method raises, and none sends or changes anything. Messages may be
    received and sent by different threads.

    Args:
        draft: The session's call; it is opened here.
        format: How its messages are written.
    """

    def __init__(self, draft: Draft, format: RealtimeFormat) -> None:
        super().__init__(draft, format)
        self.handles: dict[str, str] | None = None
        """Where a handle is kept, with its conversation, by which another connection may continue the session."""
        self.closed = False
        self._look = format.look
        self._looked_at = NOTABLE | CONTENT | (SAID if self._keep else 0)
        self._taken = NOTABLE | (SAID if self._keep else 0)
        self._clock = state.STATE.perf_ns
        self._lock = RLock()
        self._settling: Response | None = None
        """Has ended, and waits for what may still be reported about it."""
        self._waiting: list[tuple[str, int]] = []
        """Requests without a response so far: id of the client's event, and when it was sent."""
        self._speech_end_ns = self._spoken_ns = 0
        """When the user last stopped speaking: 0 once a response has begun, and however that is."""
        self._expired: Failure | None = None
        self._lost: Failure | None = None
        """How the connection ended; None while there is one."""

    # --- messages --------------------------------------------------------------------

    def received(self, message: Any) -> None:
        """Take a message of the provider: the hot path."""
        try:
            flags = self._look(message) & self._looked_at
            if not flags:
                return
            response = self._latest
            if response is None or flags & self._taken:
                self._take(message, flags)
                return
            if len(self._responses) > 1:
                response = self._responses.get(self.format.response_of(message), response)
            response.mark(flags, self._clock())
        except Exception as error:
            _guard.contain("realtime.received", error)

    def _take(self, message: Any, flags: int) -> None:
        with self._lock:
            if self.closed:
                return
            now = self._clock()
            if flags & CONTENT:
                self._settle()
                response = self._latest
                if response is None and self.format.unannounced:
                    response = self._started("", now)
                if response is not None:
                    response.mark(flags, now)
            if flags & self._taken:
                self._do(self.format.received(message), now)

    def sent(self, message: Any) -> None:
        """Take a message of the application, which is about to be sent."""
        try:
            if self.format.look_sent(message):
                self.steps(self.format.sent(message))
        except Exception as error:
            _guard.contain("realtime.sent", error)

    def steps(self, steps: Iterable[Step]) -> None:
        """Take what a message of the application means.

        Args:
            steps: What it means, in order.
        """
        try:
            with self._lock:
                if not self.closed:
                    self._do(steps, self._clock())
        except Exception as error:
            _guard.contain("realtime.steps", error)

    def _do(self, steps: Iterable[Step], now: int) -> None:
        for step in steps:
            getattr(self, f"_on_{step.kind}")(step, now)

    # --- the session -----------------------------------------------------------------

    def _on_session(self, step: Step, now: int) -> None:
        if self._lost is not None:
            self.reconnected()
        self.configure(self.format.read_session(step.facts), replaces=step.name == "updated")

    def configure(self, facts: SessionFacts, *, replaces: bool = False) -> None:
        """Take a session's configuration.

        Args:
            facts: What it says.
            replaces: It is complete: what it leaves out is switched off.
        """
        known = self.facts
        model = facts.model or known.model
        writer = facts.transcription_model or ("" if replaces else known.transcription_model)
        fields = {**known.fields, **facts.fields}
        self.facts = facts._replace(
            id=facts.id or known.id,
            model=model,
            transcription_model=writer,
            fields=fields,
            settings=facts.settings or known.settings,
        )
        draft = self.draft
        draft.request_model = draft.request_model or model
        draft.response_model = model
        if self.facts.id:
            draft.fields[self.session_key] = self.facts.id
        self._talk(facts.conversation_id)

    def reconnected(self) -> None:
        """Another connection continues the session."""
        self._lost = self._expired = None
        self._count(realtime.SESSION_RECONNECTS, "reconnects")

    def _talk(self, conversation_id: str) -> None:
        """Take the id of the conversation, unless the application has given one of its own."""
        if not self._known_conversation:
            self._conversation_id = conversation_id or self._conversation_id or self.facts.id
            if self._conversation_id:
                self.draft.fields[names.CONVERSATION_ID] = self._conversation_id

    def _on_leaving(self, step: Step, now: int) -> None:
        """The provider announces that it will close the connection: nothing has failed by that."""

    def _on_resumable(self, step: Step, now: int) -> None:
        handles = self.handles
        if handles is not None:
            handles[step.id] = self._conversation_id
            if len(handles) > _MOST_HANDLES:
                handles.pop(next(iter(handles)))

    def resumed(self, conversation_id: str) -> None:
        """This connection continues another one.

        Args:
            conversation_id: Of the conversation, where it is known.
        """
        self._talk(conversation_id)
        self.reconnected()

    # --- responses -------------------------------------------------------------------

    def _on_speech_ended(self, step: Step, now: int) -> None:
        self._speech_end_ns = self._spoken_ns = now
        if self._idle and self._settling is None:
            self._end_turn()

    def _on_requested(self, step: Step, now: int) -> None:
        if self.format.unannounced:
            self._waiting.clear()
        if len(self._waiting) < MOST_OPEN:
            self._waiting.append((step.id, now))

    def _on_item(self, step: Step, now: int) -> None:
        if self._keep and text(view(step.facts).get("role")) != "assistant":
            self._items = [*self._items, step.facts][-MOST_ITEMS:]

    def _on_began(self, step: Step, now: int) -> None:
        self._talk(text(step.facts.get("conversation_id")))
        self._started(step.id, now)

    def _started(self, id_: str, now: int) -> Response:
        self._settle()
        spoken, self._speech_end_ns = self._speech_end_ns, 0
        start_ns = self._waiting.pop(0)[1] if self._waiting else spoken
        response = self._begin(id_, start_ns or now, spoken)
        if not start_ns and self.format.unannounced:
            # Nobody knows when it was asked for: its first output is all that was seen.
            response.timed = False
        return response

    def _on_ended(self, step: Step, now: int) -> None:
        response = self._responses.get(step.id) or self._responses.get("")
        if response is None and self._settling is not None:
            response, self._settling = self._settling, None
        if response is None:
            # Its beginning was not seen: the connection was joined later.
            if self.format.unannounced and not self._reports(step):
                return
            response = self._started(step.id, now)
        draft = response.draft
        draft.end_ns = draft.end_ns or now
        self.format.read_reply(draft, step.facts)
        draft.pending = draft.pending and draft.usage is None
        draft.response_model = draft.response_model or self.facts.model
        if draft.content is not None:
            draft.content.response = step.facts
        self._leave(response)
        self._finish(response)

    def _reports(self, step: Step) -> bool:
        probe = Draft("")
        self.format.read_reply(probe, step.facts)
        return probe.usage is not None

    def _settle(self) -> None:
        """Close the response that has ended before, and about which nothing more is to come."""
        response, self._settling = self._settling, None
        if response is not None:
            self._finish(response)

    def _later(self, response: Response, now: int) -> None:
        """A response has ended, and its usage may still come."""
        response.draft.end_ns = now
        self._leave(response)
        self._settle()
        self._settling = response

    def _on_interrupted(self, step: Step, now: int) -> None:
        response = self._latest
        if response is not None:
            response.draft.outcome, response.draft.finish_reasons = "cancelled", (step.name,)
            self._later(response, now)

    def _on_handed_over(self, step: Step, now: int) -> None:
        """The response has ended with its tool calls; its tokens may be counted with the next one's."""
        response = self._latest
        if response is not None:
            response.draft.finish_reasons, response.draft.pending = ("tool_calls",), response.draft.usage is None
            self._later(response, now)

    def _on_usage(self, step: Step, now: int) -> None:
        response = self._settling or self._latest
        if response is not None:
            self.format.read_reply(response.draft, step.facts)
            response.draft.pending = False

    def _on_limits(self, step: Step, now: int) -> None:
        if self._latest is not None:
            self._latest.draft.rate_limits = step.facts
        else:
            self._limits = step.facts

    def _on_heard(self, step: Step, now: int) -> None:
        if self._keep:
            before = self._heard.pop(step.id, "")
            self._heard[step.id] = (before + step.name)[:_MOST_TEXT]
            if len(self._heard) > MOST_ITEMS:
                self._heard.pop(next(iter(self._heard)))

    def _on_said(self, step: Step, now: int) -> None:
        response = self._latest
        if response is not None and response.request is not None and len(response.request["said"]) < _MOST_TEXT:
            response.request["said"].append(step.facts)

    # --- tools -----------------------------------------------------------------------

    def _on_tool_named(self, step: Step, now: int) -> None:
        if step.id and len(self._turn_tools) < MOST_ITEMS:
            self._turn_tools.setdefault(step.id, step.name)

    def _on_tool_called(self, step: Step, now: int) -> None:
        self._call_tool(step.id, step.name, step.facts, now)

    def _on_tool_answered(self, step: Step, now: int) -> None:
        self._end_tool(step.id, step.facts)

    def _on_tool_cancelled(self, step: Step, now: int) -> None:
        draft = self.tools.get(step.id)
        if draft is not None:
            draft.outcome = "cancelled"
            self._end_tool(step.id)

    # --- what else happens -----------------------------------------------------------

    def _on_transcribed(self, step: Step, now: int) -> None:
        """What the user said was written down, by another model, which is billed apart."""
        draft = Draft("transcription", request_model=self.facts.transcription_model or "unknown")
        draft.leaf = True
        draft.usage = step.facts.get("usage")
        error = step.facts.get("error")
        if error is not None:
            draft.outcome, draft.error_type, draft.error_kind = classify_event(error)
        if step.name:
            self._on_heard(step, now)
        start_ns = self._spoken_ns or now
        # It may come before the first response to what was said, during it, or after the turn.
        turn = None if self._speech_end_ns else self._turn or self._last_turn
        self._open(draft, start_ns, turn or self._within(start_ns))
        lifecycle.close_call(draft)
        if self.facts.transcribes_only:
            self._end_turn()

    def _on_error(self, step: Step, now: int) -> None:
        """An error ends no session by itself, and no running response; it may mean that a request was refused."""
        failure = classify_event(step.facts)
        self._count(realtime.SESSION_ERRORS, "session_errors", failure.error_type)
        if failure.error_type == EXPIRED:
            self._expired = failure
        request = self._request_of(step, failure)
        if request is None:
            return
        self._waiting.remove(request)
        if failure.error_type not in REFUSED:
            self._settle()
            response = self._begin("", request[1], 0)
            response.draft.outcome, response.draft.error_type, response.draft.error_kind = failure
            self._leave(response)
            self._finish(response)

    def _request_of(self, step: Step, failure: Failure) -> tuple[str, int] | None:
        """The request that an error refuses; None where it is about something else."""
        if step.id:
            return next((request for request in self._waiting if request[0] == step.id), None)
        of_response = failure.error_type in REFUSED or step.name.startswith("response") or failure.kind in GENERAL
        return self._waiting[0] if self._waiting and of_response else None

    # --- the end ---------------------------------------------------------------------

    def broke(self, error: BaseException | None) -> None:
        """The connection has ended, by whatever; another one may continue the session.

        Args:
            error: What reading from it raised; None where the provider closed it in good order.
        """
        try:
            with self._lock:
                if not self.closed and self._lost is None:
                    self._settle()
                    clean = error is None or type(error).__name__ == "ConnectionClosedOK"
                    failure = self._expired or (_CUT if error is None or clean else classify(error))
                    self._drop(failure)
                    self._waiting.clear()
                    self._lost = _ENDED if clean and self._expired is None else failure
        except Exception as contained:
            _guard.contain("realtime.broke", contained)

    def close(self, error: BaseException | None = None) -> None:
        """The session is over.

        Args:
            error: What kept it from beginning.
        """
        try:
            with self._lock:
                if self.closed:
                    return
                self._settle()
                self._drop(_LEFT)
                self.closed = True
                draft = self.draft
                draft.fields.update({name: count for name, count in self._counts.items() if count})
                if error is None and self._lost is not None:
                    draft.outcome, draft.error_type, draft.error_kind = self._lost
                lifecycle.close_call(draft, error)
        except Exception as contained:
            _guard.contain("realtime.close", contained)
