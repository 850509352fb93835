"""Messages of Gemini Live, as the SDK or REST spells them."""

from __future__ import annotations

from typing import Any

import pytest

from trisignal.call import Draft
from trisignal.formats import ANSWER, NOTABLE, TOKEN
from trisignal.formats.gemini_live import look, look_sent, read_reply, received, sent
from trisignal.formats.realtime import AUDIO, SAID

Message = dict[str, Any]


def kinds(message: Message) -> list[str]:
    """What a message means."""
    return [step.kind for step in received(message)]


@pytest.mark.parametrize(
    ("message", "flags"),
    [
        ({"serverContent": {"modelTurn": {"parts": [{"inlineData": {"mimeType": "audio/pcm"}}]}}}, TOKEN | ANSWER | AUDIO),
        ({"server_content": {"model_turn": {"parts": [{"text": "x", "thought": True}]}}}, TOKEN),
        ({"serverContent": {"modelTurn": {"parts": [{"text": "x"}]}}}, TOKEN | ANSWER | SAID),
        ({"serverContent": {"outputTranscription": {}}}, 0),
        ({"serverContent": {"generationComplete": True}}, 0),
        ({"serverContent": {"turnComplete": True}}, NOTABLE),
        ({"toolCall": {"functionCalls": []}}, TOKEN | ANSWER | NOTABLE),
        ({"usageMetadata": {}}, NOTABLE),
        ({}, 0),
    ],
)  # fmt: skip
def test_flags(message: Message, flags: int) -> None:
    """A message is looked at by the keys that it has."""
    assert look(message) == flags


def test_several_things_at_once() -> None:
    """One message may say several things; tokens belong to what it ends."""
    message = {
        "setupComplete": {}, "goAway": {"timeLeft": "1s"}, "usageMetadata": {"promptTokenCount": 1},
        "sessionResumptionUpdate": {"resumable": True, "newHandle": "h"},
        "toolCall": {"functionCalls": [{"id": "a", "name": "f"}, {"id": "b", "name": "g"}]},
        "toolCallCancellation": {"ids": ["z"]}, "serverContent": {"inputTranscription": {"text": "hi"}},
    }  # fmt: skip
    assert kinds(message) == [
        "session", "resumable", "leaving", "heard", "tool_called", "tool_called", "usage", "handed_over",
        "tool_cancelled",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "message",
    [
        {"voiceActivity": {"voiceActivityType": "ACTIVITY_END"}},
        {"voiceActivity": {"type": "ACTIVITY_END"}},
        {"voiceActivityDetectionSignal": {"vadSignalType": "VAD_SIGNAL_TYPE_EOS"}},
    ],
)
def test_the_end_of_speech(message: Message) -> None:
    """However the end of the user's speech is reported, it is seen."""
    assert kinds(message) == ["speech_ended"]


@pytest.mark.parametrize("update", [{"resumable": False, "newHandle": "h"}, {"resumable": True, "newHandle": ""}, {}])
def test_a_handle_that_is_none(update: Message) -> None:
    """Only a session that says it is resumable has a handle."""
    assert kinds({"sessionResumptionUpdate": update}) == []


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"promptTokenCount": 10, "responseTokenCount": 5, "thoughtsTokenCount": 3, "totalTokenCount": 15}, (10, 8)),
        ({"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}, (10, 5)),
        ({"promptTokenCount": 10, "totalTokenCount": 16}, (10, 6)),
        ({"promptTokenCount": 10, "totalTokenCount": 10}, (10, None)),
        ({"prompt_token_count": 10, "response_token_count": 0, "total_token_count": 10}, (10, 0)),
    ],
)
def test_tokens(usage: Message, tokens: tuple[int, int | None]) -> None:
    """Thoughts come on top of the response; a count that is left out is what the total has beyond the prompt."""
    draft = Draft("")
    read_reply(draft, {"usageMetadata": usage})
    assert draft.usage is not None
    assert (draft.usage.input, draft.usage.output) == tokens


@pytest.mark.parametrize(
    ("arguments", "meaning"),
    [
        ({"turns": {"parts": [{"text": "x"}]}, "turn_complete": True}, ["item", "requested"]),
        ({"turns": [{"parts": [{"text": "x"}]}], "turn_complete": False}, ["item"]),
        ({"text": "x"}, ["item", "requested"]),
        ({"activity_end": {}}, ["speech_ended"]),
        ({"activity_start": {}}, []),
        ({"function_responses": {"id": "a", "name": "f", "response": {}}}, ["tool_answered", "requested"]),
        ({"input": "x", "end_of_turn": True}, ["item", "requested"]),
        ({"input": {"function_responses": [{"id": "a", "response": {}}]}}, ["tool_answered", "requested"]),
    ],
)
def test_what_is_sent(arguments: Message, meaning: list[str]) -> None:
    """The arguments of the session's methods say what is asked for."""
    assert look_sent(arguments)
    assert [step.kind for step in sent(arguments)] == meaning


def test_media_say_nothing() -> None:
    """Audio that is sent is not looked at."""
    assert look_sent({"audio": {"data": b""}}) == 0
