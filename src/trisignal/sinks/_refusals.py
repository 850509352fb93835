"""What sinks say of a call that was refused."""

from __future__ import annotations

from collections.abc import Mapping

from trisignal import semconv as names
from trisignal.errors import GuardExceeded
from trisignal.semconv import limits
from trisignal.sinks import Refusal

_ENTITIES = {names.EXECUTE_TOOL: names.TOOL_NAME, names.INVOKE_AGENT: names.AGENT_NAME}


def facts(refusal: Refusal) -> Mapping[str, str | float]:
    """Attributes of the event, and fields of the line.

    Args:
        refusal: The refusal.
    """
    error = refusal.error
    found: dict[str, str | float] = {
        limits.KIND: "guard" if isinstance(error, GuardExceeded) else "budget",
        limits.NAME: error.name,
        limits.RESOURCE: error.resource,
        limits.USED: float(error.used),
        limits.LIMIT: float(error.limit),
        names.OPERATION: refusal.operation,
        limits.KEY: error.key,
        limits.VALUE: error.value,
        limits.REPEATED: error.repeated if isinstance(error, GuardExceeded) else "",
        names.PROVIDER: refusal.provider,
        names.REQUEST_MODEL: refusal.request_model,
    }
    entity = _ENTITIES.get(refusal.operation)
    if entity:
        found[entity] = refusal.name
    return {name: value for name, value in found.items() if value != ""}


def title(refusal: Refusal) -> str:
    """Name of the span that stands in for an event, and begin of the line: what was refused."""
    return f"refused {refusal.operation} {refusal.request_model or refusal.name}".rstrip()
