"""Blocks and coroutines that are left out of order, or elsewhere: they end, and nothing stays behind."""

from __future__ import annotations

import asyncio
import contextvars
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import pytest
from observed import NOWHERE, current
from opentelemetry import context as otel_context

import trisignal
from trisignal.testing import Seen


def block(observation: AbstractContextManager[Any]) -> Generator[str, None, None]:
    """A block that stays open while its owner waits."""
    with observation as call:
        yield call.ref["span_id"]


def test_blocks_may_overlap(seen: Seen) -> None:
    """Two blocks of one context, left in the order of their entering: both end, and nothing stays."""
    one, two = block(trisignal.tool("first")), block(trisignal.tool("second"))
    next(one)
    inner = next(two)
    one.close()
    assert current() == (inner,) * 2
    two.close()
    assert current() == NOWHERE
    assert [call.outcome for call in seen.calls] == ["abandoned", "abandoned"]
    assert [call.span_id for call in seen.calls][-1] == inner


def test_a_block_may_be_left_in_another_context(seen: Seen) -> None:
    """Frameworks run both halves of a generator in copies of a context: the call ends all the same."""
    made = block(trisignal.llm(model="m"))
    contextvars.copy_context().run(next, made)
    contextvars.copy_context().run(list, made)
    assert [call.outcome for call in seen.calls] == ["ok"]
    assert current() == NOWHERE


async def test_a_block_may_be_left_in_another_task(seen: Seen) -> None:
    """The same for a block that one task enters and another one leaves."""
    async with trisignal.workflow("w"):
        made = block(trisignal.llm(model="m"))
        await asyncio.create_task(asyncio.to_thread(next, made))
        await asyncio.create_task(asyncio.to_thread(list, made))
    assert [call.operation for call in seen.calls] == ["chat", "invoke_workflow"]
    assert current() == NOWHERE


def test_a_stack_leaves_blocks_in_order(seen: Seen) -> None:
    """Blocks entered through an ExitStack end like others."""
    with ExitStack() as stack:
        for number in range(3):
            stack.enter_context(trisignal.tool(str(number)))
        innermost = current()
        assert innermost[0] == innermost[1] != ""
    assert [call.name for call in seen.calls] == ["2", "1", "0"]
    assert current() == NOWHERE


def test_what_a_block_leaves_attached_is_not_ours_to_detach(seen: Seen) -> None:
    """A context that the application attached inside of a block stays attached after it."""
    with trisignal.tool("t"):
        token = otel_context.attach(otel_context.set_value("mine", 1))
    assert otel_context.get_value("mine") == 1
    otel_context.detach(token)
    otel_context.attach(otel_context.Context())


class Forever:
    """Suspends whoever awaits it."""

    def __await__(self) -> Generator[None, None, None]:
        yield


def test_a_coroutine_closed_in_another_context_ends_its_call(seen: Seen) -> None:
    """A coroutine that the collector or a framework closes elsewhere raises nothing, and is abandoned."""

    async def answer() -> None:
        await Forever()

    pending = trisignal.llm(answer)()
    contextvars.copy_context().run(pending.send, None)
    pending.close()
    assert [call.outcome for call in seen.calls] == ["abandoned"]
    assert current() == NOWHERE


@pytest.mark.skipif(sys.version_info < (3, 13), reason="closing a step does not reach the generator before 3.13")
def test_a_step_closed_in_another_context_ends_its_call(seen: Seen) -> None:
    """The same for an asynchronous generator that is closed while it waits."""

    async def answer() -> AsyncGenerator[int, None]:
        await Forever()
        yield 1

    step: Any = trisignal.llm(answer)().asend(None)
    contextvars.copy_context().run(step.send, None)
    step.close()
    assert [call.outcome for call in seen.calls] == ["abandoned"]
    assert current() == NOWHERE


def test_blocks_that_overlap_leave_no_parent_behind(seen: Seen) -> None:
    """After overlapping blocks a new call is a root, and belongs to no agent."""
    one, two = block(trisignal.agent("first")), block(trisignal.workflow("second"))
    next(one)
    next(two)
    one.close()
    two.close()
    with trisignal.tool("last"):
        pass
    assert [call.name for call in seen.calls] == ["first", "second", "last"]
    assert seen.calls[-1].agent == ""
    assert seen.spans[-1].parent is None


def test_one_object_in_many_contexts_ends_the_right_calls(seen: Seen) -> None:
    """Requests that share an object, each entered and left in copies of contexts, keep their own outcomes."""
    shared = trisignal.workflow("w")

    def request(number: int, error: Exception | None) -> Generator[None, None, None]:
        with shared as call:
            call.set_attribute("number", number)
            yield
            if error is not None:
                raise error

    first, second = request(1, ValueError()), request(2, None)
    contextvars.copy_context().run(next, first)
    contextvars.copy_context().run(next, second)
    with shared as own:
        own.set_attribute("number", 3)
        with pytest.raises(ValueError):
            contextvars.copy_context().run(next, first)
        contextvars.copy_context().run(list, second)
        assert current() == (own.ref["span_id"],) * 2
    numbers = [(span.attributes or {})["number"] for span in seen.spans]
    assert list(zip(numbers, [call.outcome for call in seen.calls], strict=True)) == [
        (1, "error"),
        (2, "ok"),
        (3, "ok"),
    ]
