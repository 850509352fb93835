"""weaviate's client against a server that speaks its protocols, HTTP and gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import pytest
from loopback import Loopback, json_reply

from trisignal.testing import Seen

weaviate: Any = pytest.importorskip("weaviate")

import grpc  # noqa: E402  # comes with it
from weaviate.classes.query import Filter, MetadataQuery  # noqa: E402
from weaviate.proto.v1 import batch_pb2, search_get_pb2, weaviate_pb2_grpc  # noqa: E402

pytestmark = pytest.mark.instruments("weaviate")

IDS = ("11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222")


class Store(weaviate_pb2_grpc.WeaviateServicer):
    """The store: two objects are found, unless nothing is to be."""

    def __init__(self) -> None:
        self.http = Loopback()
        self.http.handle(lambda request: json_reply({"version": "1.34.0", "hostname": "none"}))
        self._server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
        weaviate_pb2_grpc.add_WeaviateServicer_to_server(self, self._server)
        self.port: int = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()
        self.distances: tuple[float, ...] = (0.1, 0.4)
        self.refuses = False

    def close(self) -> None:
        """Stop listening."""
        self._server.stop(None).wait()
        self.http.close()

    def Search(self, request: Any, context: Any) -> Any:
        """What is near."""
        if self.refuses:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no such collection")
        reply = search_get_pb2.SearchReply()
        for id_, distance in zip(IDS, self.distances, strict=False):
            metadata = reply.results.add().metadata
            metadata.id, metadata.distance, metadata.distance_present = id_, distance, True
        return reply

    def BatchObjects(self, request: Any, context: Any) -> Any:
        """All of them are written."""
        return batch_pb2.BatchObjectsReply()


@pytest.fixture(name="store")
def _store() -> Iterator[Store]:
    """The store."""
    store = Store()
    yield store
    store.close()


def place(store: Store) -> dict[str, Any]:
    """Where a client finds it."""
    return {
        "http_host": "127.0.0.1", "http_port": store.http.port, "http_secure": False,
        "grpc_host": "127.0.0.1", "grpc_port": store.port, "grpc_secure": False, "skip_init_checks": True,
    }  # fmt: skip


ASKED = {"near_vector": [1.0, 0.0], "limit": 5, "return_metadata": MetadataQuery(distance=True)}


def sync_search(store: Store, **more: Any) -> int:
    """Search with the synchronous client."""
    with weaviate.connect_to_custom(**place(store)) as client:
        return len(client.collections.use("Docs").query.near_vector(**ASKED, **more).objects)


def async_search(store: Store, **more: Any) -> int:
    """Search with the asynchronous client."""

    async def run() -> int:
        async with weaviate.use_async_with_custom(**place(store)) as client:
            return len((await client.collections.use("Docs").query.near_vector(**ASKED, **more)).objects)

    return asyncio.run(run())


@pytest.mark.parametrize("way", [sync_search, async_search])
def test_a_search_for_neighbours(store: Store, seen: Seen, way: Any) -> None:
    """It is a retrieval with collection, counts, distances and whether there was a filter."""
    assert way(store, filters=Filter.by_property("kind").equal("x")) == 2
    attributes = dict(seen.span.attributes or {})
    assert seen.span.name == "retrieval Docs"
    assert attributes["gen_ai.provider.name"] == "weaviate"
    assert attributes["gen_ai.retrieval.top_k"] == 5
    assert attributes["llm.retrieval.results"] == 2
    assert attributes["llm.retrieval.best_score"] == pytest.approx(0.1)
    assert attributes["llm.retrieval.worst_score"] == pytest.approx(0.4)
    assert attributes["llm.retrieval.score_kind"] == "distance"
    assert attributes["llm.retrieval.filtered"] is True
    assert attributes["server.port"] == store.http.port
    assert seen.value("llm_retrieval_results_sum") == 2


def test_nothing_is_found(store: Store, seen: Seen) -> None:
    """It counts as empty."""
    store.distances = ()
    assert sync_search(store) == 0
    assert seen.value("llm_retrieval_empty_total") == 1


def test_a_refusal(store: Store, seen: Seen) -> None:
    """It is an error, and the application's exception."""
    store.refuses = True
    with pytest.raises(weaviate.exceptions.WeaviateQueryError):
        sync_search(store)
    assert dict(seen.span.attributes or {})["error.type"].endswith("WeaviateQueryError")


def test_writes_and_fetches(store: Store, seen: Seen) -> None:
    """A batch of objects is a write; objects that are fetched without a search are none of this."""
    with weaviate.connect_to_custom(**place(store)) as client:
        docs = client.collections.use("Docs")
        docs.data.insert_many([{"text": "a"}, {"text": "b"}])
        docs.query.fetch_objects(limit=2)
    (span,) = seen.spans
    assert span.name == "write_vectors Docs"
    assert dict(span.attributes or {})["llm.retrieval.vectors"] == 2
