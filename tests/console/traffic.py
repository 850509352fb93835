"""Real traffic in a store: two hours of an assistant, on a clock of its own, with a planted change."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trisignal
from trisignal.engine.state import STATE

MODELS = (("openai", "gpt-4.1-mini"), ("anthropic", "claude-sonnet-4-5"), ("gcp.gemini", "gemini-2.5-flash"))
HOSTILE = '<script>alert(1)</script>\x1b[31m=HYPERLINK("http://evil.test")'
"""Text from outside that a page, a terminal or a spreadsheet might run."""


class Clock:
    """The time that recorded calls see."""

    def __init__(self) -> None:
        self.now_ns = time.time_ns()

    def pass_s(self, seconds: float) -> None:
        """Let time pass."""
        self.now_ns += round(seconds * 1e9)


@contextmanager
def recording(folder: Path, **settings: object) -> Iterator[Clock]:
    """A running setup() that writes to a store; its clock is the caller's."""
    telemetry = trisignal.setup(service_name="assistant", store=str(folder), **settings)  # type: ignore[arg-type]
    clock = Clock()
    unix_ns, perf_ns = STATE.unix_ns, STATE.perf_ns
    STATE.unix_ns = STATE.perf_ns = lambda: clock.now_ns
    try:
        yield clock
    finally:
        STATE.unix_ns, STATE.perf_ns = unix_ns, perf_ns
        assert telemetry.force_flush(60)
        telemetry.shutdown()


def assistant(folder: Path, requests: int = 240) -> None:
    """Requests over two hours; in the second one the prompts of tenant ``acme`` are twice as long."""
    chance = random.Random(5)
    end_ns, window_ns = time.time_ns(), 2 * 3600 * 10**9
    with recording(folder, capture_content=True) as clock:
        for number in range(requests):
            clock.now_ns = end_ns - window_ns + window_ns * number // requests
            _request(clock, chance, number, late=number >= requests // 2)


def _request(clock: Clock, chance: random.Random, number: int, late: bool) -> None:
    tenant = ("acme", "globex", "initech")[number % 3]
    provider, model = MODELS[number % 7 % 3]
    longer = 2 if late and tenant == "acme" else 1
    name = HOSTILE if number == 7 else "answer_question"
    with trisignal.context(tenant=tenant, user_id=f"u-{number % 9}", request_id=f"order-{number}"):
        try:
            with trisignal.workflow(name):
                with trisignal.stage("retrieve"), trisignal.retrieval("handbook"):
                    clock.pass_s(chance.uniform(0.2, 0.5))
                with trisignal.agent("planner"):
                    with trisignal.tool("look_up_order"):
                        clock.pass_s(0.1)
                    with trisignal.llm(provider=provider, model=model) as call:
                        clock.pass_s(0.3)
                        call.mark_first_token()
                        clock.pass_s(chance.uniform(0.4, 2.0))
                        if number % 40 == 11:
                            raise TimeoutError("read timed out")
                        call.set_usage(
                            input_tokens=1000 * longer,
                            output_tokens=chance.randrange(20, 400),
                            cache_read_tokens=chance.choice((0, 256, 512)),
                        )
                        ref = call.ref
        except TimeoutError:
            return
    trisignal.evaluate("faithfulness", _score(chance, number, provider), ref=ref)


def _score(chance: random.Random, number: int, provider: str) -> float:
    usual = 0.72 if provider == "gcp.gemini" else 0.88
    return 0.3 if number % 20 == 3 else min(1.0, max(0.0, chance.gauss(usual, 0.09)))
