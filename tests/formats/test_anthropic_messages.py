"""Anthropic's Messages API: requests, replies, streams, usage, content."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trisignal import semconv as names
from trisignal.call import Draft, Outcome, Usage, buckets
from trisignal.formats import ANSWER, NOTABLE, TOKEN, StreamState, view
from trisignal.formats.anthropic_messages import MESSAGES, by_role, plain, usage

TOLD = {
    "input_tokens": 10,
    "cache_read_input_tokens": 300,
    "cache_creation_input_tokens": 70,
    "cache_creation": {"ephemeral_5m_input_tokens": 50, "ephemeral_1h_input_tokens": 20},
    "output_tokens": 40,
    "output_tokens_details": {"thinking_tokens": 15},
    "service_tier": "standard",
}
MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-x",
    "content": [{"type": "text", "text": "Dry."}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
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
    MESSAGES.read_response(draft, view(reply))
    return draft


def start(**usage: Any) -> dict[str, Any]:
    """The first event of a stream."""
    return {
        "type": "message_start",
        "message": {**MESSAGE, "content": [], "stop_reason": None, "usage": usage},
    }


def delta(index: int, **told: Any) -> dict[str, Any]:
    """A piece of a content block."""
    return {"type": "content_block_delta", "index": index, "delta": told}


def block(index: int, **told: Any) -> dict[str, Any]:
    """The start of a content block."""
    return {"type": "content_block_start", "index": index, "content_block": told}


def finish(reason: str | None = "end_turn", **usage: Any) -> dict[str, Any]:
    """The event that tells the stop reason."""
    return {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}, "usage": usage}


def fold(events: list[Any], outcome: Outcome = "ok", keep: bool = False) -> tuple[Draft, StreamState]:
    """A draft and a state that have seen a whole stream."""
    draft, state = Draft("chat"), StreamState(keep)
    for event in events:
        MESSAGES.fold(draft, state, view(event))
    draft.outcome = outcome
    MESSAGES.end(draft, state)
    return draft, state


# --- requests ------------------------------------------------------------------------


def test_request_parameters_get_the_conventions_names_and_types() -> None:
    """Numbers, stop sequences, effort and output format of a request are kept."""
    draft = Draft("chat")
    MESSAGES.read_request(
        draft,
        {
            "model": "claude-x",
            "max_tokens": 64,
            "temperature": 1,
            "top_p": 0.5,
            "top_k": 4.0,
            "stop_sequences": ["END"],
            "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {}}},
            "stream": True,
        },
    )
    assert draft.request_model == "claude-x"
    assert draft.fields == {
        names.REQUEST_MAX_TOKENS: 64,
        names.REQUEST_TEMPERATURE: 1.0,
        names.REQUEST_TOP_P: 0.5,
        names.REQUEST_TOP_K: 4,
        names.REQUEST_STOP_SEQUENCES: ("END",),
        names.REQUEST_REASONING_LEVEL: "low",
        names.OUTPUT_TYPE: "json",
        names.REQUEST_STREAM: True,
    }


def test_a_thinking_budget_is_no_reasoning_level() -> None:
    """Only an effort that was sent as a word becomes the level."""
    draft = Draft("chat")
    MESSAGES.read_request(draft, {"model": "m", "thinking": {"type": "enabled", "budget_tokens": 99}})
    assert names.REQUEST_REASONING_LEVEL not in draft.fields


def test_a_stream_that_was_not_asked_for_is_left_out() -> None:
    """``stream: false`` leaves no field."""
    draft = Draft("chat")
    MESSAGES.read_request(draft, {"model": "m", "stream": False})
    assert draft.fields == {}


def test_legacy_completions_name_their_token_limit_differently() -> None:
    """``max_tokens_to_sample`` is the token limit too."""
    draft = Draft("text_completion")
    MESSAGES.read_request(draft, {"model": "m", "prompt": "\n\nHuman: hi", "max_tokens_to_sample": 8})
    assert draft.fields == {names.REQUEST_MAX_TOKENS: 8}


# --- replies -------------------------------------------------------------------------


def test_input_is_the_sum_of_fresh_read_and_written_tokens() -> None:
    """Cache reads and writes become parts of an inclusive input."""
    assert usage(TOLD) == Usage(380, 40, 300, 70, 20, 15)


def test_counts_that_are_not_told_stay_unknown() -> None:
    """A usage without cache counts or details does not claim zeros."""
    assert usage({"input_tokens": 5, "output_tokens": 6}) == Usage(5, 6)
    assert usage({"input_tokens": 5, "output_tokens": 6, "cache_read_input_tokens": 0}) == Usage(5, 6, 0)
    assert usage({}) is None
    assert usage(None) is None


def test_models_that_the_provider_consults_are_not_counted() -> None:
    """Iterations are not added to totals that leave them out."""
    told = {"input_tokens": 5, "output_tokens": 6, "iterations": [{"input_tokens": 90, "output_tokens": 9}]}
    assert usage(told) == Usage(5, 6)


@pytest.mark.parametrize("reason", ["end_turn", "max_tokens", "tool_use", "stop_sequence", "refusal", "pause_turn"])
def test_the_stop_reason_is_kept_as_the_vendor_says_it(reason: str) -> None:
    """Stop reasons are not translated."""
    assert read({**MESSAGE, "stop_reason": reason}).finish_reasons == (reason,)


def test_a_reply_tells_model_id_tier_and_usage() -> None:
    """The head of a message is read."""
    draft = read(MESSAGE)
    assert (draft.response_model, draft.response_id, draft.tier) == ("claude-x", "msg_1", "standard")
    assert draft.usage == Usage(380, 40, 300, 70, 20, 15)


def test_the_fast_mode_counts_as_the_tier() -> None:
    """A speed that costs extra replaces the service tier."""
    assert read({**MESSAGE, "usage": {**TOLD, "speed": "fast"}}).tier == "fast"


def test_a_vendor_object_reads_like_its_json() -> None:
    """The SDK's message and the decoded body give the same facts."""
    types = pytest.importorskip("anthropic.types")
    one, other = read(types.Message.model_validate(MESSAGE)), read(MESSAGE)
    for fact in ("usage", "tier", "finish_reasons", "response_id", "response_model"):
        assert getattr(one, fact) == getattr(other, fact)


def test_a_legacy_completion_has_no_usage() -> None:
    """A reply of the completions API has a model, an id and a stop reason only."""
    reply = {
        "type": "completion",
        "id": "c1",
        "model": "claude-0",
        "completion": " Hi",
        "stop_reason": "stop_sequence",
    }
    draft = read(reply)
    assert (draft.response_id, draft.response_model, draft.finish_reasons) == (
        "c1",
        "claude-0",
        ("stop_sequence",),
    )
    assert draft.usage is None


# --- streams -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "flags"),
    [
        (start(input_tokens=1), NOTABLE),
        (block(0, type="text", text=""), 0),
        (block(0, type="thinking", thinking=""), 0),
        (block(0, type="tool_use", id="t", name="f", input={}), TOKEN | ANSWER),
        (block(0, type="server_tool_use", id="t", name="f", input={}), TOKEN | NOTABLE),
        (block(0, type="web_search_tool_result", tool_use_id="t", content=[]), 0),
        (delta(0, type="text_delta", text="a"), TOKEN | ANSWER),
        (delta(0, type="text_delta", text=""), 0),
        (delta(0, type="thinking_delta", thinking="a"), TOKEN),
        (delta(0, type="input_json_delta", partial_json='{"'), TOKEN | ANSWER),
        (delta(0, type="signature_delta", signature="x"), 0),
        (delta(0, type="citations_delta", citation={}), 0),
        ({"type": "content_block_stop", "index": 0}, 0),
        ({"type": "ping"}, 0),
        (finish(), NOTABLE),
        ({"type": "message_stop"}, NOTABLE),
        ({"type": "error", "error": {"type": "overloaded_error"}}, NOTABLE),
        ({"type": "completion", "completion": " a", "stop_reason": None}, TOKEN | ANSWER),
        ({"type": "completion", "completion": "", "stop_reason": "stop_sequence"}, NOTABLE),
        ({"completion": " a", "stop_reason": None}, TOKEN | ANSWER),
        ({"completion": "", "stop_reason": "stop_sequence"}, NOTABLE),
    ],
)
def test_each_event_has_its_flags(event: dict[str, Any], flags: int) -> None:
    """Tokens, answers and notable facts are told apart."""
    assert MESSAGES.look(event) == flags


def test_a_vendor_event_has_the_flags_of_its_json() -> None:
    """The SDK's events are looked at like dicts."""
    types = pytest.importorskip("anthropic.types")
    event = delta(0, type="text_delta", text="a")
    assert MESSAGES.look(types.RawContentBlockDeltaEvent.model_validate(event)) == TOKEN | ANSWER


def test_only_pieces_of_blocks_may_be_skipped() -> None:
    """Every other event, and every dict, is worth folding."""
    types = pytest.importorskip("anthropic.types")
    piece = delta(0, type="text_delta", text="a")
    assert MESSAGES.ends is not None
    assert not MESSAGES.ends(types.RawContentBlockDeltaEvent.model_validate(piece))
    assert MESSAGES.ends(types.RawMessageStartEvent.model_validate(start(input_tokens=1, output_tokens=1)))
    assert MESSAGES.ends(piece)


def test_the_counts_of_the_last_event_replace_the_first() -> None:
    """Cumulative counts win, and what they leave out stays as told first."""
    split = {"ephemeral_1h_input_tokens": 2, "ephemeral_5m_input_tokens": 1}
    first = start(
        input_tokens=5,
        cache_creation_input_tokens=3,
        cache_creation=split,
        output_tokens=1,
        service_tier="priority",
    )
    draft, state = fold([first, finish(input_tokens=9, output_tokens=7, cache_read_input_tokens=100)])
    assert draft.usage == Usage(112, 7, 100, 3, 2)
    assert draft.tier == "priority"
    assert state.finished


def test_a_stream_tells_model_id_and_reason() -> None:
    """The facts of a stream are those of the message."""
    draft, _ = fold([start(input_tokens=1, output_tokens=1), finish("tool_use", output_tokens=2)])
    assert (draft.response_model, draft.response_id, draft.finish_reasons) == (
        "claude-x",
        "msg_1",
        ("tool_use",),
    )


def test_a_cut_stream_keeps_its_partial_usage_and_an_error_reason() -> None:
    """Without a stop reason the reason is ``error`` and the first counts stay."""
    draft, state = fold([start(input_tokens=8, output_tokens=1)], outcome="abandoned")
    assert draft.usage == Usage(8, 1)
    assert draft.finish_reasons == ("error",)
    assert not state.finished


def test_a_reason_once_told_stays() -> None:
    """A later event without a reason takes none away."""
    draft, state = fold([start(), finish("refusal"), finish(None, output_tokens=3)])
    assert (draft.finish_reasons, state.finished) == (("refusal",), True)


def test_an_error_event_is_kept() -> None:
    """The error object of an event is there for classification."""
    _, state = fold([start(), {"type": "error", "error": {"type": "overloaded_error", "message": "m"}}], "error")
    assert state.error == {"type": "overloaded_error", "message": "m"}


@pytest.mark.parametrize("kind", [{"type": "completion"}, {}], ids=["anthropic", "bedrock"])
def test_a_legacy_stream_ends_with_its_stop_reason(kind: dict[str, str]) -> None:
    """Completion events have model, id and reason; Bedrock leaves their type out."""
    head = {**kind, "id": "c1", "model": "claude-0"}
    events = [
        {**head, "completion": " a", "stop_reason": None},
        {**head, "completion": "", "stop_reason": "max_tokens"},
    ]
    draft, state = fold(events)
    assert (draft.response_id, draft.finish_reasons, state.finished) == ("c1", ("max_tokens",), True)


def test_without_content_the_state_does_not_grow() -> None:
    """Text is not kept while content capture is off."""
    events = [start(), block(0, type="text", text=""), *[delta(0, type="text_delta", text="a")] * 50]
    _, state = fold(events)
    assert state.content is None


# --- content -------------------------------------------------------------------------


def test_a_request_becomes_messages_and_instructions() -> None:
    """Text, media, reasoning and tools get their parts, and answers of tools their own message."""
    body = {
        "system": [{"type": "text", "text": "Be brief."}],
        "messages": [
            {"role": "user", "content": "hi"},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "s"},
                    {"type": "tool_use", "id": "t1", "name": "stock", "input": {"item": 42}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": '{"left": 7}'},
                    {"type": "text", "text": "and this?"},
                    {
                        "type": "image",
                        "source": {"type": "base64", "media_type": "image/png", "data": "aGk="},
                    },
                    {"type": "image", "source": {"type": "url", "url": "https://cdn.example/a.png"}},
                    {"type": "document", "source": {"type": "file", "file_id": "f1"}},
                    {
                        "type": "document",
                        "source": {"type": "text", "media_type": "text/plain", "data": "note"},
                    },
                ],
            },
        ],
        "tools": [
            {"name": "stock", "input_schema": {}},
            {"type": "web_search_20250305", "name": "web_search"},
        ],
    }
    told = MESSAGES.read_content(body, None, None)
    assert told.system_instructions == [{"type": "text", "content": "Be brief."}]
    assert told.input_messages == [
        {"role": "user", "parts": [{"type": "text", "content": "hi"}]},
        {
            "role": "assistant",
            "parts": [
                {"type": "reasoning", "content": "hm"},
                {"type": "tool_call", "id": "t1", "name": "stock", "arguments": {"item": 42}},
            ],
        },
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "t1", "response": {"left": 7}}]},
        {
            "role": "user",
            "parts": [
                {"type": "text", "content": "and this?"},
                {"type": "blob", "modality": "image", "mime_type": "image/png", "content": "aGk="},
                {"type": "uri", "modality": "image", "uri": "https://cdn.example/a.png"},
                {"type": "file", "modality": "document", "file_id": "f1"},
                {"type": "text", "content": "note"},
            ],
        },
    ]
    assert told.output_messages is None
    assert told.tool_definitions == [
        {"type": "function", "name": "stock"},
        {"type": "web_search_20250305", "name": "web_search"},
    ]


def test_tools_of_the_provider_have_parts_of_their_own() -> None:
    """Calls that the provider makes itself are server tool calls."""
    reply = {
        **MESSAGE,
        "content": [
            {"type": "server_tool_use", "id": "w1", "name": "web_search", "input": {"query": "rain"}},
            {
                "type": "web_search_tool_result",
                "tool_use_id": "w1",
                "content": [{"type": "web_search_result"}],
            },
            {"type": "text", "text": "Dry."},
        ],
    }
    assert MESSAGES.read_content({}, reply, None).output_messages == [
        {
            "role": "assistant",
            "parts": [
                {
                    "type": "server_tool_call",
                    "id": "w1",
                    "name": "web_search",
                    "server_tool_call": {"type": "web_search", "input": {"query": "rain"}},
                },
                {
                    "type": "server_tool_call_response",
                    "id": "w1",
                    "server_tool_call_response": {
                        "type": "web_search",
                        "content": [{"type": "web_search_result"}],
                    },
                },
                {"type": "text", "content": "Dry."},
            ],
        }
    ]


def test_a_stream_folds_to_the_content_of_its_message() -> None:
    """Deltas are joined per block, in the order of the blocks."""
    events = [
        start(),
        block(0, type="thinking", thinking="", signature=""),
        delta(0, type="thinking_delta", thinking="h"),
        delta(0, type="thinking_delta", thinking="m"),
        delta(0, type="signature_delta", signature="s"),
        block(1, type="text", text=""),
        delta(1, type="text_delta", text="Dr"),
        delta(1, type="text_delta", text="y."),
        block(2, type="tool_use", id="t1", name="stock", input={}),
        delta(2, type="input_json_delta", partial_json='{"item"'),
        delta(2, type="input_json_delta", partial_json=": 42}"),
        finish(),
    ]
    _, state = fold(events, keep=True)
    assert MESSAGES.read_content({}, None, state).output_messages == [
        {
            "role": "assistant",
            "parts": [
                {"type": "reasoning", "content": "hm"},
                {"type": "text", "content": "Dry."},
                {"type": "tool_call", "id": "t1", "name": "stock", "arguments": {"item": 42}},
            ],
        }
    ]


def test_a_legacy_completion_has_content_in_both_directions() -> None:
    """Prompt and completion become one message each, streamed or not."""
    request = {"prompt": "\n\nHuman: hi"}
    expected = [{"role": "assistant", "parts": [{"type": "text", "content": " Hi there"}]}]
    whole = MESSAGES.read_content(request, {"completion": " Hi there"}, None)
    _, state = fold(
        [{"type": "completion", "completion": " Hi"}, {"type": "completion", "completion": " there"}],
        keep=True,
    )
    assert whole.input_messages == [{"role": "user", "parts": [{"type": "text", "content": "\n\nHuman: hi"}]}]
    assert whole.output_messages == MESSAGES.read_content(request, None, state).output_messages == expected


def test_a_vendor_object_has_the_content_of_its_json() -> None:
    """Blocks of the SDK become the same parts as decoded ones."""
    types = pytest.importorskip("anthropic.types")
    reply = {**MESSAGE, "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {"a": [1, None]}}]}
    seen = MESSAGES.read_content({}, types.Message.model_validate(reply), None)
    assert seen.output_messages == MESSAGES.read_content({}, reply, None).output_messages


def test_an_iterator_of_messages_is_left_alone() -> None:
    """Reading content never consumes what the application may still read."""
    given_messages = iter([{"role": "user", "content": "hi"}])
    assert MESSAGES.read_content({"messages": given_messages}, None, None).input_messages is None
    assert len(list(given_messages)) == 1


def test_an_empty_output_is_no_output() -> None:
    """A message without any part is left out."""
    assert MESSAGES.read_content({}, {**MESSAGE, "content": []}, None).output_messages is None


# --- properties ----------------------------------------------------------------------


@given(COUNT, COUNT, COUNT, COUNT, COUNT, COUNT)
def test_buckets_sum_to_the_totals(
    fresh: int | None,
    read: int | None,
    write: int | None,
    hour: int | None,
    out: int | None,
    thought: int | None,
) -> None:
    """Whatever is told, the disjoint buckets add up to input plus output."""
    told = usage(
        {
            "input_tokens": fresh,
            "cache_read_input_tokens": read,
            "cache_creation_input_tokens": write,
            "cache_creation": {"ephemeral_1h_input_tokens": hour},
            "output_tokens": out,
            "output_tokens_details": {"thinking_tokens": thought},
        }
    )
    if told is None:
        assert (fresh, out) == (None, None)
        return
    assert sum(buckets(told)) == (told.input or 0) + (told.output or 0)
    if fresh is not None:
        assert told.input == fresh + (read or 0) + (write or 0)


@given(st.dictionaries(st.sampled_from([*TOLD, "speed"]), JSON), JSON)
def test_no_usage_breaks_the_reader(told: dict[str, Any], other: Any) -> None:
    """Usage of any JSON shape is read or ignored."""
    for raw in (told, other):
        found = usage(raw)
        assert found is None or sum(buckets(found)) == (found.input or 0) + (found.output or 0)
        read({**MESSAGE, "usage": raw})


@given(
    st.sampled_from(["message", "message_start", "message_delta", "message_stop", "completion", "error", "x"]),
    st.dictionaries(st.sampled_from([*MESSAGE, "error", "delta", "message", "completion"]), JSON),
)
def test_no_json_breaks_the_readers(kind: str, rest: dict[str, Any]) -> None:
    """A reply or event of any JSON shape is read or ignored."""
    body = {**rest, "type": kind}
    read(body)
    MESSAGES.recognises(body)
    MESSAGES.read_content({}, body, None)
    fold([body])


@given(
    st.dictionaries(
        st.sampled_from(["model", "max_tokens", "stop_sequences", "output_config", "system", "messages", "tools"]),
        JSON,
    )
)
def test_no_json_breaks_the_reading_of_a_request(body: dict[str, Any]) -> None:
    """A request of any JSON shape is read or ignored."""
    MESSAGES.read_request(Draft("chat"), body)
    MESSAGES.read_content(body, None, None)


@given(st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=6))
def test_a_text_is_the_sum_of_its_deltas(pieces: list[str]) -> None:
    """However a text is cut into deltas, it is whole in the content."""
    events = [block(0, type="text", text=""), *[delta(0, type="text_delta", text=piece) for piece in pieces]]
    _, state = fold(events, keep=True)
    (message,) = MESSAGES.read_content({}, None, state).output_messages or []
    assert message["parts"] == [{"type": "text", "content": "".join(pieces)}]


@given(st.lists(st.sampled_from(["text", "tool_call_response", "blob"])))
def test_splitting_by_role_keeps_every_part_in_order(kinds: list[str]) -> None:
    """Parts stay complete and in order; only answers of tools have the role tool."""
    parts = [{"type": kind, "n": n} for n, kind in enumerate(kinds)]
    messages = by_role("user", parts)
    assert [part for message in messages for part in message["parts"]] == parts
    for message in messages:
        for part in message["parts"]:
            assert (message["role"] == "tool") is (part["type"] == "tool_call_response")


@given(JSON)
def test_json_is_plain_already(value: Any) -> None:
    """Plain values pass unchanged, but for members that are none."""
    assert plain(plain(value)) == plain(value)
    assert plain([value, b"hi"])[1] == "aGk="
