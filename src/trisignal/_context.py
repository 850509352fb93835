"""What travels with the work: request id, bound values, the current call.

Two context variables hold it: one immutable mapping of bound values, one reference to the
innermost open call. `inject` and `continue_from` carry both, and W3C trace context, over
queues, threads, processes and HTTP. Other formats, baggage among them, are written only where
the standard variable ``OTEL_PROPAGATORS`` names them.
"""

from __future__ import annotations

import contextvars
import functools
import json
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import Any, ParamSpec, TypeVar

from opentelemetry import context as otel_context
from opentelemetry.context.context import Context
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext
from opentelemetry.propagators.textmap import Getter, TextMapPropagator
from opentelemetry.trace import INVALID_SPAN, Span, SpanContext, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from trisignal import _guard
from trisignal.call import Draft
from trisignal.formats.carriers import headers_of
from trisignal.semconv.values import plain_text

P = ParamSpec("P")
T = TypeVar("T")

REQUEST_ID = "request_id"
CONVERSATION_ID = "conversation_id"
USER_ID = "user_id"
AGENT_NAME = "agent_name"
PROMPT_NAME = "prompt_name"
PROMPT_VERSION = "prompt_version"

REQUEST_ID_KEY = "x-request-id"
BOUND_KEY = "x-trisignal-context"
VALID_ID = re.compile(r"[!-~]{1,128}")
"""What is taken over as a request id: printable ASCII without spaces."""
MAX_CARRIED = 4096
"""Bytes of bound values that a carrier may hold: more is a mistake or an attack."""

_NOTHING: Mapping[str, str] = {}
bound: ContextVar[Mapping[str, str]] = ContextVar("trisignal_bound", default=_NOTHING)
current: ContextVar[Draft | None] = ContextVar("trisignal_current", default=None)
begun: ContextVar[tuple[tuple[int, int], ...]] = ContextVar("trisignal_begun", default=())
"""Trace and span ids of the spans of other instrumentations that began in this context, current or not."""
suppressed: ContextVar[bool] = ContextVar("trisignal_suppressed", default=False)
_SUPPRESS_KEY: str = getattr(otel_context, "_SUPPRESS_INSTRUMENTATION_KEY", "")
"""What OpenTelemetry's instrumentations look for; older ones look for the plain name."""


def _accesses() -> tuple[Callable[[], Context], Callable[[Context], Any], Callable[[Any], None]]:
    """OpenTelemetry's functions for the current context, or those of the context variable that they end in.

    Each of its functions calls two others, and a call of a model needs eight: that is a tenth of what recording costs.
    """
    runtime = getattr(otel_context, "_RUNTIME_CONTEXT", None)
    variable = getattr(runtime, "_current_context", None)
    if type(runtime) is ContextVarsRuntimeContext and type(variable) is ContextVar:
        return variable.get, variable.set, variable.reset
    return otel_context.get_current, otel_context.attach, otel_context.detach


around, attach, detach = _accesses()
"""OpenTelemetry's current context; make one current; undo that. In another context the last one may raise."""
(_SPAN_KEY,) = set_span_in_context(INVALID_SPAN, Context())


def parent_of(context: Context) -> SpanContext | None:
    """Ids of the current span of a context; None when there is none, or none with valid ids."""
    span = context.get(_SPAN_KEY)
    if span is None or not isinstance(span, Span):
        return None
    ids = span.get_span_context()
    return ids if ids is not None and ids.is_valid else None


def with_span(span: Span, context: Context) -> Context:
    """A context with a current span; `opentelemetry.trace.set_span_in_context` in one step."""
    return Context({**context, _SPAN_KEY: span})


_PROPAGATORS = "OTEL_PROPAGATORS"
_W3C = "tracecontext"


@functools.lru_cache(maxsize=4)
def _propagators(chosen: str) -> tuple[TextMapPropagator, ...]:
    """The propagators that the standard variable names; those that cannot be loaded are left out, and warned of."""
    if not chosen.strip():
        return (TraceContextTextMapPropagator(),)
    from importlib.metadata import entry_points

    loaded: list[TextMapPropagator] = []
    for name in dict.fromkeys(part.strip() for part in chosen.split(",")):
        if name == _W3C:
            loaded.append(TraceContextTextMapPropagator())
        elif name not in ("", "none"):
            try:
                [point, *_] = entry_points(group="opentelemetry_propagator", name=name)
                loaded.append(point.load()())
            except Exception as error:
                why = "is not installed" if isinstance(error, ValueError) else f"fails: {type(error).__name__}"
                _guard.warn(f"{_PROPAGATORS}={chosen!r}: the propagator {name!r} {why}, it is left out", contained=True)
    return tuple(loaded)


def load_propagators() -> None:
    """Load what ``OTEL_PROPAGATORS`` names, so that what is wrong with it is said early."""
    _propagators(os.environ.get(_PROPAGATORS, ""))


class _AnyCase(Getter[Mapping[str, str]]):
    """Finds headers as they were written, or in lower case, as servers pass them on."""

    def get(self, carrier: Mapping[str, str], key: str) -> list[str] | None:
        """The value of a key, if it is a text."""
        value = carrier.get(key, carrier.get(key.lower()))
        return [value] if isinstance(value, str) else None

    def keys(self, carrier: Mapping[str, str]) -> list[str]:
        """All keys."""
        return [key for key in carrier if isinstance(key, str)]


_ANY_CASE = _AnyCase()


def new_request_id() -> str:
    """A random request id of 32 hexadecimal digits."""
    # Not from `random`: applications seed that, and ids would repeat.
    return secrets.token_hex(16)


def request_id() -> str | None:
    """The request id bound to the current task or thread, if any."""
    return bound.get().get(REQUEST_ID)


def bind(values: Mapping[str, object]) -> Token[Mapping[str, str]]:
    """Add values to the bound ones; ``None`` removes one. Returns the token for `unbind`."""
    merged = dict(bound.get())
    for key, value in values.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[plain_text(key)] = plain_text(value)
    return bound.set(merged)


def unbind(token: Token[Mapping[str, str]]) -> None:
    """Restore what was bound before `bind`."""
    bound.reset(token)


@contextmanager
def context(
    *,
    request_id: str | None = None,
    conversation_id: str | None = None,
    user_id: str | None = None,
    agent_name: str | None = None,
    prompt_name: str | None = None,
    prompt_version: str | None = None,
    **dimensions: object,
) -> Iterator[None]:
    """Bind values to every call, log record and metric dimension inside the block.

    Args:
        request_id: Identifies one request of the application.
        conversation_id: Becomes ``gen_ai.conversation.id``; never invented.
        user_id: Goes to spans and logs, never to a metric label.
        agent_name: Agent that the calls belong to.
        prompt_name: Named prompt template in use.
        prompt_version: Version of that template.
        **dimensions: Further values, e.g. ``tenant="acme"``; those named by the setting
            ``metric_dimensions`` become metric labels, all go to log records.
    """
    known = {
        REQUEST_ID: request_id,
        CONVERSATION_ID: conversation_id,
        USER_ID: user_id,
        AGENT_NAME: agent_name,
        PROMPT_NAME: prompt_name,
        PROMPT_VERSION: prompt_version,
    }
    token = bind({**{k: v for k, v in known.items() if v is not None}, **dimensions})
    try:
        yield
    finally:
        unbind(token)


def inject(carrier: MutableMapping[str, str] | None = None) -> MutableMapping[str, str]:
    """Write trace context, request id and bound values into a carrier.

    The trace context is W3C's, or in the formats that ``OTEL_PROPAGATORS`` names.

    Args:
        carrier: A mapping to write to, e.g. message headers; a new dict when omitted.

    Returns:
        The carrier: plain strings, ready for JSON or headers.
    """
    carrier = {} if carrier is None else carrier
    for propagator in _propagators(os.environ.get(_PROPAGATORS, "")):
        try:
            propagator.inject(carrier)  # pyright: ignore[reportArgumentType]
        except Exception as error:
            _guard.contain("context.inject", error)
    values = dict(bound.get())
    own = values.pop(REQUEST_ID, None)
    if own and VALID_ID.fullmatch(own):
        carrier[REQUEST_ID_KEY] = own
    if values:
        text = json.dumps(values, separators=(",", ":"))
        if len(text) <= MAX_CARRIED:
            carrier[BOUND_KEY] = text
    return carrier


def carrier_keys() -> list[str]:
    """All keys that `inject` may write."""
    chosen = _propagators(os.environ.get(_PROPAGATORS, ""))
    return [*(key for one in chosen for key in sorted(one.fields)), REQUEST_ID_KEY, BOUND_KEY]


def _carried(carrier: Mapping[str, str]) -> dict[str, str]:
    values: dict[str, str] = {}
    text = carrier.get(BOUND_KEY)
    if isinstance(text, str) and len(text) <= MAX_CARRIED:
        try:
            loaded = json.loads(text)
        except (ValueError, RecursionError):
            loaded = None
        if isinstance(loaded, dict):
            values = {k: v for k, v in loaded.items() if isinstance(k, str) and isinstance(v, str)}
    own = carrier.get(REQUEST_ID_KEY)
    if isinstance(own, str) and VALID_ID.fullmatch(own):
        values[REQUEST_ID] = own
    return values


def _traced(carrier: Mapping[str, str]) -> otel_context.Context:
    """The carrier's trace on top of the current context, which stays where the carrier has none."""
    context = otel_context.get_current()
    for propagator in _propagators(os.environ.get(_PROPAGATORS, "")):
        try:
            context = propagator.extract(carrier, context, _ANY_CASE)
        except Exception as error:
            _guard.contain("context.extract", error)
    return context


def read_carrier(carrier: object) -> Mapping[str, str]:
    """The texts that a carrier holds; empty where it cannot be read."""
    try:
        return headers_of(carrier)
    except Exception as error:
        _guard.contain("context.carrier", error)
        return {}


@contextmanager
def continue_from(carrier: object) -> Iterator[None]:
    """Continue the trace, request id and bound values that `inject` wrote, in the formats of ``OTEL_PROPAGATORS``.

    Args:
        carrier: What `inject` returned, headers that hold it (lower-case keys, or pairs of name and value), or a
            message: one of Kafka's clients, of NATS, of SQS, or a record of a Lambda event.
            Anything malformed in it is ignored.
    """
    headers = read_carrier(carrier)
    carried, traced = _carried(headers), _traced(headers)
    token = otel_context.attach(traced)
    values = bind(carried)
    try:
        yield
    finally:
        unbind(values)
        otel_context.detach(token)


def adopt(carrier: Mapping[str, str]) -> Callable[[], None]:
    """`continue_from` without a block, for loops that do not announce their end.

    Args:
        carrier: As for `continue_from`, read already.

    Returns:
        Puts back what was current before; what something else has replaced meanwhile stays. It may be called in
        another task or thread, and more than once.
    """
    around_before, bound_before = around(), bound.get()
    attach(_traced(carrier))
    bind(_carried(carrier))
    around_now, bound_now = around(), bound.get()

    def leave() -> None:
        if around() is around_now:
            attach(around_before)
        if bound.get() is bound_now:
            bound.set(bound_before)

    return leave


def carry(function: Callable[P, T]) -> Callable[P, T]:
    """Wrap a function so that it runs in a copy of the context of this moment.

    Args:
        function: What another thread will call, e.g. the argument of ``executor.submit``.

    Returns:
        A function that may be called any number of times, in any thread.
    """
    snapshot = contextvars.copy_context()

    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        # A Context can be entered once at a time: each call gets a copy of its own.
        return snapshot.copy().run(function, *args, **kwargs)

    return run


class ContextThreadPoolExecutor(ThreadPoolExecutor):
    """A thread pool whose tasks run in a copy of the submitter's context."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Like `ThreadPoolExecutor.submit`, with the submitter's context."""
        return super().submit(carry(fn), *args, **kwargs)


@contextmanager
def suppress() -> Iterator[None]:
    """Make trisignal's patched clients and decorators do nothing inside the block."""
    token = suppressed.set(True)
    try:
        yield
    finally:
        suppressed.reset(token)


@contextmanager
def unobserved() -> Iterator[None]:
    """`suppress`, for OpenTelemetry's instrumentations as well."""
    context = otel_context.set_value("suppress_instrumentation", True)
    if _SUPPRESS_KEY:
        context = otel_context.set_value(_SUPPRESS_KEY, True, context)
    token = otel_context.attach(context)
    try:
        with suppress():
            yield
    finally:
        otel_context.detach(token)


def active(key: str, default: Any = None) -> Any:
    """One bound value, or ``default``."""
    return bound.get().get(key, default)
