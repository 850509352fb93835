"""``python -m bench.instructions``: machine instructions of a call on the calling thread, counted by Callgrind.

Time on a shared machine varies by more than most changes cost; instructions hardly vary. Each contender runs in a
process of its own under ``valgrind --tool=callgrind``, which counts while calls are made and at no other time.
Needs Valgrind and an x86-64 processor.
"""

from __future__ import annotations

import ctypes
import gc
import mmap
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from platform import machine
from tempfile import TemporaryDirectory
from typing import Any

from bench import contenders, stub

CALLS = 64
"""As many as are added up together: each figure holds that once."""
PLANTED_ROUNDS = 120
PLANTED = "planted call"
FIGURES = ("call", "async call", "few", "many", PLANTED)
"""What is counted, in this order: plain calls, streams of the two lengths of `stub.CHUNKS`, and plain calls while
something is attached that makes each of them a twentieth dearer: the gate must see that."""

_CALLGRIND = 0x43540000
_ZERO, _DUMP, _START, _STOP = _CALLGRIND + 1, _CALLGRIND, _CALLGRIND + 4, _CALLGRIND + 5
"""Requests that a program may make of Callgrind (``callgrind.h``)."""
_REQUEST = bytes.fromhex("4889f8 31d2 48c1c703 48c1c70d 48c1c73d 48c1c733 4887db 4889d0 c3")
"""The instructions by which Valgrind knows a request on x86-64 (``valgrind.h``); they do nothing without it."""


def is_possible() -> bool:
    """Whether this machine can count."""
    return shutil.which("valgrind") is not None and machine() in ("x86_64", "AMD64") and sys.platform == "linux"


class Callgrind:
    """Makes requests of the Callgrind that this process runs under."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        self._page.write(_REQUEST)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._page))
        self._call = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p)(address)

    def __call__(self, request: int) -> None:
        """Make a request without arguments."""
        arguments = (ctypes.c_uint64 * 6)(request)
        self._call(ctypes.addressof(arguments))


class Planted:
    """A regression on purpose: work that every recorded call does for nothing."""

    name = "planted"

    def close(self, draft: object, call: object) -> None:
        """Do it."""
        for _ in range(PLANTED_ROUNDS):
            pass

    def detached(self) -> None:
        """Nothing runs."""


def _planted(child: Any, count: int) -> None:
    from trisignal.engine import state

    planted = Planted()
    state.attach(planted)
    try:
        child.calls(count)
    finally:
        state.detach(planted)


def _add_up() -> None:
    """What has ended before is added up before, not among the calls that are counted."""
    from prometheus_client import generate_latest

    generate_latest()
    if "trisignal" in sys.modules:
        sys.modules["trisignal"].summary()


def _child(contender: str) -> None:
    """Count one contender: each figure ends with a dump."""
    from bench.child import Child

    child = Child(contender, stubbed=True)
    child.set_up()
    request = Callgrind()
    work: dict[str, Callable[[int], None]] = {
        "call": child.calls,
        "async call": child.acalls,
        "few": lambda count: child.streams(count, stub.CHUNKS[0]),
        "many": lambda count: child.streams(count, stub.CHUNKS[1]),
        PLANTED: lambda count: _planted(child, count),
    }
    for figure in FIGURES:
        work[figure](10)
        _add_up()
        gc.collect()
        gc.disable()
        request(_START)
        request(_ZERO)
        work[figure](CALLS)
        request(_DUMP)
        request(_STOP)
        gc.enable()


def count(contender: str) -> dict[str, float]:
    """Instructions per call, and per chunk of a stream.

    Args:
        contender: One of `contenders.SETUP`.

    Raises:
        RuntimeError: The process failed.
    """
    with TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        valgrind = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}"]
        # No export happens while calls are counted, and sets have the same order every time.
        env = {**os.environ, "PYTHONHASHSEED": "0", "OTEL_BSP_SCHEDULE_DELAY": "600000"}
        command = [*valgrind, sys.executable, "-m", "bench.instructions", contender]
        root = Path(__file__).parents[1]
        done = subprocess.run(command, env=env, cwd=root, capture_output=True, text=True, check=False, timeout=900)
        dumps = [_total(Path(f"{out}.{number}")) for number, _ in enumerate(FIGURES, 1)]
        if done.returncode or None in dumps:
            raise RuntimeError(done.stderr[-2000:])
    totals = {figure: (total or 0) / CALLS for figure, total in zip(FIGURES, dumps, strict=True)}
    few, many = totals.pop("few"), totals.pop("many")
    short, long = stub.CHUNKS
    return {**totals, "stream": few, "chunk": (many - few) / (long - short)}


def _total(dump: Path) -> int | None:
    found = re.search(r"^(?:summary|totals): (\d+)", dump.read_text(encoding="utf-8"), re.M) if dump.exists() else None
    return None if found is None else int(found[1])


def over(ratios: Mapping[str, float], best: Mapping[str, float], tolerance: float) -> dict[str, float]:
    """Figures that take more than they may.

    Args:
        ratios: Figures in units of the floor.
        best: What they once were.
        tolerance: How many times as much they may be.
    """
    return {figure: ratio for figure, ratio in ratios.items() if ratio > best[figure] * tolerance}


def added(names: Sequence[str]) -> dict[str, dict[str, float]]:
    """What contenders add to the bare client.

    Args:
        names: Contenders, without `contenders.BARE`.
    """
    bare = count(contenders.BARE)
    return {name: {figure: n - bare[figure] for figure, n in count(name).items()} for name in names}


def main() -> int:
    """Count and print; exit status 1 where this machine cannot count."""
    if not is_possible():
        print("counting instructions needs Valgrind, Linux and an x86-64 processor", file=sys.stderr)
        return 1
    figures = added([contenders.FLOOR, contenders.SMALL, contenders.PLAIN, contenders.OWN, contenders.LOG])
    floor = figures[contenders.FLOOR]
    print("| contender |", " | ".join(floor), "|")
    print("|---|" + "---|" * len(floor))
    for name, counted in figures.items():
        cells = [f"{n:,.0f} ({n / floor[figure]:.3f} x)" for figure, n in counted.items()]
        print(f"| {name} |", " | ".join(cells), "|")
    return 0


if __name__ == "__main__":
    if len(sys.argv) > 1:
        _child(sys.argv[1])
    else:
        sys.exit(main())
