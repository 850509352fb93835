"""pgvector, through psycopg and SQLAlchemy, on a real PostgreSQL where ``pgserver`` is installed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import trisignal
from trisignal.clients.vectors.postgres import asked
from trisignal.testing import Seen, capture

SEARCH = "SELECT id FROM docs WHERE kind = 'word' ORDER BY place <-> %s::vector LIMIT 2"


@pytest.mark.parametrize(
    ("statement", "parameters", "expected"),
    [
        ("SELECT id FROM docs ORDER BY v <-> %s LIMIT 5", ("[1]",), ("docs", 5, False)),
        ("select id from a.docs where x order by v <=> $1 limit $2", ["[1]", 7], ("a.docs", 7, True)),
        (b'SELECT id FROM "Docs" ORDER BY v <#> %s LIMIT %s', ("[1]", 3), ("Docs", 3, False)),
        ("SELECT id FROM docs ORDER BY v <+> %(v)s LIMIT %(n)s", {"v": "[1]", "n": 4}, ("docs", 4, False)),
        ("SELECT id FROM docs ORDER BY v <-> :v LIMIT :n", {"v": "[1]", "n": 4}, ("docs", 4, False)),
        ("SELECT id FROM docs ORDER BY v <-> %s", ("[1]",), ("docs", None, False)),
    ],
)
def test_statements(statement: Any, parameters: Any, expected: tuple[str, int | None, bool]) -> None:
    """A statement that orders by a distance says where it looks, for how many, and whether it filters."""
    found = asked(statement, parameters)
    assert found is not None
    assert (found.source, found.top_k, found.filtered) == expected


@pytest.mark.parametrize(
    "statement",
    ["SELECT 1", "SELECT id FROM docs WHERE a < b ORDER BY a", "SELECT v <-> %s FROM docs", "", None, 7, "<" * 200_000],
)
def test_other_statements(statement: Any) -> None:
    """Whatever does not order by a distance is left alone."""
    assert asked(statement, ()) is None


@pytest.fixture(name="url", scope="module")
def _url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL with the extension and four vectors."""
    pgserver: Any = pytest.importorskip("pgserver")
    psycopg: Any = pytest.importorskip("psycopg")
    folder: Path = tmp_path_factory.mktemp("postgres")
    server = pgserver.get_server(folder)
    with psycopg.connect(server.get_uri()) as connection:
        connection.execute("CREATE EXTENSION vector")
        connection.execute("CREATE TABLE docs (id int, kind text, place vector(3))")
        for at, vector in enumerate(("[1,0,0]", "[0.9,0.1,0]", "[0,1,0]", "[0,0,1]")):
            connection.execute("INSERT INTO docs VALUES (%s, 'word', %s)", (at, vector))
    yield server.get_uri()
    server.cleanup()


@pytest.fixture(name="seen")
def _seen(url: str) -> Iterator[Seen]:
    """What is emitted."""
    with capture() as seen:
        trisignal.instrument("psycopg", "sqlalchemy")
        yield seen
        trisignal.uninstrument()


def by_psycopg(url: str, statement: str) -> int:
    """Rows by psycopg."""
    import psycopg

    with psycopg.connect(url) as connection:
        return len(connection.execute(statement, ("[1,0,0]",)).fetchall())


def by_async_psycopg(url: str, statement: str) -> int:
    """Rows by its asynchronous connections."""
    import psycopg

    async def run() -> int:
        async with await psycopg.AsyncConnection.connect(url) as connection:
            return len(await (await connection.execute(statement, ("[1,0,0]",))).fetchall())

    return asyncio.run(run())


def by_sqlalchemy(url: str, statement: str, driver: str = "psycopg") -> int:
    """Rows by SQLAlchemy."""
    sqlalchemy: Any = pytest.importorskip("sqlalchemy")
    engine = sqlalchemy.create_engine(url.replace("postgresql:", f"postgresql+{driver}:"))
    try:
        with engine.connect() as connection:
            return len(connection.exec_driver_sql(statement, ("[1,0,0]",)).all())
    finally:
        engine.dispose()


def by_psycopg2(url: str, statement: str) -> int:
    """Rows by SQLAlchemy with another driver."""
    pytest.importorskip("psycopg2")
    return by_sqlalchemy(url, statement, "psycopg2")


WAYS = (by_psycopg, by_async_psycopg, by_sqlalchemy, by_psycopg2)


@pytest.mark.parametrize("way", WAYS)
def test_a_search(url: str, seen: Seen, way: Any) -> None:
    """A statement that looks for neighbours is one retrieval, whatever runs it."""
    assert way(url, SEARCH) == 2
    way(url, "SELECT id FROM docs WHERE kind <> %s")
    [span] = seen.spans
    facts = span.attributes
    assert span.name == "retrieval docs"
    assert facts["gen_ai.provider.name"] == "pgvector"
    assert (facts["gen_ai.retrieval.top_k"], facts["llm.retrieval.results"]) == (2, 2)
    assert facts["llm.retrieval.filtered"] is True
    assert seen.value("llm_retrieval_results_sum", gen_ai_data_source_id="docs") == 2


@pytest.mark.parametrize("way", WAYS)
def test_nothing_and_errors(url: str, seen: Seen, way: Any) -> None:
    """A search that finds nothing is counted, and one that fails is an error."""
    assert way(url, SEARCH.replace("word", "none")) == 0
    with pytest.raises(Exception, match="nowhere"):
        way(url, SEARCH.replace("docs", "nowhere"))
    empty, failed = seen.spans
    assert empty.attributes["llm.retrieval.empty"] == 1
    assert failed.attributes["llm.outcome"] == "error"
    assert seen.value("llm_retrieval_empty_total") == 1
