"""A redactor of the application's: whatever it does wrong, nothing leaves, nothing breaks, and it is counted."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY

import trisignal
from trisignal.engine import state
from trisignal.errors import ConfigError
from trisignal.policy import own_redactor
from trisignal.policy.own_redactor import OwnRedactor, RedactionError
from trisignal.testing import capture

WORD = "zuvoptikramelhondisquate"


class Text(str):
    """A text of another class."""


def raises(text: str) -> str:
    raise RuntimeError(text)


def recurses(text: str) -> str:
    return recurses(text + "x")


def logs_it(text: str) -> str:
    logging.getLogger("shop").warning("asked about %s", text)
    raise RuntimeError


def returns_nothing(text: str) -> Any:
    return None


def returns_bytes(text: str) -> Any:
    return text.encode()


class Coroutine:
    """An object whose call is a coroutine function, which no look at the object shows."""

    async def __call__(self, text: str) -> str:
        return text


BROKEN = (raises, recurses, returns_nothing, returns_bytes, Coroutine(), logs_it)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that moves when a test says so."""
    now = [100.0]
    monkeypatch.setattr(own_redactor, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize("redactor", BROKEN, ids=lambda f: getattr(f, "__name__", type(f).__name__))
def test_a_redactor_that_misbehaves_fails_closed(redactor: Callable[[str], str]) -> None:
    """Content is dropped, names are blanked, counts stay true, each failure is counted, and the application goes on."""
    with capture(redactor=redactor, strict=False, capture_content=True) as seen:
        for _ in range(3):
            with trisignal.llm(provider="openai", model=WORD) as call:
                call.set_usage(input_tokens=3, output_tokens=1)
                call.set_attribute("note", WORD)
                call.set_content(input=[{"role": "user", "parts": [{"type": "text", "content": WORD}]}])
        assert seen.value("llm_requests_total", llm_outcome="ok") == 3
        assert seen.value("llm_redaction_failures_total") >= 9
        assert seen.value("trisignal_internal_errors_total") == 0
        assert WORD not in seen.log_text
        assert WORD not in str([dict(span.attributes or {}) for span in seen.spans])
        assert (seen.spans[0].attributes or {})["gen_ai.usage.input_tokens"] == 3
        assert (seen.spans[0].attributes or {})["llm.content.dropped"] == "redaction_failed"


def test_a_failure_is_not_remembered() -> None:
    """After one failure all names are right again: of models, tools, dimensions, queues and resources."""
    down = True

    def remote(text: str) -> str:
        if down:
            raise TimeoutError
        return text

    with capture(redactor=remote, strict=False, metric_dimensions=["tenant"]) as seen:
        for down in (True, False):
            trisignal.cache("answers").hit()
            with trisignal.context(tenant="acme"), trisignal.llm(provider="openai", model="gpt-4o") as call:
                call.set_usage(input_tokens=10, output_tokens=5)
        assert seen.value("llm_requests_total", gen_ai_request_model="gpt-4o", tenant="acme", llm_outcome="ok") == 1
        assert seen.value("llm_cache_requests_total", cache="answers") == 1
        assert seen.value("llm_cost_usd_total", gen_ai_request_model="gpt-4o") > 0


def test_a_redactor_may_ask_a_model() -> None:
    """What it calls is not recorded, and does not call it again."""
    asked = []

    @trisignal.llm(provider="openai", model="filter")
    def model(text: str) -> str:
        asked.append(text)
        return text

    with capture(redactor=model) as seen:
        with trisignal.llm(provider="openai", model="gpt-4o"):
            pass
        assert seen.value("llm_requests_total", llm_outcome="ok") == 1
        assert asked == ["openai", "gpt-4o"]


def test_threads_of_its_own_end_too() -> None:
    """A model asked in another thread, where suppression does not reach, does not go on for ever."""

    @trisignal.llm(provider="openai", model="filter")
    def model(text: str) -> str:
        return text

    def redactor(text: str) -> str:
        found: list[str] = []
        thread = threading.Thread(target=lambda: found.append(model(text)))
        thread.start()
        thread.join()
        return found[0]

    with capture(redactor=redactor, strict=False) as seen:
        with trisignal.llm(provider="openai", model="gpt-4o"):
            pass
        assert seen.value("llm_redaction_failures_total") > 0


def test_a_slow_redactor_rests(quick: list[float]) -> None:
    """A text that takes too long is dropped; after three in a row none is asked for 30 s, then all is well again."""
    asked, failures = [], []
    takes_s = 2.0

    def slow(text: str) -> str:
        asked.append(text)
        quick[0] += takes_s
        return text

    redact = OwnRedactor(slow, 1.0, lambda: failures.append(1))
    for _ in range(5):
        with pytest.raises(RedactionError, match="slow"):
            redact("a")
    assert (len(asked), len(failures)) == (3, 5)
    quick[0] += 31
    takes_s = 0.0
    assert redact("b") == "b"


def test_a_subclass_of_a_text_becomes_a_text() -> None:
    """What leaves is exactly a text, whatever class the redactor made it of."""
    assert type(OwnRedactor(Text, 1.0, lambda: None)("a")) is str


@pytest.mark.parametrize("redactor", ["text", 7, Coroutine.__call__])
def test_what_cannot_redact_is_refused(redactor: Any) -> None:
    """A coroutine function, or what cannot be called, is named at set-up."""
    with pytest.raises(ConfigError, match="redactor"):
        trisignal.setup(redactor=redactor)


def test_interrupts_pass() -> None:
    """An interrupt inside of the redactor reaches the application."""

    def interrupted(text: str) -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        OwnRedactor(interrupted, 1.0, lambda: None)("a")


def test_a_call_that_policy_cannot_admit_has_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where even policy fails, nothing unread becomes the name of a span or a label."""
    with capture(strict=False) as seen:
        policy = state.STATE.policy
        assert policy is not None

        def broken(draft: object) -> None:
            raise RecursionError

        monkeypatch.setattr(policy, "admit", broken, raising=True)
        with trisignal.context(tenant=WORD), trisignal.llm(provider=WORD, model=WORD) as call:
            call.set_usage(input_tokens=1, output_tokens=1)
        assert WORD not in str([(span.name, dict(span.attributes or {})) for span in seen.spans])
        assert WORD not in seen.log_text
        assert seen.value("llm_requests_total", llm_outcome="ok") == 1


def test_other_instrumentations_are_suppressed_too() -> None:
    """An HTTP client that a redactor uses makes no spans either: these would have to be redacted in turn."""
    seen = []

    def redactor(text: str) -> str:
        seen.append(
            (otel_context.get_value("suppress_instrumentation"), otel_context.get_value(_SUPPRESS_INSTRUMENTATION_KEY))
        )
        return text

    OwnRedactor(redactor, 1.0, lambda: None)("a")
    assert seen == [(True, True)]
    assert not otel_context.get_value(_SUPPRESS_INSTRUMENTATION_KEY)
