"""Converse: requests, usage, streams and content."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trisignal import semconv as names
from trisignal.call import Draft, Usage
from trisignal.formats import ANSWER, NOTABLE, TOKEN, StreamState
from trisignal.formats.bedrock_converse import CONVERSE, usage

COUNT = st.integers(min_value=0, max_value=10**9)


@given(COUNT, COUNT, st.none() | COUNT, st.none() | COUNT)
def test_caches_become_part_of_the_input(given_: int, out: int, read: int | None, write: int | None) -> None:
    """Input is the sum of what was sent afresh, read from a cache and written to one."""
    caches = {"cacheReadInputTokens": read, "cacheWriteInputTokens": write}
    told = {"inputTokens": given_, "outputTokens": out, **{k: v for k, v in caches.items() if v is not None}}
    assert usage(told) == Usage(given_ + (read or 0) + (write or 0), out, read, write)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({}, None),
        (None, None),
        ({"totalTokens": 9}, None),
        ({"inputTokens": 0, "outputTokens": 0}, Usage(0, 0)),
        # Nova's own names.
        ({"inputTokens": 1, "outputTokens": 2, "cacheReadInputTokenCount": 4}, Usage(5, 2, 4)),
        # A total that leaves no room for the cached tokens: they are in the input already.
        ({"inputTokens": 9, "outputTokens": 2, "totalTokens": 11, "cacheReadInputTokens": 4}, Usage(9, 2, 4)),
        (
            {
                "inputTokens": 1,
                "outputTokens": 2,
                "cacheWriteInputTokens": 7,
                "cacheDetails": [{"ttl": "1h", "inputTokens": 5}, {"ttl": "5m", "inputTokens": 2}],
            },
            Usage(8, 2, None, 7, 5),
        ),
    ],
)
def test_usage(told: Any, expected: Usage | None) -> None:
    """Unknown stays unknown; lifetimes of cache writes are told apart."""
    assert usage(told) == expected


def test_request() -> None:
    """Parameters of the request and those passed on to the model have the conventions' names."""
    draft = Draft(names.CHAT)
    CONVERSE.read_request(
        draft,
        {
            "modelId": "m",
            "inferenceConfig": {"maxTokens": 9, "temperature": 0.5, "topP": 0.9, "stopSequences": ["|"]},
            "additionalModelRequestFields": {"top_k": 50},
            "outputConfig": {"textFormat": {"type": "json_schema"}, "effort": "low"},
            "guardrailConfig": {"guardrailIdentifier": "gr-1", "guardrailVersion": "DRAFT"},
        },
    )
    assert draft.request_model == "m"
    assert draft.fields == {
        names.REQUEST_MAX_TOKENS: 9,
        names.REQUEST_TEMPERATURE: 0.5,
        names.REQUEST_TOP_P: 0.9,
        names.REQUEST_TOP_K: 50,
        names.REQUEST_STOP_SEQUENCES: ("|",),
        names.OUTPUT_TYPE: "json",
        names.REQUEST_REASONING_LEVEL: "low",
        names.BEDROCK_GUARDRAIL_ID: "gr-1",
    }


def test_reply_tells_tier_and_routed_model() -> None:
    """The tier that was billed and the model that a router chose are kept."""
    draft = Draft(names.CHAT)
    reply = {
        "stopReason": "end_turn",
        "serviceTier": {"type": "flex"},
        "trace": {"promptRouter": {"invokedModelId": "chosen"}},
    }
    CONVERSE.read_response(draft, reply)
    assert (draft.tier, draft.response_model, draft.finish_reasons, draft.usage) == (
        "flex",
        "chosen",
        ("end_turn",),
        None,
    )


@pytest.mark.parametrize(
    ("event", "flags"),
    [
        ({"messageStart": {"role": "assistant"}}, NOTABLE),
        ({"contentBlockStart": {"start": {"toolUse": {"toolUseId": "t", "name": "f"}}}}, TOKEN | ANSWER),
        ({"contentBlockDelta": {"delta": {"text": "a"}}}, TOKEN | ANSWER),
        ({"contentBlockDelta": {"delta": {"text": ""}}}, 0),
        ({"contentBlockDelta": {"delta": {"toolUse": {"input": "{"}}}}, TOKEN | ANSWER),
        ({"contentBlockDelta": {"delta": {"reasoningContent": {"text": "hm"}}}}, TOKEN),
        ({"contentBlockDelta": {"delta": {"reasoningContent": {"signature": "s"}}}}, 0),
        ({"contentBlockStop": {"contentBlockIndex": 0}}, 0),
        ({"messageStop": {"stopReason": "end_turn"}}, NOTABLE),
        ({"metadata": {"usage": {}}}, NOTABLE),
    ],
)
def test_flags(event: dict[str, Any], flags: int) -> None:
    """Events tell apart thoughts, visible words, facts and neither."""
    assert CONVERSE.look(event) == flags


def test_content_of_a_stream() -> None:
    """Pieces are put together per block: thoughts, words, and a tool call with its arguments."""
    draft, state = Draft(names.CHAT), StreamState(True)
    for event in (
        {"messageStart": {"role": "assistant"}},
        {"contentBlockDelta": {"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "Hm"}}}},
        {"contentBlockDelta": {"contentBlockIndex": 1, "delta": {"text": "Let me "}}},
        {"contentBlockDelta": {"contentBlockIndex": 1, "delta": {"text": "look."}}},
        {"contentBlockStart": {"contentBlockIndex": 2, "start": {"toolUse": {"toolUseId": "t", "name": "f"}}}},
        {"contentBlockDelta": {"contentBlockIndex": 2, "delta": {"toolUse": {"input": '{"a":'}}}},
        {"contentBlockDelta": {"contentBlockIndex": 2, "delta": {"toolUse": {"input": " 1}"}}}},
    ):
        CONVERSE.fold(draft, state, event)
    [message] = CONVERSE.read_content({}, None, state).output_messages or []
    assert message["parts"] == [
        {"type": "reasoning", "content": "Hm"},
        {"type": "text", "content": "Let me look."},
        {"type": "tool_call", "id": "t", "name": "f", "arguments": {"a": 1}},
    ]


def test_content_of_a_call() -> None:
    """System text, media, tool results and definitions are in the conventions' structure; cache points are not."""
    asked = {
        "system": [{"text": "Be brief."}, {"cachePoint": {"type": "default"}}],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"image": {"format": "png", "source": {"bytes": b"\x00"}}},
                    {"document": {"format": "pdf", "source": {"s3Location": {"uri": "s3://a/b"}}}},
                    {"toolResult": {"toolUseId": "t", "content": [{"json": {"a": 1}}, {"text": "ok"}]}},
                ],
            }
        ],
        "toolConfig": {"tools": [{"toolSpec": {"name": "f"}}, {"cachePoint": {"type": "default"}}]},
    }
    reply = {"output": {"message": {"role": "assistant", "content": [{"text": "Yes."}]}}, "stopReason": "end_turn"}
    told = CONVERSE.read_content(asked, reply, None)
    assert told.system_instructions == [{"type": "text", "content": "Be brief."}]
    assert told.input_messages == [
        {
            "role": "user",
            "parts": [
                {"type": "blob", "modality": "image", "mime_type": "image/png", "content": "AA=="},
                {"type": "uri", "modality": "document", "uri": "s3://a/b"},
            ],
        },
        {
            "role": "tool",
            "parts": [
                {
                    "type": "tool_call_response",
                    "id": "t",
                    "response": [{"a": 1}, {"type": "text", "content": "ok"}],
                }
            ],
        },
    ]
    assert told.output_messages == [{"role": "assistant", "parts": [{"type": "text", "content": "Yes."}]}]
    assert told.tool_definitions == [{"type": "function", "name": "f"}]
