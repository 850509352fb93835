"""A producer and a worker process: one trace, one request id and one metrics page over both.

    python examples/queue_worker.py

The queue's depth and waiting time are measured; the carrier that travels with each job takes
the producer's trace and request id to the worker. prometheus_client's multiprocess mode adds
up what both processes counted.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import urllib.request
from multiprocessing.queues import Queue as ProcessQueue
from typing import TypedDict

SHOWN = ("llm_requests_total", "llm_queue_depth", "llm_queue_wait_seconds_count")


class Job(TypedDict):
    """What travels through the queue."""

    question: str
    carrier: dict[str, str]


def produce(jobs: ProcessQueue[Job | None]) -> None:
    """Three requests, each with an id of its own."""
    import trisignal

    waiting = trisignal.queue("questions")
    for number in range(3):
        with trisignal.context(request_id=f"req-{number}"), trisignal.workflow("ask"):
            jobs.put({"question": f"Where is order {number}?", "carrier": dict(waiting.put())})


def work(jobs: ProcessQueue[Job | None]) -> None:
    """Answer each job in the context of the request that caused it."""
    import trisignal

    waiting = trisignal.queue("questions")
    with trisignal.setup(service_name="worker", logs="stderr"):
        while (job := jobs.get()) is not None:
            with waiting.get(job["carrier"]):
                with trisignal.llm(provider="vllm", model="qwen3-8b") as call:
                    call.set_usage(input_tokens=len(job["question"].split()), output_tokens=4)
                print(f"answered {trisignal.request_id()} in trace {call.trace_id}", flush=True)


def main() -> None:
    """Run both sides and show the page that adds them up."""
    with tempfile.TemporaryDirectory() as directory:
        # Before prometheus_client is imported, in every process: children inherit it.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = directory
        import trisignal

        spawn = multiprocessing.get_context("spawn")
        jobs: ProcessQueue[Job | None] = spawn.Queue()
        worker = spawn.Process(target=work, args=(jobs,))
        with trisignal.setup(service_name="producer"):
            worker.start()
            produce(jobs)
            jobs.put(None)
            worker.join()
            server = trisignal.serve_metrics()
            with urllib.request.urlopen(server.url) as page:
                for line in page.read().decode().splitlines():
                    if line.startswith(SHOWN):
                        print(line)
            server.close()


if __name__ == "__main__":
    main()
