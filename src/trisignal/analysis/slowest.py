"""The slowest spans: from which duration on, and where their time went."""

from __future__ import annotations

from dataclasses import replace

from trisignal.analysis import folding, tree
from trisignal.analysis.answers import SlowSpan
from trisignal.analysis.query import Query
from trisignal.analysis.rows import SpanRow
from trisignal.analysis.source import TraceSource
from trisignal.errors import ConfigError


def percentile_s(source: TraceSource, query: Query, percentile: float) -> float:
    """Duration at a percentile, exactly: the span at that rank is looked up.

    Args:
        source: Where the spans are.
        query: Which spans, longest first.
        percentile: 0 to 100.

    Raises:
        ConfigError: The percentile is out of range.
    """
    if not 0 <= percentile <= 100:
        raise ConfigError("percentile", percentile, "a number from 0 to 100")
    totals = folding.totals(source, query, (), None, False).items
    count = sum(total.spans for total in totals)
    above = int(count * (100 - percentile) / 100)
    offset = min(max(0, above - 1), source.capabilities.max_rows - 1)
    rows = source.spans(replace(query, offset=offset, limit=1)).items
    return rows[0].duration_s if rows else 0.0


def located(source: TraceSource, span: SpanRow) -> SlowSpan:
    """A span with its request, and the self times of the request by kind of work."""
    record = source.trace(span.trace_id)
    for node in tree.roots(record.spans):
        if any(inner.span.span_id == span.span_id for _, inner in tree.walk((node,))):
            root = None if node.span.span_id == span.span_id else node.span
            return SlowSpan(span, root, tree.breakdown((node,)))
    return SlowSpan(span, None, ())
