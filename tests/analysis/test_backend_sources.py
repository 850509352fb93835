"""The analyser's questions on Tempo and Jaeger, answered on loopback as their documents say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from analysis import backend_servers as servers
from analysis.elastic_server import apm, elasticsearch, otel
from analysis.test_analyzer import test_cost as test_cost
from analysis.test_analyzer import test_errors as test_errors
from analysis.test_analyzer import test_find as test_find
from analysis.test_analyzer import test_quantiles_are_near as test_quantiles_are_near
from analysis.test_analyzer import test_slowest as test_slowest
from analysis.test_analyzer import test_slowest_of_a_percentile as test_slowest_of_a_percentile
from analysis.test_analyzer import test_unknown_names_are_refused as test_unknown_names_are_refused
from analysis.test_analyzer import test_values as test_values
from analysis.traceql_server import tempo_with_metrics
from store.filled import NOW_S, item, many, store

from trisignal.analysis import elasticsearch as elasticsearch_source
from trisignal.analysis import fetched_source, jaeger, tempo, tempo_metrics
from trisignal.analysis.analyzer import TraceAnalyzer
from trisignal.analysis.opening import open_source
from trisignal.analysis.query import Query, Window
from trisignal.analysis.rows import SpanRow
from trisignal.analysis.span_reading import hexadecimal, otlp_spans
from trisignal.analysis.traceql import search
from trisignal.call import Call
from trisignal.errors import SourceError
from trisignal.store.reader import StoreSource

EVER = Window(0, 4e9)
KINDS = {
    "tempo": ("tempo", servers.tempo),
    "tempo with metrics": ("tempo", tempo_with_metrics),
    "jaeger": ("jaeger", servers.jaeger),
    "jaeger v3": ("jaeger", servers.jaeger_third),
    "elasticsearch": ("elasticsearch", lambda rows: elasticsearch([otel(row) for row in rows])),
    "elastic apm": ("opensearch", lambda rows: elasticsearch([apm(row) for row in rows])),
}


@pytest.fixture(scope="module")
def calls() -> list[Call]:
    """Calls as spans show them: in microseconds."""
    return [
        one._replace(
            duration_s=round(one.duration_s, 6),
            start_unix_ns=one.start_unix_ns // 1000 * 1000,
        )
        for one in many(400)
    ]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory, calls: list[Call]) -> tuple[SpanRow, ...]:
    """Their spans."""
    folder = tmp_path_factory.mktemp("store")
    store(folder, map(item, calls))
    return tuple(StoreSource(folder).every(Query(EVER, "spans", attributes=True)))


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest, rows: tuple[SpanRow, ...]) -> Iterator[servers.Server]:
    """A backend that holds them, whose searches end after 150 traces."""
    scheme, answer = KINDS[request.param]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempo, "MOST_TRACES", 150)
        patch.setattr(jaeger, "MOST_TRACES", 150)
        patch.setattr(elasticsearch_source, "MOST_HITS", 150)
        patch.setattr(elasticsearch_source, "MOST_GROUPS", 3)
        patch.setattr(tempo_metrics, "MOST_FETCHED", 20)
        with servers.Server(answer(rows)).running() as running:
            running.place = f"{scheme}+http://{running.place}{'/?layout=apm' if request.param == 'elastic apm' else ''}"
            yield running


@pytest.fixture(scope="module")
def analyzer(server: servers.Server) -> TraceAnalyzer:
    """An analyser of the backend."""
    return TraceAnalyzer(server.place)


def test_answers_say_what_they_lack(analyzer: TraceAnalyzer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trace backend has sampled spans only, and no scores; a search that would take too many requests is partial."""
    answer = analyzer.spans(since=NOW_S - 7200, until=NOW_S + 1)
    assert (answer.coverage.sampled, answer.coverage.partial) == (True, False)
    assert not analyzer.lowest_quality(since=NOW_S - 7200, until=NOW_S + 1).items
    monkeypatch.setattr(fetched_source, "MOST_SEARCHES", 2)
    # No engine has an order by tokens: all spans have to be fetched.
    assert analyzer.spans(order="tokens", since=NOW_S - 7200, until=NOW_S + 1).coverage.partial


def test_a_trace_has_all_attributes(analyzer: TraceAnalyzer, rows: tuple[SpanRow, ...]) -> None:
    """A span of a trace has the attributes that were exported, and the facts that rows are made of."""
    expected = rows[7]
    [found] = analyzer.source.trace(expected.trace_id).spans
    # Elastic APM knows no dots in names: those of the conventions are put back.
    assert {key.replace(".", "_") for key in found.attributes} >= {
        key.replace(".", "_") for key in servers.sent(expected)
    }
    same = ("name", "operation", "service", "provider", "model", "tenant", "user_id", "request_id", "input_tokens")
    assert [getattr(found, name) for name in same] == [getattr(expected, name) for name in same]
    assert found.cost_usd == pytest.approx(expected.cost_usd)
    assert found.first_token_s == pytest.approx(expected.first_token_s)
    assert found.root
    assert not analyzer.source.trace("no id").spans


@pytest.mark.parametrize("outcome", ["ok", "error", "cancelled"])
def test_outcomes_are_those_of_the_calls(analyzer: TraceAnalyzer, rows: tuple[SpanRow, ...], outcome: str) -> None:
    """Spans say how a call ended unless it was ok: cancelled ones are neither ok nor errors, in rows and in totals."""
    window = {"since": NOW_S - 7200, "until": NOW_S + 1}
    expected = {row.span_id for row in rows if row.outcome == outcome}
    assert expected
    assert {row.span_id for row in analyzer.spans(limit=500, outcome=outcome, **window)} == expected
    [total] = analyzer.totals(**window).groups
    assert total.cancelled == sum(row.outcome == "cancelled" for row in rows)
    assert total.errors == sum(row.outcome == "error" for row in rows)
    wasted = sum(row.cost_usd or 0.0 for row in rows if row.outcome != "ok")
    assert total.wasted_usd == pytest.approx(wasted)


def test_tempo_adds_up_by_metrics(rows: tuple[SpanRow, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are many spans, sums come from TraceQL metrics, and no span is fetched; an older Tempo is searched."""
    monkeypatch.setattr(tempo_metrics, "MOST_FETCHED", 20)
    window: dict[str, Any] = {"since": NOW_S - 7200, "until": NOW_S + 1}
    found = {}
    for answer in (tempo_with_metrics, servers.tempo):
        with servers.Server(answer(rows)).running() as running, TraceAnalyzer(f"tempo+http://{running.place}") as asked:
            found[answer] = [
                (one.key, one.spans, round(one.cost_usd, 9)) for one in asked.cost("model", **window).groups
            ]
        paths = {path for path, _ in running.asked}
        assert ("/api/search" in paths) == (answer is servers.tempo)
    assert found[tempo_with_metrics] == found[servers.tempo]


def test_credentials_travel_in_a_header_only(server: servers.Server) -> None:
    """User and password of a URL become a header; neither names nor errors show them."""
    scheme, _, place = server.place.partition("://")
    source = open_source(f"{scheme}://reader:s3cret%2F@{place}")
    source.trace("a" * 32)
    assert server.headers[-1]["Authorization"] == "Basic cmVhZGVyOnMzY3JldC8="
    assert "s3cret" not in source.holding().name
    with pytest.raises(SourceError) as refused:
        open_source(f"{scheme}://reader:s3cret@127.0.0.1:1").spans(Query(Window(0, 1)))
    assert "s3cret" not in str(refused.value)
    assert "reader" not in str(refused.value)


@pytest.mark.parametrize("scheme", ["tempo", "jaeger", "elasticsearch", "opensearch"])
@pytest.mark.parametrize(
    ("given", "said"), [(302, "302"), (500, "500 refused"), (b"<html>", "not JSON"), (404, "address|index=NAME")]
)
def test_refusals_are_errors(scheme: str, given: Any, said: str) -> None:
    """A refusal, a page and a redirection, which is not followed, are errors that name the backend."""
    with servers.Server(lambda *_: given).running() as running:
        source = open_source(f"{scheme}+http://{running.place}")
        with pytest.raises(SourceError, match=said) as refused:
            source.spans(Query(Window(0, 1)))
        assert running.place in str(refused.value)
        assert "/elsewhere" not in [path for path, _ in running.asked]


@pytest.mark.parametrize(
    "url",
    [
        "tempo://h",
        "tempo+ftp://h",
        "tempo+http://",
        "jaeger+https://h:99999",
        "jaeger+http:",
        "elasticsearch://h",
        "opensearch+http://h/?index=A%20B",
        "elasticsearch+http://h/?layout=other",
    ],
)
def test_addresses_are_checked(url: str) -> None:
    """An address of another form is refused when it is given."""
    with pytest.raises(SourceError):
        open_source(url)


def test_conditions_are_pushed_into_search() -> None:
    """Tempo checks what is about one attribute; values are quoted, and an empty value is left to be checked here."""
    query = Query(
        Window(0, 1),
        "requests",
        {"model": ("a", 'b" || true'), "tenant": ("", "x"), "service": ("svc",), "context.my key": ("1",)},
        min_duration_s=0.5,
    )
    text, _, selected = search(query).partition(" | ")
    assert text == (
        "{ (nestedSetParent < 0 || kind = server || kind = consumer)"
        ' && (span.gen_ai.request.model = "a" || span.gen_ai.request.model = "b\\" || true")'
        ' && (span."llm.dimension.my key" = "1") && (resource.service.name = "svc") && duration >= 500000000ns }'
    )
    assert selected.startswith("select(name, status, kind, nestedSetParent, resource.service.name, ")
    assert 'span."llm.dimension.my key")' in selected
    assert search(Query(Window(0, 1), "spans", {"outcome": ("error",)})).startswith("{ (status = error) } | select(")
    assert "!~" in search(Query(Window(0, 1)))


def test_conditions_are_pushed_into_tags(rows: tuple[SpanRow, ...]) -> None:
    """Jaeger checks single values of attributes, the service and the least duration."""
    with servers.Server(servers.jaeger(rows)).running() as running:
        where = {"model": ("large",), "service": ("svc",), "tenant": ("a", "b"), "outcome": ("error",)}
        open_source(f"jaeger+http://{running.place}").spans(Query(Window(0, 1), where=where, min_duration_s=0.25))
    _, asked = running.asked[-1]
    assert asked["service"] == "svc"
    assert asked["minDuration"] == "250000us"
    assert asked["tags"] == '{"gen_ai.request.model": "large", "error": "true"}'


def test_tempo_has_tenants_and_an_older_version() -> None:
    """A tenant is sent as Tempo wants it; a server without the second version of traces is asked for the first."""
    span = {
        "traceId": "AAAAAAAAAAAAAAAAAAAACg==",
        "spanId": "AAAAAAAAAAs=",
        "startTimeUnixNano": "5",
        "endTimeUnixNano": "9",
    }
    old = {"batches": [{"resource": {}, "scopeSpans": [{"scope": {}, "spans": [{**span, "name": "x", "status": {}}]}]}]}
    with servers.Server(lambda path, *_: old if path.startswith("/api/traces/") else 404).running() as running:
        [found] = open_source(f"tempo+http://{running.place}/?tenant=t-1").trace("a").spans
    assert (found.trace_id, found.span_id) == ("a".zfill(32), "b".zfill(16))
    assert running.headers[-1]["X-Scope-Orgid"] == "t-1"


def test_ids_in_every_form() -> None:
    """Ids come in hexadecimal digits, without leading zeros, and in base64; anything else is none."""
    assert hexadecimal("789abcdef012345678", 32) == "789abcdef012345678".zfill(32)
    assert hexadecimal("q83vEjRWeJCrze8SNFZ4kA==", 32) == "abcdef1234567890" * 2
    assert hexadecimal("AAAAAAAAAAs=", 16) == "b".zfill(16)
    for wrong in (None, 5, "", "span-4d5e6f", "f" * 33, "+5", "AAAAAAAAAAA=", "____"):
        assert hexadecimal(wrong, 16) == "", wrong


def test_odd_documents_have_no_spans() -> None:
    """What has another shape than OTLP is left out, and disturbs nothing."""
    odd: list[Any] = [None, 5, {}, [5], [{"scopeSpans": [{"spans": [{}, 5, {"traceId": "x", "spanId": []}]}]}]]
    for document in odd:
        assert list(otlp_spans(document)) == []
