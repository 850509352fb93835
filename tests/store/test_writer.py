"""What reaches the files, when, and what is counted as lost."""

from __future__ import annotations

import logging
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from store.filled import NOW_S, call, item, judged, many, store, writer

import trisignal
from trisignal import testing
from trisignal.analysis.analyzer import TraceAnalyzer
from trisignal.analysis.query import Query, Window
from trisignal.errors import ConfigError
from trisignal.store.reader import StoreSource

DAY = Window(NOW_S - 86_400, NOW_S + 86_400)


def test_calls_are_stored_with_all_facts(tmp_path: Path) -> None:
    """A call through the whole library comes back with names, tokens, cost, context, parent and attributes."""
    folder = tmp_path / "store"
    with testing.capture(store=str(folder), service_name="chat-api") as seen:
        with trisignal.context(request_id="r-1", tenant="acme", user_id="u-1", feature="search", prompt_version="2"):
            with trisignal.workflow("answer"):
                with trisignal.stage("retrieve"):
                    pass
                with trisignal.llm(provider="openai", model="gpt-4o") as active:
                    active.set_usage(input_tokens=1000, output_tokens=50, cache_read_tokens=400)
                    active.set_attribute("mine", "yes")
        assert seen.telemetry.force_flush()
        with trisignal.TraceAnalyzer(folder) as analyzer:
            [found] = analyzer.spans(attributes=True)
            workflow = analyzer.spans(of="requests").rows[0]
            trace = analyzer.trace(found.trace_id)
    assert (found.provider, found.model, found.operation, found.outcome) == ("openai", "gpt-4o", "chat", "ok")
    assert (found.request_id, found.tenant, found.user_id, found.prompt_version) == ("r-1", "acme", "u-1", "2")
    assert (found.input_tokens, found.output_tokens, found.cache_read_tokens) == (1000, 50, 400)
    assert found.cost_usd == pytest.approx(seen.calls[-2].cost.total_usd)  # type: ignore[union-attr]
    assert found.cache_saved_usd == pytest.approx(400 * 1.25e-6)
    assert found.service == "chat-api"
    assert found.attributes["mine"] == "yes"
    assert (found.parent_span_id, workflow.parent_span_id) == (workflow.span_id, "")
    assert [node.span.entity for _, node in trace.nodes()] == ["answer", "retrieve", ""]


def test_nothing_is_stored_unless_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the setting no file appears, and the store's modules are not needed."""
    monkeypatch.chdir(tmp_path)
    with testing.capture():
        with trisignal.llm(provider="openai", model="gpt-4o"):
            pass
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_is_off_is_not_imported() -> None:
    """Without a store neither SQLite nor any module of the store or the analyser is loaded."""
    program = (
        "import sys\n"
        "before = set(sys.modules)\n"  # what measures coverage uses SQLite
        "import trisignal\n"
        "trisignal.setup()\n"
        "with trisignal.llm(provider='openai', model='m'): pass\n"
        "wrong = [n for n in set(sys.modules) - before if n.startswith(('trisignal.store', 'trisignal.analysis', 'sqlite3'))]\n"
        "assert wrong == [], wrong\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_spans_of_other_instrumentations_complete_the_trace(tmp_path: Path) -> None:
    """Spans around and beside a call are stored, redacted, in whatever order they end, and belong to the request and the
    tenant of the trace's calls where these agree; traces without a call are not stored."""
    with testing.capture(store=str(tmp_path)) as seen:
        tracer = seen.telemetry.tracer_provider.get_tracer("web")
        with tracer.start_as_current_span("GET /answer", attributes={"mail": "jane.doe@example.com"}):
            with tracer.start_as_current_span("SELECT"):
                pass
            with trisignal.context(request_id="r-1", tenant="acme"), trisignal.llm(provider="openai", model="gpt-4o"):
                pass
        with tracer.start_as_current_span("GET /health", attributes={"long": "x" * (1 << 20)}):
            pass
        with tracer.start_as_current_span("job", attributes={"long": "x" * (1 << 20)}):
            for tenant in ("acme", "globex"):
                with trisignal.context(tenant=tenant), trisignal.llm(provider="openai", model="gpt-4o"):
                    pass
        assert seen.telemetry.force_flush()
        assert seen.telemetry.force_flush()
    with TraceAnalyzer(tmp_path) as analyzer:
        spans = analyzer.find(request_id="r-1").spans
        trace = analyzer.trace(spans[0].trace_id)
        requests = {row.name: row for row in analyzer.spans(of="requests", attributes=True).rows}
    assert sorted(span.name for span in spans) == ["GET /answer", "SELECT", "chat gpt-4o"]
    assert {name: row.tenant for name, row in requests.items()} == {"GET /answer": "acme", "job": ""}
    assert len(requests["job"].attributes["long"]) < 5000
    [root] = trace.roots
    assert (root.span.name, root.span.root, len(root.children)) == ("GET /answer", True, 2)
    assert "jane.doe" not in str(root.span.attributes)
    assert root.span.attributes["otel.scope.name"] == "web"


def test_sampling_does_not_touch_the_store(tmp_path: Path) -> None:
    """Calls whose span is not sampled are stored, with their parents, and say that no backend has them."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

    for number, provider in enumerate((None, TracerProvider(sampler=ALWAYS_OFF))):
        folder = tmp_path / str(number)
        with testing.capture(store=str(folder), tracer_provider=provider or TracerProvider()) as seen:
            with trisignal.workflow("w"), trisignal.llm(provider="openai", model="m"):
                pass
            assert seen.telemetry.force_flush()
        with TraceAnalyzer(folder) as analyzer:
            rows = {row.operation: row for row in analyzer.spans(of="spans").rows}
        assert rows["chat"].sampled == (number == 0)
        assert rows["chat"].parent_span_id == rows["invoke_workflow"].span_id
        assert (rows["chat"].root, rows["invoke_workflow"].root) == (False, True)


def test_log_records_of_a_trace_are_stored(tmp_path: Path) -> None:
    """With store_logs warnings that belong to a trace are found by request, redacted; others are not stored."""
    log = logging.getLogger("app")
    with testing.capture(store=str(tmp_path), store_logs=True) as seen:
        log.warning("outside of any trace")
        with trisignal.context(request_id="r-1"), trisignal.workflow("w"):
            log.warning("slow answer for %s", "jane.doe@example.com", extra={"order": 7})
            log.info("not a warning")
            with trisignal.llm(provider="openai", model="m"):
                pass
        assert seen.telemetry.force_flush()
    with TraceAnalyzer(tmp_path) as analyzer:
        found = analyzer.find(request_id="r-1")
        trace = analyzer.trace(found.trace_ids[0])
        every = analyzer.logs().items
    [line] = found.logs
    assert trace.logs == every == (line,)
    assert (line.level, line.logger, line.fields["order"]) == ("WARNING", "app", 7)
    assert "jane.doe" not in line.message


def test_content_is_stored_where_it_is_captured(tmp_path: Path) -> None:
    """Content is in the store, and found by text, only if capture_content lets it out."""
    for captured in (False, True):
        folder = tmp_path / str(captured)
        with testing.capture(store=str(folder), capture_content=captured) as seen:
            with trisignal.llm(provider="openai", model="m") as active:
                active.set_content(input=[{"role": "user", "parts": [{"type": "text", "content": "Zanzibar"}]}])
            assert seen.telemetry.force_flush()
        with TraceAnalyzer(folder) as analyzer:
            assert len(analyzer.find(text="zanzibar").spans) == int(captured)
            assert len(analyzer.find(text="CHAT M").spans) == 1


def test_files_are_private(tmp_path: Path) -> None:
    """The folder is for its owner only, and so is every file in it."""
    folder = tmp_path / "a" / "store"
    target = writer(folder)
    target.offer(item(call(1)))
    assert target.flush(60)
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    modes = {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}
    target.close(60)
    assert modes == {0o600}


def test_a_folder_that_cannot_be_made_is_refused_at_once(tmp_path: Path) -> None:
    """setup() says which setting is wrong when a file is in the way of the folder."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match="store"):
        trisignal.setup(store=tmp_path / "file" / "store")


def test_evaluations_reach_the_row(tmp_path: Path) -> None:
    """Scores come before, with or long after their call, and from another process: the row has the worst."""
    first, second = call(1), call(2)
    store(tmp_path, [item(first), judged("faithfulness", 0.9, first), judged("faithfulness", 0.2, second)])
    store(tmp_path, [item(second), judged("relevance", 0.5, first), judged("user_feedback", None, first, "positive")])
    store(tmp_path, [judged("faithfulness", 0.8, first)])
    source = StoreSource(tmp_path)
    rows = {row.span_id: row.quality for row in source.spans(Query(DAY)).items}
    assert rows == {first.span_id: 0.5, second.span_id: 0.2}
    judgements = source.scores(Query(DAY)).items
    assert [(one.score.evaluation, one.score.score) for one in judgements][:2] == [
        ("faithfulness", 0.2),
        ("relevance", 0.5),
    ]
    assert all(one.span is not None for one in judgements)
    [total] = source.totals(Query(DAY)).items
    assert (total.judged, total.quality) == (2, pytest.approx(0.7))


def test_a_verdict_of_the_next_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A score that comes days after its call, from another process, is at its call in that day's file."""
    import time

    from trisignal.store.transaction import VerdictItem

    first = call(1)
    monkeypatch.setattr(time, "time", lambda: NOW_S)
    store(tmp_path, [item(first)])
    monkeypatch.setattr(time, "time", lambda: NOW_S + 2 * 86_400)
    late = judged("faithfulness", 0.25, first, "poor")
    store(tmp_path, [VerdictItem(late.verdict, round((NOW_S + 2 * 86_400) * 1e9))])
    assert len(list(tmp_path.glob("*.db"))) == 2
    source = StoreSource(tmp_path)
    [row] = source.spans(Query(DAY)).items
    [one] = source.scores(Query(DAY)).items
    assert (row.quality, one.score.label, one.span) == (0.25, "poor", row)
    [total] = source.totals(Query(DAY)).items
    assert (total.judged, total.quality) == (1, 0.25)


def test_two_halves_of_one_call_are_one_row(tmp_path: Path) -> None:
    """A bridged call and the span that it was read from are one row, in whatever order and batch they come."""
    from trisignal.store.transaction import SpanItem

    for order in (("call", "span"), ("span", "call")):
        for batches in (1, 2):
            folder = tmp_path / "-".join((*order, str(batches)))
            target = writer(folder)
            bridged = call(3, span_name="chat small")
            # Another call of the trace makes its spans wanted.
            target.offer(item(call(4, trace_id=bridged.trace_id)))
            for what in order:
                target.offer(item(bridged, bridged=True) if what == "call" else SpanItem(foreign_span(bridged)))
                if batches == 2:
                    assert target.flush(60)
            target.close(60)
            rows = {row.span_id: row for row in StoreSource(folder).trace(bridged.trace_id).spans}
            assert len(rows) == 2
            row = rows[bridged.span_id]
            assert (row.name, row.parent_span_id, row.model, row.root) == (
                "openai.chat",
                "00000000000000ff",
                "small",
                False,
            )
            assert row.attributes["theirs"] == 1
            totals = StoreSource(folder).totals(Query(DAY, "spans"), ("operation",)).items
            assert [(total.key, total.spans) for total in totals] == [(("chat",), 2)]


def foreign_span(of):  # type: ignore[no-untyped-def]
    """A span of another instrumentation with the ids of a call."""
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanContext, TraceFlags

    trace = int(of.trace_id, 16)
    ids = SpanContext(trace, int(of.span_id, 16), False, TraceFlags(1))
    parent = SpanContext(trace, 255, False, TraceFlags(1))
    return ReadableSpan(
        "openai.chat",
        ids,
        parent,
        attributes={"theirs": 1},
        start_time=of.start_unix_ns,
        end_time=of.start_unix_ns + 600_000_000,
    )


def test_a_large_store_answers_as_the_rows_say(tmp_path: Path) -> None:
    """Totals out of kept sums and rows are those of the calls, for odd windows and steps."""
    calls = many(3000)
    store(tmp_path, map(item, calls))
    source = StoreSource(tmp_path)
    for since, until in ((NOW_S - 9000, NOW_S + 1), (NOW_S - 4321.5, NOW_S - 77.25), (NOW_S - 30, NOW_S - 10)):
        inside = [one for one in calls if round(since * 1e9) <= one.start_unix_ns < round(until * 1e9)]
        for by in ((), ("model",), ("tenant", "outcome"), ("user_id",)):
            rows = source.totals(Query(Window(since, until)), by, quantiles=True)
            assert not rows.partial, rows.notes
            assert sum(total.spans for total in rows.items) == len(inside)
            assert sum(total.cost_usd for total in rows.items) == pytest.approx(
                sum(one.cost.total_usd for one in inside)
            )
            assert sum(total.errors for total in rows.items) == sum(one.outcome == "error" for one in inside)
    with TraceAnalyzer(source) as analyzer:
        steps = analyzer.totals(since=NOW_S - 7200, until=NOW_S, step_s=600).groups
    assert sum(step.spans for step in steps) == len(calls)
    assert all(step.step_unix_s % 600 == 0 for step in steps if step.step_unix_s is not None)
