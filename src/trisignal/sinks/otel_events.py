"""The conventions' events through the OpenTelemetry logs API."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from opentelemetry._logs import Logger, LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from trisignal import semconv as names
from trisignal.call import Call, Draft
from trisignal.policy.cardinality import OTHER
from trisignal.sinks import Verdict, idle

_NO_TRACE = frozenset({"", "0" * 32})


class OtelEventSink:
    """Emits inference details, exceptions and evaluations as events.

    Events of successful calls follow their span's sampling; failures are always emitted.

    Args:
        logger: Where the events go.
        details: Emit the details of every inference call.
        content: Put message content into the details, as structured values.
    """

    name = "otel_events"

    def __init__(self, logger: Logger, *, details: bool, content: bool, sampled_only: bool = True) -> None:
        self._sampled_only = sampled_only
        self._emit = logger.emit
        # Logs APIs before mid 2026 have no `enabled`.
        self._enabled = getattr(logger, "enabled", _always)
        self._details = details
        self._content = content

    @idle
    def open(self, draft: Draft) -> None:
        """Events are emitted at the end."""

    def close(self, draft: Draft, call: Call) -> None:
        """Emit an ended call to a model, and the exception that ended a client operation."""
        if call.role != "client":
            return
        failed = call.outcome == "error" and call.kind == "client"
        detailed = (
            self._details and call.operation in names.INFERENCE and not (self._sampled_only and _sampled_out(call))
        )
        if not (failed or detailed):
            return
        context = None if draft.span is None else set_span_in_context(draft.span)
        end_unix_ns = call.start_unix_ns + round(call.duration_s * 1e9)
        if detailed and self._wanted(names.EVENT_DETAILS, SeverityNumber.DEBUG, context):
            attributes: dict[str, Any] = {**call.opening, **call.closing}
            if self._content:
                for name, text in call.content.items():
                    attributes[name] = json.loads(text)
            self._tell(names.EVENT_DETAILS, SeverityNumber.DEBUG, attributes, context, end_unix_ns)
        if failed and self._wanted(names.EVENT_EXCEPTION, SeverityNumber.WARN, context):
            attributes = {names.EXCEPTION_TYPE: call.error_type or OTHER}
            if call.error_message:
                attributes[names.EXCEPTION_MESSAGE] = call.error_message
            if call.error_stack:
                attributes[names.EXCEPTION_STACKTRACE] = call.error_stack
            self._tell(names.EVENT_EXCEPTION, SeverityNumber.WARN, attributes, context, end_unix_ns)

    def verdict(self, verdict: Verdict, context: Context | None = None) -> None:
        """Emit an evaluation, as part of the evaluated call's trace when its ids are known.

        Args:
            verdict: The evaluation; its ``ref`` may hold ``trace_id``, ``span_id``,
                ``trace_flags`` (hexadecimal) and ``response_id`` of the evaluated call.
            context: Parent of the event when ``ref`` names no span; None is the current one.
        """
        parent = _evaluated(verdict.ref) or context
        if not self._wanted(names.EVENT_EVALUATION, None, parent):
            return
        attributes: dict[str, Any] = {names.EVALUATION_NAME: verdict.name}
        if verdict.score is not None:
            attributes[names.EVALUATION_SCORE] = verdict.score
        texts = {
            names.EVALUATION_LABEL: verdict.label,
            names.EVALUATION_EXPLANATION: verdict.explanation,
            names.RESPONSE_ID: verdict.ref.get("response_id"),
        }
        attributes.update({name: text for name, text in texts.items() if text})
        self._tell(names.EVENT_EVALUATION, None, attributes, parent, None)

    def _wanted(self, event: str, severity: SeverityNumber | None, context: Context | None) -> bool:
        return bool(self._enabled(context=context, severity_number=severity, event_name=event))

    def _tell(
        self,
        event: str,
        severity: SeverityNumber | None,
        attributes: Mapping[str, Any],
        context: Context | None,
        unix_ns: int | None,
    ) -> None:
        self._emit(
            LogRecord(
                timestamp=unix_ns,
                context=context,
                severity_text=None if severity is None else severity.name,
                severity_number=severity,
                attributes=attributes,
                event_name=event,
            )
        )


def _always(**_: object) -> bool:
    return True


def _sampled_out(call: Call) -> bool:
    return call.outcome == "ok" and not call.sampled and call.trace_id not in _NO_TRACE


def _evaluated(ref: Mapping[str, str]) -> Context | None:
    """Context of the span that a reference names, if it names one."""
    try:
        span = SpanContext(
            trace_id=int(ref["trace_id"], 16),
            span_id=int(ref["span_id"], 16),
            is_remote=True,
            trace_flags=TraceFlags(int(ref.get("trace_flags") or "00", 16)),
        )
    except (KeyError, ValueError):
        return None
    return set_span_in_context(NonRecordingSpan(span)) if span.is_valid else None
