"""Stores with known contents, for the tests of the store and of what reads it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from sinks.calls import COST, ended

from trisignal import semconv as names
from trisignal.call import Call, ChunkTimes, Cost, Usage
from trisignal.sinks import Verdict
from trisignal.store.folder import Folder
from trisignal.store.transaction import CallItem, VerdictItem
from trisignal.store.writer import Writer

NOW_S = 1_796_000_000.0
"""30 November 2026, about one o'clock in the night (UTC)."""


class Lost:
    """Counts what a writer says it dropped."""

    def __init__(self) -> None:
        self.items = 0

    def __call__(self, items: int) -> None:
        self.items += items


def writer(path: Path, lost: Callable[[int], None] | None = None, **settings: Any) -> Writer:
    """A writer to a folder that keeps everything."""
    usual = {"days": 3650, "max_bytes": 1 << 40, "service": "svc", "clean": lambda span: span}
    return Writer(Folder(str(path)), **{**usual, "lost": lost or Lost(), **settings})


def item(call: Call, parent: int = 0, *, remote: bool = False, bridged: bool = False) -> CallItem:
    """A call as the sink hands it on."""
    return CallItem(call, parent, remote, bridged)


def store(path: Path, items: Iterable[Any]) -> None:
    """Write items into a folder, and close it."""
    target = writer(path)
    for one in items:
        target.offer(one)
    target.close(60.0)


def hexadecimal(number: int, digits: int) -> str:
    """An id."""
    return f"{number:0{digits}x}"


def call(number: int, start_s: float = NOW_S, **facts: Any) -> Call:
    """A call with ids made of a number; `facts` as for `ended`, and ``cost_usd``, ``first_token_s``."""
    cost_usd = facts.pop("cost_usd", None)
    first_token_s = facts.pop("first_token_s", None)
    usual: dict[str, Any] = {
        "trace_id": hexadecimal(number + 1, 32),
        "span_id": hexadecimal(number + 1, 16),
        "start_unix_ns": round(start_s * 1e9),
        "cost": COST if cost_usd is None else Cost(cost_usd, 0.0, cost_usd, (("input", cost_usd),)),
    }
    if first_token_s is not None:
        times = ChunkTimes(1)
        times.first_token_ns = 10**9 + round(first_token_s * 1e9)
        usual["chunk_times"] = times
    return ended(**{**usual, **facts})


def verdict(name: str, score: float | None, of: Call, label: str = "") -> Verdict:
    """An evaluation of a call."""
    return Verdict(name, score, label, "", {"trace_id": of.trace_id, "span_id": of.span_id})


def judged(name: str, score: float | None, of: Call, label: str = "") -> VerdictItem:
    """The same as the sink hands it on: it came just now, whenever its call was."""
    return VerdictItem(verdict(name, score, of, label), time.time_ns())


def many(count: int, seed: int = 7, spread_s: float = 7200.0) -> list[Call]:
    """Random calls of few models, tenants and outcomes, in the two hours before `NOW_S`."""
    chosen = random.Random(seed)
    calls = []
    for number in range(count):
        outcome = chosen.choices(("ok", "error", "cancelled"), (90, 8, 2))[0]
        kind = chosen.choice(("rate_limit", "timeout")) if outcome == "error" else None
        tokens_in, tokens_out = chosen.randrange(5000), chosen.randrange(800)
        model = chosen.choice(("small", "large", "huge"))
        feature = chosen.choice(("search", "chat"))
        calls.append(
            call(
                number,
                NOW_S - chosen.random() * spread_s,
                provider="openai" if model != "huge" else "anthropic",
                request_model=model,
                span_name=f"chat {model}",
                outcome=outcome,
                error_kind=kind,
                error_type=kind or "",
                duration_s=chosen.lognormvariate(0, 1),
                usage=Usage(tokens_in, tokens_out, chosen.randrange(tokens_in + 1)),
                cost_usd=chosen.randrange(10**6) / 1e9,
                first_token_s=chosen.random(),
                bound={
                    "tenant": chosen.choice(("a", "b", "c", "")),
                    "user_id": f"u-{chosen.randrange(50)}",
                    "request_id": f"r-{number}",
                    "prompt_version": chosen.choice(("1", "2")),
                    "feature": feature,
                },
                opening={names.OPERATION: "chat", names.DIMENSION_PREFIX + "feature": feature},
            )
        )
    return calls
