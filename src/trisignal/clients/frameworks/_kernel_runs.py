"""Semantic Kernel's orchestrations: several agents that send each other messages, as one workflow in one trace.

Its runtime handles messages in tasks of its own and links the spans there to their senders. In the trace of an
orchestration they become their children, so that every agent is below the workflow.
"""

from __future__ import annotations

import asyncio
import importlib
import re
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry.trace import NonRecordingSpan, SpanContext, get_current_span, set_span_in_context

from trisignal import _guard
from trisignal import semconv as names
from trisignal.call import Draft
from trisignal.clients._patch import Patches
from trisignal.clients._provider import Args, Kwargs, async_wrapper
from trisignal.clients.frameworks._framework import Around, entity
from trisignal.engine import lifecycle

_AGENTS = "semantic_kernel.agents"
_MADE_UP = re.compile(r"_[0-9a-f]{32}$")
"""At the end of the name of an orchestration that was given none."""
_PARENT_ARGUMENT = 2
_MOST = 1024


class Orchestrations:
    """Patches orchestrations and the runtime's spans; it knows the traces of the latest runs."""

    def __init__(self) -> None:
        self._traces: OrderedDict[int, None] = OrderedDict()

    def patch(self, patches: Patches) -> None:
        """Patch both, where the version has them."""
        try:
            runs = importlib.import_module(f"{_AGENTS}.orchestration.orchestration_base").OrchestrationBase
            spans = importlib.import_module(f"{_AGENTS}.runtime.core.telemetry.tracing").TraceHelper
        except ModuleNotFoundError:
            return
        patches.wrap(runs, "invoke", async_wrapper(Around(self._begin, self._follow)))
        patches.wrap(spans, "trace_block", self._block)

    def _begin(self, instance: Any, args: Args, kwargs: Kwargs) -> Draft:
        return entity(names.INVOKE_WORKFLOW, _MADE_UP.sub("", str(instance.name)))

    def _follow(self, draft: Draft, result: Any) -> bool:
        """A run goes on after its call, until there is a result."""
        if draft.span is not None:
            self._traces[draft.span.get_span_context().trace_id] = None
            if len(self._traces) > _MOST:
                self._traces.popitem(last=False)
        event = result.event
        if event.is_set():
            return True
        settle = event.set

        def ended() -> None:
            settle()
            cancelled = result.cancellation_token.is_cancelled()
            lifecycle.close_call(draft, asyncio.CancelledError() if cancelled else result.exception)

        event.set = ended
        return False

    def _block(self, wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> AbstractContextManager[Any]:
        block: AbstractContextManager[Any] = wrapped(*args, **kwargs)
        try:
            sender = self._sender(args[_PARENT_ARGUMENT] if len(args) > _PARENT_ARGUMENT else kwargs.get("parent"))
        except Exception as error:
            _guard.contain("semantic_kernel.message", error)
            sender = None
        return block if sender is None else _below(sender, block)

    def _sender(self, metadata: Any) -> SpanContext | None:
        """The span that sent a message, if that was in the trace of an orchestration and this is not."""
        if metadata is None or not self._traces:
            return None
        links = importlib.import_module(f"{_AGENTS}.runtime.core.telemetry.propagation").get_telemetry_links(metadata)
        sender: SpanContext | None = next((link.context for link in links or ()), None)
        if sender is None or sender.trace_id not in self._traces:
            return None
        return None if get_current_span().get_span_context().trace_id == sender.trace_id else sender


@contextmanager
def _below(sender: SpanContext, block: AbstractContextManager[Any]) -> Iterator[Any]:
    attached = otel_context.attach(set_span_in_context(NonRecordingSpan(sender)))
    try:
        with block as span:
            yield span
    finally:
        otel_context.detach(attached)
