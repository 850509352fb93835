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

from trisignal import _guard
from trisignal import semconv as names
from trisignal.call import Draft
from trisignal.clients import _batches, _gemini_interactions
from trisignal.clients._gemini_live import LiveSessions
from trisignal.clients._headers import read_request_id
from trisignal.clients._patch import Patches
from trisignal.clients._provider import (
    Args,
    ClientExchange,
    Instead,
    Kwargs,
    Place,
    async_wrapper,
    draft_at,
    exchanging,
    outgoing,
    place_of,
    sync_wrapper,
)
from trisignal.engine import current, state
from trisignal.formats import Format, view
from trisignal.formats.gemini import COUNT_TOKENS, EMBED_CONTENT, GENERATE_CONTENT, model_name
from trisignal.formats.gemini_media import GENERATE_IMAGES, GENERATE_VIDEOS
from trisignal.outcomes import classify, status_of
from trisignal.streams.fold import Fold, aiterate, iterate

_MAX_KNOWN = 256


class GoogleTurn(NamedTuple):
    """What one patched method does."""

    operation: str
    format: Format
    methods: tuple[str, ...]
    """The private method that sends the request, or where a version has none, the public one; early ones lack some."""
    streaming: bool = False


_TURNS = (
    GoogleTurn(names.GENERATE_CONTENT, GENERATE_CONTENT, ("_generate_content",)),
    GoogleTurn(names.GENERATE_CONTENT, GENERATE_CONTENT, ("_generate_content_stream",), streaming=True),
    GoogleTurn(names.EMBEDDINGS, EMBED_CONTENT, ("_embed_content", "embed_content")),
    GoogleTurn(names.COUNT_TOKENS, COUNT_TOKENS, ("count_tokens",)),
    GoogleTurn(names.COUNT_TOKENS, COUNT_TOKENS, ("compute_tokens",)),
    *(
        GoogleTurn("image_generation", GENERATE_IMAGES, (method,))
        for method in ("_generate_images", "_edit_image", "_upscale_image", "recontext_image")
    ),
    GoogleTurn("video_generation", GENERATE_VIDEOS, ("_generate_videos", "generate_videos")),
)


class GoogleExchange(ClientExchange):
    """What is kept of a call besides."""

    __slots__ = ("body",)

    def __init__(self, format: Format, streaming: bool) -> None:
        super().__init__(format, streaming)
        self.body: Any = None
        """JSON text of a complete reply."""


def _asked(client: Any, config: Any) -> tuple[str, bool]:
    """Base URL of a request, and whether Vertex AI is asked."""
    options = view(view(config).get("http_options"))
    base = options.get("base_url") or view(client._http_options).get("base_url") or ""
    return str(base), bool(client.vertexai)


def _place(asked: tuple[str, bool]) -> Place:
    return place_of(asked[0], "gcp.vertex_ai" if asked[1] else "gcp.gemini")


class GoogleGenAI:
    """Reader of one kind of turn; all of them patch together.

    Args:
        turn: The kind.
        known: Host, port and provider per base URL and kind of client, shared by all readers.
    """

    def __init__(self, turn: GoogleTurn, known: dict[tuple[str, bool], Place]) -> None:
        self._turn = turn
        self._known = known

    def begin(self, instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
        """Who is asked for which model; what is asked is read from the body that is sent."""
        turn = self._turn
        place = self._who(instance._api_client, kwargs.get("config"))
        exchange = GoogleExchange(turn.format, turn.streaming)
        return draft_at(place, turn.operation, exchange, kwargs, model=model_name(kwargs.get("model")))

    def _who(self, client: Any, config: Any) -> Place:
        key = _asked(client, config)
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            found = self._known[key] = _place(key)
        return found

    def adjust(self, draft: Draft, instance: Any, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs]:
        """Arguments stay; headers are added to the HTTP request."""
        return args, kwargs

    def answer(self, draft: Draft, result: Any) -> bool | Instead:
        """Read a complete reply."""
        exchange: GoogleExchange = draft.exchange
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
        exchange: GoogleExchange = draft.exchange
        if exchange.body:
            try:
                reply = json.loads(exchange.body)
            except ValueError:  # the application hears of it
                return
            self._read(draft, reply)


class GoogleGenAIStream(GoogleGenAI):
    """The same for a streamed turn."""

    def answer(self, draft: Draft, result: Any) -> Instead:
        """Attach to a generator, or asynchronous generator, of parsed chunks."""
        policy = state.STATE.policy
        fold = Fold(draft, self._turn.format, keep_content=policy is not None and policy.captures)
        if hasattr(result, "__anext__"):
            return Instead(aiterate(result, fold))
        return Instead(iterate(_sent_within(result, draft), fold))


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


def _see_request(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    """Read the body that is about to be sent; add trace context where the settings say so."""
    request = wrapped(*args, **kwargs)
    found = exchanging(GoogleExchange)
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
    found = exchanging(GoogleExchange)
    if found is None:
        return
    draft, exchange = found
    try:
        if error is not None:
            exchange.fail(classify(error).kind, status_of(error) or 0)
            return
        read_request_id(draft, response.headers.items())
        inner = response.response_stream
        exchange.body = inner[0] if isinstance(inner, list) and inner else None
    except Exception as failure:
        _guard.contain("google-genai.response", failure)


def _another() -> None:
    found = exchanging(GoogleExchange)
    if found is not None:
        found[1].again(found[0])


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


def _client_place(client: Any) -> Place:
    base = str(view(client._http_options).get("base_url") or "")
    return place_of(base, "gcp.vertex_ai" if client.vertexai else "gcp.gemini")


def _see_job(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    """A batch job, as its vendor reports it now."""
    job = wrapped(*args, **kwargs)
    _batches.retrieved(lambda: _client_place(instance._api_client), job)
    return job


async def _asee_job(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    job = await wrapped(*args, **kwargs)
    _batches.retrieved(lambda: _client_place(instance._api_client), job)
    return job


def _see_file(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    """A downloaded file, which may hold the results of a batch job."""
    data = wrapped(*args, **kwargs)
    _batches.downloaded(lambda: _client_place(instance._api_client), kwargs, data)
    return data


async def _asee_file(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    data = await wrapped(*args, **kwargs)
    _batches.downloaded(lambda: _client_place(instance._api_client), kwargs, data)
    return data


class GoogleClient:
    """The provider: patches the resource classes and the API client below them."""

    def patch(self, patches: Patches) -> None:
        """Patch every kind of turn, sync and async."""
        models = importlib.import_module("google.genai.models")
        base = importlib.import_module("google.genai._api_client").BaseApiClient
        LiveSessions(lambda client, config: _place(_asked(client, config))).patch(patches)
        known: dict[tuple[str, bool], Place] = {}
        for turn in _TURNS:
            reader = (GoogleGenAIStream if turn.streaming else GoogleGenAI)(turn, known)
            for cls, wrapper in ((models.Models, sync_wrapper), (models.AsyncModels, async_wrapper)):
                method = next((name for name in turn.methods if hasattr(cls, name)), None)
                if method is not None:
                    patches.wrap(cls, method, wrapper(reader))
        patches.wrap(base, "_build_request", _see_request)
        batches = importlib.import_module("google.genai.batches")
        files = importlib.import_module("google.genai.files")
        patches.wrap(batches.Batches, "get", _see_job)
        patches.wrap(batches.AsyncBatches, "get", _asee_job)
        patches.wrap(files.Files, "download", _see_file)
        patches.wrap(files.AsyncFiles, "download", _asee_file)
        # Early versions retry nothing and have one method for it all.
        _ = patches.wrap(base, "_request_once", _attempt) or patches.wrap(base, "_request", _attempt)
        _ = patches.wrap(base, "_async_request_once", _aattempt) or patches.wrap(base, "_async_request", _aattempt)
        _gemini_interactions.patch(patches)


def provider() -> GoogleClient:
    """The reader of Google's SDK."""
    return GoogleClient()
