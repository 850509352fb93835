"""Anthropic's client, and its classes for Bedrock, Vertex AI, AWS, Foundry and Google Cloud.

Late versions make a span of their own per call whenever a tracer provider is set. During a
call of ours they get a stand-in for their tracer instead: one span remains, it learns what
theirs was configured, and their propagation goes on as configured, with the context of ours. Where only
setup() has given the client a provider, requests stay as they would be without it.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context

from trisignal import _context, _guard
from trisignal import semconv as names
from trisignal.call import Draft
from trisignal.clients._anthropic_sessions import ManagedSessions
from trisignal.clients._patch import Patches
from trisignal.clients._provider import Args, Kwargs
from trisignal.clients.sdks.stainless import Endpoint, Stainless, StainlessExchange
from trisignal.engine.state import STATE
from trisignal.formats import StreamState, View, count, text, view
from trisignal.formats.anthropic_messages import MESSAGES
from trisignal.formats.plain import PLAIN
from trisignal.outcomes import attribute
from trisignal.streams.tap import Tap

_PLATFORMS = {
    "BaseBedrockClient": "aws.bedrock",
    "BaseMantleClient": "aws.bedrock",
    "BaseVertexClient": "gcp.vertex_ai",
    "BaseFoundryClient": "azure.ai.inference",
}
"""Who answers a platform's client where its host does not say."""
_PATH = re.compile(
    r"/(?:(?P<chat>messages)|(?P<complete>complete)|(?P<count>messages/count_tokens)"
    r"|messages/(?P<batches>batches)(?:/(?P<batch>[^/]+)(?:/(?P<verb>cancel|results))?)?"
    r"|models?/(?P<model>[^/]+?)(?:/invoke(?:-with-response-stream)?|:(?:rawPredict|streamRawPredict)))$"
)
_BATCH_VERBS = {
    ("post", False): "create",
    ("get", False): "list",
    ("get", True): "retrieve",
    ("delete", True): "delete",
}
_HEADERS = {
    "request-id": names.ANTHROPIC_REQUEST_ID,
    "anthropic-organization-id": names.ANTHROPIC_ORGANIZATION_ID,
    "anthropic-workspace-id": names.ANTHROPIC_WORKSPACE_ID,
}
_NOWHERE = (trace.ProxyTracerProvider, trace.NoOpTracerProvider)


# --- what Anthropic reports beyond the conventions --------------------------------------


def _read_request(draft: Draft, body: View) -> None:
    MESSAGES.read_request(draft, body)
    thinking = view(body.get("thinking"))
    fields = {
        names.ANTHROPIC_REQUEST_SERVICE_TIER: text(body.get("service_tier")),
        names.ANTHROPIC_THINKING_TYPE: text(thinking.get("type")),
        names.ANTHROPIC_THINKING_BUDGET: count(thinking.get("budget_tokens")),
    }
    draft.fields.update({name: value for name, value in fields.items() if value})


def _read_usage(draft: Draft, usage: View) -> None:
    created = view(usage.get("cache_creation"))
    fields: dict[str, Any] = {
        names.ANTHROPIC_CACHE_WRITE_5M: count(created.get("ephemeral_5m_input_tokens")),
        names.ANTHROPIC_CACHE_WRITE_1H: count(created.get("ephemeral_1h_input_tokens")),
        names.ANTHROPIC_RESPONSE_SERVICE_TIER: text(usage.get("service_tier")) or None,
    }
    steps = usage.get("iterations")
    compactions = [view(step) for step in steps or () if view(step).get("type") == "compaction"]
    if compactions:
        taken = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
        fields[names.ANTHROPIC_COMPACTION_INPUT] = sum(
            count(step.get(key)) or 0 for step in compactions for key in taken
        )
        fields[names.ANTHROPIC_COMPACTION_OUTPUT] = sum(count(step.get("output_tokens")) or 0 for step in compactions)
    draft.fields.update({name: value for name, value in fields.items() if value is not None})


def _read_response(draft: Draft, reply: View) -> None:
    MESSAGES.read_response(draft, reply)
    _read_usage(draft, view(reply.get("usage")))
    if draft.finish_reasons:
        draft.fields[names.ANTHROPIC_STOP_REASON] = draft.finish_reasons[0]


def _fold(draft: Draft, state: StreamState, event: View) -> None:
    MESSAGES.fold(draft, state, event)
    reported = event.get("usage") or view(event.get("message")).get("usage")
    if reported is not None:
        _read_usage(draft, view(reported))


def _end(draft: Draft, state: StreamState) -> None:
    MESSAGES.end(draft, state)
    if reason := state.finishes.get(0):
        draft.fields[names.ANTHROPIC_STOP_REASON] = reason


_MESSAGES = MESSAGES._replace(read_request=_read_request, read_response=_read_response, fold=_fold, end=_end)
_CHAT = Endpoint(names.CHAT, _MESSAGES)
_INVOKE = Endpoint(names.CHAT, _MESSAGES, fixed=False)
_COMPLETE = Endpoint(names.TEXT_COMPLETION, _MESSAGES)
_COUNT = Endpoint(names.COUNT_TOKENS, MESSAGES)
_BATCHES = {
    verb: Endpoint(f"batch_{verb}", PLAIN, fixed=False)
    for verb in ("create", "list", "retrieve", "delete", "cancel", "results")
}


class Anthropic(Stainless):
    """Reader of Anthropic's SDK."""

    def __init__(self) -> None:
        super().__init__("anthropic", "anthropic")

    # --- what Anthropic differs in ----------------------------------------------------

    def endpoint_of(self, method: str, path: str, body: Any) -> Endpoint | None:
        """The endpoint of a request: messages, completions, token counts and batches."""
        found = _PATH.search(path)
        if found is None:
            return None
        if found["batches"]:
            return _BATCHES.get(found["verb"] or _BATCH_VERBS.get((method, found["batch"] is not None), ""))
        if method != "post":
            return None
        if found["model"]:
            return _INVOKE
        return _CHAT if found["chat"] else _COUNT if found["count"] else _COMPLETE

    def read_request(self, draft: Draft, endpoint: Endpoint, path: str, body: Mapping[str, Any]) -> None:
        """Facts of a request; the platforms' own paths name the model, or the batch."""
        endpoint.format.read_request(draft, body)
        if endpoint.fixed:
            return
        found = _PATH.search(path.partition("?")[0].rstrip("/"))
        assert found is not None
        if found["model"]:
            draft.request_model = draft.request_model or unquote(found["model"])
        if found["batch"]:
            draft.fields[names.ANTHROPIC_BATCH_ID] = found["batch"]
        requests = body.get("requests")
        if isinstance(requests, (list, tuple)):
            draft.fields[names.ANTHROPIC_BATCH_REQUESTS] = len(requests)

    def read_reply(self, draft: Draft, endpoint: Endpoint, seen: Any) -> None:
        """Facts of a reply."""
        endpoint.format.read_response(draft, seen)
        if endpoint is _COUNT and (tokens := count(seen.get("input_tokens"))) is not None:
            draft.fields[names.ANTHROPIC_COUNTED_TOKENS] = tokens
        elif endpoint is _BATCHES["create"] and (id_ := text(seen.get("id"))):
            draft.fields[names.ANTHROPIC_BATCH_ID] = id_

    def fallback_of(self, client: Any) -> str:
        """The platforms' client classes speak to hosts of any name."""
        platforms = (_PLATFORMS.get(cls.__name__) for cls in type(client).__mro__)
        return next(filter(None, platforms), self._fallback)

    def begin(self, instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
        """Read the request options, and how the client was configured for its own tracing."""
        draft = super().begin(instance, args, kwargs)
        if draft is None:
            return None
        exchange: StainlessExchange = draft.exchange
        if draft.operation in names.BATCHES:
            # Results come in lines, not in chunks of a reply.
            exchange.streaming = False
            draft.fields.pop(names.REQUEST_STREAM, None)
        options = kwargs["options"] if "options" in kwargs else args[1]
        if draft.operation == names.CHAT:
            betas = _header((options.headers, getattr(instance, "_custom_headers", None)), "anthropic-beta")
            if betas:
                draft.fields[names.ANTHROPIC_BETA] = tuple(filter(None, map(str.strip, betas.split(","))))
        conversation = getattr(getattr(instance, "_otel", None), "conversation_id", None)
        if conversation and _context.CONVERSATION_ID not in _context.bound.get():
            draft.conversation_id = text(conversation)
        if getattr(options, "span_name", None):
            exchange.native = _StandIn(draft)
        # A client whose spans were configured to go nowhere is not to send its requests within one.
        fields = getattr(instance, "_open_telemetry", None) or {}
        draft.hidden = isinstance(fields.get("tracer_provider"), _NOWHERE)
        return draft

    # --- patching ---------------------------------------------------------------------

    def patch(self, patches: Patches) -> None:
        """Patch the base clients; a version whose own spans cannot be held back is left to the bridge."""
        base = importlib.import_module("anthropic._base_client")
        spans = importlib.util.find_spec("anthropic._tracing") is not None
        if spans and not isinstance(vars(base.BaseClient).get("_tracer"), property):
            return
        super().patch(patches)
        patches.wrap(base.BaseClient, "_tracer", _own_tracer)
        for function in ("inject_trace_headers", "remove_trace_headers"):
            patches.wrap(base, function, _headers_of)
        streaming = importlib.import_module("anthropic._streaming")
        for stream in (streaming.Stream, streaming.AsyncStream):
            patches.wrap(stream, "__init__", _see_stream)
        ManagedSessions().patch(patches)

    def _attach(self, draft: Draft, exchange: StainlessExchange, response: Any) -> None:
        super()._attach(draft, exchange, response)
        _read_response_head(draft, exchange, response)

    def failed(self, draft: Draft, error: BaseException) -> None:
        """A status error carries its response."""
        super().failed(draft, error)
        exchange: StainlessExchange = draft.exchange
        response = attribute(error, "response")
        if exchange.response is None and hasattr(response, "headers"):
            _read_response_head(draft, exchange, response)


def _header(layers: tuple[Any, ...], name: str) -> str:
    """A header of the first layer that sets or omits it; its name may be in any case."""
    for layer in layers:
        if isinstance(layer, Mapping):
            for key, value in layer.items():
                if key.lower() == name:
                    return text(value)
    return ""


def _read_response_head(draft: Draft, exchange: StainlessExchange, response: Any) -> None:
    for header, name in _HEADERS.items():
        value = response.headers.get(header)
        if value:
            draft.fields[name] = value
    if exchange.native is not None and exchange.native.shadows:
        draft.attributes[names.HTTP_STATUS] = response.status_code
        if draft.retries:
            draft.attributes[names.HTTP_RESENDS] = len(draft.retries)


# --- the client's own spans -----------------------------------------------------------


class _StandIn:
    """Given to the client in place of its tracer: makes the span of a call, which is ours."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        # An enclosing call of ours is nothing that the client would see without us.
        enclosed = _context.current.get() is not None
        self._around = Context() if enclosed else otel_context.get_current()
        self.tracer: Any = None
        """The client's own, where its spans go elsewhere than ours."""
        self.used = False
        self.shadows = False
        """The client would make a span where ours goes, so ours takes its place."""
        self.quiet = False
        """The application has set no provider: the client is not to send headers that it would not send without us."""

    def start_span(self, name: str, *, attributes: Mapping[str, Any] | None = None, **others: Any) -> trace.Span:
        """The span of a call, as far as the client needs one."""
        self.used = True
        if self.tracer is not None:
            own: trace.Span = self.tracer.start_span(name, context=self._around, attributes=attributes, **others)
            return own
        if not self.shadows:
            return trace.NonRecordingSpan(trace.get_current_span(self._around).get_span_context())
        self._draft.attributes.update(attributes or {})
        return _Shadow(self._draft, self.quiet)


class _Shadow(trace.NonRecordingSpan):
    """Our span as the client sees it: has its context, so that it propagates, and takes facts."""

    def __init__(self, draft: Draft, quiet: bool) -> None:
        super().__init__(draft.span.get_span_context())
        self._draft = draft
        self.quiet = quiet

    def set_attribute(self, key: str, value: Any) -> None:
        """Note a fact."""
        self._draft.attributes[key] = value


def _own_tracer(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    """The client's tracer, or a stand-in while a call of ours is about to start its span.

    A client whose spans go elsewhere than ours keeps them: they were asked for. One without a
    place for spans must not take ours for the application's, or it would propagate it.
    """
    tracer = wrapped()
    draft = _context.current.get()
    stand_in = getattr(draft.exchange, "native", None) if draft is not None else None
    if tracer is None or draft is None or draft.span is None or stand_in is None or stand_in.used:
        return tracer
    provider = instance._open_telemetry.get("tracer_provider") or trace.get_tracer_provider()
    stand_in.shadows = provider is STATE.tracer_provider
    if stand_in.shadows and instance._open_telemetry.get("tracer_provider") is None:
        stand_in.quiet = _is_built_here(provider)
    stand_in.tracer = None if stand_in.shadows or isinstance(provider, _NOWHERE) else tracer
    return stand_in


def _is_built_here(provider: Any) -> bool:
    """Whether setup() has built a provider, as the application has set none."""
    from trisignal.export.global_provider import SharedTracerProvider  # the SDK is loaded by now

    return isinstance(provider, SharedTracerProvider)


def _headers_of(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    """Neither write nor remove headers for a span that is to be kept out of the request."""
    return None if args and getattr(args[0], "quiet", False) else wrapped(*args, **kwargs)


def _see_stream(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> None:
    """Early helpers build a second stream over the response of the first, which nobody reads."""
    wrapped(*args, **kwargs)
    try:
        tap = getattr(instance.response, "stream", None)
        if isinstance(tap, Tap):
            tap.follow(instance)
    except Exception as error:
        _guard.contain("anthropic.stream", error)


def provider() -> Anthropic:
    """The reader of Anthropic's SDK."""
    return Anthropic()
