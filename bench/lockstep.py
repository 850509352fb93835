"""The processes of a run: all alive at once, each working only when its turn comes."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from bench import contenders
from bench.child import LONG_CHUNKS, MARK, SIZES

_ROOT = Path(__file__).resolve().parent.parent


class Where(NamedTuple):
    """What all processes of a run share."""

    official: str
    """Interpreter of the contenders called official; "" without them."""
    bytecode: str
    """Directory for compiled modules: a start must not depend on who could compile them before."""


class ChildError(RuntimeError):
    """A child process ended early, or recorded something else than one span per call."""


class Process:
    """One child process.

    Args:
        name: Contender.
        mode: Mode of `bench.child`.
        where: Interpreters and directories of the run.
    """

    def __init__(self, name: str, mode: str, where: Where) -> None:
        self.name = name
        foreign = name.startswith(contenders.OFFICIAL)
        # Exporters, content capture and the like of the surroundings must not leak into a run.
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "TRISIGNAL_"))}
        paths = [str(_ROOT)]
        if not foreign:
            paths += [str(_ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        environment |= {
            "PYTHONPATH": os.pathsep.join(paths),
            "PYTHONHASHSEED": "0",
            "PYTHONPYCACHEPREFIX": where.bytecode,
        }
        self._process = subprocess.Popen(
            [where.official if foreign else sys.executable, "-m", "bench.child", name, mode],
            cwd=_ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def send(self, command: str) -> None:
        """Give a command, without waiting for its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Wait for the next answer.

        Raises:
            ChildError: The process ended without one.
        """
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(MARK):
                answer: dict[str, Any] = json.loads(line[len(MARK) :])
                return answer
        raise ChildError(f"{self.name} ended with status {self._process.wait()}")

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


@contextmanager
def processes(names: Iterable[str], mode: str, where: Where) -> Iterator[list[Process]]:
    """Start all contenders; end them whatever happens."""
    with ExitStack() as stack:
        started = []
        for name in names:
            process = Process(name, mode, where)
            stack.callback(process.end)
            started.append(process)
        yield started


def run_rounds(started: Sequence[Process], rounds: int) -> list[dict[str, dict[str, Any]]]:
    """Let every process run every command once per round, in a new order each time.

    Returns:
        Per round: command to contender to its answer.

    Raises:
        ChildError: A contender has not recorded exactly one span per call.
    """
    order = random.Random(1)
    done = []
    for _ in range(rounds):
        row: dict[str, dict[str, Any]] = {command: {} for command in SIZES}
        for command, answers in row.items():
            turn = [p for p in started if command in contenders.OF_CONTENT or p.name not in contenders.WITH_CONTENT]
            order.shuffle(turn)
            for process in turn:
                process.send(command)
                answers[process.name] = answer = process.answer()
                if answer["spans"] != (process.name != contenders.bare_of(process.name)):
                    raise ChildError(f"{process.name}: {answer['spans']} spans per call in {command}")
        done.append(row)
    return done


def growth_mb(started: Sequence[Process]) -> dict[str, float]:
    """Megabytes by which each process grows over many calls; they run at the same time.

    The smaller of two passes: what is kept for good makes both of them grow.
    """
    first, second = _memory(started, "grow"), _memory(started, "grow")
    return {name: min(kb, second[name]) / 1024 for name, kb in first.items()}


def chunk_bytes(names: Sequence[str], where: Where) -> dict[str, float]:
    """Bytes of peak memory per chunk of one long stream, read with the whole client."""
    with processes(names, "real", where) as started:
        return {name: kb * 1024 / LONG_CHUNKS for name, kb in _memory(started, "peak").items()}


def _memory(started: Sequence[Process], command: str) -> dict[str, float]:
    for process in started:
        process.send(command)
    answers = {process.name: process.answer()["kb"] for process in started}
    return {name: kb for name, kb in answers.items() if kb is not None}


def start_ms(names: Sequence[str], where: Where, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of CPU for import, set-up and first call, in new processes per round.

    All modules have been compiled by then: the contenders have run before.
    """

    def measure(name: str) -> float:
        with processes([name], "start", where) as (process,):
            return float(process.answer()["ms"])

    found: dict[str, list[float]] = {name: [] for name in names}
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        for _ in range(rounds):
            for name, ms in zip(names, pool.map(measure, names)):
                found[name].append(ms)
    return found
