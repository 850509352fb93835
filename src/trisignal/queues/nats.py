"""NATS: the context travels in the headers of messages, to callbacks, loops and fetches."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from trisignal import _guard
from trisignal.clients._patch import Patches
from trisignal.queues._messages import Depths, Loop, context_of, fetched, hold, received, release
from trisignal.queues._tasks import Running, again, dead, published

_HEADERS_AT, _CB_AT = 3, 2
_OWN_SUBJECTS = ("_INBOX.", "$")
"""Replies to requests, and the server's own interfaces."""
_depths = Depths()
_fetching: ContextVar[bool] = ContextVar("trisignal_nats_fetching", default=False)
"""A fetch of several messages is at work, which takes single ones."""


def _publish(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    try:
        subject = str(args[0] if args else kwargs.get("subject"))
        given = args[_HEADERS_AT] if len(args) > _HEADERS_AT else kwargs.get("headers")
        payload = args[1] if len(args) > 1 else kwargs.get("payload", b"")
        headers = None if subject.startswith(_OWN_SUBJECTS) else _with_context(instance, payload, given)
        if headers is not None:
            args, kwargs = args[:_HEADERS_AT], {**kwargs, "headers": headers}
    except Exception as error:
        _guard.contain("nats.publish", error)
    return wrapped(*args, **kwargs)


def _with_context(client: Any, payload: Any, given: Any) -> dict[str, Any] | None:
    """Headers with the context; None where the server knows no headers, or the message would be too large with them."""
    if not (getattr(client, "_server_info", None) or {}).get("headers"):
        return None
    carrier: dict[str, Any] = {}
    published("", carrier, counts=False)
    headers = {**(given or {}), **carrier}
    size = sum(len(str(key)) + len(str(value)) + 4 for key, value in headers.items()) + 16
    return headers if len(payload) + size <= client.max_payload else None


def _subscribe(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    subject = str(args[0] if args else kwargs.get("subject"))
    callback = args[_CB_AT] if len(args) > _CB_AT else kwargs.get("cb")
    # The client's own callbacks are methods of its own classes.
    owner = type(getattr(callback, "__self__", None)).__module__
    if not inspect.iscoroutinefunction(callback) or owner.partition(".")[0] == "nats":
        return wrapped(*args, **kwargs)
    observed = _observed(callback, subject)
    if len(args) > _CB_AT:
        args = (*args[:_CB_AT], observed, *args[_CB_AT + 1 :])
    else:
        kwargs = {**kwargs, "cb": observed}
    return wrapped(*args, **kwargs)


def _observed(callback: Callable[..., Any], subject: str) -> Callable[..., Any]:
    """A callback that runs as a workflow of the subscription's subject, in the context of each message."""

    @functools.wraps(callback)
    async def observed(message: Any) -> Any:
        carrier = context_of(message)
        if not carrier:
            return await callback(message)
        # A push consumer of JetStream listens to a subject of its own, at random.
        name = str(message.subject) if subject.startswith(_OWN_SUBJECTS) else subject
        _note_delivery(message)
        with Running(name, _queue_of(message, name), carrier, counts=False):
            return await callback(message)

    return observed


def _metadata(message: Any) -> Any:
    """What JetStream says about a delivery; None for other messages."""
    if not str(getattr(message, "reply", "")).startswith("$JS.ACK."):
        return None
    return message.metadata


def _queue_of(message: Any, subject: str = "") -> str:
    metadata = _metadata(message)
    return str(metadata.stream if metadata is not None else subject or message.subject)


def _note_delivery(message: Any) -> None:
    """What JetStream reports with each message: how many wait behind it, and how often it was delivered before."""
    try:
        metadata = _metadata(message)
        if metadata is not None:
            _depths.report(message._client, (metadata.stream, metadata.consumer), metadata.stream, metadata.num_pending)
            if metadata.num_delivered > 1:
                again(str(metadata.stream))
    except Exception as error:
        _guard.contain("nats.delivery", error)


def _subject_of(subscription: Any) -> Callable[[Any], str]:
    return lambda message: _queue_of(message, str(getattr(subscription, "subject", "")))


async def _next(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if _fetching.get():
        return await wrapped(*args, **kwargs)
    release(instance)
    message = await wrapped(*args, **kwargs)
    received(message, _subject_of(instance))
    _note_delivery(message)
    hold(instance, message)
    return message


async def _anext(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    message = await wrapped(*args, **kwargs)
    received(message, _subject_of(getattr(instance, "_sub", None)))
    _note_delivery(message)
    return message


def _aiter(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return Loop(wrapped(*args, **kwargs))


async def _fetch(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    token = _fetching.set(True)
    try:
        messages = await wrapped(*args, **kwargs)
    finally:
        _fetching.reset(token)
    for message in messages:
        _note_delivery(message)
    return fetched(messages, _queue_of)


async def _term(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    dead(_queue_of(instance))
    return await wrapped(*args, **kwargs)


def _close(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    _depths.keep(instance)
    return wrapped(*args, **kwargs)


def connect() -> Callable[[], None]:
    """Patch client, subscriptions and messages; what is returned undoes it."""
    patches = Patches()
    client = importlib.import_module("nats.aio.client").Client
    subscriptions = importlib.import_module("nats.aio.subscription")
    patches.wrap(client, "publish", _publish)
    patches.wrap(client, "subscribe", _subscribe)
    patches.wrap(client, "_close", _close)
    patches.wrap(subscriptions.Subscription, "next_msg", _next)
    patches.wrap(subscriptions._SubscriptionMessageIterator, "__aiter__", _aiter)
    patches.wrap(subscriptions._SubscriptionMessageIterator, "__anext__", _anext)
    patches.wrap(importlib.import_module("nats.js.client").JetStreamContext.PullSubscription, "fetch", _fetch)
    patches.wrap(importlib.import_module("nats.aio.msg").Msg, "term", _term)
    return patches.undo
