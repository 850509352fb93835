"""What is in no vendor's format: plain strings, or objects of the application's own."""

from __future__ import annotations

from typing import Any

from trisignal.call import Content, Draft
from trisignal.formats import ANSWER, TOKEN, Format, StreamState, View, view


def _nothing(draft: Draft, body: View) -> None:
    """There is nothing to read."""


def look(chunk: Any) -> int:
    """Anything but an empty string is visible output."""
    return TOKEN | ANSWER if chunk else 0


def fold(draft: Draft, state: StreamState, chunk: View) -> None:
    """Keep text while content is captured; `view` leaves strings as attribute views."""
    fields = getattr(chunk, "_object", chunk)
    if state.content is not None and isinstance(fields, str):
        state.content.setdefault("text", []).append(fields)


def end(draft: Draft, state: StreamState) -> None:
    """Nothing to settle."""


def _messages(given: Any, role: str) -> list[Any] | None:
    if isinstance(given, str):
        return [{"role": role, "parts": [{"type": "text", "content": given}]}]
    if isinstance(given, list) and given and all(isinstance(item, dict) and "role" in item for item in given):
        from trisignal.formats.openai_content import read_content as read_chat

        return read_chat({"messages": given}, None, None).input_messages
    return None


def read_content(request: Any, response: Any, state: StreamState | None) -> Content:
    """Arguments named messages, prompt, input, question or text; a returned or yielded string."""
    body = view(request)
    inputs = None
    for name in ("messages", "prompt", "input", "question", "text", "query"):
        inputs = inputs or _messages(body.get(name), "user")
    words = "".join((state.content or {}).get("text", ())) if state is not None else response
    return Content(None, inputs, _messages(words, "assistant") if words else None, None)


def recognises(reply: View) -> bool:
    """Never: this is the fallback."""
    return False


PLAIN = Format("plain", _nothing, _nothing, look, fold, end, read_content, recognises)
