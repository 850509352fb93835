"""What every patched client shares: the seam, and the one sync and one async wrapper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, TypeVar
from urllib.parse import unquote, urlsplit

from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from trisignal import _context, _guard, providers
from trisignal import semconv as names
from trisignal.call import Attempt, ContentSource, Draft, ErrorKind, Exchange
from trisignal.clients._patch import Patches, Wrapper
from trisignal.engine import current, lifecycle, state
from trisignal.formats import Format
from trisignal.semconv.late_pattern import late_pattern

Args = tuple[Any, ...]
Kwargs = dict[str, Any]

_w3c = TraceContextTextMapPropagator()


class Instead(NamedTuple):
    """A generator for the application, in place of the client's own, which cannot be watched otherwise."""

    stream: Any


class Place(NamedTuple):
    """Where requests go."""

    host: str
    port: int
    provider: str
    """Id of the provider that answers there."""


def place_of(url: str, fallback: str) -> Place:
    """Where a URL leads.

    Args:
        url: A base URL.
        fallback: Provider id for a host that is not known.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (80 if parts.scheme in ("http", "ws") else 443)
    return Place(host, port, providers.by_host(host, port, state.STATE.settings.provider_hosts, fallback))


_MODEL_IN_PATH = late_pattern(
    r"/(?:deployments|serving-endpoints)/([^/?#]+)"
    r"|/models/([^/?#:]+(?:/[^/?#:]+)?)(?=/v\d|/(?:chat|completions|embeddings|responses|messages|invocations|infer)\b|:)"
)


def model_in(*urls: str) -> str:
    """The model, or the deployment of one, that a URL names where no body does; "" when there is none.

    Args:
        *urls: Base URL of the client, and path or absolute URL of the request.
    """
    for url in reversed(urls):
        match = _MODEL_IN_PATH.search(url)
        if match is not None:
            return unquote(match[1] or match[2])
    return ""


class ClientExchange(Exchange):
    """What a reader keeps of one call: how to read its reply, and what its HTTP requests have shown so far."""

    __slots__ = ("format", "lost", "lost_ns", "lost_status", "streaming")

    def __init__(self, format: Format, streaming: bool = False) -> None:
        self.format = format
        self.streaming = streaming
        self.lost: ErrorKind | None = None
        """Why the last attempt failed; a retry once another one follows."""
        self.lost_status = self.lost_ns = 0
        """HTTP status of its reply, and when it had failed."""

    def fail(self, kind: ErrorKind | None, status: object = 0) -> None:
        """An attempt has failed; a retry once another one follows.

        Args:
            kind: Why; None where no other attempt can follow.
            status: HTTP status of its reply; anything but an integer is none.
        """
        self.lost, self.lost_ns = kind, state.STATE.perf_ns()
        self.lost_status = status if isinstance(status, int) else 0

    def again(self, draft: Draft) -> None:
        """An attempt begins: the one that has failed before is noted."""
        if self.lost is None:
            return
        wait_s = (state.STATE.perf_ns() - self.lost_ns) / 1e9
        retried(draft, self.lost, self.lost_status, wait_s, self.lost_ns)
        self.lost = None


def retried(draft: Draft, kind: ErrorKind, status: int, wait_s: float, at_ns: int = 0) -> None:
    """Note that the client makes another attempt.

    Args:
        draft: The call.
        kind: Why the last attempt failed.
        status: HTTP status of its reply; 0 where there was none.
        wait_s: Seconds between the two.
        at_ns: When it had failed; now when omitted.
    """
    draft.retries = (*draft.retries, kind)
    draft.attempts = (*draft.attempts, Attempt(kind, status, wait_s, at_ns or state.STATE.perf_ns()))


X = TypeVar("X", bound=Exchange)


def exchanging(kind: type[X]) -> tuple[Draft, X] | None:
    """The call that is sending a request here, and its exchange; None when it is not one of these."""
    draft = _context.current.get()
    if draft is None or draft.ended or not isinstance(draft.exchange, kind):
        return None
    return draft, draft.exchange


def draft_at(
    place: tuple[str, int, str], operation: str, exchange: ClientExchange, request: Any, *, model: str = ""
) -> Draft:
    """A draft of a request.

    Args:
        place: Host, port and provider.
        operation: What the request asks for.
        exchange: What the reader keeps of it.
        request: Where content can be read from, while it is captured.
        model: The requested model, where it is known already.
    """
    draft = Draft(operation, request_model=model)
    draft.server_address, draft.server_port, draft.provider = place
    draft.exchange = exchange
    if exchange.streaming:
        draft.fields[names.REQUEST_STREAM] = True
    compiled = state.STATE
    if compiled.reads_content or (compiled.policy is not None and compiled.policy.captures):
        draft.content = ContentSource(exchange.format.read_content, request)
    return draft


class Reader(Protocol):
    """Reads the calls of one method. Its own methods may raise: the wrappers contain it."""

    def begin(self, instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
        """A draft with the facts of the request; None for what calls no model."""
        ...

    def adjust(self, draft: Draft, instance: Any, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs]:
        """The request as it is to be sent: unchanged unless the user has asked for more."""
        ...

    def answer(self, draft: Draft, result: Any) -> bool | Instead:
        """Read the result or attach to its stream. Returns whether the call is complete."""
        ...

    def failed(self, draft: Draft, error: BaseException) -> None:
        """Read what an exception still says about the call."""
        ...


class Provider(Reader, Protocol):
    """Reads one client."""

    def patch(self, patches: Patches) -> None:
        """Patch the client's classes; the client is importable."""
        ...


def is_own(draft: Draft | None) -> bool:
    """Whether a call goes to a host that the setting ``provider_hosts`` names, and that is not a vendor's."""
    hosts = state.STATE.settings.provider_hosts
    if not hosts or draft is None:
        return False
    host = draft.server_address
    return (f"{host}:{draft.server_port}" in hosts or host in hosts) and not providers.is_vendor(host)


def outgoing(given: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Headers of a request with the trace context, where the settings ask for it; else None.

    The application's own hosts get the request id, too.

    Args:
        given: Headers that the client sends anyway: they win.
    """
    own = is_own(_context.current.get())
    if not own and not state.STATE.settings.propagate_trace_context:
        return None
    carrier: dict[str, Any] = {}
    _w3c.inject(carrier)
    request_id = _context.request_id() if own else None
    if request_id and _context.VALID_ID.fullmatch(request_id):
        carrier[_context.REQUEST_ID_KEY] = request_id
    return {**carrier, **(given or {})}


def _begin(reader: Reader, instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
    if not state.STATE.active or _context.suppressed.get():
        state.check_set_up()
        return None
    try:
        draft = reader.begin(instance, args, kwargs)
    except Exception as error:
        _guard.contain("client.begin", error)
        return None
    if draft is not None:
        draft.leaf = True
        lifecycle.open_call(draft)
    return draft


def _adjust(reader: Reader, draft: Draft, instance: Any, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs]:
    try:
        return reader.adjust(draft, instance, args, kwargs)
    except Exception as error:
        _guard.contain("client.adjust", error)
        return args, kwargs


def _answer(reader: Reader, draft: Draft, result: Any) -> Any:
    try:
        complete = reader.answer(draft, result)
    except Exception as error:
        _guard.contain("client.answer", error)
        complete = True
    except BaseException as error:
        lifecycle.close_call(draft, error)
        raise
    if isinstance(complete, Instead):
        return complete.stream
    if complete:
        lifecycle.close_call(draft)
    return result


def _failed(reader: Reader, draft: Draft, error: BaseException) -> None:
    if draft.ended:
        return
    try:
        reader.failed(draft, error)
    except Exception as failure:
        _guard.contain("client.failed", failure)
    finally:
        lifecycle.close_call(draft, error)


def sync_wrapper(reader: Reader) -> Wrapper:
    """The wrapper of every synchronous client method."""

    def call(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
        draft = _begin(reader, instance, args, kwargs)
        if draft is None:
            return wrapped(*args, **kwargs)
        tokens = None
        try:
            tokens = current.activate(draft)
            args, kwargs = _adjust(reader, draft, instance, args, kwargs)
            result = wrapped(*args, **kwargs)
            current.deactivate(tokens)
            return _answer(reader, draft, result)
        except BaseException as error:
            current.restore(draft, tokens)
            _failed(reader, draft, error)
            raise

    return call


def async_wrapper(reader: Reader) -> Wrapper:
    """Its twin, which lacks nothing but ``async`` and ``await``."""

    async def call(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
        draft = _begin(reader, instance, args, kwargs)
        if draft is None:
            return await wrapped(*args, **kwargs)
        tokens = None
        try:
            tokens = current.activate(draft)
            args, kwargs = _adjust(reader, draft, instance, args, kwargs)
            result = await wrapped(*args, **kwargs)
            current.deactivate(tokens)
            return _answer(reader, draft, result)
        except BaseException as error:
            current.restore(draft, tokens)
            _failed(reader, draft, error)
            raise

    return call
