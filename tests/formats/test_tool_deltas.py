"""Tool calls as hosts write them: placeholders, indexes left out or repeated, arguments in pieces."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trisignal.call import Draft
from trisignal.formats import StreamState
from trisignal.formats.openai_chat import CHAT

Call = tuple[str, str, str]
"""Id, name, arguments."""


def parts(deltas: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The tool calls that a stream of deltas makes."""
    draft, state = Draft("chat"), StreamState(keep_content=True)
    for delta in deltas:
        CHAT.fold(draft, state, {"choices": [{"index": 0, "delta": delta}]})
    messages = CHAT.read_content({}, None, state).output_messages or []
    return [part for message in messages for part in message["parts"] if part["type"] == "tool_call"]


def piece(call: dict[str, Any], index: int | None) -> dict[str, Any]:
    """A delta with a piece of one tool call."""
    return {"tool_calls": [call if index is None else {"index": index, **call}]}


@given(
    calls=st.lists(st.dictionaries(st.sampled_from("abc"), st.integers()), min_size=1, max_size=4),
    indexes=st.sampled_from(["own", "none", "same"]),
    cuts=st.integers(1, 5),
    repeats_id=st.booleans(),
)
def test_parallel_calls_stay_apart(calls: list[dict[str, int]], indexes: str, cuts: int, repeats_id: bool) -> None:
    """A new id starts a new call, whatever the index says; all of its pieces are joined."""
    deltas = []
    for number, given_ in enumerate(calls):
        text = json.dumps(given_)
        index = {"own": number, "none": None, "same": 0}[indexes]
        size = -(-len(text) // cuts)
        for at in range(0, len(text), size):
            first = at == 0
            call: dict[str, Any] = {"function": {"arguments": text[at : at + size]}}
            if first or repeats_id:
                call["id"] = f"call_{number}"
            if first:
                call["function"]["name"] = f"tool_{number}"
            deltas.append(piece(call, index))
    assert [(part["id"], part["name"], part["arguments"]) for part in parts(deltas)] == [
        (f"call_{number}", f"tool_{number}", given_) for number, given_ in enumerate(calls)
    ]


@pytest.mark.parametrize(
    "empty",
    [
        {"function_call": {"name": "", "arguments": ""}},
        {"function_call": {}},
        {"function_call": None},
        {"tool_calls": []},
        {"tool_calls": [{"index": 0, "id": "", "function": {"name": "", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "id": None, "function": None}]},
    ],
)
def test_placeholders_are_no_calls(empty: dict[str, Any]) -> None:
    """Some hosts send them where there is none: in streams and in whole replies."""
    assert parts([{"content": "a"}, empty]) == []
    message = {"role": "assistant", "content": "a", **empty}
    [output] = CHAT.read_content({}, {"choices": [{"message": message}]}, None).output_messages or []
    assert [part["type"] for part in output["parts"]] == ["text"]


def test_arguments_may_come_as_an_object() -> None:
    """What a host streams without writing it as JSON is shown as what it encodes."""
    call = {"id": "1", "function": {"name": "search", "arguments": {"city": "Paris"}}}
    [part] = parts([piece(call, 0)])
    assert part["arguments"] == {"city": "Paris"}
