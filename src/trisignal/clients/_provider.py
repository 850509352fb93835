"""What every patched client shares: the seam, and the one sync and one async wrapper."""

from __future__ import annotations

from typing import Any, Protocol

from trisignal import _guard, _runtime
from trisignal._patch import Patches, Wrapper
from trisignal.call import Draft

Args = tuple[Any, ...]
Kwargs = dict[str, Any]


class Provider(Protocol):
    """Reads one client. Methods may raise: the wrappers contain it."""

    def patch(self, patches: Patches) -> None:
        """Patch the client's classes; the client is importable."""
        ...

    def begin(self, instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
        """A draft with the facts of the request; None for what is no model call."""
        ...

    def adjust(self, draft: Draft, instance: Any, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs]:
        """The request as it is to be sent: unchanged unless the user has asked for more."""
        ...

    def answer(self, draft: Draft, result: Any) -> bool:
        """Read the result or attach to its stream. Returns whether the call is complete."""
        ...

    def failed(self, draft: Draft, error: BaseException) -> None:
        """Read what an exception still tells about the call."""
        ...


def _begin(provider: Provider, instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
    if _runtime.is_off():
        return None
    try:
        draft = provider.begin(instance, args, kwargs)
    except Exception as error:
        _guard.contain("client.begin", error)
        return None
    if draft is not None:
        _runtime.open_call(draft)
    return draft


def _adjust(provider: Provider, draft: Draft, instance: Any, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs]:
    try:
        return provider.adjust(draft, instance, args, kwargs)
    except Exception as error:
        _guard.contain("client.adjust", error)
        return args, kwargs


def _answer(provider: Provider, draft: Draft, result: Any) -> Any:
    try:
        complete = provider.answer(draft, result)
    except Exception as error:
        _guard.contain("client.answer", error)
        complete = True
    except BaseException as error:
        _runtime.close_call(draft, error)
        raise
    if complete:
        _runtime.close_call(draft)
    return result


def _failed(provider: Provider, draft: Draft, error: BaseException) -> None:
    try:
        provider.failed(draft, error)
    except Exception as failure:
        _guard.contain("client.failed", failure)
    _runtime.close_call(draft, error)


def sync_wrapper(provider: Provider) -> Wrapper:
    """The wrapper of every synchronous client method."""

    def call(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
        draft = _begin(provider, instance, args, kwargs)
        if draft is None:
            return wrapped(*args, **kwargs)
        tokens = _runtime.activate(draft)
        try:
            args, kwargs = _adjust(provider, draft, instance, args, kwargs)
            result = wrapped(*args, **kwargs)
        except BaseException as error:
            _runtime.deactivate(tokens)
            _failed(provider, draft, error)
            raise
        _runtime.deactivate(tokens)
        return _answer(provider, draft, result)

    return call


def async_wrapper(provider: Provider) -> Wrapper:
    """Its twin, which lacks nothing but ``async`` and ``await``."""

    async def call(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
        draft = _begin(provider, instance, args, kwargs)
        if draft is None:
            return await wrapped(*args, **kwargs)
        tokens = _runtime.activate(draft)
        try:
            args, kwargs = _adjust(provider, draft, instance, args, kwargs)
            result = await wrapped(*args, **kwargs)
        except BaseException as error:
            _runtime.deactivate(tokens)
            _failed(provider, draft, error)
            raise
        _runtime.deactivate(tokens)
        return _answer(provider, draft, result)

    return call
