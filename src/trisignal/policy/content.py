"""Content of a call on its way out: redacted, cut to its budgets, or dropped."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from trisignal import _guard
from trisignal import semconv as names
from trisignal.call import AttributeValue, Content, ContentSource, Draft
from trisignal.config import Settings
from trisignal.policy.own_redactor import RedactionError, checked
from trisignal.policy.redact import Redactor
from trisignal.policy.truncate import render, shorten

MESSAGE_BYTES = 2048
STACK_BYTES = 8192
LEAST_BYTES = 256
"""A budget below this holds nothing worth reading."""


class ContentPolicy:
    """Renders content attributes, within one budget per field and one per span.

    Args:
        settings: Settings in force.
        redactor: Applied to every text.
        failed: Called when a redactor failed; the content is dropped then.
    """

    def __init__(self, settings: Settings, redactor: Redactor, failed: Callable[[str, Exception], None]) -> None:
        self._redactor = checked(redactor)
        self._failed = failed
        self._field_bytes = settings.content_field_bytes
        self._span_bytes = settings.content_span_bytes

    def exception(self, error: BaseException) -> tuple[str, str]:
        """Message and stack of an exception; both are content, as they quote prompts."""
        try:
            said = str(error)
            trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        except Exception:  # an exception that cannot say what it is
            return "", ""
        try:
            message = shorten(self._redactor(said), MESSAGE_BYTES)[0]
            return message, shorten(self._redactor(trace), STACK_BYTES)[0]
        except RedactionError as failure:
            self._failed("exception text", failure)
            return "", ""

    def attributes(self, draft: Draft, closing: dict[str, AttributeValue]) -> dict[str, str]:
        """Content attributes of a call as JSON text; what was cut or dropped is noted in ``closing``."""
        source = draft.content
        assert source is not None
        try:
            values = _values(draft, source)
        except Exception as error:
            closing[names.CONTENT_DROPPED] = "unreadable"
            _guard.contain("content.read", error)
            return {}
        done: dict[str, str] = {}
        left, cut = self._span_bytes, 0
        for name, value in values.items():
            if value is None:
                continue
            budget = min(self._field_bytes, left)
            if budget < LEAST_BYTES:
                closing[names.CONTENT_DROPPED] = "span_budget"
                break
            try:
                if name == names.RETRIEVAL_QUERY:
                    done[name], lost = shorten(self._redactor(str(value)), budget)
                else:
                    done[name], lost = render(value, self._redactor, budget)
            except RedactionError as error:
                self._failed("content", error)
                closing[names.CONTENT_DROPPED] = "redaction_failed"
                return {}
            except Exception:  # of the application's objects: only this field is lost
                closing[names.CONTENT_DROPPED] = "unreadable"
                continue
            cut += lost
            left -= len(done[name]) if done[name].isascii() else len(done[name].encode("utf-8", "replace"))
        if cut:
            closing[names.CONTENT_CUT_BYTES] = cut
        return done


def _values(draft: Draft, source: ContentSource) -> dict[str, Any]:
    if source.reader is not None:
        read: Content = source.reader(source.request, source.response, draft.stream_state)
        return {
            names.SYSTEM_INSTRUCTIONS: read.system_instructions,
            names.INPUT_MESSAGES: read.input_messages,
            names.OUTPUT_MESSAGES: read.output_messages,
            names.TOOL_DEFINITIONS: read.tool_definitions,
        }
    if draft.operation == names.RETRIEVAL:
        return {names.RETRIEVAL_QUERY: source.arguments, names.RETRIEVAL_DOCUMENTS: source.result}
    if draft.operation == names.EXECUTE_TOOL:
        return {
            names.TOOL_CALL_ARGUMENTS: source.arguments,
            names.TOOL_CALL_RESULT: _as_object(source.result),
        }
    return {names.INPUT_MESSAGES: source.arguments, names.OUTPUT_MESSAGES: source.result}


def _as_object(value: Any) -> Any:
    """Tool results must be objects in the conventions."""
    return value if value is None or isinstance(value, dict) else {"result": value}
