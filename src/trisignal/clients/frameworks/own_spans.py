"""Frameworks that can write spans of agents and tools themselves: theirs are switched on where they are off.

They are written without content, to the tracer provider in use, and only while the bridge reads them: it puts
the calls of patched clients on them (`engine.adoption`), and takes sums off.
"""

from __future__ import annotations

import importlib
from typing import Any

from opentelemetry.metrics import NoOpMeterProvider

from trisignal.clients._patch import Patches
from trisignal.clients._provider import Args, Kwargs
from trisignal.clients.frameworks._kernel_runs import Orchestrations
from trisignal.engine import state


def _read() -> bool:
    return state.NESTING.watchers > 0 and not state.is_off()


class PydanticAI:
    """Reader of the ``pydantic_ai`` package."""

    def __init__(self) -> None:
        self._made: tuple[Any, Any] | None = None

    def patch(self, patches: Patches) -> None:
        """Patch where an agent looks up whether it is to write spans."""
        agents = importlib.import_module("pydantic_ai.agent").Agent
        patches.wrap(agents, "_resolve_instrumentation_settings", self._settings)

    def _settings(self, wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
        given = wrapped(*args, **kwargs)
        if given is not None or not _read():
            return given
        provider = state.STATE.tracer_provider
        if self._made is None or self._made[0] is not provider:
            settings = importlib.import_module("pydantic_ai.models.instrumented").InstrumentationSettings
            quiet = {"include_content": False, "include_binary_content": False}
            self._made = provider, settings(tracer_provider=provider, meter_provider=NoOpMeterProvider(), **quiet)
        return self._made[1]


class SemanticKernel:
    """Reader of the ``semantic_kernel`` package."""

    def patch(self, patches: Patches) -> None:
        """Patch the questions whether spans of agents and of models are to be written, and orchestrations."""
        Orchestrations().patch(patches)
        telemetry = "semantic_kernel.utils.telemetry"
        for part in ("agent_diagnostics", "model_diagnostics"):
            module = importlib.import_module(f"{telemetry}.{part}.decorators")
            patches.wrap(module, "are_model_diagnostics_enabled", self._enabled)

    def _enabled(self, wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
        return wrapped(*args, **kwargs) or _read()


class AG2:
    """Reader of the ``ag2`` package."""

    def patch(self, patches: Patches) -> None:
        """Patch where a turn gets its middleware."""
        agents = importlib.import_module("ag2.agent").Agent
        patches.wrap(agents, "_turn_scope", self._turn)

    def _turn(self, wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
        if _read():
            middleware = importlib.import_module("ag2.middleware").TelemetryMiddleware
            given = tuple(kwargs.get("additional_middleware") or ())
            present = (*given, *(getattr(instance, "_middleware", None) or ()))
            if not any(isinstance(one, middleware) for one in present):
                ours = middleware(
                    tracer_provider=state.STATE.tracer_provider, capture_content=False, agent_name=str(instance.name)
                )
                kwargs = {**kwargs, "additional_middleware": (ours, *given)}
        return wrapped(*args, **kwargs)


def pydantic_ai() -> PydanticAI:
    """The reader of the ``pydantic_ai`` package."""
    return PydanticAI()


def semantic_kernel() -> SemanticKernel:
    """The reader of the ``semantic_kernel`` package."""
    return SemanticKernel()


def ag2() -> AG2:
    """The reader of the ``ag2`` package."""
    return AG2()
