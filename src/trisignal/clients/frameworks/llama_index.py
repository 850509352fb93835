"""LlamaIndex: agents and workflows, tools, retrievers and query engines.

Its models are not touched: they call clients, which are counted there.
"""

from __future__ import annotations

import asyncio
import contextvars
import importlib
import inspect
from collections.abc import Generator, Iterator
from typing import Any

from trisignal import _context
from trisignal import semconv as names
from trisignal.call import Draft
from trisignal.clients._patch import Patches
from trisignal.clients._provider import Args, Kwargs, async_wrapper, sync_wrapper
from trisignal.clients.frameworks._framework import Around, entity, followed, keep, keep_result, nested, tool
from trisignal.engine import lifecycle, state
from trisignal.engine.current import activate, deactivate, restore
from trisignal.streams.generators import adrive, drive


def _run(instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
    agents = importlib.import_module("llama_index.core.agent.workflow")
    if isinstance(instance, agents.BaseWorkflowAgent):
        return entity(names.INVOKE_AGENT, instance.name)
    return entity(names.INVOKE_WORKFLOW, type(instance).__name__)


class _Turn:
    """Reads what a workflow of several agents does for the one whose turn it is.

    Its steps run in tasks of their own, so the agent's span is made current in each.

    Args:
        opens: The method asks the agent's model: the turn begins with the first of these.
    """

    def __init__(self, *, opens: bool) -> None:
        self._opens = opens

    async def __call__(self, wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
        flow = _context.current.get()
        if flow is None or flow.operation != names.INVOKE_WORKFLOW or state.is_off():
            return await wrapped(*args, **kwargs)
        turn: Draft | None = flow.exchange
        if self._opens and (turn is None or turn.name != str(instance.name)):
            _over(flow)
            turn = flow.exchange = entity(names.INVOKE_AGENT, str(instance.name))
            lifecycle.open_call(turn)
        if turn is None or turn.ended:
            return await wrapped(*args, **kwargs)
        tokens = None
        try:
            tokens = activate(turn)
            result = await wrapped(*args, **kwargs)
            deactivate(tokens)
        except BaseException as error:
            restore(turn, tokens)
            if self._opens:
                _over(flow, error)
            raise
        return result


async def _final(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    """The agent's turn is over."""
    result = await wrapped(*args, **kwargs)
    flow = _context.current.get()
    if flow is not None and flow.operation == names.INVOKE_WORKFLOW:
        _over(flow)
    return result


def _over(flow: Draft, error: BaseException | None = None) -> None:
    turn, flow.exchange = flow.exchange, None
    if turn is not None:
        lifecycle.close_call(turn, error)


def _follow(draft: Draft, handler: Any) -> bool:
    """A run goes on in tasks of its own, made in the context of its call: it ends with its result."""
    # The handler is such a future itself in earlier versions.
    pending = getattr(handler, "_result_task", handler)
    pending.add_done_callback(lambda done: _ended(draft, done))
    return False


def _ended(draft: Draft, done: Any) -> None:
    error = asyncio.CancelledError() if done.cancelled() else done.exception()
    _over(draft, error)
    lifecycle.close_call(draft, error)


def _tool(instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
    return tool(instance.metadata.get_name(), arguments=kwargs or args)


def _tool_result(draft: Draft, result: Any) -> bool:
    keep(draft, result=result.content)
    if result.is_error:
        draft.outcome, draft.error_type, draft.error_kind = "error", "tool_error", "other"
    return True


def _retrieval(instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
    draft = entity(names.RETRIEVAL, type(instance).__name__)
    asked = args[0] if args else kwargs.get("str_or_query_bundle")
    keep(draft, arguments=getattr(asked, "query_str", asked))
    return draft


def _query(instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
    return nested(names.INVOKE_WORKFLOW, type(instance).__name__)


def _answer(draft: Draft, result: Any) -> bool:
    """An answer that is a stream asks the model while it is read."""
    stream = getattr(result, "response_gen", None)
    if inspect.isgenerator(stream):
        result.response_gen = drive(stream, draft, followed(draft))
    elif inspect.isasyncgen(stream):
        result.response_gen = adrive(stream, draft, followed(draft))
    else:
        return keep_result(draft, result)
    return False


# --- streamed chats -------------------------------------------------------------------


class _Streamed:
    """What is known of a streamed chat while it is opened."""

    __slots__ = ("followed",)

    def __init__(self) -> None:
        self.followed = False
        """Whether the stream ends the run."""


def _chat(instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
    draft = _query(instance, args, kwargs)
    if draft is not None:
        draft.exchange = _Streamed()
    return draft


def _chatting(draft: Draft, result: Any) -> bool:
    return not draft.exchange.followed


def _made(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    """A streamed answer, whose model is asked while a thread or a task of the engine's reads it."""
    made = wrapped(*args, **kwargs)
    draft = _context.current.get()
    opened = None if draft is None else draft.exchange
    if draft is not None and isinstance(opened, _Streamed) and not opened.followed:
        if inspect.isgenerator(instance.chat_stream):
            # Threads begin without any context: what is bound here, a request id above all, would be lost.
            inner = _within(instance.chat_stream, contextvars.copy_context())
            instance.chat_stream = drive(inner, draft, followed(draft))
            opened.followed = True
        elif inspect.isasyncgen(instance.achat_stream):
            instance.achat_stream = adrive(instance.achat_stream, draft, followed(draft))
            opened.followed = True
    return made


def _within(stream: Generator[Any, Any, Any], context: contextvars.Context) -> Generator[Any, None, None]:
    try:
        while True:
            try:
                item = context.run(next, stream)
            except StopIteration:
                return
            yield item
    finally:
        context.run(stream.close)


# --- the reader -----------------------------------------------------------------------


def _defining(module: Any, base: type, method: str) -> Iterator[type]:
    """The classes of a module that define a method of their base."""
    for cls in vars(module).values():
        if isinstance(cls, type) and issubclass(cls, base) and cls is not base and method in vars(cls):
            yield cls


class LlamaIndex:
    """Reader of ``llama_index.core``."""

    def patch(self, patches: Patches) -> None:
        """Patch the methods through which every workflow, tool, retriever and query engine runs."""
        core = "llama_index.core"
        flows = importlib.import_module(f"{core}.workflow").Workflow
        tools = importlib.import_module(f"{core}.tools")
        chats = importlib.import_module(f"{core}.chat_engine")
        types = importlib.import_module(f"{core}.chat_engine.types")
        retrievers = importlib.import_module(f"{core}.base.base_retriever").BaseRetriever
        engines = importlib.import_module(f"{core}.base.base_query_engine").BaseQueryEngine
        patches.wrap(flows, "run", sync_wrapper(Around(_run, _follow)))
        for kind, base, method, begin, end in (
            (tools, tools.BaseTool, "call", _tool, _tool_result),
            (chats, types.BaseChatEngine, "chat", _query, keep_result),
        ):
            for cls in _defining(kind, base, method):
                patches.wrap(cls, method, sync_wrapper(Around(begin, end)))
            for cls in _defining(kind, base, f"a{method}"):
                patches.wrap(cls, f"a{method}", async_wrapper(Around(begin, end)))
        patches.wrap(types.StreamingAgentChatResponse, "__post_init__", _made)
        for cls in _defining(chats, types.BaseChatEngine, "stream_chat"):
            patches.wrap(cls, "stream_chat", sync_wrapper(Around(_chat, _chatting)))
        for cls in _defining(chats, types.BaseChatEngine, "astream_chat"):
            patches.wrap(cls, "astream_chat", async_wrapper(Around(_chat, _chatting)))
        agents = importlib.import_module(f"{core}.agent.workflow")
        for name in ("FunctionAgent", "ReActAgent", "CodeActAgent"):
            patches.wrap(getattr(agents, name), "take_step", _Turn(opens=True))
            patches.wrap(getattr(agents, name), "finalize", _final)
        patches.wrap(agents.AgentWorkflow, "_call_tool", _Turn(opens=False))
        for cls, method, begin, end in (
            (retrievers, "retrieve", _retrieval, keep_result),
            (engines, "query", _query, _answer),
        ):
            patches.wrap(cls, method, sync_wrapper(Around(begin, end)))
            patches.wrap(cls, f"a{method}", async_wrapper(Around(begin, end)))


def provider() -> LlamaIndex:
    """The reader of the ``llama_index.core`` package."""
    return LlamaIndex()
