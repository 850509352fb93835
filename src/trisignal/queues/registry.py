"""`instrument_queues`: which task queues are known, and how each is connected."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from collections.abc import Callable
from threading import RLock
from types import ModuleType

from trisignal import _guard
from trisignal.errors import ClientNotInstalledError, ConfigError
from trisignal.queues import _settings

QUEUES = ("celery", "dramatiq", "huey", "rq")
"""Names of the packages, each a module of this folder."""

_lock = RLock()
_undo: dict[str, Callable[[], None]] = {}
_wanted: set[str] = set()


def instrument_queues(*queues: str, carry_user_ids: bool = False) -> None:
    """Let context cross task queues, and measure them: without code in tasks, by the queues' own hooks and headers.

    Call it in the programs that send tasks and in their workers. A task runs in the trace, with the request id and the
    bound values of whoever sent it, as a workflow of its name; so guards and budgets by a bound key hold for both.
    Depth, wait, retries and dead letters become metrics. May be called repeatedly.

    Args:
        *queues: ``celery``, ``dramatiq``, ``huey``, ``rq``; all that are installed when omitted.
        carry_user_ids: Also send the bound user id through the broker.

    Raises:
        ConfigError: A name is not known.
        ClientNotInstalledError: A queue that was named is not installed.
    """
    for name in queues:
        if name not in QUEUES:
            raise ConfigError("instrument_queues", name, ", ".join(QUEUES))
        if importlib.util.find_spec(name) is None:
            raise ClientNotInstalledError(name, name, name)
    _settings.carry_user_ids = bool(carry_user_ids)
    with _lock:
        for name in queues or QUEUES:
            _wanted.add(name)
            if name in sys.modules:
                _connect(name)
            else:
                from trisignal.clients._imports import when_imported

                when_imported(name, functools.partial(_imported, name))


def _imported(name: str, module: ModuleType) -> None:
    with _lock:
        if name in _wanted:
            _connect(name)


def _connect(name: str) -> None:
    if name in _undo:
        return
    try:
        _undo[name] = importlib.import_module(f"trisignal.queues.{name}").connect()
    except Exception as error:
        _guard.warn(f"tasks of {name} are not connected: {type(error).__name__}: {error}", contained=True)


def uninstrument_queues(*queues: str) -> None:
    """Undo `instrument_queues`.

    Args:
        *queues: Their names; all when omitted.
    """
    with _lock:
        for name in queues or QUEUES:
            _wanted.discard(name)
            undo = _undo.pop(name, None)
            if undo is not None:
                undo()
