"""One contract: every source answers the same questions about the same 2,000 traces, and the answers are compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from analysis import backend_servers as servers
from analysis import clickhouse_engine, contract
from analysis.elastic_server import apm, elasticsearch, otel
from analysis.traceql_server import tempo_with_metrics

from trisignal.analysis.analyzer import TraceAnalyzer
from trisignal.analysis.fetched_source import fetched_once
from trisignal.analysis.log_lines import log_source
from trisignal.analysis.memory_source import MemorySource
from trisignal.analysis.query import Query, Window
from trisignal.analysis.rows import SpanRow
from trisignal.analysis.source import TraceSource
from trisignal.analysis.tempo import TempoSource
from trisignal.errors import SourceError
from trisignal.store.reader import StoreSource

pytestmark = pytest.mark.nightly  # `make backends`
EVER = Window(0, 4e9)


class Given(NamedTuple):
    """What sources are made of."""

    folder: Path
    items: list[Any]
    rows: tuple[SpanRow, ...]
    scores: list[Any]
    until: ExitStack


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Given]:
    """The traffic, stored."""
    folder = tmp_path_factory.mktemp("contract")
    items = contract.items()
    contract.fill(folder / "store", items)
    source = StoreSource(folder / "store")
    rows = tuple(source.every(Query(EVER, "spans", attributes=True)))
    scores = [one.score for one in source.scores(Query(EVER, "spans", limit=10**5)).items]
    with ExitStack() as until:
        yield Given(folder, items, rows, scores, until)


@pytest.fixture(scope="module")
def reference(given: Given) -> dict[str, Any]:
    """The answers of the rows in memory: folded in Python, without an engine's help."""
    analyzer = TraceAnalyzer(MemorySource("memory", given.rows, given.scores))
    return {question: ask(analyzer) for question, ask in contract.QUESTIONS.items()}


# --- the sources ---------------------------------------------------------------------


def _served(scheme: str, answer: Callable[[Any], Any], behind: str = "") -> Callable[[Given], TraceAnalyzer]:
    def analyzer(given: Given) -> TraceAnalyzer:
        running = given.until.enter_context(servers.Server(answer(given.rows)).running())
        return TraceAnalyzer(f"{scheme}+http://{running.place}{behind}")

    return analyzer


def _clickhouse(given: Given) -> TraceAnalyzer:
    engine: AbstractContextManager[str] = clickhouse_engine.running(given.folder / "chdb", given.rows)
    return TraceAnalyzer(given.until.enter_context(engine))


def _log(given: Given) -> TraceAnalyzer:
    path = given.folder / "calls.jsonl"
    contract.log_file(path, given.items)
    return TraceAnalyzer(log_source(path))


SOURCES: dict[str, Callable[[Given], TraceAnalyzer]] = {
    "store": lambda given: TraceAnalyzer(given.folder / "store"),
    "call log": _log,
    "clickhouse": _clickhouse,
    "tempo": _served("tempo", servers.tempo),
    "tempo with metrics": _served("tempo", tempo_with_metrics),
    "jaeger": _served("jaeger", servers.jaeger),
    "jaeger v3": _served("jaeger", servers.jaeger_third),
    "victoriatraces": _served("jaeger", lambda rows: servers.jaeger(rows, "/select/jaeger"), "/select/jaeger"),
    "elasticsearch": _served("elasticsearch", lambda rows: elasticsearch([otel(row) for row in rows])),
    "elastic apm": _served("opensearch", lambda rows: elasticsearch([apm(row) for row in rows]), "/?layout=apm"),
}


@pytest.fixture(scope="module", params=[pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in SOURCES])
def analyzer(request: pytest.FixtureRequest, given: Given) -> Iterator[TraceAnalyzer]:
    """An analyser of one source; questions that need the same spans share a fetch of them."""
    with fetched_once():
        yield SOURCES[request.param](given)


def absent(source: TraceSource) -> frozenset[str]:
    """Fields that a source has no values for, by what it declares."""
    able = source.capabilities
    always = {"coverage", "coverage_before", "attributes", "sampled"}
    unsaved = set() if able.savings else {"cache_saved_usd"}
    unjudged = set() if able.scores else {"quality", "judged", "scores"}
    # Tempo's search says that there is a parent, not which.
    orphaned = {"parent_span_id"} if isinstance(source, TempoSource) else set()
    return frozenset(always | unsaved | unjudged | orphaned)


@pytest.mark.parametrize("question", contract.QUESTIONS)
def test_the_answer_is_the_same(analyzer: TraceAnalyzer, reference: dict[str, Any], question: str) -> None:
    """As the reference has it; or the source declares that it cannot, and its answer is empty and says why."""
    ask = contract.QUESTIONS[question]
    able = analyzer.source.capabilities
    need = contract.NEEDS.get(question)
    if need == "text" and not able.text:
        with pytest.raises(SourceError, match="name a dimension"):
            ask(analyzer)
        return
    got = ask(analyzer)
    if need == "scores" and not able.scores:
        assert "no evaluations" in " ".join(got.coverage.notes)
        assert not any(getattr(got, items, ()) for items in ("groups", "items", "rows"))
        return
    if question in contract.OF_STAGES and "stage" not in able.filters:
        assert "no stages" in " ".join(got.coverage.notes)
        return
    assert getattr(got, "coverage", None) is None or not got.coverage.partial
    without = absent(analyzer.source)
    plain, expected = (contract.plain(answer, without) for answer in (got, reference[question]))
    if not able.savings and "by_dimension" in expected:
        # Without what caches saved there are no parts of a cost.
        expected["by_dimension"] = [
            one for one in expected["by_dimension"] if one[0] != "part" or plain["measure"] != "cost"
        ]
    found = list(contract.differences(plain, expected))
    assert not found, "\n".join(found[:12])
