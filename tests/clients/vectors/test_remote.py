"""Vector stores behind HTTP, played by a server on this machine."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from loopback import Loopback, json_reply

import trisignal
from trisignal.testing import Seen

HITS = [
    {"_index": "docs", "_id": str(at), "_score": score, "_source": {"text": "x"}} for at, score in enumerate((0.9, 0.5))
]
ANSWER = {
    "took": 1, "timed_out": False, "_shards": {"total": 1, "successful": 1, "skipped": 0, "failed": 0},
    "hits": {"total": {"value": 2, "relation": "eq"}, "max_score": 0.9, "hits": HITS},
}  # fmt: skip
PRODUCT = {"X-Elastic-Product": "Elasticsearch", "Content-Type": "application/vnd.elasticsearch+json;compatible-with=9"}
KNN = {"field": "place", "query_vector": [1.0, 0.0], "k": 2, "num_candidates": 10}


def elastic(server: Loopback, **search: Any) -> None:
    """Search with Elasticsearch's client."""
    elasticsearch: Any = pytest.importorskip("elasticsearch")
    server.handle(lambda request: json_reply(ANSWER, headers=PRODUCT))
    with elasticsearch.Elasticsearch(server.url) as client:
        client.search(index="docs", **search)


def async_elastic(server: Loopback, **search: Any) -> None:
    """Search with its asynchronous client."""
    elasticsearch: Any = pytest.importorskip("elasticsearch")
    pytest.importorskip("aiohttp")
    server.handle(lambda request: json_reply(ANSWER, headers=PRODUCT))

    async def run() -> None:
        async with elasticsearch.AsyncElasticsearch(server.url) as client:
            await client.search(index="docs", **search)

    asyncio.run(run())


def opensearch(server: Loopback, **search: Any) -> None:
    """Search with OpenSearch's client."""
    package: Any = pytest.importorskip("opensearchpy")
    server.handle(lambda request: json_reply(ANSWER, headers={"Content-Type": "application/json"}))
    client = package.OpenSearch([{"host": "127.0.0.1", "port": server.port}], use_ssl=False)
    client.search(index="docs", body=search)
    client.close()


def near(way: Any, **more: Any) -> dict[str, Any]:
    """A search for neighbours, as the store wants it."""
    if way is opensearch:
        return {"size": 2, "query": {"knn": {"place": {"vector": [1.0, 0.0], "k": 2, **more}}}}
    return {"knn": {**KNN, **more}}


@pytest.mark.parametrize("way", [elastic, async_elastic, opensearch])
def test_a_search_for_neighbours(server: Loopback, seen: Seen, way: Any) -> None:
    """A search with a kNN clause is a retrieval; any other search is left alone."""
    name = "opensearch" if way is opensearch else "elasticsearch"
    pytest.importorskip("opensearchpy" if way is opensearch else "elasticsearch")
    trisignal.instrument(name)
    way(server, **near(way, filter={"term": {"kind": "word"}}))
    way(server, query={"match_all": {}})
    facts = seen.span.attributes
    assert seen.span.name == "retrieval docs"
    assert facts["gen_ai.provider.name"] == name
    assert (facts["server.address"], facts["server.port"]) == ("127.0.0.1", server.port)
    assert (facts["gen_ai.retrieval.top_k"], facts["llm.retrieval.results"]) == (2, 2)
    assert (facts["llm.retrieval.best_score"], facts["llm.retrieval.worst_score"]) == (0.9, 0.5)
    assert facts["llm.retrieval.filtered"] is True
    assert seen.value("llm_retrieval_score_sum", score="similarity") == 0.9


MATCHES = {
    "matches": [{"id": "a", "score": 0.8, "values": []}, {"id": "b", "score": 0.2, "values": []}],
    "namespace": "docs", "usage": {"readUnits": 1},
}  # fmt: skip


def pinecone_query(server: Loopback) -> None:
    """Query with pinecone's client."""
    pinecone: Any = pytest.importorskip("pinecone")
    server.handle(lambda request: json_reply(MATCHES))
    client = pinecone.Pinecone(api_key="none", host=server.url)
    index = client.Index(host=server.url) if hasattr(client, "Index") else client.index(host=server.url)
    index.query(vector=[1.0, 0.0], top_k=2, namespace="docs", filter={"kind": "word"})


def test_pinecone(server: Loopback, seen: Seen) -> None:
    """A query of an index is a retrieval, named by its namespace where the host names no index."""
    pytest.importorskip("pinecone")
    trisignal.instrument("pinecone")
    pinecone_query(server)
    facts = seen.span.attributes
    assert seen.span.name == "retrieval docs"
    assert (facts["gen_ai.retrieval.top_k"], facts["llm.retrieval.results"]) == (2, 2)
    assert (facts["llm.retrieval.best_score"], facts["llm.retrieval.worst_score"]) == (0.8, 0.2)
    assert facts["llm.retrieval.filtered"] is True
    assert facts["server.port"] == server.port
