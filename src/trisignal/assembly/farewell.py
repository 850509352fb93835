"""The last line of `trisignal run`: what was recorded."""

from __future__ import annotations

import atexit
import os
import sys
import time
from collections import defaultdict

from trisignal import clients
from trisignal import semconv as names
from trisignal.assembly.telemetry import Telemetry, running, summary
from trisignal.web import metrics_page


def at_exit() -> None:
    """Write the line when this process ends; to be called last, as what is removed then is needed."""
    atexit.register(_write, os.getpid(), time.monotonic())


def _write(owner: int, began_s: float) -> None:
    telemetry = running()
    # Forked children inherit what is to be done at exit.
    if os.getpid() != owner or telemetry is None or sys.stderr is None:
        return
    try:
        line = describe(telemetry, time.monotonic() - began_s)
        sys.stderr.write(f"trisignal: {line}\n")
    except Exception as error:
        sys.stderr.write(f"trisignal: what was recorded cannot be read: {type(error).__name__}\n")


def describe(telemetry: Telemetry, ran_s: float) -> str:
    """What was recorded, in one line.

    Args:
        telemetry: Handle of the setup() in force.
        ran_s: How long the process has run, in seconds.
    """
    if telemetry.settings.disabled:
        return "disabled, nothing was recorded"
    if any(os.environ.get(name) for name in metrics_page.MULTIPROCESS_VARIABLES):
        calls, errors, tokens_in, tokens_out, cost_usd = _of_all_processes(telemetry)
    else:
        total = summary().total
        calls, errors, cost_usd = total.calls, total.error, total.cost_usd
        tokens_in, tokens_out = total.input_tokens, total.output_tokens
    if not calls:
        patched = ", ".join(clients.instrumented()) or "none was imported"
        return f"no model call was recorded in {ran_s:.0f} s (clients: {patched})"
    counted = f"{calls:,} model call{'s' if calls != 1 else ''}"
    failed = f" ({errors:,} failed)" if errors else ""
    return (
        f"{counted}{failed} recorded in {ran_s:.0f} s: {tokens_in:,} tokens in, {tokens_out:,} out, {cost_usd:,.4f} USD"
    )


def _of_all_processes(telemetry: Telemetry) -> tuple[int, int, int, int, float]:
    """Calls, errors, tokens in and out, and cost, as the page of all processes has them."""
    table, prefix = names.profile(telemetry.settings.metric_profile), telemetry.settings.metric_prefix
    sums: dict[tuple[str, str], float] = defaultdict(float)
    for family in metrics_page.settled(None).collect():
        for sample in family.samples:
            labels = sample.labels
            sums[sample.name, labels.get("llm_outcome") or labels.get("gen_ai_token_type", "")] += sample.value

    def total(key: str, ending: str = "", word: str | None = None) -> float:
        wanted = prefix + table[key].prometheus_name + ending if key in table else ""
        return sum(value for (name, label), value in sums.items() if name == wanted and word in (None, label))

    return (
        int(total("requests")),
        int(total("requests", word="error")),
        int(total("tokens", "_sum", "input") + total("input_tokens", "_sum")),
        int(total("tokens", "_sum", "output") + total("output_tokens", "_sum")),
        total("cost"),
    )
