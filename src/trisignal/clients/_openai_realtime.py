"""Realtime connections of OpenAI's client, in its released and its beta form, sync and async.

A connection is opened by its manager. Whatever way the application reads, a message comes through ``recv_bytes``;
what it sends, as an event or as text, through ``send`` or ``send_raw``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from trisignal.clients import _realtime as realtime
from trisignal.clients._patch import Patches
from trisignal.clients._provider import Args, Kwargs, Place
from trisignal.formats import text
from trisignal.formats.openai_realtime import OPENAI_REALTIME

Resolve = Callable[[Any, Any], Place]


def _private(manager: Any, name: str) -> Any:
    return next((value for key, value in vars(manager).items() if key.endswith(f"__{name}")), None)


class RealtimeConnections:
    """Opens sessions for the connections of one SDK.

    Args:
        resolve: Where a client's base URL leads.
    """

    modules = ("openai.resources.realtime.realtime", "openai.resources.beta.realtime.realtime")
    """Where the classes are; the client imports them when they are needed."""
    kind = "Realtime"
    """What the names of the classes begin with."""

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve

    def _place(self, manager: Any) -> Place:
        client = _private(manager, "client")
        url = getattr(client, "websocket_base_url", None) or getattr(client, "_base_url", None) or client.base_url
        return self._resolve(client, url)

    def _begin(self, manager: Any, args: Args, kwargs: Kwargs) -> realtime.Session:
        return realtime.begin_session(self._place(manager), text(_private(manager, "model")), OPENAI_REALTIME)

    def _enter(self, wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
        session = realtime.begun(self._begin, instance, args, kwargs)
        try:
            connection = wrapped(*args, **kwargs)
        except BaseException as error:
            if session is not None:
                session.close(error)
            raise
        realtime.keep_session(connection, session)
        return connection

    async def _aenter(self, wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
        session = realtime.begun(self._begin, instance, args, kwargs)
        try:
            connection = await wrapped(*args, **kwargs)
        except BaseException as error:
            if session is not None:
                session.close(error)
            raise
        realtime.keep_session(connection, session)
        return connection

    def patch(self, patches: Patches) -> None:
        """Patch the classes that are imported."""
        for name in self.modules:
            module = sys.modules.get(name)
            manager = getattr(module, f"{self.kind}ConnectionManager", None)
            amanager = getattr(module, f"Async{self.kind}ConnectionManager", None)
            if module is None or manager is None or amanager is None:
                continue
            for method in ("__enter__", "enter"):
                patches.wrap(manager, method, self._enter)
            for method in ("__aenter__", "enter"):
                patches.wrap(amanager, method, self._aenter)
            connection, aconnection = (getattr(module, f"{prefix}{self.kind}Connection") for prefix in ("", "Async"))
            patches.wrap(connection, "recv_bytes", realtime.receive)
            patches.wrap(aconnection, "recv_bytes", realtime.areceive)
            for method in ("send", "send_raw"):
                patches.wrap(connection, method, realtime.send)
                patches.wrap(aconnection, method, realtime.asend)
            patches.wrap(connection, "close", realtime.close)
            patches.wrap(aconnection, "close", realtime.aclose)
