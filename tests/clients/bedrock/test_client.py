"""What is special about calls through botocore: bodies, counts beside them, other services, late imports."""

from __future__ import annotations

import base64
import gc
import io
import json
import subprocess
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient
from botocore.config import Config
from botocore.eventstream import EventStream
from botocore.response import StreamingBody
from botocore.stub import Stubber
from clients.bedrock.shapes import (
    ANSWER,
    BODY,
    CHAT,
    COUNTS_TOKENS,
    HEAD,
    KIT,
    MESSAGE,
    MESSAGE_ID,
    METADATA,
    MODEL,
    STOP,
    streamed,
)
from loopback import Loopback, Reply, json_reply

import trisignal
from trisignal import testing

_ID = "6a1b0c7e-1111-4222-8333-9d2e5f40aa01"
_COUNTED = {
    "x-amzn-requestid": _ID,
    "x-amzn-bedrock-input-token-count": "12",
    "x-amzn-bedrock-output-token-count": "9",
    "x-amzn-bedrock-cache-read-input-token-count": "4",
}
_TOKENS = ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", "gen_ai.usage.cache_read.input_tokens")


@contextmanager
def recording(*replies: Reply, **settings: Any) -> Iterator[tuple[Any, Any]]:
    """A client whose calls are recorded, and what is seen of them."""
    with Loopback() as server, KIT.client(server.url, 0, 10.0) as client, testing.capture(**settings) as seen:
        server.play(*replies)
        trisignal.instrument("bedrock")
        try:
            yield client, seen
        finally:
            trisignal.uninstrument()


def told(seen: Any, *names: str) -> list[Any]:
    """Attributes of the one span."""
    attributes = seen.span.attributes or {}
    return [attributes.get(name) for name in names]


def chunks(*told: dict[str, Any]) -> Reply:
    """A streamed reply of InvokeModel."""
    return streamed(*(("chunk", {"bytes": base64.b64encode(json.dumps(one).encode()).decode()}) for one in told))


def test_counts_beside_a_body() -> None:
    """A body without counts has those of the reply's headers, with cached tokens in the input."""
    reply = json_reply({"outputs": [{"text": "Yo", "stop_reason": "stop"}]}, headers=_COUNTED)
    with recording(reply) as (client, seen):
        asked = {"prompt": "Hi", "max_tokens": 9}
        client.invoke_model(modelId="mistral.mistral-7b-instruct-v0:2", body=json.dumps(asked))["body"].read()
    assert told(seen, "gen_ai.operation.name", *_TOKENS) == ["text_completion", 16, 9, 4]


def test_counts_in_the_last_chunk() -> None:
    """A stream without counts has those that the service adds to its last chunk."""
    metrics = {"inputTokenCount": 12, "outputTokenCount": 9, "invocationLatency": 438, "firstByteLatency": 281}
    last = {"outputs": [{"text": "", "stop_reason": "stop"}], "amazon-bedrock-invocationMetrics": metrics}
    with recording(chunks({"outputs": [{"text": "Yo", "stop_reason": None}]}, last)) as (client, seen):
        asked = json.dumps({"prompt": "Hi"})
        body = client.invoke_model_with_response_stream(modelId="mistral.m", body=asked)["body"]
        assert type(body) is EventStream
        assert len(list(body)) == 2
    assert told(seen, *_TOKENS, "gen_ai.response.finish_reasons") == [12, 9, None, ("stop",)]


def test_no_counts_are_invented() -> None:
    """Where neither body nor headers tell counts, there is no usage."""
    with recording(json_reply({"outputs": [{"text": "Yo", "stop_reason": "stop"}]})) as (client, seen):
        client.invoke_model(modelId="mistral.m", body=json.dumps({"prompt": "Hi"}))["body"].read()
    assert told(seen, *_TOKENS) == [None, None, None]
    assert seen.value("llm_usage_missing_total") == 1


def test_stream_in_anthropics_format() -> None:
    """Chunks in a vendor's own format are folded as that vendor's are, unwrapped from their events."""
    begun = {"type": "message_start", "message": {**MESSAGE, "content": [], "stop_reason": None}}
    piece = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Yo"}}
    start = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    stop = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7}}
    reply = chunks(begun, start, piece, stop, {"type": "message_stop"})
    with recording(reply, capture_content=True) as (client, seen):
        list(client.invoke_model_with_response_stream(modelId=MODEL, body=json.dumps(BODY).encode())["body"])
    assert told(seen, *_TOKENS, "gen_ai.response.id") == [21, 7, 4, MESSAGE_ID]
    [answer] = told(seen, "gen_ai.output.messages")
    assert json.loads(answer)[0]["parts"] == [{"type": "text", "content": "Yo"}]
    assert seen.value("llm_time_to_first_token_seconds_count") == 1


def test_content_of_a_converse_stream() -> None:
    """Messages are captured when asked for, those of a stream put together."""
    with recording(streamed(*HEAD, *STOP, METADATA), capture_content=True) as (client, seen):
        list(client.converse_stream(**CHAT)["stream"])
    asked, answer = map(json.loads, told(seen, "gen_ai.input.messages", "gen_ai.output.messages"))
    assert asked[0]["parts"] == [{"type": "text", "content": "Plan a trip to Lisbon."}]
    assert answer[0]["parts"] == [{"type": "text", "content": "Three days in Alfama."}]


def test_content_of_a_body() -> None:
    """So are those of a body."""
    with recording(json_reply(MESSAGE), capture_content=True) as (client, seen):
        client.invoke_model(modelId=MODEL, body=json.dumps(BODY))["body"].read()
    asked, answer = map(json.loads, told(seen, "gen_ai.input.messages", "gen_ai.output.messages"))
    assert asked[0]["parts"] == [{"type": "text", "content": "Hi"}]
    assert answer[0]["parts"] == [{"type": "text", "content": "Three days in Alfama."}]


def test_ids_of_guardrail_and_request() -> None:
    """The guardrail is on the span, and the service's request id in the log line."""
    with recording(json_reply(MESSAGE, headers=_COUNTED)) as (client, seen):
        asked = {"modelId": MODEL, "body": json.dumps(BODY), "guardrailIdentifier": "gr-1", "guardrailVersion": "1"}
        client.invoke_model(**asked)["body"].read()
    assert told(seen, "aws.bedrock.guardrail.id") == ["gr-1"]
    [line] = seen.logs
    assert line["llm.response.request_id"] == _ID


def test_requested_profile_is_priced() -> None:
    """The body names the bare model; what is billed is the profile that was asked for."""
    costs = {}
    for scope in ("global", "us"):
        with recording(json_reply(MESSAGE)) as (client, seen):
            model = f"{scope}.anthropic.claude-sonnet-4-5-20250929-v1:0"
            client.invoke_model(modelId=model, body=json.dumps(BODY))["body"].read()
            costs[scope] = seen.value("llm_cost_usd_total")
    assert 0 < costs["global"] < costs["us"]


def test_other_services_and_operations_are_left_alone() -> None:
    """Neither another AWS service nor what calls no model is recorded, and their bodies are read as ever."""
    keys = {"aws_access_key_id": "AKIALOOPBACK", "aws_secret_access_key": "loopback", "region_name": "us-west-2"}
    with Loopback() as server, testing.capture() as seen:
        server.play(Reply(headers={"Content-Type": "text/plain"}, body=b"data"), json_reply({"inputTokens": 3}))
        trisignal.instrument("bedrock")
        path_style = Config(s3={"addressing_style": "path"})
        s3 = boto3.client("s3", endpoint_url=server.url, config=path_style, **keys)
        assert s3.get_object(Bucket="a", Key="b")["Body"].read() == b"data"
        s3.close()
        with KIT.client(server.url, 0, 10.0) as client:
            if not COUNTS_TOKENS:
                pytest.skip("this version has no such call")
            assert client.count_tokens(modelId=MODEL, input={"converse": {"messages": []}})["inputTokens"] == 3
        trisignal.uninstrument()
    assert not seen.spans


def test_stubbed_replies() -> None:
    """Replies of botocore's own stubs are read too, a body over a buffer in memory as well."""
    with recording() as (client, seen), Stubber(client) as stub:
        data = json.dumps(MESSAGE).encode()
        stub.add_response("invoke_model", {"body": StreamingBody(io.BytesIO(data), len(data)), "contentType": "j"})
        stub.add_response("invoke_model", {"body": io.BytesIO(data), "contentType": "j"})
        stub.add_response("converse", ANSWER | {"metrics": {"latencyMs": 1}})
        with client.invoke_model(modelId=MODEL, body=json.dumps(BODY))["body"] as raw:
            assert raw.read() == data
        assert client.invoke_model(modelId=MODEL, body=json.dumps(BODY))["body"].read() == data
        assert client.converse(**CHAT)["stopReason"] == "end_turn"
    assert len(seen.spans) == 3


def test_file_as_request_body(tmp_path: Path) -> None:
    """A buffer in memory is understood; a file is sent as it is, and what it says stays unknown."""
    file = tmp_path / "body"
    file.write_text(json.dumps(BODY))
    for opened, operation in ((io.BytesIO(file.read_bytes()), "chat"), (file.open("rb"), "request")):
        with opened, recording(json_reply(MESSAGE)) as (client, seen):
            client.invoke_model(modelId=MODEL, body=opened)["body"].read()
        assert told(seen, "gen_ai.operation.name", "gen_ai.request.model") == [operation, MODEL]


def test_nothing_holds_a_dropped_body() -> None:
    """A body that is dropped is freed at once, without the garbage collector, as is the connection below it."""
    with recording(json_reply(MESSAGE), json_reply(MESSAGE)) as (client, seen):
        for entered in (False, True):
            body = client.invoke_model(modelId=MODEL, body=json.dumps(BODY))["body"]
            raw = body.__enter__() if entered else body._raw_stream
            body, raw = weakref.ref(body), weakref.ref(raw)
            assert (body(), raw()) == (None, None)
        assert [span.attributes["llm.outcome"] for span in seen.spans] == ["abandoned", "abandoned"]


def test_duration_ends_where_a_loop_was_left() -> None:
    """A stream that is collected late took no longer than the application read it."""
    clock = testing.FakeClock()
    with recording(streamed(*HEAD, *STOP, METADATA), clock=clock) as (client, seen):
        stream = client.converse_stream(**CHAT)["stream"]
        for _ in stream:
            clock.advance(1.0)
            break
        clock.advance(60.0)
        del stream, _
        gc.collect()
        [line] = seen.logs
    assert line["duration_s"] < 10


def test_undone() -> None:
    """What was patched is as before once it is undone."""
    before = BaseClient._make_api_call, StreamingBody.read, EventStream.__iter__
    trisignal.instrument("bedrock")
    assert BaseClient._make_api_call is not before[0]
    trisignal.uninstrument("bedrock")
    assert (BaseClient._make_api_call, StreamingBody.read, EventStream.__iter__) == before


@pytest.mark.slow
def test_packages_may_be_imported_later() -> None:
    """Both packages are patched whenever they are imported, in whatever order."""
    program = """
import trisignal
trisignal.instrument()
{first}
import botocore.client, aiobotocore.client, aiobotocore.response
for cls in (botocore.client.BaseClient, aiobotocore.client.AioBaseClient):
    assert hasattr(vars(cls)["_make_api_call"], "_self_patch"), cls
assert hasattr(vars(aiobotocore.response.StreamingBody)["read"], "_self_patch")
trisignal.uninstrument()
assert not hasattr(vars(aiobotocore.client.AioBaseClient)["_make_api_call"], "_self_patch")
"""
    for first in ("import botocore", "import boto3", "import aiobotocore", "import aiobotocore.session"):
        done = subprocess.run(
            [sys.executable, "-c", program.format(first=first)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (first, done.stderr)
