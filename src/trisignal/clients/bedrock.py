"""Amazon Bedrock's runtime, called through botocore (boto3) or aiobotocore.

Every operation of every AWS service goes once through ``_make_api_call`` of the base client;
those of other services are left after one comparison.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Mapping
from functools import partial
from io import BytesIO
from typing import Any

from trisignal import _guard
from trisignal import semconv as names
from trisignal.call import Draft
from trisignal.clients._bedrock_jobs import ajobs_seen, jobs_seen
from trisignal.clients._bedrock_knowledge import knowledge_seen
from trisignal.clients._patch import Patches
from trisignal.clients._provider import (
    Args,
    ClientExchange,
    Kwargs,
    Place,
    async_wrapper,
    draft_at,
    exchanging,
    place_of,
    retried,
    sync_wrapper,
)
from trisignal.clients.sdks.botocore import ServiceCalls, mark, patch_reading
from trisignal.engine import state
from trisignal.formats import Format, StreamState, text, view
from trisignal.formats.bedrock_converse import CONVERSE, usage
from trisignal.formats.bedrock_invoke import told_by
from trisignal.outcomes import attribute, classify, kind_of_status
from trisignal.streams.decoders import BodyDecoder
from trisignal.streams.fold import Fold

_SERVICE = "bedrock-runtime"
_PROVIDER = "aws.bedrock"
_OPERATIONS = {
    "Converse": (True, False),
    "ConverseStream": (True, True),
    "InvokeModel": (False, False),
    "InvokeModelWithResponseStream": (False, True),
}
"""Operations that call a model: whether they speak Converse, and whether they stream."""
_METRICS = "amazon-bedrock-invocationMetrics"
"""Key of the last event's counts."""
_HEADERS = {
    "inputToken": "x-amzn-bedrock-input-token-count",
    "outputToken": "x-amzn-bedrock-output-token-count",
    "cacheReadInputToken": "x-amzn-bedrock-cache-read-input-token-count",
    "cacheWriteInputToken": "x-amzn-bedrock-cache-write-input-token-count",
}
"""Counts beside a body, as the last event of a stream calls them less ``Count``."""
_MAX_KNOWN = 256


class BedrockExchange(ClientExchange):
    """What a request says about how to read its reply."""

    __slots__ = ("whole",)

    def __init__(self, format: Format, streaming: bool, whole: bool) -> None:
        super().__init__(format, streaming)
        self.whole = whole
        """Botocore parses the reply: there is no body of the vendor's own in it."""


class Bedrock:
    """Reader of the four operations that call a model, and of batch jobs and their results."""

    def __init__(self) -> None:
        self._places: dict[str, Place] = {}

    def patch(self, patches: Patches) -> None:
        """Patch botocore, and aiobotocore if it is imported."""
        load = importlib.import_module
        call = knowledge_seen(jobs_seen(sync_wrapper(self)), sync_wrapper)
        patches.wrap(load("botocore.client").BaseClient, "_make_api_call", call)
        patches.wrap(load("botocore.endpoint").Endpoint, "_needs_retry", _see_retry)
        if "aiobotocore" in sys.modules:
            call = knowledge_seen(ajobs_seen(async_wrapper(self)), async_wrapper)
            patches.wrap(load("aiobotocore.client").AioBaseClient, "_make_api_call", call)
            patches.wrap(load("aiobotocore.endpoint").AioEndpoint, "_needs_retry", _asee_retry)
        patch_reading(patches)

    def begin(self, instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
        """Read the operation's parameters."""
        if instance._service_model.service_name != _SERVICE:
            return None
        operation, body = args
        found = _OPERATIONS.get(operation)
        if found is None:
            return None
        whole, streaming = found
        doing, format = names.CHAT, CONVERSE
        guardrail = ""
        if not whole:
            model, guardrail = text(body.get("modelId")), text(body.get("guardrailIdentifier"))
            body = _json(body.get("body"))
            doing, format = told_by(model, body)
            body = {**body, "model": model, "modelId": model}
        exchange = BedrockExchange(format, streaming, whole)
        draft = draft_at(self._place(instance.meta.endpoint_url), doing, exchange, body)
        format.read_request(draft, body)
        if guardrail:
            draft.fields[names.BEDROCK_GUARDRAIL_ID] = guardrail
        return draft

    def _place(self, url: str) -> Place:
        known = self._places.get(url)
        if known is None:
            known = place_of(url, _PROVIDER)
            if len(self._places) < _MAX_KNOWN:
                self._places[url] = known
        return known

    def adjust(self, draft: Draft, instance: Any, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs]:
        """Nothing: requests are signed, and parameters are all that could be changed here."""
        return args, kwargs

    def answer(self, draft: Draft, result: Any) -> bool:
        """Read a complete reply, or mark its stream or body."""
        exchange: BedrockExchange = draft.exchange
        headers = _read_metadata(draft, result)
        if exchange.whole and not exchange.streaming:
            exchange.format.read_response(draft, result)
            if draft.content is not None:
                draft.content.response = result
            return True
        draft.tier = text(result.get("serviceTier"))
        counts = {key: _number(headers.get(header)) for key, header in _HEADERS.items()}
        policy = state.STATE.policy
        keep = policy is not None and policy.captures
        fold = Fold(draft, exchange.format, keep_content=keep, timed=exchange.streaming)
        decoder = BodyDecoder(bytes)
        # No method of what holds the fold: only the collector could free such a circle.
        fold.before_end = partial(_settle, draft, fold.state, exchange, counts, decoder)
        parse = _whole if exchange.whole else partial(_unwrap, counts)
        read = result.get("stream" if exchange.whole else "body")
        return not mark(read, ServiceCalls(draft, fold, parse, decoder, _number(headers.get("content-length"))))

    def failed(self, draft: Draft, error: BaseException) -> None:
        """A client error carries the reply's metadata."""
        _read_metadata(draft, attribute(error, "response"))


def _read_metadata(draft: Draft, result: Any) -> Mapping[str, Any]:
    metadata = view(view(result).get("ResponseMetadata"))
    draft.vendor_request_id = text(metadata.get("RequestId"))
    headers: Mapping[str, Any] = metadata.get("HTTPHeaders") or {}
    return headers


def _json(body: Any) -> dict[str, Any]:
    """A request's body; one that would have to be read from a file stays unknown."""
    if isinstance(body, BytesIO):
        body = body.getvalue()
    if not isinstance(body, (str, bytes, bytearray)):
        return {}
    try:
        loaded = json.loads(body)
    except ValueError:
        return {}
    return loaded if isinstance(loaded, dict) else {}


def _number(value: Any) -> int | None:
    return int(value) if str(value or "").isdigit() else None


def _whole(event: Any) -> Any:
    return event if isinstance(event, dict) else {}


def _unwrap(counts: dict[str, Any], event: Any) -> Any:
    """The vendor's chunk in an event; Bedrock adds its own counts to the last one."""
    try:
        chunk = json.loads(view(view(event).get("chunk")).get("bytes") or b"{}")
    except ValueError:  # not the JSON that every model writes: there is nothing to read
        return {}
    if not isinstance(chunk, dict):
        return {}
    metrics = view(chunk.get(_METRICS))
    if metrics:
        counts.update({key: metrics.get(f"{key}Count") for key in _HEADERS})
        counts[_METRICS] = True
    return chunk


def _settle(
    draft: Draft, stream: StreamState, exchange: BedrockExchange, counts: dict[str, Any], decoder: BodyDecoder
) -> None:
    """Read a body once it was read, and take the counts beside it where it has none of its own."""
    # Bedrock's own counts come with the last chunk, whatever model wrote it.
    stream.finished = stream.finished or _METRICS in counts
    reply = None if exchange.streaming else decoder.body()
    if reply is not None:
        exchange.format.read_response(draft, reply)
        if draft.content is not None:
            draft.content.response = reply
    embeds = draft.operation == names.EMBEDDINGS
    known = draft.usage
    if known is None or known.input is None or (known.output is None and not embeds):
        beside = usage({f"{key}s": counts.get(key) for key in _HEADERS})
        if beside is not None:
            draft.usage = beside._replace(output=None) if embeds else beside


# --- retries -------------------------------------------------------------------------


def _note_retry(args: Args, began_ns: int) -> None:
    """Note why an attempt is repeated: arguments are its number, the operation, request, reply and error."""
    try:
        found = exchanging(BedrockExchange)
        if found is None or args[1].service_model.service_name != _SERVICE:
            return
        draft, _ = found
        reply, error = args[3], args[4]
        status = reply[0].status_code if reply is not None else 0
        kind = kind_of_status(status) if reply is not None else classify(error).kind
        # The method that decides waits, too.
        retried(draft, kind or "other", status, (state.STATE.perf_ns() - began_ns) / 1e9, began_ns)
    except Exception as error:
        _guard.contain("bedrock.retry", error)


def _see_retry(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    began_ns = state.STATE.perf_ns()
    again = wrapped(*args, **kwargs)
    if again:
        _note_retry(args, began_ns)
    return again


async def _asee_retry(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    began_ns = state.STATE.perf_ns()
    again = await wrapped(*args, **kwargs)
    if again:
        _note_retry(args, began_ns)
    return again


def provider() -> Bedrock:
    """The reader."""
    return Bedrock()
