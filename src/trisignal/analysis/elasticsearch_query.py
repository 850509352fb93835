"""Questions in the query language that Elasticsearch and OpenSearch share, over a map of fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trisignal import semconv as names
from trisignal.analysis import pushing
from trisignal.analysis.query import Query, Window
from trisignal.analysis.span_reading import COST, COUNTS, FIRST_TOKEN

Clause = dict[str, Any]
SERVED = ("Server", "SERVER", "SPAN_KIND_SERVER")
ENTERING = (*SERVED, "Consumer", "CONSUMER", "SPAN_KIND_CONSUMER")
FAILED = ("Error", "ERROR", "STATUS_CODE_ERROR", "failure")


@dataclass(frozen=True, slots=True)
class Fields:
    """Where documents have what is asked for; the defaults are those of the collector's exporter in its ``otel`` mode.

    Where several fields are named, the first one that a document has counts.
    """

    start: str = "@timestamp"
    """A date."""
    start_us: str = ""
    """Start in microseconds of Unix time, where the date has milliseconds only."""
    duration: tuple[str, ...] = ("duration",)
    duration_unit_ns: int = 1
    trace: str = "trace_id"
    span: tuple[str, ...] = ("span_id",)
    parent: str = "parent_span_id"
    name: tuple[str, ...] = ("name",)
    kind: str = "kind"
    status: str = "status.code"
    service: str = "resource.attributes.service.name"
    texts: str = "attributes."
    """Put before the name of an attribute that is a text."""
    numbers: str = "attributes."
    dots: str = "."
    """What stands for a dot in the name of an attribute."""

    def text(self, attribute: str) -> str:
        """Field of an attribute that is a text."""
        return self.texts + attribute.replace(".", self.dots)

    def number(self, attribute: str) -> str:
        """Field of an attribute that is a number."""
        return self.numbers + attribute.replace(".", self.dots)

    def dimension(self, dimension: str) -> str:
        """Field of a dimension that `pushing.is_whole`."""
        if dimension == "service":
            return self.service
        if dimension == "name":
            return self.name[0]
        return self.text(pushing.attribute_of(dimension))


LAYOUTS = {
    "otel": Fields(),
    "apm": Fields(
        start_us="timestamp.us",
        duration=("span.duration.us", "transaction.duration.us"),
        duration_unit_ns=1_000,
        trace="trace.id",
        span=("span.id", "transaction.id"),
        parent="parent.id",
        name=("span.name", "transaction.name"),
        kind="span.kind",
        status="event.outcome",
        service="service.name",
        texts="labels.",
        numbers="numeric_labels.",
        dots="_",
    ),
}
"""Forms of documents that are known: as ``otel`` exports them, and as Elastic APM keeps them."""


def matching(query: Query, window: Window, fields: Fields) -> Clause:
    """The spans of a question in a window, as far as attributes say; all others are left out, never some of them."""
    since, until = (f"{round(at * 1e6) / 1e3:.3f}" for at in (window.since_unix_s, window.until_unix_s))
    must: list[Clause] = [
        {"range": {fields.start: {"gte": since, "lt": until, "format": "epoch_millis"}}},
        _any([_exists(name) for name in fields.span]),
    ]
    if query.of == "calls":
        must.append(_is_call(fields))
    elif query.of == "requests":
        must.append(_any([_not(_exists(fields.parent)), {"terms": {fields.kind: list(ENTERING)}}]))
    wanted = {fields.text(key): values for key, values in pushing.pushed(query).items()}
    for name, values in query.where.items():
        if name in pushing.OF_SPAN or (not all(values) and pushing.is_whole(name, query)):
            wanted[fields.dimension(name)] = values
    for field, values in wanted.items():
        must.append(_one_of(field, values))
    if "outcome" in query.where:
        must.append(_any([outcome(value, fields) for value in query.where["outcome"]]))
    if query.min_duration_s:
        least = int(query.min_duration_s * 1e9) // fields.duration_unit_ns
        must.append(_any([{"range": {field: {"gte": least}}} for field in fields.duration]))
    return {"bool": {"filter": must}}


def outcome(value: str, fields: Fields) -> Clause:
    """Spans with one outcome: spans say it unless it is ok; spans of other instrumentations have a status."""
    given, failed = fields.text(names.OUTCOME), {"terms": {fields.status: list(FAILED)}}
    if value == "ok":
        return {"bool": {"must_not": [failed, _one_of(given, ("error", "cancelled", "abandoned"))]}}
    if value == "error":
        return _any([_one_of(given, (value,)), {"bool": {"filter": [failed], "must_not": [_exists(given)]}}])
    return _one_of(given, (value,))


def sort(query: Query, fields: Fields) -> list[Clause]:
    """The order of a question."""
    direction = "desc" if query.descending else "asc"
    order = {
        "duration": fields.duration,
        "cost": (fields.number(COST),),
        "first_token": tuple(map(fields.number, FIRST_TOKEN)),
    }.get(query.order, ())
    # Documents without a field come where zero would.
    least = "_last" if query.descending else "_first"
    by = [{field: {"order": direction, "missing": least, "unmapped_type": "double"}} for field in order[:1]]
    return [*by, {fields.start: {"order": direction}}]


def groups(
    by: Sequence[str], step_s: float | None, fields: Fields, most: int, after: Mapping[str, Any] | None
) -> Clause:
    """Groups of a question, a page of them."""
    sources: list[Clause] = []
    if step_s:
        interval = f"{max(1, round(step_s * 1000))}ms"
        sources.append({"step": {"date_histogram": {"field": fields.start, "fixed_interval": interval}}})
    for index, name in enumerate(by):
        sources.append({f"value_{index}": {"terms": {"field": fields.dimension(name), "missing_bucket": True}}})
    return {"composite": {"size": most, "sources": sources, **({"after": dict(after)} if after else {})}}


def sums(fields: Fields) -> Clause:
    """What is added up in each group."""
    cost, used = {"sum": {"field": fields.number(COST)}}, _exists(fields.number(names.USAGE_INPUT))
    first, other = map(fields.number, FIRST_TOKEN)
    spent: Clause = {
        **{name: {"sum": {"field": fields.number(key)}} for name, key in COUNTS.items()},
        "cost_usd": cost,
        "wasted": {"filter": _not(outcome("ok", fields)), "aggs": {"value": cost}},
        "unpriced": {"filter": {"bool": {"filter": [used], "must_not": [_exists(fields.number(COST))]}}},
    }
    return {
        **{which: {"filter": outcome(which, fields)} for which in ("error", "cancelled", "abandoned")},
        **{f"duration_{index}": {"sum": {"field": field}} for index, field in enumerate(fields.duration)},
        "first_token": {"stats": {"field": first}},
        "other_first_token": {"filter": _not(_exists(first)), "aggs": {"value": {"stats": {"field": other}}}},
        # What agents and workflows report of tokens and cost is the sum of their calls.
        "calls": {"filter": _is_call(fields), "aggs": spent},
        "starts": {"stats": {"field": fields.start}},
    }


def _is_call(fields: Fields) -> Clause:
    operation = fields.text(names.OPERATION)
    return {
        "bool": {
            "filter": [_exists(operation)],
            "must_not": [
                {"terms": {operation: sorted(names.MODEL_CALLS_EXCLUDED)}},
                {"terms": {fields.kind: list(SERVED)}},
            ],
        }
    }


def _exists(field: str) -> Clause:
    return {"exists": {"field": field}}


def _not(clause: Clause) -> Clause:
    return {"bool": {"must_not": [clause]}}


def _any(clauses: Sequence[Clause]) -> Clause:
    return clauses[0] if len(clauses) == 1 else {"bool": {"should": list(clauses), "minimum_should_match": 1}}


def _one_of(field: str, values: Sequence[str]) -> Clause:
    given = [value for value in values if value]
    clauses = [{"terms": {field: given}}] if given else []
    return _any([*clauses, *([] if len(given) == len(values) else [_not(_exists(field))])])
