"""What tests of calls share: who is current, errors that were contained, and one way to drive generators of every kind."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

from opentelemetry import trace

import trisignal
from trisignal.testing import Seen

NOWHERE = ("", "")
"""What `current` tells outside of any call."""

KINDS = ("sync", "async", "returned sync", "returned async", "awaited async")
"""How a decorated function may come to a generator; see `start`."""

Body = Callable[..., Generator[Any, Any, Any]]


def current() -> tuple[str, str]:
    """Span id of the current call, and that of OpenTelemetry's current span; "" where there is none."""
    ids = trace.get_current_span().get_span_context()
    return trisignal.current_call().ref.get("span_id", ""), f"{ids.span_id:016x}" if ids.is_valid else ""


def trace_id() -> str:
    """The current trace id in hexadecimal digits; zeros when there is none."""
    return f"{trace.get_current_span().get_span_context().trace_id:032x}"


class Ended(Exception):
    """A generator has come to its end."""


class Steps:
    """Drives a generator of either kind, one step at a time."""

    def __init__(self, made: Any) -> None:
        self.made = made
        self._async = hasattr(made, "asend")

    async def _step(self, name: str, *args: Any) -> Any:
        try:
            if self._async:
                return await getattr(self.made, f"a{name}")(*args)
            return getattr(self.made, name)(*args)
        except StopIteration as end:
            raise Ended(end.value) from None
        except StopAsyncIteration:
            raise Ended(None) from None

    async def send(self, value: Any = None) -> Any:
        """The next item."""
        return await self._step("send", value)

    async def throw(self, error: BaseException) -> Any:
        """Throw an error into it; the next item if it goes on."""
        return await self._step("throw", error)

    async def close(self) -> None:
        """Close it."""
        await self._step("close")

    async def rest(self) -> list[Any]:
        """All further items."""
        items = []
        try:
            while True:
                items.append(await self.send())
        except Ended:
            return items


def as_async(body: Body) -> Callable[..., AsyncGenerator[Any, Any]]:
    """An asynchronous generator that does what a generator does."""

    @functools.wraps(body)
    async def run(*args: Any) -> AsyncGenerator[Any, Any]:
        inner = body(*args)
        step: Any = inner.send
        value: Any = None
        try:
            while True:
                await asyncio.sleep(0)
                try:
                    item = step(value)
                except StopIteration:
                    return
                try:
                    step, value = inner.send, (yield item)
                except GeneratorExit:
                    raise
                except BaseException as error:
                    step, value = inner.throw, error
        finally:
            await asyncio.sleep(0)
            inner.close()

    return run


async def start(kind: str, observation: Any, body: Body, *args: Any) -> Steps:
    """Decorate a function of some kind that makes the generator, and call it."""
    made: Callable[..., Any] = as_async(body) if kind.endswith("async") else body
    if kind.startswith("returned"):
        return Steps(observation(lambda *args: made(*args))(*args))
    if kind.startswith("awaited"):

        async def later(*args: Any) -> Any:
            return made(*args)

        return Steps(await observation(later)(*args))
    return Steps(observation(made)(*args))


def contained(seen: Seen) -> dict[str, float]:
    """Site to number of errors of ours, as the metric has it."""
    return {
        sample.labels["site"]: sample.value
        for family in seen.registry.collect()
        for sample in family.samples
        if sample.name == "trisignal_internal_errors_total"
    }
