"""Canaries: unique secrets planted in every input are in no byte that leaves."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from loopback import Loopback, Reply, sse
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

import trisignal
from trisignal.testing import Seen, capture

SECRETS = {
    "email": "canary.seven@secret-mail.org",
    "phone": "+49 30 90182077",
    "card": "4000056655665556",
    "iban": "DE89370400440532013000",
    "us_ssn": "078-05-1127",
    "ip": "203.0.113.77",
    "api_key": "sk-canary0123456789abcdefCANARY",
    "jwt": "eyJhbGciOiJub25lIn0.eyJjYW5hcnkiOiJ5ZXMifQ.c2lnbmF0dXJl",
    "private_key": "-----BEGIN PRIVATE KEY-----\nMIIcanaryKEYbody\n-----END PRIVATE KEY-----",
}
MARKS = [*[s for name, s in SECRETS.items() if name != "private_key"], "MIIcanaryKEYbody"]
ALL = "; ".join(SECRETS.values())
PROSE = "qvexandoriumblatheringskop"
"""A word that no detector knows: absent while content is off."""


def chat(content: str, **more: Any) -> dict[str, Any]:
    """A completion that says ``content``, asks for a tool call, and has secrets in its ids."""
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "f", "arguments": json.dumps({"a": f"{ALL} {PROSE}"})},
    }
    message = {"role": "assistant", "content": content, "tool_calls": [call]}
    return {
        "id": f"chatcmpl {SECRETS['email']}",
        "object": "chat.completion",
        "created": 1,
        "model": f"gpt-4o-mini {SECRETS['api_key']}",
        "system_fingerprint": SECRETS["email"],
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14},
        **more,
    }


def chunk(text: str, finish: str | None = None) -> dict[str, Any]:
    """A chunk of a stream."""
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-mini", "choices": [choice]}


class Outputs:
    """Everything that leaves, as bytes."""

    def __init__(self) -> None:
        self.spans = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(trisignal.redacting(self.spans)))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader])
        self.events = InMemoryLogRecordExporter()
        self.loggers = LoggerProvider()
        self.loggers.add_log_record_processor(SimpleLogRecordProcessor(self.events))
        self.internal = io.StringIO()

    def bytes(self, seen: Seen) -> dict[str, bytes]:
        """Each output's bytes by its name."""
        metrics = self.reader.get_metrics_data()
        assert metrics is not None
        return {
            "otlp spans": encode_spans(self.spans.get_finished_spans()).SerializeToString(),
            "otlp metrics": encode_metrics(metrics).SerializeToString(),
            "otlp events": encode_logs(self.events.get_finished_logs()).SerializeToString(),
            "prometheus": generate_latest(seen.registry),
            "openmetrics": openmetrics.generate_latest(seen.registry),
            "call log": seen.log_text.encode(),
            "own logger": self.internal.getvalue().encode(),
        }


@pytest.fixture
def outputs() -> Iterator[Outputs]:
    """Fresh outputs, with the library's own logger at DEBUG."""
    made = Outputs()
    handler = logging.StreamHandler(made.internal)
    logger = logging.getLogger("trisignal")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield made
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


def client_calls(server: Loopback) -> None:
    """Secrets in prompts, system text, tool definitions, headers, replies, streams and error bodies."""
    client = openai.OpenAI(base_url=server.url + "/v1", api_key="x", max_retries=0)
    headers = {"content-type": "application/json", "x-request-id": f"req {SECRETS['email']}"}
    messages: Any = [
        {"role": "system", "content": f"{ALL} {PROSE}"},
        {"role": "user", "content": [{"type": "text", "text": f"{ALL} {PROSE}"}]},
        {"role": "tool", "tool_call_id": "call_1", "content": f"{ALL} {PROSE}"},
    ]
    more = {"X-Note": SECRETS["email"]}
    server.play(Reply(200, headers, json.dumps(chat(f"{ALL} {PROSE}")).encode()))
    client.chat.completions.create(model=f"m {SECRETS['email']}", messages=messages, extra_headers=more, stop=[ALL])
    half = len(ALL) // 2
    events = [chunk(ALL[:half]), chunk(ALL[half:] + PROSE), chunk("", "stop")]
    server.play(Reply(200, {"content-type": "text/event-stream"}, sse(*events)))
    list(client.chat.completions.create(model="gpt-4o-mini", messages=messages, stream=True))
    error = {"error": {"message": f"you said {ALL} {PROSE}", "type": "invalid_request_error", "code": SECRETS["email"]}}
    server.play(Reply(400, headers, json.dumps(error).encode()))
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="gpt-4o-mini", messages=messages)


def own_calls() -> None:
    """Secrets in everything an application says to the library itself."""

    @trisignal.tool(f"tool {SECRETS['email']}")
    def tool(argument: str) -> str:
        return f"{ALL} {PROSE}"

    @trisignal.retrieval(f"index {SECRETS['iban']}")
    def search(query: str) -> list[dict[str, str]]:
        return [{"id": "d1", "content": f"{ALL} {PROSE}"}]

    with (
        trisignal.context(request_id="r1", user_id=SECRETS["email"], tenant=ALL, prompt_name=SECRETS["phone"]),
        trisignal.workflow(f"flow {SECRETS['card']}"),
        trisignal.agent(f"agent {SECRETS['us_ssn']}", description=ALL),
        trisignal.stage(f"stage {SECRETS['ip']}"),
    ):
        tool(f"{ALL} {PROSE}")
        search(f"{ALL} {PROSE}")
        with trisignal.llm(provider=SECRETS["email"], model=SECRETS["api_key"]) as call:
            call.set_attribute("note", ALL)
            call.set_attribute(SECRETS["email"], ALL)
            call.set_response_id(SECRETS["card"])
            call.set_finish_reasons(SECRETS["email"])
            trisignal.evaluate(f"score {SECRETS['email']}", 0.1, label=SECRETS["ip"], explanation=f"{ALL} {PROSE}")
        trisignal.feedback(1, comment=f"{ALL} {PROSE}", ref=call.ref)
    trisignal.cache(f"cache {SECRETS['email']}").hit()
    queue = trisignal.queue(f"queue {SECRETS['email']}")
    with queue.get(queue.put()):
        pass
    with pytest.raises(ValueError, match="canary"), trisignal.llm(provider="p", model="m"):
        raise ValueError(f"{ALL} {PROSE}")


@pytest.mark.parametrize("content", ["no_content", "span_and_event"])
def test_no_secret_leaves(outputs: Outputs, content: str, capfd: pytest.CaptureFixture[str]) -> None:
    """No planted secret is in any byte that leaves, with content off and on; off, arbitrary text is not either."""
    with (
        Loopback() as server,
        capture(
            capture_content=content,
            tracer_provider=outputs.tracers,
            meter_provider=outputs.meters,
            logger_provider=outputs.loggers,
            metric_dimensions=["tenant"],
        ) as seen,
    ):
        logging.getLogger("trisignal.calls").setLevel(logging.DEBUG)
        trisignal.instrument("openai")
        client_calls(server)
        own_calls()
        trisignal.uninstrument()
        left = outputs.bytes(seen)
        assert seen.value("llm_redactions_total") > 0
    printed = capfd.readouterr()
    left["stdout and stderr"] = (printed.out + printed.err).encode()
    assert all(len(sent) > 100 for name, sent in left.items() if name not in ("own logger", "stdout and stderr"))
    leaks = {name: [mark for mark in MARKS if mark.encode() in sent] for name, sent in left.items()}
    assert {name: found for name, found in leaks.items() if found} == {}
    told = [name for name, sent in left.items() if PROSE.encode() in sent]
    assert bool(told) == (content == "span_and_event")


def test_a_broken_redactor_drops_content_and_keeps_metadata(outputs: Outputs) -> None:
    """A redactor that raises: content is dropped, tokens stay, a counter moves, the application goes on."""

    def broken(text: str) -> str:
        raise RuntimeError(text)

    with Loopback() as server, capture(capture_content=True, redactor=broken, strict=False) as seen:
        trisignal.instrument("openai")
        server.play(Reply(200, {"content-type": "application/json"}, json.dumps(chat(PROSE)).encode()))
        client = openai.OpenAI(base_url=server.url + "/v1", api_key="x", max_retries=0)
        reply = client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": PROSE}])
        trisignal.uninstrument()
        assert reply.choices[0].message.content == PROSE
        attributes = dict(seen.span.attributes or {})
        assert "gen_ai.input.messages" not in attributes
        assert attributes["gen_ai.usage.input_tokens"] == 9
        assert PROSE not in str(attributes)
        assert PROSE not in seen.log_text
        assert seen.value("llm_redaction_failures_total") > 0
