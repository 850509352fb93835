"""``python -m bench.flush``: how long calls take beside a flush of 10,000 label sets, over the time they take alone.

The flush runs in a thread, as a scrape's does; this thread makes calls meanwhile and looks at the clock around each.
Garbage collections are put off, as they belong to neither. On a busy machine the figures are the machine's: compare
with the calls beside a thread that does nothing but count, which anything in a thread may cost.
"""

from __future__ import annotations

import argparse
import gc
import threading
from collections.abc import Callable
from functools import partial
from time import perf_counter_ns
from typing import Any

LABEL_SETS = 10_000
ALONE = 20_000
"""Calls that are timed without a neighbour."""


def _quantiles(taken_ns: list[int]) -> str:
    ordered = sorted(taken_ns)
    last = len(ordered) - 1
    cells = [f"{ordered[min(last, int(len(ordered) * share))] / 1e6:.3f}" for share in (0.5, 0.99, 0.999, 1)]
    return f"{len(ordered)} | " + " | ".join(cells)


def _has(taken_ns: list[int], number: int) -> bool:
    return len(taken_ns) >= number


def _timed(call: Callable[[], None], until: Callable[[], bool], taken_ns: list[int]) -> None:
    while not until():
        start = perf_counter_ns()
        call()
        taken_ns.append(perf_counter_ns() - start)


def _beside(work: Callable[[], Any], call: Callable[[], None], taken_ns: list[int]) -> float:
    """Time calls while work is done in a thread; milliseconds that the work took."""
    spent_ns = 0

    def run() -> None:
        nonlocal spent_ns
        start = perf_counter_ns()
        work()
        spent_ns = perf_counter_ns() - start

    thread = threading.Thread(target=run)
    thread.start()
    _timed(call, lambda: not thread.is_alive(), taken_ns)
    thread.join()
    return spent_ns / 1e6


def _count() -> None:
    for _ in range(20_000_000):
        pass


def main(rounds: int) -> None:
    """Print the table."""
    from prometheus_client import CollectorRegistry

    import trisignal
    from trisignal.engine.state import STATE

    def call(model: str) -> None:
        with trisignal.llm(provider="openai", model=model) as one:
            one.set_usage(input_tokens=100, output_tokens=10)

    limits = {"max_label_sets": 4 * LABEL_SETS, "max_series": 50 * 4 * LABEL_SETS}
    with trisignal.setup(registry=CollectorRegistry(), **limits):  # type: ignore[arg-type]
        [sink] = [one for one in STATE.sinks if one.name == "prometheus"]
        flush: Callable[[], None] = sink.flush  # type: ignore[attr-defined]
        alone: list[int] = []
        beside: list[int] = []
        counting: list[int] = []
        took_ms: list[float] = []
        gc.disable()
        for _ in range(rounds):
            for number in range(LABEL_SETS):
                call(f"model-{number}")
            enough = len(alone) + ALONE
            _timed(lambda: call("model-0"), partial(_has, alone, enough), alone)
            took_ms.append(_beside(flush, lambda: call("model-0"), beside))
            _beside(_count, lambda: call("model-0"), counting)
            gc.collect()
        print(f"flush of {LABEL_SETS} label sets: {', '.join(f'{ms:.0f}' for ms in took_ms)} ms\n")
        print("| calls | number | median, ms | 99 %, ms | 99.9 %, ms | longest, ms |")
        print("| --- | --- | --- | --- | --- | --- |")
        for name, taken_ns in (("alone", alone), ("beside the flush", beside), ("beside a loop", counting)):
            print(f"| {name} | {_quantiles(taken_ns)} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.flush", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    main(parser.parse_args().rounds)
