"""openai-agents: its agents, tools and workflows, at the start and the end of its own trace objects.

These objects exist, without being exported, also where the framework's tracing is disabled;
only its workflows do not then.
"""

from __future__ import annotations

import importlib
import sys
from collections import OrderedDict
from typing import Any, NamedTuple

from trisignal import _guard
from trisignal import semconv as names
from trisignal.call import Draft
from trisignal.clients import _agents_realtime, _agents_responses
from trisignal.clients._patch import Patches
from trisignal.clients._provider import Args, Kwargs
from trisignal.clients.frameworks._framework import entity, keep, tool
from trisignal.engine import lifecycle, state
from trisignal.engine.current import Activation, activate, deactivate

_MAX_OPEN = 10_000
"""Objects that are started and never finished are forgotten in their order."""


class _Open(NamedTuple):
    """A started object with its call."""

    started: Any
    """Kept, so that its id stays its own."""
    draft: Draft
    tokens: Activation | None


class Agents:
    """Reader of the package."""

    def __init__(self) -> None:
        self._open: OrderedDict[int, _Open] = OrderedDict()

    def patch(self, patches: Patches) -> None:
        """Patch the trace objects, those that do nothing included, and the realtime sessions that are imported."""
        spans = importlib.import_module("agents.tracing.spans")
        traces = importlib.import_module("agents.tracing.traces")
        for cls in (spans.SpanImpl, spans.NoOpSpan, traces.TraceImpl):
            patches.wrap(cls, "start", self._start)
            patches.wrap(cls, "finish", self._finish)
        _agents_realtime.patch(patches)
        _agents_responses.patch(patches)

    def _start(self, wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
        draft = None
        if not state.is_off() and id(instance) not in self._open:
            try:
                draft = _draft_of(instance)
            except Exception as error:
                _guard.contain("openai_agents.start", error)
        if draft is None:
            return wrapped(*args, **kwargs)
        # A guard may refuse the call: then the framework's own object does not start either.
        lifecycle.open_call(draft)
        result = wrapped(*args, **kwargs)
        current = bool(args[0] if args else kwargs.get("mark_as_current"))
        self._keep(instance, draft, activate(draft) if current else None)
        return result

    def _keep(self, instance: Any, draft: Draft, tokens: Activation | None) -> None:
        self._open[id(instance)] = _Open(instance, draft, tokens)
        if len(self._open) > _MAX_OPEN:
            lifecycle.close_call(self._open.popitem(last=False)[1].draft, GeneratorExit())

    def _finish(self, wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
        found = self._open.pop(id(instance), None)
        if found is not None:
            if found.tokens is not None:
                deactivate(found.tokens)
            try:
                _read_end(found.draft, instance)
            except Exception as error:
                _guard.contain("openai_agents.finish", error)
            lifecycle.close_call(found.draft, sys.exc_info()[1])
        return wrapped(*args, **kwargs)


def _draft_of(started: Any) -> Draft | None:
    data = getattr(started, "span_data", None)
    if data is None:
        return entity(names.INVOKE_WORKFLOW, str(started.name), str(started.group_id or ""))
    kind = data.type
    if kind == "agent":
        return entity(names.INVOKE_AGENT, str(data.name))
    if kind == "function":
        return tool(str(data.name))
    return None


def _read_end(draft: Draft, ended: Any) -> None:
    data: Any = getattr(ended, "span_data", None)
    if draft.operation == names.EXECUTE_TOOL:
        keep(draft, arguments=data.input, result=data.output)
    if getattr(ended, "error", None) and sys.exc_info()[1] is None:
        # The framework has handled the exception and goes on; all that it kept is a text.
        draft.outcome, draft.error_type, draft.error_kind = "error", "_OTHER", "other"


def provider() -> Agents:
    """The reader of the ``agents`` package."""
    return Agents()
