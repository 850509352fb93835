"""Objects whose methods fail or lie, at every public entry: the application goes on, and its calls count."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

import trisignal
from trisignal import testing
from trisignal.errors import ConfigError


class Failure(Exception):
    """What a method of the application's raises."""


def _fail(*args: object, **kwargs: object) -> Any:
    raise Failure


_METHODS = [
    "__str__",
    "__repr__",
    "__eq__",
    "__hash__",
    "__len__",
    "__bool__",
    "__iter__",
    "__int__",
    "__float__",
    "__index__",
    "__getitem__",
    "__contains__",
    "__lt__",
    "__le__",
    "__gt__",
    "__ge__",
    "__sub__",
    "__format__",
    "__neg__",
    "__abs__",
    "get",
    "items",
    "keys",
    "values",
    "lower",
    "strip",
    "isascii",
    "encode",
]


def failing(base: type, *args: Any) -> Any:
    """An object of a subclass whose methods all fail."""
    return type(f"Failing{base.__name__}", (base,), dict.fromkeys(_METHODS, _fail))(*args)


class Unbound:
    """A proxy without anything behind it: it fails even when it is asked for its class."""

    def __getattribute__(self, name: str) -> Any:
        raise Failure(name)


class Double:
    """A double of a text, as mocks with a specification are."""

    __class__ = str  # type: ignore[assignment]

    def __str__(self) -> str:
        return "gpt-4o"


OBJECTS = {
    "text": failing(str, "gpt-4o"),
    "integer": failing(int, 5),
    "float": failing(float, 0.5),
    "mapping": failing(dict, {"a": 1}),
    "list": failing(list, [1]),
    "object": failing(object),
    "proxy": Unbound(),
    "double": Double(),
    "huge": 10**5000,
}


def observed(thing: Any) -> None:
    """Calls that meet a thing everywhere; each ends well."""
    with trisignal.context(tenant=thing, user_id=thing), trisignal.llm(provider=thing, model=thing) as call:
        call.set_model(request=thing, response=thing)
        call.set_response_id(thing)
        call.set_finish_reasons(thing)
        call.set_attribute("mine", thing)
        call.set_attribute("several", [thing, (thing,)])
        call.set_usage(input_tokens=thing, output_tokens=thing, reasoning_tokens=thing)
        call.set_cost(thing)
        call.set_serving(queue_s=thing, batch_size=thing)
        call.set_request(temperature=thing, stop=thing, seed=thing, n=thing)
        call.set_content(input=thing, output=thing)
        call.set_response(thing)
    assert trisignal.llm(lambda model, temperature: thing)(thing, thing) is thing
    assert next(trisignal.llm(iter_of)(thing)) is thing
    trisignal.tool(lambda argument: thing)(thing)
    with trisignal.retrieval("docs", provider=thing, top_k=thing), trisignal.tool("t", type=thing, call_id=thing):
        pass
    with trisignal.agent("a", provider=thing, model=thing, description=thing, version=thing, agent_id=thing):
        pass
    trisignal.cache("c").record(thing)
    trisignal.cache(thing).hit()
    waiting = trisignal.queue(thing)
    with waiting.get(waiting.put()), waiting.get(thing), trisignal.continue_from({"x-request-id": thing, "a": thing}):
        pass
    trisignal.evaluate("faithfulness", 0.5, label=thing, explanation=thing, ref={"model": thing, "trace_id": thing})


def iter_of(thing: Any) -> Any:
    """A stream of one thing."""
    yield thing


@pytest.mark.parametrize("content", ["no_content", "span_and_event"])
@pytest.mark.parametrize("kind", OBJECTS)
def test_an_object_that_fails_or_lies_disturbs_nothing(kind: str, content: str) -> None:
    """No method of it fails in the application's face, all calls count, and none stays in flight."""
    with testing.capture(strict=False, capture_content=content, metric_dimensions=["tenant"]) as seen:
        observed(OBJECTS[kind])
        counted = [call for call in seen.calls if call.model_call and call.counted]
        assert [call.outcome for call in counted] == ["ok", "ok", "abandoned"]
        assert seen.value("llm_requests_total") == 3
        assert seen.value("llm_active_requests") == 0


@pytest.mark.parametrize("kind", OBJECTS)
def test_what_a_limit_cannot_be_is_a_configuration_error(kind: str) -> None:
    """Budgets and guards name the argument, whatever they are given."""
    thing = OBJECTS[kind]
    wrong: list[Any] = [
        lambda: trisignal.Budget(usd=failing(object) if kind in ("integer", "float") else thing),
        lambda: trisignal.Budget(tokens=1, per=thing),
        lambda: trisignal.guard(calls=failing(object) if kind == "integer" else thing),
        lambda: trisignal.guard(calls=1, match=thing),
        lambda: trisignal.guard(calls=1, repeats_of=[thing]),  # type: ignore[list-item]
        lambda: trisignal.evaluate("faithfulness", failing(object) if kind == "float" else thing),
        lambda: trisignal.evaluate("faithfulness", 0.5, ref=thing),
        lambda: trisignal.feedback(failing(object) if kind == "integer" else thing),
    ]
    with testing.capture():
        for attempt in wrong[: 6 if kind == "mapping" else 8]:
            with pytest.raises(ConfigError):
                attempt()


def test_doubles_and_proxies_of_texts_are_their_texts() -> None:
    """What only claims to be a text is written as its `str()`."""
    with testing.capture() as seen:
        with trisignal.llm(provider="openai", model=Double()):  # type: ignore[arg-type]
            pass
        assert seen.value("llm_requests_total", gen_ai_request_model="gpt-4o") == 1


def test_a_record_that_cannot_be_completed_still_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one fact of a call cannot be taken, the call is counted without its details, and our error too."""
    from trisignal.policy import Policy

    original = Policy._changed

    def once(self: Policy, draft: Any, closing: Any) -> None:
        if draft.attributes:
            raise Failure
        original(self, draft, closing)

    monkeypatch.setattr(Policy, "_changed", once)
    with testing.capture(strict=False) as seen:
        with trisignal.llm(provider="openai", model="gpt-4o") as call:
            call.set_usage(input_tokens=3, output_tokens=2)
            call.set_attribute("mine", 1)
        assert seen.value("llm_requests_total", gen_ai_request_model="gpt-4o", llm_outcome="ok") == 1
        assert seen.value("gen_ai_client_token_usage_sum", gen_ai_token_type="input") == 3
        assert seen.value("trisignal_internal_errors_total", site="policy.finish") == 1


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError])
def test_what_an_interrupted_sink_has_not_taken_is_counted(
    interruption: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other sinks have the call, the interruption arrives, and the loss shows in the counter of our errors."""
    from trisignal.sinks import prometheus

    def interrupted(*args: object, **kwargs: object) -> None:
        raise interruption

    with testing.capture(strict=False) as seen:
        monkeypatch.setattr(prometheus, "_kind_of", interrupted)
        with pytest.raises(interruption), trisignal.llm(provider="openai", model="gpt-4o"):
            pass
        assert len(seen.spans) == len(seen.logs) == 1
        assert seen.value("llm_active_requests") == 0
        assert seen.value("trisignal_internal_errors_total", site="sink.prometheus.close") == 1


def test_a_consumer_may_hand_in_its_message() -> None:
    """Headers as pairs of bytes, as Kafka's clients have them, hold depth, wait and request id as a mapping does."""
    with testing.capture() as seen:
        queue = trisignal.queue("jobs")
        with trisignal.context(request_id="r-1"):
            headers: Mapping[str, str] = queue.put()
        with queue.get([(name, value.encode()) for name, value in headers.items()]):
            assert trisignal.request_id() == "r-1"
        assert seen.value("llm_queue_depth", queue="jobs") == 0
        assert seen.value("llm_queue_wait_seconds_count", queue="jobs") == 1
