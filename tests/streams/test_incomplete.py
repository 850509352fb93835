"""A stream that the provider ends before its finish event is an error, whatever it is written in."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loopback import Loopback, Reply

import trisignal
from trisignal.call import Draft
from trisignal.engine import lifecycle
from trisignal.formats import Format
from trisignal.formats.anthropic_messages import MESSAGES
from trisignal.formats.bedrock_converse import CONVERSE
from trisignal.formats.bedrock_invoke import INVOKE
from trisignal.formats.cohere import COHERE
from trisignal.formats.gemini import GENERATE_CONTENT
from trisignal.formats.ollama import OLLAMA
from trisignal.formats.openai_chat import CHAT
from trisignal.formats.openai_media import MEDIA
from trisignal.formats.openai_responses import RESPONSES
from trisignal.formats.plain import PLAIN
from trisignal.formats.tgi import TGI
from trisignal.streams.fold import Fold, iterate
from trisignal.testing import Seen, capture


class Whole(NamedTuple):
    """A complete stream."""

    format: Format
    events: list[dict[str, Any]]
    finish: int
    """Place of its finish event."""


def words(index: int, word: str, reason: str | None = None) -> dict[str, Any]:
    """A chunk of the chat API."""
    choice = {"index": index, "delta": {"content": word}, "finish_reason": reason}
    return {"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [choice]}


RESPONSE = {"id": "r", "object": "response", "model": "m", "output": []}
STREAMS = {
    "chat": Whole(CHAT, [words(0, "a"), words(0, "b"), words(0, "", "stop")], 2),
    "two choices": Whole(CHAT, [words(0, "a"), words(1, "b"), words(0, "", "stop"), words(1, "", "stop")], 3),
    "responses": Whole(
        RESPONSES,
        [
            {"type": "response.created", "response": {**RESPONSE, "status": "in_progress"}},
            {"type": "response.output_text.delta", "delta": "a"},
            {"type": "response.completed", "response": {**RESPONSE, "status": "completed"}},
        ],
        2,
    ),
    "messages": Whole(
        MESSAGES,
        [
            {"type": "message_start", "message": {"id": "m", "model": "m", "usage": {"input_tokens": 9}}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "a"}},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
            {"type": "message_stop"},
        ],
        2,
    ),
    "gemini": Whole(
        GENERATE_CONTENT,
        [
            {"candidates": [{"content": {"parts": [{"text": "a"}]}}], "modelVersion": "m"},
            {"candidates": [{"content": {"parts": [{"text": "b"}]}, "finishReason": "STOP"}]},
        ],
        1,
    ),
    "converse": Whole(
        CONVERSE,
        [
            {"messageStart": {"role": "assistant"}},
            {"contentBlockDelta": {"delta": {"text": "a"}, "contentBlockIndex": 0}},
            {"messageStop": {"stopReason": "end_turn"}},
            {"metadata": {"usage": {"inputTokens": 1, "outputTokens": 1}}},
        ],
        2,
    ),
    "invoke": Whole(INVOKE, [{"generation": "a"}, {"generation": "", "stop_reason": "stop"}], 1),
    "cohere": Whole(
        COHERE,
        [
            {"type": "message-start", "id": "c"},
            {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "a"}}}},
            {"type": "message-end", "delta": {"finish_reason": "COMPLETE"}},
        ],
        2,
    ),
    "cohere without a reason": Whole(COHERE, [{"type": "message-start", "id": "c"}, {"type": "message-end"}], 1),
    "ollama": Whole(
        OLLAMA, [{"message": {"content": "a"}, "done": False}, {"message": {"content": ""}, "done": True}], 1
    ),
    "tgi": Whole(TGI, [{"token": {"text": "a"}}, {"token": {"text": "b"}, "generated_text": "ab"}], 1),
    "media": Whole(
        MEDIA, [{"type": "transcript.text.delta", "delta": "a"}, {"type": "transcript.text.done", "text": "a"}], 1
    ),
}


def read(format: Format, events: list[dict[str, Any]], choices: int = 1) -> None:
    """Read a stream to its end."""
    draft = Draft("chat", provider="acme", request_model="m")
    if choices > 1:
        draft.fields["gen_ai.request.choice.count"] = choices
    lifecycle.open_call(draft)
    for _ in iterate(iter(events), Fold(draft, format, keep_content=False)):
        pass


@pytest.mark.parametrize("name", STREAMS)
def test_every_format_knows_its_end(seen: Seen, name: str) -> None:
    """With its finish event a stream is ok; cut anywhere before, it is an error of the provider's."""
    whole = STREAMS[name]
    for length in range(1, len(whole.events) + 1):
        read(whole.format, whole.events[:length], choices=1 + (name == "two choices"))
        call = seen.calls[-1]
        complete = length > whole.finish
        assert call.outcome == ("ok" if complete else "error"), length
        assert (call.error_type, call.error_kind) == (("", None) if complete else ("incomplete_stream", "server"))
    assert seen.value("llm_active_requests") == 0


def test_what_has_no_finish_event_is_not_judged(seen: Seen) -> None:
    """A stream of plain texts ends when it ends."""
    read(PLAIN, [{"any": "thing"}])
    assert seen.calls[0].outcome == "ok"


def test_the_usage_of_a_cut_stream_is_partial_and_wasted(seen: Seen) -> None:
    """What the provider reported before it hung up is counted, marked, and counted as wasted."""
    draft = Draft("chat", provider="anthropic", request_model="claude-sonnet-4-5")
    lifecycle.open_call(draft)
    events = STREAMS["messages"].events[:2]
    for _ in iterate(iter(events), Fold(draft, MESSAGES, keep_content=False)):
        pass
    assert seen.span.attributes is not None
    assert seen.span.attributes["llm.usage.partial"] is True
    assert seen.value("llm_wasted_cost_usd_total", llm_outcome="error") == seen.value("llm_cost_usd_total") > 0


def test_a_stream_that_opens_with_an_empty_chunk_keeps_its_id(seen: Seen) -> None:
    """Azure begins with a chunk without id and model: they are taken from a later one, also if that is the last."""
    opening = {"id": "", "object": "", "model": "", "choices": [], "prompt_filter_results": []}
    role = {"id": "c", "model": "gpt-4o-2024-08-06", "choices": [{"index": 0, "delta": {"role": "assistant"}}]}
    read(CHAT, [opening, role])
    assert seen.calls[0].response_model == "gpt-4o-2024-08-06"
    assert seen.calls[0].closing["gen_ai.response.id"] == "c"


# --- the mark that only some hosts send ------------------------------------------------------------------


def event(data: Any) -> bytes:
    """One server-sent event."""
    return b"data: " + (data if isinstance(data, bytes) else json.dumps(data).encode()) + b"\n\n"


BODIES = {
    "mark": (b"".join([event(words(0, "a")), event(b"[DONE]")]), "ok"),
    "mark and comment": (b"".join([event(words(0, "a")), event(b"[DONE]"), b": bye\n\n"]), "ok"),
    "reason": (b"".join([event(words(0, "a")), event(words(0, "", "stop"))]), "ok"),
    "neither": (b"".join([event(words(0, "a"))]), "error"),
    "words that look like it": (event(words(0, "data: [DONE]")), "error"),
    "nothing": (b"", "error"),
}


def raw_deflate(body: bytes) -> bytes:
    """Without zlib's header, as some servers send it."""
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(body) + compressor.flush()


def brotli(body: bytes) -> bytes:
    """As CDNs send it to clients that can read it."""
    return bytes(pytest.importorskip("brotli").compress(body))


CODINGS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "plain": ("", bytes),
    "gzip": ("gzip", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
    "br": ("br", brotli),
    "two": ("gzip, br", lambda body: brotli(gzip.compress(body))),
}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_mark_alone_ends_a_stream(seen: Seen, name: str, coding: str, asynchronous: bool) -> None:
    """A host that sends ``[DONE]`` and no finish reason is complete, as is one that sends a reason and no mark."""
    openai: Any = pytest.importorskip("openai")
    body, outcome = BODIES[name]
    headers = {"Content-Type": "text/event-stream"}
    encoding, compress = CODINGS[coding]
    if encoding:
        body, headers["Content-Encoding"] = compress(body), encoding
    trisignal.instrument("openai")
    with Loopback() as server:
        server.play(Reply(headers=headers, body=[body[i : i + 9] for i in range(0, len(body), 9)]))
        asked: dict[str, Any] = {"model": "gpt-4o", "messages": [], "stream": True}
        given = {"api_key": "none", "base_url": f"{server.url}/v1", "max_retries": 0}
        if asynchronous:
            async with openai.AsyncOpenAI(**given) as client:
                async for _ in await client.chat.completions.create(**asked):
                    pass
        else:
            with openai.OpenAI(**given) as client:
                for _ in client.chat.completions.create(**asked):
                    pass
    assert seen.calls[0].outcome == outcome


@given(st.data())
def test_no_complete_stream_is_called_incomplete(data: st.DataObject) -> None:
    """Whatever comes before and after the finish event, and however often."""
    whole = STREAMS[data.draw(st.sampled_from(sorted(STREAMS)))]
    before = data.draw(st.lists(st.sampled_from(whole.events[: whole.finish]), max_size=5))
    with capture() as seen:
        read(whole.format, [*whole.events[: whole.finish], *before, *whole.events[whole.finish :]])
        assert seen.calls[0].outcome == "ok"
