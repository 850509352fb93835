"""SQS against moto's server, over boto3 and aiobotocore: the context travels in attributes of messages."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

import trisignal
from trisignal.testing import Seen, capture

boto3: Any = pytest.importorskip("boto3")
pytest.importorskip("flask_cors")
ACCOUNT = {"region_name": "eu-west-1", "aws_access_key_id": "a", "aws_secret_access_key": "b"}


@pytest.fixture(scope="module", name="server")
def _server() -> Iterator[str]:
    moto: Any = pytest.importorskip("moto.server")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(name="seen")
def _seen() -> Iterator[Seen]:
    with capture() as seen:
        yield seen
    trisignal.uninstrument_queues()


@pytest.fixture(name="queue")
def _queue() -> str:
    return f"jobs-{uuid4().hex[:8]}"


def test_boto3(server: str, queue: str, seen: Seen) -> None:
    """A loop over received messages is in each sender's context; a redelivery is a retry; the reply stays a reply."""
    client = boto3.client("sqs", endpoint_url=server, **ACCOUNT)
    url = client.create_queue(QueueName=queue)["QueueUrl"]
    trisignal.instrument_queues("sqs")
    kind = {"kind": {"DataType": "String", "StringValue": "question"}}
    with trisignal.context(request_id="order-7", user_id="Ann-Lee"), trisignal.workflow("send"):
        client.send_message(QueueUrl=url, MessageBody="where?", MessageAttributes=kind)
    with trisignal.context(request_id="order-8"):
        client.send_message_batch(QueueUrl=url, Entries=[{"Id": "1", "MessageBody": "when?"}])
    assert seen.value("llm_queue_depth", queue=queue) == 2
    ids = {}
    reply = client.receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=0, MessageAttributeNames=["kind"]
    )
    for message in reply["Messages"]:
        ids[message["Body"]] = trisignal.request_id()
        if message["Body"] == "where?":
            assert message["MessageAttributes"]["kind"]["StringValue"] == "question"
            with trisignal.llm(provider="openai", model="gpt-4o"):
                pass
    assert ids == {"where?": "order-7", "when?": "order-8"}
    assert trisignal.request_id() is None
    assert isinstance(reply["Messages"], list)
    assert (
        json.loads(json.dumps(reply["Messages"])) == pickle.loads(pickle.dumps(reply["Messages"])) == reply["Messages"]
    )
    assert type(pickle.loads(pickle.dumps(reply["Messages"]))) is list
    assert "Ann-Lee" not in json.dumps(reply["Messages"])
    assert len({span.context.trace_id for span in seen.spans if span.context}) == 1
    assert seen.value("llm_queue_depth", queue=queue) == 0
    assert seen.value("llm_queue_wait_seconds_count", queue=queue) == 2
    again = client.receive_message(QueueUrl=url, MaxNumberOfMessages=10)
    assert seen.value("llm_queue_retries_total", queue=queue) == len(again["Messages"]) == 2
    assert seen.value("llm_queue_depth", queue=queue) == 0
    # boto3's resources, and records that Lambda passes, have no loop of ours: a block continues them.
    message = again["Messages"][0]
    expected = ids[message["Body"]]
    lowered = {key: {"stringValue": one["StringValue"]} for key, one in message["MessageAttributes"].items()}
    for one in (message, {"body": message["Body"], "messageAttributes": lowered}):
        with trisignal.continue_from(one):
            assert trisignal.request_id() == expected
    resource = boto3.resource("sqs", endpoint_url=server, **ACCOUNT).Queue(url)
    with trisignal.context(request_id="order-9"):
        resource.send_message(MessageBody="why?")
    [received] = resource.receive_messages()
    with trisignal.continue_from(received):
        assert trisignal.request_id() == "order-9"


def test_a_message_without_room_goes_out_as_it_is(server: str, queue: str, seen: Seen) -> None:
    """Ten attributes and 256 KiB are what the service takes."""
    client = boto3.client("sqs", endpoint_url=server, **ACCOUNT)
    url = client.create_queue(QueueName=queue)["QueueUrl"]
    trisignal.instrument_queues("sqs")
    full = {f"a{number}": {"DataType": "String", "StringValue": "x"} for number in range(10)}
    client.send_message(QueueUrl=url, MessageBody="full", MessageAttributes=full)
    client.send_message(QueueUrl=url, MessageBody="x" * 262_100)
    [first] = client.receive_message(QueueUrl=url, MessageAttributeNames=["All"])["Messages"]
    [second] = client.receive_message(QueueUrl=url)["Messages"]
    assert set(first["MessageAttributes"]) == set(full)
    assert "MessageAttributes" not in second
    assert seen.value("llm_queue_depth", queue=queue) == 0


async def test_aiobotocore(server: str, queue: str, seen: Seen) -> None:
    """The same, asynchronously."""
    session: Any = pytest.importorskip("aiobotocore.session")
    trisignal.instrument_queues("sqs")
    async with session.get_session().create_client("sqs", endpoint_url=server, **ACCOUNT) as client:
        url = (await client.create_queue(QueueName=queue))["QueueUrl"]
        with trisignal.context(request_id="order-7"):
            await client.send_message(QueueUrl=url, MessageBody="where?")
        reply = await client.receive_message(QueueUrl=url)
        assert [trisignal.request_id() for _ in reply["Messages"]] == ["order-7"]
    assert seen.value("llm_queue_depth", queue=queue) == 0
    assert seen.value("llm_queue_wait_seconds_count", queue=queue) == 1


def test_undone(server: str, queue: str, seen: Seen) -> None:
    """Clients that were made meanwhile are as before."""
    trisignal.instrument_queues("sqs")
    client = boto3.client("sqs", endpoint_url=server, **ACCOUNT)
    url = client.create_queue(QueueName=queue)["QueueUrl"]
    client.receive_message(QueueUrl=url)
    trisignal.uninstrument_queues("sqs")
    client.send_message(QueueUrl=url, MessageBody="where?")
    reply = client.receive_message(QueueUrl=url, MessageAttributeNames=["All"])
    assert type(reply["Messages"]) is list
    assert "MessageAttributes" not in reply["Messages"][0]
