"""One run of a Claude agent, from the messages that the CLI sends to claude-agent-sdk.

What the messages say about tokens is easy to misread: usage is repeated with every content block of a reply, its output
is the count at the start of the stream, and the result leaves sub-agents out. So replies wait for the result: its
``modelUsage`` has the true sums by model, and its total the cost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from trisignal import semconv as names
from trisignal.call import Bill, ChunkTimes, Draft, Usage
from trisignal.clients.frameworks._framework import entity, keep, tool
from trisignal.engine import lifecycle, state
from trisignal.engine.batch_accounts import emit
from trisignal.engine.current import activate, restore
from trisignal.formats import amount, count, listed, text, view
from trisignal.formats.anthropic_messages import usage as message_usage
from trisignal.outcomes import classify_names, kind_of_status

AGENT = "claude"
PROVIDER = "anthropic"
_SUB_AGENTS = ("Task", "Agent")
"""Tools that run another agent."""
_GENERAL = "general-purpose"
_NO_MODEL = "<synthetic>"
"""The CLI's name for the model of a reply that it writes itself, most often in place of one that failed."""
_MOST = 10_000
"""Replies, tools and marks that are remembered of one run."""
_WEIGHTS = (1.0, 0.1, 1.25, 5.0)
"""Price of uncached input, cache reads, cache writes and output, relative to each other: they split a stated cost."""


class ClaudeTurn:
    """One reply of a model."""

    __slots__ = (
        "bill", "end_ns", "first_ns", "id", "model", "refused", "settled", "start_ns", "stop", "thread", "usage",
    )  # fmt: skip

    def __init__(self, id_: str, thread: str, start_ns: int) -> None:
        self.id = id_
        self.thread = thread
        """Id of the tool call that runs the agent; "" for the main one."""
        self.start_ns = self.end_ns = start_ns
        self.first_ns = 0
        """Its first token, where partial messages are on."""
        self.model = self.stop = self.refused = ""
        """`refused` says why there is no reply; it is empty where there is one."""
        self.usage: Usage | None = None
        self.bill: Bill | None = None
        self.settled = False
        """The output tokens are those of the end of the stream."""

    @property
    def weight(self) -> float:
        """Its part of a cost that is stated for several replies."""
        if self.refused:
            return 0.0
        usage = self.usage or Usage()
        read, write = usage.cache_read or 0, usage.cache_write or 0
        parts = (max((usage.input or 0) - read - write, 0), read, write, usage.output or 0)
        return sum(count * weight for count, weight in zip(parts, _WEIGHTS, strict=True)) or 1.0


class Marks:
    """When tools began and ended, as hooks report it: that may be before or after the messages are read."""

    __slots__ = ("_times",)

    def __init__(self) -> None:
        self._times: dict[tuple[str, str], int] = {}

    def set(self, edge: str, id_: str) -> None:
        """Note the start or the end of a tool."""
        if id_ and len(self._times) < _MOST:
            self._times[edge, id_] = state.STATE.perf_ns()

    def take(self, edge: str, id_: str) -> int:
        """The noted time; 0 when there is none."""
        return self._times.pop((edge, id_), 0)


class ClaudeRun:
    """A run, from its first message to its result.

    Args:
        asked_ns: When the prompt was sent, on the monotonic clock.
        marks: Times that hooks report.
    """

    def __init__(self, asked_ns: int, marks: Marks) -> None:
        self._marks = marks
        self.turns: dict[str, ClaudeTurn] = {}
        self.unseen: list[tuple[str, Usage, Bill | None]] = []
        """Tokens of models that no message showed."""
        self._tools: dict[str, Draft] = {}
        self._agents: dict[str, Draft] = {}
        self._since: dict[str, int] = {"": asked_ns}
        """Since when each agent's model has been at work."""
        self.draft = entity(names.INVOKE_AGENT, AGENT)
        self.draft.provider = PROVIDER
        _begin_at(self.draft, asked_ns)
        lifecycle.open_call(self.draft, refusable=False)

    # --- messages --------------------------------------------------------------------

    def take(self, message: Mapping[str, Any]) -> bool:
        """Take a message; returns whether it was the result, which ends the run."""
        kind = message.get("type")
        thread = text(message.get("parent_tool_use_id"))
        if kind == "assistant":
            reply = view(message.get("message"))
            if reply.get("model") == _NO_MODEL:
                self._refused(thread, text(message.get("error")))
            else:
                self._reply(thread, reply)
        elif kind == "stream_event":
            self._event(thread, view(message.get("event")))
        elif kind == "user":
            self._results(thread, view(message.get("message")))
        elif kind == "system" and message.get("subtype") == "init":
            self.draft.request_model = text(message.get("model"))
            self.draft.conversation_id = text(message.get("session_id"))
            self.draft.fields[names.CONVERSATION_ID] = self.draft.conversation_id
        elif kind == "result":
            self._end(message)
            return True
        return False

    def _turn(self, thread: str, id_: str) -> ClaudeTurn | None:
        turn = self.turns.get(id_)
        if turn is None and id_ and len(self.turns) < _MOST:
            now = state.STATE.perf_ns()
            turn = self.turns[id_] = ClaudeTurn(id_, thread, self._since.get(thread) or now)
        return turn

    def _agent(self, thread: str) -> Draft:
        """The agent of a thread."""
        return self._agents.get(thread, self.draft)

    @contextmanager
    def _inside(self, draft: Draft) -> Iterator[None]:
        """What begins here begins inside of a call."""
        tokens = activate(draft)
        try:
            yield
        finally:
            restore(draft, tokens)

    def _reply(self, thread: str, reply: Any) -> None:
        turn = self._turn(thread, text(reply.get("id")))
        if turn is not None:
            turn.end_ns = state.STATE.perf_ns()
            turn.model = text(reply.get("model")) or turn.model
            turn.stop = text(reply.get("stop_reason")) or turn.stop
            if not turn.settled:
                turn.usage = message_usage(reply.get("usage")) or turn.usage
        for block in map(view, listed(reply.get("content"))):
            if block.get("type") == "tool_use":
                self._open_tool(thread, text(block.get("id")), text(block.get("name")), block.get("input"))

    def _refused(self, thread: str, reason: str) -> None:
        """The API has failed; a text of the CLI's own without a reason is not a call of a model."""
        turn = self._turn(thread, f"refused-{len(self.turns)}") if reason else None
        if turn is not None:
            turn.end_ns, turn.refused, turn.settled = state.STATE.perf_ns(), reason, True
            turn.model = self._agent(thread).request_model or self.draft.request_model

    def _event(self, thread: str, event: Any) -> None:
        kind = text(event.get("type"))
        if kind == "message_start":
            self._turn(thread, text(view(event.get("message")).get("id")))
            return
        turn = next((turn for turn in reversed(self.turns.values()) if turn.thread == thread), None)
        if turn is None:
            return
        turn.end_ns = state.STATE.perf_ns()
        if kind == "content_block_delta":
            turn.first_ns = turn.first_ns or turn.end_ns
        elif kind == "message_delta":
            turn.stop = text(view(event.get("delta")).get("stop_reason")) or turn.stop
            output = count(view(event.get("usage")).get("output_tokens"))
            if output is not None:
                turn.usage = (turn.usage or message_usage(event.get("usage")) or Usage())._replace(output=output)
                turn.settled = True

    def _open_tool(self, thread: str, id_: str, name: str, arguments: Any) -> None:
        if not id_ or id_ in self._tools or len(self._tools) >= _MOST:
            return
        with self._inside(self._agent(thread)):
            draft = tool(name, id_, arguments)
            if draft is None:
                return
            began_ns = self._marks.take("start", id_)
            if began_ns:
                _begin_at(draft, began_ns)
            lifecycle.open_call(draft, refusable=False)
        self._tools[id_] = draft
        if name in _SUB_AGENTS:
            with self._inside(draft):
                agent = entity(names.INVOKE_AGENT, text(view(arguments).get("subagent_type")) or _GENERAL)
                agent.provider = PROVIDER
                lifecycle.open_call(agent, refusable=False)
            self._agents[id_] = agent
            self._since[id_] = state.STATE.perf_ns()

    def called(self, id_: str, name: str, arguments: Any) -> Draft | None:
        """The open call of a tool that is to run now.

        Args:
            id_: Its id; "" where it is not known: then it is the first of that name.
            name: The tool, with its server.
            arguments: What it is called with.
        """
        if id_ and id_ not in self._tools:
            self._open_tool("", id_, name, arguments)
        if id_:
            return self._tools.get(id_)
        return next((draft for draft in self._tools.values() if draft.name == name), None)

    def _results(self, thread: str, message: Any) -> None:
        for block in map(view, listed(message.get("content"))):
            if block.get("type") != "tool_result":
                continue
            id_ = text(block.get("tool_use_id"))
            draft = self._tools.pop(id_, None)
            if draft is not None:
                keep(draft, result=block.get("content"))
                draft.end_ns = self._marks.take("end", id_)
                if block.get("is_error"):
                    draft.outcome, draft.error_type, draft.error_kind = "error", "tool_error", "other"
                self._close(id_, draft)
        self._since[thread] = state.STATE.perf_ns()

    def _close(self, id_: str, draft: Draft, error: BaseException | None = None) -> None:
        agent = self._agents.get(id_)
        if agent is not None and not agent.end_ns:
            # It is closed once its replies, which wait for the result, have been recorded.
            agent.end_ns = draft.end_ns or state.STATE.perf_ns()
            agent.outcome, agent.error_type, agent.error_kind = draft.outcome, draft.error_type, draft.error_kind
        lifecycle.close_call(draft, error)

    # --- the end ---------------------------------------------------------------------

    def _end(self, result: Mapping[str, Any]) -> None:
        draft = self.draft
        subtype, failed = text(result.get("subtype")), result.get("is_error") is True
        if text(result.get("terminal_reason")).startswith("aborted"):
            draft.outcome = "cancelled"
        elif failed or subtype.startswith("error"):
            status = count(result.get("api_error_status"))
            draft.outcome, draft.error_type = "error", subtype if subtype.startswith("error") else "api_error"
            draft.error_kind = "other" if status is None else kind_of_status(status)
        else:
            draft.outcome = "ok"
        if stop := text(result.get("stop_reason")):
            draft.finish_reasons = (stop,)
        cost_usd, turns = amount(result.get("total_cost_usd")), count(result.get("num_turns"))
        if cost_usd is not None:
            draft.fields[names.RUN_COST] = cost_usd
        if turns is not None:
            draft.fields[names.RUN_TURNS] = turns
        self._finish(None)

    def failed(self, error: BaseException) -> None:
        """The run ended without a result: the process died, or nobody reads on."""
        self._finish(error)

    def _finish(self, error: BaseException | None) -> None:
        for turn in self.turns.values():
            self._emit(turn, error)
        for model, usage, bill in self.unseen:
            draft = Draft(names.CHAT, provider=PROVIDER, request_model=model)
            draft.response_model, draft.usage, draft.bill, draft.outcome = model, usage, bill, "ok"
            _begin_at(draft, state.STATE.perf_ns())
            emit(draft, "spent")
        if self.unseen:
            self.draft.fields[names.OTHER_MODELS_INPUT] = sum(usage.input or 0 for _, usage, _ in self.unseen)
            self.draft.fields[names.OTHER_MODELS_OUTPUT] = sum(usage.output or 0 for _, usage, _ in self.unseen)
        for id_, draft in reversed(self._tools.items()):
            self._close(id_, draft, error or GeneratorExit())
        for agent in reversed(self._agents.values()):
            lifecycle.close_call(agent, error or (None if agent.end_ns else GeneratorExit()))
        lifecycle.close_call(self.draft, error)

    def _emit(self, turn: ClaudeTurn, error: BaseException | None) -> None:
        draft = Draft(names.CHAT, provider=PROVIDER, request_model=turn.model)
        if turn.refused:
            draft.outcome, draft.error_type, draft.error_kind = classify_names(turn.refused, None)
        else:
            draft.response_model, draft.response_id, draft.usage = turn.model, turn.id, turn.usage
        draft.bill, draft.leaf = turn.bill, True
        if turn.stop:
            draft.finish_reasons = (turn.stop,)
        _begin_at(draft, turn.start_ns)
        with self._inside(self._agent(turn.thread)):
            lifecycle.open_call(draft, refusable=False)
        draft.end_ns = max(turn.end_ns, turn.start_ns)
        if turn.first_ns:
            draft.chunk_times = times = ChunkTimes(len(names.SECONDS) + 1)
            times.first_chunk_ns = times.first_token_ns = times.first_answer_ns = turn.first_ns
            times.last_ns = draft.end_ns
        lifecycle.close_call(draft, error if error is not None and not turn.stop and not turn.settled else None)


def _begin_at(draft: Draft, start_ns: int) -> None:
    """Put an earlier start on a call that is about to be opened."""
    now = state.STATE
    draft.start_ns = start_ns
    draft.start_unix_ns = now.unix_ns() - (now.perf_ns() - start_ns)
