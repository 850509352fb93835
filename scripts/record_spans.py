"""Records the spans that other instrumentations make of one known set of calls.

Each emitter runs in a process of its own, with its packages installed, against a server on this
machine whose token counts are known. What is written is test data of our own making:

    python scripts/record_spans.py EMITTER tests/fixtures/spans/EMITTER.json

Emitters and the packages that they need are named in `EMITTERS`.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from loopback import Loopback, Recorded, Reply, json_reply, sse
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

os.environ["OPENAI_API_KEY"] = os.environ["ANTHROPIC_API_KEY"] = "none"
os.environ["OPENAI_AGENTS_DISABLE_TRACING"] = "0"

EXPORTER = InMemorySpanExporter()
CHAT_USAGE = {
    "prompt_tokens": 120, "completion_tokens": 30, "total_tokens": 150,
    "prompt_tokens_details": {"cached_tokens": 64, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 12, "audio_tokens": 0},
}  # fmt: skip
RESPONSES_USAGE = {
    "input_tokens": 120, "output_tokens": 30, "total_tokens": 150,
    "input_tokens_details": {"cached_tokens": 64, "cache_write_tokens": 0},
    "output_tokens_details": {"reasoning_tokens": 12},
}  # fmt: skip
MESSAGES_USAGE = {
    "input_tokens": 40, "output_tokens": 30, "cache_read_input_tokens": 64, "cache_creation_input_tokens": 16,
    "service_tier": "standard",
}  # fmt: skip
TOLD = {"input": 120, "output": 30, "cache_read": 64}
"""What every reply of the server amounts to, as inclusive totals; Anthropic's also has 16 cache writes."""
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def answer(request: Recorded) -> Reply:
    """The reply to one request; a first turn with tools gets a tool call."""
    path, asked = request.path.partition("?")[0], request.json()
    if asked.get("model") == "limited":
        told = {"message": "slow down", "type": "rate_limit_error", "code": "rate_limit_exceeded"}
        return json_reply({"type": "error", "error": told}, status=429, headers={"x-request-id": "req_429"})
    if path.endswith("/chat/completions"):
        return _stream(asked) if asked.get("stream") else json_reply(_chat(asked), headers={"x-request-id": "req_1"})
    if path.endswith("/responses"):
        return json_reply(_response(asked), headers={"x-request-id": "req_1"})
    if path.endswith("/embeddings"):
        data = [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2, 0.3]}]
        usage = {"prompt_tokens": 8, "total_tokens": 8}
        return json_reply({"object": "list", "data": data, "model": "text-embedding-3-small", "usage": usage})
    return _messages(asked)


def _chat(asked: dict[str, Any]) -> dict[str, Any]:
    head = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": f"{asked['model']}-2025",
    }
    message: dict[str, Any] = {"role": "assistant", "content": "It is sunny."}
    reason = "stop"
    if asked.get("tools") and asked["messages"][-1]["role"] != "tool":
        function = {"name": asked["tools"][0]["function"]["name"], "arguments": '{"city": "Rome"}'}
        message = {"role": "assistant", "content": None}
        message["tool_calls"] = [{"id": "call_1", "type": "function", "function": function}]
        reason = "tool_calls"
    choice = {"index": 0, "message": message, "finish_reason": reason}
    return {**head, "choices": [choice], "usage": CHAT_USAGE, "service_tier": "default", "system_fingerprint": "fp_1"}


def _stream(asked: dict[str, Any]) -> Reply:
    head = {"id": "chatcmpl-2", "object": "chat.completion.chunk", "created": 1_700_000_000}
    head["model"] = f"{asked['model']}-2025"

    def event(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        return {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}

    events = [event({"role": "assistant", "content": ""}), event({"content": "It is "}), event({"content": "sunny."})]
    events.append(event({}, "stop"))
    events.append({**head, "choices": [], "usage": CHAT_USAGE})
    return Reply(headers={"content-type": "text/event-stream"}, body=sse(*events))


def _response(asked: dict[str, Any]) -> dict[str, Any]:
    done = any(isinstance(item, dict) and item.get("type") == "function_call_output" for item in asked["input"])
    output: list[dict[str, Any]]
    if asked.get("tools") and not done:
        call = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "status": "completed"}
        output = [{**call, "name": asked["tools"][0]["name"], "arguments": '{"city": "Rome"}'}]
    else:
        part = {"type": "output_text", "text": "It is sunny.", "annotations": []}
        output = [{"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]}]
    return {
        "id": "resp_1", "object": "response", "created_at": 1_700_000_000, "model": f"{asked['model']}-2025",
        "status": "completed", "output": output, "usage": RESPONSES_USAGE, "parallel_tool_calls": True,
        "tool_choice": "auto", "tools": asked.get("tools") or [], "error": None, "incomplete_details": None,
        "instructions": None, "metadata": {}, "temperature": 1.0, "top_p": 1.0,
    }  # fmt: skip


def _messages(asked: dict[str, Any]) -> Reply:
    content: list[dict[str, Any]] = [{"type": "text", "text": "It is sunny."}]
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": asked["model"]}
    if asked.get("stream"):
        begun = {**head, "content": [], "stop_reason": None, "stop_sequence": None}
        begun["usage"] = {**MESSAGES_USAGE, "output_tokens": 1}
        events = [
            {"type": "message_start", "message": begun},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "It is sunny."}},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 30}},
            {"type": "message_stop"},
        ]
        body = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events]
        return Reply(headers={"content-type": "text/event-stream"}, body=body)
    body = {**head, "content": content, "stop_reason": "end_turn", "stop_sequence": None, "usage": MESSAGES_USAGE}
    return json_reply(body, headers={"request-id": "req_1"})


# --- calls ---------------------------------------------------------------------------


def openai_calls(url: str) -> None:
    """One chat, one stream, one response, one embedding, one refusal."""
    import openai

    client = openai.OpenAI(base_url=url, max_retries=0)
    messages: Any = [{"role": "user", "content": "Weather in Rome?"}]
    client.chat.completions.create(
        model="gpt-4o-mini",
        messages=messages,
        temperature=0.2,
        top_p=0.9,
        max_tokens=50,
        seed=7,
        tools=[TOOL],  # type: ignore[list-item]
    )
    for _ in client.chat.completions.create(
        model="gpt-4o-mini", messages=messages, stream=True, stream_options={"include_usage": True}
    ):
        pass
    client.responses.create(model="gpt-4o-mini", input=messages)
    client.embeddings.create(model="text-embedding-3-small", input=["Rome"])
    try:
        client.chat.completions.create(model="limited", messages=messages)
    except openai.RateLimitError:
        pass


def anthropic_calls(url: str) -> None:
    """One message, one stream, one refusal."""
    import anthropic

    client = anthropic.Anthropic(base_url=url.removesuffix("/v1"), max_retries=0)
    asked: Any = {"model": "claude-sonnet-4-5", "max_tokens": 50}
    asked["messages"] = [{"role": "user", "content": "Weather in Rome?"}]
    client.messages.create(**asked)
    for _ in client.messages.create(**asked, stream=True):
        pass
    try:
        client.messages.create(**{**asked, "model": "limited"})
    except anthropic.RateLimitError:
        pass


# --- emitters ------------------------------------------------------------------------


def openllmetry_openai(provider: TracerProvider, url: str) -> None:
    """OpenLLMetry's instrumentation of openai."""
    from opentelemetry.instrumentation.openai import OpenAIInstrumentor

    OpenAIInstrumentor().instrument(tracer_provider=provider)
    openai_calls(url)


def openllmetry_anthropic(provider: TracerProvider, url: str) -> None:
    """OpenLLMetry's instrumentation of anthropic."""
    from opentelemetry.instrumentation.anthropic import AnthropicInstrumentor

    AnthropicInstrumentor().instrument(tracer_provider=provider)
    anthropic_calls(url)


def openinference_openai(provider: TracerProvider, url: str) -> None:
    """OpenInference's instrumentation of openai."""
    from openinference.instrumentation.openai import OpenAIInstrumentor

    OpenAIInstrumentor().instrument(tracer_provider=provider)
    openai_calls(url)


def openinference_anthropic(provider: TracerProvider, url: str) -> None:
    """OpenInference's instrumentation of anthropic."""
    from openinference.instrumentation.anthropic import AnthropicInstrumentor

    AnthropicInstrumentor().instrument(tracer_provider=provider)
    anthropic_calls(url)


def official_openai(provider: TracerProvider, url: str) -> None:
    """The instrumentation of openai by OpenTelemetry."""
    from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor

    OpenAIInstrumentor().instrument(tracer_provider=provider)
    openai_calls(url)


def anthropic_native(provider: TracerProvider, url: str) -> None:
    """Anthropic's own spans, made by late 1.x and 2.x whenever a tracer provider is set."""
    trace.set_tracer_provider(provider)
    anthropic_calls(url)


def logfire(provider: TracerProvider, url: str) -> None:
    """Logfire's instrumentation of openai and anthropic."""
    import logfire as package

    package.configure(send_to_logfire=False, console=False, additional_span_processors=[SimpleSpanProcessor(EXPORTER)])
    package.instrument_openai()
    package.instrument_anthropic()
    openai_calls(url)
    anthropic_calls(url)


def pydantic_ai(provider: TracerProvider, url: str) -> None:
    """pydantic-ai's own spans: an agent that calls a tool between two model turns."""
    from pydantic_ai import Agent
    from pydantic_ai.models.instrumented import InstrumentationSettings
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    Agent.instrument_all(InstrumentationSettings(tracer_provider=provider))
    model = OpenAIChatModel("gpt-4o-mini", provider=OpenAIProvider(base_url=url, api_key="none"))
    agent = Agent(model, name="forecaster", system_prompt="Be brief.")

    @agent.tool_plain
    def weather(city: str) -> str:
        return f"sunny in {city}"

    agent.run_sync("Weather in Rome?")


def _agents_run(url: str) -> None:
    import agents
    import openai

    agents.set_default_openai_client(openai.AsyncOpenAI(base_url=url, api_key="none"), use_for_tracing=False)

    @agents.function_tool
    def weather(city: str) -> str:
        """Weather of a city."""
        return f"sunny in {city}"

    agent = agents.Agent(name="forecaster", instructions="Be brief.", tools=[weather], model="gpt-4o-mini")
    agents.Runner.run_sync(agent, "Weather in Rome?", run_config=agents.RunConfig(group_id="conversation-1"))


def openinference_agents(provider: TracerProvider, url: str) -> None:
    """OpenInference's instrumentation of openai-agents."""
    from openinference.instrumentation.openai_agents import OpenAIAgentsInstrumentor

    OpenAIAgentsInstrumentor().instrument(tracer_provider=provider)
    _agents_run(url)


class Emitter(NamedTuple):
    """How to make the spans of one instrumentation."""

    run: Callable[[TracerProvider, str], None]
    packages: tuple[str, ...]


EMITTERS = {
    "openllmetry_openai": Emitter(openllmetry_openai, ("opentelemetry-instrumentation-openai", "openai")),
    "openllmetry_anthropic": Emitter(openllmetry_anthropic, ("opentelemetry-instrumentation-anthropic", "anthropic")),
    "openinference_openai": Emitter(openinference_openai, ("openinference-instrumentation-openai", "openai")),
    "openinference_anthropic": Emitter(
        openinference_anthropic, ("openinference-instrumentation-anthropic", "anthropic")
    ),
    "official_openai": Emitter(official_openai, ("opentelemetry-instrumentation-genai-openai", "openai")),
    "anthropic_native": Emitter(anthropic_native, ("anthropic",)),
    "logfire": Emitter(logfire, ("logfire", "openai", "anthropic")),
    "pydantic_ai": Emitter(pydantic_ai, ("pydantic-ai-slim", "openai")),
    "openinference_agents": Emitter(
        openinference_agents, ("openinference-instrumentation-openai-agents", "openai-agents", "openai")
    ),
}


def written(spans: tuple[ReadableSpan, ...]) -> list[dict[str, Any]]:
    """Spans in the order of their ends; ids count up from 1, times are nanoseconds since the first start."""
    numbers = {span.context.span_id: at + 1 for at, span in enumerate(spans) if span.context}
    traces = {span.context.trace_id: 0 for span in spans if span.context}
    traces = {trace_id: at + 1 for at, trace_id in enumerate(traces)}
    zero = min(span.start_time or 0 for span in spans)
    done = []
    for span in spans:
        assert span.context is not None
        assert span.instrumentation_scope is not None
        scope = span.instrumentation_scope
        events = [
            {"name": event.name, "attributes": dict(event.attributes or {}), "time": event.timestamp - zero}
            for event in span.events
        ]
        done.append(
            {
                "name": span.name,
                "trace": traces[span.context.trace_id],
                "id": numbers[span.context.span_id],
                "parent": numbers.get(span.parent.span_id) if span.parent else None,
                "kind": span.kind.name,
                "scope": scope.name,
                "start": (span.start_time or 0) - zero,
                "end": (span.end_time or 0) - zero,
                "status": span.status.status_code.name,
                "description": span.status.description,
                "attributes": dict(span.attributes or {}),
                "events": events,
            }
        )
    return done


def tidy(told: Any, url: str) -> Any:
    """The port of the server and folders of this machine say nothing."""
    text = json.dumps(told).replace(url.rpartition(":")[2].partition("/")[0], "8000")
    for folder, name in (
        (sys.prefix, "/venv"),
        (str(Path(__file__).parent.parent), "/project"),
        (str(Path.home()), "/home"),
    ):
        text = text.replace(folder, name)
    return json.loads(text)


def main(name: str, path: str) -> None:
    """Record one emitter into a file."""
    emitter = EMITTERS[name]
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(EXPORTER))
    with Loopback() as server:
        server.handle(answer)
        emitter.run(provider, f"{server.url}/v1")
        recorded = {
            "emitter": name,
            "versions": {package: importlib.metadata.version(package) for package in emitter.packages},
            "requests": [request.path for request in server.requests],
            "spans": tidy(written(EXPORTER.get_finished_spans()), server.url),
        }
    Path(path).write_text(json.dumps(recorded, indent=1, default=list) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
