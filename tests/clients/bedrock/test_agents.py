"""Bedrock's agents and flows, and streamed answers of knowledge bases, against event streams of a server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from aiobotocore.session import get_session
from botocore.eventstream import EventStream
from botocore.exceptions import EventStreamError
from clients.bedrock.shapes import broken, streamed
from loopback import Loopback, Reply

import trisignal
from trisignal import testing
from trisignal.testing import Seen

KEYS = {"region_name": "us-east-1", "aws_access_key_id": "none", "aws_secret_access_key": "none"}
MODEL = "anthropic.claude-3-5-haiku-20241022-v1:0"
ASKED = {"agentId": "AGENT12345", "agentAliasId": "ALIAS12345", "sessionId": "s-1", "inputText": "Tram 28?"}


def _trace(**part: Any) -> tuple[str, dict[str, Any]]:
    return "trace", {"agentId": "AGENT12345", "sessionId": "s-1", "trace": {"orchestrationTrace": part}}


def _model(trace_id: str, taken: int, given: int) -> list[tuple[str, dict[str, Any]]]:
    usage = {"inputTokens": taken, "outputTokens": given}
    return [
        _trace(modelInvocationInput={"traceId": trace_id, "foundationModel": MODEL, "type": "ORCHESTRATION"}),
        _trace(modelInvocationOutput={"traceId": trace_id, "metadata": {"usage": usage}}),
    ]


TOOL = {"actionGroupName": "trams", "function": "next_tram", "invocationType": "LAMBDA"}
CALLED = _trace(
    invocationInput={"traceId": "t-1", "invocationType": "ACTION_GROUP", "actionGroupInvocationInput": TOOL}
)
LOOKED = _trace(
    invocationInput={
        "traceId": "t-1",
        "invocationType": "KNOWLEDGE_BASE",
        "knowledgeBaseLookupInput": {"knowledgeBaseId": "KB12345678", "text": "trams"},
    }
)
EVENTS = [
    *_model("t-1", 100, 7),
    CALLED,
    _trace(observation={"traceId": "t-1", "actionGroupInvocationOutput": {"text": "23:10"}}),
    LOOKED,
    _trace(observation={"traceId": "t-1", "knowledgeBaseLookupOutput": {"retrievedReferences": []}}),
    *_model("t-2", 130, 9),
    ("chunk", {"bytes": "VW50aWwgZWxldmVuLg=="}),
]


@pytest.fixture(name="seen")
def _seen() -> Iterator[Seen]:
    """What is emitted."""
    with testing.capture() as seen:
        trisignal.instrument("bedrock")
        yield seen
        assert seen.value("trisignal_internal_errors_total") == 0
        assert seen.value("llm_active_requests") == 0
        trisignal.uninstrument()


def read(server: Loopback, asynchronous: bool, operation: str, key: str, **arguments: Any) -> list[Any]:
    """Call an operation, and read its events to their end."""
    if not asynchronous:
        client = boto3.client("bedrock-agent-runtime", endpoint_url=server.url, **KEYS)
        stream = getattr(client, operation)(**arguments)[key]
        assert type(stream) is EventStream
        return list(stream)

    async def run() -> list[Any]:
        made = get_session().create_client("bedrock-agent-runtime", endpoint_url=server.url, **KEYS)
        async with made as client:
            answer = await getattr(client, operation)(**arguments)
            return [event async for event in answer[key]]

    return asyncio.run(run())


def play(reply: Reply, *rest: Any, **arguments: Any) -> list[Any]:
    """The same, against a server with one reply."""
    with Loopback() as server:
        server.play(reply)
        return read(server, *rest, **arguments)


def _below(seen: Seen, name: str) -> dict[str, dict[str, Any]]:
    """Attributes of the spans right below the one of a name, by their names."""
    (top,) = [span for span in seen.spans if span.name == name]
    assert top.context is not None
    inside = [span for span in seen.spans if span.parent is not None and span.parent.span_id == top.context.span_id]
    return {span.name: dict(span.attributes or {}) for span in inside}


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_run_of_an_agent(seen: Seen, asynchronous: bool) -> None:
    """Each model call is counted with its tokens, below the agent; so are its tools and its look-ups."""
    events = play(streamed(*EVENTS), asynchronous, "invoke_agent", "completion", enableTrace=True, **ASKED)
    assert events[-1]["chunk"]["bytes"] == b"Until eleven."
    assert seen.value("llm_requests_total", llm_outcome="ok") == 2
    assert seen.value("gen_ai_client_token_usage_sum", gen_ai_token_type="input") == 230
    assert seen.value("gen_ai_client_token_usage_sum", gen_ai_token_type="output") == 16
    assert seen.value("llm_cost_usd_total") == pytest.approx((230 * 0.8 + 16 * 4) / 1e6)
    inside = _below(seen, "invoke_agent AGENT12345")
    assert set(inside) == {f"chat {MODEL}", "execute_tool next_tram", "retrieval KB12345678"}
    assert inside[f"chat {MODEL}"]["gen_ai.agent.name"] == "AGENT12345"
    assert inside[f"chat {MODEL}"]["gen_ai.conversation.id"] == "s-1"
    assert {span.context.trace_id for span in seen.spans if span.context} == {seen.spans[0].context.trace_id}


def test_an_agent_without_its_trace(seen: Seen) -> None:
    """There is the agent alone: nothing is made up for what it asked."""
    play(streamed(EVENTS[-1]), False, "invoke_agent", "completion", **ASKED)
    assert [span.name for span in seen.spans] == ["invoke_agent AGENT12345"]
    assert seen.value("llm_requests_total") == 0


@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_inline_agent(seen: Seen, asynchronous: bool) -> None:
    """It has the name that the request gives it, and its collaborators have theirs."""
    asked = {"agentName": "guide", "foundationModel": MODEL, "instruction": "Answer briefly, in one sentence, please.",
             "sessionId": "s-1", "inputText": "Tram 28?", "enableTrace": True}  # fmt: skip
    named = [(kind, {**body, "collaboratorName": "expert"}) for kind, body in _model("t-1", 100, 7)]
    play(streamed(*named), asynchronous, "invoke_inline_agent", "completion", **asked)
    assert _below(seen, "invoke_agent guide")[f"chat {MODEL}"]["gen_ai.agent.name"] == "expert"


def test_a_run_that_fails_in_the_middle(seen: Seen) -> None:
    """The agent has failed, and so has the model call that it waited for."""
    reply = broken("throttlingException", *EVENTS[:-2])
    with pytest.raises(EventStreamError):
        play(reply, False, "invoke_agent", "completion", enableTrace=True, **ASKED)
    outcomes = {span.name: (span.attributes or {}).get("error.type") for span in seen.spans}
    assert outcomes["invoke_agent AGENT12345"] == "throttlingException"
    assert seen.value("llm_requests_total", llm_outcome="error") == 1
    assert seen.value("llm_errors_total", llm_error_kind="rate_limit") == 1


def test_a_run_that_is_left(seen: Seen) -> None:
    """It is abandoned with its stream, and what it had begun with it."""
    with Loopback() as server:
        server.play(streamed(*EVENTS))
        client = boto3.client("bedrock-agent-runtime", endpoint_url=server.url, **KEYS)
        stream = client.invoke_agent(enableTrace=True, **ASKED)["completion"]
        next(iter(stream))
        stream.close()
    assert {(span.attributes or {}).get("llm.outcome") for span in seen.spans} == {"abandoned"}
    assert len(seen.spans) == 2


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_flow_is_a_workflow(seen: Seen, asynchronous: bool) -> None:
    """It lasts until its last event; of its models nothing is reported."""
    asked = {
        "flowIdentifier": "arn:aws:bedrock:us-east-1:123456789012:flow/FLOW123456",
        "flowAliasIdentifier": "ALIAS12345",
        "inputs": [{"nodeName": "in", "nodeOutputName": "document", "content": {"document": "Tram 28?"}}],
    }
    last = ("flowCompletionEvent", {"completionReason": "SUCCESS"})
    play(streamed(last), asynchronous, "invoke_flow", "responseStream", **asked)
    assert [span.name for span in seen.spans] == ["invoke_workflow FLOW123456"]
    assert seen.value("llm_requests_total") == 0


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_streamed_answer_of_a_knowledge_base(seen: Seen, asynchronous: bool) -> None:
    """It is a streamed call whose tokens are unknown."""
    arn = f"arn:aws:bedrock:us-east-1::foundation-model/{MODEL}"
    asked = {
        "input": {"text": "Tram 28?"},
        "retrieveAndGenerateConfiguration": {
            "type": "KNOWLEDGE_BASE",
            "knowledgeBaseConfiguration": {"knowledgeBaseId": "KB12345678", "modelArn": arn},
        },
    }
    events = [("output", {"text": "Until"}), ("output", {"text": " eleven."})]
    got = play(streamed(*events), asynchronous, "retrieve_and_generate_stream", "stream", **asked)
    assert "".join(event["output"]["text"] for event in got) == "Until eleven."
    assert seen.span.name == f"chat {MODEL}"
    assert (seen.span.attributes or {})["gen_ai.request.stream"] is True
    assert seen.value("llm_requests_total", llm_outcome="ok") == 1
    assert seen.value("llm_time_to_first_token_seconds_count") == 1
    assert seen.value("llm_usage_missing_total") == 1
