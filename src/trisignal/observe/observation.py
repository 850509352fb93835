"""Decorators and context managers: one object serves as both, and holds no per-call state."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from types import AsyncGeneratorType, CoroutineType, GeneratorType, TracebackType
from typing import Any, Literal, ParamSpec, TypeVar

from trisignal import _guard
from trisignal import semconv as names
from trisignal.call import ContentSource, Draft
from trisignal.engine import current, lifecycle, state
from trisignal.engine.state import captures, reads_content
from trisignal.formats import Format
from trisignal.formats.openai_chat import CHAT
from trisignal.formats.plain import PLAIN
from trisignal.formats.recognise import recognise
from trisignal.observe.active_call import UNKNOWN_PROVIDER, ActiveCall, adopt, read_reply
from trisignal.semconv.values import text_of
from trisignal.streams.fold import Fold, aiterate, iterate
from trisignal.streams.generators import adrive, delegating, drive

P = ParamSpec("P")
R = TypeVar("R")

ReadResponse = Callable[[Any, ActiveCall], None]
"""Reads a function's result into the call, e.g. ``call.set_usage(...)``."""

_REQUEST_ARGUMENTS = frozenset(
    {
        "model", "temperature", "top_p", "top_k", "max_tokens", "max_completion_tokens", "frequency_penalty",
        "presence_penalty", "seed", "stop", "response_format", "reasoning_effort", "service_tier",
    }
)  # fmt: skip


class Arguments:
    """Where a function's parameters are, found once at decoration."""

    __slots__ = ("_defaults", "_positions")

    def __init__(self, function: Callable[..., Any]) -> None:
        self._positions: dict[str, int] = {}
        self._defaults: dict[str, Any] = {}
        try:
            parameters = inspect.signature(function).parameters
        except (TypeError, ValueError):
            return
        for index, (name, parameter) in enumerate(parameters.items()):
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
                self._positions[name] = index
            if parameter.default is not parameter.empty:
                self._defaults[name] = parameter.default

    def request(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments of this call that are request parameters by name."""
        return {name: value for name, value in self.all(args, kwargs).items() if name in _REQUEST_ARGUMENTS}

    def all(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """All named arguments of this call, without the instance of a method."""
        found = dict(self._defaults)
        for name, index in self._positions.items():
            if index < len(args):
                found[name] = args[index]
        found.update(kwargs)
        found.pop("self", None)
        found.pop("cls", None)
        return found


class Observation:
    """Observes one kind of operation: decorator and context manager, sync and async.

    May be used any number of times, nested, and from many threads and tasks at once.
    """

    def __init__(
        self,
        operation: str,
        *,
        kind: Literal["client", "internal"],
        role: Literal["client", "server"] = "client",
        name: str = "",
        provider: str = "",
        model: str = "",
        fields: Mapping[str, Any] | None = None,
        read_response: ReadResponse | None = None,
    ) -> None:
        state.SIGNS.add("decorator")
        self._operation = operation
        self._kind: Literal["client", "internal"] = kind
        self._role: Literal["client", "server"] = role
        self._name = text_of(name)
        self._provider = text_of(provider)
        self._model = text_of(model)
        self._fields = dict(fields or {})
        self._read_response = read_response
        self._model_call = operation not in names.MODEL_CALLS_EXCLUDED
        self._open_blocks: list[current.Entry] = []

    # --- life of one call ------------------------------------------------------------

    def _draft(self, name: str) -> Draft:
        provider = self._provider or (UNKNOWN_PROVIDER if self._model_call else "")
        draft = Draft(self._operation, provider=provider, request_model=self._model, name=name, kind=self._kind)
        draft.role = self._role
        draft.fields.update(self._fields)
        return draft

    def _open(self, name: str, arguments: Arguments, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Draft:
        draft = self._draft(name)
        try:
            if self._model_call:
                CHAT.read_request(draft, arguments.request(args, kwargs))
                draft.request_model = draft.request_model or self._model
            if reads_content():
                draft.content = self._content(arguments.all(args, kwargs))
        except Exception as error:
            _guard.contain("observe.arguments", error)
        lifecycle.open_call(draft)
        return draft

    def _content(self, arguments: dict[str, Any]) -> ContentSource:
        if self._model_call:
            return ContentSource(PLAIN.read_content, arguments)
        source = ContentSource()
        source.arguments = arguments
        if self._operation == names.RETRIEVAL:
            source.arguments = next((v for v in arguments.values() if isinstance(v, str)), None)
        elif self._operation != names.EXECUTE_TOOL:
            return ContentSource(PLAIN.read_content, arguments)
        return source

    def _done(self, draft: Draft, result: Any) -> Any:
        """Read a result and end the call, or stay with it while it is consumed."""
        # By `type`: a proxy answers for its class, which may fail, and `isinstance` asks it.
        kind = type(result)
        if issubclass(kind, GeneratorType):
            return drive(result, draft, self._fold(draft))
        if issubclass(kind, AsyncGeneratorType):
            return adrive(result, draft, self._fold(draft))
        if issubclass(kind, CoroutineType):
            return self._await(draft, result)
        try:
            if self._model_call and self._attached(draft, result):
                return result
            self._read(draft, result)
        except Exception as error:
            _guard.contain("observe.result", error)
        except BaseException as error:
            lifecycle.close_call(draft, error)
            raise
        lifecycle.close_call(draft)
        return result

    def _attached(self, draft: Draft, result: Any) -> bool:
        """Stay with a vendor's stream object that the function returned unread."""
        inner = getattr(result, "_iterator", None) if hasattr(type(result), "__stream__") else None
        if inner is None or draft.encloses_call:
            return False
        fold = self._fold(draft)
        if hasattr(inner, "__anext__"):
            result._iterator = aiterate(inner, fold, owned=False)
        else:
            result._iterator = iterate(inner, fold, owned=False)
        return True

    async def _await(self, draft: Draft, pending: Any) -> Any:
        tokens = None
        try:
            tokens = current.activate(draft)
            result = await pending
            current.deactivate(tokens)
            return self._done(draft, result)
        except BaseException as error:
            current.restore(draft, tokens)
            lifecycle.close_call(draft, error)
            raise

    def _read(self, draft: Draft, result: Any) -> None:
        if self._read_response is not None:
            self._read_response(result, ActiveCall(draft))
        elif self._model_call and read_reply(draft, result) is not None:
            return
        if draft.content is None:
            return
        if draft.content.reader is not None:
            draft.content.response = result if isinstance(result, str) else None
        else:
            draft.content.result = result

    def _fold(self, draft: Draft) -> Fold:
        def choose(chunk: Any) -> Format:
            format = recognise(chunk)
            if format is None:
                return PLAIN
            adopt(draft, format)
            return format

        if self._model_call:
            draft.fields[names.REQUEST_STREAM] = True
        return Fold(draft, PLAIN, keep_content=captures(), timed=self._model_call, choose=choose)

    # --- decorator -------------------------------------------------------------------

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Decorate a function, coroutine function, generator, async generator or method."""
        wrapped: Any = function
        if isinstance(wrapped, (staticmethod, classmethod)):
            return type(wrapped)(self(wrapped.__func__))  # type: ignore[return-value]  # same kind of descriptor
        target = wrapped.func if isinstance(wrapped, functools.partial) else wrapped
        name = self._name or getattr(target, "__name__", type(target).__name__)
        arguments = Arguments(wrapped)
        made = self._wrapper(wrapped, name, arguments)
        functools.update_wrapper(made, target if isinstance(wrapped, functools.partial) else wrapped)
        made.__wrapped__ = wrapped
        return made  # type: ignore[no-any-return]  # the wrapper has the function's own signature

    def _wrapper(self, function: Any, name: str, arguments: Arguments) -> Any:
        is_off = state.is_off

        if inspect.isasyncgenfunction(function):

            def begin(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> AsyncGenerator[Any, Any]:
                stream: AsyncGenerator[Any, Any] = function(*args, **kwargs)
                if is_off():
                    return stream
                draft = self._open(name, arguments, args, kwargs)
                return adrive(stream, draft, self._fold(draft))

            return delegating(begin)

        if inspect.isgeneratorfunction(function):

            def generate(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
                if is_off():
                    return (yield from function(*args, **kwargs))
                draft = self._open(name, arguments, args, kwargs)
                return (yield from drive(function(*args, **kwargs), draft, self._fold(draft)))

            return generate

        if inspect.iscoroutinefunction(function):

            async def acall(*args: Any, **kwargs: Any) -> Any:
                if is_off():
                    return await function(*args, **kwargs)
                draft = self._open(name, arguments, args, kwargs)
                return await self._await(draft, function(*args, **kwargs))

            return acall

        def call(*args: Any, **kwargs: Any) -> Any:
            if is_off():
                return function(*args, **kwargs)
            draft = self._open(name, arguments, args, kwargs)
            tokens = None
            try:
                tokens = current.activate(draft)
                result = function(*args, **kwargs)
                current.deactivate(tokens)
                return self._done(draft, result)
            except BaseException as error:
                current.restore(draft, tokens)
                lifecycle.close_call(draft, error)
                raise

        return call

    # --- context manager -------------------------------------------------------------

    def __enter__(self) -> ActiveCall:
        return self._enter(id(sys._getframe(1)))

    def _enter(self, frame: int) -> ActiveCall:
        draft = None
        try:
            if not state.is_off():
                draft = self._draft(self._name)
                lifecycle.open_call(draft)
            current.enter(self, draft, self._open_blocks, frame)
            return ActiveCall(draft)
        except BaseException as error:
            if draft is not None:
                current.cancel(draft, self._open_blocks)
                lifecycle.close_call(draft, error)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave(id(sys._getframe(1)), error)

    def _leave(self, frame: int, error: BaseException | None) -> None:
        try:
            draft = current.leave(self, self._open_blocks, frame)
            if draft is not None:
                lifecycle.close_call(draft, error)
        except BaseException as interruption:
            for entry in [entry for entry in self._open_blocks if entry.frame == frame][-1:]:
                if entry.draft is not None:
                    current.cancel(entry.draft, self._open_blocks)
                    lifecycle.close_call(entry.draft, interruption)
            raise

    async def __aenter__(self) -> ActiveCall:
        return self._enter(id(sys._getframe(1)))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave(id(sys._getframe(1)), error)
