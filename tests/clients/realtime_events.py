"""Events of realtime sessions in OpenAI's form, as the tests need them; ids, models and texts are made up."""

from __future__ import annotations

from typing import Any

Event = dict[str, Any]

SESSION: Event = {
    "type": "session.created",
    "session": {
        "type": "realtime", "id": "sess_1", "model": "gpt-realtime", "output_modalities": ["audio"],
        "instructions": "Be kind.", "audio": {"input": {"transcription": {"model": "gpt-4o-mini-transcribe"}}},
    },
}  # fmt: skip
SPEECH_STARTED: Event = {"type": "input_audio_buffer.speech_started", "item_id": "item_u"}
SPEECH_STOPPED: Event = {"type": "input_audio_buffer.speech_stopped", "item_id": "item_u"}
USAGE: Event = {
    "input_tokens": 120, "output_tokens": 70, "total_tokens": 190,
    "input_token_details": {
        "text_tokens": 50, "audio_tokens": 70, "cached_tokens": 60,
        "cached_tokens_details": {"text_tokens": 40, "audio_tokens": 20},
    },
    "output_token_details": {"text_tokens": 20, "audio_tokens": 50},
}  # fmt: skip
COST_USD = (10 * 4 + 40 * 0.4 + 50 * 32 + 20 * 0.4 + 20 * 16 + 50 * 64) / 1e6
"""What `USAGE` costs at gpt-realtime's prices: text in 4, audio in 32, both cached 0.4, text out 16, audio out 64."""


def created(id_: str = "resp_1", **fields: Any) -> Event:
    """A response begins."""
    response = {"id": id_, "status": "in_progress", "conversation_id": "conv_1", "usage": None, **fields}
    return {"type": "response.created", "response": response}


def audio(id_: str = "resp_1", kind: str = "response.output_audio.delta") -> Event:
    """Some audio of a response."""
    return {"type": kind, "response_id": id_, "item_id": "item_a", "delta": "UklGRg" * 40}


def said(text: str, id_: str = "resp_1", kind: str = "response.output_audio_transcript.delta") -> Event:
    """Some of what the audio says."""
    return {"type": kind, "response_id": id_, "item_id": "item_a", "delta": text}


def done(id_: str = "resp_1", status: str = "completed", usage: Any = USAGE, **fields: Any) -> Event:
    """A response ends."""
    item = {"type": "message", "role": "assistant", "content": [{"type": "output_audio", "transcript": "Good day."}]}
    response = {"id": id_, "status": status, "status_details": None, "output": [item], "usage": usage, **fields}
    return {"type": "response.done", "response": response}


def tool_call(id_: str = "resp_1", call_id: str = "call_1", name: str = "weather") -> list[Event]:
    """A response that calls a tool, without its beginning and end."""
    item = {"type": "function_call", "call_id": call_id, "name": name, "arguments": ""}
    finished = {**item, "arguments": '{"city": "Bern"}'}
    return [
        {"type": "response.output_item.added", "response_id": id_, "item": item},
        {"type": "response.function_call_arguments.delta", "response_id": id_, "call_id": call_id, "delta": "{"},
        {
            "type": "response.function_call_arguments.done",
            "response_id": id_,
            "call_id": call_id,
            "arguments": finished["arguments"],
        },
        {"type": "response.output_item.done", "response_id": id_, "item": finished},
    ]


def tool_result(call_id: str = "call_1", output: str = "Sunny.") -> Event:
    """The application answers a tool call."""
    item = {"type": "function_call_output", "call_id": call_id, "output": output}
    return {"type": "conversation.item.create", "item": item}


def error(code: str, event_id: str | None = None, **fields: Any) -> Event:
    """An error event."""
    return {"type": "error", "error": {"code": code, "type": "invalid_request_error", "event_id": event_id, **fields}}


CREATE: Event = {"type": "response.create"}
