"""What Anthropic's client offers beside plain messages, and what its answers tell beside tokens."""

from __future__ import annotations

import gc
import json
from typing import Any

import anthropic
import pytest
from clients.anthropic import shapes
from loopback import Loopback, Reply, json_reply

import trisignal
from trisignal import _context, testing

pytestmark = pytest.mark.instruments("anthropic")

MESSAGES: list[Any] = shapes.CHAT["messages"]
BATCH: dict[str, Any] = {
    "id": "msgbatch_01Loop",
    "type": "message_batch",
    "processing_status": "ended",
    "request_counts": {"processing": 0, "succeeded": 2, "errored": 0, "canceled": 0, "expired": 0},
    "created_at": "2026-01-01T00:00:00Z",
    "expires_at": "2026-01-02T00:00:00Z",
    "ended_at": "2026-01-01T01:00:00Z",
    "archived_at": None,
    "cancel_initiated_at": None,
    "results_url": None,
}
needs_beta = pytest.mark.skipif(not hasattr(anthropic, "beta_tool"), reason="this version has no tool runner")
needs_middleware = pytest.mark.skipif(not hasattr(anthropic.Anthropic, "with_middleware"), reason="no middleware")


@pytest.fixture
def client(server: Loopback) -> anthropic.Anthropic:
    """A client of that provider."""
    return anthropic.Anthropic(api_key="sk-ant-loopback", base_url=server.url, max_retries=2)


def answer(text: str = "Yes.", **more: object) -> Reply:
    """A complete message."""
    return json_reply(shapes.message(text, **more), headers=shapes.HEADERS)


def attributes(seen: testing.Seen) -> dict[str, Any]:
    """Of the one span there is."""
    return dict(seen.span.attributes or {})


# --- tokens ---------------------------------------------------------------------------


def test_cache_writes_are_priced_by_their_lifetime(
    seen: testing.Seen, server: Loopback, client: anthropic.Anthropic
) -> None:
    """Fresh, read, five-minute and one-hour tokens each have their price, and their sum is the input."""
    server.play(answer())
    client.messages.create(**shapes.CHAT)
    told = attributes(seen)
    assert told["gen_ai.usage.input_tokens"] == 12 + 4 + 3 + 2
    assert told["gen_ai.usage.cache_read.input_tokens"] == 4
    assert told["gen_ai.usage.cache_write.input_tokens"] == 5
    dollars = 3e-6 * (12 + 0.1 * 4 + 1.25 * 3 + 2 * 2)
    assert told["llm.cost.input_usd"] == pytest.approx(dollars)
    assert told["llm.cost.output_usd"] == pytest.approx(15e-6 * 9)


def test_thinking_is_part_of_the_output(seen: testing.Seen, server: Loopback, client: anthropic.Anthropic) -> None:
    """A streamed thought is a token but no answer, and its count is told apart."""
    thought = {"type": "thinking", "thinking": "", "signature": ""}
    usage = {"output_tokens": 40, "output_tokens_details": {"thinking_tokens": 31}}
    server.play(
        shapes.streamed(
            shapes.START,
            shapes.event("content_block_start", index=0, content_block=thought),
            shapes.event("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "Hm."}),
            shapes.event("content_block_stop", index=0),
            shapes.event("message_delta", delta={"stop_reason": "pause_turn", "stop_sequence": None}, usage=usage),
            shapes.event("message_stop"),
        )
    )
    extra = {"thinking": {"type": "enabled", "budget_tokens": 64}}
    list(client.messages.create(**shapes.STREAM, extra_body=extra))
    told = attributes(seen)
    assert told["gen_ai.usage.output_tokens"] == 40
    assert told["gen_ai.usage.reasoning.output_tokens"] == 31
    assert told["gen_ai.response.finish_reasons"] == ("pause_turn",)
    assert told["anthropic.thinking.budget_tokens"] == 64
    assert "llm.time_to_first_token_s" in told
    assert "llm.time_to_first_answer_s" not in told


@pytest.mark.parametrize("reason", ["refusal", "pause_turn", "max_tokens", "tool_use"])
def test_any_stop_reason_is_an_answer(
    reason: str, seen: testing.Seen, server: Loopback, client: anthropic.Anthropic
) -> None:
    """A refusal is not an error: the call is ok, and its reason is told."""
    server.play(answer(stop_reason=reason))
    client.messages.create(**shapes.CHAT)
    assert attributes(seen)["gen_ai.response.finish_reasons"] == (reason,)
    assert seen.value("llm_requests_total", llm_outcome="ok") == 1


def test_headroom_is_told(seen: testing.Seen, server: Loopback, client: anthropic.Anthropic) -> None:
    """Rate limit headers become gauges, and the id of the request is on span and line."""
    headers = {
        **shapes.HEADERS,
        "anthropic-ratelimit-requests-limit": "50",
        "anthropic-ratelimit-requests-remaining": "49",
        "anthropic-ratelimit-input-tokens-remaining": "30000",
        "anthropic-ratelimit-input-tokens-reset": "2026-01-01T00:00:00Z",
    }
    server.play(json_reply(shapes.message("Yes."), headers=headers))
    client.messages.create(**shapes.CHAT)
    assert seen.value("llm_ratelimit_remaining", resource="requests") == 49
    assert seen.value("llm_ratelimit_limit", resource="requests") == 50
    assert seen.value("llm_ratelimit_remaining", resource="input_tokens") == 30000
    assert attributes(seen)["anthropic.request.id"] == "req_011Loop0001"
    assert seen.logs[0]["llm.response.request_id"] == "req_011Loop0001"


@pytest.mark.parametrize(
    ("status", "type_", "kind"),
    [
        (401, "authentication_error", "auth"),
        (404, "not_found_error", "invalid_request"),
        (413, "request_too_large", "invalid_request"),
        (429, "rate_limit_error", "rate_limit"),
        (500, "api_error", "server"),
        (529, "overloaded_error", "overloaded"),
    ],
)
def test_errors_have_anthropics_type(
    status: int, type_: str, kind: str, seen: testing.Seen, server: Loopback, client: anthropic.Anthropic
) -> None:
    """``error.type`` is the provider's own word, whatever the client's class for it."""
    server.play(json_reply({"type": "error", "error": {"type": type_, "message": "No."}}, status=status))
    with pytest.raises(anthropic.APIStatusError):
        client.with_options(max_retries=0).messages.create(**shapes.CHAT)
    assert attributes(seen)["error.type"] == type_
    assert attributes(seen)["llm.error_kind"] == kind


@pytest.mark.parametrize(("type_", "kind"), [("overloaded_error", "overloaded"), ("api_error", "server")])
def test_errors_in_a_stream_do_too(
    type_: str, kind: str, seen: testing.Seen, server: Loopback, client: anthropic.Anthropic
) -> None:
    """An error event has the status of a good response, so its type decides."""
    server.play(shapes.streamed(*shapes.HEAD, shapes.event("error", error={"type": type_, "message": "No."})))
    with pytest.raises(anthropic.APIStatusError):
        list(client.messages.create(**shapes.STREAM))
    assert attributes(seen)["error.type"] == type_
    assert attributes(seen)["llm.error_kind"] == kind
    assert attributes(seen)["llm.usage.partial"] is True


def test_a_retry_inside_of_an_except_block_keeps_its_kind(
    seen: testing.Seen, server: Loopback, client: anthropic.Anthropic
) -> None:
    """What the application is handling meanwhile is not why the client tries again."""
    server.play(json_reply({}, status=529, headers={"retry-after-ms": "1"}), answer())
    try:
        raise ValueError("the application's own")
    except ValueError:
        client.messages.create(**shapes.CHAT)
    assert seen.value("llm_retries_total", llm_error_kind="overloaded") == 1


# --- calls that are not an inference ------------------------------------------------------


@pytest.mark.skipif(not hasattr(anthropic.resources.Messages, "count_tokens"), reason="beta only in this version")
def test_counting_tokens_counts_none(seen: testing.Seen, server: Loopback, client: anthropic.Anthropic) -> None:
    """A token count is timed under its own operation: it is not a request, and its tokens are nobody's usage."""
    server.play(json_reply({"input_tokens": 14}, headers=shapes.HEADERS))
    assert client.messages.count_tokens(model=shapes.MODEL, messages=MESSAGES).input_tokens == 14
    assert seen.span.name == f"count_tokens {shapes.MODEL}"
    assert attributes(seen)["anthropic.message.count_tokens.input_tokens"] == 14
    duration = "gen_ai_client_operation_duration_seconds_count"
    assert seen.value(duration, gen_ai_operation_name="count_tokens") == 1
    for absent in ("llm_requests_total", "gen_ai_client_token_usage_count", "llm_usage_missing_total"):
        assert seen.value(absent) == 0


@pytest.mark.parametrize("verb", ["create", "retrieve", "list", "cancel", "delete"])
def test_batch_calls_are_timed(verb: str, seen: testing.Seen, server: Loopback, client: anthropic.Anthropic) -> None:
    """Each call about a batch has an operation of its own and counts no request."""
    batches: Any = client.beta.messages.batches
    arguments: dict[str, Any] = {"message_batch_id": "msgbatch_01Loop"}
    reply: dict[str, Any] = BATCH
    if verb == "create":
        arguments = {"requests": [{"custom_id": "a", "params": shapes.CHAT}] * 2}
    elif verb == "list":
        arguments, reply = {"limit": 1}, {"data": [BATCH], "has_more": False, "first_id": None, "last_id": None}
    elif verb == "delete":
        reply = {"id": "msgbatch_01Loop", "type": "message_batch_deleted"}
    if not hasattr(batches, verb):
        pytest.skip("this version has no such call")
    server.play(json_reply(reply, headers=shapes.HEADERS))
    getattr(batches, verb)(**arguments)
    told = attributes(seen)
    assert seen.span.name == f"batch_{verb}"
    assert told.get("anthropic.message.batch.id") == (None if verb == "list" else "msgbatch_01Loop")
    assert told.get("anthropic.message.batch.request_count") == (2 if verb == "create" else None)
    assert seen.value("llm_requests_total") == 0
    assert seen.value("gen_ai_client_operation_duration_seconds_count") == 1


@pytest.mark.parametrize(("read", "outcome"), [(2, "ok"), (1, "abandoned")])
def test_batch_results_are_timed_until_read(
    read: int, outcome: str, seen: testing.Seen, server: Loopback, client: anthropic.Anthropic
) -> None:
    """Results come line by line: the call ends with the last one, and each of them is counted without latency."""
    result = {"type": "succeeded", "message": shapes.message("Yes.")}
    lines = [json.dumps({"custom_id": key, "result": result}).encode() + b"\n" for key in "ab"]
    batch = {**BATCH, "results_url": f"{server.url}/v1/messages/batches/msgbatch_01Loop/results"}
    # Early versions ask for the batch, to learn the address of its results.
    server.handle(
        lambda request: (
            Reply(headers={"content-type": "application/x-jsonl"}, body=lines)
            if request.path.partition("?")[0].endswith("/results")
            else json_reply(batch)
        )
    )
    results = client.beta.messages.batches.results("msgbatch_01Loop")
    found = [next(results) for _ in range(read)]
    if read == len(lines):
        assert list(results) == []
    assert [one.result.type for one in found] == ["succeeded"] * read
    del results, found
    gc.collect()
    span = seen.spans[-1]
    assert span.name == "batch_results"
    assert (span.attributes or {}).get("llm.outcome", "ok") == outcome
    assert "gen_ai.request.stream" not in (span.attributes or {})
    # Both lines may have come in one piece.
    assert read <= seen.value("llm_requests_total") <= len(lines)
    latency = "gen_ai_client_operation_duration_seconds_count"
    assert seen.value(latency, gen_ai_operation_name="chat") == 0


def test_what_calls_no_model_is_left_alone(seen: testing.Seen, server: Loopback, client: anthropic.Anthropic) -> None:
    """Lists of models and unknown paths give neither span nor count."""
    server.play(json_reply({"data": [], "has_more": False}), json_reply({}))
    client.get("/v1/models", cast_to=object)
    client.post("/v1/elsewhere", body={"model": shapes.MODEL}, cast_to=object)
    assert seen.spans == []
    assert seen.logs == []


# --- legacy completions, tools, middleware --------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
def test_legacy_completions(stream: bool, seen: testing.Seen, server: Loopback, client: anthropic.Anthropic) -> None:
    """A text completion has no usage to tell, which is counted as missing."""
    told = {"type": "completion", "id": "compl_1", "completion": " Hi", "stop_reason": "stop_sequence", "model": "c"}
    server.play(shapes.streamed({"event:": "completion", **told}) if stream else json_reply(told))
    body = {"model": "claude-2.1", "prompt": "Hello", "max_tokens_to_sample": 5, "stream": stream}
    got: Any = client.post(
        "/v1/complete", body=body, cast_to=object, stream=stream, stream_cls=anthropic.Stream[object]
    )
    list(got)
    assert seen.span.name == "text_completion claude-2.1"
    assert attributes(seen)["gen_ai.response.finish_reasons"] == ("stop_sequence",)
    assert seen.value("llm_usage_missing_total") == 1


@needs_beta
def test_each_turn_of_the_tool_runner_is_a_call(
    seen: testing.Seen, server: Loopback, client: anthropic.Anthropic
) -> None:
    """The model's turns are calls of their own, and tools run between them, not inside."""
    inside: list[str] = []

    @anthropic.beta_tool
    def weather(city: str) -> str:
        """Tell the weather.

        Args:
            city: Where.
        """
        current = _context.current.get()
        inside.append(current.operation if current else "")
        return f"Sunny in {city}"

    wish = {"type": "tool_use", "id": "toolu_01", "name": "weather", "input": {"city": "Lisbon"}}
    server.play(answer(content=[wish], stop_reason="tool_use"), answer("Sunny."))
    with trisignal.agent("planner"):
        last = client.beta.messages.tool_runner(**shapes.CHAT, tools=[weather]).until_done()
    assert last.content[0].type == "text"
    assert inside == ["invoke_agent"]
    assert [span.name for span in seen.spans] == [f"chat {shapes.MODEL}"] * 2 + ["invoke_agent planner"]
    assert seen.value("llm_requests_total") == 2
    assert seen.value("gen_ai_client_token_usage_sum", gen_ai_token_type="input") == 2 * shapes.INPUT


@needs_beta
def test_spans_of_the_tool_runner_stay_around_ours(server: Loopback) -> None:
    """The client's own spans of runner and tools are not inferences: they stay, in one trace with ours."""
    base = anthropic._base_client.BaseClient
    if not hasattr(base, "_tracer"):
        pytest.skip("this version makes no spans of its own")

    @anthropic.beta_tool
    def weather(city: str) -> str:
        """Tell the weather.

        Args:
            city: Where.
        """
        return f"Sunny in {city}"

    wish = {"type": "tool_use", "id": "toolu_01", "name": "weather", "input": {"city": "Lisbon"}}
    server.play(answer(content=[wish], stop_reason="tool_use"), answer("Sunny."))
    with testing.capture() as seen:
        trisignal.instrument("anthropic")
        options: Any = {"tracer_provider": seen.telemetry.tracer_provider}
        client = anthropic.Anthropic(api_key="k", base_url=server.url, open_telemetry=options)
        client.beta.messages.tool_runner(**shapes.CHAT, tools=[weather]).until_done()
        trisignal.uninstrument()
    runner = next(span for span in seen.spans if span.name == "anthropic.messages.tool_runner")
    others = [span for span in seen.spans if span is not runner]
    assert sorted(span.name for span in others) == [
        "anthropic.custom_tool_use weather",
        *[f"chat {shapes.MODEL}"] * 2,
    ]
    assert {span.parent and span.parent.span_id for span in others} == {runner.get_span_context().span_id}
    assert seen.value("llm_requests_total") == 2


@needs_middleware
def test_a_streamed_call_that_a_middleware_sees_fail_first(
    seen: testing.Seen, server: Loopback, client: anthropic.Anthropic
) -> None:
    """A middleware gets failed attempts as responses: they are retries, and the last one is the call."""
    overloaded = json_reply({}, status=529, headers={"retry-after-ms": "1"})
    server.play(overloaded, shapes.streamed(*shapes.EVENTS))
    statuses: list[int] = []

    def note(request: Any, go_on: Any) -> Any:
        response = go_on(request)
        statuses.append(response.status_code)
        return response

    events = []
    with client.with_options(middleware=[note]).messages.stream(**shapes.CHAT) as stream:
        for event in stream:
            gc.collect()
            trisignal.summary()
            events.append(event)
    assert statuses == [529, 200]
    assert attributes(seen)["gen_ai.usage.output_tokens"] == 9
    assert attributes(seen)["llm.retries"] == 1
    assert seen.value("llm_requests_total", llm_outcome="ok") == 1


def test_content_is_captured_on_demand(server: Loopback, client: anthropic.Anthropic) -> None:
    """With capture on, the streamed reply is on the span in the conventions' structure."""
    server.play(shapes.streamed(*shapes.EVENTS))
    with testing.capture(capture_content=True) as seen:
        trisignal.instrument("anthropic")
        with client.messages.stream(**shapes.CHAT, system="Be brief.") as stream:
            stream.until_done()
        trisignal.uninstrument()
    told = dict(seen.span.attributes or {})
    assert json.loads(told["gen_ai.output.messages"])[0]["parts"] == [
        {"type": "text", "content": "Three days in Alfama."}
    ]
    assert json.loads(told["gen_ai.system_instructions"]) == [{"type": "text", "content": "Be brief."}]


# --- who answers ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/invoke", "us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ("/model/anthropic.claude-v2/invoke-with-response-stream", "anthropic.claude-v2"),
        ("/projects/p/locations/l/publishers/anthropic/models/claude-sonnet-4-5@20250929:rawPredict",
         "claude-sonnet-4-5@20250929"),
        ("/projects/p/locations/l/publishers/anthropic/models/claude-opus-4:streamRawPredict", "claude-opus-4"),
    ],
)  # fmt: skip
def test_the_model_may_be_in_the_path(
    path: str, model: str, seen: testing.Seen, server: Loopback, client: anthropic.Anthropic
) -> None:
    """Paths of the platforms that an application posts to by itself name the model."""
    server.play(answer())
    client.post(path, body={"messages": MESSAGES, "max_tokens": 5}, cast_to=object)
    assert seen.span.name == f"chat {model}"
    assert attributes(seen)["gen_ai.usage.input_tokens"] == shapes.INPUT


@pytest.mark.parametrize(
    ("name", "options", "provider", "host"),
    [
        ("Anthropic", {"api_key": "k"}, "anthropic", "api.anthropic.com"),
        ("AnthropicBedrock", shapes.AWS, "aws.bedrock", "bedrock-runtime.us-west-2.amazonaws.com"),
        ("AnthropicBedrockMantle", shapes.AWS, "aws.bedrock", "bedrock-mantle.us-west-2.api.aws"),
        ("AnthropicAWS", {**shapes.AWS, "workspace_id": "w"}, "anthropic",
         "aws-external-anthropic.us-west-2.api.aws"),
        ("AnthropicFoundry", {"api_key": "k", "resource": "r"}, "azure.ai.inference", "r.services.ai.azure.com"),
        ("AnthropicFoundry", {"api_key": "k", "base_url": "http://gateway.test"}, "azure.ai.inference",
         "gateway.test"),
        ("AnthropicVertex", {"access_token": "t", "project_id": "p", "region": "us-east5"}, "gcp.vertex_ai",
         "us-east5-aiplatform.googleapis.com"),
        ("AnthropicVertex", {"access_token": "t", "project_id": "p", "region": "eu"}, "gcp.vertex_ai",
         "aiplatform.eu.rep.googleapis.com"),
        ("AnthropicVertex", {"access_token": "t", "project_id": "p", "region": "r",
                             "base_url": "http://gateway.test"}, "gcp.vertex_ai", "gateway.test"),
        ("AnthropicBedrock", {**shapes.AWS, "base_url": "https://api.anthropic.com"}, "anthropic",
         "api.anthropic.com"),
    ],
)  # fmt: skip
def test_who_answers(name: str, options: dict[str, Any], provider: str, host: str, seen: testing.Seen) -> None:
    """The host tells who bills; where it tells nothing, the class of the client does."""
    httpx2 = pytest.importorskip("httpx2")
    cls = getattr(anthropic, name, None)
    if cls is None:
        pytest.skip("this version has no such client")
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, json=shapes.message("Yes.")))
    try:
        client = cls(**options, http_client=httpx2.Client(transport=transport))
    except TypeError:
        pytest.skip("this version is built on another HTTP package")
    client.messages.create(**shapes.CHAT)
    told = attributes(seen)
    assert (told["gen_ai.provider.name"], told["server.address"]) == (provider, host)
    assert told["gen_ai.request.model"] == shapes.MODEL
