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
        tokens = current.activate(draft)
        try:
            item = resume(sent)
        except StopIteration as end:
            current.deactivate(tokens)
            fold.exhausted()
            return end.value
        except BaseException as error:
            current.deactivate(tokens)
            fold.failed(error)
            raise
        current.deactivate(tokens)
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
    tokens = current.activate(draft)
    try:
        inner.close()
    except BaseException as error:
        fold.failed(error)
        raise
    finally:
        current.deactivate(tokens)


async def adrive(inner: AsyncGenerator[Any, Any], draft: Draft, fold: Fold) -> AsyncGenerator[Any, Any]:
    """The asynchronous twin; asynchronous generators return no value."""
    resume: Any = inner.asend
    sent: Any = None
    while True:
        tokens = current.activate(draft)
        try:
            item = await resume(sent)
        except StopAsyncIteration:
            current.deactivate(tokens)
            fold.exhausted()
            return
        except BaseException as error:
            current.deactivate(tokens)
            fold.failed(error)
            raise
        current.deactivate(tokens)
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
    tokens = current.activate(draft)
    try:
        await inner.aclose()
    except BaseException as error:
        fold.failed(error)
        raise
    finally:
        current.deactivate(tokens)
