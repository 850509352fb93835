"""Google's Gen AI SDK: the Gemini API and Vertex AI.

The public methods, chats and automatic function calling all come down to one private method
per model turn, whose result is parsed: that is where a call begins and ends. What is sent,
the HTTP response and hidden retries are seen on the API client below.
"""

from __future__ import annotations

import copy
import importlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from trisignal import _context, _guard, providers
from trisignal import semconv as names
from trisignal.call import ContentSource, Draft, ErrorKind
from trisignal.clients._patch import Patches
from trisignal.clients._provider import Args, Kwargs, Watched, async_wrapper, outgoing, sync_wrapper
from trisignal.engine import current, state
from trisignal.formats import Format, text, view
from trisignal.formats.gemini import COUNT_TOKENS, EMBED_CONTENT, GENERATE_CONTENT, model_name
from trisignal.outcomes import classify
from trisignal.streams.fold import Fold, aiterate, iterate

_MAX_KNOWN = 256
_REQUEST_IDS = ("x-request-id", "x-goog-request-id", "apim-request-id")


class Turn(NamedTuple):
    """What one patched method does."""

    operation: str
    format: Format
    methods: tuple[str, ...]
    """The private method that sends the request, or where a version has none, the public one."""
    streaming: bool = False


_TURNS = (
    Turn(names.GENERATE_CONTENT, GENERATE_CONTENT, ("_generate_content",)),
    Turn(names.GENERATE_CONTENT, GENERATE_CONTENT, ("_generate_content_stream",), streaming=True),
    Turn(names.EMBEDDINGS, EMBED_CONTENT, ("_embed_content", "embed_content")),
    Turn(names.COUNT_TOKENS, COUNT_TOKENS, ("count_tokens",)),
    Turn(names.COUNT_TOKENS, COUNT_TOKENS, ("compute_tokens",)),
)


class Exchange:
    """What the HTTP requests of a draft have shown so far."""

    __slots__ = ("body", "format", "lost")

    def __init__(self, format: Format) -> None:
        self.format = format
        self.lost: ErrorKind | None = None
        """Why the last attempt failed; told as a retry once another one follows."""
        self.body: Any = None
        """JSON text of a complete reply."""


class GoogleGenAI:
    """Reader of one kind of turn; all of them patch together.

    Args:
        turn: The kind.
        known: Host, port and provider per base URL and kind of client, shared by all readers.
    """

    def __init__(self, turn: Turn, known: dict[tuple[str, bool], tuple[str, int, str]]) -> None:
        self._turn = turn
        self._known = known

    def begin(self, instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
        """Who is asked for which model; what is asked is read from the body that is sent."""
        turn = self._turn
        draft = Draft(turn.operation, request_model=model_name(kwargs.get("model")))
        draft.server_address, draft.server_port, draft.provider = self._who(instance._api_client, kwargs.get("config"))
        draft.owner = Exchange(turn.format)
        if turn.streaming:
            draft.fields[names.REQUEST_STREAM] = True
        policy = state.STATE.policy
        if policy is not None and policy.captures:
            draft.content = ContentSource(turn.format.read_content, kwargs)
        return draft

    def _who(self, client: Any, config: Any) -> tuple[str, int, str]:
        options = view(view(config).get("http_options"))
        base = options.get("base_url") or view(client._http_options).get("base_url") or ""
        key = (str(base), bool(client.vertexai))
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            url = urlsplit(key[0])
            host, port = url.hostname or "", url.port or (80 if url.scheme == "http" else 443)
            fallback = "gcp.vertex_ai" if client.vertexai else "gcp.gemini"
            provider = providers.by_host(host, port, state.STATE.settings.provider_hosts, fallback)
            found = self._known[key] = (host, port, provider)
        return found

    def adjust(self, draft: Draft, instance: Any, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs]:
        """Arguments stay; headers are added to the HTTP request."""
        return args, kwargs

    def answer(self, draft: Draft, result: Any) -> bool | Watched:
        """Read a complete reply."""
        exchange = draft.owner
        assert isinstance(exchange, Exchange)
        seen = view(result)
        raw = view(seen.get("sdk_http_response")).get("body")
        # The application asked for the HTTP response and parses its body by itself.
        self._read(draft, json.loads(raw) if raw else seen)
        exchange.body = None
        return True

    def _read(self, draft: Draft, reply: Any) -> None:
        if not isinstance(reply, Mapping):
            return
        self._turn.format.read_response(draft, reply)
        if draft.content is not None:
            draft.content.response = reply

    def failed(self, draft: Draft, error: BaseException) -> None:
        """A reply that the SDK could not parse was billed all the same."""
        exchange = draft.owner
        if isinstance(exchange, Exchange) and exchange.body:
            try:
                reply = json.loads(exchange.body)
            except ValueError:  # the application hears of it
                return
            self._read(draft, reply)


class GoogleGenAIStream(GoogleGenAI):
    """The same for a streamed turn."""

    def answer(self, draft: Draft, result: Any) -> Watched:
        """Attach to a generator, or asynchronous generator, of parsed chunks."""
        policy = state.STATE.policy
        fold = Fold(draft, self._turn.format, keep_content=policy is not None and policy.captures)
        if hasattr(result, "__anext__"):
            return Watched(aiterate(result, fold))
        return Watched(iterate(_sent_within(result, draft), fold))


def _sent_within(chunks: Iterator[Any], draft: Draft) -> Iterator[Any]:
    # A synchronous stream sends its request when the first chunk is asked for.
    tokens = current.activate(draft)
    try:
        first = next(chunks)
    except StopIteration:
        return
    finally:
        current.deactivate(tokens)
    yield first
    yield from chunks


def _exchange() -> tuple[Draft, Exchange] | None:
    draft = _context.current.get()
    if draft is None or draft.ended or not isinstance(draft.owner, Exchange):
        return None
    return draft, draft.owner


def _see_request(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    """Read the body that is about to be sent; add trace context where the settings say so."""
    request = wrapped(*args, **kwargs)
    found = _exchange()
    if found is None:
        return request
    draft, exchange = found
    try:
        body = view(request.data)
        exchange.format.read_request(draft, body)
        if draft.content is not None:
            draft.content.request = body
        headers = outgoing(request.headers)
        if headers is not None:
            # Some versions share the headers between requests.
            request = copy.copy(request)
            request.headers = headers
    except Exception as error:
        _guard.contain("google-genai.request", error)
    return request


def _attempted(error: BaseException | None, response: Any) -> None:
    found = _exchange()
    if found is None:
        return
    draft, exchange = found
    try:
        if error is not None:
            exchange.lost = classify(error).kind
            return
        for name, value in response.headers.items():
            if name.lower() in _REQUEST_IDS:
                draft.vendor_request_id = text(value)
        told = response.response_stream
        exchange.body = told[0] if isinstance(told, list) and told else None
    except Exception as failure:
        _guard.contain("google-genai.response", failure)


def _another() -> None:
    found = _exchange()
    if found is not None and found[1].lost is not None:
        found[0].retries.append(found[1].lost)
        found[1].lost = None


def _attempt(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    _another()
    try:
        response = wrapped(*args, **kwargs)
    except BaseException as error:
        _attempted(error, None)
        raise
    _attempted(None, response)
    return response


async def _aattempt(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    _another()
    try:
        response = await wrapped(*args, **kwargs)
    except BaseException as error:
        _attempted(error, None)
        raise
    _attempted(None, response)
    return response


class Client:
    """The provider: patches the resource classes and the API client below them."""

    def patch(self, patches: Patches) -> None:
        """Patch every kind of turn, sync and async."""
        models = importlib.import_module("google.genai.models")
        base = importlib.import_module("google.genai._api_client").BaseApiClient
        known: dict[tuple[str, bool], tuple[str, int, str]] = {}
        for turn in _TURNS:
            reader = (GoogleGenAIStream if turn.streaming else GoogleGenAI)(turn, known)
            for cls, wrapper in ((models.Models, sync_wrapper), (models.AsyncModels, async_wrapper)):
                method = next(name for name in turn.methods if hasattr(cls, name))
                patches.wrap(cls, method, wrapper(reader))
        patches.wrap(base, "_build_request", _see_request)
        # Early versions retry nothing and have one method for it all.
        _ = patches.wrap(base, "_request_once", _attempt) or patches.wrap(base, "_request", _attempt)
        _ = patches.wrap(base, "_async_request_once", _aattempt) or patches.wrap(base, "_async_request", _aattempt)


def provider() -> Client:
    """The reader of Google's SDK."""
    return Client()
