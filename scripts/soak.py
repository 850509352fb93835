"""Kill workers under load for some minutes, and compare what was counted with what happened.

``nice -n 10 python scripts/soak.py FOLDER --minutes 10`` runs workers that make calls of every kind to a provider on
this machine and share one metrics page, which a real Prometheus scrapes. Every few seconds one worker ends, by SIGKILL
or by SIGTERM in turn, and another takes its place. Each worker writes down each call that it has made, which is the
truth; in the end truth, page, Prometheus and log lines are compared for each worker. Of a killed worker the page may
lack what ended within the time between two moves of its rows; that is counted, and nothing else may be missing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

THREADS, TASKS = 2, 2
WORKERS = 3
PAUSE_S = 0.02
START_S = 120.0
"""How long a worker may take until its first call."""
AT_RISK_S = 0.1
"""Multiprocess mode moves rows at most this often."""
SLACK_S = 0.4
"""A machine that is busy wakes the thread that moves them later."""
Key = tuple[str, str]
"""Worker and outcome."""


class Ended(NamedTuple):
    """One call of a worker."""

    at_s: float
    outcome: str


# --- a worker -----------------------------------------------------------------------------


class Worker:
    """Makes calls until it is ended.

    Args:
        folder: Where its files are.
        name: Its value of the dimension ``worker``.
    """

    def __init__(self, folder: Path, name: str) -> None:
        import openai

        import trisignal

        # 7 outcomes and models at most, for each of the workers.
        self._telemetry = trisignal.setup(
            metric_dimensions=("worker",), max_label_sets=5000, max_series=1_000_000, logs=str(folder / f"{name}.log")
        )
        trisignal.instrument("openai")
        self._name = name
        self._context = trisignal.context
        self._book = os.open(folder / f"{name}.truth", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._client = openai.OpenAI(max_retries=1)
        self._openai = openai
        self._stopped = threading.Event()

    def run(self) -> None:
        """Until SIGTERM."""
        signal.signal(signal.SIGTERM, lambda *given: self._stopped.set())
        threads = [threading.Thread(target=self._calls, args=(seed,)) for seed in range(THREADS)]
        threads.append(threading.Thread(target=lambda: asyncio.run(self._tasks())))
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(0.1)

    def _note(self, outcome: str) -> None:
        # One write each: what a killed process has written is complete.
        os.write(self._book, f"{time.time()} {outcome}\n".encode())

    def _ask(self, choose: random.Random) -> tuple[dict[str, Any], str]:
        from e2e.load import MIX

        model = choose.choice(list(MIX))
        kind = choose.choice(MIX[model])
        asked: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": kind}]}
        if kind in ("stream", "left"):
            asked |= {"stream": True, "stream_options": {"include_usage": True}}
        return asked, kind

    def _calls(self, seed: int) -> None:
        from e2e.load import OUTCOMES

        choose = random.Random(f"{self._name} {seed}")
        with self._context(worker=self._name):
            while not self._stopped.wait(PAUSE_S):
                asked, kind = self._ask(choose)
                try:
                    reply = self._client.chat.completions.create(**asked)
                    if kind == "left":
                        next(reply)
                        reply.close()
                    elif kind == "stream":
                        list(reply)
                except self._openai.APIStatusError:
                    assert OUTCOMES[kind] == "error"
                self._note(OUTCOMES[kind])

    async def _tasks(self) -> None:
        async with self._openai.AsyncOpenAI(max_retries=1) as client:
            with self._context(worker=self._name):
                await asyncio.gather(*(self._acalls(client, seed) for seed in range(TASKS)))

    async def _acalls(self, client: Any, seed: int) -> None:
        from e2e.load import OUTCOMES

        choose = random.Random(f"{self._name} async {seed}")
        while not self._stopped.is_set():
            await asyncio.sleep(PAUSE_S)
            asked, kind = self._ask(choose)
            try:
                reply = await client.chat.completions.create(**asked)
                if kind == "left":
                    await reply.__anext__()
                    await reply.close()
                elif kind == "stream":
                    async for _ in reply:
                        pass
            except self._openai.APIStatusError:
                assert OUTCOMES[kind] == "error"
            self._note(OUTCOMES[kind])


def page(port: int) -> None:
    """Serve the metrics page of the workers."""
    from wsgiref.simple_server import WSGIRequestHandler, make_server

    import trisignal

    class Quiet(WSGIRequestHandler):
        def log_message(self, *given: Any) -> None:
            """Print nothing."""

    make_server("127.0.0.1", port, trisignal.metrics_wsgi_app(), handler_class=Quiet).serve_forever()


# --- the run ------------------------------------------------------------------------------


class Run:
    """Workers that come and go.

    Args:
        folder: Empty folder for everything that they write.
        environ: Environment of the workers.
    """

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self._folder = folder
        self._environ = environ
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._count = 0
        self.killed_at_s: dict[str, float] = {}
        self.failed: list[str] = []

    def start(self) -> None:
        """Start one worker."""
        self._count += 1
        name = f"worker-{self._count}"
        command = [sys.executable, __file__, str(self._folder), "--worker", name]
        with (self._folder / f"{name}.output").open("wb") as output:
            self._running[name] = subprocess.Popen(command, env=self._environ, stdout=output, stderr=output)

    def end(self, *, kill: bool) -> None:
        """End the oldest worker."""
        name, process = next(iter(self._running.items()))
        del self._running[name]
        deadline_s = time.monotonic() + START_S
        while not self.truth(name) and process.poll() is None and time.monotonic() < deadline_s:
            time.sleep(0.1)
        if kill:
            self.killed_at_s[name] = time.time()
            process.kill()
        else:
            process.terminate()
        status = process.wait(600)
        if status != (-signal.SIGKILL if kill else 0):
            self.failed.append(f"{name} ended with {status}")

    def go(self, minutes: float, every_s: float) -> None:
        """End one worker each few seconds and start another, and end them all in the end."""
        until = time.monotonic() + minutes * 60
        for _ in range(WORKERS):
            self.start()
        turn = 0
        while time.monotonic() < until:
            time.sleep(every_s)
            self.end(kill=turn % 2 == 0)
            self.start()
            turn += 1
        while self._running:
            self.end(kill=False)

    @property
    def names(self) -> list[str]:
        """All workers that there were."""
        return [f"worker-{at + 1}" for at in range(self._count)]

    def truth(self, name: str) -> list[Ended]:
        """Calls of a worker."""
        book = self._folder / f"{name}.truth"
        lines = book.read_text(encoding="utf-8").splitlines() if book.exists() else []
        return [Ended(float(at), outcome) for at, outcome in (line.split() for line in lines)]

    def lines(self, name: str) -> Counter[str]:
        """Calls in a worker's log, by outcome."""
        log = self._folder / f"{name}.log"
        kept = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        return Counter(json.loads(line)["llm_outcome"] for line in kept)


def on_page(text: str) -> tuple[Counter[Key], Counter[str]]:
    """Calls by worker and outcome, and sums of what must be 0."""
    from prometheus_client.parser import text_string_to_metric_families

    calls: Counter[Key] = Counter()
    zero: Counter[str] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "llm_requests_total" and sample.value:
                calls[sample.labels["worker"], sample.labels["llm_outcome"]] += int(sample.value)
            elif sample.name in ("llm_active_requests", "trisignal_internal_errors_total", "trisignal_dropped_total"):
                zero[sample.name] += int(sample.value)
    return calls, zero


def compare(run: Run, shown: Counter[Key], scraped: Counter[Key]) -> tuple[list[str], Counter[str]]:
    """What does not agree, and the totals.

    Args:
        run: All workers have ended.
        shown: Calls on the page.
        scraped: Calls in Prometheus.
    """
    wrong = [] if shown == scraped else [f"page and Prometheus differ: {shown - scraped} {scraped - shown}"]
    totals: Counter[str] = Counter()
    for name in run.names:
        truth, lines = run.truth(name), run.lines(name)
        made = Counter(call.outcome for call in truth)
        counted = Counter({outcome: n for (who, outcome), n in shown.items() if who == name})
        killed_at_s = run.killed_at_s.get(name)
        totals.update(made=made.total(), page=counted.total(), lines=lines.total(), workers=1)
        if killed_at_s is None:
            if not made == counted == lines:
                wrong.append(f"{name}: made {made}, on the page {counted}, in the log {lines}")
            continue
        at_risk = sum(call.at_s > killed_at_s - AT_RISK_S - SLACK_S for call in truth) + THREADS + TASKS
        lost = (made - counted).total()
        unnoted = max((counted - made).total(), (lines - made).total())
        totals.update(killed=1, lost=lost)
        if lost > at_risk or unnoted > THREADS + TASKS or (made - lines).total():
            wrong.append(f"{name}, killed: made {made}, on the page {counted}, in the log {lines}, at risk {at_risk}")
    return wrong, totals


def soak(folder: Path, minutes: float, every_s: float) -> int:
    """Run, compare, print.

    Returns:
        Exit status.
    """
    from e2e.load import Provider
    from e2e.servers import Prometheus, Server, clean_environ, free_port, get

    shared = folder / "metrics"
    shared.mkdir(parents=True)
    port = free_port()
    address = f"http://127.0.0.1:{port}/metrics"
    with Provider() as provider:
        environ = clean_environ(PROMETHEUS_MULTIPROC_DIR=str(shared), **provider.variables)
        command = [sys.executable, str(Path(__file__).resolve()), str(folder), "--page", str(port)]
        with Server(folder / "page", command, lambda: get(address) is not None, environ):
            # A page of dozens of workers takes seconds on a busy machine.
            with Prometheus(folder / "prometheus", f"127.0.0.1:{port}", every="10s") as prometheus:
                run = Run(folder, environ)
                run.go(minutes, every_s)
                shown, zero = on_page(get(address))
                scraped: Counter[Key] = Counter()
                deadline_s = time.monotonic() + 60
                while scraped != shown and time.monotonic() < deadline_s:
                    time.sleep(1)
                    found = prometheus.query(
                        "sum by (worker, llm_outcome) (llm_requests_total) > 0", "worker", "llm_outcome"
                    )
                    scraped = Counter({(who, outcome): int(value) for (who, outcome), value in found.items()})
    wrong, totals = compare(run, shown, scraped)
    wrong += run.failed + [f"{name} is {value}" for name, value in zero.items() if value]
    print(
        f"{minutes:g} minutes, {totals['workers']} workers, {totals['killed']} of them killed: {totals['made']} calls "
        f"made, {totals['page']} on the page and in Prometheus, {totals['lines']} log lines, {totals['lost']} lost "
        "with killed workers"
    )
    print("\n".join(wrong) or "nothing else is missing, and nothing is counted twice")
    return 1 if wrong else 0


def main() -> int:
    """Parse the arguments, and be what they say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="does not exist yet")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two ends of workers")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--page", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        Worker(given.folder, given.worker).run()
        return 0
    if given.page:
        page(given.page)
    return soak(given.folder.resolve(), given.minutes, given.every)


if __name__ == "__main__":
    sys.exit(main())
