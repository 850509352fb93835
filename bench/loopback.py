"""What users feel: throughput and tail latency of real clients over sockets of this machine.

The asyncio clients of openai, anthropic and google-genai call a server in a process of its own: 100 tasks at once make
plain calls, or 20 tasks read streams of 100 chunks. Every contender is a process; all are alive at once, and in each
round each has its turn, in a new order. Figures are compared with those of the bare client in the same round.

    python -m bench.loopback                # about four minutes
    python -m bench.loopback --gunicorn     # behind four workers of gunicorn, with multiprocess metrics
    python -m bench.loopback --peer official=PYTHON --peer langfuse=PYTHON --rounds 5

Peers are measured with the openai client, each beside the bare client of its own interpreter.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import random
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

from bench import loopback_server
from bench.goals import quartiles

MARK = "loopback: "
CLIENTS = ("openai", "anthropic", "google-genai")
TASKS = {"chat": (100, 3), "stream": (20, 2)}
"""Tasks at once, and calls of each, by kind of call."""
MODEL = "small-model"
_ROOT = Path(__file__).resolve().parent.parent
_PROMPT = "What does it cost to measure what a call costs? " * 12

Call = Callable[[], Awaitable[None]]


# --- one contender --------------------------------------------------------------------------------------------


def _openai(port: int) -> dict[str, Call]:
    import openai

    client = openai.AsyncOpenAI(api_key="none", base_url=f"http://127.0.0.1:{port}/v1", max_retries=0, timeout=120)
    request: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": _PROMPT}]}

    async def chat() -> None:
        await client.chat.completions.create(**request)

    async def stream() -> None:
        async for _ in await client.chat.completions.create(stream=True, **request):
            pass

    return {"chat": chat, "stream": stream}


def _anthropic(port: int) -> dict[str, Call]:
    import anthropic

    client = anthropic.AsyncAnthropic(api_key="none", base_url=f"http://127.0.0.1:{port}", max_retries=0, timeout=120)
    request: dict[str, Any] = {
        "model": MODEL, "max_tokens": 256, "messages": [{"role": "user", "content": _PROMPT}],
    }  # fmt: skip

    async def chat() -> None:
        await client.messages.create(**request)

    async def stream() -> None:
        async for _ in await client.messages.create(stream=True, **request):
            pass

    return {"chat": chat, "stream": stream}


def _google(port: int) -> dict[str, Call]:
    from google import genai

    client = genai.Client(api_key="none", http_options={"base_url": f"http://127.0.0.1:{port}"})  # type: ignore[arg-type]
    models = client.aio.models

    async def chat() -> None:
        await models.generate_content(model=MODEL, contents=_PROMPT)

    async def stream() -> None:
        async for _ in await models.generate_content_stream(model=MODEL, contents=_PROMPT):
            pass

    return {"chat": chat, "stream": stream}


_CALLS = {"openai": _openai, "anthropic": _anthropic, "google-genai": _google}


async def _run(call: Call, tasks: int, each: int) -> dict[str, Any]:
    latencies: list[float] = []

    async def work() -> None:
        for _ in range(each):
            start = perf_counter()
            await call()
            latencies.append(perf_counter() - start)

    gc.collect()
    start, cpu = perf_counter(), process_time()
    await asyncio.gather(*[work() for _ in range(tasks)])
    spent_s, cpu_s = perf_counter() - start, process_time() - cpu
    latencies.sort()
    return {
        "rate": tasks * each / spent_s,
        "cpu_ms": cpu_s / (tasks * each) * 1e3,
        "p50": median(latencies),
        "p99": latencies[int(len(latencies) * 0.99) - 1],
    }


def _child(contender: str, port: int) -> None:
    """Serve one contender until standard input ends."""
    from bench import contenders
    from bench.sink import Sink

    sink = Sink()
    contenders.SETUP[contender](sink)
    if contender.startswith(("trisignal", "own")):
        import trisignal

        trisignal.instrument("anthropic", "google-genai")
    foreign = contenders.peer_of(contender)
    calls = {name: _CALLS[name](port) for name in (CLIENTS[:1] if foreign else CLIENTS)}
    loop = asyncio.new_event_loop()
    for kinds in calls.values():
        for call in kinds.values():
            loop.run_until_complete(_run(call, 10, 1))
    gc.collect()
    gc.freeze()
    print(MARK + "{}", flush=True)
    for line in sys.stdin:
        name, kind = line.split()
        answer = loop.run_until_complete(_run(calls[name][kind], *TASKS[kind]))
        print(MARK + json.dumps(answer), flush=True)


# --- the run --------------------------------------------------------------------------------------------------


class Contender:
    """The process of one contender.

    Args:
        name: One of `contenders.SETUP`.
        python: Its interpreter.
        port: Port of the server.
    """

    def __init__(self, name: str, python: str, port: int) -> None:
        self.name = name
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "TRISIGNAL_"))}
        paths = [str(_ROOT)] + ([str(_ROOT / "src")] if python == sys.executable else [])
        environment |= {"PYTHONPATH": os.pathsep.join(paths), "PYTHONHASHSEED": "0"}
        self._process = subprocess.Popen(
            [python, "-m", "bench.loopback", "--child", name, "--port", str(port)],
            cwd=_ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, command: str) -> dict[str, Any]:
        """Give a command, and wait for its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """The next answer."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(MARK):
                answer: dict[str, Any] = json.loads(line[len(MARK) :])
                return answer
        raise RuntimeError(f"{self.name} ended with status {self._process.wait()}")

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


def measure(rounds: int, interpreters: Mapping[str, str]) -> dict[tuple[str, str, str], list[dict[str, Any]]]:
    """Let all contenders take turns.

    Args:
        rounds: How many.
        interpreters: Peers and the interpreter of each.

    Returns:
        One answer per round by client, kind of call and contender.
    """
    from bench import contenders

    pythons = {contenders.BARE: sys.executable, contenders.OWN: sys.executable}
    for peer, python in interpreters.items():
        pythons |= {contenders.bare_of(peer): python, peer: python}
    answers: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    order = random.Random(1)
    with ExitStack() as stack:
        port = stack.enter_context(loopback_server.serving())
        started = []
        for name, python in pythons.items():
            contender = Contender(name, python, port)
            stack.callback(contender.end)
            contender.answer()
            started.append(contender)
        for _ in range(rounds):
            for client in CLIENTS:
                for kind in TASKS:
                    turn = [c for c in started if client == CLIENTS[0] or not contenders.peer_of(c.name)]
                    order.shuffle(turn)
                    for contender in turn:
                        answers.setdefault((client, kind, contender.name), []).append(contender.ask(f"{client} {kind}"))
    return answers


def table(answers: dict[tuple[str, str, str], list[dict[str, Any]]]) -> str:
    """Markdown: throughput, CPU and 99th percentile in units of the bare client's."""
    from bench import contenders

    lines = ["| client | calls | contender | throughput | CPU per call | p99 |", "|---" * 6 + "|"]
    for (client, kind, name), rows in answers.items():
        bare = contenders.bare_of(name)
        if name == bare:
            continue
        cells = []
        for figure in ("rate", "cpu_ms", "p99"):
            pairs = zip(rows, answers[client, kind, bare], strict=True)
            ratios = [row[figure] / least[figure] for row, least in pairs]
            first, third = quartiles(ratios)
            cells.append(f"{median(ratios):.3f} ({first:.3f}..{third:.3f})")
        lines.append(f"| {client} | {kind} | {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _peer(text: str) -> tuple[str, str]:
    from bench import contenders

    name, _, python = text.partition("=")
    if name not in contenders.PEERS or not python:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PYTHON with one of {', '.join(contenders.PEERS)}")
    return name, python


def main() -> int:
    """Run and print."""
    from bench import contenders

    parser = argparse.ArgumentParser(prog="python -m bench.loopback", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--gunicorn", action="store_true", help="let gunicorn's workers make the calls; needs /proc")
    parser.add_argument(
        "--peer",
        action="append",
        default=[],
        type=_peer,
        metavar="NAME=PYTHON",
        help="one of " + ", ".join(contenders.PEERS) + ", and the interpreter that has it",
    )
    parser.add_argument("--child", default="", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        _child(arguments.child, arguments.port)
        return 0
    from bench import loopback_workers, report

    load = os.getloadavg()[0]
    run = loopback_workers.measure if arguments.gunicorn else measure
    answers = run(arguments.rounds, dict(arguments.peer))
    print(report.machine(arguments.rounds, load), table(answers), sep="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
