"""Driving a decorated generator: its call is current while its code runs, never across a yield."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import Any

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
