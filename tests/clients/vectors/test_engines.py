"""Vector stores whose engines run in this process: each search is one retrieval, with what it found."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import trisignal
from trisignal.testing import Seen, capture

VECTORS = [[1.0, 0.0, 0.0], [0.9, 0.1, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
TEXTS = ["north", "north by east", "east", "up"]
ROWS = ["client", "search"]

Run = Callable[..., None]


class Engine:
    """One store: fills a collection, searches it, and finds nothing."""

    name = ""
    module = ""
    source = "docs"
    better = "distance"
    remote = False

    def fill(self) -> None:
        """Make a collection of four vectors."""
        raise NotImplementedError

    def search(self, top_k: int) -> None:
        """Search for what is nearest to the first one."""
        raise NotImplementedError

    def filtered(self) -> None:
        """Search with a filter that nothing passes."""
        raise NotImplementedError

    def fail(self) -> None:
        """Search with a vector of another length."""
        raise NotImplementedError

    def close(self) -> None:
        """Leave nothing open."""


class Chroma(Engine):
    """chromadb in memory."""

    name, module = "chromadb", "chromadb"

    def fill(self) -> None:
        """Make a collection of four vectors."""
        chromadb = pytest.importorskip("chromadb")
        client = chromadb.EphemeralClient(chromadb.Settings(anonymized_telemetry=False))
        if "docs" in [collection.name for collection in client.list_collections()]:
            client.delete_collection("docs")
        self.docs = client.create_collection("docs", embedding_function=None)
        metadatas = [{"kind": "word"} for _ in TEXTS]
        self.docs.add(ids=list("abcd"), embeddings=VECTORS, documents=TEXTS, metadatas=metadatas)

    def search(self, top_k: int) -> None:
        """Search for what is nearest to the first one."""
        self.docs.query(query_embeddings=[VECTORS[0]], n_results=top_k)

    def filtered(self) -> None:
        """Search with a filter that nothing passes."""
        self.docs.query(query_embeddings=[VECTORS[0]], n_results=2, where={"kind": "none"})

    def fail(self) -> None:
        """Search with a vector of another length."""
        self.docs.query(query_embeddings=[[1.0]], n_results=2)


class Qdrant(Engine):
    """qdrant-client in memory."""

    name, module, better = "qdrant", "qdrant_client", "similarity"

    def fill(self) -> None:
        """Make a collection of four vectors."""
        qdrant: Any = pytest.importorskip("qdrant_client")
        self.models = qdrant.models
        self.client = qdrant.QdrantClient(":memory:")
        size = self.models.VectorParams(size=3, distance=self.models.Distance.COSINE)
        self.client.create_collection("docs", vectors_config=size)
        points = [
            self.models.PointStruct(id=at, vector=vector, payload={"text": text})
            for at, (vector, text) in enumerate(zip(VECTORS, TEXTS, strict=True))
        ]
        self.client.upsert("docs", points=points)

    def search(self, top_k: int) -> None:
        """Search for what is nearest to the first one."""
        self.client.query_points("docs", query=VECTORS[0], limit=top_k)

    def filtered(self) -> None:
        """Search with a filter that nothing passes."""
        condition = self.models.FieldCondition(key="text", match=self.models.MatchValue(value="none"))
        self.client.query_points("docs", query=VECTORS[0], limit=2, query_filter=self.models.Filter(must=[condition]))

    def fail(self) -> None:
        """Search with a vector of another length."""
        self.client.query_points("docs", query=[1.0], limit=2)


class AsyncQdrant(Qdrant):
    """Its asynchronous client."""

    def fill(self) -> None:
        """Make a collection of four vectors."""
        super().fill()
        qdrant: Any = pytest.importorskip("qdrant_client")
        plain = self.client
        self.client = qdrant.AsyncQdrantClient(":memory:")
        asyncio.run(
            self.client.create_collection("docs", vectors_config=plain.get_collection("docs").config.params.vectors)
        )
        points = [
            self.models.PointStruct(id=at, vector=vector, payload={"text": text})
            for at, (vector, text) in enumerate(zip(VECTORS, TEXTS, strict=True))
        ]
        asyncio.run(self.client.upsert("docs", points=points))

    def search(self, top_k: int) -> None:
        """Search for what is nearest to the first one."""
        asyncio.run(self.client.query_points("docs", query=VECTORS[0], limit=top_k))

    def filtered(self) -> None:
        """Search with a filter that nothing passes."""
        condition = self.models.FieldCondition(key="text", match=self.models.MatchValue(value="none"))
        wanted = self.models.Filter(must=[condition])
        asyncio.run(self.client.query_points("docs", query=VECTORS[0], limit=2, query_filter=wanted))

    def fail(self) -> None:
        """Search with a vector of another length."""
        asyncio.run(self.client.query_points("docs", query=[1.0], limit=2))


class Faiss(Engine):
    """faiss."""

    name, module, source = "faiss", "faiss", "IndexFlatL2"

    def fill(self) -> None:
        """Make an index of four vectors."""
        self.faiss: Any = pytest.importorskip("faiss")
        self.numpy: Any = pytest.importorskip("numpy")
        self.index = self.faiss.IndexFlatL2(3)
        self.index.add(self.numpy.array(VECTORS, dtype="float32"))

    def search(self, top_k: int) -> None:
        """Search for what is nearest to the first one."""
        self.index.search(self.numpy.array(VECTORS[:1], dtype="float32"), top_k)

    def filtered(self) -> None:
        """Search with a filter that nothing passes."""
        nothing = self.faiss.IDSelectorBatch([100])
        wanted = self.faiss.SearchParameters(sel=nothing)
        self.index.search(self.numpy.array(VECTORS[:1], dtype="float32"), 2, params=wanted)

    def fail(self) -> None:
        """Search with a vector of another length."""
        self.index.search(self.numpy.array([[1.0]], dtype="float32"), 2)


class Lance(Engine):
    """lancedb in a folder."""

    name, module = "lancedb", "lancedb"

    def fill(self) -> None:
        """Make a table of four vectors."""
        lancedb: Any = pytest.importorskip("lancedb")
        rows = [{"vector": vector, "text": text} for vector, text in zip(VECTORS, TEXTS, strict=True)]
        self.table = lancedb.connect("memory://").create_table("docs", data=rows[:1])
        self.table.add(rows[1:])

    def search(self, top_k: int) -> None:
        """Search for what is nearest to the first one."""
        self.table.search(VECTORS[0]).limit(top_k).to_list()

    def filtered(self) -> None:
        """Search with a filter that nothing passes."""
        self.table.search(VECTORS[0]).where("text = 'none'").limit(2).to_list()

    def fail(self) -> None:
        """Search with a filter that is none."""
        self.table.search(VECTORS[0]).where("nonsense (").limit(2).to_list()


class Milvus(Engine):
    """Milvus Lite, in a file of its own."""

    name, module, better = "pymilvus", "milvus_lite", "similarity"

    def fill(self) -> None:
        """Make a collection of four vectors."""
        pymilvus: Any = pytest.importorskip("pymilvus")
        self.folder = tempfile.TemporaryDirectory()
        self.client = pymilvus.MilvusClient(f"{self.folder.name}/milvus.db")
        self.client.create_collection("docs", dimension=3, metric_type="COSINE")
        rows = [
            {"id": at, "vector": vector, "text": text}
            for at, (vector, text) in enumerate(zip(VECTORS, TEXTS, strict=True))
        ]
        self.client.insert("docs", rows)

    def search(self, top_k: int) -> None:
        """Search for what is nearest to the first one."""
        self.client.search("docs", [VECTORS[0]], limit=top_k, output_fields=["text"])

    def filtered(self) -> None:
        """Search with a filter that nothing passes."""
        self.client.search("docs", [VECTORS[0]], filter="text == 'none'", limit=2)

    def fail(self) -> None:
        """Search with a vector of another length."""
        self.client.search("docs", [[1.0]], limit=2)

    def close(self) -> None:
        """Stop the engine."""
        self.client.close()
        self.folder.cleanup()


ENGINES = (Chroma, Qdrant, AsyncQdrant, Faiss, Lance, Milvus)


@pytest.fixture(name="engine", params=ENGINES, ids=lambda engine: engine.__name__)
def _engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """A store."""
    engine: Engine = request.param()
    pytest.importorskip(engine.module)
    yield engine
    engine.close()


@pytest.fixture(name="seen")
def _seen(engine: Engine) -> Iterator[Seen]:
    """What is emitted."""
    with capture() as seen:
        trisignal.instrument(engine.name)
        yield seen
        trisignal.uninstrument()


def named(seen: Seen, operation: str) -> list[Any]:
    """Spans of an operation."""
    return [span for span in seen.spans if span.attributes["gen_ai.operation.name"] == operation]


def test_a_search(engine: Engine, seen: Seen) -> None:
    """A search says where it looked, what it asked for, how much it found, and how near that is."""
    engine.fill()
    engine.search(3)
    [span] = named(seen, "retrieval")
    facts = span.attributes
    assert span.name == f"retrieval {engine.source}"
    assert facts["gen_ai.data_source.id"] == engine.source
    assert (facts["gen_ai.retrieval.top_k"], facts["llm.retrieval.results"], facts["llm.retrieval.empty"]) == (3, 3, 0)
    best, worst = facts["llm.retrieval.best_score"], facts["llm.retrieval.worst_score"]
    assert best < worst if engine.better == "distance" else best > worst
    assert facts["llm.retrieval.score_kind"] == engine.better
    assert "llm.retrieval.filtered" not in facts
    assert not [name for name in facts if name.startswith(("gen_ai.retrieval.query", "gen_ai.retrieval.documents"))]
    provider = facts["gen_ai.provider.name"]
    assert seen.value("llm_retrieval_duration_seconds_count", gen_ai_provider_name=provider, llm_outcome="ok") == 1
    assert seen.value("llm_retrieval_results_sum", gen_ai_data_source_id=engine.source) == 3
    assert seen.value("llm_retrieval_score_count", score=engine.better) == 1
    assert seen.value("llm_retrieval_empty_total") == 0
    assert seen.value("llm_requests_total") == 0


def test_a_search_that_finds_nothing(engine: Engine, seen: Seen) -> None:
    """A filter is seen, and so is a query that finds nothing."""
    engine.fill()
    engine.filtered()
    [span] = named(seen, "retrieval")
    assert span.attributes["llm.retrieval.filtered"] is True
    assert (span.attributes["llm.retrieval.results"], span.attributes["llm.retrieval.empty"]) == (0, 1)
    assert "llm.retrieval.best_score" not in span.attributes
    assert seen.value("llm_retrieval_empty_total", gen_ai_data_source_id=engine.source) == 1


def test_what_is_written(engine: Engine, seen: Seen) -> None:
    """Vectors that are put into a store are a call of its own."""
    engine.fill()
    writes = named(seen, "write_vectors")
    assert {span.attributes["gen_ai.data_source.id"] for span in writes} == {engine.source}
    assert sum(span.attributes["llm.retrieval.vectors"] for span in writes) in (3, 4, 8)
    assert not named(seen, "retrieval")


def test_texts_only_with_content(engine: Engine) -> None:
    """Ids, scores and texts of what was found are shown where content is captured."""
    with capture(capture_content=True) as seen:
        trisignal.instrument(engine.name)
        engine.fill()
        engine.search(2)
        trisignal.uninstrument()
        [span] = named(seen, "retrieval")
    documents = json.loads(span.attributes["gen_ai.retrieval.documents"])
    assert len(documents) == 2
    assert {"id", "score"} <= documents[0].keys()
    if engine.name != "faiss":
        assert "north" in json.dumps(documents)


def test_a_search_that_fails(engine: Engine, seen: Seen) -> None:
    """A search that raises is an error, and the exception is the engine's."""
    engine.fill()
    with pytest.raises((ValueError, AssertionError, RuntimeError, LookupError, Exception)) as raised:
        engine.fail()
    assert "trisignal" not in type(raised.value).__module__
    [span] = named(seen, "retrieval")
    assert span.attributes["llm.outcome"] == "error"
    assert seen.value("llm_retrieval_duration_seconds_count", llm_outcome="error") == 1
