"""The text that ClickHouse is sent, and what its answers become."""

from __future__ import annotations

import json

import pytest
from analysis import backend_servers as servers

from trisignal.analysis.clickhouse import ClickHouseSource
from trisignal.analysis.clickhouse_sql import Columns, dimension_sql, spans_sql
from trisignal.analysis.opening import open_source
from trisignal.analysis.query import DIMENSIONS, Query, Window
from trisignal.errors import SourceError

ROW = b"""{"start_ns":"1766428642545847221","duration_ns":"21346166","trace":"162b29522a339e6b1acb21b8041dcda5",
"span":"2b6a701a27797f5c","parent":"","name":"chat m","kind":"Internal","service":"farm","status":"Error",
"attributes":{"gen_ai.operation.name":"chat","gen_ai.usage.input_tokens":"100","error.type":"RateLimitError"}}"""


def test_a_question_is_one_text() -> None:
    """Conditions, order, limit and offset are the server's; texts are literals; columns may be others."""
    query = Query(Window(1, 2), "spans", {"tenant": ("it's \\",)}, 0.5, order="duration", limit=3, offset=6)
    sql = spans_sql(query, "spans", Columns(since="ts >= {ns}", until="ts < {ns}", attribute="tags.{key}"))
    assert sql.partition(" FROM ")[2] == (
        "spans WHERE ts >= 1000000000 AND ts < 2000000000 AND tags.'llm.dimension.tenant' IN ('it\\'s \\\\') "
        "AND Duration >= 500000000 ORDER BY Duration DESC, toUnixTimestamp64Nano(Timestamp) DESC, SpanId "
        "LIMIT 3 OFFSET 6"
    )


def test_rows_are_spans() -> None:
    """A row becomes a span: numbers that are texts are numbers, and the kind of an error is found by its type."""
    with servers.Server(lambda *_: ROW.replace(b"\n", b"")).running() as running:
        source = open_source(f"clickhouse://u:p4ss@{running.place}/otel?table=spans")
        [row] = source.spans(Query(Window(0, 4e9), where={"error_kind": ("rate_limit",)})).items
    assert (row.service, row.input_tokens, row.error_kind, row.outcome, row.root) == (
        "farm",
        100,
        "rate_limit",
        "error",
        True,
    )
    assert row.duration_s == pytest.approx(0.021346166)
    [(path, asked)] = running.asked
    assert (path, asked["database"]) == ("/", "otel")
    assert running.headers[0]["Authorization"].startswith("Basic ")


@pytest.mark.parametrize(
    "url", ["clickhouse://", "clickhouse://h/a b", "clickhouse://h/d?table=x;drop", "clickhouse+ftp://h"]
)
def test_addresses_are_checked(url: str) -> None:
    """What is not a host, no database or no table is refused when it is given."""
    with pytest.raises(SourceError):
        open_source(url)


def test_the_usual_port() -> None:
    """Without a port it is ClickHouse's own; credentials are not shown."""
    assert ClickHouseSource("clickhouse://u:p4ss@h/db")._backend.name == "clickhouse+http://h:8123"
    assert ClickHouseSource("clickhouse+https://h/db")._backend.name == "clickhouse+https://h:8443"


@pytest.mark.parametrize(
    ("given", "said"), [(500, "500 refused"), (404, "no table"), (b"Code: 241", "not JSON"), (b"5", "no rows")]
)
def test_refusals_are_errors(given: object, said: str) -> None:
    """A refusal, a missing table, and an answer of another kind are errors."""
    with servers.Server(lambda *_: given).running() as running, pytest.raises(SourceError, match=said):
        open_source(f"clickhouse://{running.place}").holding()


TOTAL = {
    "value_0": "m", "step": "490677", "spans": "3", "errors": "1", "input_tokens": "100", "output_tokens": "7",
    "duration_s": "1.5", "cost_usd": "0.25", "first_ns": "1766438400000000000", "last_ns": "1766438401000000000",
    "quantiles": ["200000000", "900000000", "1000000000"],
}  # fmt: skip


def test_totals_are_added_up_by_the_server() -> None:
    """One row per group and step becomes a total; a group without spans is none."""
    sent: list[str] = []

    def answer(path: str, asked: object, body: bytes) -> bytes:
        sent.append(body.decode())
        return b"\n".join(json.dumps(row).encode() for row in (TOTAL, {**TOTAL, "spans": "0"}))

    with servers.Server(answer).running() as running:
        source = open_source(f"clickhouse://{running.place}")
        [total] = source.totals(Query(Window(0, 4e9)), ("model",), step_s=3600, quantiles=True).items
    assert (total.key, total.step_unix_s, total.spans, total.errors) == (("m",), 490677 * 3600, 3, 1)
    assert (total.input_tokens, total.output_tokens, total.cost_usd) == (100, 7, 0.25)
    assert (total.p50_s, total.p95_s, total.p99_s) == (0.2, 0.9, 1.0)
    [sql] = sent
    assert sql.startswith("SELECT intDiv(")
    assert sql.endswith(" GROUP BY step, value_0 ORDER BY step, value_0 FORMAT JSONEachRow")


def test_every_dimension_has_a_text_of_its_own() -> None:
    """No two dimensions are read from the same place of a span."""
    texts = {name: dimension_sql(name, Columns()) for name in set(DIMENSIONS) - {"error_kind"}}
    assert len(set(texts.values())) == len(texts)


@pytest.mark.parametrize("order", ["cost", "tokens", "first_token"])
def test_an_order_is_the_server_s(order: str) -> None:
    """Spans come in the order that is asked for, and those alike by their start."""
    sql = spans_sql(Query(Window(1, 2), "spans", order=order), "spans", Columns())
    by = sql.partition(" ORDER BY ")[2].partition(" LIMIT ")[0]
    assert by.endswith(" DESC, toUnixTimestamp64Nano(Timestamp) DESC, SpanId")
    assert not by.startswith("toUnixTimestamp64Nano")


def test_a_trace_is_asked_for_by_its_whole_id() -> None:
    """Leading zeros that were left out are filled in; what is not an id is not asked for."""
    sent: list[str] = []

    def answer(path: str, asked: object, body: bytes) -> bytes:
        sent.append(body.decode())
        return ROW.replace(b"\n", b"")

    with servers.Server(answer).running() as running:
        source = open_source(f"clickhouse://{running.place}")
        assert source.trace("it's").spans == ()
        [row] = source.trace("ABC").spans
    assert row.name == "chat m"
    [sql] = sent
    assert f"TraceId = '{'abc'.zfill(32)}'" in sql


def test_qualities_are_nowhere() -> None:
    """The table holds no evaluations, which the answer says, and the server is not asked."""
    with servers.Server(lambda *_: b"").running() as running:
        found = open_source(f"clickhouse://{running.place}").spans(Query(Window(0, 4e9), order="quality"))
    assert (found.items, found.notes, running.asked) == ((), ("a trace backend holds no evaluations",), [])
