"""The call-shape contract: what an application and an operator may rely on, for any client.

A vendor brings a `ClientKit`: how to build its clients and which call it makes for each of `SHAPE_NAMES`.
Each case runs twice, bare and instrumented, each against a loopback server of its own; `check_same`
compares what the application and the server saw, `check_signals` checks what the operator sees.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import pytest
from contract.ways import Trail, Way
from loopback import Loopback, Recorded, Reply
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

import trisignal
from trisignal import testing

Mode = Literal["sync", "async"]
MODES: tuple[Mode, ...] = ("sync", "async")
_COST = "gen_ai.usage.cost"
"""On the line it is ``cost_usd``."""
SHAPE_NAMES = (
    "create",
    "parse",
    "responses",
    "embeddings",
    "stream-read",
    "stream-in-context",
    "stream-helper",
    "stream-broken-out",
    "stream-never-iterated",
    "stream-closed-early",
    "stream-cancelled",
    "raw-create",
    "raw-stream",
    "streaming-response-parsed",
    "streaming-response-lines",
    "client-error",
    "error-in-stream",
    "timeout",
    "refused",
    "retried",
)


@dataclass(frozen=True)
class Expected:
    """What the operator must see of a call; None: absent from span and log line."""

    model: str
    operation: str = "chat"
    outcome: Literal["ok", "error", "cancelled", "abandoned"] = "ok"
    error_kind: str | None = None
    stream: bool = False
    input_tokens: int | None = None
    output_tokens: int | None = None
    response_model: str | None = None
    response_id: str | None = None
    finish_reasons: tuple[str, ...] | None = None
    retried_for: tuple[str, ...] = ()
    """Error kinds of the attempts before the last."""


@dataclass(frozen=True)
class Shape:
    """One call of one client, used in one way.

    Args:
        name: One of `SHAPE_NAMES`, or the name of a case that only this client has.
        start: Makes the call with the sync or the async client.
        way: How the application uses what the call returns.
        replies: What the server answers, in order.
        expected: What the operator must see.
        max_retries: How often the client may retry.
        timeout_s: The client's timeout in seconds.
        refused: Whether nothing listens at the client's URL.
    """

    name: str
    start: Callable[[Any], Any]
    way: Way
    replies: tuple[Reply, ...]
    expected: Expected
    max_retries: int = 0
    timeout_s: float = 60.0
    refused: bool = False


@dataclass(frozen=True)
class FaultRules:
    """Where a client differs in the faults of ``contract/faults.py``; keys and items are names of faults.

    Args:
        lacks: Faults that this client's protocol cannot have, or that the client itself does not survive;
            with ``-sync`` or ``-async`` behind it, in one mode only.
        replies: What the server answers in place of the replies that are derived from the good ones.
        kinds: Error kinds to expect where this client's exceptions tell less, or other than usual.
        changes: Other fields of a `Fault` that are different, as where a client takes for good what others refuse.
        repair: Makes an event well-formed again after its JSON was changed, where the framing tells lengths.
        retry_headers: Response headers that make this client retry without a wait.
        counts_retries: Whether this client shows its retries.
    """

    lacks: frozenset[str] = frozenset()
    replies: Mapping[str, tuple[Reply, ...]] = field(default_factory=dict)
    kinds: Mapping[str, frozenset[str]] = field(default_factory=dict)
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    repair: Callable[[bytes], bytes] | None = None
    retry_headers: Mapping[str, str] = field(default_factory=lambda: {"retry-after": "0", "retry-after-ms": "1"})
    counts_retries: bool = True


@dataclass(frozen=True)
class ClientKit:
    """What the contract needs to know about one vendor's client.

    Args:
        name: Name under which ``trisignal.instrument`` knows the client.
        provider: Value of ``gen_ai.provider.name``.
        client: Builds a sync client from base URL, retries and timeout in seconds.
        async_client: Builds an async client from the same.
        shapes: The vendor's calls.
        lacks: Names of shapes that this client does not offer.
        varying_headers: Lower-case names of request headers that differ from run to run.
        faults: What is special about this client in the tests of faults.
        api: The interface of the client that the kit is for, where another kit is for the rest of it.
        server: Starts the server, where the client does not speak HTTP: with ``play``, ``url``, ``requests`` and
            ``silent`` as `Loopback` has them.
    """

    name: str
    provider: str
    client: Callable[[str, int, float], AbstractContextManager[Any]]
    async_client: Callable[[str, int, float], AbstractAsyncContextManager[Any]]
    shapes: tuple[Shape, ...]
    lacks: frozenset[str] = frozenset()
    varying_headers: frozenset[str] = frozenset({"host"})
    faults: FaultRules = FaultRules()
    api: str = ""
    server: Callable[[], AbstractContextManager[Any]] = Loopback

    @property
    def id(self) -> str:
        """Name of the kit."""
        return f"{self.name}-{self.api}" if self.api else self.name

    def cases(self) -> list[Any]:
        """Return every shape in both modes as parameters ``shape, mode``."""
        return [pytest.param(shape, mode, id=f"{shape.name}-{mode}") for shape in self.shapes for mode in MODES]


class Seen(Protocol):
    """What ``trisignal.testing.capture`` collects, as far as the contract looks at it."""

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        """The finished spans."""
        ...

    @property
    def logs(self) -> Sequence[Mapping[str, Any]]:
        """The parsed log lines."""
        ...

    def value(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's samples with these labels; 0.0 when there is none."""
        ...


@dataclass(frozen=True)
class Run:
    """What one run of a shape showed to the application and to the server."""

    trail: Trail
    requests: list[Recorded]


def run(kit: ClientKit, shape: Shape, mode: Mode) -> Run:
    """Run a shape against a fresh server, with whatever instrumentation is on."""
    trail = Trail()
    with kit.server() as server, _refusing_url() as nowhere:
        server.play(*shape.replies)
        trail.silent = server.silent
        url = nowhere if shape.refused else server.url
        try:
            if mode == "sync":
                with kit.client(url, shape.max_retries, shape.timeout_s) as client:
                    shape.way.use(lambda: shape.start(client), trail)
            else:
                asyncio.run(_arun(kit, shape, url, trail))
        except (Exception, KeyboardInterrupt, asyncio.CancelledError) as error:
            trail.failed(error)
        return Run(trail, list(server.requests))


async def _arun(kit: ClientKit, shape: Shape, url: str, trail: Trail) -> None:
    async with kit.async_client(url, shape.max_retries, shape.timeout_s) as client:
        await shape.way.ause(lambda: shape.start(client), trail)


@contextmanager
def _refusing_url() -> Iterator[str]:
    # Bound but not listening: the port stays ours, so nobody else can start to answer on it.
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


def check(kit: ClientKit, shape: Shape, mode: Mode) -> None:
    """Assert the whole contract for one shape in one mode."""
    bare = run(kit, shape, mode)
    assert bare.trail.raised == (shape.expected.outcome in ("error", "cancelled"))
    with testing.capture() as seen:
        trisignal.instrument(kit.name)
        try:
            instrumented = run(kit, shape, mode)
        finally:
            trisignal.uninstrument()
        check_same(kit, bare, instrumented)
        check_signals(kit, shape, seen)


def check_same(kit: ClientKit, bare: Run, instrumented: Run) -> None:
    """Assert that neither the application nor the server could tell the two runs apart."""
    assert instrumented.trail.steps == bare.trail.steps
    assert [_comparable(kit, request) for request in instrumented.requests] == [
        _comparable(kit, request) for request in bare.requests
    ]


def _comparable(kit: ClientKit, request: Recorded) -> tuple[object, ...]:
    headers = [(name, "varies" if name.lower() in kit.varying_headers else value) for name, value in request.headers]
    return request.method, request.path, request.body, headers


def check_signals(kit: ClientKit, shape: Shape, seen: Seen) -> None:
    """Assert one span, one log line and one count, all telling the same expected facts."""
    spans, logs = seen.spans, seen.logs
    assert len(spans) == 1
    assert len(logs) == 1
    _check_span(kit, shape.expected, spans[0])
    _check_log(shape.expected, logs[0], spans[0])
    _check_metrics(kit, shape.expected, seen)


def _check_span(kit: ClientKit, expected: Expected, span: ReadableSpan) -> None:
    attributes = dict(span.attributes or {})
    reasons = expected.finish_reasons
    if reasons is None and expected.stream and expected.response_id and expected.outcome != "ok":
        # The conventions: "error" where a reason was expected but never came.
        reasons = ("error",)
    wanted: dict[str, object] = {
        "gen_ai.operation.name": expected.operation,
        "gen_ai.provider.name": kit.provider,
        "gen_ai.request.model": expected.model or None,
        "gen_ai.request.stream": expected.stream or None,
        "gen_ai.response.model": expected.response_model,
        "gen_ai.response.id": expected.response_id,
        "gen_ai.response.finish_reasons": reasons,
        "gen_ai.usage.input_tokens": expected.input_tokens,
        "gen_ai.usage.output_tokens": expected.output_tokens,
        # On spans the absence of an outcome means ok.
        "llm.outcome": None if expected.outcome == "ok" else expected.outcome,
        "llm.error_kind": expected.error_kind,
    }
    assert {name: attributes.get(name) for name in wanted} == wanted
    failed = expected.outcome == "error"
    assert ("error.type" in attributes) == failed
    assert span.status.status_code is (StatusCode.ERROR if failed else StatusCode.UNSET)
    assert span.name == f"{expected.operation} {expected.model}".strip()
    assert span.kind is SpanKind.CLIENT


def _check_log(expected: Expected, log: Mapping[str, Any], span: ReadableSpan) -> None:
    attributes = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in (span.attributes or {}).items()
        if (name.startswith("gen_ai.") or name == "error.type") and name != _COST
    }
    told = {name: value for name, value in log.items() if name.startswith("gen_ai.") or name == "error.type"}
    assert told == attributes
    assert log.get("cost_usd") == (span.attributes or {}).get(_COST)
    assert log["llm_outcome"] == expected.outcome
    assert log.get("llm_error_kind") == expected.error_kind
    context = span.get_span_context()
    assert context is not None
    assert log["trace_id"] == f"{context.trace_id:032x}"
    assert log["span_id"] == f"{context.span_id:016x}"


def _check_metrics(kit: ClientKit, expected: Expected, seen: Seen) -> None:
    labels = {
        "gen_ai_operation_name": expected.operation,
        "gen_ai_provider_name": kit.provider,
        "gen_ai_request_model": expected.model,
    }
    outcome = {"llm_outcome": expected.outcome}
    failures = int(expected.outcome == "error")
    counted = {
        "requests": seen.value("llm_requests_total"),
        "requests of this outcome": seen.value("llm_requests_total", **labels, **outcome),
        "durations": seen.value("gen_ai_client_operation_duration_seconds_count"),
        "durations of this outcome": seen.value("gen_ai_client_operation_duration_seconds_count", **labels, **outcome),
        "errors": seen.value("llm_errors_total"),
        "errors of this kind": seen.value("llm_errors_total", **labels, llm_error_kind=expected.error_kind or "none"),
        "retries": seen.value("llm_retries_total"),
        "still active": seen.value("llm_active_requests"),
        "internal errors": seen.value("trisignal_internal_errors_total"),
    }
    assert counted == {
        "requests": 1,
        "requests of this outcome": 1,
        "durations": 1,
        "durations of this outcome": 1,
        "errors": failures,
        "errors of this kind": failures,
        "retries": len(expected.retried_for),
        "still active": 0,
        "internal errors": 0,
    }
    for kind in expected.retried_for:
        times = expected.retried_for.count(kind)
        assert seen.value("llm_retries_total", **labels, llm_error_kind=kind) == times
    for token_type, tokens in (("input", expected.input_tokens), ("output", expected.output_tokens)):
        points = {"gen_ai_token_type": token_type}
        assert seen.value("gen_ai_client_token_usage_count", **points) == (tokens is not None)
        assert seen.value("gen_ai_client_token_usage_sum", **labels, **points) == (tokens or 0)
