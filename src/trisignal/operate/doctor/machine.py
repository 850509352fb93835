"""Fork mode, the multiprocess directory, clocks, and the age of the price table."""

from __future__ import annotations

import multiprocessing
import os
import shlex
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from trisignal.errors import ConfigError
from trisignal.export.exporters import exporters_of, protocol
from trisignal.operate.doctor.findings import Finding
from trisignal.policy.price_table import day_unix_s, shipped
from trisignal.web.metrics_page import MULTIPROCESS_VARIABLES

CHECK = "process"
PRICES = "prices"
DAY_S = 86_400
OLD_DAYS = 60
_SKEW_S = 5.0
_MANY_FILES = 1_000


def check() -> Iterator[Finding]:
    """What holds for the processes that are started in this environment."""
    yield from _multiprocess()
    yield from _forks()
    yield from _prices()


def _variable() -> str:
    return next((name for name in MULTIPROCESS_VARIABLES if os.environ.get(name)), "")


def _multiprocess() -> Iterator[Finding]:
    variable, workers = _variable(), _workers()
    if not variable:
        if workers > 1:
            yield Finding(CHECK, "warning", f"{workers} workers, and each serves its own metrics only",
                          f"set {MULTIPROCESS_VARIABLES[0]} to an empty directory before the start")  # fmt: skip
        else:
            yield Finding(CHECK, "ok", "metrics of a single process")
        return
    folder = Path(os.environ[variable])
    if not folder.is_dir():
        yield Finding(CHECK, "error", f"{variable}={folder} is not a directory", f"mkdir -p {folder}, before the start")
        return
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        yield Finding(CHECK, "error", f"{variable}={folder} cannot be written", "give it to the application's user")
        return
    files = list(folder.glob("*.db"))
    ended = {pid for file in files if file.name.startswith("gauge_live") and (pid := _pid(file)) and not _alive(pid)}
    if ended:
        yield Finding(CHECK, "warning", f"{folder} has gauges of {len(ended)} processes that are not running",
                      "call prometheus_client.multiprocess.mark_process_dead(pid) when a worker ends, and empty the "
                      "directory before each start")  # fmt: skip
    if len(files) > _MANY_FILES:
        yield Finding(CHECK, "warning", f"{folder} has {len(files)} files: each scrape reads all of them",
                      "empty the directory before each start")  # fmt: skip
    if not ended and len(files) <= _MANY_FILES:
        yield Finding(CHECK, "ok", f"metrics of all processes in {folder}: {len(files)} files; no exemplars there")


def _pid(file: Path) -> int:
    tail = file.stem.rpartition("_")[2]
    return int(tail) if tail.isdigit() else 0


def _alive(pid: int) -> bool:
    if os.name == "nt":  # where signal 0 is Ctrl-C
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it belongs to another user, or to a system that does not say
        return True
    return True


def _gunicorn() -> list[str]:
    try:
        return shlex.split(os.environ.get("GUNICORN_CMD_ARGS", ""))
    except ValueError:
        return []


def _workers() -> int:
    words = _gunicorn()
    workers = os.environ.get("WEB_CONCURRENCY", "")
    for word, following in zip(words, [*words[1:], ""]):
        if word in ("-w", "--workers"):
            workers = following
        elif word.startswith("--workers="):
            workers = word.partition("=")[2]
    return int(workers) if workers.isdigit() else 1


def _forks() -> Iterator[Finding]:
    method = multiprocessing.get_start_method(allow_none=True) or multiprocessing.get_all_start_methods()[0]
    preload = any(word.startswith("--preload") for word in _gunicorn())
    yield Finding(
        CHECK, "ok", f"multiprocessing starts processes by {method}" + (", gunicorn preloads" if preload else "")
    )
    if preload and _sends_by_grpc():
        yield Finding(CHECK, "warning", "the application is loaded before workers are forked, and a gRPC channel does "
                      "not survive a fork", "set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf, or call setup() in "
                      "gunicorn's post_fork")  # fmt: skip
    others = ", ".join(sorted(t.name for t in threading.enumerate() if t is not threading.main_thread()))
    if preload and others:
        yield Finding(CHECK, "warning", f"the import starts threads that forked workers will lack: {others}",
                      "start them in gunicorn's post_fork")  # fmt: skip


def _sends_by_grpc() -> bool:
    try:
        return any("otlp" in exporters_of(signal, warn=False) and protocol(signal) == "grpc"
                   for signal in ("TRACES", "METRICS", "LOGS"))  # fmt: skip
    except ConfigError:  # another check reports it
        return False


def _prices() -> Iterator[Finding]:
    made = shipped()["generated"]
    yield age(int((time.time() - day_unix_s(made)) // DAY_S), f"the shipped price table is of {made}")


def age(days: int, what: str) -> Finding:
    """How old a price table is.

    Args:
        days: Its age; below 0 when this clock is wrong.
        what: Begins the line.
    """
    if days < -1:
        return Finding(PRICES, "error", f"{what}, and this clock is before that day", "set the clock")
    if days > OLD_DAYS:
        return Finding(PRICES, "warning", f"{what}, {days} days ago: prices change",
                       "pip install --upgrade trisignal, or set live_prices")  # fmt: skip
    return Finding(PRICES, "ok", f"{what}, {max(days, 0)} days ago")


def clock(whose: str, ahead_s: float | None) -> Iterator[Finding]:
    """Whether a server's clock fits ours.

    Args:
        whose: Address of the server.
        ahead_s: How far it is ahead, in seconds; None when it sent no time.
    """
    if ahead_s is None:
        return
    if abs(ahead_s) <= _SKEW_S:
        yield Finding("clock", "ok", f"the clock of {whose} fits this one, to {_SKEW_S:g} s")
    else:
        way = "ahead of" if ahead_s > 0 else "behind"
        yield Finding("clock", "warning", f"the clock of {whose} is {abs(ahead_s):.0f} s {way} this one",
                      "synchronise both (NTP): spans of one trace and samples of one scrape will not fit")  # fmt: skip
