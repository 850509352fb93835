"""Which conditions of a question are about one attribute, so that an engine can check them."""

from __future__ import annotations

from trisignal import semconv as names
from trisignal.analysis.query import CONTEXT_PREFIX, Query
from trisignal.analysis.span_reading import TEXTS

_ATTRIBUTE_OF = {
    **{name: key for name, key in TEXTS.items() if name != "error_kind"},
    "operation": names.OPERATION,
    "stage": names.STAGE_NAME,
    "tool": names.TOOL_NAME,
    "workflow": names.WORKFLOW_NAME,
    "retrieval": names.DATA_SOURCE_ID,
}


def pushed(query: Query) -> dict[str, tuple[str, ...]]:
    """Attributes and their wanted values.

    Every span that the query asks for has them; what they do not say is left to be checked on the spans. A condition
    that an empty value fulfils is among that, because the attribute is then absent.
    """
    conditions: dict[str, tuple[str, ...]] = {}
    for dimension, values in query.where.items():
        key = attribute_of(dimension)
        if key and all(values) and not (dimension == "operation" and names.STAGE in values):
            conditions[key] = values
    return conditions


def attribute_of(dimension: str) -> str:
    """The attribute that holds a dimension; "" when several do, or none."""
    if dimension.startswith(CONTEXT_PREFIX):
        return names.DIMENSION_PREFIX + dimension[len(CONTEXT_PREFIX) :]
    return _ATTRIBUTE_OF.get(dimension, "")


_WHOLE = frozenset(
    ("provider", "model", "response_model", "agent", "tenant", "user_id", "request_id", "conversation_id",
     "prompt_name", "prompt_version")
)  # fmt: skip
"""Dimensions whose value is one attribute, whatever the span; ``service`` and ``name`` have fields of their own."""
OF_SPAN = frozenset(("service", "name"))


def is_whole(dimension: str, query: Query) -> bool:
    """Whether one attribute or field of an engine is the dimension, so that the engine can group by it."""
    return (
        dimension in _WHOLE
        or dimension in OF_SPAN
        or dimension.startswith(CONTEXT_PREFIX)
        # Stages have no operation on their spans; calls always have one.
        or (dimension == "operation" and query.of == "calls")
    )


def is_pushed(query: Query) -> bool:
    """Whether an engine can check every condition of a question by attributes, outcome and duration."""
    return (
        not query.text
        and query.max_quality is None
        and query.order != "quality"
        and all(is_whole(name, query) or name == "outcome" for name in query.where)
    )
