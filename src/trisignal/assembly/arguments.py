"""What setup() was given: settings apart from objects, each object of the right kind."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from trisignal import _guard, config
from trisignal.errors import ConfigError

if TYPE_CHECKING:
    from trisignal.assembly.telemetry import Telemetry


def _has(*methods: str) -> Callable[[Any], bool]:
    def check(value: Any) -> bool:
        # A class has the methods of its instances, and is none.
        return not isinstance(value, type) and all(callable(getattr(value, name, None)) for name in methods)

    return check


OBJECTS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "tracer_provider": (
        _has("get_tracer"), "a tracer provider, e.g. opentelemetry.sdk.trace.TracerProvider()",
    ),
    "meter_provider": (
        _has("get_meter"), "a meter provider, e.g. opentelemetry.sdk.metrics.MeterProvider([reader])",
    ),
    "logger_provider": (
        _has("get_logger"), "a logger provider of OpenTelemetry, e.g. opentelemetry.sdk._logs.LoggerProvider()",
    ),
    "registry": (_has("register", "collect"), "a registry, e.g. prometheus_client.CollectorRegistry()"),
    "redactor": (callable, "a function from text to text"),
    "price_source": (_has("rates"), "an object with rates(), as trisignal.PriceSource; a file: prices_file"),
}  # fmt: skip
"""Arguments of setup() that are objects, not settings: how they are recognised, and what they may be."""


class Given(NamedTuple):
    """Arguments of setup(), sorted."""

    settings: dict[str, Any]
    objects: dict[str, Any]
    handler: logging.Handler | None


def sort(explicit: Mapping[str, Any]) -> Given:
    """Separate settings from objects.

    Raises:
        ConfigError: An object is of the wrong kind.
    """
    objects = {name: explicit[name] for name in OBJECTS if explicit.get(name) is not None}
    for name, value in objects.items():
        fits, allowed = OBJECTS[name]
        if not fits(value):
            raise ConfigError(name, value, allowed)
    settings = {name: value for name, value in explicit.items() if name not in OBJECTS}
    handler = settings.pop("logs") if isinstance(settings.get("logs"), logging.Handler) else None
    for name in ("logs", "prices_file", "store"):
        if isinstance(settings.get(name), os.PathLike):
            # A path is never one of the words that `logs` knows.
            settings[name] = os.path.join(os.curdir, os.fspath(settings[name]))
    return Given(settings, objects, handler)


def differences(present: Telemetry, explicit: Mapping[str, Any]) -> list[str]:
    """Names of the arguments that a running setup() is not in accordance with.

    Raises:
        ConfigError: One of them is wrong by itself.
    """
    given = sort(explicit)
    asked = config.load(given.settings).settings
    differing = [name for name in given.settings if getattr(asked, name) != getattr(present.settings, name)]
    differing += [name for name, value in given.objects.items() if present.explicit.get(name) is not value]
    if given.handler is not None and present.explicit.get("logs") is not given.handler:
        differing.append("logs")
    return differing


def warn_of_variables() -> None:
    """Name variables that look like ours and are none."""
    for name, meant in config.unknown_variables().items():
        _guard.warn(
            f"the variable {name} is not known" + (f": did you mean {meant}?" if meant else " and has no effect")
        )
