"""What every scenario runs in: a provider on this machine, the host's tracer provider, trisignal on top.

A scenario is a script, run by the interpreter of an environment that holds the packages it is
about. It makes its calls between `begin` and `Scene.report`, which prints what was sent and
what was counted as one line of JSON.
"""

from __future__ import annotations

import json
from typing import Any

from loopback import Loopback, Recorded, Reply, json_reply, sse
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

import trisignal

MODEL = "gpt-4o-mini"
CLAUDE = "claude-3-5-haiku-20241022"
FAILS_EVERY = 3
"""Every third request is first answered with a failure that clients retry."""
INPUT, OUTPUT = 100, 7
"""Tokens of the first reply; each further one has one more of both, so that no two are alike."""


class Provider:
    """Speaks OpenAI's and Anthropic's protocols; knows what it sent."""

    def __init__(self, *, failing: bool) -> None:
        self.calls = self.input_tokens = self.output_tokens = self.failures = 0
        self._failing = failing
        self._asked = 0
        self.server = Loopback()
        self.server.handle(self._answer)

    def _answer(self, request: Recorded) -> Reply:
        if request.method != "POST":
            return json_reply({"data": []})
        self._asked += 1
        if self._failing and self._asked % FAILS_EVERY == 0:
            self.failures += 1
            error = {"error": {"message": "try again", "type": "server_error"}}
            return json_reply(error, status=500, headers={"retry-after-ms": "1", "retry-after": "0"})
        self.calls += 1
        read, written = INPUT + self.calls, OUTPUT + self.calls
        self.input_tokens += read
        body = request.json()
        if "/embeddings" in request.path:
            return json_reply(_embedding(read, body))
        self.output_tokens += written
        if "/messages" in request.path:
            return _claude(read, written, body)
        if "/responses" in request.path:
            return json_reply(_response(read, written, body))
        return _chat(read, written, body)


def _wants_tool(body: dict[str, Any]) -> str:
    """Name of the tool to call: the first one, until its result is in the conversation."""
    given = body.get("messages") or body.get("input") or []
    if not isinstance(given, list) or any(_is_result(message) for message in given):
        return ""
    for tool in body.get("tools") or []:
        return str(tool.get("name") or tool.get("function", {}).get("name"))
    return ""


def _is_result(message: dict[str, Any]) -> bool:
    parts = message.get("content")
    inside = isinstance(parts, list) and any(part.get("type") == "tool_result" for part in parts)
    return inside or message.get("role") == "tool" or message.get("type") == "function_call_output"


def _chat(read: int, written: int, body: dict[str, Any]) -> Reply:
    usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
    head = {"id": f"chatcmpl-{read}", "created": 1760000000, "model": body["model"]}
    message: dict[str, Any] = {"role": "assistant", "content": "Three days."}
    finish = "stop"
    tool = _wants_tool(body)
    if tool:
        function = {"name": tool, "arguments": '{"city": "Lisbon"}'}
        message = {"role": "assistant", "content": None}
        message["tool_calls"] = [{"index": 0, "id": f"call_{read}", "type": "function", "function": function}]
        finish = "tool_calls"
    if not body.get("stream"):
        choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
        return json_reply({**head, "object": "chat.completion", "choices": [choice], "usage": usage})
    head["object"] = "chat.completion.chunk"
    told = {"index": 0, "delta": message, "finish_reason": None}
    last = {"index": 0, "delta": {}, "finish_reason": finish}
    chunks = [{**head, "choices": [told]}, {**head, "choices": [last]}, {**head, "choices": [], "usage": usage}]
    return Reply(body=sse(*chunks))


def _response(read: int, written: int, body: dict[str, Any]) -> dict[str, Any]:
    tool = _wants_tool(body)
    part = {"type": "output_text", "text": "Three days.", "annotations": []}
    output: dict[str, Any] = {"type": "message", "id": f"msg_{read}", "status": "completed", "role": "assistant"}
    output["content"] = [part]
    if tool:
        output = {"type": "function_call", "id": f"fc_{read}", "call_id": f"call_{read}", "name": tool}
        output |= {"arguments": '{"city": "Lisbon"}', "status": "completed"}
    usage = {"input_tokens": read, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": written}
    usage |= {"output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": read + written}
    return {
        "id": f"resp_{read}", "object": "response", "created_at": 1760000000, "status": "completed",
        "model": body["model"], "output": [output], "usage": usage, "parallel_tool_calls": True,
        "tool_choice": "auto", "tools": [],
    }  # fmt: skip


def _claude(read: int, written: int, body: dict[str, Any]) -> Reply:
    tool = _wants_tool(body)
    part: dict[str, Any] = {"type": "text", "text": "Three days."}
    if tool:
        part = {"type": "tool_use", "id": f"toolu_{read}", "name": tool, "input": {"city": "Lisbon"}}
    usage = {"input_tokens": read, "output_tokens": written, "service_tier": "standard"}
    message: dict[str, Any] = {"id": f"msg_{read}", "type": "message", "role": "assistant", "model": body["model"]}
    message |= {"content": [part], "stop_reason": "tool_use" if tool else "end_turn", "usage": usage}
    headers = {"request-id": f"req_{read}"}
    if not body.get("stream"):
        return json_reply(message, headers=headers)
    started = {**message, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    delta = {"type": "text_delta", "text": "Three days."}
    events = [
        {"event:": "message_start", "type": "message_start", "message": started},
        {
            "event:": "content_block_start",
            "type": "content_block_start",
            "index": 0,
            "content_block": {**part, "text": ""},
        },
        {"event:": "content_block_delta", "type": "content_block_delta", "index": 0, "delta": delta},
        {"event:": "content_block_stop", "type": "content_block_stop", "index": 0},
        {"event:": "message_delta", "type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage},
        {"event:": "message_stop", "type": "message_stop"},
    ]
    return Reply(headers=headers, body=sse(*events, done=False))


def _embedding(read: int, body: dict[str, Any]) -> dict[str, Any]:
    inputs = body["input"] if isinstance(body["input"], list) else [body["input"]]
    data = [{"object": "embedding", "index": at, "embedding": [0.25, -0.5, 1.0]} for at in range(len(inputs))]
    usage = {"prompt_tokens": read, "total_tokens": read}
    return {"object": "list", "model": body["model"], "data": data, "usage": usage}


class Scene:
    """A running scenario."""

    def __init__(self, *, failing: bool) -> None:
        self.provider = Provider(failing=failing)
        self.url = self.provider.server.url
        self.tracer_provider = TracerProvider()
        self._kept = InMemorySpanExporter()
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._kept))
        trace.set_tracer_provider(self.tracer_provider)
        self._registry = CollectorRegistry()
        self._telemetry = trisignal.setup(service_name="coexistence", registry=self._registry)
        trisignal.instrument()

    def _sum(self, metric: str, **labels: str) -> float:
        samples = (sample for family in self._registry.collect() for sample in family.samples)
        return sum(s.value for s in samples if s.name == metric and labels.items() <= s.labels.items())

    def _spans(self) -> list[dict[str, Any]]:
        told = []
        for span in self._kept.get_finished_spans():
            attributes = dict(span.attributes or {})
            names = (
                "gen_ai.operation.name",
                "gen_ai.conversation.id",
                "gen_ai.agent.name",
                "gen_ai.usage.input_tokens",
            )
            ids = span.get_span_context()
            scope = span.instrumentation_scope
            told.append(
                {
                    "name": span.name,
                    "scope": scope.name if scope else "",
                    "trace": f"{ids.trace_id:032x}" if ids else "",
                    "id": f"{ids.span_id:016x}" if ids else "",
                    "parent": f"{span.parent.span_id:016x}" if span.parent else "",
                    **{name: attributes[name] for name in names if name in attributes},
                }
            )
        return told

    def report(self, **more: Any) -> None:
        """Print what was sent and what was counted.

        Args:
            **more: What else the scenario has to tell.
        """
        self._telemetry.force_flush()
        tokens = "gen_ai_client_token_usage_sum"
        sent = self.provider
        report = {
            "sent": {"calls": sent.calls, "input": sent.input_tokens, "output": sent.output_tokens},
            "counted": {
                "calls": int(self._sum("llm_requests_total", llm_outcome="ok")),
                "input": int(self._sum(tokens, gen_ai_token_type="input")),
                "output": int(self._sum(tokens, gen_ai_token_type="output")),
            },
            "failures_sent": sent.failures,
            "all_requests": int(self._sum("llm_requests_total")),
            "retries": int(self._sum("llm_retries_total")),
            "usage_missing": int(self._sum("llm_usage_missing_total")),
            "internal_errors": int(self._sum("trisignal_internal_errors_total")),
            "cost_usd": self._sum("llm_cost_usd_total"),
            "active": self._sum("llm_active_requests"),
            "agents": int(self._sum("gen_ai_invoke_agent_duration_seconds_count")),
            "tools": int(self._sum("gen_ai_execute_tool_duration_seconds_count")),
            "workflows": int(self._sum("gen_ai_invoke_workflow_duration_seconds_count")),
            "spans": self._spans(),
            **more,
        }
        self._telemetry.shutdown()
        self.provider.server.close()
        print("REPORT " + json.dumps(report))


def begin(*, failing: bool = True) -> Scene:
    """Start the provider and switch trisignal on.

    Args:
        failing: Whether every third request is first answered with a failure.
    """
    return Scene(failing=failing)
