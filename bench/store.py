"""Figures of the trace store: ``python -m bench.store [--rows N]`` prints what it costs and how fast it answers.

``--write`` puts the tables into docs/how-to/store.md as well.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

from trisignal import semconv as names
from trisignal.call import Call, ChunkTimes, Cost, Draft, Usage
from trisignal.store.folder import Folder
from trisignal.store.sink import StoreSink
from trisignal.store.text_indexing import index_texts
from trisignal.store.transaction import CallItem
from trisignal.store.writer import MOST_WAITING, Writer

MODELS = ("gpt-4o", "gpt-4o-mini", "claude-sonnet-4", "gemini-2.5-flash")
TENANTS, USERS, SPREAD_S = 20, 5_000, 6 * 3600.0
QUESTIONS, LEAST = 20, 5
"""Times that a question is asked."""
_PAGE, _BEGIN, _END = "docs/how-to/store.md", "<!-- measured: store -->", "<!-- end of measured -->"
_lines: list[str] = []
"""What has been printed."""
_GOALS = {
    "caller, µs per call": "≤ 3",
    "writer, CPU µs per row": "≤ 45",
    "two writers, rows/s": "≥ 5,000",
    "disk, bytes per span": "≤ 500",
    "answer, p95 ms": "≤ 100",
}


def calls(count: int, seed: int, now_s: float) -> Iterator[Call]:
    """Calls with about 900 bytes of attributes each, four of a trace, in the hours before now."""
    chosen = random.Random(seed)
    trace = ""
    for number in range(count):
        if number % 4 == 0:
            trace = f"{chosen.getrandbits(128):032x}"
        yield _call(chosen, trace, now_s - SPREAD_S * (1 - number / count))


def _call(chosen: random.Random, trace: str, start_s: float) -> Call:
    model = chosen.choice(MODELS)
    tokens_in, tokens_out = chosen.randrange(20, 6000), chosen.randrange(1, 900)
    cached = chosen.choice((0, tokens_in // 2))
    total_usd = tokens_in * 2.5e-6 + tokens_out * 1e-5
    failed, user = chosen.random() < 0.03, chosen.randrange(USERS)
    bound = {
        "request_id": f"{chosen.getrandbits(128):032x}",
        "user_id": f"u-{user}",
        "tenant": f"t-{user % TENANTS}",
        "prompt_name": "answer",
        "prompt_version": str(chosen.randrange(1, 9)),
    }
    opening: dict[str, Any] = {
        names.OPERATION: "chat",
        names.PROVIDER: "openai",
        names.REQUEST_MODEL: model,
        names.SERVER_ADDRESS: "api.openai.com",
        names.REQUEST_TEMPERATURE: 0.2,
        names.REQUEST_MAX_TOKENS: 512,
        names.REQUEST_STREAM: True,
        names.REQUEST_ID: bound["request_id"],
        names.USER_ID: bound["user_id"],
        names.DIMENSION_PREFIX + "tenant": bound["tenant"],
        names.PROMPT_NAME: "answer",
        names.PROMPT_VERSION: bound["prompt_version"],
    }
    first_s = chosen.random()
    closing: dict[str, Any] = {
        names.RESPONSE_ID: f"chatcmpl-{chosen.getrandbits(120):030x}",
        names.RESPONSE_MODEL: model + "-2026-08-06",
        names.RESPONSE_FINISH_REASONS: ("stop",),
        names.USAGE_INPUT: tokens_in,
        names.USAGE_OUTPUT: tokens_out,
        names.USAGE_CACHE_READ: cached,
        names.COST_ATTRIBUTES["input"]: tokens_in * 2.5e-6,
        names.COST_ATTRIBUTES["output"]: tokens_out * 1e-5,
        names.COST_ATTRIBUTES["total"]: total_usd,
        names.RESPONSE_TIME_TO_FIRST_CHUNK: first_s,
        names.TIME_TO_FIRST_TOKEN_S: first_s + 0.001,
        names.TIME_TO_FIRST_ANSWER_S: first_s + 0.001,
    }
    times = ChunkTimes(1)
    times.first_token_ns = 1 + round(first_s * 1e9)
    usual: dict[str, Any] = dict.fromkeys(Call._fields, "")
    usual.update(
        operation="chat", kind="client", role="client", span_name=f"chat {model}", provider="openai",
        request_model=model, response_model=model, outcome="error" if failed else "ok",
        error_kind=chosen.choice(("rate_limit", "timeout")) if failed else None, error_type="429" if failed else "",
        usage=Usage(tokens_in, tokens_out, cached), start_ns=1, duration_s=chosen.lognormvariate(0.3, 0.9),
        cost=Cost(tokens_in * 2.5e-6, tokens_out * 1e-5, total_usd, (("input", tokens_in * 2.5e-6),)),
        start_unix_ns=round(start_s * 1e9), model_call=True, counted=True, pending=False, retries=(), rate_limits=(),
        chunk_times=times, opening=opening, closing=closing, content={}, bound=bound, server_port=0, dimensions=(),
        agent_calls=0, tool_calls=0, trace_id=trace, span_id=f"{chosen.getrandbits(64):016x}", sampled=True,
    )  # fmt: skip
    return Call(**usual)


def _writer(folder: str, lost: list[int]) -> Writer:
    return Writer(Folder(folder), days=7, max_bytes=1 << 34, service="bench", lost=lost.append, clean=lambda span: span)


def caller_us(folder: str) -> float:
    """Microseconds of one call's end on the calling thread, the writer's thread apart."""
    batch = list(calls(MOST_WAITING // 2, 1, time.time()))
    best = float("inf")
    for _ in range(3):
        writer = _writer(folder, [])
        writer._thread = writer._starting = object()  # type: ignore[assignment]  # nobody takes from the queue
        sink, draft = StoreSink(writer), Draft("chat")
        begun = time.perf_counter()
        for call in batch:
            sink.close(draft, call)
        best = min(best, (time.perf_counter() - begun) / len(batch) * 1e6)
    return best


def fill(folder: str, rows: int, seed: int) -> dict[str, float]:
    """Write rows in this process; CPU per row, the making of the rows apart."""
    lost: list[int] = []
    writer = _writer(folder, lost)
    now_s = time.time()
    spent = wall = 0.0
    source = calls(rows, seed, now_s)
    while True:
        chunk = [CallItem(call, 0, False, False) for call, _ in zip(source, range(MOST_WAITING // 2))]
        if not chunk:
            break
        cpu, begun = time.process_time(), time.perf_counter()
        for item in chunk:
            writer.offer(item)
        writer.flush(600)
        spent += time.process_time() - cpu
        wall += time.perf_counter() - begun
    writer.close(60)
    return {"cpu_us": spent / rows * 1e6, "rows_per_s": rows / wall, "wall_s": wall, "lost": sum(lost)}


def questions(folder: str) -> dict[str, Callable[[], Any]]:
    """What a person asks."""
    from trisignal.analysis.analyzer import TraceAnalyzer

    analyzer = TraceAnalyzer(folder)
    row = analyzer.spans(limit=1).rows[0]
    return {
        "latest 50 calls": lambda: analyzer.spans(limit=50),
        "slowest 10, with their traces": lambda: analyzer.slowest(limit=10),
        "slowest 10 of one model": lambda: analyzer.slowest(model="gpt-4o", limit=10),
        "dearest 50": lambda: analyzer.spans(order="cost", limit=50),
        "one trace": lambda: analyzer.trace(row.trace_id),
        "one request": lambda: analyzer.find(request_id=row.request_id),
        "cost by tenant and model, 24 h": lambda: analyzer.cost(("tenant", "model")),
        "overview: 96 steps, quantiles": lambda: analyzer.totals("model", step_s=900, quantiles=True),
        "errors by provider and kind, 1 h": lambda: analyzer.errors(since="1h"),
        "errors by provider and kind, 24 h": lambda: analyzer.errors(),
        "cost by user, 1 h": lambda: analyzer.cost("user_id", since="1h"),
        "cost by user, 24 h": lambda: analyzer.cost("user_id"),
        "cost by user, 24 h, the 200 that cost most": lambda: analyzer.cost("user_id", limit=200),
        "compare the last two hours": lambda: analyzer.compare(),
        "text that few spans have, 24 h": lambda: analyzer.find(text="chatcmpl-0000"),
        "holding": lambda: analyzer.holding(),
    }


def ask(folder: str) -> dict[str, tuple[float, float, float]]:
    """Median and 95th percentile of each question's time, and its median CPU time, in milliseconds."""
    found = {}
    for name, question in questions(folder).items():
        took, spent = [], []
        begun = time.perf_counter()
        while len(took) < QUESTIONS and (len(took) < LEAST or time.perf_counter() - begun < 5):
            start, cpu = time.perf_counter(), time.process_time()
            question()
            took.append((time.perf_counter() - start) * 1e3)
            spent.append((time.process_time() - cpu) * 1e3)
        took.sort()
        p95 = took[min(len(took) - 1, int(len(took) * 0.95))]
        found[name] = statistics.median(took), p95, statistics.median(spent)
    return found


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.store", description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000, help="spans in the store")
    parser.add_argument("--keep", default="", help="folder to measure in, which stays")
    parser.add_argument("--write", action="store_true", help=f"also put the tables into {_PAGE}")
    parser.add_argument("--part", default="", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=1, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part == "fill":
        print(json.dumps(fill(given.keep, given.rows, given.seed)))
        return
    if given.part == "index":
        cpu = time.process_time()
        spans, _ = index_texts(Folder(given.keep))
        print(json.dumps({"cpu_us": (time.process_time() - cpu) / max(1, spans) * 1e6}))
        return
    if given.part == "ask":
        answers = ask(given.keep)
        print(json.dumps({"answers": answers, "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
        return
    with tempfile.TemporaryDirectory() as temporary:
        measure(given.keep or os.path.join(temporary, "store"), given.rows)
    if given.write:
        page = pathlib.Path(__file__).parents[1] / _PAGE
        before, begin, rest = page.read_text(encoding="utf-8").partition(_BEGIN)
        _, end, after = rest.partition(_END)
        page.write_text("\n\n".join((before + begin, "\n".join(_lines), end + after)), encoding="utf-8")


def measure(folder: str, rows: int) -> None:
    """Fill a store by one process, then by two, ask it while they write, and print the table."""
    os.makedirs(folder, exist_ok=True)
    _say("| figure | measured | goal |\n| --- | ---: | ---: |")
    _row("caller, µs per call", f"{caller_us(folder):.1f}")
    one = json.loads(_child("fill", folder, rows // 2, 1).communicate()[0])
    _row("writer, CPU µs per row", f"{one['cpu_us']:.0f}")
    _row("disk, bytes per span", f"{Folder(folder).size_bytes() / (rows // 2):.0f}")
    begun = time.perf_counter()
    pair = [_child("fill", folder, rows // 4, seed) for seed in (2, 3)]
    wrote = [json.loads(child.communicate()[0]) for child in pair]
    both = time.perf_counter() - begun
    _row("two writers, rows/s", f"{sum(one['rows_per_s'] for one in wrote):,.0f}")
    _row("dropped", f"{one['lost'] + sum(w['lost'] for w in wrote):.0f}")
    _row("two writers, seconds, with making the rows", f"{both:.0f}")
    indexed = json.loads(_child("index", folder, rows, 1).communicate()[0])
    _row("index of texts, CPU µs per span", f"{indexed['cpu_us']:.0f}")
    asked = json.loads(_child("ask", folder, rows, 1).communicate()[0])
    writing = [_child("fill", folder, rows // 8, seed) for seed in (4, 5)]
    busy = json.loads(_child("ask", folder, rows, 1).communicate()[0])
    for child in writing:
        child.communicate()
    _row("memory of the reader, MB", f"{asked['memory_mb']:.0f}")
    _say(f"\n| question, at {rows:,} spans | CPU ms | median ms | p95 ms | p95 ms while two processes write |")
    _say("| --- | ---: | ---: | ---: | ---: |")
    for name, (median, p95, cpu) in asked["answers"].items():
        _say(f"| {name} | {cpu:.1f} | {median:.1f} | {p95:.1f} | {busy['answers'][name][1]:.1f} |")


def _child(part: str, folder: str, rows: int, seed: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bench.store", "--part", part, "--keep", folder, "--rows", str(rows)]
    return subprocess.Popen([*command, "--seed", str(seed)], stdout=subprocess.PIPE, text=True)


def _row(name: str, value: str) -> None:
    _say(f"| {name} | {value} | {_GOALS.get(name, '')} |")


def _say(line: str) -> None:
    print(line, flush=True)
    _lines.append(line)


if __name__ == "__main__":
    main()
