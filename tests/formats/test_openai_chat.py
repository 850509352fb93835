"""OpenAI's chat completions, legacy completions and embeddings, with what other vendors add."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from trisignal import semconv as names
from trisignal.call import Draft, Outcome, Usage, buckets
from trisignal.formats import ANSWER, NOTABLE, TOKEN, StreamState, view
from trisignal.formats.openai_chat import CHAT, usage
from trisignal.formats.openai_embeddings import EMBEDDINGS

TOLD: dict[str, Any] = {
    "prompt_tokens": 100,
    "completion_tokens": 40,
    "total_tokens": 140,
    "prompt_tokens_details": {"cached_tokens": 60, "audio_tokens": 20},
    "completion_tokens_details": {"reasoning_tokens": 15, "audio_tokens": 5},
}
REPLY: dict[str, Any] = {
    "id": "c1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-x",
    "service_tier": "default",
    "system_fingerprint": "fp",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Dry."}}],
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
    CHAT.read_response(draft, view(reply))
    return draft


def requested(**body: Any) -> Draft:
    """A draft that has seen one request."""
    draft = Draft("chat")
    CHAT.read_request(draft, {"model": "gpt-x", **body})
    return draft


def chunk(index: int = 0, reason: str | None = None, **delta: Any) -> dict[str, Any]:
    """A chunk with one choice."""
    choice = {"index": index, "delta": delta, "finish_reason": reason}
    return {
        "id": "c1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "gpt-x",
        "choices": [choice],
    }


def fold(chunks: list[Any], outcome: Outcome = "ok", keep: bool = False) -> tuple[Draft, StreamState]:
    """A draft and a state that have seen a whole stream."""
    draft, state = Draft("chat"), StreamState(keep)
    for told in chunks:
        CHAT.fold(draft, state, view(told))
    draft.outcome = outcome
    CHAT.end(draft, state)
    return draft, state


# --- requests ------------------------------------------------------------------------


def test_request_parameters_get_the_conventions_names_and_types() -> None:
    """Numbers, choices, stops, output type, effort and tier of a request are kept."""
    draft = requested(
        temperature=1,
        top_p=0.5,
        frequency_penalty=0.1,
        presence_penalty=0.2,
        seed=7,
        max_completion_tokens=64,
        n=2,
        stop="END",
        response_format={"type": "json_schema"},
        reasoning_effort="low",
        service_tier="flex",
    )
    assert draft.request_model == "gpt-x"
    assert draft.fields == {
        names.REQUEST_TEMPERATURE: 1.0,
        names.REQUEST_TOP_P: 0.5,
        names.REQUEST_FREQUENCY_PENALTY: 0.1,
        names.REQUEST_PRESENCE_PENALTY: 0.2,
        names.REQUEST_SEED: 7,
        names.REQUEST_MAX_TOKENS: 64,
        names.REQUEST_CHOICE_COUNT: 2,
        names.REQUEST_STOP_SEQUENCES: ("END",),
        names.OUTPUT_TYPE: "json",
        names.REQUEST_REASONING_LEVEL: "low",
        names.OPENAI_REQUEST_SERVICE_TIER: "flex",
    }


def test_defaults_leave_no_field() -> None:
    """One choice, the automatic tier and unset members are left out."""
    assert requested(n=1, service_tier="auto", temperature=None, stop=None, max_tokens=None).fields == {}


def test_a_class_as_response_format_asks_for_json() -> None:
    """Frameworks take a class of pydantic's, whose own fields are not settings."""

    class Answer(BaseModel):
        model_config = ConfigDict(extra="allow")
        city: str

    assert requested(response_format=Answer).fields == {names.OUTPUT_TYPE: "json"}


def test_several_stop_sequences_are_kept_in_order() -> None:
    """A list of stops stays a list."""
    assert requested(stop=["a", "b"]).fields == {names.REQUEST_STOP_SEQUENCES: ("a", "b")}


def test_a_truth_value_is_no_number() -> None:
    """Booleans in place of numbers are ignored."""
    assert requested(temperature=True, max_tokens=False).fields == {}


# --- usage ---------------------------------------------------------------------------


def test_details_are_parts_of_the_totals() -> None:
    """OpenAI's totals include cached, reasoning and audio tokens."""
    assert usage(TOLD) == Usage(100, 40, 60, None, None, 15, 20, None, 5)


@pytest.mark.parametrize(
    ("added", "expected"),
    [
        ({}, Usage(9, 4)),
        ({"prompt_cache_hit_tokens": 6, "prompt_cache_miss_tokens": 3}, Usage(9, 4, 6)),
        ({"prompt_tokens_details": {"cached_tokens": 6, "cache_write_tokens": 2}}, Usage(9, 4, 6, 2)),
        ({"prompt_tokens_details": None, "completion_tokens_details": None}, Usage(9, 4)),
        ({"reasoning_tokens": 3}, Usage(9, 4, reasoning=3)),
        ({"prompt_tokens_details": {"audio_tokens": 0, "image_tokens": 0}}, Usage(9, 4)),
    ],
)
def test_usage_of_each_vendor(added: dict[str, Any], expected: Usage) -> None:
    """Vendors put cache and reasoning counts in places of their own."""
    assert usage({"prompt_tokens": 9, "completion_tokens": 4, **added}) == expected


def test_usage_without_counts_is_no_usage() -> None:
    """Nothing told is not zero."""
    assert usage({}) is None
    assert usage(None) is None
    assert usage({"total_tokens": 4}) is None


@given(COUNT, COUNT, COUNT, COUNT, COUNT, COUNT, COUNT)
def test_buckets_sum_to_the_totals(
    prompt: int | None,
    completion: int | None,
    read: int | None,
    write: int | None,
    thought: int | None,
    heard: int | None,
    said: int | None,
) -> None:
    """Whatever is told, the disjoint buckets add up to input plus output."""
    told = usage(
        {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "prompt_tokens_details": {
                "cached_tokens": read,
                "cache_write_tokens": write,
                "audio_tokens": heard,
            },
            "completion_tokens_details": {"reasoning_tokens": thought, "audio_tokens": said},
        }
    )
    if told is None:
        assert (prompt, completion) == (None, None)
        return
    assert (told.input, told.output) == (prompt, completion)
    assert sum(buckets(told)) == (prompt or 0) + (completion or 0)


@given(st.dictionaries(st.sampled_from([*TOLD, "prompt_cache_hit_tokens", "reasoning_tokens"]), JSON), JSON)
def test_no_usage_breaks_the_reader(told: dict[str, Any], other: Any) -> None:
    """Usage of any JSON shape is read or ignored."""
    for raw in (told, other):
        found = usage(raw)
        assert found is None or sum(buckets(found)) == (found.input or 0) + (found.output or 0)


# --- replies -------------------------------------------------------------------------


def test_a_reply_tells_its_facts() -> None:
    """Model, id, tier, fingerprint, reasons and usage are read."""
    draft = read(REPLY)
    assert (draft.response_model, draft.response_id, draft.tier) == ("gpt-x", "c1", "default")
    assert draft.finish_reasons == ("stop",)
    assert draft.usage == Usage(100, 40, 60, None, None, 15, 20, None, 5)
    assert draft.fields == {
        names.OPENAI_RESPONSE_SERVICE_TIER: "default",
        names.OPENAI_SYSTEM_FINGERPRINT: "fp",
    }


def test_a_vendor_object_reads_like_its_json() -> None:
    """The SDK's completion and the decoded body give the same facts."""
    chat = pytest.importorskip("openai").types.chat
    one, other = read(chat.ChatCompletion.model_validate(REPLY)), read(REPLY)
    for fact in ("usage", "tier", "finish_reasons", "response_id", "response_model", "fields"):
        assert getattr(one, fact) == getattr(other, fact)


def test_a_member_that_the_sdk_does_not_know_is_read() -> None:
    """Usage that a vendor adds to OpenAI's structure is found in the SDK's object too."""
    chat = pytest.importorskip("openai").types.chat
    told = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13, "prompt_cache_hit_tokens": 6}
    assert read(chat.ChatCompletion.model_validate({**REPLY, "usage": told})).usage == Usage(9, 4, 6)


def test_every_choice_has_a_reason() -> None:
    """Reasons are aligned with the choices, and a missing one is an error."""
    choices = [{"finish_reason": "length"}, {"finish_reason": None}]
    assert read({**REPLY, "choices": choices}).finish_reasons == ("length", "error")


# --- streams -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "flags"),
    [
        (chunk(role="assistant", content=""), 0),
        (chunk(content="a"), TOKEN | ANSWER),
        (chunk(refusal="no"), TOKEN | ANSWER),
        (chunk(tool_calls=[{"index": 0}]), TOKEN | ANSWER),
        (chunk(reasoning_content="hm"), TOKEN),
        (chunk(reasoning="hm"), TOKEN),
        (chunk(reason="stop"), NOTABLE),
        ({**chunk(), "choices": []}, NOTABLE),
        ({**chunk(content="a"), "usage": TOLD}, NOTABLE | TOKEN | ANSWER),
        ({"choices": [{"index": 0, "text": "a", "finish_reason": None}]}, TOKEN | ANSWER),
        ({"choices": [{"index": 0, "text": "", "finish_reason": "stop"}]}, NOTABLE),
        ({"error": {"code": "x"}}, NOTABLE),
    ],
)
def test_each_chunk_has_its_flags(told: dict[str, Any], flags: int) -> None:
    """Roles alone are not a token, and thoughts are not an answer."""
    assert CHAT.look(told) == flags


def test_a_vendor_chunk_has_the_flags_of_its_json() -> None:
    """The SDK's chunks are looked at like dicts, with members that it does not know."""
    chat = pytest.importorskip("openai").types.chat
    for told in (
        chunk(content="a"),
        chunk(reasoning_content="hm"),
        chunk(role="assistant"),
        chunk(reason="stop"),
    ):
        assert CHAT.look(chat.ChatCompletionChunk.model_validate(told)) == CHAT.look(told)


def test_a_stream_tells_the_facts_of_a_reply() -> None:
    """Reason and usage come with the last chunks."""
    chunks = [
        chunk(role="assistant"),
        chunk(content="a"),
        chunk(reason="stop"),
        {**chunk(), "choices": [], "usage": TOLD},
    ]
    draft, state = fold(chunks)
    assert (draft.response_model, draft.response_id, draft.finish_reasons) == ("gpt-x", "c1", ("stop",))
    assert draft.usage == usage(TOLD)
    assert state.finished


def test_an_empty_usage_takes_nothing_back() -> None:
    """Zeros after the counts, as some hosts send with their last chunk, are a placeholder; alone they are the usage."""
    empty = {**chunk(), "choices": [], "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}}
    draft, _ = fold([chunk(content="a"), {**chunk(reason="stop"), "usage": TOLD}, empty])
    assert draft.usage == usage(TOLD)
    draft, _ = fold([chunk(content="a"), empty])
    assert draft.usage == Usage(0, 0)


def test_groqs_usage_is_found_in_its_extension() -> None:
    """A vendor's extension may carry the usage."""
    told = {"id": "q", "usage": {"prompt_tokens": 9, "completion_tokens": 4}}
    draft, _ = fold([chunk(content="a"), {**chunk(reason="stop"), "x_groq": told}])
    assert draft.usage == Usage(9, 4)


def test_choices_of_a_stream_keep_their_places() -> None:
    """Reasons go to the choice that they were told for."""
    chunks = [
        chunk(1, content="a"),
        chunk(0, content="b"),
        chunk(1, reason="length"),
        chunk(0, reason="stop"),
    ]
    assert fold(chunks)[0].finish_reasons == ("stop", "length")


@pytest.mark.parametrize("outcome", ["error", "cancelled", "abandoned"])
def test_a_cut_stream_has_an_error_for_each_choice(outcome: Outcome) -> None:
    """Without any reason each choice that began ends in an error."""
    draft, state = fold([chunk(0, content="a"), chunk(1, content="b")], outcome)
    assert draft.finish_reasons == ("error", "error")
    assert not state.finished


def test_an_error_in_a_stream_is_kept() -> None:
    """The error object of a chunk is there for classification."""
    _, state = fold([chunk(content="a"), {"error": {"code": "boom"}}], "error")
    assert state.error == {"code": "boom"}


# --- content -------------------------------------------------------------------------


def test_a_request_becomes_messages() -> None:
    """Texts, media, calls and their answers get the conventions' structure."""
    body = {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "name": "Ada",
                "content": [
                    {"type": "text", "text": "Stock?"},
                    {"type": "image_url", "image_url": {"url": "https://cdn.example/a.png"}},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
                    {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "mp3"}},
                    {"type": "file", "file": {"file_id": "f1"}},
                ],
            },
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "t1", "function": {"name": "stock", "arguments": '{"item": 42}'}}],
            },
            {"role": "tool", "tool_call_id": "t1", "content": '{"left": 7}'},
        ],
        "tools": [{"type": "function", "function": {"name": "stock", "parameters": {}}}],
    }
    told = CHAT.read_content(body, None, None)
    assert told.input_messages == [
        {"role": "system", "parts": [{"type": "text", "content": "Be brief."}]},
        {
            "role": "user",
            "name": "Ada",
            "parts": [
                {"type": "text", "content": "Stock?"},
                {"type": "uri", "modality": "image", "uri": "https://cdn.example/a.png"},
                {"type": "blob", "modality": "image", "mime_type": "image/png", "content": "aGk="},
                {"type": "blob", "modality": "audio", "mime_type": "audio/mp3", "content": "aGk="},
                {"type": "file", "modality": "document", "file_id": "f1"},
            ],
        },
        {
            "role": "assistant",
            "parts": [{"type": "tool_call", "name": "stock", "arguments": {"item": 42}, "id": "t1"}],
        },
        {"role": "tool", "parts": [{"type": "tool_call_response", "response": {"left": 7}, "id": "t1"}]},
    ]
    assert told.system_instructions is None
    assert told.output_messages is None
    assert told.tool_definitions == [{"type": "function", "name": "stock"}]


def test_each_choice_is_an_output_message() -> None:
    """Reasoning, refusals and texts of a reply are parts."""
    choices = [
        {"message": {"role": "assistant", "content": "Dry.", "reasoning_content": "hm"}},
        {"message": {"role": "assistant", "content": None, "refusal": "No."}},
    ]
    assert CHAT.read_content({}, {"choices": choices}, None).output_messages == [
        {
            "role": "assistant",
            "parts": [{"type": "reasoning", "content": "hm"}, {"type": "text", "content": "Dry."}],
        },
        {"role": "assistant", "parts": [{"type": "text", "content": "No."}]},
    ]


def test_a_legacy_completion_has_content_in_both_directions() -> None:
    """Prompts and texts become messages."""
    told = CHAT.read_content({"prompt": ["a", "b"]}, {"choices": [{"text": "c"}]}, None)
    assert told.input_messages == [{"role": "user", "parts": [{"type": "text", "content": word}]} for word in "ab"]
    assert told.output_messages == [{"role": "assistant", "parts": [{"type": "text", "content": "c"}]}]


def test_a_stream_folds_to_the_content_of_its_choices() -> None:
    """Deltas are joined per choice and per tool call."""
    chunks = [
        chunk(role="assistant", reasoning_content="hm"),
        chunk(content="Dr"),
        chunk(1, content="Wet."),
        chunk(content="y."),
        chunk(tool_calls=[{"index": 0, "id": "t1", "function": {"name": "stock", "arguments": '{"item"'}}]),
        chunk(tool_calls=[{"index": 0, "function": {"arguments": ": 42}"}}]),
        chunk(reason="tool_calls"),
    ]
    _, state = fold(chunks, keep=True)
    assert CHAT.read_content({}, None, state).output_messages == [
        {
            "role": "assistant",
            "parts": [
                {"type": "reasoning", "content": "hm"},
                {"type": "text", "content": "Dry."},
                {"type": "tool_call", "name": "stock", "arguments": {"item": 42}, "id": "t1"},
            ],
        },
        {"role": "assistant", "parts": [{"type": "text", "content": "Wet."}]},
    ]


@given(st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=6))
def test_a_text_is_the_sum_of_its_deltas(pieces: list[str]) -> None:
    """However a text is cut into deltas, it is whole in the content."""
    _, state = fold([chunk(content=piece) for piece in pieces], keep=True)
    (message,) = CHAT.read_content({}, None, state).output_messages or []
    assert message["parts"] == [{"type": "text", "content": "".join(pieces)}]


def test_without_content_the_state_keeps_no_text() -> None:
    """Text is not kept while content capture is off."""
    _, state = fold([chunk(content="a")] * 50)
    assert state.content is None
    assert state.finishes == {0: ""}


# --- embeddings ----------------------------------------------------------------------

VECTORS = {
    "object": "list",
    "model": "embed-x",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}],
    "usage": {"prompt_tokens": 5, "total_tokens": 5},
}


def test_embeddings_tell_model_tokens_and_dimensions() -> None:
    """Embeddings have no output side."""
    draft = Draft("embeddings")
    EMBEDDINGS.read_request(draft, {"model": "embed", "input": "hi", "encoding_format": "float"})
    EMBEDDINGS.read_response(draft, VECTORS)
    assert (draft.request_model, draft.response_model, draft.usage) == ("embed", "embed-x", Usage(5))
    assert draft.fields == {names.REQUEST_ENCODING_FORMATS: ("float",), names.EMBEDDINGS_DIMENSION_COUNT: 2}


def test_requested_dimensions_are_kept() -> None:
    """Vectors in base64 do not tell their length, so the request does."""
    draft = Draft("embeddings")
    EMBEDDINGS.read_request(draft, {"model": "embed", "dimensions": 64})
    EMBEDDINGS.read_response(draft, {**VECTORS, "data": [{"embedding": "AAAA"}]})
    assert draft.fields == {names.EMBEDDINGS_DIMENSION_COUNT: 64}


def test_tokens_may_be_told_as_a_total_only() -> None:
    """A vendor that tells the total only has told the input."""
    draft = Draft("embeddings")
    EMBEDDINGS.read_response(draft, {**VECTORS, "usage": {"total_tokens": 8}})
    assert draft.usage == Usage(8)


def test_embeddings_have_no_content() -> None:
    """The conventions know no messages of embeddings."""
    told = EMBEDDINGS.read_content({"input": "hi"}, VECTORS, None)
    assert told == type(told)()


# --- recognition ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("chat.completion", True),
        ("chat.completion.chunk", True),
        ("text_completion", True),
        ("response", False),
        (None, False),
    ],
)
def test_completions_are_recognised_by_their_object(kind: str | None, expected: bool) -> None:
    """The object member tells completions and chunks from the rest."""
    assert CHAT.recognises({"object": kind}) is expected


def test_embeddings_are_recognised_by_their_vectors() -> None:
    """A list of anything else is not a list of embeddings."""
    assert EMBEDDINGS.recognises(VECTORS)
    assert not EMBEDDINGS.recognises({"object": "list", "data": [{"id": "m", "object": "model"}]})
    assert not EMBEDDINGS.recognises({"object": "list", "data": []})
