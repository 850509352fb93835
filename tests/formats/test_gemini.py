"""Google's generateContent and embedContent, in the SDK's spelling and in that of REST."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trisignal import semconv as names
from trisignal.call import Draft, Outcome, Usage, buckets
from trisignal.formats import ANSWER, NOTABLE, TOKEN, StreamState, view
from trisignal.formats.gemini import EMBED_CONTENT, GENERATE_CONTENT, usage

METADATA: dict[str, Any] = {
    "promptTokenCount": 100,
    "toolUsePromptTokenCount": 20,
    "cachedContentTokenCount": 60,
    "candidatesTokenCount": 30,
    "thoughtsTokenCount": 12,
    "totalTokenCount": 162,
    "promptTokensDetails": [
        {"modality": "TEXT", "tokenCount": 40},
        {"modality": "AUDIO", "tokenCount": 50},
        {"modality": "IMAGE", "tokenCount": 10},
    ],
    "toolUsePromptTokensDetails": [
        {"modality": "AUDIO", "tokenCount": 5},
        {"modality": "TEXT", "tokenCount": 15},
    ],
    "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 30}],
    "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 45}, {"modality": "TEXT", "tokenCount": 15}],
}
NORMAL = Usage(120, 42, 60, None, None, 12, 55, 10, None, 30, 45)
REPLY: dict[str, Any] = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": "Dry."}]}, "finishReason": "STOP", "index": 0}],
    "usageMetadata": METADATA,
    "modelVersion": "gemini-x",
    "responseId": "r1",
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
COUNT = st.none() | st.integers(min_value=0, max_value=10**9)
DETAILS = st.lists(
    st.fixed_dictionaries({"modality": st.sampled_from(["TEXT", "AUDIO", "IMAGE", "VIDEO"]), "tokenCount": COUNT}),
    max_size=3,
)
DETAILED = [name for name in METADATA if name.endswith("Details")]
COUNTED = [name for name in METADATA if not name.endswith("Details")]


def read(reply: Any) -> Draft:
    """A draft that has seen one reply."""
    draft = Draft("generate_content")
    GENERATE_CONTENT.read_response(draft, view(reply))
    return draft


def requested(body: Any) -> Draft:
    """A draft that has seen one request."""
    draft = Draft("generate_content")
    GENERATE_CONTENT.read_request(draft, body)
    return draft


def chunk(*parts: dict[str, Any], reason: str | None = None, index: int = 0, **told: Any) -> dict[str, Any]:
    """A chunk of a stream with one candidate."""
    candidate = {"content": {"role": "model", "parts": list(parts)}, "index": index}
    if reason is not None:
        candidate["finishReason"] = reason
    return {"candidates": [candidate], "modelVersion": "gemini-x", "responseId": "r1", **told}


def fold(chunks: list[Any], outcome: Outcome = "ok", keep: bool = False) -> tuple[Draft, StreamState]:
    """A draft and a state that have seen a whole stream."""
    draft, state = Draft("generate_content"), StreamState(keep)
    for told in chunks:
        GENERATE_CONTENT.fold(draft, state, view(told))
    draft.outcome = outcome
    GENERATE_CONTENT.end(draft, state)
    return draft, state


def sdk(reply: dict[str, Any]) -> Any:
    """The same reply as an object of the SDK."""
    types = pytest.importorskip("google.genai.types")
    return types.GenerateContentResponse.model_validate(reply)


# --- requests ------------------------------------------------------------------------

PARAMETERS = {
    names.REQUEST_TEMPERATURE: 0.0,
    names.REQUEST_TOP_P: 0.5,
    names.REQUEST_TOP_K: 4,
    names.REQUEST_MAX_TOKENS: 64,
    names.REQUEST_SEED: 7,
    names.REQUEST_FREQUENCY_PENALTY: 0.1,
    names.REQUEST_PRESENCE_PENALTY: -0.1,
    names.REQUEST_STOP_SEQUENCES: ("END",),
    names.REQUEST_CHOICE_COUNT: 2,
    names.OUTPUT_TYPE: "json",
    names.REQUEST_REASONING_LEVEL: "LOW",
}


def test_the_arguments_of_the_sdk_are_read() -> None:
    """A configuration in the SDK's spelling gives the conventions' fields."""
    config = {
        "temperature": 0,
        "top_p": 0.5,
        "top_k": 4.0,
        "max_output_tokens": 64,
        "seed": 7,
        "frequency_penalty": 0.1,
        "presence_penalty": -0.1,
        "stop_sequences": ["END"],
        "candidate_count": 2,
        "response_mime_type": "application/json",
        "thinking_config": {"thinking_level": "LOW"},
    }
    assert requested({"model": "gemini-x", "config": config}).fields == PARAMETERS


def test_the_body_that_is_sent_is_read() -> None:
    """A configuration in the spelling of REST gives the same fields."""
    config = {
        "temperature": 0,
        "topP": 0.5,
        "topK": 4,
        "maxOutputTokens": 64,
        "seed": 7,
        "frequencyPenalty": 0.1,
        "presencePenalty": -0.1,
        "stopSequences": ["END"],
        "candidateCount": 2,
        "responseMimeType": "application/json",
        "thinkingConfig": {"thinkingLevel": "LOW"},
    }
    assert requested({"contents": [], "generationConfig": config}).fields == PARAMETERS


def test_a_configuration_object_of_the_sdk_is_read() -> None:
    """Enumerations and unset members of the SDK's objects cause no harm."""
    types = pytest.importorskip("google.genai.types")
    config = types.GenerateContentConfig(
        temperature=0.5, thinking_config=types.ThinkingConfig(thinking_level=types.ThinkingLevel.HIGH)
    )
    assert requested({"model": "m", "config": config}).fields == {
        names.REQUEST_TEMPERATURE: 0.5,
        names.REQUEST_REASONING_LEVEL: "HIGH",
    }


def test_a_thinking_budget_is_no_reasoning_level() -> None:
    """Only a level that was sent as a word is kept."""
    assert requested({"config": {"thinking_config": {"thinking_budget": 512}}}).fields == {}


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("gemini-x", "gemini-x"),
        ("models/gemini-x", "gemini-x"),
        ("projects/p/locations/l/publishers/google/models/gemini-x", "gemini-x"),
        ("tunedModels/42", "tunedModels/42"),
    ],
)
def test_the_model_is_named_without_its_path(model: str, expected: str) -> None:
    """The resource path of a model is not part of its name."""
    assert requested({"model": model}).request_model == expected


def test_a_model_known_from_the_url_stays() -> None:
    """A body without a model does not take the model away."""
    draft = Draft("generate_content", request_model="gemini-x")
    GENERATE_CONTENT.read_request(draft, {"contents": []})
    assert draft.request_model == "gemini-x"


# --- replies -------------------------------------------------------------------------


def test_totals_include_tool_prompts_and_thoughts() -> None:
    """Input and output are sums of what Google tells apart, and cached tokens stay inside."""
    assert usage(METADATA) == NORMAL


def test_counts_that_are_not_told_stay_unknown() -> None:
    """A usage that tells little claims no zeros."""
    assert usage({"promptTokenCount": 5}) == Usage(5)
    assert usage({"thoughtsTokenCount": 4, "promptTokenCount": 5}) == Usage(5, 4, reasoning=4)
    assert usage({"trafficType": "ON_DEMAND"}) is None
    assert usage(None) is None


def test_numbered_modalities_are_understood() -> None:
    """Vertex AI may number its enumerations."""
    told = {"promptTokenCount": 9, "promptTokensDetails": [{"modality": 4, "tokenCount": 8}, {"modality": 1}]}
    assert usage(told) == Usage(9, input_audio=8)


def test_an_object_of_the_sdk_reads_like_its_json() -> None:
    """Snake case, enumerations and unset members give the same facts as the body."""
    draft = read(sdk(REPLY))
    assert draft.usage == read(REPLY).usage == NORMAL
    assert (draft.response_model, draft.response_id, draft.finish_reasons) == ("gemini-x", "r1", ("STOP",))


@pytest.mark.parametrize(
    ("told", "reason"),
    [("MAX_TOKENS", "MAX_TOKENS"), ("SAFETY", "SAFETY"), (1, "STOP"), (2, "MAX_TOKENS"), (17, "17")],
)
def test_finish_reasons_keep_googles_words(told: Any, reason: str) -> None:
    """Reasons are not translated, and numbers are named where both APIs agree on them."""
    assert read({"candidates": [{"finishReason": told}], "modelVersion": "m"}).finish_reasons == (reason,)


def test_every_candidate_has_a_reason() -> None:
    """Reasons are aligned with the candidates, and a missing one is an error."""
    candidates = [{"finishReason": "STOP"}, {"index": 1}, {"finishReason": "SAFETY", "index": 2}]
    assert read({"candidates": candidates}).finish_reasons == ("STOP", "error", "SAFETY")


@pytest.mark.parametrize("told", ["SAFETY", 1])
def test_a_blocked_prompt_has_the_reason_of_its_block(told: Any) -> None:
    """Without candidates the block's reason is the one finish reason."""
    draft = read({"promptFeedback": {"blockReason": told}, "usageMetadata": {"promptTokenCount": 5}})
    assert draft.finish_reasons == ("SAFETY",)
    assert draft.usage == Usage(5)


def test_an_unspecified_reason_is_none() -> None:
    """A placeholder of the enumeration tells nothing."""
    reply = {"candidates": [{"finishReason": "FINISH_REASON_UNSPECIFIED"}, {"finishReason": "STOP"}]}
    assert read(reply).finish_reasons == ("error", "STOP")


@pytest.mark.parametrize(
    ("told", "tier"),
    [
        ({"serviceTier": "flex"}, "flex"),
        ({"trafficType": "ON_DEMAND_FLEX"}, "on_demand_flex"),
        ({"trafficType": 1}, ""),
        ({}, ""),
    ],
)
def test_the_tier_is_told_by_either_api(told: dict[str, Any], tier: str) -> None:
    """A service tier or a kind of traffic is the tier, in lower case."""
    assert read({"usageMetadata": {"promptTokenCount": 1, **told}}).tier == tier


# --- streams -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "flags"),
    [
        ({"text": "a"}, NOTABLE | TOKEN | ANSWER),
        ({"text": "a", "thought": True}, NOTABLE | TOKEN),
        ({"functionCall": {"name": "f"}}, NOTABLE | TOKEN | ANSWER),
        ({"function_call": {"name": "f"}}, NOTABLE | TOKEN | ANSWER),
        ({"inlineData": {"mimeType": "image/png", "data": "aGk="}}, NOTABLE | TOKEN | ANSWER),
        ({"executableCode": {"code": "1"}}, NOTABLE | TOKEN),
        ({"text": "", "thoughtSignature": "x"}, NOTABLE),
    ],
)
def test_each_part_has_its_flags(part: dict[str, Any], flags: int) -> None:
    """Thoughts are tokens but no answer; every chunk is notable for its usage."""
    assert GENERATE_CONTENT.look(chunk(part)) == flags


def test_flags_are_those_of_all_parts_together() -> None:
    """A thought before a text does not hide it, and a chunk may have no candidate at all."""
    assert GENERATE_CONTENT.look(chunk({"text": "h", "thought": True}, {"text": "a"})) == NOTABLE | TOKEN | ANSWER
    assert GENERATE_CONTENT.look({"usageMetadata": {}}) == NOTABLE
    assert GENERATE_CONTENT.look(sdk(chunk({"text": "a"}))) == NOTABLE | TOKEN | ANSWER


def test_the_last_usage_of_a_stream_counts() -> None:
    """Usage is cumulative, so chunks are not added up, and a chunk without usage takes none away."""
    chunks = [
        chunk({"text": "a"}, usageMetadata={"promptTokenCount": 9}),
        chunk({"text": "b"}, usageMetadata={"promptTokenCount": 5, "candidatesTokenCount": 2}),
        chunk({"text": ""}, reason="STOP"),
    ]
    draft, state = fold(chunks)
    assert draft.usage == Usage(5, 2)
    assert (draft.response_model, draft.response_id, draft.finish_reasons) == ("gemini-x", "r1", ("STOP",))
    assert state.finished


def test_a_cut_stream_keeps_the_usage_so_far() -> None:
    """Without a finish reason the reason is ``error`` and the last usage stays."""
    draft, state = fold([chunk({"text": "a"}, usageMetadata={"promptTokenCount": 9})], outcome="cancelled")
    assert draft.usage == Usage(9)
    assert draft.finish_reasons == ("error",)
    assert not state.finished


def test_candidates_of_a_stream_keep_their_places() -> None:
    """Reasons go to the candidate that they were told for."""
    chunks = [
        chunk({"text": "a"}),
        chunk({"text": "b"}, index=1),
        chunk(reason="SAFETY", index=1),
        chunk(reason="STOP"),
    ]
    assert fold(chunks)[0].finish_reasons == ("STOP", "SAFETY")


def test_a_reason_once_told_stays() -> None:
    """A later chunk without a reason takes none away."""
    draft, state = fold([chunk(reason="STOP"), chunk(usageMetadata={"promptTokenCount": 5})])
    assert (draft.finish_reasons, draft.usage, state.finished) == (("STOP",), Usage(5), True)


def test_a_prompt_blocked_in_a_stream_is_finished() -> None:
    """A block is a complete answer."""
    draft, state = fold([{"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "modelVersion": "m"}])
    assert (draft.finish_reasons, state.finished) == (("PROHIBITED_CONTENT",), True)


def test_an_error_chunk_is_kept_by_its_status() -> None:
    """The status of an error is its code."""
    _, state = fold([{"error": {"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED"}}], "error")
    assert state.error == {"code": "RESOURCE_EXHAUSTED"}


# --- content -------------------------------------------------------------------------

CONTENTS = [
    {
        "role": "user",
        "parts": [{"text": "Stock?"}, {"inlineData": {"mimeType": "audio/wav", "data": "aGk="}}],
    },
    {"role": "model", "parts": [{"functionCall": {"id": "c1", "name": "stock", "args": {"item": 42}}}]},
    {"role": "user", "parts": [{"functionResponse": {"id": "c1", "name": "stock", "response": {"left": 7}}}]},
    {
        "role": "user",
        "parts": [{"fileData": {"mimeType": "application/pdf", "fileUri": "https://f.example/1"}}],
    },
]
MESSAGES = [
    {
        "role": "user",
        "parts": [
            {"type": "text", "content": "Stock?"},
            {"type": "blob", "modality": "audio", "mime_type": "audio/wav", "content": "aGk="},
        ],
    },
    {
        "role": "assistant",
        "parts": [{"type": "tool_call", "name": "stock", "arguments": {"item": 42}, "id": "c1"}],
    },
    {"role": "tool", "parts": [{"type": "tool_call_response", "response": {"left": 7}, "id": "c1"}]},
    {
        "role": "user",
        "parts": [
            {
                "type": "uri",
                "modality": "document",
                "mime_type": "application/pdf",
                "uri": "https://f.example/1",
            }
        ],
    },
]


def test_a_body_becomes_messages_and_instructions() -> None:
    """Roles, media, calls and tools get the conventions' structure."""
    body = {
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": CONTENTS,
        "tools": [{"functionDeclarations": [{"name": "stock"}, {"name": "order"}]}, {"googleSearch": {}}],
    }
    told = GENERATE_CONTENT.read_content(body, None, None)
    assert told.system_instructions == [{"type": "text", "content": "Be brief."}]
    assert told.input_messages == MESSAGES
    assert told.output_messages is None
    assert told.tool_definitions == [
        {"type": "function", "name": "stock"},
        {"type": "function", "name": "order"},
        {"type": "googleSearch", "name": "googleSearch"},
    ]


def test_objects_of_the_sdk_become_the_same_messages() -> None:
    """Contents of the SDK, with bytes in them, give what the body gives."""
    types = pytest.importorskip("google.genai.types")
    body = {
        "contents": [types.Content.model_validate(content) for content in CONTENTS],
        "config": types.GenerateContentConfig(system_instruction="Be brief."),
    }
    told = GENERATE_CONTENT.read_content(body, None, None)
    assert told.input_messages == MESSAGES
    assert told.system_instructions == [{"type": "text", "content": "Be brief."}]


@pytest.mark.parametrize("contents", ["hi", ["hi"], {"text": "hi"}, [{"parts": [{"text": "hi"}]}]])
def test_loose_contents_are_the_users(contents: Any) -> None:
    """A bare string or part is a message of the user."""
    told = GENERATE_CONTENT.read_content({"contents": contents}, None, None)
    assert told.input_messages == [{"role": "user", "parts": [{"type": "text", "content": "hi"}]}]


def test_each_candidate_is_an_output_message() -> None:
    """Thoughts become reasoning, and code that the provider ran a server tool's."""
    parts = [
        {"text": "hm", "thought": True},
        {"executableCode": {"language": "PYTHON", "code": "1"}},
        {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}},
        {"text": "One."},
    ]
    reply = {"candidates": [{"content": {"parts": parts}}, {"content": {"parts": [{"text": "1"}]}}]}
    ran = {"language": "PYTHON", "code": "1", "type": "code_execution"}
    came = {"outcome": "OUTCOME_OK", "output": "1", "type": "code_execution"}
    expected = [
        {
            "role": "assistant",
            "parts": [
                {"type": "reasoning", "content": "hm"},
                {"type": "server_tool_call", "name": "code_execution", "server_tool_call": ran},
                {
                    "type": "server_tool_call_response",
                    "name": "code_execution",
                    "server_tool_call_response": came,
                },
                {"type": "text", "content": "One."},
            ],
        },
        {"role": "assistant", "parts": [{"type": "text", "content": "1"}]},
    ]
    assert GENERATE_CONTENT.read_content({}, reply, None).output_messages == expected
    seen = GENERATE_CONTENT.read_content({}, sdk(reply), None).output_messages
    assert json.loads(json.dumps(seen)) == expected


def test_a_tool_of_the_provider_keeps_its_id_and_kind() -> None:
    """A call of Google's own tools is named after its type."""
    part = {"toolCall": {"id": "s1", "toolType": "FILE_SEARCH", "args": {"q": "x"}}}
    reply = {"candidates": [{"content": {"parts": [part]}}]}
    (message,) = GENERATE_CONTENT.read_content({}, reply, None).output_messages or []
    (told,) = message["parts"]
    assert (told["type"], told["id"], told["name"]) == ("server_tool_call", "s1", "file_search")
    assert told["server_tool_call"]["type"] == "file_search"


def test_a_stream_folds_to_the_content_of_its_candidates() -> None:
    """Neighbouring pieces of one kind are joined, and others stay apart."""
    chunks = [
        chunk({"text": "h", "thought": True}),
        chunk({"text": "m", "thought": True}, {"text": "Dr"}),
        chunk({"text": "y."}),
        chunk({"functionCall": {"name": "f", "args": {}}}, reason="STOP"),
    ]
    _, state = fold(chunks, keep=True)
    assert GENERATE_CONTENT.read_content({}, None, state).output_messages == [
        {
            "role": "assistant",
            "parts": [
                {"type": "reasoning", "content": "hm"},
                {"type": "text", "content": "Dry."},
                {"type": "tool_call", "name": "f", "arguments": {}},
            ],
        }
    ]


def test_without_content_the_state_keeps_no_text() -> None:
    """While content capture is off, only usage and reasons are kept."""
    _, state = fold([chunk({"text": "a"})] * 50)
    assert (state.content, state.scratch) == (None, None)


def test_a_reply_without_parts_has_no_output() -> None:
    """A candidate that was cut while thinking leaves no message."""
    reply = {"candidates": [{"content": {"role": "model"}, "finishReason": "MAX_TOKENS"}]}
    assert GENERATE_CONTENT.read_content({}, reply, None).output_messages is None


# --- embeddings ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        ({"embeddings": [{"values": [0.1, 0.2]}]}, None),
        ({"embedding": {"values": [0.1, 0.2]}, "usageMetadata": {"promptTokenCount": 4}}, Usage(4)),
        (
            {"embeddings": [{"values": [0.1, 0.2], "statistics": {"token_count": n}} for n in (3, 4)]},
            Usage(7),
        ),
        (
            {"predictions": [{"embeddings": {"values": [0.1, 0.2], "statistics": {"token_count": 3}}}]},
            Usage(3),
        ),
    ],
)
def test_embeddings_tell_dimensions_and_sometimes_tokens(reply: dict[str, Any], told: Usage | None) -> None:
    """Tokens are summed over the texts where they are told, and unknown elsewhere."""
    draft = Draft("embeddings")
    EMBED_CONTENT.read_response(draft, reply)
    assert draft.usage == told
    assert draft.fields == {names.EMBEDDINGS_DIMENSION_COUNT: 2}
    assert EMBED_CONTENT.recognises(reply)
    assert not GENERATE_CONTENT.recognises(reply)


def test_an_embeddings_object_of_the_sdk_is_read() -> None:
    """The SDK's reply gives dimensions and tokens."""
    types = pytest.importorskip("google.genai.types")
    reply = types.EmbedContentResponse.model_validate(
        {"embeddings": [{"values": [0.1, 0.2, 0.3], "statistics": {"tokenCount": 3}}]}
    )
    draft = Draft("embeddings")
    EMBED_CONTENT.read_response(draft, view(reply))
    assert (draft.usage, draft.fields[names.EMBEDDINGS_DIMENSION_COUNT]) == (Usage(3), 3)


@pytest.mark.parametrize("body", [{"config": {"output_dimensionality": 64}}, {"outputDimensionality": 64}])
def test_requested_dimensions_win_over_the_length_of_the_reply(body: dict[str, Any]) -> None:
    """What was asked for is kept when the reply is read."""
    draft = Draft("embeddings")
    EMBED_CONTENT.read_request(draft, body)
    EMBED_CONTENT.read_response(draft, {"embeddings": [{"values": [0.1]}]})
    assert draft.fields == {names.EMBEDDINGS_DIMENSION_COUNT: 64}


def test_embeddings_have_no_content() -> None:
    """The conventions know no messages of embeddings."""
    told = EMBED_CONTENT.read_content({"content": {"parts": [{"text": "a"}]}}, None, None)
    assert told == type(told)()


# --- properties ----------------------------------------------------------------------


@given(
    st.fixed_dictionaries(dict.fromkeys(COUNTED, COUNT)),
    st.fixed_dictionaries(dict.fromkeys(DETAILED, DETAILS)),
)
def test_buckets_sum_to_the_totals(counts: dict[str, Any], details: dict[str, Any]) -> None:
    """Whatever is told, the disjoint buckets add up to input plus output."""
    told = usage({**counts, **details})
    inputs = (counts["promptTokenCount"], counts["toolUsePromptTokenCount"])
    outputs = (counts["candidatesTokenCount"], counts["thoughtsTokenCount"])
    if told is None:
        assert {*inputs, *outputs} == {None}
        return
    assert sum(buckets(told)) == (told.input or 0) + (told.output or 0)
    assert (told.input or 0) == sum(n or 0 for n in inputs)
    assert (told.output or 0) == sum(n or 0 for n in outputs)


@given(st.dictionaries(st.sampled_from(list(METADATA)), JSON), JSON)
def test_no_usage_breaks_the_reader(told: dict[str, Any], other: Any) -> None:
    """Usage of any JSON shape is read or ignored."""
    for raw in (told, other):
        found = usage(raw)
        assert found is None or sum(buckets(found)) == (found.input or 0) + (found.output or 0)
        read({**REPLY, "usageMetadata": raw})


@given(
    st.dictionaries(
        st.sampled_from([*REPLY, "promptFeedback", "error", "embeddings", "embedding", "predictions"]), JSON
    )
)
def test_no_json_breaks_the_readers(body: dict[str, Any]) -> None:
    """A reply or chunk of any JSON shape is read or ignored."""
    read(body)
    GENERATE_CONTENT.read_content({}, body, None)
    fold([body], keep=True)
    EMBED_CONTENT.read_response(Draft("embeddings"), body)
    EMBED_CONTENT.recognises(body)


@given(
    st.dictionaries(
        st.sampled_from(["model", "config", "generationConfig", "contents", "tools", "systemInstruction"]),
        JSON,
    )
)
def test_no_json_breaks_the_reading_of_a_request(body: dict[str, Any]) -> None:
    """A request of any JSON shape is read or ignored."""
    requested(body)
    GENERATE_CONTENT.read_content(body, None, None)


@given(st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=6))
def test_a_text_is_the_sum_of_its_chunks(pieces: list[str]) -> None:
    """However a text is cut into chunks, it is whole in the content."""
    _, state = fold([chunk({"text": piece}) for piece in pieces], keep=True)
    (message,) = GENERATE_CONTENT.read_content({}, None, state).output_messages or []
    assert message["parts"] == [{"type": "text", "content": "".join(pieces)}]
