"""Driving a decorated generator: what is current while its code runs is never current across a yield."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

from trisignal.call import Draft
from trisignal.engine import current
from trisignal.streams.fold import Fold


def drive(inner: Generator[Any, Any, Any], draft: Draft, fold: Fold) -> Generator[Any, Any, Any]:
    """Run a generator step by step, passing sends, throws and its return value through."""
    resume: Any = inner.send
    sent: Any = None
    while True:
        tokens = None
        try:
            tokens = current.activate(draft)
            item = resume(sent)
            current.deactivate(tokens)
        except StopIteration as end:
            current.restore(draft, tokens)
            fold.exhausted()
            return end.value
        except BaseException as error:
            current.restore(draft, tokens)
            fold.failed(error)
            raise
        fold.step(item)
        try:
            sent = yield item
            resume = inner.send
        except GeneratorExit:
            _close(inner, draft, fold)
            fold.closed()
            raise
        except BaseException as error:
            resume, sent = inner.throw, error


def _close(inner: Generator[Any, Any, Any], draft: Draft, fold: Fold) -> None:
    tokens = None
    try:
        tokens = current.activate(draft)
        inner.close()
        current.deactivate(tokens)
    except BaseException as error:
        current.restore(draft, tokens)
        fold.failed(error)
        raise


async def adrive(inner: AsyncGenerator[Any, Any], draft: Draft, fold: Fold) -> AsyncGenerator[Any, Any]:
    """The asynchronous twin; asynchronous generators return no value."""
    resume: Any = inner.asend
    sent: Any = None
    while True:
        tokens = None
        try:
            tokens = current.activate(draft)
            item = await resume(sent)
            current.deactivate(tokens)
        except StopAsyncIteration:
            current.restore(draft, tokens)
            fold.exhausted()
            return
        except BaseException as error:
            current.restore(draft, tokens)
            fold.failed(error)
            raise
        fold.step(item)
        try:
            sent = yield item
            resume = inner.asend
        except GeneratorExit:
            await _aclose(inner, draft, fold)
            fold.closed()
            raise
        except BaseException as error:
            resume, sent = inner.athrow, error


async def _aclose(inner: AsyncGenerator[Any, Any], draft: Draft, fold: Fold) -> None:
    tokens = None
    try:
        tokens = current.activate(draft)
        await inner.aclose()
        current.deactivate(tokens)
    except BaseException as error:
        current.restore(draft, tokens)
        fold.failed(error)
        raise


class Steps(Protocol):
    """What is in force while a generator's own code runs."""

    def inside(self) -> AbstractContextManager[None]:
        """Entered for each step."""
        ...


_NO_STEPS: AbstractContextManager[Steps | None] = nullcontext()


def delegating(
    begin: Callable[[tuple[Any, ...], Mapping[str, Any]], AsyncGenerator[Any, Any]],
    around: Callable[[], AbstractContextManager[Steps]] | None = None,
) -> Callable[..., AsyncGenerator[Any, Any]]:
    """An asynchronous generator function that passes sends, throws and closes to a generator: it has no ``yield from``.

    Args:
        begin: Called at the first step, with the positional and the named arguments; answers that generator.
        around: Answers what is entered for the generator's life.
    """

    async def agenerate(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        with _NO_STEPS if around is None else around() as steps:
            stream = begin(args, kwargs)
            step: Any = stream.asend
            sent: Any = None
            try:
                while True:
                    if steps is None:
                        item = await step(sent)
                    else:
                        with steps.inside():
                            item = await step(sent)
                    try:
                        sent = yield item
                        step = stream.asend
                    except GeneratorExit:
                        raise
                    except BaseException as error:
                        step, sent = stream.athrow, error
            except StopAsyncIteration:
                return
            finally:
                with nullcontext() if steps is None else steps.inside():
                    await stream.aclose()

    return agenerate
