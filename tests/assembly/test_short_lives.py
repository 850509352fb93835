"""What is recorded in functions and throttled instances leaves before they are frozen, throttled or killed."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from loopback import Loopback, Recorded, Reply, json_reply
from measured import MEASURED
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from waiting import until

import trisignal
from trisignal.assembly import short_lives, telemetry
from trisignal.errors import ConfigError
from trisignal.testing import Seen, capture

HERE = Path(__file__).parent
NEXT = "/2018-06-01/runtime/invocation/next"


class Cloud:
    """The runtime interface of AWS Lambda and an OTLP collector, on one port."""

    def __init__(self) -> None:
        self.server = Loopback()
        self.server.handle(self.answer)
        self.events: list[tuple[dict[str, str], int]] = []
        self.answers: list[tuple[str, Any]] = []
        self.spans: list[Any] = []
        self.metrics: list[str] = []
        self.idle = threading.Event()
        self._given = 0
        self._lock = threading.Lock()

    def invoke(self, kind: str, timeout_ms: int = 60_000) -> None:
        """Queue an event."""
        self.events.append(({"kind": kind}, timeout_ms))

    def answer(self, request: Recorded) -> Reply:
        """Play the platform."""
        path = request.path
        if path == NEXT:
            with self._lock:
                at, self._given = self._given, self._given + 1
            if at >= len(self.events):
                self.idle.set()
                return Reply(200, body=b"", hang=True)
            event, timeout_ms = self.events[at]
            headers = {
                "Lambda-Runtime-Aws-Request-Id": f"request-{at}",
                "Lambda-Runtime-Deadline-Ms": str(round(time.time() * 1000) + timeout_ms),
                "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:eu:1:function:f",
            }
            return json_reply(event, headers=headers)
        if path.startswith("/2018-06-01/"):
            self.answers.append((path.rsplit("/", 1)[1], json.loads(request.body or b"null")))
            return json_reply({}, status=202)
        if path == "/v1/traces":
            sent = ExportTraceServiceRequest.FromString(request.body)
            self.spans += [s for r in sent.resource_spans for scope in r.scope_spans for s in scope.spans]
        elif path == "/v1/metrics":
            found = ExportMetricsServiceRequest.FromString(request.body)
            self.metrics += [m.name for r in found.resource_metrics for scope in r.scope_metrics for m in scope.metrics]
        return Reply(200, {"content-type": "application/x-protobuf"}, b"")

    def start(self) -> subprocess.Popen[str]:
        """The real runtime client with our handler."""
        environ = {
            **MEASURED,
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path]),
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self.server.port}",
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.server.url,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
            "OTEL_METRICS_EXPORTER": "otlp",
            # Nothing leaves by itself: only what flushes sends.
            "OTEL_BSP_SCHEDULE_DELAY": "3600000",
            "OTEL_METRIC_EXPORT_INTERVAL": "3600000",
        }
        return subprocess.Popen(
            [sys.executable, "-m", "awslambdaric", "lambda_handler.handler"],
            env=environ, cwd=HERE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def outcomes(self) -> dict[str, str]:
        """Outcome of each model call, by the name of the workflow around it."""
        names = {span.span_id: span.name for span in list(self.spans)}
        return {
            names[span.parent_span_id]: next(
                (one.value.string_value for one in span.attributes if one.key == "llm.outcome"), "ok"
            )
            for span in list(self.spans)
            if span.parent_span_id
        }


@pytest.fixture(name="cloud")
def _cloud() -> Iterator[Cloud]:
    """A platform."""
    pytest.importorskip("awslambdaric")
    cloud = Cloud()
    with cloud.server:
        yield cloud


@pytest.mark.slow
def test_a_lambda_that_returns_raises_and_times_out_loses_nothing(cloud: Cloud) -> None:
    """Spans, metrics and lines of all three have left when the platform freezes or kills the instance."""
    cloud.invoke("fine")
    cloud.invoke("raise")
    cloud.invoke("hang", timeout_ms=12_000)
    process = cloud.start()
    try:
        # The last one is killed at its time-out, as the platform does; it must not need longer than it has.
        until(lambda: len(cloud.outcomes()) == 3, "three calls at the collector")
        until(lambda: cloud.metrics.count("llm.requests") == 3, "their metrics")
    finally:
        process.kill()
        _, lines = process.communicate()
    assert cloud.outcomes() == {
        "invoke_workflow fine": "ok",
        "invoke_workflow raise": "ok",
        "invoke_workflow hang": "abandoned",
    }
    assert [kind for kind, _ in cloud.answers] == ["response", "error"]
    assert cloud.answers[0][1] == {"answer": "fine"}
    assert cloud.answers[1][1]["errorMessage"] == "no"
    assert cloud.metrics.count("llm.requests") == 3
    logged = [json.loads(line) for line in lines.splitlines() if '"trisignal.calls"' in line and line.startswith("{")]
    assert {line["request_id"]: line["llm_outcome"] for line in logged if line["gen_ai.operation.name"] == "chat"} == {
        "request-0": "ok",
        "request-1": "ok",
        "request-2": "abandoned",
    }


# --- the decorator ---------------------------------------------------------------------------


class Flushes:
    """What was sent when."""

    def __init__(self, seen: Seen) -> None:
        self.within: list[float] = []
        self.names: list[list[str]] = []
        self._seen = seen
        seen.telemetry.flushes.append(self._flush)

    def _flush(self, timeout_s: float) -> bool:
        self.within.append(timeout_s)
        self.names.append([span.name for span in self._seen.spans])
        return True


@pytest.fixture(name="flushes")
def _flushes() -> Iterator[Flushes]:
    """A setup whose flushes are seen."""
    with capture() as seen:
        yield Flushes(seen)


def ask() -> None:
    """A call."""
    with trisignal.llm(provider="openai", model="gpt-4o"):
        pass


def test_a_handler_flushes_once_however_it_ends(flushes: Flushes) -> None:
    """After the calls of the handler, within the deadline, also where it raises; its result stays."""

    @trisignal.flush_on_return
    def plain(event: int) -> int:
        """Says so."""
        ask()
        return event

    @trisignal.flush_on_return(deadline_s=5)
    def fails() -> None:
        ask()
        raise KeyError("x")

    @trisignal.flush_on_return(deadline_s=7)
    async def later(event: int) -> int:
        ask()
        return event

    assert (plain(3), plain.__name__, plain.__doc__) == (3, "plain", "Says so.")
    with pytest.raises(KeyError):
        fails()
    assert asyncio.run(later(4)) == 4
    assert flushes.within == [2.0, 5, 7]
    assert [len(names) for names in flushes.names] == [1, 2, 3]


def test_the_deadline_ends_before_the_time_out(flushes: Flushes) -> None:
    """What the context leaves is never exceeded, and a context that fails is none."""

    @trisignal.flush_on_return(deadline_s=60, margin_s=0.001)
    def handler(event: object, context: object) -> None:
        ask()

    handler(None, SimpleNamespace(get_remaining_time_in_millis=lambda: 30_000))
    assert 20 < flushes.within[0] < 30
    handler(None, SimpleNamespace(get_remaining_time_in_millis=None))
    assert flushes.within[1] == 60


def test_what_is_open_at_the_time_out_is_recorded(flushes: Flushes) -> None:
    """Shortly before the platform ends it, the open call is abandoned and sent; the handler is left alone."""
    release = threading.Event()

    @trisignal.flush_on_return(deadline_s=5, timeout_s=60, margin_s=59.99)
    def handler() -> str:
        with trisignal.llm(provider="openai", model="gpt-4o"):
            release.wait(60)
        return "late"

    answers: list[str] = []
    thread = threading.Thread(target=lambda: answers.append(handler()))
    thread.start()
    until(lambda: flushes.names, "the flush before the time-out")
    assert flushes.names[0] == ["chat gpt-4o"]
    release.set()
    thread.join()
    assert answers == ["late"]
    assert flushes.names[-1] == ["chat gpt-4o"]


def test_nothing_of_ours_reaches_the_handler(
    flushes: Flushes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A flush that fails or takes too long is logged, and the result is the handler's."""
    handler = trisignal.flush_on_return(lambda: "result")
    running = telemetry.running()
    assert running is not None
    monkeypatch.setattr(running, "force_flush", lambda timeout_s: False)
    assert handler() == "result"
    assert "not everything that was recorded could be sent within 2 s" in caplog.text

    def broken(timeout_s: float) -> bool:
        raise OSError

    monkeypatch.setattr(running, "force_flush", broken)
    monkeypatch.setattr(short_lives._guard.STATE, "strict", False)
    assert handler() == "result"


def test_without_setup_nothing_happens() -> None:
    """A decorated function works before setup()."""
    assert trisignal.flush_on_return(lambda: 1)() == 1


@pytest.mark.parametrize("wrong", [{"deadline_s": 0}, {"margin_s": "1"}, {"timeout_s": -1}])
def test_wrong_arguments_are_named(wrong: dict[str, Any]) -> None:
    """At decoration, not at the first request."""
    [name] = wrong
    with pytest.raises(ConfigError, match=f"^{name}="):
        trisignal.flush_on_return(**wrong)
    for middleware in (trisignal.FlushMiddleware, trisignal.WsgiFlushMiddleware):
        with pytest.raises(ConfigError, match=r"^deadline_s="):
            middleware(lambda *given: None, deadline_s=0)  # type: ignore[arg-type,return-value]


# --- middleware ------------------------------------------------------------------------------


def requests(app: Any, number: int = 1, path: str = "/") -> list[list[str]]:
    """Types of the messages of parallel requests to an ASGI application."""

    async def one() -> list[str]:
        sent: list[str] = []

        async def send(message: Any) -> None:
            sent.append(message["type"] + ("+" if message.get("more_body") else ""))

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        try:
            await app({"type": "http", "path": path, "method": "GET", "headers": []}, receive, send)
        except RuntimeError:
            sent.append("raised")
        return sent

    async def run() -> list[list[str]]:
        return await asyncio.gather(*(one() for _ in range(number)))

    return asyncio.run(run())


def test_an_asgi_response_ends_after_the_flush(flushes: Flushes) -> None:
    """Content goes at once; the end waits for what was recorded, once for all requests that are open together."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        assert not flushes.within
        ask()
        await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b""})
        assert flushes.within

    assert requests(trisignal.FlushMiddleware(app, deadline_s=4)) == [
        ["http.response.start", "http.response.body+", "http.response.body"]
    ]
    assert (flushes.within, flushes.names) == ([4], [["chat gpt-4o"]])


def test_asgi_requests_that_overlap_flush_once(flushes: Flushes) -> None:
    """While another request is open the instance keeps its CPU; also what raises is flushed, and lifespan is not."""
    waiting: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return
        waiting.append(1)
        while len(waiting) < 5:  # noqa: ASYNC110 - it takes five turns of the loop
            await asyncio.sleep(0)
        raise RuntimeError

    wrapped = trisignal.FlushMiddleware(app)
    assert requests(wrapped, 5) == [["raised"]] * 5
    assert len(flushes.within) == 1
    asyncio.run(wrapped({"type": "lifespan"}, None, None))  # type: ignore[arg-type]
    assert len(flushes.within) == 1


def wsgi(application: Callable[..., Any]) -> tuple[bytes, Any]:
    """Body of a response, read as servers do."""
    body = trisignal.WsgiFlushMiddleware(application, deadline_s=3)({}, lambda *given: lambda data: None)  # type: ignore[arg-type]
    try:
        return b"".join(body), body
    finally:
        close = getattr(body, "close", None)
        if close is not None:
            close()


def test_a_wsgi_response_ends_after_the_flush(flushes: Flushes) -> None:
    """Lists stay lists; iterators are read on, their end waits and they are closed; what raises is flushed."""

    def plain(environ: Any, start_response: Any) -> list[bytes]:
        ask()
        return [b"a", b"b"]

    content, body = wsgi(plain)
    assert (content, type(body), flushes.within) == (b"ab", list, [3])
    closed: list[int] = []

    def stream(environ: Any, start_response: Any) -> Iterator[bytes]:
        try:
            yield b"a"
            ask()
            assert len(flushes.within) == 1
            yield b"b"
        finally:
            closed.append(1)

    assert wsgi(stream)[0] == b"ab"
    assert (closed, len(flushes.within), len(flushes.names[-1])) == ([1], 2, 2)

    def fails(environ: Any, start_response: Any) -> list[bytes]:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        wsgi(fails)
    assert len(flushes.within) == 3
