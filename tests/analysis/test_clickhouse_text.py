"""The text that ClickHouse is sent, and what its answers become."""

from __future__ import annotations

import pytest
from analysis import backend_servers as servers

from trisignal.analysis.clickhouse import ClickHouseSource
from trisignal.analysis.clickhouse_sql import Columns, spans_sql
from trisignal.analysis.opening import open_source
from trisignal.analysis.query import Query, Window
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
    """What is no host, no database or no table is refused when it is given."""
    with pytest.raises(SourceError):
        open_source(url)


def test_the_usual_port() -> None:
    """Without a port it is ClickHouse's own; credentials are not shown."""
    assert ClickHouseSource("clickhouse://u:p4ss@h/db")._backend.name == "clickhouse+http://h:8123"
    assert ClickHouseSource("clickhouse+https://h/db")._backend.name == "clickhouse+https://h:8443"


@pytest.mark.parametrize(
    ("given", "said"), [(500, "500 refused"), (404, "no table"), (b"Code: 241", "no JSON"), (b"5", "no rows")]
)
def test_refusals_are_errors(given: object, said: str) -> None:
    """A refusal, a missing table, and an answer of another kind are errors."""
    with servers.Server(lambda *_: given).running() as running, pytest.raises(SourceError, match=said):
        open_source(f"clickhouse://{running.place}").holding()
