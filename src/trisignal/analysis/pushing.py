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
