"""What can be posted: OTLP, and a call as plain JSON for programs without an SDK."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Annotated, Any, Literal

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from trisignal import semconv as names
from trisignal.console import received
from trisignal.console.receiver import Receiver, Refused
from trisignal.engine.nesting import SENT_SCOPE

Text = Annotated[str, Field(max_length=512)]
Count = Annotated[int, Field(ge=0, le=1 << 53)]
Seconds = Annotated[float, Field(ge=0, le=86_400 * 30, allow_inf_nan=False)]
_NO_METRICS = "metrics are not stored here: the console counts calls itself; send them to Prometheus or a collector"


class PostedCall(BaseModel):
    """A finished call to a model."""

    model_config = ConfigDict(extra="forbid")

    provider: Text
    model: Text
    operation: Text = names.CHAT
    response_model: Text = ""
    service: Text = ""
    start_unix_s: Annotated[float, Field(ge=0, lt=1e11, allow_inf_nan=False)] | None = None
    duration_s: Seconds = 0.0
    outcome: Literal["ok", "error"] = "ok"
    error_type: Text = ""
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    cache_read_tokens: Count | None = None
    cache_write_tokens: Count | None = None
    reasoning_tokens: Count | None = None
    tenant: Text = ""
    user_id: Text = ""
    request_id: Text = ""
    conversation_id: Text = ""
    prompt_name: Text = ""
    prompt_version: Text = ""
    trace_id: Annotated[str, Field(pattern="^[0-9a-f]{32}$")] | None = None
    parent_span_id: Annotated[str, Field(pattern="^[0-9a-f]{16}$")] | None = None


def routes(receiver: Receiver) -> list[Route]:
    """The paths that take something."""

    async def traces(request: Request) -> Response:
        return await _otlp(request, receiver.traces)

    async def logs(request: Request) -> Response:
        return await _otlp(request, receiver.logs)

    async def metrics(request: Request) -> Response:
        return JSONResponse({"error": _NO_METRICS}, 501)

    async def calls(request: Request) -> Response:
        try:
            call = PostedCall.model_validate_json(await request.body())
        except ValidationError as error:
            return JSONResponse({"error": _first_of(error)}, 400)
        span = span_of(call)
        await run_in_threadpool(receiver.take, [(span, received.bound_of(span.attributes or {}))])
        assert span.context is not None
        ids = {"trace_id": f"{span.context.trace_id:032x}", "span_id": f"{span.context.span_id:016x}"}
        return JSONResponse(ids, 201)

    return [
        Route("/v1/traces", traces, methods=["POST"]),
        Route("/v1/logs", logs, methods=["POST"]),
        Route("/v1/metrics", metrics, methods=["POST"]),
        Route("/v1/calls", calls, methods=["POST"]),
    ]


async def _otlp(request: Request, take: Callable[[bytes, str, str], tuple[bytes, str]]) -> Response:
    body = await request.body()
    headers = request.headers
    kind, encoding = headers.get("content-type", ""), headers.get("content-encoding", "")
    try:
        answer, media_type = await run_in_threadpool(take, body, kind, encoding)
    except Refused as refused:
        return JSONResponse({"error": refused.problem}, refused.status)
    return Response(answer, media_type=media_type)


def _first_of(error: ValidationError) -> str:
    first: Any = error.errors(include_input=False, include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"]) or "body"
    return f"{place}: {_IN_WORDS.get(first['type'], 'a value of another kind is needed')}"


_IN_WORDS = {
    "missing": "is needed",
    "extra_forbidden": "is not known",
    "json_invalid": "must be one JSON object",
    "model_type": "must be one JSON object",
    "string_type": "must be text",
    "string_too_long": "at most 512 characters",
    "string_pattern_mismatch": "must be lower-case hexadecimal digits: 32 for a trace, 16 for a span",
    "literal_error": "must be ok or error",
    "int_type": "must be a whole number of at least 0",
    "int_parsing": "must be a whole number of at least 0",
    "int_from_float": "must be a whole number of at least 0",
    "greater_than_equal": "must be at least 0",
    "less_than_equal": "is too large",
    "less_than": "is too large",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
}


def span_of(call: PostedCall) -> ReadableSpan:
    """A posted call as the span that an SDK would have sent."""
    start_s = time.time() - call.duration_s if call.start_unix_s is None else call.start_unix_s
    trace_id = int(call.trace_id, 16) if call.trace_id else secrets.randbits(128) or 1
    parent = None
    if call.parent_span_id:
        parent = SpanContext(trace_id, int(call.parent_span_id, 16), True, TraceFlags(1))
    attributes: dict[str, Any] = {
        names.OPERATION: call.operation,
        names.PROVIDER: call.provider,
        names.REQUEST_MODEL: call.model,
        names.RESPONSE_MODEL: call.response_model or None,
        names.USAGE_INPUT: call.input_tokens,
        names.USAGE_OUTPUT: call.output_tokens,
        names.USAGE_CACHE_READ: call.cache_read_tokens,
        names.USAGE_CACHE_WRITE: call.cache_write_tokens,
        names.USAGE_REASONING: call.reasoning_tokens,
        names.REQUEST_ID: call.request_id or None,
        names.USER_ID: call.user_id or None,
        names.CONVERSATION_ID: call.conversation_id or None,
        names.PROMPT_NAME: call.prompt_name or None,
        names.PROMPT_VERSION: call.prompt_version or None,
        f"{names.DIMENSION_PREFIX}tenant": call.tenant or None,
        names.ERROR_TYPE: (call.error_type or "error") if call.outcome == "error" else None,
    }
    return ReadableSpan(
        name=f"{call.operation} {call.model}",
        context=SpanContext(trace_id, secrets.randbits(64) or 1, False, TraceFlags(1)),
        parent=parent,
        resource=Resource({"service.name": call.service} if call.service else {}),
        attributes={key: value for key, value in attributes.items() if value is not None},
        kind=SpanKind.CLIENT,
        status=Status(StatusCode.ERROR if call.outcome == "error" else StatusCode.UNSET),
        start_time=round(start_s * 1e9),
        end_time=round((start_s + call.duration_s) * 1e9),
        instrumentation_scope=InstrumentationScope(SENT_SCOPE),
    )
