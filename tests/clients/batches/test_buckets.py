"""Batch jobs whose results are on a bucket: Bedrock's by S3, and any other that an application reads."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clients.batches.pairs import counted_by_two
from loopback import Loopback, Recorded, Reply, json_reply

import trisignal
from trisignal.testing import Seen, capture

boto3: Any = pytest.importorskip("boto3")

MODEL = "anthropic.claude-3-haiku-20240307-v1:0"
ARN = "arn:aws:bedrock:us-east-1:123456789012:model-invocation-job/ab12cd34ef56"
JOB: dict[str, Any] = {
    "jobArn": ARN, "modelId": MODEL, "status": "InProgress", "submitTime": "2026-11-01T10:00:00Z",
    "roleArn": "arn:aws:iam::123456789012:role/batch",
    "inputDataConfig": {"s3InputDataConfig": {"s3Uri": "s3://bucket/in/"}},
    "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://bucket/out/"}},
}  # fmt: skip
DONE = {
    **JOB, "status": "PartiallyCompleted", "endTime": "2026-11-01T11:00:00Z",
    "totalRecordCount": 3, "successRecordCount": 2, "errorRecordCount": 1,
}  # fmt: skip
KEYS = {"aws_access_key_id": "AKIALOOPBACK", "aws_secret_access_key": "loopback", "region_name": "us-east-1"}
COST_USD = (300 * 0.25 + 30 * 1.25) / 2 / 1e6


def record(key: str, tokens: int, output: int) -> dict[str, Any]:
    """A line with the result of one request."""
    asked = {"anthropic_version": "bedrock-2023-05-31", "messages": [{"role": "user", "content": "?"}]}
    answer = {
        "id": f"msg_{key}", "type": "message", "role": "assistant", "model": "claude-3-haiku-20240307", "content": [],
        "stop_reason": "end_turn", "usage": {"input_tokens": tokens, "output_tokens": output},
    }  # fmt: skip
    return {"recordId": key, "modelInput": asked, "modelOutput": answer}


REFUSED = {"recordId": "c", "modelInput": {}, "error": {"errorCode": 400, "errorMessage": "bad"}}
RECORDS = (record("a", 100, 10), record("b", 200, 20), REFUSED)


def body(*records: dict[str, Any]) -> bytes:
    """A file with results."""
    return b"".join(json.dumps(one).encode() + b"\n" for one in records)


@pytest.fixture(name="server")
def _server() -> Iterator[Loopback]:
    """Amazon."""

    def answer(request: Recorded) -> Reply:
        if "model-invocation-job" in request.path:
            return json_reply(DONE)
        halves = {"one": RECORDS[:1], "two": RECORDS[1:]}
        chosen = next((part for name, part in halves.items() if f"{name}.jsonl.out" in request.path), RECORDS)
        return Reply(headers={"Content-Type": "binary/octet-stream"}, body=body(*chosen))

    with Loopback() as server:
        server.handle(answer)
        yield server


def _paths() -> Any:
    from botocore.config import Config

    return Config(s3={"addressing_style": "path"})


def clients(server: Loopback) -> tuple[Any, Any]:
    """Those of the control plane and of the storage."""
    place = {"endpoint_url": server.url, **KEYS}
    return boto3.client("bedrock", **place), boto3.client("s3", config=_paths(), **place)


def check(seen: Seen) -> None:
    """Every request counted once, at half the price, and the job has one span."""
    seen.telemetry.force_flush()
    assert seen.value("llm_requests_total", llm_outcome="ok", gen_ai_request_model=MODEL) == 2
    assert seen.value("llm_requests_total", llm_outcome="error") == 1
    assert seen.value("llm_errors_total", llm_error_kind="invalid_request", error_type="400") == 1
    assert seen.value("gen_ai_client_token_usage_sum") == 330
    assert seen.value("llm_cost_usd_total") == pytest.approx(COST_USD)
    (job,) = seen.spans
    attributes = dict(job.attributes or {})
    assert job.name == f"batch_job {MODEL}"
    assert attributes["gen_ai.provider.name"] == "aws.bedrock"
    assert (attributes["llm.batch.id"], attributes["llm.batch.state"]) == ("ab12cd34ef56", "partiallycompleted")
    assert [attributes[f"llm.batch.{name}"] for name in ("requests", "succeeded", "failed")] == [3, 2, 1]
    assert attributes["gen_ai.usage.input_tokens"] == 300
    assert job.end_time is not None
    assert job.start_time is not None
    assert job.end_time - job.start_time == 3600 * 10**9


@pytest.mark.parametrize("way", ["whole", "pieces", "lines"])
def test_bedrock(seen: Seen, server: Loopback, way: str) -> None:
    """A job that is polled often, with its results read twice, in any way."""
    trisignal.instrument("bedrock")
    bedrock, s3 = clients(server)

    for _ in range(20):
        assert bedrock.get_model_invocation_job(jobIdentifier=ARN)["status"] == "PartiallyCompleted"
    for _ in range(2):
        found = s3.get_object(Bucket="bucket", Key="out/ab12cd34ef56/in.jsonl.out")["Body"]
        if way == "lines":
            got = [line + b"\n" for line in found.iter_lines()]
        else:
            got = [found.read()] if way == "whole" else list(found.iter_chunks(100))
        assert b"".join(got) == body(*RECORDS)
    check(seen)


def test_bedrock_results_before_the_job(seen: Seen, server: Loopback) -> None:
    """They count under the model that the replies name, and once."""
    trisignal.instrument("bedrock")
    bedrock, s3 = clients(server)
    s3.get_object(Bucket="bucket", Key="out/ab12cd34ef56/in.jsonl.out")["Body"].read()
    bedrock.get_model_invocation_job(jobIdentifier=ARN)
    assert seen.value("llm_requests_total", gen_ai_request_model="claude-3-haiku-20240307") == 3
    assert seen.value("llm_requests_total") == 3
    assert seen.value("gen_ai_client_token_usage_sum") == 330


def test_bedrock_with_several_files(seen: Seen, server: Loopback) -> None:
    """Each file with results is a part of the job; other files are nothing."""
    trisignal.instrument("bedrock")
    bedrock, s3 = clients(server)
    bedrock.get_model_invocation_job(jobIdentifier=ARN)
    for name in ("two", "one", "two"):
        s3.get_object(Bucket="bucket", Key=f"out/ab12cd34ef56/{name}.jsonl.out")["Body"].read()
    s3.get_object(Bucket="bucket", Key="in/other.jsonl")["Body"].read()
    check(seen)


def test_bedrock_asynchronous(seen: Seen, server: Loopback) -> None:
    """The same with aiobotocore."""
    session: Any = pytest.importorskip("aiobotocore.session")
    config: Any = pytest.importorskip("aiobotocore.config")
    trisignal.instrument("bedrock")

    async def run() -> None:
        made, place = session.get_session(), {"endpoint_url": server.url, **KEYS}
        path_style = config.AioConfig(s3={"addressing_style": "path"})
        async with made.create_client("bedrock", **place) as bedrock:
            await bedrock.get_model_invocation_job(jobIdentifier=ARN)
        async with made.create_client("s3", config=path_style, **place) as s3:
            found = await s3.get_object(Bucket="bucket", Key="out/ab12cd34ef56/in.jsonl.out")
            await found["Body"].read()

    asyncio.run(run())
    check(seen)


@pytest.mark.parametrize("form", ["path", "bytes", "texts", "objects"])
def test_results_that_the_application_has_read(seen: Seen, tmp_path: Path, form: str) -> None:
    """A file, lines or decoded lines of a job that nobody retrieved: once, with the model that is given."""
    path = tmp_path / "in.jsonl.out"
    path.write_bytes(body(*RECORDS))
    forms: dict[str, Any] = {
        "path": path,
        "bytes": body(*RECORDS).splitlines(),
        "texts": path.read_text("utf-8").splitlines(keepends=True),
        "objects": RECORDS,
    }
    for _ in range(2):
        trisignal.batch_results(forms[form], provider="aws.bedrock", job_id="ab12cd34ef56", model=MODEL)
    assert seen.value("llm_requests_total", gen_ai_request_model=MODEL) == 3
    assert seen.value("llm_cost_usd_total") == pytest.approx(COST_USD)


def test_parts_of_a_job_that_nobody_retrieved(seen: Seen) -> None:
    """Each part counts, whatever came before; the job's span follows once its state is known."""
    for part, records in (("one", RECORDS[:1]), ("two", RECORDS[1:]), ("one", RECORDS[:1])):
        trisignal.batch_results(records, provider="aws.bedrock", job_id="ab12cd34ef56", model=MODEL, part=part)
    assert seen.value("llm_requests_total", gen_ai_request_model=MODEL) == 3
    assert seen.value("gen_ai_client_token_usage_sum") == 330


def _count(url: str, store: str, counted: Any) -> None:
    """What one process counts that polls a job and reads its results."""
    with capture(store=store) as seen:
        trisignal.instrument("bedrock")
        bedrock = boto3.client("bedrock", endpoint_url=url, **KEYS)
        s3 = boto3.client("s3", endpoint_url=url, config=_paths(), **KEYS)
        for _ in range(20):
            bedrock.get_model_invocation_job(jobIdentifier=ARN)
        s3.get_object(Bucket="bucket", Key="out/ab12cd34ef56/in.jsonl.out")["Body"].read()
        counted.put((seen.value("llm_requests_total"), seen.value("gen_ai_client_token_usage_sum")))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="processes are forked")
def test_two_processes_count_once(server: Loopback, tmp_path: Path) -> None:
    """Processes that share a store count a job of Bedrock once between them, each polling it twenty times."""
    assert counted_by_two(_count, server.url, tmp_path / "store") == (3, 330)


def test_vertex_results_on_a_bucket(seen: Seen) -> None:
    """Lines of Vertex AI's predictions name their model themselves; failed ones cost nothing."""
    usage = {"promptTokenCount": 100, "candidatesTokenCount": 10, "totalTokenCount": 110}
    answer = {"candidates": [], "modelVersion": "gemini-2.5-flash", "usageMetadata": usage}
    good = {"status": "", "processed_time": "2026-11-01T10:00:00Z", "request": {}, "response": answer}
    bad = {"status": 'Bad Request: {"error": {"code": 400}}', "processed_time": "-", "request": {}, "response": {}}
    lines = [json.dumps(one) for one in (good, good, bad)]
    trisignal.batch_results(lines, provider="gcp.vertex_ai", job_id="projects/p/batchPredictionJobs/7")
    assert seen.value("llm_requests_total", llm_outcome="ok", gen_ai_request_model="gemini-2.5-flash") == 2
    assert seen.value("llm_requests_total", llm_outcome="error") == 1
    assert seen.value("llm_cost_usd_total") == pytest.approx((200 * 0.3 + 20 * 2.5) / 2 / 1e6)


def test_what_is_no_result(seen: Seen) -> None:
    """Other files count nothing."""
    trisignal.batch_results(["{}", "none"], provider="aws.bedrock", job_id="x")
    assert seen.value("llm_requests_total") == 0
