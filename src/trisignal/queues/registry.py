"""`instrument_queues`: which task queues are known, and how each is connected."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from collections.abc import Callable
from threading import RLock
from types import ModuleType
from typing import NamedTuple

from trisignal import _guard
from trisignal.errors import ClientNotInstalledError, ConfigError
from trisignal.queues import _settings


class Row(NamedTuple):
    """One queue: what has to be imported before it is connected, and what connects it."""

    packages: tuple[tuple[str, str], ...]
    """Import names, each with ``MODULE:FUNCTION`` below this folder."""
    installs: str


_ROWS: dict[str, Row] = {
    "aiokafka": Row((("aiokafka", "aiokafka:connect"),), "aiokafka"),
    "arq": Row((("arq", "arq:connect"),), "arq"),
    "celery": Row((("celery", "celery:connect"),), "celery"),
    "confluent-kafka": Row((("confluent_kafka", "confluent_kafka:connect"),), "confluent-kafka"),
    "dramatiq": Row((("dramatiq", "dramatiq:connect"),), "dramatiq"),
    "huey": Row((("huey", "huey:connect"),), "huey"),
    "kafka-python": Row((("kafka", "kafka_python:connect"),), "kafka-python"),
    "nats": Row((("nats", "nats:connect"),), "nats-py"),
    "rq": Row((("rq", "rq:connect"),), "rq"),
    "sqs": Row((("botocore", "sqs:connect"), ("aiobotocore", "sqs:connect_async")), "boto3"),
}
QUEUES = tuple(_ROWS)
"""Names of the queues and clients."""

_lock = RLock()
_undo: dict[str, Callable[[], None]] = {}
_wanted: set[str] = set()


def instrument_queues(*queues: str, carry_user_ids: bool = False) -> None:
    """Let context cross task queues, and measure them: without code in tasks, by the queues' own hooks and headers.

    Call it in the programs that send tasks and in their workers. A task runs in the trace, with the request id and the
    bound values of its sender, as a workflow of its name; so guards and budgets by a bound key hold for both.
    Depth, wait, retries and dead letters become metrics. May be called repeatedly.

    Kafka's clients, NATS and SQS have loops of the application's own: the body of a loop runs in the context of each
    message, see the documentation.

    Args:
        *queues: ``aiokafka``, ``arq``, ``celery``, ``confluent-kafka``, ``dramatiq``, ``huey``, ``kafka-python``,
            ``nats``, ``rq``, ``sqs``; all that are installed when omitted.
        carry_user_ids: Also send the bound user id through the broker.

    Raises:
        ConfigError: A name is not known.
        ClientNotInstalledError: A queue that was named is not installed.
    """
    for name in queues:
        if name not in _ROWS:
            raise ConfigError("instrument_queues", name, ", ".join(QUEUES))
        row = _ROWS[name]
        if not any(importlib.util.find_spec(package) for package, _ in row.packages):
            raise ClientNotInstalledError(name, row.packages[0][0], row.installs)
    _settings.carry_user_ids = bool(carry_user_ids)
    with _lock:
        for name in queues or QUEUES:
            _wanted.add(name)
            for package, hook in _ROWS[name].packages:
                if package in sys.modules:
                    _connect(name, hook)
                else:
                    from trisignal.clients._imports import when_imported

                    when_imported(package, functools.partial(_imported, name, hook))


def _imported(name: str, hook: str, module: ModuleType) -> None:
    with _lock:
        if name in _wanted:
            _connect(name, hook)


def _connect(name: str, hook: str) -> None:
    if hook in _undo:
        return
    module, _, function = hook.partition(":")
    try:
        _undo[hook] = getattr(importlib.import_module(f"trisignal.queues.{module}"), function)()
    except Exception as error:
        _guard.warn(f"messages of {name} are not connected: {type(error).__name__}: {error}", contained=True)


def uninstrument_queues(*queues: str) -> None:
    """Undo `instrument_queues`.

    Args:
        *queues: Their names; all when omitted.
    """
    with _lock:
        for name in queues or QUEUES:
            _wanted.discard(name)
            row = _ROWS.get(name)
            for _, hook in row.packages if row is not None else ():
                undo = _undo.pop(hook, None)
                if undo is not None:
                    undo()
