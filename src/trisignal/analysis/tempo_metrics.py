"""Sums by TraceQL metrics: Tempo adds up what a search would have to fetch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from trisignal import semconv as names
from trisignal.analysis import pushing, traceql
from trisignal.analysis.http_backend import HttpBackend
from trisignal.analysis.query import Query
from trisignal.analysis.rows import Rows, Total
from trisignal.analysis.span_reading import COST, COUNTS, FIRST_TOKEN, attribute_values, number
from trisignal.errors import SourceError

PATH = "/api/metrics/query"
MOST_FETCHED = 2_000
"""So many spans are quicker fetched by a search than added up by a request per figure."""
MOST_SERIES = 1_000
"""Series of one answer: what Tempo is usually set up for."""
_NIL = ("nil", "<nil>")
"""How Tempo writes that a span has no such attribute."""

Key = tuple[str, ...]


class _Figure(NamedTuple):
    """One request: which spans more narrowly, what of them, and where it goes."""

    into: str
    function: str
    also: tuple[str, ...] = ()


def totals(backend: HttpBackend, query: Query, by: Sequence[str]) -> Rows[Total] | None:
    """Sums over the spans of a query.

    Args:
        backend: The server.
        query: Conditions that `pushing.is_pushed`.
        by: Dimensions that `pushing.is_whole`.

    Returns:
        None where the server has no such metrics, or so few spans that a search has them all.
    """
    asking = _Asking(backend, query, by)
    try:
        spans = asking.of(_Figure("spans", "count_over_time()"))
        if sum(spans.values()) <= MOST_FETCHED:
            return None
        sums: dict[Key, dict[str, float]] = {key: {"spans": value} for key, value in spans.items() if value}
        for figure in _FIGURES:
            for key, value in asking.of(figure).items():
                if key in sums:
                    sums[key][figure.into] = sums[key].get(figure.into, 0.0) + value
    except SourceError:
        return None  # an older version, or a window that it is not set up for
    items = tuple(_total(key, sums[key]) for key in sorted(sums))
    return Rows(items, asking.partial, True)


class _Asking:
    """Sends one request per figure."""

    def __init__(self, backend: HttpBackend, query: Query, by: Sequence[str]) -> None:
        self._backend = backend
        self._query = query
        self._by = tuple(by)
        self.partial = False

    def of(self, figure: _Figure) -> dict[Key, float]:
        """A figure by group.

        Raises:
            SourceError: The server refused, or has no metrics.
        """
        window = self._query.window
        asked = {
            "q": metrics_query(self._query, self._by, figure.function, figure.also),
            "start": round(window.since_unix_s * 1e9),
            "end": round(window.until_unix_s * 1e9),
        }
        document = self._backend.get(PATH, asked)
        series = document.get("series") if isinstance(document, dict) else None
        if not isinstance(document, dict) or (series is not None and not isinstance(series, list)):
            raise SourceError(self._backend.name, "there are no TraceQL metrics")
        self.partial |= document.get("status") == "PARTIAL" or len(series or ()) >= MOST_SERIES
        return dict(self._values(series or ()))

    def _values(self, series: Sequence[Any]) -> Iterator[tuple[Key, float]]:
        for one in series:
            if isinstance(one, dict):
                yield self._key(one), _value(one)

    def _key(self, series: Mapping[str, Any]) -> Key:
        labels = [
            str(value)
            for name, value in attribute_values(series.get("labels")).items()
            if not name.startswith("__")  # the name of the function
        ]
        return tuple("" if label in _NIL else label for label in (*labels, *self._by)[: len(self._by)])


def metrics_query(query: Query, by: Sequence[str], function: str, also: Sequence[str] = ()) -> str:
    """A figure of the spans of a question, by group, as TraceQL."""
    wanted = " && ".join((*traceql.conditions(query), *also))
    groups = ", ".join(map(_field, by))
    return f"{{ {wanted} }} | {function}" + (f" by ({groups})" if by else "")


def _field(dimension: str) -> str:
    if dimension in pushing.OF_SPAN:
        return "resource.service.name" if dimension == "service" else dimension
    return traceql.field(f"span.{pushing.attribute_of(dimension)}")


def _value(series: Mapping[str, Any]) -> float:
    """An instant answer has its value beside the labels; what is 0 is left out."""
    if "value" in series:
        return number(series["value"]) or 0.0
    samples = series.get("samples")
    values = [number(one.get("value")) or 0.0 for one in samples or () if isinstance(one, dict)]
    return sum(values)


def _figures() -> Iterator[_Figure]:
    first, other = (f"span.{key}" for key in FIRST_TOKEN)
    cost, used = f"span.{COST}", f"span.{names.USAGE_INPUT}"
    yield _Figure("errors", "count_over_time()", (traceql.outcome("error"),))
    for which in ("cancelled", "abandoned"):
        yield _Figure(which, "count_over_time()", (traceql.outcome(which),))
    yield _Figure("duration_s", "sum_over_time(duration)")
    for key, condition in ((first, f"{first} != nil"), (other, f"{first} = nil && {other} != nil")):
        yield _Figure("first_tokens", "count_over_time()", (condition,))
        yield _Figure("first_token_s", f"sum_over_time({key})", (condition,))
    for name, attribute in COUNTS.items():
        yield _Figure(name, f"sum_over_time(span.{attribute})", (traceql.CALLS,))
    yield _Figure("cost_usd", f"sum_over_time({cost})", (traceql.CALLS,))
    ended = " || ".join(map(traceql.outcome, ("error", "cancelled", "abandoned")))
    yield _Figure("wasted_usd", f"sum_over_time({cost})", (traceql.CALLS, f"({ended})"))
    yield _Figure("unpriced", "count_over_time()", (traceql.CALLS, f"{used} != nil && {cost} = nil"))


_FIGURES = tuple(_figures())
_WHOLE = frozenset(("spans", "errors", "cancelled", "abandoned", "first_tokens", "unpriced", *COUNTS))


def _total(key: Key, sums: Mapping[str, float]) -> Total:
    figures: dict[str, Any] = {name: round(value) if name in _WHOLE else value for name, value in sums.items()}
    return Total(key=key, step_unix_s=None, **figures)
