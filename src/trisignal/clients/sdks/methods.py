"""SDKs that are read at their public methods: a table of these, with readers of their arguments and results."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from trisignal.call import Draft
from trisignal.clients._patch import Patches
from trisignal.clients._provider import (
    Args,
    ClientExchange,
    Instead,
    Kwargs,
    async_wrapper,
    draft_at,
    exchanging,
    place_of,
    sync_wrapper,
)
from trisignal.engine import current
from trisignal.engine.state import captures
from trisignal.formats import Format
from trisignal.formats.plain import PLAIN
from trisignal.streams.fold import Fold, aiterate, iterate


def without_folder(model: str) -> str:
    """The name of a model that was loaded by it; where that is a path of this machine, its last part alone.

    Args:
        model: A name as the Hub has it (``owner/name``), or a path: absolute, with a dot or a tilde before it, or of
            more than two parts.
    """
    parts = model.replace("\\", "/").rstrip("/").split("/")
    local = model.startswith(("/", ".", "~", "\\")) or model[1:2] == ":" or len(parts) > 2
    return parts[-1] if local else model


def _nothing(draft: Draft, given: Any) -> None:
    """There is nothing to read."""


class SdkMethod(NamedTuple):
    """One public method of a class."""

    owner: str
    """``module:Class``."""
    name: str
    operation: str
    ask: Callable[[Draft, Mapping[str, Any]], None]
    """Reads the arguments, by name; ``self`` is the object."""
    answer: Callable[[Draft, Any], None] = _nothing
    """Reads the result."""
    streaming: bool = False
    """What is returned comes as it is made; else a returned iterator is a whole result in pieces."""
    format: Format = PLAIN
    """How the pieces of a stream are written."""


class MethodExchange(ClientExchange):
    """What is kept of a call besides."""

    __slots__ = ("vendor",)

    def __init__(self, format: Format, streaming: bool, vendor: Methods) -> None:
        super().__init__(format, streaming)
        self.vendor = vendor


class MethodReader:
    """Reads the calls of one method.

    Args:
        method: The method.
        vendor: Whose it is.
        signature: That of the patched function.
    """

    def __init__(self, method: SdkMethod, vendor: Methods, signature: inspect.Signature) -> None:
        self._method = method
        self._vendor = vendor
        self._signature = signature

    def begin(self, instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
        """A draft with the facts of the arguments."""
        method = self._method
        around = exchanging(MethodExchange)
        if around is not None and around[1].vendor is self._vendor:
            # One method is made of another.
            return None
        arguments = self._signature.bind_partial(instance, *args, **kwargs).arguments
        extra = arguments.pop("kwargs", None)
        given = {**arguments, **(extra if isinstance(extra, dict) else {}), "self": instance}
        url = self._vendor.url(instance)
        place = place_of(url, self._vendor.provider) if url else ("", 0, self._vendor.provider)
        exchange = MethodExchange(method.format, method.streaming or given.get("stream") is True, self._vendor)
        draft = draft_at(place, method.operation, exchange, given)
        method.ask(draft, given)
        return draft

    def adjust(self, draft: Draft, instance: Any, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs]:
        """The arguments stay as they are."""
        return args, kwargs

    def answer(self, draft: Draft, result: Any) -> bool | Instead:
        """Read a result, or follow one that comes in pieces."""
        if not hasattr(result, "__next__") and not hasattr(result, "__anext__"):
            self._method.answer(draft, result)
            return True
        exchange: MethodExchange = draft.exchange
        fold = Fold(draft, exchange.format, keep_content=captures(), timed=exchange.streaming)
        if hasattr(result, "__anext__"):
            return Instead(aiterate(result, fold))
        return Instead(iterate(_sent_within(result, draft), fold))

    def failed(self, draft: Draft, error: BaseException) -> None:
        """The exception has nothing more to report."""


def _sent_within(pieces: Iterator[Any], draft: Draft) -> Iterator[Any]:
    # The request is sent when the first piece is asked for.
    tokens = current.activate(draft)
    try:
        first = next(pieces)
    except StopIteration:
        return
    finally:
        current.deactivate(tokens)
    yield first
    yield from pieces


class Methods:
    """The provider of such an SDK.

    Args:
        provider: Id of the provider at a host that is not known.
        methods: What is patched; those that a version lacks are left out.
        url: Base URL of an object's requests; "" where none are sent.
    """

    def __init__(self, provider: str, methods: tuple[SdkMethod, ...], url: Callable[[Any], str] | None = None) -> None:
        self.provider = provider
        self._methods = methods
        self.url = url or (lambda instance: "")

    def patch(self, patches: Patches) -> None:
        """Patch the methods, sync and async."""
        for method in self._methods:
            module, _, cls = method.owner.partition(":")
            try:
                owner = getattr(importlib.import_module(module), cls, None)
            except ImportError:
                continue
            function = getattr(owner, method.name, None)
            if owner is None or function is None:
                continue
            reader = MethodReader(method, self, inspect.signature(function))
            plain = inspect.unwrap(function)
            wrapper = async_wrapper if inspect.iscoroutinefunction(plain) else sync_wrapper
            patches.wrap(owner, method.name, wrapper(reader))
