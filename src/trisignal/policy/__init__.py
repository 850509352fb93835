"""What may leave: every draft passes here, in one fixed order, and becomes a `Call`.

redact, truncate, price, bound, sample. Policy works on values; the `Call` is built once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import itemgetter
from time import perf_counter_ns
from types import MappingProxyType
from typing import Any

from trisignal import _context
from trisignal import semconv as names
from trisignal.call import AttributeValue, Call, Draft, RateLimit
from trisignal.config import Settings
from trisignal.policy.charge import UNCHARGED, Charge, Priced, charge, describe
from trisignal.policy.cleaning import FIELD_BYTES as FIELD_BYTES
from trisignal.policy.cleaning import REDACTION_FAILED as REDACTION_FAILED
from trisignal.policy.cleaning import Cleaning
from trisignal.policy.content import ContentPolicy
from trisignal.policy.redact import Redactor
from trisignal.semconv import search, serving
from trisignal.semconv.late_pattern import late_pattern
from trisignal.semconv.targets import HTTP_TARGET
from trisignal.semconv.values import text_of

_PORTS = 65_536
_LONG_NUMBER = 10
"""Digits of a request parameter or a count that may be something else."""
_FEW_DIGITS = 10 ** (_LONG_NUMBER - 1)
STOP_WITHHELD = "[content]"
"""Stands for a stop sequence that is more than a control word, while content is off."""
OTHER_RESOURCE = "other"
_MOST_RESOURCES = 256
_RESOURCE = late_pattern(
    r"(?:(?:reqs?|requests?|toks?|tokens?|[rt]p[smd]|[io]tpm|imgs?|inputs?|outputs?|cached?|images?|audio|video|seconds?|characters|priority|project|unified|total"
    r"|fast|batch|concurrent|user|org|organization|model|embedding|chat|completion|prompt|per|minutes?|hours?|days?|weeks?"
    r"|months?|\d{1,4}[smhdw]?|opus|sonnet|haiku|status|storage|neurons|credits|usd)(?:_|$)){1,6}"
)
_CONTROL = late_pattern(r"[\W_]*[A-Za-z_]{0,16}[\W_]*")

_ENTITY = {
    names.RETRIEVAL: names.DATA_SOURCE_ID,
    search.WRITE_VECTORS: names.DATA_SOURCE_ID,
    names.CREATE_AGENT: names.AGENT_NAME,
    names.INVOKE_AGENT: names.AGENT_NAME,
    names.EXECUTE_TOOL: names.TOOL_NAME,
    names.INVOKE_WORKFLOW: names.WORKFLOW_NAME,
    names.STAGE: names.STAGE_NAME,
}
_BOUND_ATTRIBUTES = {
    _context.REQUEST_ID: names.REQUEST_ID,
    _context.CONVERSATION_ID: names.CONVERSATION_ID,
    _context.USER_ID: names.USER_ID,
    _context.PROMPT_NAME: names.PROMPT_NAME,
    _context.PROMPT_VERSION: names.PROMPT_VERSION,
}
_NO_TOOLS: Mapping[str, int] = MappingProxyType({})
_CONVERSATION_OPERATIONS = names.INFERENCE | {
    names.INVOKE_AGENT, names.EXECUTE_TOOL, names.INVOKE_WORKFLOW, names.REALTIME_SESSION, names.REALTIME_TURN,
}  # fmt: skip


class Policy(Cleaning):
    """Settings compiled into the two steps of a call's life.

    Args:
        settings: Settings in force.
        redactor: Applied to every text before it leaves.
        pricer: Source of costs.
        on_redaction_failure: Called when the redactor raised and content was dropped.
    """

    def __init__(
        self, settings: Settings, redactor: Redactor, pricer: Priced, on_redaction_failure: Callable[[], None]
    ) -> None:
        super().__init__(redactor, on_redaction_failure)
        self._pricer = pricer
        self._dimension_names = settings.metric_dimensions
        self._proposed = settings.metric_profile != names.PROFILES[0]
        self._content = ContentPolicy(settings, redactor, self.failed)
        self.captures = settings.capture_content != "no_content"

    # --- start -----------------------------------------------------------------------

    def admit(self, draft: Draft) -> None:
        """Prepare a draft's first attributes, redacted: what samplers and parents see."""
        known, remembered = self.known, self._remembered
        operation = draft.operation
        opening: dict[str, AttributeValue] = {}
        if operation != names.STAGE:
            opening[names.OPERATION] = operation
        # A text that has been seen before costs a look, not a call; an enumeration may equal one, and be none.
        text = draft.provider
        if text:
            done = remembered.get(text) if type(text) is str else None
            opening[names.PROVIDER] = draft.provider = done or known(text)
        text = draft.request_model
        if text:
            done = remembered.get(text) if type(text) is str else None
            opening[names.REQUEST_MODEL] = draft.request_model = done or known(text)
        text = draft.server_address
        if text:
            done = self._addresses.get(text) if type(text) is str else None
            opening[names.SERVER_ADDRESS] = draft.server_address = done or self.address(text)
            if 0 < draft.server_port < _PORTS:
                opening[names.SERVER_PORT] = draft.server_port
            else:
                draft.server_port = 0
        if draft.name:
            draft.name = known(draft.name)
            entity = _ENTITY.get(operation)
            if entity:
                opening[entity] = draft.name
        value: Any
        fields: Mapping[str, Any] = draft.fields
        for name, value in fields.items():
            kind = type(value)
            if kind is str:
                opening[name] = remembered.get(value) or known(value)
            elif (
                kind is bool
                or (kind is int and -_FEW_DIGITS < value < _FEW_DIGITS)
                or (kind is float and len(repr(value)) < _LONG_NUMBER and value - value == 0.0)
            ):
                opening[name] = value
            elif (fact := self._field(name, value)) is not None:
                opening[name] = fact
        bound = _context.bound.get()
        if bound or draft.conversation_id:
            self._admit_bound(draft, bound, opening)
        if draft.agent and (operation in names.INFERENCE or operation == names.EXECUTE_TOOL):
            # A span of another instrumentation may have brought the name.
            opening[names.AGENT_NAME] = draft.agent = known(draft.agent)
        draft.opening = opening

    def _field(self, name: str, value: Any) -> AttributeValue | None:
        """A fact of request or reply: numbers are parameters and counts, unless they are long."""
        if name == names.REQUEST_STOP_SEQUENCES and not self.captures and isinstance(value, (list, tuple)):
            return tuple(
                [self.known(word) if _CONTROL.fullmatch(word) else STOP_WITHHELD for word in map(text_of, value)]
            )
        return self.attribute(value, _LONG_NUMBER)

    def _admit_bound(self, draft: Draft, bound: Mapping[str, str], opening: dict[str, AttributeValue]) -> None:
        draft.bound = {self.known(key): self.masked(key, value) or self.known(value) for key, value in bound.items()}
        if not draft.conversation_id:
            draft.conversation_id = bound.get(_context.CONVERSATION_ID, "")
        draft.agent = draft.agent or draft.bound.get(_context.AGENT_NAME, "")
        for key, value in draft.bound.items():
            name = _BOUND_ATTRIBUTES.get(key)
            if name is None:
                if key != _context.AGENT_NAME:
                    opening[names.DIMENSION_PREFIX + key] = value
            elif name in (names.REQUEST_ID, names.USER_ID) or draft.operation in names.INFERENCE:
                opening[name] = value
        if draft.conversation_id and draft.operation in _CONVERSATION_OPERATIONS:
            opening[names.CONVERSATION_ID] = self.known(draft.conversation_id)

    def span_name(self, draft: Draft) -> str:
        """The conventions' span name: operation and model, or operation and entity."""
        operation = draft.operation
        second = draft.name if operation in names.SPAN_NAME_BY_ENTITY else draft.request_model
        return f"{operation} {second}" if second else operation

    # --- end -------------------------------------------------------------------------

    def finish(self, draft: Draft) -> Call:
        """Build the `Call` of an ended draft."""
        closing: dict[str, AttributeValue] = {}
        content: dict[str, str] = {}
        message = stack = ""
        if self.captures and draft.content is not None:
            content = self._content.attributes(draft, closing)
        if self.captures and draft.error is not None and draft.outcome == "error":
            message, stack = self._content.exception(draft.error)
        if draft.encloses_call:
            # Law 2: the enclosed call was counted; this one describes the work around it.
            draft.counted = False
            if draft.role == "client":
                draft.operation = names.INVOKE_WORKFLOW
                closing[names.OPERATION] = names.INVOKE_WORKFLOW
                if draft.name:
                    closing[names.WORKFLOW_NAME] = draft.name
                draft.usage = None
        model_call = draft.operation not in names.MODEL_CALLS_EXCLUDED
        outcome = draft.outcome or "ok"
        draft.end_ns = draft.end_ns or perf_counter_ns()
        charged = self._result(draft, closing, outcome, model_call)
        self._changed(draft, closing)
        return self._record(draft, closing, content, (message, stack), charged, model_call)

    def _record(
        self,
        draft: Draft,
        closing: dict[str, AttributeValue],
        content: dict[str, str],
        error_text: tuple[str, str],
        charged: Charge,
        model_call: bool,
    ) -> Call:
        span = draft.span
        trace_id = span_id = ""
        sampled = False
        if span is not None:
            # A SpanContext is a tuple; its properties cost a call each.
            trace_number, span_number, _, flags, *_ = draft.ids or span.get_span_context()
            trace_id, span_id = "%032x" % trace_number, "%016x" % span_number  # noqa: UP031 - a third of an f-string's time
            sampled = bool(flags & 1)
        dimensions: tuple[str, ...] = ()
        if self._dimension_names:
            dimensions = tuple([draft.bound.get(name, "") for name in self._dimension_names])
        request_id = draft.vendor_request_id
        if request_id and not (type(request_id) is str and self._is_harmless(request_id)):
            request_id = self.clean(request_id)
        message, stack = error_text
        cost, unpriced, listed, tokens = charged
        # In the order of `Call`: slots are read much faster one by one than by `attrgetter`.
        values = (
            draft.operation, draft.kind, draft.role, self.span_name(draft), draft.provider, draft.request_model,
            draft.response_model, draft.name, draft.outcome or "ok", draft.error_type, draft.error_kind, message,
            stack, draft.start_unix_ns, draft.start_ns, (draft.end_ns - draft.start_ns) / 1e9, draft.usage, cost,
            model_call, draft.counted, draft.pending, tuple(draft.retries),
            _bounded(draft.rate_limits) if draft.rate_limits else (), draft.chunk_times, draft.opening, closing,
            content, draft.server_address, draft.server_port, dimensions, draft.agent, draft.agent_calls,
            draft.tool_calls, trace_id, span_id, sampled, draft.bound, draft.background_id, request_id or "",
            unpriced, draft.bill, listed, draft.server_tools or _NO_TOOLS, tokens, "", draft.attempts,
        )  # fmt: skip
        # The constructor of a named tuple is a Python function; this is the same without it.
        return tuple.__new__(Call, values)

    def _result(self, draft: Draft, closing: dict[str, AttributeValue], outcome: str, model_call: bool) -> Charge:
        text = draft.response_id
        if text:
            same = type(text) is str and self._is_harmless(text)
            closing[names.RESPONSE_ID] = text if same else self.clean(text)
        text = draft.response_model
        if text:
            known = self._remembered.get(text) if type(text) is str else None
            closing[names.RESPONSE_MODEL] = draft.response_model = known or self.known(text)
        if draft.finish_reasons:
            reasons: list[str] = []
            for text in draft.finish_reasons:  # a loop: a comprehension is one more function call
                known = self._remembered.get(text) if type(text) is str else None
                reasons.append(known or self.known(text))
            closing[names.RESPONSE_FINISH_REASONS] = tuple(reasons)
        if draft.error_type:
            closing[names.ERROR_TYPE] = draft.error_type = self.known(draft.error_type)
            if draft.error_kind:
                closing[names.ERROR_KIND] = draft.error_kind
        charged = UNCHARGED
        if model_call:
            if draft.server_tools:
                draft.server_tools = {self.known(tool): calls for tool, calls in draft.server_tools.items()}
            describe(draft, closing, outcome)
            if draft.counted:
                charged = charge(self._pricer, draft, closing, self._proposed)
        elif draft.background_id or draft.total_cost is not None:
            charged = charge(self._pricer, draft, closing, self._proposed)
        times = draft.chunk_times
        if times is not None and times.first_chunk_ns:
            start = draft.start_ns
            closing[names.RESPONSE_TIME_TO_FIRST_CHUNK] = (times.first_chunk_ns - start) / 1e9
            if times.first_token_ns:
                closing[names.TIME_TO_FIRST_TOKEN_S] = (times.first_token_ns - start) / 1e9
            if times.first_answer_ns:
                closing[names.TIME_TO_FIRST_ANSWER_S] = (times.first_answer_ns - start) / 1e9
            if times.first_audio_ns:
                closing[names.TIME_TO_FIRST_AUDIO_S] = (times.first_audio_ns - (times.speech_end_ns or start)) / 1e9
        if draft.retries:
            closing[names.RETRIES] = len(draft.retries)
            closing.update(_lost(draft))
        if draft.stages:
            for name, seconds in draft.stages.items():
                closing[f"{names.STAGE_PREFIX}{self.known(name)}_ms"] = round(seconds * 1e3, 3)
            closing[names.STAGES_TOTAL_MS] = round(draft.stages_total_s * 1e3, 3)
        if outcome != "ok":
            # On spans the absence means ok: one attribute less on almost every span.
            closing[names.OUTCOME] = outcome
            if draft.vendor_request_id:
                closing[names.VENDOR_REQUEST_ID] = self.clean(draft.vendor_request_id)
        return charged

    def _changed(self, draft: Draft, closing: dict[str, AttributeValue]) -> None:
        """Facts that came after the start: response fields, and what the user set by hand."""
        opening = draft.opening
        if (served_s := draft.fields.get(serving.TOTAL_S)) is not None and draft.role == "client":
            took_s = (draft.end_ns - draft.start_ns) / 1e9 - sum(_lost(draft).values())
            closing[serving.NETWORK_S] = round(max(0.0, took_s - float(served_s)), 6)  # type: ignore[arg-type]
        given: Any
        for field, given in tuple(draft.fields.items()):
            if field in opening:
                continue
            if type(given) is str:
                # A tier, a fingerprint, a reason: of few different values, as in requests.
                closing[field] = self._remembered.get(given) or self.known(given)
            elif (fact := self._field(field, given)) is not None:
                closing[field] = fact
        model, provider = draft.request_model, draft.provider
        if type(model) is not str:
            model = draft.request_model = text_of(model)
        if model and opening.get(names.REQUEST_MODEL) != model and draft.operation != names.FETCH_RESPONSE:
            closing[names.REQUEST_MODEL] = draft.request_model = self.known(model)
        if provider and opening.get(names.PROVIDER) != provider:
            closing[names.PROVIDER] = draft.provider = self.known(provider)
        for name, given in tuple(draft.attributes.items()):
            key = self.known(name)
            if key and key not in opening and key not in closing:
                target = name in HTTP_TARGET and type(given) is str
                fact = self.masked(name, given) or (self.target(given) if target else self.attribute(given))
                if fact is not None:
                    closing[key] = fact


def _lost(draft: Draft) -> Mapping[str, float]:
    """Time that retries took, where it is known."""
    if not draft.attempts:
        return {}
    _, _, wait_s, at_ns = draft.attempts[-1]
    return {names.RETRIES_LOST_S: max(0.0, (at_ns - draft.start_ns) / 1e9 + wait_s)}


def _bounded(limits: tuple[RateLimit, ...]) -> tuple[RateLimit, ...]:
    """Resources become labels, and their names come from headers: only words of the trade pass."""
    if _resources.issuperset(map(_NAME_OF_LIMIT, limits)):
        return limits
    if all(_is_resource(limit.resource) for limit in limits):
        return limits
    known = [limit for limit in limits if _is_resource(limit.resource)]
    others = [limit._replace(resource=OTHER_RESOURCE) for limit in limits if not _is_resource(limit.resource)]
    return (*known, others[-1])


_resources: set[str] = set()
_NAME_OF_LIMIT = itemgetter(RateLimit._fields.index("resource"))


def _is_resource(name: str) -> bool:
    if _RESOURCE.fullmatch(name) is None:
        return False
    if len(_resources) < _MOST_RESOURCES:
        _resources.add(name)
    return True
