"""What the clients of realtime sessions share: where a session is kept, and the wrappers of reading and sending."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

from trisignal import _guard
from trisignal import semconv as names
from trisignal.call import Draft
from trisignal.clients._provider import Args, Kwargs, Place
from trisignal.engine import state
from trisignal.formats.realtime import RealtimeFormat
from trisignal.streams.realtime import RealtimeSession


class Session(Protocol):
    """What is kept of a connection; none of its methods raises, but that gates may refuse what is sent."""

    def received(self, message: Any) -> None:
        """Take a message of the provider."""
        ...

    def sent(self, message: Any) -> None:
        """Take a message of the application, which is about to be sent."""
        ...

    def broke(self, error: BaseException | None) -> None:
        """The connection has ended."""
        ...

    def close(self, error: BaseException | None = None) -> None:
        """The application has closed the connection, or could not open it."""
        ...


_KEY = "_trisignal_realtime"
"""Attribute of a client's connection that holds its session."""
_sending: ContextVar[bool] = ContextVar("trisignal_realtime_sending", default=False)
"""A message that has been taken is on its way through further methods of the connection."""


def session_of(connection: Any) -> Any:
    """The session that was kept of a client's connection; None where it is not recorded."""
    return connection.__dict__.get(_KEY)


def keep_session(connection: Any, session: Session | None) -> None:
    """Put a session on its connection, until that is freed."""
    if session is not None:
        connection.__dict__[_KEY] = session


def begin_session(place: Place, model: str, format: RealtimeFormat) -> RealtimeSession:
    """Open the call of a session.

    Args:
        place: Where the connection leads.
        model: The model that was asked for, where that is known.
        format: How messages are written.
    """
    draft = Draft(names.REALTIME_SESSION, request_model=model)
    draft.server_address, draft.server_port, draft.provider = place
    return RealtimeSession(draft, format)


S = TypeVar("S", bound=Session)


def begun(begin: Callable[[Any, Args, Kwargs], S], instance: Any, args: Args, kwargs: Kwargs) -> S | None:
    """The session of a connection that is about to be opened; None where nothing is recorded."""
    if state.is_off():
        state.check_set_up()
        return None
    try:
        return begin(instance, args, kwargs)
    except Exception as error:
        _guard.contain("realtime.begin", error)
        return None


def _broke(instance: Any, session: Session, error: BaseException) -> None:
    # Google's SDK raises an error of its own in place of that of the connection.
    for reason in (error, error.__context__):
        if type(reason).__name__.startswith("ConnectionClosed"):
            session.broke(reason)
            if getattr(instance, "_on_reconnecting", None) is None:
                session.close()
            return


def receive(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    """The wrapper of a method that returns the next message."""
    session: Session | None = session_of(instance)
    if session is None:
        return wrapped(*args, **kwargs)
    try:
        message = wrapped(*args, **kwargs)
    except BaseException as error:
        _broke(instance, session, error)
        raise
    session.received(message)
    return message


async def areceive(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    """Its asynchronous twin."""
    session = instance.__dict__.get(_KEY)  # for every message: one call less
    if session is None:
        return await wrapped(*args, **kwargs)
    try:
        message = await wrapped(*args, **kwargs)
    except BaseException as error:
        _broke(instance, session, error)
        raise
    session.received(message)
    return message


def _message(args: Args, kwargs: Mapping[str, Any]) -> Any:
    return args[0] if args else next(iter(kwargs.values()), None)


def send(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    """The wrapper of a method that sends one message, which may call another such method."""
    session: Session | None = None if _sending.get() else session_of(instance)
    if session is None:
        return wrapped(*args, **kwargs)
    session.sent(_message(args, kwargs))
    token = _sending.set(True)
    try:
        return wrapped(*args, **kwargs)
    finally:
        _sending.reset(token)


async def asend(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    """Its asynchronous twin."""
    session: Session | None = None if _sending.get() else session_of(instance)
    if session is None:
        return await wrapped(*args, **kwargs)
    session.sent(_message(args, kwargs))
    token = _sending.set(True)
    try:
        return await wrapped(*args, **kwargs)
    finally:
        _sending.reset(token)


def close(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    """The wrapper of a method that closes the connection."""
    try:
        return wrapped(*args, **kwargs)
    finally:
        session = session_of(instance)
        if session is not None:
            session.close()


async def aclose(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
    """Its asynchronous twin."""
    try:
        return await wrapped(*args, **kwargs)
    finally:
        session = session_of(instance)
        if session is not None:
            session.close()
