"""Batch jobs of every client: counted once, at the batch price, by their results."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from clients.batches.pairs import counted_by_two
from loopback import Loopback, Reply, json_reply

import trisignal
from trisignal.engine import batch_jobs, state
from trisignal.formats import batches
from trisignal.testing import Seen, capture

pytestmark = pytest.mark.instruments("openai")

openai: Any = pytest.importorskip("openai")

JOB: dict[str, Any] = {
    "id": "batch_7", "object": "batch", "endpoint": "/v1/chat/completions", "errors": None, "input_file_id": "file-in",
    "completion_window": "24h", "status": "in_progress", "output_file_id": None, "error_file_id": None,
    "created_at": 1_790_000_000, "completed_at": None, "request_counts": {"total": 3, "completed": 0, "failed": 0},
}  # fmt: skip
DONE: dict[str, Any] = {
    **JOB, "status": "completed", "completed_at": 1_790_003_600, "output_file_id": "file-out", "error_file_id": "file-err",
    "request_counts": {"total": 3, "completed": 2, "failed": 1}, "model": "gpt-4o-mini-2024-07-18",
}  # fmt: skip
MODEL = "gpt-4o-mini-2024-07-18"


def completion(key: str, prompt: int, answer: int) -> dict[str, Any]:
    """A line of a file with results."""
    body = {
        "id": f"chatcmpl-{key}", "object": "chat.completion", "model": MODEL, "created": 1_790_000_100,
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "yes"}}],
        "usage": {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer},
        "service_tier": "default",
    }  # fmt: skip
    return {"id": f"r-{key}", "custom_id": key, "response": {"status_code": 200, "body": body}, "error": None}


def lines(*results: dict[str, Any]) -> Reply:
    """A file with results, the last line of which has no end."""
    body = b"\n".join(json.dumps(result).encode() for result in results)
    return Reply(headers={"Content-Type": "application/octet-stream"}, body=body)


OUTPUT = lines(completion("a", 1000, 100), completion("b", 2000, 200))
REFUSED = {
    "custom_id": "c", "error": None,
    "response": {"status_code": 400, "body": {"error": {"type": "invalid_request_error", "code": "bad_value"}}},
}  # fmt: skip
COST_USD = 3000 * 0.075e-6 + 300 * 0.3e-6
"""Half of what the requests cost elsewhere."""


def poll(server: Loopback, *jobs: dict[str, Any]) -> None:
    """Retrieve a job, as often as there are replies."""
    server.play(*map(json_reply, jobs))
    with openai.OpenAI(api_key="none", base_url=f"{server.url}/v1", max_retries=0) as client:
        for _ in jobs:
            client.batches.retrieve("batch_7")


def read(server: Loopback, file: str, reply: Reply) -> None:
    """Read a file."""
    server.play(reply)
    with openai.OpenAI(api_key="none", base_url=f"{server.url}/v1", max_retries=0) as client:
        client.files.content(file).read()


def streamed(server: Loopback, file: str, reply: Reply) -> None:
    """Read a file in pieces."""
    server.play(reply)
    with (
        openai.OpenAI(api_key="none", base_url=f"{server.url}/v1", max_retries=0) as client,
        client.files.with_streaming_response.content(file) as response,
    ):
        for _ in response.iter_bytes(100):
            pass


def areads(server: Loopback, file: str, reply: Reply) -> None:
    """Read a file with the asynchronous client."""

    async def run() -> None:
        async with openai.AsyncOpenAI(api_key="none", base_url=f"{server.url}/v1", max_retries=0) as client:
            await client.files.content(file)

    server.play(reply)
    asyncio.run(run())


READS = [read, streamed, areads]


@pytest.mark.parametrize("way", READS, ids=lambda way: way.__name__)
def test_requests_tokens_and_cost_count_once(seen: Seen, server: Loopback, way: Callable[..., None]) -> None:
    """However often a job is polled and its results are read, each request counts once, at half the price."""
    poll(server, JOB, JOB, *[DONE] * 5)
    for _ in range(2):
        way(server, "file-out", OUTPUT)
        way(server, "file-err", lines(REFUSED))
        poll(server, DONE)
    assert seen.value("llm_requests_total", llm_outcome="ok", gen_ai_request_model=MODEL) == 2
    assert seen.value("llm_requests_total", llm_outcome="error") == 1
    assert seen.value("llm_errors_total", llm_error_kind="invalid_request", error_type="bad_value") == 1
    assert seen.value("gen_ai_client_token_usage_sum") == 3300
    assert seen.value("llm_cost_usd_total") == pytest.approx(COST_USD)
    assert trisignal.summary().total.calls == 3
    assert seen.value("llm_usage_missing_total") == seen.value("trisignal_internal_errors_total") == 0


def test_the_job_has_one_span_and_one_line(seen: Seen, server: Loopback) -> None:
    """They have its life, its sums and a link to the span in which its results were read; no latency is affected."""
    poll(server, DONE)
    with trisignal.workflow("nightly"):
        read(server, "file-out", OUTPUT)
    read(server, "file-err", lines(REFUSED))
    job, reader = seen.spans
    assert job.name == f"batch_job {MODEL}"
    assert reader.name == "invoke_workflow nightly"
    assert (job.start_time, job.end_time) == (1_790_000_000 * 10**9, 1_790_003_600 * 10**9)
    assert [link.context.span_id for link in job.links] == [reader.context.span_id]
    assert job.parent is None
    assert job.context.trace_id != reader.context.trace_id
    attributes = dict(job.attributes or {})
    assert attributes["llm.batch.id"] == "batch_7"
    assert attributes["llm.batch.state"] == "completed"
    counts = [attributes[f"llm.batch.{name}"] for name in ("requests", "succeeded", "failed")]
    assert counts == [3, 2, 1]
    assert attributes["gen_ai.usage.input_tokens"] == 3000
    line = next(line for line in seen.logs if line["gen_ai.operation.name"] == "batch_job")
    assert line["cost_usd"] == pytest.approx(COST_USD) == attributes["llm.cost.total_usd"]
    assert line["duration_s"] == 3600
    assert line["llm_outcome"] == "ok"
    assert seen.value("llm_batch_duration_seconds_count") == 1
    assert seen.value("gen_ai_client_operation_duration_seconds_count") == 0


def test_results_alone_are_enough(seen: Seen, server: Loopback) -> None:
    """Who only reads the file has another process poll the job; files of another kind are none of this."""
    read(server, "file-out", OUTPUT)
    read(server, "file-in", lines({"custom_id": "a", "method": "POST", "url": "/v1/responses", "body": {}}))
    read(server, "file-x", Reply(body=b"\x00\x01 no JSON"))
    assert seen.value("llm_requests_total") == 2
    assert seen.value("gen_ai_client_token_usage_sum") == 3300
    assert [span.name for span in seen.spans] == [f"batch_job {MODEL}"]


def test_completed_may_mean_that_all_failed(seen: Seen, server: Loopback) -> None:
    """The counts decide on the outcome of a job."""
    failed = {**DONE, "output_file_id": None, "request_counts": {"total": 1, "completed": 0, "failed": 1}}
    poll(server, failed)
    read(server, "file-err", lines(REFUSED))
    assert seen.logs[-1]["llm_outcome"] == "error"
    assert seen.value("llm_requests_total", llm_outcome="error") == seen.value("llm_errors_total") == 1
    assert seen.value("llm_cost_usd_total") == 0


@pytest.mark.parametrize(
    ("code", "outcome", "kind"), [("batch_expired", "error", "timeout"), ("batch_cancelled", "cancelled", None)]
)
def test_lost_requests(seen: Seen, server: Loopback, code: str, outcome: str, kind: str | None) -> None:
    """A request that expired is an error, one that was cancelled is none; neither costs anything."""
    read(server, "file-err", lines({"custom_id": "c", "response": None, "error": {"code": code, "message": "-"}}))
    assert seen.value("llm_requests_total", llm_outcome=outcome) == 1
    assert seen.value("llm_errors_total") == (kind is not None)
    assert seen.value("llm_cost_usd_total") == seen.value("llm_usage_missing_total") == 0


def test_a_file_that_is_read_in_part(seen: Seen, server: Loopback) -> None:
    """What a second reading brings is counted, what the first one brought is not."""
    results = [completion(str(n), 10, 1) for n in range(2000)]
    server.play(lines(*results))
    with (
        openai.OpenAI(api_key="none", base_url=f"{server.url}/v1", max_retries=0) as client,
        client.files.with_streaming_response.content("file-out") as response,
    ):
        next(iter(response.iter_bytes(100_000)))
    assert 0 < seen.value("llm_requests_total") < 2000
    read(server, "file-out", lines(*results))
    assert seen.value("llm_requests_total") == 2000
    assert seen.value("gen_ai_client_token_usage_sum") == 22_000


def test_nobody_reads_the_results(seen: Seen, server: Loopback) -> None:
    """After a while the job is counted by what it states itself; results that come later are not added."""
    usage = {"input_tokens": 3000, "output_tokens": 300, "total_tokens": 3300}
    poll(server, {**DONE, "usage": usage})
    assert seen.value("llm_requests_total") == 3
    assert seen.value("gen_ai_client_token_usage_sum") == 0
    jobs = state.STATE.jobs
    now = jobs.clock() + 61
    jobs.clock = lambda: now
    jobs.settle()
    assert seen.value("gen_ai_client_token_usage_sum") == 3300
    assert seen.value("llm_cost_usd_total") == pytest.approx(COST_USD)
    assert seen.logs[-1]["llm.batch.results_unread"] is True
    read(server, "file-out", OUTPUT)
    assert seen.value("llm_requests_total") == 3
    assert seen.value("gen_ai_client_token_usage_sum") == 3300


def test_a_job_without_model_or_usage(seen: Seen, server: Loopback) -> None:
    """A flush counts the requests of a job whose results nobody has read, and results that come later their tokens."""
    bare = {key: value for key, value in DONE.items() if key != "model"}
    poll(server, bare)
    assert seen.value("llm_requests_total") == 0
    seen.telemetry.force_flush()
    assert seen.value("llm_requests_total", llm_outcome="ok") == 2
    assert seen.value("llm_requests_total", llm_outcome="error") == seen.value("llm_errors_total") == 1
    read(server, "file-out", OUTPUT)
    read(server, "file-err", lines(REFUSED))
    assert seen.value("llm_errors_total") == 1
    assert seen.value("llm_requests_total") == 3
    assert seen.value("gen_ai_client_token_usage_sum") == 3300


def test_dimensions_of_the_reader(server: Loopback) -> None:
    """Requests belong to whom the results are read for."""
    with capture(metric_dimensions=("tenant",)) as seen:
        trisignal.instrument("openai")
        with trisignal.context(tenant="acme"):
            read(server, "file-out", OUTPUT)
        assert seen.value("llm_requests_total", tenant="acme") == 2
        trisignal.uninstrument()


def _count(url: str, store: str, counted: Any) -> None:
    """What one process counts that polls a job and reads its results."""
    with capture(store=store) as seen:
        trisignal.instrument("openai")
        with openai.OpenAI(api_key="none", base_url=f"{url}/v1", max_retries=0) as client:
            for _ in range(20):
                client.batches.retrieve("batch_7")
            client.files.content("file-out").read()
        counted.put((seen.value("llm_requests_total"), seen.value("gen_ai_client_token_usage_sum")))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="processes are forked")
def test_two_processes_count_once(server: Loopback, tmp_path: Path) -> None:
    """Processes that share a store count a job once between them."""
    server.handle(lambda request: OUTPUT if "content" in request.path else json_reply(DONE))
    assert counted_by_two(_count, server.url, tmp_path / "store") == (3, 3300)


def test_one_process_polls_and_another_reads(tmp_path: Path) -> None:
    """Whoever is first with either counts the requests; whoever reads counts the tokens."""
    where = batch_jobs.JobPlace("openai", "127.0.0.1", 1)
    with capture(store=str(tmp_path / "store")) as seen:
        polls, reads = batch_jobs.Ledger(), batch_jobs.Ledger()
        job = batches.read_job(DONE)
        assert job is not None
        polls.retrieved(where, job)
        for ledger in (reads, polls):
            results = ledger.results(where, "file-out")
            assert isinstance(OUTPUT.body, bytes)
            results.feed(OUTPUT.body)
            results.exhausted()
        polls.settle(everything=True)
        assert seen.value("llm_requests_total") == 3
        assert seen.value("llm_errors_total") == 1
        assert seen.value("gen_ai_client_token_usage_sum") == 3300
