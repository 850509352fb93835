"""The analyser's questions on a store, held against the calls that were stored; and on the same rows in memory."""

from __future__ import annotations

import csv
import json
import time
from collections import Counter, defaultdict
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from store.filled import NOW_S, call, item, judged, many, store

from trisignal.analysis.analyzer import TraceAnalyzer
from trisignal.analysis.answers import Spans
from trisignal.analysis.memory_source import MemorySource
from trisignal.analysis.opening import open_source
from trisignal.analysis.query import Query, Window, moment, window
from trisignal.call import Call
from trisignal.errors import ConfigError, SourceError
from trisignal.store.reader import StoreSource

SINCE: dict[str, Any] = {"since": NOW_S - 7200, "until": NOW_S + 1}
EVER = Window(0, 4e9)


@pytest.fixture(scope="module")
def calls() -> list[Call]:
    """2,000 calls."""
    return many(2000)


@pytest.fixture(scope="module", params=["store", "memory"])
def analyzer(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, calls: list[Call]
) -> TraceAnalyzer:
    """An analyser of these calls: of their store, or of its rows in memory."""
    folder = tmp_path_factory.mktemp("store")
    scores = [judged("faithfulness", (number % 100) / 100, one) for number, one in enumerate(calls[::4])]
    store(folder, [*map(item, calls), *scores])
    source = StoreSource(folder)
    if request.param == "store":
        return TraceAnalyzer(source)
    rows = tuple(source.every(Query(EVER, "spans", attributes=True)))
    judgements = source.scores(Query(EVER, "spans", limit=10**5)).items
    return TraceAnalyzer(MemorySource("memory", rows, [one.score for one in judgements]))


def longest(calls: list[Call], most: int) -> list[str]:
    """Span ids of the slowest calls."""
    return [one.span_id for one in sorted(calls, key=lambda c: -c.duration_s)[:most]]


def test_slowest(analyzer: TraceAnalyzer, calls: list[Call]) -> None:
    """The slowest calls come first, also of one model, and each has the breakdown of its request."""
    answer = analyzer.slowest(limit=7, **SINCE)
    assert [one.span.span_id for one in answer.items] == longest(calls, 7)
    assert all(one.breakdown[0].share == 1.0 and one.root is None for one in answer.items)
    large = [one for one in calls if one.request_model == "large"]
    answer = analyzer.slowest(model="large", limit=5, **SINCE)
    assert [one.span.span_id for one in answer.items] == longest(large, 5)
    assert answer.coverage.since is not None
    assert answer.coverage.since.timestamp() == NOW_S - 7200


def test_slowest_of_a_percentile(analyzer: TraceAnalyzer, calls: list[Call]) -> None:
    """A percentile is exact: its threshold is the duration of the call at that rank."""
    answer = analyzer.slowest(percentile=95, limit=1000, **SINCE)
    expected = sorted((one.duration_s for one in calls), reverse=True)[len(calls) // 20 - 1]
    assert answer.threshold_s == pytest.approx(expected, abs=1e-9)
    assert len(answer.items) == len(calls) // 20
    with pytest.raises(ConfigError, match="percentile"):
        analyzer.slowest(percentile=101)


@pytest.mark.parametrize("order", ["start", "duration", "cost", "tokens", "first_token"])
@pytest.mark.parametrize("descending", [True, False])
def test_every_order(analyzer: TraceAnalyzer, calls: list[Call], order: Any, descending: bool) -> None:
    """Rows come in the order that was asked for, page by page without gaps or repeats."""
    key = {
        "start": lambda one: one.start_unix_ns,
        "duration": lambda one: round(one.duration_s * 1e9),
        "cost": lambda one: round(one.cost.total_usd * 1e9),
        "tokens": lambda one: one.usage.input + one.usage.output,
        "first_token": lambda one: one.chunk_times.first_token_ns,
    }[order]
    by_id = {one.span_id: key(one) for one in calls}
    pages = [
        analyzer.spans(order=order, descending=descending, limit=300, offset=offset, **SINCE).rows
        for offset in range(0, 2000, 300)
    ]
    ids = [row.span_id for page in pages for row in page]
    assert len(set(ids)) == len(ids) == len(calls)
    ranks = [by_id[one] for one in ids]
    assert ranks == sorted(ranks, reverse=descending)


def test_errors(analyzer: TraceAnalyzer, calls: list[Call]) -> None:
    """Failures are counted by group, with the rate of their provider, first and last time, and examples."""
    answer = analyzer.errors(**SINCE)
    expected = Counter((one.provider, one.error_kind) for one in calls if one.outcome == "error")
    assert {group.key: group.errors for group in answer.groups} == expected
    of_provider = Counter(one.provider for one in calls)
    for group in answer.groups:
        assert group.calls == of_provider[group.key[0]]
        starts = [
            c.start_unix_ns / 1e9 for c in calls if (c.provider, c.error_kind) == group.key and c.outcome == "error"
        ]
        assert group.first is not None
        assert group.last is not None
        assert (group.first.timestamp(), group.last.timestamp()) == pytest.approx((min(starts), max(starts)))
        assert len(group.examples) == 3
        for trace_id in group.examples:
            assert analyzer.trace(trace_id).roots[0].span.error_kind == group.key[1]
    assert (answer.errors, answer.calls) == (sum(expected.values()), len(calls))


@pytest.mark.parametrize("by", ["model", ("tenant", "model"), "user_id", "prompt_version", "context.feature", ()])
def test_cost(analyzer: TraceAnalyzer, calls: list[Call], by: Any) -> None:
    """Money, tokens and waste of every group are the sums of its calls, to a billionth of a dollar."""
    answer = analyzer.cost(by, **SINCE)
    spent: dict[tuple[str, ...], float] = defaultdict(float)
    wasted: dict[tuple[str, ...], float] = defaultdict(float)
    names = (by,) if isinstance(by, str) else by
    for one in calls:
        values = {"model": one.request_model, "context.feature": one.bound["feature"], **one.bound}
        key = tuple(values[name] for name in names)
        assert one.cost is not None
        spent[key] += one.cost.total_usd
        wasted[key] += one.cost.total_usd if one.outcome != "ok" else 0.0
    assert {group.key: group.cost_usd for group in answer.groups} == pytest.approx(dict(spent))
    assert {group.key: group.wasted_usd for group in answer.groups} == pytest.approx(dict(wasted))
    assert answer.total.cost_usd == pytest.approx(sum(spent.values()))
    assert [group.cost_usd for group in answer.groups] == sorted((g.cost_usd for g in answer.groups), reverse=True)


@pytest.mark.parametrize("by", ["user_id", ("tenant", "model"), "request_id", "outcome"])
def test_few_of_many_groups(analyzer: TraceAnalyzer, by: Any) -> None:
    """With a limit the groups that cost most are those of all groups, and the total is of all."""
    window = {"since": NOW_S - 7200, "until": NOW_S + 1}
    whole, few = analyzer.cost(by, **window), analyzer.cost(by, limit=2, **window)
    assert [one.key for one in few.groups] == [one.key for one in whole.groups[:2]]
    assert [one.spans for one in few.groups] == [one.spans for one in whole.groups[:2]]
    assert few.total.cost_usd == pytest.approx(whole.total.cost_usd)
    assert few.total.spans == whole.total.spans


def test_find(analyzer: TraceAnalyzer, calls: list[Call]) -> None:
    """Calls are found by request, user, tenant and model together, and by text in their attributes."""
    [found] = analyzer.find(request_id="r-77", **SINCE).spans
    assert found.span_id == calls[77].span_id
    answer = analyzer.find(user="u-7", tenant=("a", "b"), limit=1000, **SINCE)
    expected = {c.span_id for c in calls if c.bound["user_id"] == "u-7" and c.bound["tenant"] in ("a", "b")}
    assert {row.span_id for row in answer.spans} == expected
    assert not answer.coverage.partial
    assert analyzer.find(user="u-7", limit=1, **SINCE).coverage.partial
    assert not analyzer.find(user="nobody", **SINCE).spans


def test_quality(analyzer: TraceAnalyzer) -> None:
    """Scores are spread as they were given; the worst come first."""
    answer = analyzer.quality(("model",), threshold=0.3, **SINCE)
    assert answer.histogram == (50,) * 10
    assert sum(group.judged for group in answer.groups) == 500
    assert sum(group.below for group in answer.groups) == 150
    worst = analyzer.lowest_quality(threshold=0.02, limit=100, **SINCE)
    assert [one.score.score for one in worst.items] == [0.0] * 5 + [0.01] * 5
    assert (worst.judged, worst.mean) == (500, pytest.approx(0.495))
    assert not analyzer.lowest_quality(evaluation="other", **SINCE).items


def test_values(analyzer: TraceAnalyzer, calls: list[Call]) -> None:
    """Filters are offered the values that there are, most frequent first."""
    expected = Counter(one.request_model for one in calls)
    assert dict(analyzer.values("model", **SINCE)) == expected
    assert [count for _, count in analyzer.values("model", **SINCE)] == sorted(expected.values(), reverse=True)


def test_quantiles_are_near(analyzer: TraceAnalyzer, calls: list[Call]) -> None:
    """Quantiles are within 5 % of the value at their rank."""
    [total] = analyzer.totals(quantiles=True, **SINCE).groups
    durations = sorted(one.duration_s for one in calls)
    for value, share in ((total.p50_s, 0.5), (total.p95_s, 0.95), (total.p99_s, 0.99)):
        assert value == pytest.approx(durations[int(share * len(durations)) - 1], rel=0.051)


def test_unknown_names_are_refused(analyzer: TraceAnalyzer) -> None:
    """A misspelt dimension names the ones that there are; an unknown trace says so."""
    with pytest.raises(ConfigError, match="tenant"):
        analyzer.cost("tenent")
    with pytest.raises(ConfigError, match="request_id"):
        analyzer.find(request="r-1")
    with pytest.raises(SourceError, match="no trace"):
        analyzer.trace("f" * 32)
    with pytest.raises(ConfigError, match="before"):
        analyzer.spans(since=NOW_S, until=NOW_S - 1)


def test_moments() -> None:
    """Points in time are ages, dates, times, seconds and datetimes; anything else is refused with examples."""
    now = 1_000_000.0
    for value in ("1h", "-1h", "60m", "60min", "3600s", timedelta(hours=1), now - 3600, "1970-01-12T12:46:40Z"):
        assert moment(value, "since", now) == now - 3600, value
    assert moment("now", "since", now) == moment(None, "since", now) == now
    assert moment("1970-01-12T12:46:40+00:00", "since", now) == now - 3600
    for wrong in ("soon", "1 fortnight", "", "1hh"):
        with pytest.raises(ConfigError, match="2026-11-30T08:00"):
            moment(wrong, "since", now)
    assert window("2h", "1h").duration_s == pytest.approx(3600)


@pytest.mark.parametrize(("age", "length_s", "step_s"), [("20m", 1200, 60), ("6h", 21600, 900), ("7d", 604800, 3600)])
def test_ages_begin_with_whole_steps(age: str, length_s: float, step_s: float) -> None:
    """A window of some age begins with a step that sums are kept for, at most a twentieth earlier; others do not."""
    now = time.time()
    rounded = window(age)
    assert rounded.since_unix_s % step_s == 0
    assert now - length_s - step_s < rounded.since_unix_s <= time.time() - length_s
    assert window(now - length_s).since_unix_s == now - length_s
    assert window("90s").since_unix_s == pytest.approx(time.time() - 90, abs=60)
    assert window("90s").since_unix_s % 60 != window("91s").since_unix_s % 60


def test_sources_are_opened_by_name(tmp_path: Path) -> None:
    """A folder that is missing, and a scheme that nobody serves, are refused with what there is."""
    with pytest.raises(SourceError, match="no such folder"):
        TraceAnalyzer(tmp_path / "missing")
    with pytest.raises(SourceError, match="no source of this name"):
        open_source("nowhere://host")


# --- exports -------------------------------------------------------------------------


def test_csv_cells_are_no_formulas(tmp_path: Path) -> None:
    """A cell that a spreadsheet would run begins with an apostrophe, in every kind of CSV."""
    evil = "=cmd|' /C calc'!A0"
    for start in "=+-@":
        store(tmp_path, [item(call(ord(start), bound={"tenant": start + evil}, request_model=start + evil))])
    with TraceAnalyzer(tmp_path) as analyzer:
        cost = analyzer.cost(("tenant", "model"), since=0)
        texts = (cost.to_csv(), cost.to_focus(), analyzer.spans(since=0).to_csv())
    for text in texts:
        rows = list(csv.reader(StringIO(text)))
        assert len(rows) == 5
        assert not [cell for row in rows for cell in row if cell.startswith(tuple("=+-@"))]
        assert evil in text


def test_focus_has_the_columns_of_a_bill(tmp_path: Path) -> None:
    """A FOCUS row says what was billed, by whom, for which period, and what the other dimensions were."""
    store(tmp_path, [item(call(1, provider="openai", bound={"tenant": "acme", "user_id": "u"}, cost_usd=0.5))])
    with TraceAnalyzer(tmp_path) as analyzer:
        text = analyzer.cost(("provider", "model", "tenant", "user"), since=0, step_s=86_400).to_focus()
    [row] = csv.DictReader(StringIO(text))
    assert (row["BilledCost"], row["BillingCurrency"], row["ProviderName"], row["SkuId"]) == (
        "0.5",
        "USD",
        "openai",
        "small",
    )
    assert row["ChargePeriodStart"] == "2026-11-30T00:00:00+00:00"
    assert row["ChargePeriodEnd"] == "2026-12-01T00:00:00+00:00"
    assert row["BillingPeriodEnd"] == "2026-12-01T00:00:00+00:00"
    assert json.loads(row["Tags"]) == {"tenant": "acme", "user_id": "u"}


def test_frames(analyzer: TraceAnalyzer, tmp_path: Path) -> None:
    """Rows become data frames and Parquet files where these packages are installed, else the error names them."""
    spans: Spans = analyzer.spans(limit=5, **SINCE)
    for package in ("pandas", "polars", "pyarrow"):
        try:
            __import__(package)
        except ImportError:
            with pytest.raises(SourceError, match=f"pip install {package}"):
                spans.to_parquet(str(tmp_path / "x")) if package == "pyarrow" else getattr(spans, f"to_{package}")()
            continue
        if package == "pyarrow":
            spans.to_parquet(str(tmp_path / "spans.parquet"))
            assert (tmp_path / "spans.parquet").stat().st_size > 100
        else:
            frame: Any = getattr(spans, f"to_{package}")()
            assert list(frame["span_id"]) == [row.span_id for row in spans]
