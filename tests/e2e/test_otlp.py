"""What trisignal sends over OTLP arrives complete at two receivers that share no code with its exporters."""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from e2e.collectors import Received, Rotel
from e2e.load import MIX, OUTCOMES, Counts, Provider, one_call
from e2e.servers import Uvicorn, free_port, wait_equal

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

ALL = {
    "OTEL_TRACES_EXPORTER": "otlp",
    "OTEL_METRICS_EXPORTER": "otlp",
    "OTEL_LOGS_EXPORTER": "otlp",
    "OTEL_BSP_SCHEDULE_DELAY": "100",
    "OTEL_BLRP_SCHEDULE_DELAY": "100",
    "OTEL_METRIC_EXPORT_INTERVAL": "500",
}
DETAILS = "gen_ai.client.inference.operation.details"
EXCEPTION = "gen_ai.client.operation.exception"
ROUNDS = 2


def make_calls(address: str) -> Counts:
    """Make some calls of each kind; their counts."""
    made: Counts = Counter()
    for number in range(ROUNDS):
        for model, kinds in MIX.items():
            for kind in kinds:
                one_call(address, model, kind, blocking=number == 0)
                made[model, OUTCOMES[kind]] += 1
    return made


def by_model_and_outcome(records: list[Received]) -> Counts:
    """How many there are of a model and outcome."""
    return Counter((one.attributes["gen_ai.request.model"], one.attributes.get("llm.outcome", "ok")) for one in records)


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_everything_arrives_at_rotel(tmp_path: Path, protocol: str) -> None:
    """Each call is one span, one details event with the span's ids and one count; a failure one exception event."""
    with Provider() as provider, Rotel(tmp_path / "rotel") as collector:
        endpoint = collector.grpc_url if protocol == "grpc" else collector.http_url
        sent = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol, **ALL}
        with Uvicorn(tmp_path / "app", **provider.variables, **sent) as app:
            made = make_calls(app.address)
            wait_equal(lambda: by_model_and_outcome(collector.spans()), made)
            wait_equal(lambda: named(collector, DETAILS), sum(made.values()))
            wait_equal(lambda: pushed(collector, "llm.requests", "Value"), dict(made))
        kinds = provider.kinds()
        failed = {key: count for key, count in made.items() if key[1] == "error"}
        assert sum(failed.values()) == named(collector, EXCEPTION)
        spans = {(span.fields["Trace ID"], span.fields["ID"]) for span in collector.spans()}
        events = {(log.fields["Trace ID"], log.fields["Span ID"]) for log in collector.logs()}
        assert events == spans
        assert len(spans) == sum(made.values())
        assert pushed(collector, "gen_ai.client.operation.duration", "Count") == dict(made)
        told = kinds["plain"] + kinds["stream"] + kinds["retried"]
        assert sum(pushed(collector, "gen_ai.client.token.usage", "Sum").values()) == 28 * told
        assert sum(pushed(collector, "llm.retries", "Value").values()) == kinds["retried"]
        services = {one.resource["service.name"] for one in (*collector.spans(), *collector.logs())}
        assert services == {"e2e"}


def named(collector: Rotel, event: str) -> int:
    """How many log records of a name have arrived."""
    return sum(log.fields.get("EventName") == event for log in collector.logs())


def pushed(collector: Rotel, metric: str, field: str) -> dict[tuple[str, str], float]:
    """Values of a metric by model and outcome; zeros are left out."""
    found: Counter[tuple[str, str]] = Counter()
    for point in collector.points(metric):
        model, outcome = point.attributes["gen_ai.request.model"], point.attributes.get("llm.outcome", "ok")
        found[model, outcome] += int(float(point.fields[field]))
    return dict(+found)


async def test_everything_arrives_at_oteltap(tmp_path: Path) -> None:
    """The same over HTTP at a second receiver: spans, events and metrics of every call."""
    oteltap = pytest.importorskip("oteltap", reason="oteltap is not installed (see make e2e)")
    port = free_port()
    tap = oteltap.OtelTapHttpProtobufReceiver(oteltap.OtelTapHttpProtobufReceiverSettings(http_port=port))
    await done(tap.start())
    url = f"http://127.0.0.1:{port}"
    sent = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", **ALL}
    every: list[Any] = []
    logs: list[Any] = []
    metrics: list[Any] = []
    # It tells only what arrives while somebody listens.
    streams = ((tap.stream_traces, every), (tap.stream_logs, logs), (tap.stream_metrics, metrics))

    def spans() -> list[Any]:
        """Those of model calls: web frameworks make spans of their own where a provider is global."""
        return [span for span in every if "gen_ai.request.model" in read(span)]

    listening = [asyncio.create_task(gather(stream(), into)) for stream, into in streams]
    try:
        with Provider() as provider, Uvicorn(tmp_path / "app", **provider.variables, **sent) as app:
            made = await asyncio.to_thread(make_calls, app.address)
            calls, failed = sum(made.values()), sum(n for (_, outcome), n in made.items() if outcome == "error")
            wanted = (calls, calls + failed, made)
            await asyncio.to_thread(wait_equal, lambda: (len(spans()), len(logs), newest(metrics)), wanted)
    finally:
        for task in listening:
            task.cancel()
        await done(tap.stop())
    assert (
        Counter((read(span)["gen_ai.request.model"], read(span).get("llm.outcome", "ok")) for span in spans()) == made
    )
    assert {(span.trace_id, span.span_id) for span in spans()} == {(log.trace_id, log.span_id) for log in logs}
    assert Counter(log.event_name for log in logs) == {DETAILS: calls, EXCEPTION: failed}


async def done(started: Any) -> None:
    """Wait for what may be a coroutine."""
    if inspect.isawaitable(started):
        await started


async def gather(stream: Any, into: list[Any]) -> None:
    """Keep what a receiver gets."""
    async for one in stream:
        into.append(one)  # noqa: PERF401 - it never ends


def read(holder: Any) -> dict[str, Any]:
    """Attributes of a protobuf message."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value") or "string_value") for one in holder.attributes}


def newest(metrics: list[Any]) -> Counts:
    """Calls by model and outcome, as the counter of calls told them last."""
    told = [metric for metric in metrics if metric.name == "llm.requests"]
    points = told[-1].sum.data_points if told else ()
    counts = ((read(point), point.as_int or int(point.as_double)) for point in points)
    return +Counter({(at["gen_ai.request.model"], at["llm.outcome"]): value for at, value in counts})
