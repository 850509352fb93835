"""One log record per ended call, through stdlib logging; a formatter makes it a line.

The record is built here and handed to the logger, as `logging.Logger.info` would spend most
of its time on finding out which line of ours called it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any

from opentelemetry.trace import get_current_span

from trisignal import semconv as names
from trisignal.call import Call, Draft
from trisignal.policy.sample import keep
from trisignal.semconv import limits
from trisignal.sinks import Refusal, idle
from trisignal.sinks._refusals import facts, title

_NO_TRACE = "0" * 32
_OUTCOME = names.OUTCOME.replace(".", "_")
_ERROR_KIND = names.ERROR_KIND.replace(".", "_")
_SAID_OTHERWISE = (
    names.OUTCOME, names.ERROR_KIND, names.COST_ATTRIBUTES["total"], names.USAGE_COST, names.REQUEST_ID,
)  # fmt: skip
"""Attributes of the span whose facts a line has under shorter names, those of every log line."""
_CONVENTIONAL = {
    "conversation_id": names.CONVERSATION_ID,
    "user_id": names.USER_ID,
    "agent_name": names.AGENT_NAME,
    "prompt_name": names.PROMPT_NAME,
    "prompt_version": names.PROMPT_VERSION,
}
"""Bound values whose facts a line has under the conventions' names."""
_NOBODY = (False, False, False)
_PREFIX = "llm_"
"""Put before a field whose name is taken."""
_RESERVED = frozenset(vars(logging.makeLogRecord({}))) | {"asctime", "message", "taskName"}
"""Attributes of log records, which no field may replace."""


class JsonLogSink:
    """Logs each ended call but stages, whose times are on the line of the enclosing call.

    A host may configure logging afterwards (`logging.config`, Celery, Django, uvicorn), which disables loggers and
    takes handlers away. The handler that was asked for gets its lines all the same: through the logger where that
    leads to it, and else directly. Only two things silence it, as they are meant to: a level that is set on this very
    logger, and `logging.disable`.

    Args:
        logger: Where the records go; without a handler that takes them nothing is built.
        ratio: Share of success lines that are kept, 0 to 1, decided by trace id.
        service: ``service.name`` of the lines; "" for none.
    """

    name = "json_log"

    def __init__(self, logger: logging.Logger, ratio: float, service: str = "") -> None:
        self._logger = logger
        self._ratio = ratio
        self._service = service
        self._disabled_before = logger.manager.disable
        self.own: logging.Handler | None = None
        """The handler that setup() was asked for."""
        self.silenced: Callable[[], None] | None = None
        """Called for each line that `logging.disable` keeps from that handler, where it came after setup(): before, it
        was the host's word."""
        self.replaced: Callable[[], None] | None = None
        """Called when the logger does not lead to that handler any more."""
        self.direct: Callable[[int, str, Mapping[str, Any]], bool] | None = None
        """Writes a line to that handler without a record, where that comes to the same; answers whether it did."""

    @idle
    def open(self, draft: Draft) -> None:
        """Calls are logged at their end."""

    def close(self, draft: Draft, call: Call) -> None:
        """Log an ended call."""
        outcome = call.outcome
        if call.operation == names.STAGE:
            return
        level = logging.INFO
        if outcome != "ok":
            mild = outcome != "error" or call.error_kind == "rate_limit"
            level = logging.WARNING if mild else logging.ERROR
        elif self._ratio < 1.0 and not keep(call.trace_id, self._ratio):
            return
        if self.own is None and not self._logger.isEnabledFor(level):
            return
        listening = self._listening(level)
        if listening != _NOBODY:
            message = f"{call.span_name} {outcome} {call.duration_s:.3f}s"
            fields = self._fields(call, getattr(draft.span, "parent", None))
            if listening[0] or self.direct is None or not self.direct(level, message, fields):
                self._log(level, message, _recordable(fields), listening)

    def refused(self, refusal: Refusal) -> None:
        """Log a call that did not begin; never sampled away."""
        error = refusal.error
        listening = self._listening(logging.ERROR)
        if listening != _NOBODY:
            self._log(logging.ERROR, f"{title(refusal)}: {error}", self._of_refusal(refusal), listening)

    def _listening(self, level: int) -> tuple[bool, bool, bool]:
        """Whether the logger brings a line to other handlers, to ours, and whether ours is to be given it directly."""
        logger, own = self._logger, self.own
        others = own_heard = False
        if logger.isEnabledFor(level):
            others, own_heard = _heard(logger, level, own)
        return others, own_heard, own is not None and not own_heard and self._is_owed(own, level)

    def _log(self, level: int, message: str, fields: Mapping[str, Any], listening: tuple[bool, bool, bool]) -> None:
        logger, own = self._logger, self.own
        others, own_heard, directly = listening
        make = logging.getLogRecordFactory()
        record = make(logger.name, level, "", 0, message, (), None)
        record.__dict__.update(fields)
        record.__dict__[names.RECORD_COMPLETE] = record.__dict__[names.RECORD_CLEAN] = True
        if others or own_heard:
            logger.handle(record)
        if directly and own is not None:
            own.handle(record)

    def _of_refusal(self, refusal: Refusal) -> Mapping[str, Any]:
        fields: dict[str, Any] = {"event": limits.EVENT_REFUSED, **facts(refusal)}
        fields[names.ERROR_TYPE] = type(refusal.error).__name__
        if self._service:
            fields["service.name"] = self._service
        context = get_current_span().get_span_context()
        if context.is_valid:
            fields["trace_id"], fields["span_id"] = f"{context.trace_id:032x}", f"{context.span_id:016x}"
            fields["trace_flags"] = f"{context.trace_flags:02x}"
        _add_bound(fields, refusal.bound)
        return fields

    def _is_owed(self, own: logging.Handler, level: int) -> bool:
        """Whether a line that the logger does not bring to our handler is to be brought there."""
        if own.level > level or self._logger.level > level:
            return False
        if self.replaced is not None:
            self.replaced()
        if self._logger.manager.disable < level:
            return True
        if self.silenced is not None and self._disabled_before < level:
            self.silenced()
        return False

    def _fields(self, call: Call, parent: Any) -> dict[str, Any]:
        fields: dict[str, Any] = {**call.opening, **call.closing}
        cost_usd = fields.get(names.COST_ATTRIBUTES["total"])
        for name in _SAID_OTHERWISE:
            fields.pop(name, None)
        if self._service:
            fields["service.name"] = self._service
        fields[names.DURATION_S] = call.duration_s
        fields[_OUTCOME] = call.outcome
        if call.role == "server":
            fields[names.SPAN_KIND] = "server"
        if call.error_kind is not None:
            fields[_ERROR_KIND] = call.error_kind
        if call.error_message:
            fields["error_message"] = call.error_message
        if call.vendor_request_id:
            fields[names.VENDOR_REQUEST_ID] = call.vendor_request_id
        usage = call.usage
        if usage is not None and (usage.input is not None or usage.output is not None):
            fields[names.TOTAL_TOKENS] = (usage.input or 0) + (usage.output or 0)
        if call.cost is not None:
            # As on the span, to the last digit.
            fields[names.COST_USD] = round(call.cost.total_usd, 12) if cost_usd is None else cost_usd
        if call.trace_id and call.trace_id != _NO_TRACE:
            fields["trace_id"] = call.trace_id
            fields["span_id"] = call.span_id
            if parent is not None:
                fields["parent_span_id"] = f"{parent.span_id:016x}"
            fields["trace_flags"] = "01" if call.sampled else "00"
        if call.content and self._logger.isEnabledFor(logging.DEBUG):
            fields.update(call.content)
        if call.bound:
            _add_bound(fields, call.bound)
        return fields


def _recordable(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields that a record can have: none in place of its own, and of numbers what JSON has, which NaN is not."""
    if not _RESERVED.isdisjoint(fields):
        fields = {_PREFIX + k if k in _RESERVED else k: v for k, v in fields.items()}
    return {k: v for k, v in fields.items() if type(v) is not float or isfinite(v)}


def _add_bound(fields: dict[str, Any], bound: Mapping[str, str]) -> None:
    """Bound values, each once: the span has some under other names."""
    for key, value in bound.items():
        fields.pop(names.DIMENSION_PREFIX + key, None)
        name = _CONVENTIONAL.get(key, key)
        if name is key or name not in fields:
            fields[_PREFIX + key if key in _RESERVED or key in fields else key] = value


def _heard(logger: logging.Logger, level: int, own: logging.Handler | None) -> tuple[bool, bool]:
    """Whether any handler up to the root but a certain one would take a record of a level, and whether that is met."""
    others = own_heard = False
    at: logging.Logger | None = logger
    while at is not None:
        for handler in at.handlers:
            if handler is own:
                own_heard = True
            elif handler.level <= level and type(handler) is not logging.NullHandler:
                others = True
        at = at.parent if at.propagate else None
    return others, own_heard
