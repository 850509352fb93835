"""The analyser's questions on ClickHouse: on its own engine where that is installed, else as far as the text goes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from analysis import clickhouse_engine
from analysis.test_analyzer import test_cost as test_cost
from analysis.test_analyzer import test_errors as test_errors
from analysis.test_analyzer import test_every_order as test_every_order
from analysis.test_analyzer import test_find as test_find
from analysis.test_analyzer import test_quantiles_are_near as test_quantiles_are_near
from analysis.test_analyzer import test_slowest as test_slowest
from analysis.test_analyzer import test_slowest_of_a_percentile as test_slowest_of_a_percentile
from analysis.test_analyzer import test_unknown_names_are_refused as test_unknown_names_are_refused
from analysis.test_analyzer import test_values as test_values
from store.filled import NOW_S, item, many, store

from trisignal.analysis import folding
from trisignal.analysis.analyzer import TraceAnalyzer
from trisignal.analysis.opening import open_source
from trisignal.analysis.query import Query, Window
from trisignal.analysis.rows import SpanRow
from trisignal.call import Call
from trisignal.errors import SourceError
from trisignal.store.reader import StoreSource

EVER = Window(0, 4e9)


@pytest.fixture(scope="module")
def calls() -> list[Call]:
    """2,000 calls."""
    return many(2000)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory, calls: list[Call]) -> tuple[SpanRow, ...]:
    """Their spans."""
    folder = tmp_path_factory.mktemp("store")
    store(folder, map(item, calls))
    return tuple(StoreSource(folder).every(Query(EVER, "spans", attributes=True)))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, rows: tuple[SpanRow, ...]) -> Iterator[str]:
    """An engine with these spans in the collector's table."""
    with clickhouse_engine.running(tmp_path_factory.mktemp("chdb"), rows) as place:
        yield place


@pytest.fixture(scope="module")
def analyzer(place: str) -> TraceAnalyzer:
    """An analyser of the engine."""
    return TraceAnalyzer(place)


pytestmark = pytest.mark.nightly


@pytest.mark.parametrize(
    ("of", "by", "step_s"),
    [("calls", ("model", "tenant"), None), ("calls", ("operation", "outcome", "error_type"), 600.0),
     ("requests", ("service", "tool", "stage"), None), ("spans", ("error_kind",), 3600.0), ("calls", (), None)],
)  # fmt: skip
def test_totals_are_those_of_the_spans(analyzer: TraceAnalyzer, of: Any, by: tuple[str, ...], step_s: Any) -> None:
    """What the server adds up is what its spans add up to, in every figure."""
    query = Query(Window(NOW_S - 7200, NOW_S + 1), of, limit=10_000)
    totals = analyzer.source.totals(query, by, step_s=step_s, quantiles=True).items
    expected = folding.fold(analyzer.source.spans(query).items, by, step_s, True)
    assert len(totals) == len(expected) > 0
    for total, one in zip(sorted(totals, key=lambda t: (t.step_unix_s or 0, t.key)), expected):
        for name in total.__slots__:
            value, wanted = getattr(total, name), getattr(one, name)
            if isinstance(wanted, float):
                wanted = pytest.approx(wanted, rel=1e-6)
            assert value == wanted, name


def test_texts_are_literals(place: str, rows: tuple[SpanRow, ...]) -> None:
    """Quotes, backslashes and line ends in a value neither end the literal nor change it."""
    source = open_source(place)
    for evil in ("' OR 1=1 --", "\\", "\\'", "a\nb", "{x:String}", "%s", "?", "é€𝄞", "\0"):
        query = Query(EVER, "spans", {"tenant": (evil,), "context." + evil: (evil,)}, text=evil)
        assert source.spans(query).items == (), evil
    assert source.holding().spans == len(rows)
    assert len(source.spans(Query(EVER, text="SEARCH", limit=5)).items) == 5


def test_a_missing_table_is_named(place: str) -> None:
    """A table that there is not is an error that names it."""
    with pytest.raises(SourceError, match=r"default\.other"):
        open_source(place + "?table=other").holding()
