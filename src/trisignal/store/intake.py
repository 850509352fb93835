"""Which spans of other instrumentations are stored: those of traces that hold a call."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from trisignal import _guard
from trisignal.call import Call
from trisignal.store.records import REQUEST_FACTS
from trisignal.store.transaction import Batch, CallItem, LogItem, SpanItem, VerdictItem

MOST_TRACES = 10_000
"""Traces that are known to hold a call."""
MOST_HELD = 4_096
"""Spans that wait for a call in their trace: a database is asked before the model is."""
MOST_OF_TRACE = 512
"""The same of one trace."""


class Intake:
    """Sorts queued items into a batch.

    Args:
        clean: Redacts a span of another instrumentation.
    """

    def __init__(self, clean: Callable[[Any], Any]) -> None:
        self._clean = clean
        self._wanted: OrderedDict[int, dict[str, str]] = OrderedDict()
        """Traces with a call, and what all their calls were bound to alike."""
        self._held: OrderedDict[int, list[Any]] = OrderedDict()
        self._count = 0

    def sort(self, item: Any, batch: Batch) -> None:
        """Add an item, and what waited for it, to a batch."""
        if isinstance(item, CallItem):
            self._want(item.call, batch)
            batch.calls.append(item)
        elif isinstance(item, SpanItem):
            self._span(item.span, batch)
        elif isinstance(item, VerdictItem):
            batch.verdicts.append(item)
        elif isinstance(item, LogItem):
            batch.logs.append(item)

    def _want(self, call: Call, batch: Batch) -> None:
        if not call.trace_id:
            return
        number = int(call.trace_id, 16)
        facts = self._wanted.get(number)
        if facts is None:
            facts = self._wanted[number] = {name: call.bound.get(name, "") for name in REQUEST_FACTS}
            if len(self._wanted) > MOST_TRACES:
                self._wanted.popitem(last=False)
        else:
            self._wanted.move_to_end(number)
            for name, value in facts.items():
                if value and call.bound.get(name, "") != value:
                    # A job for several tenants is none of theirs.
                    facts[name] = ""
        held = self._held.pop(number, None)
        if held is not None:
            self._count -= len(held)
            for span in held:
                self._add(span, facts, batch)

    def _span(self, span: Any, batch: Batch) -> None:
        number = span.context.trace_id
        facts = self._wanted.get(number)
        if facts is not None:
            self._add(span, facts, batch)
            return
        held = self._held.setdefault(number, [])
        self._held.move_to_end(number)
        if len(held) < MOST_OF_TRACE:
            held.append(span)
            self._count += 1
        while self._count > MOST_HELD:
            _, oldest = self._held.popitem(last=False)
            self._count -= len(oldest)

    def _add(self, span: Any, facts: dict[str, str], batch: Batch) -> None:
        try:
            batch.spans.append(SpanItem(self._clean(span), dict(facts)))
        except Exception as error:
            # Fails closed, as the gate before export does.
            _guard.contain("store.redact", error)
