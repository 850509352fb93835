"""Another library has wrapped the client before ``instrument()``: the call is recorded all the same, once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import openai
import pytest
import wrapt

import trisignal
from trisignal import testing
from trisignal.cli._demo_provider import DemoProvider

QUESTION: Any = [{"role": "user", "content": "Where is order 1042?"}]


def with_wrapt(owner: type[Any], seen: list[str]) -> None:
    """As instrumentations do that are built on wrapt."""

    def wrapper(wrapped: Callable[..., Any], instance: Any, args: Any, kwargs: Any) -> Any:
        seen.append(type(instance).__name__)
        return wrapped(*args, **kwargs)

    wrapt.wrap_function_wrapper(owner.__module__, f"{owner.__name__}.request", wrapper)


def with_a_function(owner: type[Any], seen: list[str]) -> None:
    """As instrumentations do that replace the method by a function of theirs."""
    original = owner.request

    @functools.wraps(original)
    def request(self: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(type(self).__name__)
        return original(self, *args, **kwargs)

    owner.request = request  # type: ignore[attr-defined]


@pytest.mark.parametrize("wrap", [with_wrapt, with_a_function])
@pytest.mark.parametrize("first", ["theirs", "ours"])
async def test_both_see_each_call_once(
    wrap: Callable[[type[Any], list[str]], None], first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes first, both see a sync and an async call once, and their wrapper survives our undo."""
    for owner in (openai.OpenAI, openai.AsyncOpenAI):
        monkeypatch.setattr(owner, "request", owner.request)  # put back at the end
        delattr(owner, "request")
    theirs: list[str] = []
    with DemoProvider() as provider, testing.capture() as seen:
        if first == "ours":
            trisignal.instrument("openai")
        wrap(openai.OpenAI, theirs)
        wrap(openai.AsyncOpenAI, theirs)
        if first == "theirs":
            trisignal.instrument("openai")
        try:
            with openai.OpenAI(base_url=provider.base_url, api_key="none") as client:
                client.chat.completions.create(model="gpt-4o", messages=QUESTION)
                async with openai.AsyncOpenAI(base_url=provider.base_url, api_key="none") as aclient:
                    await aclient.chat.completions.create(model="gpt-4o", messages=QUESTION)
                assert theirs == ["OpenAI", "AsyncOpenAI"]
                assert [call.outcome for call in seen.calls] == ["ok", "ok"]
                assert seen.value("llm_requests_total") == 2
                trisignal.uninstrument("openai")
                client.chat.completions.create(model="gpt-4o", messages=QUESTION)
                assert theirs == ["OpenAI", "AsyncOpenAI", "OpenAI"]
                assert len(seen.calls) == 2
        finally:
            trisignal.uninstrument("openai")
