"""Documents and questions of Elasticsearch and OpenSearch; no engine is at hand, a stand-in evaluates what is sent."""

from __future__ import annotations

from typing import Any

import pytest
from analysis.backend_servers import Server
from analysis.elastic_server import elasticsearch

from trisignal.analysis.elasticsearch import ElasticsearchSource
from trisignal.analysis.elasticsearch_documents import span
from trisignal.analysis.elasticsearch_query import LAYOUTS, matching, sort
from trisignal.analysis.query import Query, Window
from trisignal.errors import SourceError

DAY = Window(1_000.0, 1_000.0 + 86_400)


def test_a_document_of_the_collector() -> None:
    """Milliseconds with decimals as text, nanoseconds, kinds and states as words, attributes flat or nested."""
    document: dict[str, Any] = {
        "@timestamp": "1782896790577.552835",
        "trace_id": "48ef0f851419e2e9ece300305768a1e0",
        "span_id": "3b5346ea86d03a99",
        "parent_span_id": "72a5cd5ee1e7873e",
        "name": "chat small",
        "kind": "Client",
        "duration": 321_875,
        "attributes": {
            "gen_ai.operation.name": "chat",
            "gen_ai": {"usage": {"input_tokens": 12}},
            "llm.cost.total_usd": 0.5,
        },
        "status": {"code": "Error"},
        "resource": {"attributes": {"service.name": "shop"}},
    }
    row = span(document, LAYOUTS["otel"])
    assert row is not None
    assert (row.start_unix_s, row.duration_s) == (pytest.approx(1782896790.577552, abs=1e-6), 0.000321875)
    assert (row.service, row.operation, row.input_tokens, row.cost_usd) == ("shop", "chat", 12, 0.5)
    assert (row.outcome, row.error_kind, row.root, row.model_call) == ("error", "other", False, True)
    dated = span({**document, "@timestamp": "2026-07-01T09:06:30.577552835Z"}, LAYOUTS["otel"])
    assert dated is not None
    assert dated.start_unix_s == pytest.approx(row.start_unix_s, abs=1e-3)


def test_a_document_of_apm() -> None:
    """Underscores for dots, texts and numbers apart, transactions beside spans; an exception is not a span."""
    document: dict[str, Any] = {
        "@timestamp": "2026-07-01T09:06:30.577Z",
        "timestamp": {"us": 1782896790577552},
        "trace": {"id": "48ef0f851419e2e9ece300305768a1e0"},
        "transaction": {"id": "3b5346ea86d03a99", "name": "POST /ask", "duration": {"us": 2_500}},
        "service": {"name": "shop"},
        "event": {"outcome": "failure"},
        "labels": {"gen_ai_operation_name": "chat", "gen_ai_request_model": "small", "own_label": "x"},
        "numeric_labels": {"gen_ai_usage_output_tokens": 7.0},
    }
    row = span(document, LAYOUTS["apm"])
    assert row is not None
    assert (row.name, row.duration_s, row.start_unix_s) == ("POST /ask", 0.0025, pytest.approx(1782896790.577552))
    assert (row.model, row.output_tokens, row.outcome, row.root) == ("small", 7, "error", True)
    assert row.attributes["own_label"] == "x"
    assert span({"error": {"id": "e"}, "trace": {"id": "48ef0f851419e2e9ece300305768a1e0"}}, LAYOUTS["apm"]) is None


def test_odd_documents_have_no_spans() -> None:
    """What has another shape is left out, and disturbs nothing."""
    for odd in ({}, {"trace_id": 5, "span_id": []}, {"trace_id": "x" * 32, "span_id": "y"}, {"attributes": [1]}):
        assert span(odd, LAYOUTS["otel"]) is None


def test_conditions_and_order_are_the_engines() -> None:
    """Dimensions are terms, an empty value is a missing field, and what is unmapped sorts like zero."""
    fields = LAYOUTS["otel"]
    asked = Query(DAY, "requests", {"tenant": ("", "a"), "service": ("shop",)}, min_duration_s=0.5, order="cost")
    clauses = matching(asked, DAY, fields)["bool"]["filter"]
    assert {"range": {"@timestamp": {"gte": "1000000.000", "lt": "87400000.000", "format": "epoch_millis"}}} in clauses
    assert {"terms": {"resource.attributes.service.name": ["shop"]}} in clauses
    assert {"range": {"duration": {"gte": 500_000_000}}} in clauses
    [tenant] = [one for one in clauses if "tenant" in str(one)]
    assert tenant["bool"]["minimum_should_match"] == 1
    assert sort(asked, fields)[0] == {
        "attributes.llm.cost.total_usd": {"order": "desc", "missing": "_last", "unmapped_type": "double"}
    }


def test_the_index_is_named_in_errors() -> None:
    """An index that there is not is an error that says how to name another one; so is a server of another kind."""
    with Server(elasticsearch([])).running() as running:
        source = ElasticsearchSource(f"opensearch+http://{running.place}/?index=traces-test")
        assert source.holding().spans == 0
        assert source.spans(Query(DAY)).items == ()
        with pytest.raises(SourceError, match=r"no index logs-1: name it with \?index=NAME"):
            ElasticsearchSource(f"elasticsearch+http://{running.place}/?index=logs-1").holding()
    with Server(lambda *_: {"data": []}).running() as other, pytest.raises(SourceError, match="is this Elasticsearch"):
        ElasticsearchSource(f"elasticsearch+http://{other.place}").spans(Query(DAY))
