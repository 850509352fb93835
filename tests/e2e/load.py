"""The provider that plays what it is asked for, and those who ask: the truth that all counts are held against."""

from __future__ import annotations

import json
import random
import threading
import urllib.parse
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from e2e.servers import get
from loopback import Loopback, Recorded, Reply, json_reply, sse

WORDS = ("It ", "left ", "on ", "Monday.")
USAGE = {"prompt_tokens": 20, "completion_tokens": 8, "total_tokens": 28}
OUTCOMES = {
    "plain": "ok",
    "stream": "ok",
    "retried": "ok",
    "left": "abandoned",
    "failing": "error",
    "limited": "error",
    "invalid": "error",
}
"""What a call may ask the provider for, and what it must count as."""
ERRORS = {"failing": (500, "server_error"), "limited": (429, "rate_limit_exceeded"), "invalid": (400, "invalid_value")}
MIX = {
    "gpt-4o": ("plain", "stream", "stream", "left", "failing", "limited"),
    "gpt-4o-mini": ("plain", "stream", "plain", "invalid", "plain", "stream", "stream", "plain", "plain", "plain"),
    "gpt-4.1": ("plain", "retried", "stream", "retried"),
}
"""Kinds of calls per model."""

SNAPSHOTS = {"gpt-4o": "2024-08-06", "gpt-4o-mini": "2024-07-18", "gpt-4.1": "2025-04-14"}
"""Date of the model that a name stands for."""

Counts = Counter[tuple[str, str]]
"""Calls by model and outcome."""


class Provider(Loopback):
    """Answers chat completions; the user's message names one of `OUTCOMES`."""

    def __init__(self) -> None:
        super().__init__()
        self.handle(played)

    @property
    def variables(self) -> dict[str, str]:
        """Environment of a process that is to use it."""
        return {"OPENAI_BASE_URL": self.url + "/v1", "OPENAI_API_KEY": "test"}

    def counts(self) -> Counts:
        """Calls that reached it; a retry is not a call of its own."""
        first = [request for request in list(self.requests) if request.header("x-stainless-retry-count") == "0"]
        return Counter((body["model"], OUTCOMES[kind_of(body)]) for body in (request.json() for request in first))

    def kinds(self) -> Counter[str]:
        """Calls by kind."""
        first = [request for request in list(self.requests) if request.header("x-stainless-retry-count") == "0"]
        return Counter(kind_of(request.json()) for request in first)


def kind_of(body: dict[str, Any]) -> str:
    """What a request asks for."""
    return str(body["messages"][-1]["content"])


def played(request: Recorded) -> Reply:
    """The reply to a request."""
    body = request.json()
    kind = kind_of(body)
    if kind == "retried" and request.header("x-stainless-retry-count") == "0":
        refused = {"error": {"message": "busy", "type": "rate_limit_exceeded", "code": "rate_limit_exceeded"}}
        return json_reply(refused, status=429, headers={"retry-after-ms": "1"})
    if kind in ERRORS:
        status, code = ERRORS[kind]
        return json_reply({"error": {"message": kind, "type": code, "code": code}}, status=status)
    head = {"id": "chatcmpl-1", "created": 1, "model": f"{body['model']}-{SNAPSHOTS[body['model']]}"}
    if not body.get("stream"):
        message = {"role": "assistant", "content": "".join(WORDS)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return json_reply({**head, "object": "chat.completion", "choices": [choice], "usage": USAGE})
    return Reply(body=sse(*events(head)), gap_s=0.002)


def events(head: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The chunks of a stream with usage."""
    head = {**head, "object": "chat.completion.chunk"}
    for word in WORDS:
        yield {**head, "choices": [{"index": 0, "delta": {"role": "assistant", "content": word}}]}
    yield {**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    yield {**head, "choices": [], "usage": USAGE}


def one_call(address: str, model: str, kind: str, blocking: bool = False) -> dict[str, Any]:
    """Have the application make one call; what it tells."""
    path = "blocking-call" if blocking else "call"
    told = json.loads(get(f"http://{address}/{path}?{urllib.parse.urlencode({'model': model, 'kind': kind})}"))
    assert isinstance(told, dict)
    return told


class Load:
    """Threads that have an application make calls until they are stopped; a context manager.

    Args:
        address: ``host:port`` of the application.
        threads: How many ask at once.
        pause_s: Seconds between two calls of a thread.
    """

    def __init__(self, address: str, threads: int = 6, pause_s: float = 0.03) -> None:
        self.counts: Counts = Counter()
        """Calls by model and outcome, as the application told them."""
        self.processes: set[int] = set()
        """Processes that have made calls."""
        self.lost = 0
        """Requests to the application that got no answer: a worker ended under them."""
        self._address = address
        self._pause_s = pause_s
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(threads)
        self._running = [self._pool.submit(self._run, seed) for seed in range(threads)]

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop, after the calls in flight; an error of a thread is raised here."""
        self._stopped.set()
        self._pool.shutdown()
        for thread in self._running:
            thread.result()

    def _run(self, seed: int) -> None:
        choose = random.Random(seed)
        while not self._stopped.wait(self._pause_s):
            model = choose.choice(list(MIX))
            kind = choose.choice(MIX[model])
            try:
                told = one_call(self._address, model, kind, blocking=choose.random() < 0.5)
            except OSError:
                with self._lock:
                    self.lost += 1
                continue
            assert told["outcome"] == OUTCOMES[kind], told
            with self._lock:
                self.counts[model, told["outcome"]] += 1
                self.processes.add(told["process"])
