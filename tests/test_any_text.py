"""Whatever texts and numbers come in, at every public entry, every encoder takes what comes out."""

from __future__ import annotations

import enum
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import prometheus_client
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client.openmetrics import exposition
from prometheus_client.openmetrics.parser import text_string_to_metric_families

import trisignal
from trisignal import testing

ANY_TEXT = st.text(st.characters(exclude_categories=()), min_size=1, max_size=12) | st.sampled_from(
    ["\ud800", "a\udcffb", "\ud83d\ude00", "\0", "\x1b[31m", 'quote"\\\n', "\u2028", "é", "x" * 5000, "\udfff" * 5000]
)


class Broken(Exception):
    """A vendor's error with a code and a type of its own."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.code = self.type = text
        self.body = {"error": {"code": text, "type": text, "message": text}}


def reply(text: str) -> dict[str, Any]:
    """A chat completion that holds a text wherever a text may be."""
    message = {
        "role": text,
        "content": text,
        "tool_calls": [{"id": text, "function": {"name": text, "arguments": text}}],
    }
    return {
        "object": "chat.completion", "id": text, "model": text, "service_tier": text, "system_fingerprint": text,
        "choices": [{"index": 0, "message": message, "finish_reason": text}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2},
    }  # fmt: skip


def models(text: str) -> None:
    """Calls to models, described by hand, read from replies, failed, and as others' spans tell them."""
    with trisignal.llm(provider=text, model=text, name=text) as call:
        call.set_model(request=text + "1", response=text)
        call.set_response_id(text)
        call.set_finish_reasons(text, text)
        call.set_attribute(text, text)
        call.set_attribute("list", [text, text])
        call.set_content(input=[{"role": text, "parts": [{"type": "text", "content": text}]}], output=text)
        call.set_usage(input_tokens=3, output_tokens=2)
        call.set_request(model=text, stop=[text], reasoning_effort=text, service_tier=text)
    trisignal.llm(lambda model, service_tier, **_: reply(text))(model=text, service_tier=text, stop=[text])
    trisignal.embeddings(provider=text, model=text)(lambda: None)()
    try:
        with trisignal.llm(provider=text, model=text):
            raise Broken(str.__str__(text) if isinstance(text, str) else "no")
    except Broken:
        pass


def around(text: str) -> None:
    """Everything that is named and is not a call to a model."""
    with trisignal.workflow(text), trisignal.agent(text, description=text), trisignal.stage(text):
        with trisignal.agent(text, provider=text, model=text, version=text, agent_id=text):
            pass
        with trisignal.tool(text, type=text, call_id=text), trisignal.retrieval(text, provider=text):
            pass
    queue = trisignal.queue(text)
    with queue.get(queue.put()):
        pass
    trisignal.cache(text).hit()
    trisignal.evaluate(text, 0.25, label=text, explanation=text)
    trisignal.evaluate(text, 0.25, ref=dict.fromkeys(("model", "response_id", "prompt_name", "prompt_version"), text))
    trisignal.feedback(1, comment=text, ref={"model": text, text: text})


def bridged(text: str, seen: testing.Seen) -> None:
    """A span of another instrumentation, which no exporter needs to take: ours tells it in metrics and a line."""
    tracer = seen.telemetry.tracer_provider.get_tracer("other")
    with tracer.start_as_current_span(text) as span:
        for key in ("provider.name", "request.model", "response.model", "response.id", "agent.name", "conversation.id"):
            span.set_attribute(f"gen_ai.{key}", text)
        span.set_attribute("gen_ai.operation.name", "chat")
        span.set_attribute("gen_ai.response.finish_reasons", [text])
        span.set_attribute("server.address", text)
        span.set_attribute("error.type", text)
        span.set_attribute("gen_ai.usage.input_tokens", 2**62)


@contextmanager
def everything_on(**options: Any) -> Iterator[tuple[testing.Seen, InMemoryMetricReader, InMemoryLogRecordExporter]]:
    """All signals, pulled and pushed, with content."""
    reader, records = InMemoryMetricReader(), InMemoryLogRecordExporter()
    logger_provider = LoggerProvider(shutdown_on_exit=False)
    logger_provider.add_log_record_processor(SimpleLogRecordProcessor(records))
    with testing.capture(
        strict=False,
        capture_content="span_and_event",
        metric_dimensions=["tenant"],
        meter_provider=MeterProvider([reader], shutdown_on_exit=False),
        logger_provider=logger_provider,
        **options,
    ) as seen:
        logging.getLogger("trisignal.calls").setLevel(logging.DEBUG)
        yield seen, reader, records


def every_encoder_takes(seen: testing.Seen, reader: InMemoryMetricReader, records: InMemoryLogRecordExporter) -> None:
    """What was recorded, through each encoder; and nothing was dropped on the way."""
    page = prometheus_client.generate_latest(seen.registry).decode()
    write: Any = exposition.generate_latest
    read: Any = text_string_to_metric_families
    assert list(read(write(seen.registry).decode()))
    spans = [
        span for span in seen.spans if span.instrumentation_scope and span.instrumentation_scope.name == "trisignal"
    ]
    for span, sent in zip(spans, encode_spans(spans).resource_spans[0].scope_spans[0].spans, strict=True):
        assert len(sent.attributes) == len(span.attributes or {})
    data = reader.get_metrics_data()
    assert data is not None
    assert encode_metrics(data).SerializeToString()
    logs = records.get_finished_logs()
    [resource] = encode_logs(logs).resource_logs
    for log, sent in zip(logs, resource.scope_logs[0].log_records, strict=True):
        assert len(sent.attributes) == len(log.log_record.attributes or {})
    assert "llm_requests_total{" in page
    assert [json.loads(line) for line in seen.log_text.encode().decode().split("\n") if line]


@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(ANY_TEXT)
@example("\ud800")
@example("\0")
def test_any_text_at_every_entry_is_encodable(text: str) -> None:
    """Names, ids, contents and errors of any characters break no page, no batch and no line."""
    with everything_on() as (seen, reader, records):
        bound = dict.fromkeys(("request_id", "conversation_id", "user_id", "prompt_name", "prompt_version"), text)
        with trisignal.context(**bound, agent_name=text, tenant=text, **{text: text}):  # type: ignore[arg-type]
            with trisignal.Budget(tokens=1, key="tenant", name=text):
                models(text)
            around(text)
            bridged(text, seen)
        every_encoder_takes(seen, reader, records)


class Model(str, enum.Enum):
    """A model's name, as applications keep it."""

    SMALL = "gpt-4o-mini"


class Provider(enum.Enum):
    """The same without being a text."""

    OPENAI = "openai"


@pytest.mark.slow
@pytest.mark.parametrize(
    "unit",
    [
        ".",
        "\ud800",
        "\\",
        "://",
        "a ",
        "1",
        "-",
        "{",
        '{"a":',
        "data:",
        "\n",
        "é",
        "@",
        "sk-",
        "\ud83d\ude00",
        "\ud83d\ude00\ud800",
    ],
)
def test_a_long_text_anywhere_costs_its_length(unit: str) -> None:
    """The worst texts known take twenty times what an ordinary one takes, and none takes the square of its length."""

    def cpu_s(repeated: str) -> float:
        text = (repeated * (100_000 // len(repeated) + 1))[:100_000]
        begun = time.process_time()
        with everything_on() as (seen, _, _):
            models(text)
            around(text)
            bridged(text, seen)
        return time.process_time() - begun

    cpu_s("at ")
    assert cpu_s(unit) < 60 * cpu_s("at ")


def test_enumerations_give_their_value_wherever_a_name_is_taken() -> None:
    """All signals have the value, and no text that is equal to a member is renamed after it."""
    with everything_on() as (seen, reader, records):
        with trisignal.context(tenant=Model.SMALL), trisignal.llm(provider=Provider.OPENAI, model=Model.SMALL) as call:  # type: ignore[arg-type]
            call.set_model(response=Model.SMALL)
            call.set_finish_reasons(Provider.OPENAI)  # type: ignore[arg-type]
            call.set_response_id(Provider.OPENAI)  # type: ignore[arg-type]
        around(Model.SMALL)
        around(Provider.OPENAI)  # type: ignore[arg-type]
        with trisignal.Budget(tokens=1, key="tenant", name=Model.SMALL):
            models(Model.SMALL)
        every_encoder_takes(seen, reader, records)
        page = prometheus_client.generate_latest(seen.registry).decode()
        texts = page + seen.log_text + "".join(span.to_json() for span in seen.spans)
        assert "Model.SMALL" not in texts
        assert "Provider.OPENAI" not in texts
        assert seen.value("llm_requests_total", gen_ai_request_model="gpt-4o-mini", llm_outcome="ok") >= 1


NUMBERS = (
    st.integers()
    | st.floats()
    | st.decimals(allow_nan=True)
    | st.fractions()
    | st.booleans()
    | st.none()
    | st.integers(0, 10**6).map(lambda n: enum.IntEnum("Level", {"N": n})["N"])
    | st.integers(0, 10**6).map(lambda n: Decimal(n))
    | st.integers(0, 10**6).map(lambda n: Fraction(n))
)


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(NUMBERS, NUMBERS)
def test_numbers_of_any_kind_are_one_number_in_all_signals(first: Any, second: Any) -> None:
    """Span, metrics and line agree on the counts, or none of them has any; broken ones stop nothing."""
    with everything_on() as (seen, reader, records):
        with trisignal.llm(provider="vllm", model="m") as call:
            call.set_usage(input_tokens=first, output_tokens=second)
            call.set_attribute("mine", first)
        trisignal.llm(lambda temperature, max_tokens, seed, top_k: None)(first, second, first, second)
        with trisignal.retrieval("docs", top_k=first):
            pass
        every_encoder_takes(seen, reader, records)
        span, line = seen.spans[0], seen.logs[0]
        assert span.attributes is not None
        for key in ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", "mine"):
            assert span.attributes.get(key) == line.get(key)
            assert type(span.attributes.get(key)) is type(line.get(key))
        for side in ("input", "output"):
            pulled = seen.value("gen_ai_client_token_usage_sum", gen_ai_token_type=side)
            assert pulled == (span.attributes.get(f"gen_ai.usage.{side}_tokens") or 0)
        assert "nan" not in seen.log_text.lower()


WORKERS = """
import os, sys
import prometheus_client, trisignal
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector
import test_any_text as t
from trisignal import testing

for text in ("\\ud800", "a\\udcffb", "\\0", "x" * 5000):
    with testing.capture(strict=False, metric_dimensions=["tenant"]) as seen:
        with trisignal.context(tenant=text, **{text: text}):
            t.models(text)
            t.around(text)
            t.bridged(text, seen)
merged = CollectorRegistry()
MultiProcessCollector(merged)
page = prometheus_client.generate_latest(merged)
assert b"llm_requests_total{" in page, page
assert trisignal.metrics_wsgi_app()({"REQUEST_METHOD": "GET"}, lambda status, headers: print(status))
"""


def test_any_text_is_encodable_over_processes(tmp_path: Path) -> None:
    """The files of several processes hold nothing that the page of all of them cannot show."""
    path = os.pathsep.join(filter(None, sys.path))
    environ = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", WORKERS], env=environ, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "200 OK"


@pytest.mark.parametrize("broken", ["nan", "inf", "-1", "1e400", "9" * 400, "4111111111111111", "9223372036854775807"])
def test_a_header_that_is_no_number_sets_no_gauge(broken: str) -> None:
    """Rate limits that are not finite, or too high to be limits, are unknown."""
    from trisignal.call import Draft
    from trisignal.clients.sdks.stainless import read_headers

    class Headers:
        raw = ((b"x-ratelimit-remaining-tokens", broken.encode()), (b"x-ratelimit-limit-tokens", b"100"))

    draft = Draft("chat")
    read_headers(draft, Headers)
    assert [(limit.remaining, limit.limit) for limit in draft.rate_limits] == [(None, 100.0)]


def test_numbers_in_the_applications_own_records_are_numbers() -> None:
    """The formatter writes numbers of any library as JSON numbers; a `Decimal` stays exact, as a text."""
    from trisignal.logs import JsonFormatter
    from trisignal.policy.redact import PatternRedactor

    numpy: Any = pytest.importorskip("numpy")
    given = {"msg": "m", "n": numpy.int64(812), "share": Fraction(1, 2), "price": Decimal("2.50")}
    record = logging.makeLogRecord({**given, "card": numpy.int64(4111111111111111)})
    line = json.loads(JsonFormatter(redactor=PatternRedactor()).format(record))
    assert (line["n"], line["share"], line["price"]) == (812, 0.5, "2.50")
    assert "411111" not in str(line["card"])
