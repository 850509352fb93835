"""Structured content: a value is a secret if its key says so, whatever the value looks like."""

from __future__ import annotations

import io
import json
import logging
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import trisignal
from trisignal.policy.redact import HIDDEN, PatternRedactor, redact_value
from trisignal.policy.secret_keys import is_secret
from trisignal.policy.truncate import render
from trisignal.testing import capture

SECRET = "hunter2x"
KEYS = [
    "password", "PASSWORD", "db_password", "userPassword", "pwd", "passwd", "passphrase", "client_secret", "clientSecret",
    "api_key", "apiKey", "X-Api-Key", "openai_api_key", "access_token", "accessToken", "refreshToken", "authorization",
    "Proxy-Authorization", "cookie", "Set-Cookie", "private_key", "secret", "aws_secret_access_key", "smtp.password",
    "http.request.header.authorization", "credentials", "cvv", "otp",
]  # fmt: skip


@pytest.mark.parametrize("key", KEYS)
def test_secrets_go_by_the_key_they_stand_under(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In content of any depth and size, attributes, bound values, log extras and spans of other libraries."""
    redactor = PatternRedactor()
    nested: Any = {"a": [{key: SECRET, "b": 1}]}
    assert SECRET not in str(redact_value(nested, redactor))
    assert SECRET not in render(nested, redactor, 4096)[0]
    assert SECRET not in render({"long": "x" * 5000, key: SECRET, "c": [nested] * 50}, redactor, 512)[0]
    if key.lower() not in ("cookie", "set-cookie", "cvv", "otp"):  # in texts these words announce less
        assert SECRET not in redactor(json.dumps(nested))
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(trisignal.redacting(exporter)))
    printed = io.StringIO()
    monkeypatch.setattr("sys.stderr", printed)
    with capture(capture_content=True, logs="root") as seen:

        @trisignal.tool("login")
        def login(given: Any) -> Any:
            return {key: SECRET}

        login({key: SECRET})
        with trisignal.context(**{key: SECRET}), trisignal.llm(provider="p", model="m") as call:
            call.set_attribute(key, SECRET)
        logging.getLogger("shop").warning("x", extra={key: SECRET, "deep": [{key: SECRET}]})
        with provider.get_tracer("other").start_as_current_span(
            "s", attributes={key: SECRET, f"a.{key}": [SECRET, "b"]}
        ):
            pass
        assert SECRET not in str([dict(span.attributes or {}) for span in seen.spans])
        assert SECRET not in seen.log_text
        assert seen.value("llm_redactions_total", detector="api_key") > 3
    assert SECRET not in printed.getvalue()
    assert SECRET.encode() not in encode_spans(exporter.get_finished_spans()).SerializeToString()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("token", " the"), ("tokens", 128), ("max_tokens", 4096), ("gen_ai.usage.input_tokens", 812), ("password", "required"),
        ("password_hash_algorithm", "bcrypt"), ("passwordHint", "my first dog"), ("secret_name", "prod/db-1"), ("api_key_id", "k-77x1"),
        ("session_id", "s-4711x"), ("key", "value1"), ("cookie", "yes"), ("password", ""), ("password", None), ("password", True),
        ("password", "********"), ("access_token_expires_in", 3600), ("passwordless", "link1x"), ("secretary", "Ann"), ("keyboard", "qwertz1"),
        ("api_key", "string"), ("password", {"type": "string"}),
    ],
)  # fmt: skip
def test_other_entries_stay(key: str, value: Any) -> None:
    """Words about secrets, counts, schemas and names of secrets are none."""
    assert not is_secret(key, value)


def test_who_does_not_want_keys_redacted_keeps_them() -> None:
    """It is a part of the detector `api_key`."""
    assert redact_value({"password": SECRET}, PatternRedactor(("email",))) == {"password": SECRET}
    assert redact_value({"password": SECRET, "pin": 4711}, PatternRedactor()) == {"password": HIDDEN, "pin": HIDDEN}
