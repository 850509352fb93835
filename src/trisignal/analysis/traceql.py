"""Questions as TraceQL, the query language of Tempo."""

from __future__ import annotations

import json
import re
from math import floor

from trisignal import semconv as names
from trisignal.analysis import span_reading
from trisignal.analysis.pushing import attribute_of, pushed
from trisignal.analysis.query import CONTEXT_PREFIX, Query

_PLAIN = re.compile(r"[A-Za-z_][\w.\-]*")
PARENT, KIND, STATUS, NAME = "nestedSetParent", "kind", "status", "name"
CALLS = (
    f"{KIND} != server && span.{names.OPERATION} != nil && span.{names.OPERATION} !~ "
    f"{json.dumps('^(' + '|'.join(sorted(names.MODEL_CALLS_EXCLUDED)) + ')$')}"
)
"""Spans of model calls."""
_SELECTED = (NAME, STATUS, KIND, PARENT, "resource.service.name")


def conditions(query: Query) -> list[str]:
    """What the spans of a question have in common, as far as Tempo can check it."""
    wanted = []
    if query.of == "calls":
        wanted.append(CALLS)
    elif query.of == "requests":
        wanted.append(f"({PARENT} < 0 || {KIND} = server || {KIND} = consumer)")
    keys = {f"span.{key}": values for key, values in pushed(query).items()}
    for dimension, key in (("service", "resource.service.name"), ("name", NAME)):
        if all(query.where.get(dimension, ("",))):
            keys[key] = query.where[dimension]
    for key, values in keys.items():
        either = " || ".join(f"{field(key)} = {quoted(value)}" for value in values)
        wanted.append(f"({either})")
    outcomes = query.where.get("outcome", ("ok",))
    if "ok" not in outcomes:
        wanted.append(f"({' || '.join(map(outcome, outcomes))})")
    if query.min_duration_s:
        wanted.append(f"duration >= {floor(query.min_duration_s * 1e9)}ns")
    return wanted


def search(query: Query) -> str:
    """The search for the spans of a question, and for the attributes that rows are read from."""
    bound = {attribute_of(name) for name in query.where if name.startswith(CONTEXT_PREFIX)}
    selected = (*_SELECTED, *(f"span.{key}" for key in (*span_reading.READ, *sorted(bound))))
    return f"{{ {' && '.join(conditions(query))} }} | select({', '.join(map(field, selected))})"


def outcome(value: str) -> str:
    """Spans that did not end well: all say how, unless another instrumentation wrote them."""
    said = f"span.{names.OUTCOME} = {quoted(value)}"
    return f"{STATUS} = error" if value == "error" else said


def field(key: str) -> str:
    """A field with its scope; odd names in quotes."""
    scope, dot, rest = key.partition(".")
    return key if not dot or _PLAIN.fullmatch(rest) else f"{scope}.{quoted(rest)}"


def quoted(text: str) -> str:
    """A text as a literal."""
    return json.dumps(text, ensure_ascii=False)
