"""Every span and metric that trisignal emits keeps to the GenAI conventions, in both metric profiles."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from conformance.judge import FACTS, judge_metric, judge_span
from loopback import Loopback, Reply, sse
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import Gauge, Histogram, InMemoryMetricReader, Sum
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler, SamplingResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanKind

import trisignal
from trisignal import semconv as names
from trisignal.testing import capture

JSON = {"content-type": "application/json"}
MINE = frozenset({"team"})
CHAT: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-mini-2024-07-18",
    "service_tier": "default",
    "system_fingerprint": "fp_1",
    "choices": [
        {
            "index": 0,
            "finish_reason": "tool_calls",
            "message": {
                "role": "assistant",
                "content": "Looking.",
                "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}],
            },
        }
    ],
    "usage": {
        "prompt_tokens": 20,
        "completion_tokens": 9,
        "total_tokens": 29,
        "prompt_tokens_details": {"cached_tokens": 8, "audio_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 3, "audio_tokens": 0},
    },
}
RESPONSE: dict[str, Any] = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "status": "completed",
    "model": "gpt-4o-mini",
    "output": [
        {"type": "reasoning", "id": "r1", "summary": [{"type": "summary_text", "text": "Hm."}]},
        {"type": "message", "id": "m1", "role": "assistant", "status": "completed",
         "content": [{"type": "output_text", "text": "Yes.", "annotations": []}]},
    ],
    "usage": {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12, "output_tokens_details": {"reasoning_tokens": 2}},
    "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
}  # fmt: skip
MESSAGES: Any = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "Hi"},
                                 {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]},
    {"role": "assistant", "content": None,
     "tool_calls": [{"id": "c0", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
    {"role": "tool", "tool_call_id": "c0", "content": "7"},
]  # fmt: skip
TOOLS: Any = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    """A chunk of a chat stream."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {
        "id": "c2",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "gpt-4o-mini",
        "choices": [choice],
        **more,
    }


STREAM = [chunk({"role": "assistant"}), chunk({"content": "a"}), chunk({}, "stop", usage=CHAT["usage"])]


def client_calls(server: Loopback) -> None:
    """Every operation of the OpenAI client, ended in every way."""
    client = openai.OpenAI(base_url=server.url + "/v1", api_key="x", max_retries=1)

    def reply(body: Any, status: int = 200) -> None:
        server.play(Reply(status, {**JSON, "x-ratelimit-remaining-requests": "7"}, json.dumps(body).encode()))

    def streamed() -> Any:
        server.play(Reply(200, {"content-type": "text/event-stream"}, sse(*STREAM)))
        return client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES, stream=True)

    reply({"error": {"message": "busy"}}, 500)
    reply(CHAT)
    client.chat.completions.create(
        model="gpt-4o-mini", messages=MESSAGES, tools=TOOLS, temperature=0.5, top_p=1, max_tokens=5, seed=1, n=2,
        stop=["x"], frequency_penalty=0.1, presence_penalty=0.2, reasoning_effort="low",
        response_format={"type": "json_object"}, service_tier="flex",
    )  # fmt: skip
    list(streamed())
    half_read = streamed()
    next(half_read)
    half_read.close()
    reply(RESPONSE)
    client.responses.create(model="gpt-4o-mini", input="Hi", instructions="Brief.", previous_response_id="resp_0")
    reply({**RESPONSE, "status": "queued", "usage": None, "output": []})
    client.responses.create(model="gpt-4o-mini", input="Hi", background=True)
    reply(RESPONSE)
    client.responses.retrieve("resp_1")
    data = [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}]
    reply({"object": "list", "model": "e", "data": data, "usage": {"prompt_tokens": 3, "total_tokens": 3}})
    client.embeddings.create(model="text-embedding-3-small", input="x", encoding_format="float", dimensions=2)
    reply({"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "gpt-3.5-turbo-instruct",
           "choices": [{"index": 0, "text": "t", "finish_reason": "length"}]})  # fmt: skip
    client.completions.create(model="gpt-3.5-turbo-instruct", prompt="x")
    reply({"created": 1, "data": [], "usage": {"input_tokens": 4, "output_tokens": 9, "total_tokens": 13}})
    client.images.generate(model="gpt-image-1", prompt="x")
    reply({"id": "modr-1", "model": "omni-moderation-latest", "results": []})
    client.moderations.create(model="omni-moderation-latest", input="x")
    reply({"error": {"message": "no", "code": "model_not_found"}}, 404)
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES)


def own_calls() -> None:
    """Every decorator and context manager."""
    with (
        trisignal.context(request_id="r", conversation_id="conv", user_id="u", tenant="acme", prompt_name="p"),
        trisignal.workflow("w"),
        trisignal.agent("a", model="m", description="d"),
    ):
        with trisignal.stage("s"), trisignal.tool("t", call_id="c1"):
            pass
        with trisignal.retrieval("index", top_k=3), trisignal.embeddings(provider="p", model="e"):
            pass
        with trisignal.llm(provider="p", model="m") as call:
            call.mark_first_token()
            call.set_usage(input_tokens=3, output_tokens=4, cache_read_tokens=1, cache_write_tokens=1)
            call.set_attribute("team", "red")
            trisignal.evaluate("quality", 0.2)
    trisignal.feedback(1)
    trisignal.cache("c").hit()
    with trisignal.agent("hosted", provider="p", agent_id="i", version="1"):
        pass
    with trisignal.agent("made", provider="p", model="m", operation="create_agent"):
        pass
    with trisignal.llm(provider="p", model="outer", name="block"), trisignal.llm(provider="p", model="inner"):
        pass
    with pytest.raises(KeyError), trisignal.tool("t"):
        raise KeyError("x")


def asked(sampler: Sampler) -> Any:
    """A sampler that notes what it was shown."""
    shown: list[dict[str, Any]] = []

    class Noting(Sampler):
        def should_sample(self, *args: Any, **kwargs: Any) -> SamplingResult:
            shown.append(dict((args[4] if len(args) > 4 else kwargs.get("attributes")) or {}))
            return sampler.should_sample(*args, **kwargs)

        def get_description(self) -> str:
            return "noting"

    return Noting(), shown


@pytest.mark.parametrize("profile", names.PROFILES)
@pytest.mark.parametrize("content", [False, True], ids=["content off", "content on"])
def test_everything_emitted_keeps_to_the_conventions(profile: str, content: bool) -> None:
    """No span, pulled metric or pushed metric of a broad run deviates from the conventions."""
    reader = InMemoryMetricReader()
    given: dict[str, Any] = {"metric_profile": profile, "capture_content": content, "metric_dimensions": ["tenant"]}
    with Loopback() as server, capture(meter_provider=MeterProvider([reader]), **given) as seen:
        trisignal.instrument("openai")
        client_calls(server)
        own_calls()
        trisignal.uninstrument()
        spans = seen.spans
        data = reader.get_metrics_data()
        families = {family.name for family in seen.registry.collect() if family.samples}
    assert len(spans) == 23
    findings = {f"{span.name}: {wrong}" for span in spans for wrong in judge_span(span, MINE)}
    assert findings == set()
    assert data is not None
    metrics = [m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics]
    for metric in metrics:
        bounds: list[float] = []
        instrument = {Histogram: "histogram", Sum: "counter", Gauge: "gauge"}[type(metric.data)]
        labels: set[str] = set()
        for point in metric.data.data_points:
            bounds = list(getattr(point, "explicit_bounds", ()))
            labels |= set(point.attributes or {})
        findings |= set(judge_metric(metric.name, instrument, metric.unit, bounds, labels, profile, {"tenant"}))
    assert findings == set()
    # The pull side has the same metrics under their translated names.
    pushed = {metric.name for metric in metrics}
    translated = {m.prometheus_name.removesuffix("_total") for m in names.profile(profile).values() if m.name in pushed}
    assert translated <= families


def test_samplers_see_what_the_conventions_want_at_start() -> None:
    """Attributes that are flagged as relevant to sampling are there when a span begins."""
    from opentelemetry.sdk.trace import TracerProvider

    sampler, shown = asked(ALWAYS_ON)
    with Loopback() as server, capture(tracer_provider=TracerProvider(sampler=sampler)):
        trisignal.instrument("openai")
        client_calls(server)
        own_calls()
        trisignal.uninstrument()
    needed = {"gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model", "server.address", "server.port"}
    chats = [at_start for at_start in shown if at_start.get("server.address") and "gen_ai.request.model" in at_start]
    assert len(chats) >= 9
    assert all(needed <= set(at_start) for at_start in chats)
    assert any(at_start.get("gen_ai.tool.name") == "t" for at_start in shown)


def span(name: str, kind: SpanKind = SpanKind.CLIENT, **attributes: Any) -> ReadableSpan:
    """A span as an exporter sees it."""
    told = {key.replace("__", "."): value for key, value in attributes.items()}
    scope = InstrumentationScope("x", "1", FACTS["schema_url"])
    return ReadableSpan(name, attributes=told, kind=kind, instrumentation_scope=scope)


GOOD: dict[str, Any] = {
    "gen_ai__operation__name": "chat",
    "gen_ai__provider__name": "openai",
    "gen_ai__request__model": "m",
}


@pytest.mark.parametrize(
    ("made", "wrong"),
    [
        (span("chat m", **GOOD), None),
        (span("chat m", **{**GOOD, "gen_ai__nonsense": "x"}), "unknown"),
        (span("chat m", **{**GOOD, "gen_ai__usage__input_tokens": "7"}), "not int"),
        (span("chat m", **{k: v for k, v in GOOD.items() if "provider" not in k}), "missing"),
        (span("chat other", **GOOD), "name"),
        (span("chat m", SpanKind.INTERNAL, **GOOD), "kind"),
        (span("chat m", **{**GOOD, "error__type": "x"}), "status"),
        (span("chat m", **{**GOOD, "gen_ai__input__messages": '[{"role":"user","parts":[{"type":"text"}]}]'}), "without"),
    ],
)  # fmt: skip
def test_the_judge_finds_what_is_wrong(made: ReadableSpan, wrong: str | None) -> None:
    """Planted deviations are found, and a right span passes."""
    found = judge_span(made)
    assert (found == []) if wrong is None else any(wrong in text for text in found)


def test_the_judge_finds_wrong_metrics() -> None:
    """Wrong units, bounds and labels of metrics are found."""
    bounds = [float(b) for b in FACTS["metrics"]["1.41"]["gen_ai.client.operation.duration"]["bounds"]]
    labels = {"gen_ai.operation.name", "gen_ai.provider.name"}
    right: Any = ("gen_ai.client.operation.duration", "histogram", "s", bounds, labels, "1.41", set())
    assert judge_metric(*right) == []
    for at, wrong in ((1, "counter"), (2, "ms"), (3, bounds[1:]), (4, {*labels, "user"}), (4, set())):
        planted = list(right)
        planted[at] = wrong
        assert judge_metric(*planted) != []
