"""Mistral's responses, transcriptions, speech and classifiers."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from typing import Any

import pytest
from clients.mistral.test_conversations import streamed
from loopback import Loopback, Reply, json_reply

import trisignal
from trisignal.testing import Seen, capture

mistral: Any = pytest.importorskip("mistralai.client")
pytest.importorskip("mistralai.client.responses")
pytest.importorskip("mistralai.client.speech")

MODEL = "mistral-medium-2505"
USAGE = {
    "input_tokens": 21, "output_tokens": 9, "total_tokens": 30,
    "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 2},
}  # fmt: skip
RESPONSE = {
    "id": "resp_1", "object": "response", "created_at": 1, "model": MODEL, "status": "completed", "usage": USAGE,
    "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
    "output": [{
        "type": "message", "id": "m", "role": "assistant", "status": "completed",
        "content": [{"type": "output_text", "text": "Yes.", "annotations": []}],
    }],
}  # fmt: skip
EVENTS = [
    {"type": "response.created", "sequence_number": 0, "response": {**RESPONSE, "status": "in_progress", "output": []}},
    {
        "type": "response.output_text.delta", "sequence_number": 1, "item_id": "m", "output_index": 0,
        "content_index": 0, "delta": "Yes.", "logprobs": [],
    },
    {"type": "response.completed", "sequence_number": 2, "response": RESPONSE},
]  # fmt: skip
HEARD = {"prompt_tokens": 4, "completion_tokens": 635, "total_tokens": 3264, "prompt_audio_seconds": 203}


@pytest.fixture(name="seen")
def _seen() -> Iterator[Seen]:
    """What is emitted."""
    with capture() as seen:
        trisignal.instrument("mistral")
        yield seen
        assert seen.value("trisignal_internal_errors_total") == 0
        trisignal.uninstrument()


@pytest.fixture(name="server")
def _server() -> Iterator[Loopback]:
    """The provider."""
    with Loopback() as server:
        yield server


def call(server: Loopback, asynchronous: bool, path: str, *replies: Reply, **arguments: Any) -> Any:
    """Call a method of the client; a stream is read to its end."""
    server.play(*replies)
    method: Any = mistral.Mistral(api_key="none", server_url=server.url)
    for name in (path + "_async" if asynchronous else path).split("."):
        method = getattr(method, name)
    if not asynchronous:
        result = method(**arguments)
        return list(result) if hasattr(result, "generator") else result

    async def run() -> Any:
        result = await method(**arguments)
        return [event async for event in result] if hasattr(result, "generator") else result

    return asyncio.run(run())


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("stream", [False, True])
def test_a_response(seen: Seen, server: Loopback, stream: bool, asynchronous: bool) -> None:
    """It is a chat with the facts of OpenAI's API, plain and streamed."""
    reply = streamed(*EVENTS) if stream else json_reply(RESPONSE)
    asked = {"model": MODEL, "input": "Hi", "temperature": 0.5, "stream": stream}
    call(server, asynchronous, "beta.responses.create" if _in_beta() else "responses.create", reply, **asked)
    facts = dict(seen.span.attributes or {})
    assert seen.span.name == f"chat {MODEL}"
    assert facts["gen_ai.request.temperature"] == 0.5
    assert facts["gen_ai.response.id"] == "resp_1"
    assert facts["gen_ai.response.finish_reasons"] == ("stop",)
    assert (facts["gen_ai.usage.input_tokens"], facts["gen_ai.usage.output_tokens"]) == (21, 9)
    assert facts.get("gen_ai.request.stream") == (stream or None)
    assert seen.value("llm_requests_total", llm_outcome="ok") == 1


def _in_beta() -> bool:
    return not hasattr(mistral.Mistral(api_key="none"), "responses")


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("stream", [False, True])
def test_a_transcription(seen: Seen, server: Loopback, stream: bool, asynchronous: bool) -> None:
    """A file is uploaded, which is not JSON: tokens and seconds of audio are read of the reply."""
    whole = {"model": "voxtral-mini-2507", "text": "Hello", "language": "en", "usage": HEARD, "segments": []}
    delta = {"type": "transcription.text.delta", "text": "Hello"}
    reply = streamed(delta, {"type": "transcription.done", **whole}) if stream else json_reply(whole)
    file = {"file_name": "hello.mp3", "content": b"ID3"}
    path = f"audio.transcriptions.{'stream' if stream else 'complete'}"
    call(server, asynchronous, path, reply, model="voxtral-mini-latest", file=file)
    facts = dict(seen.span.attributes or {})
    assert seen.span.name == "transcription voxtral-mini-latest"
    assert facts["gen_ai.response.model"] == "voxtral-mini-2507"
    assert (facts["gen_ai.usage.input_tokens"], facts["gen_ai.usage.output_tokens"]) == (4, 635)
    assert facts["llm.usage.audio_s"] == 203


@pytest.mark.parametrize("asynchronous", [False, True])
def test_speech_and_moderation(seen: Seen, server: Loopback, asynchronous: bool) -> None:
    """They are calls of their own kinds."""
    audio = base64.b64encode(b"ID3").decode()
    call(
        server,
        asynchronous,
        "audio.speech.complete",
        json_reply({"audio_data": audio}),
        model="voxtral-tts",
        input="Hi",
    )
    judged = json_reply({"id": "mod_1", "model": "mistral-moderation-2411", "results": []})
    call(server, asynchronous, "classifiers.moderate", judged, model="mistral-moderation-latest", inputs=["Hi"])
    assert [span.name for span in seen.spans] == ["speech voxtral-tts", "moderation mistral-moderation-latest"]
    assert seen.value("llm_requests_total", llm_outcome="ok") == 2
