"""Whether several processes answer at one address, each with metrics of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from trisignal.errors import TrisignalError
from trisignal.operate.doctor.findings import Finding
from trisignal.operate.scrape import ACCEPT, fetch
from trisignal.web.metrics_page import MULTIPROCESS_VARIABLES

CHECK = "process"
_IN_A_ROW, _AT_ONCE, _ROUNDS = 5, 10, 8
_LARGE_BYTES = 2_000_000
"""Larger pages are fetched less often."""
_START = re.compile(r"^process_start_time_seconds (\S+)", re.MULTILINE)
_CREATED = re.compile(r"^\w+_created(?:\{.*\})? (\S+)", re.MULTILINE)
_COUNTER = re.compile(r"^((?:llm_|trisignal_|\w+_llm_)\w+_total(?:\{.*?\})?) (\d\S*)", re.MULTILINE)


def check(url: str, headers: Mapping[str, str], timeout_s: float) -> Iterator[Finding]:
    """Fetch a page several times, and compare.

    Args:
        url: Where it is.
        headers: Sent with each request.
        timeout_s: How long to wait for each, in seconds.
    """

    def get(_: int) -> tuple[str, str]:
        try:
            answer = fetch(url, {"Accept": ACCEPT, "Connection": "close", **headers}, timeout_s=timeout_s)
        except TrisignalError:
            return "", ""
        page = answer.body.decode("utf-8", "replace") if answer.status == 200 else ""
        return page, answer.process or _mark(page)

    first = get(0)
    if not first[0]:
        return
    large = len(first[0]) > _LARGE_BYTES
    in_a_row = [first, *map(get, range(1 if large else _IN_A_ROW))]
    processes = {process for _, process in in_a_row if process}
    # An idle worker takes connections only while the others are busy.
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for _ in range(1 if large or not processes else _ROUNDS):
            if len(processes) > 1:
                break
            processes |= {process for _, process in pool.map(get, range(2 if large else _AT_ONCE)) if process}
    if len(processes) > 1 or _goes_back([page for page, _ in in_a_row]):
        number = str(len(processes)) if len(processes) > 1 else "several"
        yield Finding(CHECK, "error", f"{number} processes answer at this address, and each shows its own metrics: "
                      "every scrape sees another one",
                      f"set {MULTIPROCESS_VARIABLES[0]} to an empty directory before the start, or use "
                      "trisignal run --multiprocess")  # fmt: skip


def _mark(page: str) -> str:
    """What differs between two processes, as far as a page has it."""
    start = _START.search(page)
    if start is not None:
        return start[1]
    return min(_CREATED.findall(page), default="")


def _goes_back(pages: list[str]) -> bool:
    """Whether a counter falls from one page to the next."""
    known: dict[str, float] = {}
    for page in filter(None, pages):
        counters = {name: float(value) for name, value in _COUNTER.findall(page)}
        if any(counters.get(name, -1.0) < value for name, value in known.items()):
            return True
        known = counters
    return False
