"""claude-agent-sdk: runs of an agent in a CLI, which reports its replies, tools and costs as messages.

`query` and `ClaudeSDKClient` read them through one class, where the spans are made. The model is called by the CLI, in
another process: nothing else here would see it.
"""

from __future__ import annotations

import importlib
from collections.abc import AsyncGenerator
from typing import Any
from weakref import WeakKeyDictionary

from trisignal import _guard
from trisignal.call import Draft
from trisignal.clients._patch import Patches
from trisignal.clients._provider import Args, Kwargs
from trisignal.clients.frameworks._claude_bill import BillSums, settle, since, sums
from trisignal.clients.frameworks._claude_run import ClaudeRun, Marks
from trisignal.engine import state
from trisignal.engine.current import activate, restore
from trisignal.formats import amount, text, view

_TOOL_ID = "claudecode/toolUseId"
"""Where the CLI puts the id of a tool's call in a message to a server."""


class Session:
    """What is known of one connection to a CLI, which may have several runs."""

    __slots__ = ("answered", "asked_ns", "before", "cost_usd", "marks", "run")

    def __init__(self) -> None:
        self.asked_ns = state.STATE.perf_ns()
        """When the last prompt was sent."""
        self.answered = False
        """Its result has come: the exit of the CLI, which may fail after one, ends nothing."""
        self.run: ClaudeRun | None = None
        self.marks = Marks()
        self.before: dict[str, BillSums] = {}
        """Sums of the last result: newer ones may go on from there."""
        self.cost_usd = 0.0

    def take(self, message: Any) -> None:
        """Take a message of the CLI; never raises."""
        try:
            kind = message.get("type")
            if self.run is None:
                if state.is_off() or kind not in ("assistant", "stream_event", "system", "result"):
                    return
                if kind == "system" and message.get("subtype") != "init":
                    return
                self.run = ClaudeRun(self.asked_ns, self.marks)
            run = self.run
            if kind == "result":
                self._settle(run, message)
            if run.take(message):
                self.run, self.answered = None, True
                self.asked_ns = state.STATE.perf_ns()
        except Exception as error:
            _guard.contain("claude_agent_sdk.message", error)

    def called(self, request: Any) -> Draft | None:
        """The call of a tool that this process has to run; None for other messages to its servers.

        Args:
            request: What the CLI sends. It may be here before the application has read the message with the call.
        """
        message = view(request.get("message"))
        if message.get("method") != "tools/call" or state.is_off() or self.answered:
            return None
        params = view(message.get("params"))
        name = f"mcp__{text(request.get('server_name'))}__{text(params.get('name'))}"
        if self.run is None:
            self.run = ClaudeRun(self.asked_ns, self.marks)
        return self.run.called(text(view(params.get("_meta")).get(_TOOL_ID)), name, params.get("arguments"))

    def _settle(self, run: ClaudeRun, result: Any) -> None:
        reported, total_usd = sums(result), amount(result.get("total_cost_usd"))
        added = since(reported, self.before, run)
        spent_usd = total_usd
        if added is not reported and total_usd is not None:
            spent_usd = max(total_usd - self.cost_usd, 0.0)
        settle(run, added, result, spent_usd)
        self.before, self.cost_usd = reported, total_usd or 0.0

    def end(self, error: BaseException | None) -> None:
        """No more messages come; never raises."""
        run, self.run = self.run, None
        try:
            if run is None and not self.answered and isinstance(error, Exception) and not state.is_off():
                run = ClaudeRun(self.asked_ns, self.marks)
                self.answered = True
            if run is not None:
                run.failed(error or GeneratorExit())
        except Exception as failure:
            _guard.contain("claude_agent_sdk.end", failure)


class ClaudeAgents:
    """Reader of the package."""

    def __init__(self) -> None:
        self._sessions: WeakKeyDictionary[Any, Session] = WeakKeyDictionary()

    def patch(self, patches: Patches) -> None:
        """Patch the class that reads messages and answers the CLI, and the client's way to send a prompt."""
        reader = importlib.import_module("claude_agent_sdk._internal.query").Query
        client = importlib.import_module("claude_agent_sdk.client").ClaudeSDKClient
        patches.wrap(reader, "receive_messages", self._messages)
        patches.wrap(reader, "_handle_control_request", self._request)
        patches.wrap(reader, "initialize", self._ready)
        patches.wrap(reader, "close", self._closed)
        patches.wrap(client, "query", self._prompt)

    def _session(self, reader: Any) -> Session:
        session = self._sessions.get(reader)
        if session is None:
            session = self._sessions[reader] = Session()
        return session

    def _messages(self, wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
        session = self._session(instance)

        async def run() -> AsyncGenerator[Any, Any]:
            inner = wrapped(*args, **kwargs)
            try:
                async for message in inner:
                    session.take(message)
                    yield message
            except GeneratorExit:
                # A client reads a run to its result, and leaves the messages of the next one for later.
                raise
            except BaseException as error:
                session.end(error)
                raise
            else:
                session.end(None)
            finally:
                await inner.aclose()

        return run()

    async def _ready(self, wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
        """The CLI has started: a prompt may follow at once."""
        session = self._session(instance)
        result = await wrapped(*args, **kwargs)
        session.asked_ns = state.STATE.perf_ns()
        return result

    async def _prompt(self, wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
        reader = getattr(instance, "_query", None)
        session = None if reader is None else self._session(reader)
        if session is not None and session.run is None:
            session.asked_ns, session.answered = state.STATE.perf_ns(), False
        return await wrapped(*args, **kwargs)

    async def _closed(self, wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
        """Nobody reads on: a run without a result has been left."""
        try:
            return await wrapped(*args, **kwargs)
        finally:
            self._session(instance).end(None)

    async def _request(self, wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
        """A request of the CLI: hooks know exactly when a tool begins and ends, and tools of this process run here."""
        draft: Draft | None = None
        try:
            request = view(view(args[0] if args else kwargs.get("request")).get("request"))
            if request.get("subtype") == "hook_callback":
                given = view(request.get("input"))
                event, id_ = text(given.get("hook_event_name")), text(given.get("tool_use_id"))
                if event == "PreToolUse":
                    self._session(instance).marks.set("start", id_)
                elif event.startswith("PostToolUse"):
                    self._session(instance).marks.set("end", id_)
            elif request.get("subtype") == "mcp_message":
                draft = self._session(instance).called(request)
        except Exception as error:
            _guard.contain("claude_agent_sdk.request", error)
        if draft is None:
            return await wrapped(*args, **kwargs)
        tokens = activate(draft)
        try:
            return await wrapped(*args, **kwargs)
        finally:
            restore(draft, tokens)


def provider() -> ClaudeAgents:
    """The reader of the ``claude_agent_sdk`` package."""
    return ClaudeAgents()
