"""Answers of Elasticsearch and OpenSearch as spans and sums."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from trisignal.analysis import span_reading
from trisignal.analysis.elasticsearch_query import FAILED, Fields
from trisignal.analysis.rows import SpanRow, Total
from trisignal.analysis.span_reading import COUNTS, READ

_NONE: Mapping[str, Any] = {}


def hits(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Documents of an answer."""
    outer = document.get("hits")
    for hit in outer.get("hits") or () if isinstance(outer, dict) else ():
        source = hit.get("_source") if isinstance(hit, dict) else None
        if isinstance(source, dict):
            yield source


def hits_total(document: Mapping[str, Any]) -> Any:
    """How many documents matched; older engines write the number, newer ones an object."""
    outer = document.get("hits")
    total = outer.get("total") if isinstance(outer, dict) else None
    return total.get("value") if isinstance(total, dict) else total


def span(document: Mapping[str, Any], fields: Fields) -> SpanRow | None:
    """A document as a span; None when it is none, e.g. an exception of APM."""
    trace_id = span_reading.hexadecimal(_at(document, fields.trace), 32)
    span_id = span_reading.hexadecimal(_first(document, fields.span), 16)
    if not trace_id or not span_id:
        return None
    duration = span_reading.number(_first(document, fields.duration))
    status = _at(document, fields.status)
    return span_reading.span_row(
        (trace_id, span_id, span_reading.hexadecimal(_at(document, fields.parent), 16)),
        str(_first(document, fields.name) or ""),
        _start_s(document, fields),
        (duration or 0.0) * fields.duration_unit_ns / 1e9,
        _attributes(document, fields),
        service=str(_at(document, fields.service) or ""),
        failed=str(status) in FAILED or status == 2,
        kind=str(_at(document, fields.kind) or ""),
    )


def _attributes(document: Mapping[str, Any], fields: Fields) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for prefix in dict.fromkeys((fields.texts, fields.numbers)):
        found.update(_flat(_at(document, prefix.rstrip(".")), ""))
        # Fields may stand flat in a document: "attributes.gen_ai.operation.name".
        found.update({key[len(prefix) :]: value for key, value in document.items() if key.startswith(prefix)})
    if fields.dots != ".":
        known = {key.replace(".", fields.dots): key for key in READ}
        found = {known.get(key, key): value for key, value in found.items()}
    return found


def _flat(value: Any, prefix: str, depth: int = 0) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and depth < 10:
        for key, inner in value.items():
            yield from _flat(inner, f"{prefix}.{key}" if prefix else str(key), depth + 1)
    elif prefix:
        yield prefix, value


def _at(document: Mapping[str, Any], path: str) -> Any:
    """A field, whether its dots are names or levels."""
    if path in document:
        return document[path]
    head, dot, rest = path.partition(".")
    while dot:
        inner = document.get(head)
        if isinstance(inner, dict):
            found = _at(inner, rest)
            if found is not None:
                return found
        more, dot, rest = rest.partition(".")
        head = f"{head}.{more}"
    return None


def _first(document: Mapping[str, Any], paths: Sequence[str]) -> Any:
    return next((value for path in paths if (value := _at(document, path)) is not None), None)


def _start_s(document: Mapping[str, Any], fields: Fields) -> float:
    if fields.start_us:
        micro = span_reading.number(_at(document, fields.start_us))
        if micro is not None:
            return micro / 1e6
    given = _at(document, fields.start)
    milli = span_reading.number(given)
    if milli is not None:
        return milli / 1e3
    text = str(given or "")
    try:
        # Python 3.10 reads six decimals at most, and no "Z".
        whole, dot, rest = text.rstrip("zZ").partition(".")
        return datetime.fromisoformat(f"{whole}+00:00").timestamp() + (float(f"0.{rest}") if dot else 0.0)
    except ValueError:
        return 0.0


# --- sums --------------------------------------------------------------------------------


def buckets(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Groups of an answer."""
    found = _groups(document).get("buckets")
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def after_key(document: Mapping[str, Any]) -> dict[str, Any] | None:
    """After what the next page of groups begins; None at the end."""
    found = _groups(document).get("after_key")
    return found if isinstance(found, dict) else None


def _groups(document: Mapping[str, Any]) -> Mapping[str, Any]:
    every = document.get("aggregations")
    found = every.get("groups") if isinstance(every, dict) else None
    return found if isinstance(found, dict) else _NONE


def total(group: Any, count: Any, by: Sequence[str], step_s: float | None, fields: Fields) -> Total:
    """The sums of one group."""
    given: Mapping[str, Any] = group if isinstance(group, dict) else _NONE
    key = given.get("key")
    values: Mapping[str, Any] = key if isinstance(key, dict) else _NONE
    stats, other = _of(given, "first_token"), _of(_of(given, "other_first_token"), "value")
    starts, calls = _of(given, "starts"), _of(given, "calls")
    # A document has one of the fields of the duration.
    duration = sum(_number(_of(given, f"duration_{index}"), "value") for index in range(len(fields.duration)))
    return Total(
        key=tuple(str(values.get(f"value_{index}") or "") for index in range(len(by))),
        step_unix_s=(_number(values, "step") / 1e3) if step_s else None,
        spans=int(span_reading.number(count) or 0),
        errors=_count(given, "error"),
        cancelled=_count(given, "cancelled"),
        abandoned=_count(given, "abandoned"),
        duration_s=duration * fields.duration_unit_ns / 1e9,
        first_token_s=_number(stats, "sum") + _number(other, "sum"),
        first_tokens=int(_number(stats, "count") + _number(other, "count")),
        **{name: round(_number(_of(calls, name), "value")) for name in COUNTS},
        cost_usd=_number(_of(calls, "cost_usd"), "value"),
        wasted_usd=_number(_of(_of(calls, "wasted"), "value"), "value"),
        unpriced=_count(calls, "unpriced"),
        first_unix_s=_seconds(starts.get("min")),
        last_unix_s=_seconds(starts.get("max")),
    )


def _of(given: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = given.get(name)
    return found if isinstance(found, dict) else _NONE


def _number(given: Mapping[str, Any], name: str) -> float:
    return span_reading.number(given.get(name)) or 0.0


def _count(given: Mapping[str, Any], name: str) -> int:
    return int(_number(_of(given, name), "doc_count"))


def _seconds(milli: Any) -> float | None:
    value = span_reading.number(milli)
    return None if value is None else value / 1e3
