"""Realtime sessions, whatever the vendor: what the messages of a connection mean, as steps.

A session has no request and reply: both sides send messages, and a response begins and ends somewhere in
between. A format names what a message means; `streams.realtime` makes calls of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple

from trisignal.call import AttributeValue, Content, Draft, ErrorKind
from trisignal.formats import View

AUDIO = 8
"""The message holds audio of the model; beside the flags of stream chunks."""
SAID = 16
"""The message holds words that are looked at where content is captured only."""

Kind = Literal[
    "session", "speech_ended", "requested", "item", "began", "ended", "tool_named", "tool_called", "tool_answered",
    "tool_cancelled", "handed_over", "interrupted", "usage", "error", "limits", "transcribed", "leaving", "resumable",
    "heard", "said",
]  # fmt: skip
_NOTHING: dict[str, Any] = {}
REFUSED = frozenset({"conversation_already_has_active_response", "response_cancel_not_active"})
"""Errors that changed nothing: no response was to be made, and none was."""
EXPIRED = "session_expired"
"""The error that announces that the provider will end the session."""
GENERAL: frozenset[ErrorKind | None] = frozenset(
    {"rate_limit", "overloaded", "server", "auth", "timeout", "content_filter"}
)
"""Kinds of errors that may concern a response although they name no message of the application."""


class Step(NamedTuple):
    """One thing that a message means."""

    kind: Kind
    id: str = ""
    """Of the response, the tool call, the item or the client's event that it is about."""
    name: str = ""
    """Name of a tool; a piece of text."""
    facts: Any = _NOTHING
    """The object that says more; for a tool call its arguments or its result."""


class SessionFacts(NamedTuple):
    """What a session's configuration says."""

    id: str = ""
    conversation_id: str = ""
    model: str = ""
    transcription_model: str = ""
    """The model that writes down what the user says, which is billed apart."""
    transcribes_only: bool = False
    """No response follows what the user says."""
    fields: dict[str, AttributeValue] = {}  # noqa: RUF012 - a tuple's default, never written to
    """Facts of every response under the conventions' names."""
    settings: View = _NOTHING
    """Instructions and tools, for content."""


class RealtimeFormat(NamedTuple):
    """How one vendor's realtime messages are written, as a table of plain functions."""

    name: str
    operation: str
    """Name of a response's operation in the released conventions, which have none for realtime."""
    look: Callable[[Any], int]
    """Flags of a received message; called for every one, so it must be cheap."""
    received: Callable[[Any], Iterable[Step]]
    """What a notable message of the provider means."""
    look_sent: Callable[[Any], int]
    """The same for what the application sends."""
    sent: Callable[[Any], Iterable[Step]]
    read_session: Callable[[View], SessionFacts]
    read_reply: Callable[[Draft, View], None]
    """Puts what a response's end says on its call: ids, usage, finish reason, outcome."""
    read_content: Callable[[Any, Any, Any], Content]
    response_of: Callable[[Any], str]
    """Id of the response that a message belongs to, where several run at once; "" where none is named."""
    unannounced: bool = False
    """Responses begin with their first output; no message announces them."""
