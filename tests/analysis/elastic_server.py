"""A stand-in for Elasticsearch and OpenSearch on 127.0.0.1: it evaluates the part of their query language that is sent,
over documents in memory, and refuses every other clause."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from analysis.backend_servers import Answer, Asked, sent

from trisignal.analysis.rows import SpanRow

Document = dict[str, Any]


def otel(row: SpanRow) -> Document:
    """A span as the collector's exporter writes it in its ``otel`` mode."""
    return {
        "@timestamp": f"{row.start_unix_s * 1e3:.6f}",
        "trace_id": row.trace_id,
        "span_id": row.span_id,
        **({"parent_span_id": row.parent_span_id} if row.parent_span_id else {}),
        "name": row.name,
        "kind": "Client",
        "duration": round(row.duration_s * 1e6) * 1000,
        "attributes": sent(row),
        "status": {"code": "Error"} if row.outcome == "error" else {},
        "resource": {"attributes": {"service.name": row.service}},
    }


def apm(row: SpanRow) -> Document:
    """A span as Elastic APM keeps it: texts and numbers apart, dots of their names as underscores."""
    attributes = {key.replace(".", "_"): value for key, value in sent(row).items()}
    numbers = {k: v for k, v in attributes.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}
    return {
        "@timestamp": f"{row.start_unix_s * 1e3:.0f}",
        "timestamp": {"us": round(row.start_unix_s * 1e6)},
        "trace": {"id": row.trace_id},
        "span": {"id": row.span_id, "name": row.name, "duration": {"us": round(row.duration_s * 1e6)}},
        **({"parent": {"id": row.parent_span_id}} if row.parent_span_id else {}),
        "service": {"name": row.service},
        "event": {"outcome": "failure" if row.outcome == "error" else "success"},
        "labels": {key: str(value) for key, value in attributes.items() if key not in numbers},
        "numeric_labels": numbers,
    }


def elasticsearch(documents: Sequence[Document]) -> Answer:
    """Search and count over one index, ``traces-test``."""

    def answer(path: str, _: Asked, body: bytes) -> Any:
        index, _, what = path.strip("/").partition("/")
        if index not in ("traces-*", "traces-test"):
            return 404
        asked = json.loads(body)
        found = [one for one in documents if _matches(one, asked["query"])]
        if what == "_count":
            return {"count": len(found)}
        for order in reversed(asked.get("sort", ())):
            [(field, how)] = order.items()
            found.sort(key=lambda one: _number(one, field) or 0.0, reverse=how["order"] == "desc")
        first = asked.get("from", 0)
        assert first + asked["size"] <= 10_000, "both engines refuse more"
        hits = [{"_index": index, "_source": one} for one in found[first : first + asked["size"]]]
        answered = {"hits": {"total": {"value": len(found), "relation": "eq"}, "hits": hits}}
        return {**answered, **({"aggregations": _aggregated(found, asked["aggs"])} if "aggs" in asked else {})}

    return answer


def _at(document: Mapping[str, Any], path: str) -> Any:
    if path in document:
        return document[path]
    for head, value in document.items():
        if path.startswith(f"{head}.") and isinstance(value, dict):
            return _at(value, path[len(head) + 1 :])
    return None


def _number(document: Document, path: str) -> float | None:
    value = _at(document, path)
    return None if value is None else float(value)


def _matches(document: Document, clause: Mapping[str, Any]) -> bool:
    [(kind, about)] = clause.items()
    if kind == "bool":
        assert about.keys() <= {"filter", "must_not", "should", "minimum_should_match"}
        return (
            all(_matches(document, one) for one in about.get("filter", ()))
            and not any(_matches(document, one) for one in about.get("must_not", ()))
            and ("should" not in about or any(_matches(document, one) for one in about["should"]))
        )
    if kind == "exists":
        return _at(document, about["field"]) is not None
    [(field, given)] = about.items()
    value = _at(document, field)
    if kind == "range":
        assert given.keys() <= {"gte", "lt", "format"}
        number = _number(document, field)
        return number is not None and number >= float(given["gte"]) and number < float(given.get("lt", "inf"))
    assert kind in ("term", "terms"), kind
    return value in ([given] if kind == "term" else given)


def _aggregated(documents: Sequence[Document], asked: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _aggregate(documents, one) for name, one in asked.items()}


def _aggregate(documents: Sequence[Document], asked: Mapping[str, Any]) -> dict[str, Any]:
    inner = asked.get("aggs", {})
    if "filter" in asked:
        found = [one for one in documents if _matches(one, asked["filter"])]
        return {"doc_count": len(found), **_aggregated(found, inner)}
    if "composite" in asked:
        return _composite(documents, asked["composite"], inner)
    [(kind, about)] = asked.items()
    values = [value for one in documents if (value := _number(one, about["field"])) is not None]
    if kind == "sum":
        return {"value": sum(values)}
    assert kind == "stats", kind
    return {
        "count": len(values),
        "sum": sum(values),
        "min": min(values, default=None),
        "max": max(values, default=None),
    }


def _composite(documents: Sequence[Document], asked: Mapping[str, Any], inner: Mapping[str, Any]) -> dict[str, Any]:
    groups: dict[tuple[Any, ...], list[Document]] = {}
    names = [name for source in asked["sources"] for name in source]
    for one in documents:
        groups.setdefault(tuple(_key(one, source) for source in asked["sources"]), []).append(one)
    ordered = sorted(groups, key=lambda key: [(value is not None, value) for value in key])
    if "after" in asked:
        ordered = ordered[ordered.index(tuple(asked["after"][name] for name in names)) + 1 :]
    page = ordered[: asked["size"]]
    buckets = [
        {"key": dict(zip(names, key)), "doc_count": len(groups[key]), **_aggregated(groups[key], inner)} for key in page
    ]
    return {"buckets": buckets, **({"after_key": buckets[-1]["key"]} if buckets else {})}


def _key(document: Document, source: Mapping[str, Any]) -> Any:
    [how] = source.values()
    if "date_histogram" in how:
        width = float(how["date_histogram"]["fixed_interval"].removesuffix("ms"))
        return int((_number(document, how["date_histogram"]["field"]) or 0.0) // width * width)
    assert how["terms"]["missing_bucket"] is True
    return _at(document, how["terms"]["field"])
