"""Bodies of InvokeModel: each vendor's request, reply and stream under the conventions' names."""

from __future__ import annotations

from typing import Any

import pytest

from trisignal import semconv as names
from trisignal.call import Draft, Usage
from trisignal.formats import ANSWER, NOTABLE, TOKEN, Format, StreamState, View
from trisignal.formats.anthropic_messages import MESSAGES
from trisignal.formats.bedrock_converse import CONVERSE
from trisignal.formats.bedrock_invoke import INVOKE, told_by

Case = tuple[str, dict[str, Any], dict[str, Any], str, dict[str, Any], Any]
TEMPERATURE, TOP_P, TOP_K = names.REQUEST_TEMPERATURE, names.REQUEST_TOP_P, names.REQUEST_TOP_K
MOST, STOP = names.REQUEST_MAX_TOKENS, names.REQUEST_STOP_SEQUENCES
CASES: dict[str, Case] = {
    "titan text": (
        "amazon.titan-text-express-v1",
        {
            "inputText": "Hi",
            "textGenerationConfig": {"maxTokenCount": 64, "stopSequences": ["|"], "temperature": 0.5, "topP": 0.9},
        },
        {"inputTextTokenCount": 5, "results": [{"tokenCount": 7, "outputText": "Yo", "completionReason": "FINISH"}]},
        names.TEXT_COMPLETION,
        {MOST: 64, STOP: ("|",), TEMPERATURE: 0.5, TOP_P: 0.9},
        (Usage(5, 7), ("FINISH",), ""),
    ),
    "titan embeddings": (
        "amazon.titan-embed-text-v2:0",
        {"inputText": "Hi", "dimensions": 256, "embeddingTypes": ["float"]},
        {"embedding": [0.1] * 256, "inputTextTokenCount": 3},
        names.EMBEDDINGS,
        {names.EMBEDDINGS_DIMENSION_COUNT: 256, names.REQUEST_ENCODING_FORMATS: ("float",)},
        (Usage(3), (), ""),
    ),
    "llama": (
        "meta.llama3-8b-instruct-v1:0",
        {"prompt": "Hi", "max_gen_len": 64, "temperature": 0.5, "top_p": 0.9},
        {"generation": "Yo", "prompt_token_count": 5, "generation_token_count": 7, "stop_reason": "stop"},
        names.TEXT_COMPLETION,
        {MOST: 64, TEMPERATURE: 0.5, TOP_P: 0.9},
        (Usage(5, 7), ("stop",), ""),
    ),
    "mistral text": (
        "mistral.mistral-7b-instruct-v0:2",
        {"prompt": "Hi", "max_tokens": 64, "stop": ["|"], "temperature": 0.5, "top_p": 0.9, "top_k": 50},
        {"outputs": [{"text": "Yo", "stop_reason": "length"}]},
        names.TEXT_COMPLETION,
        {MOST: 64, STOP: ("|",), TEMPERATURE: 0.5, TOP_P: 0.9, TOP_K: 50},
        (None, ("length",), ""),
    ),
    "mistral chat": (
        "mistral.mistral-large-2407-v1:0",
        {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 64},
        {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Yo"}, "stop_reason": "stop"}]},
        names.CHAT,
        {MOST: 64},
        (None, ("stop",), ""),
    ),
    "openai chat": (
        "openai.gpt-oss-120b-1:0",
        {"messages": [{"role": "user", "content": "Hi"}], "max_completion_tokens": 64, "reasoning_effort": "low"},
        {
            "id": "chatcmpl-1",
            "model": "gpt-oss",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "Yo"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 5, "completion_tokens": 7},
        },
        names.CHAT,
        {MOST: 64, names.REQUEST_REASONING_LEVEL: "low"},
        (Usage(5, 7), ("stop",), "chatcmpl-1"),
    ),
    "cohere chat": (
        "cohere.command-r-plus-v1:0",
        {"message": "Hi", "max_tokens": 64, "p": 0.9, "k": 50, "stop_sequences": ["|"]},
        {"text": "Yo", "generation_id": "g-1", "response_id": "r-1", "finish_reason": "COMPLETE"},
        names.CHAT,
        {MOST: 64, TOP_P: 0.9, TOP_K: 50, STOP: ("|",)},
        (None, ("COMPLETE",), "g-1"),
    ),
    "cohere text": (
        "cohere.command-text-v14",
        {"prompt": "Hi", "max_tokens": 64, "num_generations": 2},
        {
            "id": "c-1",
            "generations": [{"text": "Yo", "finish_reason": "MAX_TOKENS"}, {"text": "A", "finish_reason": "COMPLETE"}],
        },
        names.TEXT_COMPLETION,
        {MOST: 64, names.REQUEST_CHOICE_COUNT: 2},
        (None, ("MAX_TOKENS", "COMPLETE"), "c-1"),
    ),
    "cohere embeddings": (
        "cohere.embed-english-v3",
        {"texts": ["Hi"], "input_type": "search_document", "embedding_types": ["float", "int8"]},
        {"id": "e-1", "embeddings": {"float": [[0.1] * 4], "int8": [[1] * 4]}, "texts": ["hi"]},
        names.EMBEDDINGS,
        {names.REQUEST_ENCODING_FORMATS: ("float", "int8"), names.EMBEDDINGS_DIMENSION_COUNT: 4},
        (None, (), "e-1"),
    ),
    "ai21 text": (
        "ai21.j2-mid-v1",
        {"prompt": "Hi", "maxTokens": 64, "numResults": 2, "stopSequences": ["|"], "temperature": 0.5, "topP": 0.9},
        {
            "id": 1234,
            "prompt": {"text": "Hi", "tokens": [{}]},
            "completions": [
                {"data": {"text": "Yo", "tokens": [{}]}, "finishReason": {"reason": "length", "length": 64}},
                {"data": {"text": "A", "tokens": [{}]}, "finishReason": {"reason": "endoftext"}},
            ],
        },
        names.TEXT_COMPLETION,
        {MOST: 64, STOP: ("|",), TEMPERATURE: 0.5, TOP_P: 0.9, names.REQUEST_CHOICE_COUNT: 2},
        (None, ("length", "endoftext"), "1234"),
    ),
    "nova embeddings": (
        "amazon.nova-2-multimodal-embeddings-v1:0",
        {"taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": {"text": {"value": "Hi"}}},
        {"embeddings": [{"embedding": [0.1] * 4, "embeddingType": "TEXT"}]},
        names.EMBEDDINGS,
        {names.EMBEDDINGS_DIMENSION_COUNT: 4},
        (None, (), ""),
    ),
    "stopped by a guardrail": (
        "amazon.titan-text-express-v1",
        {"inputText": "Hi"},
        {
            "inputTextTokenCount": 5,
            "results": [{"tokenCount": 7, "outputText": "Yo"}],
            "amazon-bedrock-guardrailAction": "INTERVENED",
        },
        names.TEXT_COMPLETION,
        {},
        (Usage(5, 7), ("guardrail_intervened",), ""),
    ),
    "nameless embeddings": (
        "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abcdef",
        {"texts": ["Hi"], "input_type": "search_document"},
        {"embeddings": [[0.1] * 4]},
        names.EMBEDDINGS,
        {names.EMBEDDINGS_DIMENSION_COUNT: 4},
        (None, (), ""),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_body(case: str) -> None:
    """Parameters, reasons, counts and ids of a body are found, whatever the vendor calls them."""
    model, asked, reply, operation, fields, told = CASES[case]
    doing, format = told_by(model, asked)
    draft = Draft(doing)
    format.read_request(draft, {**asked, "modelId": model})
    format.read_response(draft, reply)
    assert (doing, draft.request_model) == (operation, model)
    assert draft.fields == fields
    assert (draft.usage, draft.finish_reasons, draft.response_id) == told


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"anthropic_version": "v", "messages": []}, (names.CHAT, MESSAGES)),
        ({"prompt": "Hi", "max_tokens_to_sample": 9}, (names.TEXT_COMPLETION, MESSAGES)),
        ({"schemaVersion": "messages-v1", "messages": []}, (names.CHAT, CONVERSE)),
        ({"messages": [{"role": "user", "content": [{"text": "Hi"}]}]}, (names.CHAT, CONVERSE)),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]}, (names.CHAT, INVOKE)),
        ({"query": "Hi", "documents": ["a"]}, ("rerank", INVOKE)),
        ({"taskType": "TEXT_IMAGE", "textToImageParams": {}}, ("image_generation", INVOKE)),
        ({"inputText": "Hi", "normalize": True}, (names.EMBEDDINGS, INVOKE)),
        ({"inputImage": "aGk="}, (names.EMBEDDINGS, INVOKE)),
        ({"inputText": "Hi"}, (names.TEXT_COMPLETION, INVOKE)),
        (
            {"taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": {"embeddingDimension": 256}},
            (names.EMBEDDINGS, INVOKE),
        ),
        ({"prompt": "A cat", "aspect_ratio": "1:1"}, ("image_generation", INVOKE)),
        ({}, ("request", INVOKE)),
    ],
)
def test_format_is_told_by_the_body(body: dict[str, Any], expected: tuple[str, Format]) -> None:
    """Ids may be ARNs that say nothing, so what a body asks for is told by its own fields."""
    assert told_by("arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abcdef", body) == expected


def streamed(chunks: list[View]) -> tuple[Draft, StreamState, list[int]]:
    """A draft that has seen a stream with its content kept."""
    draft, state = Draft(names.CHAT), StreamState(True)
    flags = [INVOKE.look(chunk) for chunk in chunks]
    for chunk in chunks:
        INVOKE.fold(draft, state, chunk)
    draft.outcome = "ok"
    INVOKE.end(draft, state)
    return draft, state, flags


STREAMS: dict[str, tuple[list[dict[str, Any]], Usage | None, str]] = {
    "llama": (
        [
            {"generation": "Y", "prompt_token_count": 5, "generation_token_count": 1, "stop_reason": None},
            {"generation": "o", "prompt_token_count": None, "generation_token_count": 2, "stop_reason": None},
            {"generation": "", "prompt_token_count": None, "generation_token_count": 2, "stop_reason": "stop"},
        ],
        Usage(5, 2),
        "stop",
    ),
    "titan": (
        [
            {"outputText": "Y", "index": 0, "inputTextTokenCount": 5, "totalOutputTextTokenCount": None},
            {"outputText": "o", "index": 0, "totalOutputTextTokenCount": 2, "completionReason": "FINISH"},
        ],
        Usage(5, 2),
        "FINISH",
    ),
    "mistral": (
        [{"outputs": [{"text": "Y", "stop_reason": None}]}, {"outputs": [{"text": "o", "stop_reason": "stop"}]}],
        None,
        "stop",
    ),
    "mistral chat": (
        [
            {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Yo"}, "stop_reason": None}]},
            {"choices": [{"index": 0, "message": {"role": "assistant", "content": ""}, "stop_reason": "stop"}]},
        ],
        None,
        "stop",
    ),
    "openai": (
        [
            {"id": "c", "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Yo"}}]},
            {"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
            {"id": "c", "choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}},
        ],
        Usage(5, 2),
        "stop",
    ),
    "stopped by a guardrail": (
        [
            {
                "outputText": "Yo",
                "index": 0.0,
                "totalOutputTextTokenCount": 3.0,
                "inputTextTokenCount": 6.0,
                "amazon-bedrock-guardrailAction": "INTERVENED",
            },
        ],
        Usage(6, 3),
        "guardrail_intervened",
    ),
    "cohere chat": (
        [
            {"event_type": "text-generation", "is_finished": False, "text": "Yo"},
            {
                "event_type": "stream-end",
                "is_finished": True,
                "finish_reason": "COMPLETE",
                "response": {"response_id": "r-1", "text": "Yo", "finish_reason": "COMPLETE"},
            },
        ],
        None,
        "COMPLETE",
    ),
}


@pytest.mark.parametrize("case", STREAMS)
def test_stream(case: str) -> None:
    """Chunks tell their words, the last counts and the reason; the kept words are the whole answer."""
    chunks, usage, reason = STREAMS[case]
    draft, state, flags = streamed(chunks)
    assert draft.usage == usage
    assert draft.finish_reasons == (reason,)
    assert state.finished
    assert flags[0] & TOKEN
    assert flags[0] & ANSWER
    assert not flags[-1] & TOKEN or case in ("titan", "mistral", "stopped by a guardrail")
    assert all(flag & NOTABLE for flag in flags)
    told = INVOKE.read_content({"prompt": "Hi"}, None, state)
    assert told.input_messages == [{"role": "user", "parts": [{"type": "text", "content": "Hi"}]}]
    assert told.output_messages == [{"role": "assistant", "parts": [{"type": "text", "content": "Yo"}]}]


def test_one_event_ends_all_alternatives_of_a_stream() -> None:
    """Cohere ends several alternatives with one event, which has no index: its reason is that of each of them."""
    draft, state, _ = streamed(
        [
            {"index": 0, "is_finished": False, "text": "Yo"},
            {"index": 1, "is_finished": False, "text": "Hey"},
            {"finish_reason": "MAX_TOKENS", "is_finished": True},
        ]
    )
    assert draft.finish_reasons == ("MAX_TOKENS", "MAX_TOKENS")
    assert state.finished


@pytest.mark.parametrize("case", [name for name in CASES if "embeddings" not in name])
def test_content_of_a_reply(case: str) -> None:
    """The prompt and every alternative are messages of the conventions."""
    _, asked, reply, _, _, _ = CASES[case]
    told = INVOKE.read_content(asked, reply, None)
    assert told.input_messages == [{"role": "user", "parts": [{"type": "text", "content": "Hi"}]}]
    assert told.output_messages is not None
    assert told.output_messages[0] == {"role": "assistant", "parts": [{"type": "text", "content": "Yo"}]}


def test_history_of_a_chat_is_content() -> None:
    """Cohere's history comes before the message."""
    history = [{"role": "USER", "message": "Hi"}, {"role": "CHATBOT", "message": "Yo"}]
    told = INVOKE.read_content({"message": "So?", "chat_history": history}, None, None)
    assert [message["role"] for message in told.input_messages or ()] == ["user", "assistant", "user"]
