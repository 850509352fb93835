"""Profiles of Pyroscope, joined with spans: the first span of a process has the id that its samples are tagged with.

Pyroscope's own processor does it (the package pyroscope-otel); it is added to the provider that `setup()` builds once
the application imports ``pyroscope``. Where nothing is exported, nothing is added.
"""

from __future__ import annotations

import importlib.util
import sys
import weakref
from collections.abc import Callable
from typing import Any

from opentelemetry.sdk.trace import TracerProvider

from trisignal import _guard

_PACKAGE, _OTEL = "pyroscope", "pyroscope.otel"


def join_profiles(provider: TracerProvider) -> None:
    """Add Pyroscope's processor to a provider, now or when its package is imported; never raises.

    Args:
        provider: One that `setup()` has built, and that exports.
    """
    if _PACKAGE in sys.modules:
        _add(weakref.ref(provider))
    elif importlib.util.find_spec(_PACKAGE) is not None:
        from trisignal.clients._imports import when_imported

        later = weakref.ref(provider)
        when_imported(_PACKAGE, lambda module: _add(later))


def _add(reference: Callable[[], TracerProvider | None]) -> None:
    try:
        provider: Any = reference()
        if provider is None or importlib.util.find_spec(_OTEL) is None:
            return
        processor = importlib.import_module(_OTEL).PyroscopeSpanProcessor
        active = getattr(getattr(provider, "_active_span_processor", None), "_span_processors", ())
        if not any(isinstance(one, processor) for one in active):
            provider.add_span_processor(processor())
    except Exception as error:
        _guard.warn(f"profiles of Pyroscope are not joined: {type(error).__name__}: {error}", contained=True)
