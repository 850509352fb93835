"""Bedrock's knowledge bases: a search is a retrieval, an answer and a ranking are model calls."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from aiobotocore.session import get_session
from botocore.exceptions import ClientError
from loopback import Loopback, Reply, json_reply

import trisignal
from trisignal import semconv
from trisignal.testing import Seen, capture

KEYS = {"region_name": "us-east-1", "aws_access_key_id": "none", "aws_secret_access_key": "none"}
ARN = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0"
RETRIEVE = {
    "knowledgeBaseId": "KB12345678",
    "retrievalQuery": {"text": "When does tram 28 run?"},
    "retrievalConfiguration": {
        "vectorSearchConfiguration": {"numberOfResults": 3, "filter": {"equals": {"key": "city", "value": "Lisbon"}}}
    },
}
RESULTS = {
    "retrievalResults": [
        {"content": {"text": "Until eleven."}, "score": 0.9},
        {"content": {"text": "From six."}, "score": 0.4},
    ]
}


@pytest.fixture(name="seen")
def _seen() -> Iterator[Seen]:
    """What is emitted."""
    with capture() as seen:
        trisignal.instrument("bedrock")
        yield seen
        assert seen.value("trisignal_internal_errors_total") == 0
        trisignal.uninstrument()


def call(server: Loopback, asynchronous: bool, operation: str, reply: Reply, **arguments: Any) -> Any:
    """Call an operation."""
    server.play(reply)
    if not asynchronous:
        client = boto3.client("bedrock-agent-runtime", endpoint_url=server.url, **KEYS)
        return getattr(client, operation)(**arguments)

    async def run() -> Any:
        made = get_session().create_client("bedrock-agent-runtime", endpoint_url=server.url, **KEYS)
        async with made as client:
            return await getattr(client, operation)(**arguments)

    return asyncio.run(run())


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_search_is_a_retrieval(seen: Seen, asynchronous: bool) -> None:
    """It has what was asked for and what was found, and no text of either while content is off."""
    with Loopback() as server:
        found = call(server, asynchronous, "retrieve", json_reply(RESULTS), **RETRIEVE)
    assert len(found["retrievalResults"]) == 2
    facts = dict(seen.span.attributes or {})
    assert seen.span.name == "retrieval KB12345678"
    assert facts[semconv.RETRIEVAL_TOP_K] == 3
    assert seen.value("llm_retrieval_results_sum") == 2
    assert "tram" not in str(facts)
    assert "Lisbon" not in str(facts)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_answer_is_a_call_without_usage(seen: Seen, asynchronous: bool) -> None:
    """The model is the one of the configuration, without the account; that its tokens are unknown is counted."""
    given = {
        "input": {"text": "When does tram 28 run?"},
        "retrieveAndGenerateConfiguration": {
            "type": "KNOWLEDGE_BASE",
            "knowledgeBaseConfiguration": {"knowledgeBaseId": "KB12345678", "modelArn": ARN},
        },
    }
    reply = json_reply({"output": {"text": "Until eleven."}, "sessionId": "s"})
    with Loopback() as server:
        call(server, asynchronous, "retrieve_and_generate", reply, **given)
    assert seen.span.name == "chat us.anthropic.claude-sonnet-4-5-20250929-v1:0"
    assert seen.value("llm_requests_total", llm_outcome="ok") == 1
    assert seen.value("llm_usage_missing_total") == 1


def test_a_ranking_that_fails_is_an_error(seen: Seen) -> None:
    """The application gets the client's own error."""
    given = {
        "queries": [{"type": "TEXT", "textQuery": {"text": "trams"}}],
        "sources": [{"type": "INLINE", "inlineDocumentSource": {"type": "TEXT", "textDocument": {"text": "x"}}}],
        "rerankingConfiguration": {
            "type": "BEDROCK_RERANKING_MODEL",
            "bedrockRerankingConfiguration": {"modelConfiguration": {"modelArn": "arn:aws:bedrock:x::y/cohere.rerank"}},
        },
    }
    refusal = json_reply({"message": "no"}, status=403, headers={"x-amzn-errortype": "AccessDeniedException"})
    with Loopback() as server, pytest.raises(ClientError, match="AccessDenied"):
        call(server, False, "rerank", refusal, **given)
    assert seen.span.name == "rerank cohere.rerank"
    assert seen.value("llm_errors_total", llm_error_kind="auth") == 1


@pytest.mark.parametrize(("documents", "queries"), [(1, 1), (100, 1), (101, 2)])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_ranking_is_billed_by_its_documents(seen: Seen, documents: int, queries: int, asynchronous: bool) -> None:
    """A query has at most a hundred documents; more are billed as several, as the price page says."""
    source = {"type": "INLINE", "inlineDocumentSource": {"type": "TEXT", "textDocument": {"text": "x"}}}
    arn = "arn:aws:bedrock:us-east-1::foundation-model/amazon.rerank-v1:0"
    given = {
        "queries": [{"type": "TEXT", "textQuery": {"text": "trams"}}],
        "sources": [source] * documents,
        "rerankingConfiguration": {
            "type": "BEDROCK_RERANKING_MODEL",
            "bedrockRerankingConfiguration": {"modelConfiguration": {"modelArn": arn}},
        },
    }
    with Loopback() as server:
        call(server, asynchronous, "rerank", json_reply({"results": [{"index": 0, "relevanceScore": 0.9}]}), **given)
    assert seen.value("llm_cost_usd_total") == pytest.approx(0.001 * queries)
