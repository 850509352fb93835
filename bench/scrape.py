"""``python -m bench.scrape``: what a scrape of the metrics page costs, by models, with one process and with several.

Each worker makes one plain and one streamed call of every model, so that the page has their whole label sets; then one
process renders the page as it does for a scraper. CPU time is what counts, as neighbours' load does not change that.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from tempfile import TemporaryDirectory
from typing import Any

SCRAPES = 3
"""The first one moves what calls have left; the cheapest counts."""
SETS_OF_A_MODEL = 4
SCRAPER = {
    "REQUEST_METHOD": "GET",
    "PATH_INFO": "/metrics",
    "HTTP_ACCEPT": "application/openmetrics-text;version=1.0.0",
}


def calls(models: int) -> None:
    """Make the label sets of so many models in this process."""
    import trisignal

    trisignal.setup(service_name="bench", max_label_sets=SETS_OF_A_MODEL * models + 10, trace_sample_ratio=0.0)
    for number in range(models):
        for streams in (False, True):
            with trisignal.llm(provider="openai", model=f"gpt-{number}") as call:
                if streams:
                    call.mark_first_token()
                call.set_usage(input_tokens=800, output_tokens=60)


def scrape() -> dict[str, float]:
    """Render the page; its size, and the CPU seconds of the cheapest time."""
    import trisignal

    page, spent_s, body = trisignal.metrics_wsgi_app(), [], b""
    for _ in range(SCRAPES):
        began_s = time.process_time()
        body = b"".join(page(dict(SCRAPER), lambda *_: None))  # type: ignore[arg-type]
        spent_s.append(time.process_time() - began_s)
    series = sum(1 for line in body.splitlines() if line and not line.startswith(b"#"))
    rss_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"series": series, "page_mb": len(body) / 1e6, "cpu_s": min(spent_s), "rss_mb": rss_kb / 1024}


def child(models: int, scrapes: bool) -> int:
    """A worker: its calls, then either a scrape, or nothing until standard input ends."""
    calls(models)
    print(json.dumps(scrape() if scrapes else {}), flush=True)
    sys.stdin.read()
    return 0


def run(models: int, workers: int) -> dict[str, Any]:
    """Measure one size.

    Args:
        models: How many.
        workers: How many processes share a multiprocess directory; 1: none is needed.
    """
    with TemporaryDirectory() as folder, ExitStack() as stack:
        environ = {
            key: value for key, value in os.environ.items() if not key.startswith(("TRISIGNAL_", "OTEL_", "PROM"))
        }
        if workers > 1:
            environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        found: dict[str, Any] = {}
        for last in [False] * (workers - 1) + [True]:
            command = [sys.executable, "-m", "bench.scrape", "--child", str(models), *(["--scrapes"] if last else [])]
            process = stack.enter_context(
                subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            assert process.stdout is not None
            found = json.loads(process.stdout.readline())
        files_mb = sum(entry.stat().st_size for entry in os.scandir(folder)) / 1e6
    return {"models": models, "workers": workers, "files_mb": files_mb, **found}


def main(given: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.scrape", description=__doc__)
    parser.add_argument("--models", type=int, nargs="+", default=[10, 49, 250, 2500])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--child", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--scrapes", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args(given)
    if chosen.child:
        return child(chosen.child, chosen.scrapes)
    heads = ("models", "largest metric, label sets", "workers", "series", "page, MB", "CPU of a scrape, s",
             "files, MB", "memory, MB")  # fmt: skip
    print(f"| {' | '.join(heads)} |\n|{' --- |' * len(heads)}")
    for models in chosen.models:
        for workers in chosen.workers:
            one = run(models, workers)
            print(f"| {models} | {SETS_OF_A_MODEL * models} | {workers} | {one['series']:.0f} | {one['page_mb']:.1f} "
                  f"| {one['cpu_s']:.2f} | {one['files_mb']:.0f} | {one['rss_mb']:.0f} |", flush=True)  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
