"""Batch jobs of the vendors whose clients and shapes differ from OpenAI's."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from loopback import Loopback, Reply, json_reply

import trisignal
from trisignal.formats import batches
from trisignal.testing import Seen

MESSAGE: dict[str, Any] = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-haiku-4-5-20251001", "content": [],
    "stop_reason": "end_turn", "stop_sequence": None,
    "usage": {
        "input_tokens": 100, "output_tokens": 10, "cache_read_input_tokens": 1000, "cache_creation_input_tokens": 0,
        "service_tier": "batch",
    },
}  # fmt: skip
ENDED: dict[str, Any] = {
    "id": "msgbatch_1", "type": "message_batch", "processing_status": "ended", "archived_at": None,
    "request_counts": {"processing": 0, "succeeded": 1, "errored": 1, "canceled": 1, "expired": 1},
    "created_at": "2026-11-01T10:00:00.5+00:00", "ended_at": "2026-11-01T10:10:00.500000Z",
    "expires_at": "2026-11-02T10:00:00Z", "cancel_initiated_at": None, "results_url": "/v1/messages/batches/msgbatch_1/results",
}  # fmt: skip
RESULTS = (
    {"custom_id": "a", "result": {"type": "succeeded", "message": MESSAGE}},
    {
        "custom_id": "b",
        "result": {"type": "errored", "error": {"type": "error", "error": {"type": "overloaded_error"}}},
    },
    {"custom_id": "c", "result": {"type": "canceled"}},
    {"custom_id": "d", "result": {"type": "expired"}},
)


def lines(*results: Any) -> Reply:
    """A file with results."""
    return Reply(
        headers={"Content-Type": "application/octet-stream"},
        body=b"".join(json.dumps(result).encode() + b"\n" for result in results),
    )


def jobs(seen: Seen) -> list[dict[str, Any]]:
    """Log lines of jobs."""
    return [line for line in seen.logs if line["gen_ai.operation.name"] == "batch_job"]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_anthropic(seen: Seen, server: Loopback, asynchronous: bool) -> None:
    """All outcomes come in one stream; what the cache saves multiplies with the discount."""
    anthropic: Any = pytest.importorskip("anthropic")
    trisignal.instrument("anthropic")

    async def read() -> None:
        async with anthropic.AsyncAnthropic(api_key="none", base_url=server.url, max_retries=0) as client:
            async for _ in await client.messages.batches.results("msgbatch_1"):
                pass

    for _ in range(2):
        server.play(json_reply(ENDED), lines(*RESULTS))
        if asynchronous:
            asyncio.run(read())
        else:
            with anthropic.Anthropic(api_key="none", base_url=server.url, max_retries=0) as client:
                assert len(list(client.messages.batches.results("msgbatch_1"))) == 4
    counts = {o: seen.value("llm_requests_total", llm_outcome=o) for o in ("ok", "error", "cancelled")}
    assert counts == {"ok": 1, "error": 2, "cancelled": 1}
    kinds = {k: seen.value("llm_errors_total", llm_error_kind=k) for k in ("overloaded", "timeout")}
    assert kinds == {"overloaded": 1, "timeout": 1}
    cost_usd = (100 * 0.5 + 1000 * 0.05 + 10 * 2.5) / 1e6
    assert seen.value("llm_cost_usd_total") == pytest.approx(cost_usd)
    (job,) = jobs(seen)
    assert job["duration_s"] == 600
    assert job["cost_usd"] == pytest.approx(cost_usd)
    assert (job["llm.batch.succeeded"], job["llm.batch.failed"], job["llm.batch.cancelled"]) == (1, 2, 1)


GEMINI = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": "yes"}]}, "finishReason": "STOP"}],
    "usageMetadata": {
        "promptTokenCount": 8,
        "candidatesTokenCount": 11,
        "thoughtsTokenCount": 829,
        "totalTokenCount": 848,
    },
    "modelVersion": "gemini-2.5-flash",
}
INLINE = {
    "name": "batches/b1",
    "metadata": {
        "model": "models/gemini-2.5-flash", "state": "BATCH_STATE_SUCCEEDED", "name": "batches/b1",
        "createTime": "2026-11-01T10:00:00Z", "endTime": "2026-11-01T10:01:00Z",
        "output": {"inlinedResponses": {"inlinedResponses": [
            {"response": GEMINI, "metadata": {"key": "x"}}, {"error": {"code": 8, "message": "quota"}},
        ]}},
    },
    "done": True,
}  # fmt: skip


@pytest.mark.parametrize("asynchronous", [False, True])
def test_gemini_inline(seen: Seen, server: Loopback, asynchronous: bool) -> None:
    """Answers that come with the job count once, thoughts included, however often it is polled."""
    genai: Any = pytest.importorskip("google.genai")
    trisignal.instrument("google-genai")
    client = genai.Client(api_key="none", http_options={"base_url": server.url})
    for _ in range(3):
        server.play(json_reply(INLINE))
        if asynchronous:
            asyncio.run(client.aio.batches.get(name="batches/b1"))
        else:
            client.batches.get(name="batches/b1")
    assert seen.value("llm_requests_total", llm_outcome="ok", gen_ai_request_model="gemini-2.5-flash") == 1
    assert seen.value("llm_requests_total", llm_outcome="error") == 1
    assert seen.value("gen_ai_client_token_usage_sum", gen_ai_token_type="output") == 840
    assert seen.value("llm_cost_usd_total") == pytest.approx((8 * 0.15 + 840 * 1.25) / 1e6)
    (job,) = jobs(seen)
    assert job["llm_outcome"] == "ok"
    client.close()


def test_gemini_file(seen: Seen, server: Loopback, tmp_path: Any) -> None:
    """Answers in a file count when it is downloaded, to memory or to a path."""
    genai: Any = pytest.importorskip("google.genai")
    trisignal.instrument("google-genai")
    done = {
        "name": "batches/b2",
        "metadata": {
            "model": "models/gemini-2.5-flash", "state": "BATCH_STATE_SUCCEEDED", "name": "batches/b2",
            "output": {"responsesFile": "files/batch-b2"},
        },
    }  # fmt: skip
    client = genai.Client(api_key="none", http_options={"base_url": server.url})
    server.play(json_reply(done), lines({"key": "x", "response": GEMINI}, {"key": "y", "error": {"code": 13}}))
    job = client.batches.get(name="batches/b2")
    assert job.dest.file_name == "files/batch-b2"
    client.files.download(file=job.dest.file_name)
    server.play(lines({"key": "x", "response": GEMINI}))
    client.files.download(file="files/other", destination=str(tmp_path / "results.jsonl"))
    assert seen.value("llm_requests_total", llm_outcome="ok") == 2
    assert seen.value("llm_requests_total", llm_outcome="error") == 1
    assert len(jobs(seen)) == 2
    client.close()


@pytest.mark.parametrize("asynchronous", [False, True])
def test_mistral(seen: Seen, server: Loopback, asynchronous: bool) -> None:
    """A job that says SUCCESS names its file, whose lines have OpenAI's form."""
    mistral: Any = pytest.importorskip("mistralai.client")
    trisignal.instrument("mistral")
    job = {
        "id": "job-1", "object": "batch", "input_files": ["f"], "endpoint": "/v1/chat/completions", "errors": [],
        "model": "mistral-small-latest", "status": "SUCCESS", "created_at": 1_790_000_000, "completed_at": 1_790_000_060,
        "total_requests": 1, "completed_requests": 1, "succeeded_requests": 1, "failed_requests": 0,
        "output_file": "out-1", "error_file": None,
    }  # fmt: skip
    body = {
        "id": "c1", "object": "chat.completion", "model": "mistral-small-latest", "created": 1,
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "yes"}}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
    }  # fmt: skip
    client = mistral.Mistral(api_key="none", server_url=server.url)
    file = lines({"custom_id": "a", "response": {"status_code": 200, "body": body}})
    server.play(json_reply(job), file, json_reply(job), file)
    if asynchronous:
        asyncio.run(_read_mistral(client))
    else:
        for _ in range(2):
            client.batch.jobs.get(job_id="job-1")
            client.files.download(file_id="out-1").read()
    assert seen.value("llm_requests_total", llm_outcome="ok", gen_ai_provider_name="mistral_ai") == 1
    assert seen.value("gen_ai_client_token_usage_sum") == 110
    assert seen.value("llm_cost_usd_total") > 0
    (line,) = jobs(seen)
    assert line["duration_s"] == 60


async def _read_mistral(client: Any) -> None:
    for _ in range(2):
        await client.batch.jobs.get_async(job_id="job-1")
        await (await client.files.download_async(file_id="out-1")).aread()


@pytest.mark.parametrize("package", ["groq", "together"])
def test_sdks_of_openai_s_kind(seen: Seen, server: Loopback, package: str) -> None:
    """SDKs that share OpenAI's structure are watched in the same place."""
    sdk: Any = pytest.importorskip(package)
    trisignal.instrument(package)
    job = {
        "id": "batch_1", "object": "batch", "endpoint": "/v1/chat/completions", "input_file_id": "file-in",
        "completion_window": "24h", "status": "completed", "created_at": 1, "completed_at": 61, "output_file_id": "file-out",
        "request_counts": {"total": 1, "completed": 1, "failed": 0},
    }  # fmt: skip
    body = {
        "id": "c1", "object": "chat.completion", "model": "llama-3.1-8b-instant",
        "choices": [], "usage": {"prompt_tokens": 100, "completion_tokens": 10},
    }  # fmt: skip
    client = (sdk.Groq if package == "groq" else sdk.Together)(api_key="none", base_url=server.url, max_retries=0)
    server.play(json_reply(job), lines({"custom_id": "a", "response": {"status_code": 200, "body": body}}))
    client.batches.retrieve("batch_1")
    client.files.content("file-out").read()
    assert seen.value("llm_requests_total", llm_outcome="ok") == 1
    assert seen.value("gen_ai_client_token_usage_sum") == 110
    client.close()


@pytest.mark.parametrize(
    ("given", "outcome", "counts"),
    [
        ({"status": "validating", "request_counts": {"total": 2, "completed": 0, "failed": 0}}, None, (2, 0, 0)),
        ({"status": "cancelling"}, None, (0, 0, 0)),
        ({"status": "COMPLETED", "completed_at": "2026-11-01T00:00:00Z"}, "ok", (0, 0, 0)),
        ({"batch": {"state": "BATCH_STATE_FAILED", "batchStats": {"failedRequestCount": "10"}}}, "error", (10, 0, 10)),
        ({"metadata": {"state": "BATCH_STATE_RUNNING"}}, None, (0, 0, 0)),
        ({"state": "JOB_STATE_PARTIALLY_SUCCEEDED"}, "ok", (0, 0, 0)),
        (
            {"status": "TIMEOUT_EXCEEDED", "total_requests": 5, "succeeded_requests": 2, "failed_requests": 1},
            "error",
            (5, 2, 1),
        ),
    ],
)
def test_states(given: dict[str, Any], outcome: str | None, counts: tuple[int, int, int]) -> None:
    """State and counts are found wherever a vendor keeps them."""
    job = batches.read_job({"id": "j", **given})
    assert job is not None
    assert (job.outcome, job.total, job.succeeded, job.failed) == (outcome, *counts)


def test_what_is_no_job() -> None:
    """Anything else is left alone."""
    assert batches.read_job({"object": "list", "data": []}) is None
    assert batches.read_job(None) is None
