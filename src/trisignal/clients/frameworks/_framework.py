"""What readers of frameworks share: one method that runs a whole agent, tool, workflow or retrieval.

Frameworks call models through clients, which are counted where they are; here only the spans
around these calls are made, so that agent, conversation and trace reach them.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import contextmanager
from typing import Any

from trisignal import _context, _guard
from trisignal import semconv as names
from trisignal.call import ContentSource, Draft
from trisignal.clients._patch import Wrapper
from trisignal.clients._provider import Args, Kwargs
from trisignal.engine import current, lifecycle, state
from trisignal.engine.state import reads_content
from trisignal.formats.plain import PLAIN
from trisignal.streams.fold import Fold
from trisignal.streams.generators import adrive, drive

Begin = Callable[[Any, Args, Kwargs], Draft | None]
End = Callable[[Draft, Any], bool]


def entity(operation: str, name: str, conversation_id: str = "") -> Draft:
    """A draft of an agent, a tool, a workflow or a retrieval.

    Args:
        operation: One of the conventions' operations that are named by an entity.
        name: Name of the entity.
        conversation_id: Conversation that it is a part of, which model calls inside take over.
    """
    draft = Draft(operation, name=name, kind="internal")
    draft.conversation_id = conversation_id
    if operation == names.EXECUTE_TOOL:
        draft.fields[names.TOOL_TYPE] = "function"
    return draft


def tool(name: str, call_id: str = "", arguments: Any = None) -> Draft | None:
    """A draft of a tool call; None inside of the same tool's call, which another instrumentation records already.

    Args:
        name: Name of the tool.
        call_id: Id that the model gave the call, where known.
        arguments: What the tool is called with; kept only while content is of use.
    """
    around = _context.current.get()
    if around is not None and around.operation == names.EXECUTE_TOOL and around.name == name:
        return None
    draft = entity(names.EXECUTE_TOOL, name)
    if call_id:
        draft.fields[names.TOOL_CALL_ID] = call_id
    keep(draft, arguments=arguments)
    return draft


def keep(draft: Draft, *, arguments: Any = None, result: Any = None) -> None:
    """Keep content of a tool call or a retrieval, if it is captured or compared."""
    if not reads_content():
        return
    source = draft.content = draft.content or ContentSource()
    if arguments is not None:
        source.arguments = arguments
    if result is not None:
        source.result = result


def keep_result(draft: Draft, result: Any) -> bool:
    """The usual end: what came back is the result, and the call is over."""
    keep(draft, result=result)
    return True


class Around:
    """Reads the calls of one method.

    Args:
        begin: Makes the draft of a call, or None.
        end: Takes the result; returns whether the call is over.
    """

    def __init__(self, begin: Begin, end: End = keep_result) -> None:
        self._begin = begin
        self._end = end

    def begin(self, instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
        """The draft of a call."""
        return self._begin(instance, args, kwargs)

    def answer(self, draft: Draft, result: Any) -> bool:
        """Take the result."""
        return self._end(draft, result)

    def adjust(self, draft: Draft, instance: Any, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs]:
        """The arguments stay as they are."""
        return args, kwargs

    def failed(self, draft: Draft, error: BaseException) -> None:
        """An exception has nothing more to report."""


def nested(operation: str, name: str, conversation_id: str = "") -> Draft | None:
    """A draft of an agent or a workflow; None right inside of the same one, which a framework enters twice.

    Args:
        operation: ``invoke_agent`` or ``invoke_workflow``.
        name: Name of the entity.
        conversation_id: Conversation that it is a part of.
    """
    around = _context.current.get()
    if around is not None and around.operation == operation and around.name == name:
        return None
    return entity(operation, name, conversation_id)


def outermost(name: str) -> Draft | None:
    """A draft of a workflow; None inside of anything larger, of which this is a step."""
    return None if _context.current.get() is not None else entity(names.INVOKE_WORKFLOW, name)


def run_wrapper(begin: Begin, end: End = keep_result) -> Wrapper:
    """The wrapper of a method that answers with a result, a coroutine or a generator, as it is asked.

    Args:
        begin: Makes the draft of a run, or None.
        end: Takes the result; returns whether the run is over.
    """

    def call(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
        draft = _opened(begin, instance, args, kwargs)
        if draft is None:
            return wrapped(*args, **kwargs)
        with _current(draft):
            result = wrapped(*args, **kwargs)
        if inspect.isgenerator(result):
            return drive(result, draft, followed(draft))
        if inspect.isasyncgen(result):
            return adrive(result, draft, followed(draft))
        if inspect.iscoroutine(result):
            return _awaited(draft, result, end)
        _ended(draft, result, end)
        return result

    return call


async def _awaited(draft: Draft, coroutine: Any, end: End) -> Any:
    with _current(draft):
        result = await coroutine
    _ended(draft, result, end)
    return result


@contextmanager
def _current(draft: Draft) -> Generator[None, None, None]:
    """A call is the current one; an exception ends it."""
    tokens = None
    try:
        tokens = current.activate(draft)
        yield
        current.deactivate(tokens)
    except BaseException as error:
        current.restore(draft, tokens)
        lifecycle.close_call(draft, error)
        raise


def _ended(draft: Draft, result: Any, end: End) -> None:
    try:
        over = end(draft, result)
    except Exception as error:
        _guard.contain("framework.end", error)
        over = True
    if over:
        lifecycle.close_call(draft)


def _opened(begin: Begin, instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
    if state.is_off():
        state.check_set_up()
        return None
    try:
        draft = begin(instance, args, kwargs)
    except Exception as error:
        _guard.contain("framework.begin", error)
        return None
    if draft is not None:
        lifecycle.open_call(draft)
    return draft


def followed(draft: Draft) -> Fold:
    """What ends a run with the generator that it is read from."""
    return Fold(draft, PLAIN, keep_content=False, timed=False)


def generator_wrapper(begin: Begin) -> Wrapper:
    """The wrapper of a method that is a generator: its call is open while it is being read."""

    def call(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
        def run() -> Generator[Any, Any, Any]:
            draft = _opened(begin, instance, args, kwargs)
            inner = wrapped(*args, **kwargs)
            return (yield from inner if draft is None else drive(inner, draft, followed(draft)))

        return run()

    return call


def async_generator_wrapper(begin: Begin) -> Wrapper:
    """The same for an asynchronous generator."""

    def call(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
        async def run() -> AsyncGenerator[Any, Any]:
            draft = _opened(begin, instance, args, kwargs)
            inner = wrapped(*args, **kwargs)
            steps = inner if draft is None else adrive(inner, draft, followed(draft))
            try:
                async for item in steps:
                    yield item
            finally:
                await steps.aclose()

        return run()

    return call
