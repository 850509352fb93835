"""OpenAI's Responses API: requests, replies, events, content."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trisignal import semconv as names
from trisignal.call import Draft, Outcome, Usage, buckets
from trisignal.formats import ANSWER, NOTABLE, TOKEN, StreamState, view
from trisignal.formats.openai_responses import RESPONSES, usage

TOLD: dict[str, Any] = {
    "input_tokens": 100,
    "output_tokens": 40,
    "total_tokens": 140,
    "input_tokens_details": {"cached_tokens": 60},
    "output_tokens_details": {"reasoning_tokens": 15},
}
TEXT = {
    "id": "m1",
    "type": "message",
    "role": "assistant",
    "status": "completed",
    "content": [{"type": "output_text", "text": "Dry.", "annotations": []}],
}
CALL = {"type": "function_call", "id": "f1", "call_id": "t1", "name": "stock", "arguments": '{"item": 42}'}
REPLY: dict[str, Any] = {
    "id": "r1",
    "object": "response",
    "created_at": 1,
    "model": "gpt-x",
    "status": "completed",
    "service_tier": "default",
    "output": [TEXT],
    "parallel_tool_calls": False,
    "tool_choice": "auto",
    "tools": [],
    "usage": TOLD,
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
COUNT = st.none() | st.integers(min_value=0, max_value=10**9)


def read(reply: Any) -> Draft:
    """A draft that has seen one reply."""
    draft = Draft("chat")
    RESPONSES.read_response(draft, view(reply))
    return draft


def requested(**body: Any) -> Draft:
    """A draft that has seen one request."""
    draft = Draft("chat")
    RESPONSES.read_request(draft, {"model": "gpt-x", **body})
    return draft


def event(kind: str, **told: Any) -> dict[str, Any]:
    """An event of a stream."""
    return {"type": f"response.{kind}", "sequence_number": 0, **told}


def fold(events: list[Any], outcome: Outcome = "ok", keep: bool = False) -> tuple[Draft, StreamState]:
    """A draft and a state that have seen a whole stream."""
    draft, state = Draft("chat"), StreamState(keep)
    for told in events:
        RESPONSES.fold(draft, state, view(told))
    draft.outcome = outcome
    RESPONSES.end(draft, state)
    return draft, state


CREATED = event("created", response={**REPLY, "status": "in_progress", "output": [], "usage": None})


# --- requests ------------------------------------------------------------------------


def test_request_parameters_get_the_conventions_names_and_types() -> None:
    """Numbers, effort, output type, earlier response, tier and conversation are kept."""
    draft = requested(
        temperature=1,
        top_p=0.5,
        max_output_tokens=64,
        reasoning={"effort": "low"},
        text={"format": {"type": "json_schema"}},
        previous_response_id="r0",
        service_tier="flex",
        conversation={"id": "conv"},
    )
    assert (draft.request_model, draft.conversation_id) == ("gpt-x", "conv")
    assert draft.fields == {
        names.REQUEST_TEMPERATURE: 1.0,
        names.REQUEST_TOP_P: 0.5,
        names.REQUEST_MAX_TOKENS: 64,
        names.REQUEST_REASONING_LEVEL: "low",
        names.OUTPUT_TYPE: "json",
        names.REQUEST_PREVIOUS_RESPONSE_ID: "r0",
        names.OPENAI_REQUEST_SERVICE_TIER: "flex",
    }


def test_defaults_leave_no_field() -> None:
    """The automatic tier and unset members are left out."""
    assert requested(service_tier="auto", reasoning=None, text=None, temperature=None).fields == {}


def test_a_conversation_may_be_named_by_its_id() -> None:
    """A bare string is the conversation's id."""
    assert requested(conversation="conv").conversation_id == "conv"


# --- replies -------------------------------------------------------------------------


def test_details_are_parts_of_the_totals() -> None:
    """Totals include cached and reasoning tokens."""
    assert usage(TOLD) == Usage(100, 40, 60, reasoning=15)
    assert usage({"input_tokens": 1, "output_tokens": 2}) == Usage(1, 2)
    assert usage({}) is None


def test_a_reply_tells_its_facts() -> None:
    """Model, id, tier, reason and usage are read."""
    draft = read(REPLY)
    assert (draft.response_model, draft.response_id, draft.tier) == ("gpt-x", "r1", "default")
    assert (draft.finish_reasons, draft.usage, draft.pending) == (
        ("stop",),
        Usage(100, 40, 60, reasoning=15),
        False,
    )
    assert draft.fields == {names.OPENAI_RESPONSE_SERVICE_TIER: "default"}


def test_a_vendor_object_reads_like_its_json() -> None:
    """The SDK's response and the decoded body give the same facts."""
    responses = pytest.importorskip("openai").types.responses
    told = {
        **REPLY,
        "usage": {**TOLD, "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 0}},
    }
    one, other = read(responses.Response.model_validate(told)), read(told)
    for fact in ("usage", "tier", "finish_reasons", "response_id", "response_model", "fields", "pending"):
        assert getattr(one, fact) == getattr(other, fact)


@pytest.mark.parametrize(
    ("told", "reasons"),
    [
        ({"status": "completed"}, ("stop",)),
        ({"status": "completed", "output": [CALL]}, ("tool_calls",)),
        ({"status": "completed", "output": [{"type": "web_search_call"}, TEXT]}, ("stop",)),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, ("length",)),
        ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, ("content_filter",)),
        ({"status": "incomplete", "incomplete_details": None}, ("error",)),
        ({"status": "failed"}, ("error",)),
        ({"status": "cancelled"}, ("error",)),
        ({"status": "queued"}, ()),
        ({"status": "in_progress"}, ()),
    ],
)
def test_the_status_stands_for_a_finish_reason(told: dict[str, Any], reasons: tuple[str, ...]) -> None:
    """Each status has its reason, and a pending one has none yet."""
    draft = read({**REPLY, **told})
    assert draft.finish_reasons == reasons
    assert draft.pending is (not reasons)


@given(COUNT, COUNT, COUNT, COUNT, COUNT)
def test_buckets_sum_to_the_totals(
    taken: int | None, written: int | None, read: int | None, write: int | None, thought: int | None
) -> None:
    """Whatever is told, the disjoint buckets add up to input plus output."""
    told = usage(
        {
            "input_tokens": taken,
            "output_tokens": written,
            "input_tokens_details": {"cached_tokens": read, "cache_write_tokens": write},
            "output_tokens_details": {"reasoning_tokens": thought},
        }
    )
    if told is None:
        assert (taken, written) == (None, None)
        return
    assert (told.input, told.output) == (taken, written)
    assert sum(buckets(told)) == (taken or 0) + (written or 0)


@given(st.dictionaries(st.sampled_from(list(TOLD)), JSON), JSON)
def test_no_usage_breaks_the_reader(told: dict[str, Any], other: Any) -> None:
    """Usage of any JSON shape is read or ignored."""
    for raw in (told, other):
        found = usage(raw)
        assert found is None or sum(buckets(found)) == (found.input or 0) + (found.output or 0)


# --- streams -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "flags"),
    [
        (CREATED, NOTABLE),
        (event("in_progress", response=REPLY), 0),
        (event("output_text.delta", delta="a"), TOKEN | ANSWER),
        (event("refusal.delta", delta="a"), TOKEN | ANSWER),
        (event("reasoning_summary_text.delta", delta="a"), TOKEN),
        (event("function_call_arguments.delta", delta="{"), TOKEN | ANSWER),
        (event("output_item.added", item={"type": "function_call"}), TOKEN | ANSWER),
        (event("output_item.added", item={"type": "message"}), 0),
        (event("output_text.done", text="a"), 0),
        (event("completed", response=REPLY), NOTABLE),
        (event("failed", response=REPLY), NOTABLE),
        ({"type": "error", "code": "x"}, NOTABLE),
        ({"error": {"code": "x"}}, NOTABLE),
    ],
)
def test_each_event_has_its_flags(told: dict[str, Any], flags: int) -> None:
    """Tokens, answers and notable facts are told apart."""
    assert RESPONSES.look(told) == flags


def test_a_stream_tells_the_facts_of_its_response() -> None:
    """Reason and usage come with the last event."""
    draft, state = fold([CREATED, event("output_text.delta", delta="Dry."), event("completed", response=REPLY)])
    assert (draft.response_id, draft.finish_reasons, draft.usage) == ("r1", ("stop",), usage(TOLD))
    assert (state.finished, draft.pending) == (True, False)


def test_a_cut_stream_has_an_error_reason() -> None:
    """Without a last event the reason is ``error``, and the id is known."""
    draft, state = fold([CREATED, event("output_text.delta", delta="D")], "abandoned")
    assert (draft.response_id, draft.finish_reasons, draft.usage) == ("r1", ("error",), None)
    assert not state.finished


@pytest.mark.parametrize(
    ("told", "error"),
    [
        (
            event("failed", response={**REPLY, "status": "failed", "error": {"code": "boom"}}),
            {"code": "boom"},
        ),
        (event("failed", response={**REPLY, "status": "failed"}), {"code": "failed"}),
        ({"type": "error", "error": {"code": "boom"}}, {"code": "boom"}),
        ({"type": "error", "code": "boom"}, {"type": "error", "code": "boom"}),
    ],
)
def test_an_error_in_a_stream_is_kept(told: dict[str, Any], error: dict[str, Any]) -> None:
    """The error that an event tells is there for classification."""
    assert fold([CREATED, told], "error")[1].error == error


def test_an_incomplete_stream_is_finished() -> None:
    """A reply that was cut by its token limit is complete as a call."""
    reply = {**REPLY, "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    draft, state = fold([CREATED, event("incomplete", response=reply)])
    assert (draft.finish_reasons, state.finished) == (("length",), True)


# --- content -------------------------------------------------------------------------

DRY = [{"role": "assistant", "parts": [{"type": "text", "content": "Dry."}]}]


def test_a_request_becomes_messages_and_instructions() -> None:
    """Items become messages with the roles of the conventions."""
    body = {
        "instructions": "Be brief.",
        "input": [
            {"role": "user", "content": "Stock?"},
            CALL,
            {"type": "function_call_output", "call_id": "t1", "output": "7"},
        ],
        "tools": [{"type": "function", "name": "stock"}, {"type": "web_search"}],
    }
    told = RESPONSES.read_content(body, None, None)
    call = {"type": "tool_call", "id": "t1", "name": "stock", "arguments": {"item": 42}}
    assert told.system_instructions == [{"type": "text", "content": "Be brief."}]
    assert told.input_messages == [
        {"role": "user", "parts": [{"type": "text", "content": "Stock?"}]},
        {"role": "assistant", "parts": [call]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "t1", "response": "7"}]},
    ]
    assert told.output_messages is None
    assert told.tool_definitions == [
        {"type": "function", "name": "stock"},
        {"type": "web_search", "name": "web_search"},
    ]


def test_a_bare_input_is_the_users() -> None:
    """A string is one message of the user."""
    told = RESPONSES.read_content({"input": "hi"}, REPLY, None)
    assert told.input_messages == [{"role": "user", "parts": [{"type": "text", "content": "hi"}]}]
    assert told.output_messages == DRY


def test_reasoning_and_the_providers_tools_are_parts() -> None:
    """Summaries become reasoning, and searches server tool calls."""
    output = [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"type": "reasoning", "summary": []},
        {"type": "web_search_call", "id": "w1", "status": "completed"},
    ]
    told = RESPONSES.read_content({}, {**REPLY, "output": output}, None).output_messages or []
    parts = [part for message in told for part in message["parts"]]
    assert [part["type"] for part in parts] == ["reasoning", "server_tool_call"]
    assert parts[0]["content"] == "hm"
    assert (parts[1]["id"], parts[1]["name"]) == ("w1", "web_search")


def test_a_complete_stream_has_the_content_of_its_response() -> None:
    """The last event holds the whole output."""
    _, state = fold([CREATED, event("completed", response=REPLY)], keep=True)
    assert RESPONSES.read_content({}, None, state).output_messages == DRY


def test_a_cut_stream_has_the_text_so_far() -> None:
    """Text that had come is kept without a last event."""
    events = [CREATED, event("output_text.delta", delta="Dr"), event("output_text.delta", delta="y.")]
    _, state = fold(events, "abandoned", keep=True)
    assert RESPONSES.read_content({}, None, state).output_messages == DRY


def test_without_content_the_state_keeps_no_text() -> None:
    """Text is not kept while content capture is off."""
    _, state = fold([CREATED, *[event("output_text.delta", delta="a")] * 50])
    assert state.content is None


# --- recognition ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (REPLY, True),
        (CREATED, True),
        (event("output_text.delta", delta="a"), True),
        ({"object": "chat.completion"}, False),
        (TEXT, False),
        ({}, False),
    ],
)
def test_responses_and_their_events_are_recognised(value: dict[str, Any], expected: bool) -> None:
    """The object or the type tells them from the rest."""
    assert RESPONSES.recognises(value) is expected
