"""A program that makes many calls in a row, is never scraped, and tells how it fared: one JSON object at its end.

Run as ``python -m e2e.job CALLS``; settings come from the environment.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import openai
from prometheus_client import REGISTRY

import trisignal

KINDS = ("plain", "stream", "left", "plain", "failing", "plain", "stream", "limited")
WARM = 40
"""Calls before anything is measured: connections, imports, first label sets."""


def one_call(client: openai.OpenAI, kind: str) -> str:
    """What the program gets of a call."""
    asked: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": kind}]}
    try:
        if kind not in ("stream", "left"):
            return client.chat.completions.create(**asked).model_dump_json()
        text = ""
        with client.chat.completions.create(stream=True, **asked) as stream:
            for chunk in stream:
                text += chunk.model_dump_json()
                if kind == "left":
                    break
        return text
    except openai.APIStatusError as error:
        return f"{type(error).__name__} {error.status_code} {error.message}"


def resident_mb() -> float:
    """Memory of this process."""
    gc.collect()
    told = Path("/proc/self/status").read_text(encoding="ascii")
    return int(told.split("VmRSS:")[1].split()[0]) / 1024


def samples(name: str, label: str) -> dict[str, float]:
    """Values of a counter in the registry, by a label."""
    return {
        one.labels[label]: one.value
        for family in REGISTRY.collect()
        for one in family.samples
        if one.name == name
    }  # fmt: skip


def main() -> None:
    """Make the calls, then send what is queued and end."""
    telemetry = trisignal.setup(service_name="job")
    trisignal.instrument("openai")
    client = openai.OpenAI(max_retries=0)
    calls = int(sys.argv[1])
    results, seconds = [], []
    before_mb = 0.0
    for number, kind in enumerate(islice(cycle(KINDS), WARM + calls)):
        if number == WARM:
            before_mb = resident_mb()
        start = time.perf_counter()
        results.append(one_call(client, kind))
        if number >= WARM:
            seconds.append(time.perf_counter() - start)
    grown_mb = resident_mb() - before_mb
    start = time.perf_counter()
    telemetry.force_flush(5)
    flushed_s = time.perf_counter() - start
    told = {
        "results": results,
        "grown_mb": grown_mb,
        "seconds": seconds,
        "flushed_s": flushed_s,
        "counted": sum(samples("llm_requests_total", "llm_outcome").values()),
        "dropped": samples("trisignal_dropped_total", "queue"),
        "internal_errors": samples("trisignal_internal_errors_total", "site"),
    }
    start = time.perf_counter()
    telemetry.shutdown()
    told["shutdown_s"] = time.perf_counter() - start
    print(json.dumps(told))


if __name__ == "__main__":
    main()
