"""What the SDKs made by OpenAI's generator share: openai, anthropic, groq, together, cerebras …

Every resource method (parsed, raw, streaming, sync, async, helpers, even ``client.post``)
goes once through the base client's ``request``; ``_process_response`` shows the HTTP
response before it is wrapped, ``_calculate_retry_timeout`` is called once per hidden retry.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from trisignal import _context, _guard
from trisignal.call import Draft, ErrorKind
from trisignal.clients._headers import read_headers
from trisignal.clients._patch import Patches
from trisignal.clients._provider import (
    Args,
    ClientExchange,
    Kwargs,
    Place,
    async_wrapper,
    draft_at,
    is_own,
    model_in,
    outgoing,
    place_of,
    retried,
    sync_wrapper,
)
from trisignal.engine import state
from trisignal.formats import Format, StreamState, view
from trisignal.formats.openai_chat import CHAT
from trisignal.outcomes import attribute, kind_of_status
from trisignal.streams.decoders import inflater
from trisignal.streams.fold import Fold, aiterate, iterate
from trisignal.streams.tap import Tail, Tap, decode, tap

_MAX_KNOWN = 256


class Endpoint(NamedTuple):
    """What a path of the API stands for."""

    operation: str
    format: Format
    api_type: str = ""
    fixed: bool = True
    """The path holds no id: what it stands for may be remembered."""


class StainlessExchange(ClientExchange):
    """What is kept of a call by its request, and by the last HTTP response."""

    __slots__ = ("encoding", "endpoint", "fold", "native", "refused", "response", "tap")

    def __init__(self, endpoint: Endpoint, streaming: bool) -> None:
        self.format = endpoint.format
        self.streaming = streaming
        self.lost = None
        self.endpoint = endpoint
        self.response: Any = None
        self.native: Any = None
        """What holds back the span that the SDK would make itself."""
        self.encoding = ""
        """Content encodings of its body."""
        self.refused = 0
        """Status of an answer that may be tried again."""
        self.fold: Fold | None = None
        self.tap: Tap | None = None


class _End(Tail):
    """Called when a stream is about to end: looks for the mark, and lets the reader complete the call.

    One object with the last bytes: every open stream has one.
    """

    __slots__ = ("_draft", "_endpoint", "_reader", "_stream")

    def __init__(self, reader: Stainless, draft: Draft, endpoint: Endpoint, stream: StreamState) -> None:
        self.inflate, self.last, self.unreadable = None, b"", False
        self._reader = reader
        self._draft = draft
        self._endpoint = endpoint
        self._stream = stream

    def __call__(self) -> None:
        stream = self._stream
        stream.finished = stream.finished or self.is_done()
        self._reader.completed(self._draft, self._endpoint)


class Stainless:
    """Reader of one SDK with this client structure; a vendor's subclass says what its paths stand for.

    Args:
        package: The SDK's import name.
        fallback: Provider id for hosts that are not known: the protocol spoken.
    """

    def __init__(self, package: str, fallback: str) -> None:
        self.package = package
        self._fallback = fallback
        self._known: dict[tuple[int, type], tuple[Any, Place]] = {}
        self._endpoints: dict[tuple[str, str], Endpoint] = {}
        self._raw_types: dict[type, bool] = {}

    # --- what vendors differ in ------------------------------------------------------

    def endpoint_of(self, method: str, path: str, body: Any) -> Endpoint | None:
        """The endpoint of a request; None for what calls no model (lists, files, admin).

        Args:
            method: HTTP method in lower case.
            path: Path or absolute URL without query and last slash.
            body: JSON body, if any.
        """
        raise NotImplementedError

    def read_request(self, draft: Draft, endpoint: Endpoint, path: str, body: Mapping[str, Any]) -> None:
        """Facts of a request."""
        endpoint.format.read_request(draft, body)

    def read_reply(self, draft: Draft, endpoint: Endpoint, seen: Any) -> None:
        """Facts of a complete reply, given as a view."""
        endpoint.format.read_response(draft, seen)

    def completed(self, draft: Draft, endpoint: Endpoint) -> None:
        """All facts of a reply, or of a stream that is about to end, have been read."""

    def fallback_of(self, client: Any) -> str:
        """Provider id of a client whose host names none."""
        return self._fallback

    def changes(self, endpoint: Endpoint, body: Any) -> Mapping[str, Any] | None:
        """The body of a stream's request as it is to be sent, where the settings ask for more; None to leave it."""
        return None

    # --- patching --------------------------------------------------------------------

    def patch(self, patches: Patches) -> None:
        """Patch the base clients of the SDK."""
        base = importlib.import_module(f"{self.package}._base_client")
        patches.wrap(base.SyncAPIClient, "request", sync_wrapper(self), hot=True)
        patches.wrap(base.AsyncAPIClient, "request", async_wrapper(self), hot=True)
        for client in (base.SyncAPIClient, base.AsyncAPIClient):
            patches.wrap(client, "_process_response", self._see_response, hot=True)
        patches.wrap(base.BaseClient, "_should_retry", self._see_refusal)
        patches.wrap(base.BaseClient, "_calculate_retry_timeout", self._see_retry)

    def _see_response(self, wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
        draft = _context.current.get()
        if draft is not None and isinstance(draft.exchange, StainlessExchange):
            try:
                self._attach(draft, draft.exchange, kwargs["response"])
            except Exception as error:
                _guard.contain(f"{self.package}.response", error)
        options: Any = kwargs.get("options")
        url = getattr(options, "url", "")
        if "batches" in url or "/content" in url:
            self._see_batch(instance, options, kwargs["response"])
        return wrapped(*args, **kwargs)

    def _see_batch(self, client: Any, options: Any, response: Any) -> None:
        try:
            # Few programs run batch jobs: importing what reads them takes as long as all else that reads a client.
            from trisignal.clients import _batches

            url = options.url
            _batches.see(lambda: self._who(client, url), options.method, url, options.json_data, response)
        except Exception as error:
            _guard.contain(f"{self.package}.batch", error)

    def _see_refusal(self, wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
        draft = _context.current.get()
        if draft is not None and isinstance(draft.exchange, StainlessExchange):
            status = getattr(args[0] if args else kwargs.get("response"), "status_code", 0)
            draft.exchange.refused = status if isinstance(status, int) else 0
        return wrapped(*args, **kwargs)

    def _see_retry(self, wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
        draft = _context.current.get()
        if draft is not None and isinstance(draft.exchange, StainlessExchange):
            status, draft.exchange.refused = draft.exchange.refused, 0
            kind = kind_of_status(status) if status else _retry_kind(sys.exc_info()[1])
            wait_s = wrapped(*args, **kwargs)
            retried(draft, kind, status, float(wait_s))
            return wait_s
        return wrapped(*args, **kwargs)

    # --- request ---------------------------------------------------------------------

    def begin(self, instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
        """Read the request options."""
        options = kwargs["options"] if "options" in kwargs else args[1]
        body = options.json_data
        endpoint = self._endpoints.get((options.method, options.url)) or self._endpoint(
            options.method, options.url, body
        )
        if endpoint is None:
            return None
        extra = getattr(options, "extra_json", None)
        if not isinstance(body, dict):
            body = {}
        if extra is not None and isinstance(extra, Mapping):
            body = {**body, **extra}
        streaming = bool(kwargs.get("stream")) or body.get("stream") is True
        exchange = StainlessExchange(endpoint, streaming)
        draft = draft_at(self._who(instance, options.url), endpoint.operation, exchange, body)
        self.read_request(draft, endpoint, options.url, body)
        if not draft.request_model:
            draft.request_model = model_in(str(instance._base_url), str(options.url))
        return draft

    def _endpoint(self, method: str, url: str, body: Any) -> Endpoint | None:
        found = self.endpoint_of(method.lower(), url.partition("?")[0].rstrip("/"), body)
        # Only fixed paths are remembered: ids in paths would grow the memory.
        if found is not None and found.fixed and len(self._endpoints) < _MAX_KNOWN:
            self._endpoints[method, url] = found
        return found

    def _who(self, client: Any, url: str) -> Place:
        # The public property of openai 3 imports a module every time it is read.
        base = getattr(client, "_base_url", None) or client.base_url
        key = (id(base), type(client))
        known = self._known.get(key)
        # The URL object is kept, so its id stays its own; a changed base_url is another object.
        if known is None:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            known = self._known[key] = (base, self._resolve(client, base))
        if url.startswith("http"):
            absolute = type(base)(url)
            if absolute.host != known[1][0]:
                return self._resolve(client, absolute)
        return known[1]

    def _resolve(self, client: Any, url: Any) -> Place:
        return place_of(str(url), self.fallback_of(client))

    def adjust(self, draft: Draft, instance: Any, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs]:
        """Add trace context, or ask for usage, where the settings say so."""
        settings, exchange = state.STATE.settings, draft.exchange
        if not (settings.propagate_trace_context or settings.provider_hosts or exchange.streaming):
            return args, kwargs
        options = kwargs["options"] if "options" in kwargs else args[1]
        update: dict[str, Any] = {}
        if settings.propagate_trace_context or is_own(draft):
            update["headers"] = outgoing(options.headers if isinstance(options.headers, dict) else None)
        body = self.changes(exchange.endpoint, options.json_data) if exchange.streaming else None
        if body is not None:
            update["json_data"] = body
        if not update:
            return args, kwargs
        changed = options.model_copy(update=update) if hasattr(options, "model_copy") else options.copy(update=update)
        if "options" in kwargs:
            return args, {**kwargs, "options": changed}
        return (args[0], changed, *args[2:]), kwargs

    # --- response --------------------------------------------------------------------

    def _attach(self, draft: Draft, exchange: StainlessExchange, response: Any) -> None:
        """See the HTTP response before the SDK wraps it; tap a body that is still to be read."""
        exchange.response = response
        exchange.encoding = read_headers(draft, response.headers)
        if response.is_closed and not exchange.streaming:
            return
        policy = state.STATE.policy
        keep = policy is not None and policy.captures
        if exchange.fold is not None:
            # The client has put that response aside and tries another one.
            exchange.fold.leave()
        exchange.fold = Fold(draft, exchange.endpoint.format, keep_content=keep, timed=exchange.streaming)
        exchange.fold.held = True
        exchange.tap = tap(response, exchange.fold)

    def answer(self, draft: Draft, result: Any) -> bool:
        """Read a complete reply, or attach to a stream or to a raw body."""
        exchange: StainlessExchange = draft.exchange
        fold, tap, response = exchange.fold, exchange.tap, exchange.response
        # Connections keep the context they were opened in, and with it this draft: a reference
        # to the fold from here would keep dropped streams alive.
        exchange.fold = exchange.tap = exchange.response = None
        if fold is not None:
            fold.held = False
            draft.around = None  # left for good: an open stream need not keep what was around it
        if fold is None or tap is None:
            self._read(draft, exchange, result, response)
            return True
        inner = getattr(result, "_iterator", None)
        if inner is not None:
            watch = aiterate if hasattr(inner, "__anext__") else iterate
            result._iterator = tap._parsed = watch(inner, fold, owned=False)
            self._see_end(draft, exchange, fold, tap)
        elif response is not None and response.is_closed:
            self._read(draft, exchange, result, response)
            return True
        else:
            # Nobody parses this body where we could see it.
            done = partial(self.completed, draft, exchange.endpoint)
            decode(tap, fold, response, lambda body: self._read_reply(draft, exchange, body), done, self.package)
        return False

    def _see_end(self, draft: Draft, exchange: StainlessExchange, fold: Fold, tap: Tap) -> None:
        """Look for ``[DONE]``, which a parser keeps to itself, and which is all that some hosts end a stream with."""
        end = fold.before_end = _End(self, draft, exchange.endpoint, fold.state)
        inflate = inflater(exchange.encoding) if exchange.encoding else bytes
        if inflate is not None:
            end.inflate = None if inflate is bytes else inflate
            tap._tail = end
        elif exchange.format is CHAT:  # no other format is spoken by such hosts
            end.unreadable = True

    def _read(self, draft: Draft, exchange: StainlessExchange, result: Any, response: Any) -> None:
        cls = type(result)
        raw = self._raw_types.get(cls)
        if raw is None:
            # Asking each model for an attribute it lacks would cost more than reading its usage.
            raw = self._raw_types[cls] = hasattr(cls, "http_request") or result is response
        if raw:
            result = _json_of(response)
        if result is None or isinstance(result, (str, bytes)):
            return
        self._read_reply(draft, exchange, result)

    def _read_reply(self, draft: Draft, exchange: StainlessExchange, reply: Any) -> None:
        self.read_reply(draft, exchange.endpoint, view(reply))
        self.completed(draft, exchange.endpoint)
        if draft.content is not None:
            draft.content.response = reply

    def failed(self, draft: Draft, error: BaseException) -> None:
        """A failed ``parse()`` has a billed reply; a status error carries its headers."""
        exchange: StainlessExchange = draft.exchange
        completion = attribute(error, "completion")
        if completion is None and exchange.response is not None and exchange.response.is_closed:
            # The reply came and was billed; what failed is reading it into the asked-for type.
            completion = _json_of(exchange.response)
        if completion is not None:
            self._read_reply(draft, exchange, completion)
        response = attribute(error, "response")
        if response is not None and exchange.response is None and hasattr(response, "headers"):
            read_headers(draft, response.headers)


def _json_of(response: Any) -> Any:
    if "json" not in response.headers.get("content-type", ""):
        return None
    try:
        loaded = json.loads(response.content)
    except Exception:  # an unreadable body is the application's to find out
        return None
    return loaded if isinstance(loaded, dict) else None


def _retry_kind(error: BaseException | None) -> ErrorKind:
    status = attribute(attribute(error, "response"), "status_code")
    if isinstance(status, int):
        return kind_of_status(status)
    return "timeout" if "timeout" in type(error).__name__.lower() else "connection"
