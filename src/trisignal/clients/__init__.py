"""Instrumenting clients: patched now where they are imported, and else at the moment of their import."""

from __future__ import annotations

import atexit
import functools
import importlib
import importlib.util
import re
import sys
from threading import RLock
from types import ModuleType
from typing import TYPE_CHECKING

from trisignal import _guard
from trisignal.clients._registry import DISABLED_VARIABLE, REGISTRY, Row, disabled, nearest, rows
from trisignal.engine import state
from trisignal.engine.garbage import without_collections
from trisignal.errors import ClientNotInstalledError, ConfigError

if TYPE_CHECKING:
    from trisignal.clients._patch import Patches

__all__ = ["REGISTRY", "Row", "instrument", "instrumented", "refused", "rows", "uninstrument", "version_of"]

_lock = RLock()
_patches: dict[str, Patches] = {}
_wanted: set[str] = set()
_hooked: set[tuple[str, str]] = set()
_refused: dict[str, str] = {}
"""Clients that were asked for and are not patched, with the reason."""


def instrument(*clients: str) -> None:
    """Record calls of the named clients, or of every supported one.

    Clients that are not imported yet are patched at the moment of their import. May be
    called repeatedly. Client objects that exist already are covered too: methods are patched on classes.
    A client that cannot be patched is warned of. Those that the variable
    ``OTEL_PYTHON_DISABLED_INSTRUMENTATIONS`` names are left alone.

    Args:
        *clients: Names from the registry, e.g. ``"openai"``; all of them when omitted.

    Raises:
        ConfigError: A name is not in the registry.
        ClientNotInstalledError: A client that was named is not installed.
    """
    wanted = [_row("instrument", name) for name in clients]
    for row in wanted:
        if not _installed(row.module):
            raise ClientNotInstalledError(row.name, row.module, row.distribution)
    off = disabled()
    with _lock, without_collections():
        for row in wanted or rows().values():
            if row.name in off:
                _refused[row.name] = f"{DISABLED_VARIABLE} names it"
            else:
                _refused.pop(row.name, None)
                _want(row)
    state.SIGNS.add("instrument")
    _check_at_exit()
    named_off = ", ".join(row.name for row in wanted if row.name in off)
    if named_off:
        _guard.warn(f"instrument() leaves {named_off} alone, as {DISABLED_VARIABLE} says")


def _row(function: str, name: object) -> Row:
    row = rows().get(name) if isinstance(name, str) else None
    if row is None:
        meant = nearest(name)
        hint = f"{meant!r} is probably meant; " if meant else ""
        raise ConfigError(function, name, f"{hint}one or more of {', '.join(rows())}, each as an argument of its own")
    return row


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # a parent package of it is missing, or it is a stand-in of a test
        return module in sys.modules


def _want(row: Row) -> None:
    # wrapt takes its time, which a program without clients can spare.
    from trisignal.clients._imports import when_imported

    _wanted.add(row.name)
    if row.module in sys.modules:
        _apply(row, sys.modules[row.module])
    for name in (row.module, *row.also):
        if name not in sys.modules and (row.name, name) not in _hooked:
            _hooked.add((row.name, name))
            when_imported(name, functools.partial(_imported, row, name))


def _imported(row: Row, name: str, module: ModuleType) -> None:
    with _lock:
        _hooked.discard((row.name, name))
        if row.name in _wanted and row.module in sys.modules:
            _apply(row, module, again=bool(row.also))


def _apply(row: Row, imported: ModuleType, again: bool = False) -> None:
    from trisignal.clients._patch import Patches

    patches = _patches.setdefault(row.name, Patches())
    if patches and not again:
        return
    module, _, function = row.reader.partition(":")
    try:
        if patches.provider is None:
            patches.provider = getattr(importlib.import_module(module), function)(*row.arguments)
        patches.provider.patch(patches)
    except Exception as error:
        patches.undo()
        _refuse(row, f"{type(error).__name__}: {error}")
        _guard.contain(f"patch.{row.name}", error)
        return
    if patches:
        _refused.pop(row.name, None)
    elif not row.also or _is_older(row):
        # What is patched of the others may be in packages that come later.
        _refuse(row, "it has none of the methods that are patched")


def _refuse(row: Row, reason: str) -> None:
    installed = version_of(row)
    reason = " ".join(reason.split())
    _refused[row.name] = f"{row.distribution} {installed or '(version unknown)'} cannot be patched ({reason})"
    _guard.warn(
        f"calls of {row.name} are not recorded: {_refused[row.name]}; supported: {row.versions}", contained=True
    )


def version_of(row: Row) -> str:
    """Version of the distribution that brings a client; "" where it is not installed.

    Args:
        row: The client.
    """
    from importlib.metadata import PackageNotFoundError, version

    for name in dict.fromkeys((row.distribution.partition("[")[0], row.module.replace(".", "-"), row.name)):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return ""


def _is_older(row: Row) -> bool:
    installed = version_of(row)
    return bool(installed) and numbers(installed) < numbers(row.versions)


def numbers(version: str) -> tuple[int, ...]:
    """The numbers of a version; suffixes of pre-releases do not matter here.

    Args:
        version: A version, or a lower limit such as ``>=1.2``.
    """
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


@functools.cache
def _check_at_exit() -> None:
    atexit.register(state.check_set_up)


def uninstrument(*clients: str) -> None:
    """Undo `instrument`; wrappers that other libraries have added on top stay.

    Args:
        *clients: Names from the registry; all of them when omitted.

    Raises:
        ConfigError: A name is not in the registry.
    """
    named = [_row("uninstrument", name).name for name in clients]
    with _lock:
        for name in named or (*_wanted, *_refused):
            _wanted.discard(name)
            _refused.pop(name, None)
            patches = _patches.pop(name, None)
            if patches is not None:
                patches.undo()


def instrumented() -> tuple[str, ...]:
    """Names of the clients that are patched at this moment."""
    return tuple(sorted(name for name, patches in _patches.items() if patches))


def refused() -> dict[str, str]:
    """Clients that were asked for and are not patched, with the reason."""
    return dict(_refused)
