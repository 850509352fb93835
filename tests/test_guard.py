"""What interrupts the application passes through code of ours, whichever part of it runs."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from observed import NOWHERE, contained, current

import trisignal
from trisignal.assembly import telemetry
from trisignal.testing import capture

REPLY = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 20, "completion_tokens": 5},
}


class TimeLimit(Exception):
    """What the application's signal handler raises, like Celery's soft time limit."""


PASSING = [KeyboardInterrupt, SystemExit, asyncio.CancelledError, TimeLimit]


class Limit:
    """A signal handler that is no function."""

    def __call__(self, *signal_and_frame: object) -> None:
        """End what runs."""
        raise TimeLimit


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        (kind, place)
        for kind in PASSING
        for place in ("redactor", "reader", "opening sink", "sink", "prices")
        # A redactor may have time limits of its own: it fails closed.
        if (kind, place) != (TimeLimit, "redactor")
    ],
)
def test_interruptions_pass(kind: type[BaseException], place: str, request: pytest.FixtureRequest) -> None:
    """An interruption that arrives inside of our code is never swallowed, and the next call works."""
    armed = [True]
    handler = signal.signal(signal.SIGUSR1, partial(Limit()))
    request.addfinalizer(lambda: signal.signal(signal.SIGUSR1, handler))

    def interrupt(*args: Any, **kwargs: Any) -> Any:
        if armed:
            armed.clear()
            if kind is TimeLimit:
                signal.raise_signal(signal.SIGUSR1)
            raise kind
        return args[0] if place == "redactor" else None

    class Prices:
        rates = staticmethod(interrupt)

    class Sink:
        name = "interrupted"

        def open(self, draft: Any) -> None:
            """Nothing, or what interrupts."""
            if place == "opening sink":
                interrupt()

        def close(self, draft: Any, call: Any) -> None:
            """Nothing, or what interrupts."""
            if place == "sink":
                interrupt()

    given: dict[str, Any] = {"redactor": {"redactor": interrupt}, "prices": {"price_source": Prices()}}
    read: Callable[..., Any] | None = interrupt if place == "reader" else None
    with capture(strict=False, **given.get(place, {})) as seen:
        if "sink" in place:
            telemetry.add_sink(Sink())
        decorated = trisignal.llm(provider="openai", model="gpt-4o", read_response=read)(lambda: REPLY)
        with pytest.raises(kind):
            decorated()
        assert current() == NOWHERE
        assert decorated() is REPLY
        # What an interrupted sink has not taken is a loss, and so is a call without a record: both count.
        losses = {"sink": {"sink.interrupted.close": 1.0}, "prices": {"policy.finish": 1.0}}
        assert contained(seen) == losses.get(place, {})
        assert seen.value("llm_active_requests") == 0
        assert len(seen.spans) == 2 - (place == "redactor")
