"""Questions as ClickHouse's SQL, over a map of columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from trisignal import semconv as names
from trisignal.analysis.pushing import attribute_of
from trisignal.analysis.query import Query
from trisignal.analysis.span_reading import COST, COUNTS, FIRST_TOKEN
from trisignal.call import OUTCOMES


@dataclass(frozen=True, slots=True)
class Columns:
    """Expressions for what a table holds; the defaults are those of the collector's exporter."""

    start_ns: str = "toUnixTimestamp64Nano(Timestamp)"
    """Start of the span, in nanoseconds of Unix time."""
    since: str = "Timestamp >= fromUnixTimestamp64Nano({ns})"
    """Condition on the start; the table's index should serve it."""
    until: str = "Timestamp < fromUnixTimestamp64Nano({ns})"
    duration_ns: str = "Duration"
    trace: str = "TraceId"
    span: str = "SpanId"
    parent: str = "ParentSpanId"
    name: str = "SpanName"
    kind: str = "SpanKind"
    service: str = "ServiceName"
    status: str = "StatusCode"
    attributes: str = "SpanAttributes"
    """A map of texts."""
    attribute: str = "SpanAttributes[{key}]"
    """One attribute as a text, "" where it is absent."""


def quoted(text: str) -> str:
    """A text as a literal."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\0", "\\0")
    return f"'{escaped}'"


def value(index: int) -> str:
    """Name of the column of a result with the value of a dimension."""
    return f"value_{index}"


def spans_sql(query: Query, table: str, columns: Columns) -> str:
    """The spans of a question, in its order."""
    direction = "DESC" if query.descending else "ASC"
    order = {
        "duration": columns.duration_ns,
        "cost": f"if({_calls(columns)}, {_number(columns, COST)}, 0)",
        "tokens": f"if({_calls(columns)}, {_number(columns, names.USAGE_INPUT)} "
        f"+ {_number(columns, names.USAGE_OUTPUT)}, 0)",
        "first_token": f"ifNull({_first_token(columns)}, 0)",
    }.get(query.order)
    by = f"{order} {direction}, " if order else ""
    return (
        f"SELECT {_columns(columns)} FROM {table} WHERE {_conditions(query, columns)} "
        f"ORDER BY {by}{columns.start_ns} {direction}, {columns.span} LIMIT {query.limit} OFFSET {query.offset}"
    )


def trace_sql(trace_id: str, table: str, columns: Columns, most: int) -> str:
    """The spans of a trace."""
    return f"SELECT {_columns(columns)} FROM {table} WHERE {columns.trace} = {quoted(trace_id)} LIMIT {most}"


def total_sql(
    query: Query, by: Sequence[str], step_s: float | None, quantiles: bool, table: str, columns: Columns
) -> str:
    """Sums over the spans of a question by group and step."""
    calls, outcome, cost = _calls(columns), _outcome(columns), _number(columns, COST)
    keys = [f"{dimension_sql(name, columns)} AS {value(index)}" for index, name in enumerate(by)]
    groups = [value(index) for index in range(len(by))]
    if step_s:
        keys.insert(0, f"intDiv({columns.start_ns}, {round(step_s * 1e9)}) AS step")
        groups.insert(0, "step")
    first = _first_token(columns)
    used = f"{_attribute(columns, names.USAGE_INPUT)} != ''"
    sums = [
        "count() AS spans",
        *(
            f"countIf({outcome} = {quoted(which)}) AS {name}"
            for name, which in (("errors", "error"), ("cancelled", "cancelled"), ("abandoned", "abandoned"))
        ),
        f"sum({columns.duration_ns}) / 1e9 AS duration_s",
        f"sum({first}) AS first_token_s",
        f"count({first}) AS first_tokens",
        *(f"sumIf({_number(columns, key)}, {calls}) AS {name}" for name, key in COUNTS.items()),
        f"sumIf({cost}, {calls}) AS cost_usd",
        f"sumIf({cost}, {calls} AND {outcome} != 'ok') AS wasted_usd",
        f"countIf({calls} AND {used} AND {_attribute(columns, COST)} = '') AS unpriced",
        f"min({columns.start_ns}) AS first_ns",
        f"max({columns.start_ns}) AS last_ns",
    ]
    if quantiles:
        # The server's own functions take another rank, which shows in small groups.
        ordered = f"arraySort(groupArray({columns.duration_ns}))"
        ranks = (f"{ordered}[toUInt64(greatest(1, ceil({share} * count())))]" for share in (0.5, 0.95, 0.99))
        sums.append(f"[{', '.join(ranks)}] AS quantiles")
    text = f"SELECT {', '.join((*keys, *sums))} FROM {table} WHERE {_conditions(query, columns)}"
    return f"{text} GROUP BY {', '.join(groups)} ORDER BY {', '.join(groups)}" if groups else text


def dimension_sql(dimension: str, columns: Columns) -> str:
    """The value of a dimension."""
    if dimension == "operation":
        return _operation(columns)
    if dimension == "outcome":
        return _outcome(columns)
    if dimension == "service":
        return columns.service
    if dimension == "name":
        return columns.name
    plain = _attribute(columns, attribute_of(dimension))
    if dimension == "error_type":
        return f"if({_outcome(columns)} = 'error', {plain}, '')"
    operation = {
        "stage": names.STAGE,
        "tool": names.EXECUTE_TOOL,
        "workflow": names.INVOKE_WORKFLOW,
        "retrieval": names.RETRIEVAL,
    }.get(dimension)
    return plain if operation is None else f"if({_operation(columns)} = {quoted(operation)}, {plain}, '')"


def _columns(columns: Columns) -> str:
    given = {
        "start_ns": columns.start_ns,
        "duration_ns": columns.duration_ns,
        "trace": columns.trace,
        "span": columns.span,
        "parent": columns.parent,
        "name": columns.name,
        "kind": columns.kind,
        "service": columns.service,
        "status": columns.status,
        "attributes": columns.attributes,
    }
    return ", ".join(f"{expression} AS {name}" for name, expression in given.items())


def _conditions(query: Query, columns: Columns) -> str:
    window = query.window
    conditions = [
        columns.since.format(ns=round(window.since_unix_s * 1e9)),
        columns.until.format(ns=round(window.until_unix_s * 1e9)),
    ]
    if query.of == "calls":
        conditions.append(_calls(columns))
    elif query.of == "requests":
        kinds = _list(f"{prefix}{kind}" for kind in ("server", "consumer") for prefix in ("", "span_kind_"))
        conditions.append(f"({columns.parent} = '' OR lower({columns.kind}) IN {kinds})")
    conditions += [f"{dimension_sql(name, columns)} IN {_list(wanted)}" for name, wanted in query.where.items()]
    if query.min_duration_s is not None:
        conditions.append(f"{columns.duration_ns} >= {round(query.min_duration_s * 1e9)}")
    if query.text:
        found = f"positionCaseInsensitiveUTF8(x, {quoted(query.text)}) > 0"
        conditions.append(f"arrayExists(x -> {found}, mapValues({columns.attributes}))")
    return " AND ".join(conditions)


def _list(texts: Iterable[str]) -> str:
    return f"({', '.join(map(quoted, texts))})"


def _attribute(columns: Columns, key: str) -> str:
    return columns.attribute.replace("{key}", quoted(key))


def _number(columns: Columns, key: str) -> str:
    return f"toFloat64OrZero({_attribute(columns, key)})"


def _first_token(columns: Columns) -> str:
    return f"coalesce({', '.join(f'toFloat64OrNull({_attribute(columns, key)})' for key in FIRST_TOKEN)})"


def _operation(columns: Columns) -> str:
    given, stage = _attribute(columns, names.OPERATION), _attribute(columns, names.STAGE_NAME)
    return f"multiIf({given} != '', {given}, {stage} != '', {quoted(names.STAGE)}, '')"


def _calls(columns: Columns) -> str:
    given = _attribute(columns, names.OPERATION)
    excluded = _list(sorted(names.MODEL_CALLS_EXCLUDED))
    served = f"lower({columns.kind}) IN ('server', 'span_kind_server')"
    return f"({given} != '' AND {given} NOT IN {excluded} AND NOT {served})"


def _outcome(columns: Columns) -> str:
    given = _attribute(columns, names.OUTCOME)
    failed = f"lower({columns.status}) IN ('error', 'status_code_error')"
    return f"multiIf({given} IN {_list(OUTCOMES)}, {given}, {failed}, 'error', 'ok')"
