"""Batch jobs: the job object in which a vendor reports its state, and the lines of its results.

Vendors differ in names, hardly in what they report, so one reader looks for all of them. Shapes: API references of
OpenAI (also spoken by Azure, Groq, Together and OpenRouter), Anthropic, Google, Mistral and Amazon Bedrock.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import Any, NamedTuple

from trisignal import semconv as names
from trisignal.call import ErrorKind, Outcome, Usage
from trisignal.formats import Format, View, amount, count, listed, text, view
from trisignal.formats.bedrock_converse import CONVERSE
from trisignal.formats.bedrock_invoke import told_by
from trisignal.formats.gemini import EMBED_CONTENT, GENERATE_CONTENT, model_name
from trisignal.formats.mistral_conversations import OCR
from trisignal.formats.openai_chat import CHAT
from trisignal.formats.openai_chat import usage as chat_usage
from trisignal.formats.openai_embeddings import EMBEDDINGS
from trisignal.formats.openai_media import MEDIA
from trisignal.formats.openai_media import usage as media_usage
from trisignal.formats.openai_responses import RESPONSES
from trisignal.formats.recognise import recognise
from trisignal.outcomes import classify_names, kind_of_status

_FRACTION = re.compile(r"\.[0-9]+")
_ENDED: Mapping[str, Outcome] = {
    "completed": "ok",
    "ended": "ok",
    "success": "ok",
    "succeeded": "ok",
    "partially_succeeded": "ok",
    "partiallycompleted": "ok",
    "failed": "error",
    "expired": "error",
    "timeout_exceeded": "error",
    "cancelled": "cancelled",
    "canceled": "cancelled",
    "stopped": "cancelled",
}
"""States after which nothing changes any more. They do not say whether any request succeeded."""
_CREATED = ("created_at", "create_time", "createTime", "submitTime")
_FINISHED = (
    "completed_at", "ended_at", "failed_at", "expired_at", "cancelled_at", "finalized_at", "end_time", "endTime",
    "update_time", "updateTime",
)  # fmt: skip
_SUCCEEDED = (
    "succeeded_requests", "succeeded", "completed", "successful_count", "successfulRequestCount", "successRecordCount",
)  # fmt: skip
_FAILED = ("failed_requests", "failed", "errored", "failed_count", "failedRequestCount", "errorRecordCount")
_TOTAL = ("total_requests", "total", "requestCount", "totalRecordCount")
_LOST: Mapping[str, Outcome] = {
    "cancelled": "cancelled",
    "canceled": "cancelled",
    "batch_cancelled": "cancelled",
    "batch_canceled": "cancelled",
}
_EXPIRED = ("expired", "batch_expired")
_OPERATIONS: Mapping[str, tuple[str, Format]] = {
    "chat/completions": (names.CHAT, CHAT),
    "responses": (names.CHAT, RESPONSES),
    "completions": (names.TEXT_COMPLETION, CHAT),
    "embeddings": (names.EMBEDDINGS, EMBEDDINGS),
    "moderations": ("moderation", MEDIA),
    "images/generations": ("image_generation", MEDIA),
    "images/edits": ("image_generation", MEDIA),
    "audio/transcriptions": ("transcription", MEDIA),
    "ocr": ("ocr", OCR),
}
_BY_FORMAT = {
    CHAT.name: names.CHAT,
    GENERATE_CONTENT.name: names.GENERATE_CONTENT,
    EMBEDDINGS.name: names.EMBEDDINGS,
    EMBED_CONTENT.name: names.EMBEDDINGS,
}


class Job(NamedTuple):
    """What a vendor reports about one batch job."""

    id: str
    state: str
    """As reported, without the prefix of an enumeration, in lower case."""
    outcome: Outcome | None
    """None while the job runs."""
    created_unix_s: float
    """0.0 when it is not reported."""
    finished_unix_s: float
    total: int
    succeeded: int
    failed: int
    cancelled: int
    model: str
    endpoint: str
    files: tuple[str, ...]
    """Ids of the files with results, that of failed requests last; empty where results are read by the job's id."""
    usage: Usage | None
    """Sum over all requests, where the job states it."""
    results: tuple[Any, ...] | None
    """Results that came with the job object itself."""

    @property
    def fruitless(self) -> bool:
        """Whether no request succeeded, whatever the state says."""
        return self.outcome is not None and not self.succeeded and bool(self.failed or self.cancelled)


class BatchLine(NamedTuple):
    """The result of one request."""

    key: str
    """The application's id of the request; "" where the vendor has none."""
    outcome: Outcome
    body: Any = None
    """The reply, as the same endpoint sends it outside of batches."""
    error_type: str = ""
    error_kind: ErrorKind | None = None
    request: Any = None
    """The request, where it stands beside its result, as Bedrock writes it: it says how to read the reply."""


def _first(holder: View, keys: Iterable[str]) -> Any:
    return next((value for key in keys if (value := holder.get(key))), None)


def _number(value: Any) -> int:
    """A count, which Google writes as text."""
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        value = int(value[:18])
    return count(value) or 0


def _unix_s(value: Any) -> float:
    """A time: seconds since the epoch, ISO text, or a `datetime`; 0.0 when there is none."""
    if isinstance(value, str):
        try:
            # Python 3.10 reads three or six digits of a second, and no Z.
            exact = _FRACTION.sub(lambda digits: digits.group()[:7].ljust(7, "0"), value)
            value = datetime.fromisoformat(exact.replace("Z", "+00:00"))
        except ValueError:
            return 0.0
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=timezone.utc)).timestamp()
    return amount(value) or 0.0


def _state(value: Any) -> str:
    words = text(value).lower()
    for prefix in ("job_state_", "batch_state_"):
        words = words.removeprefix(prefix)
    return words


def read_job(given: Any) -> Job | None:
    """Read a job object; None for anything else.

    Args:
        given: The vendor's object, or decoded JSON.
    """
    job = view(given)
    inner = view(job.get("batch") or job.get("metadata"))
    if not (job.get("status") or job.get("processing_status") or job.get("state")) and "state" in inner:
        job = {**inner, **{key: job[key] for key in ("name", "response") if key in job}}
    state = _state(job.get("processing_status") or job.get("status") or job.get("state"))
    if not state:
        return None
    counts = view(_first(job, ("request_counts", "completion_stats", "completionStats", "batchStats")) or job)
    succeeded, failed = _number(_first(counts, _SUCCEEDED)), _number(_first(counts, _FAILED))
    cancelled = _number(counts.get("canceled")) + _number(counts.get("cancelled"))
    failed += _number(counts.get("expired"))
    results = _inline(job)
    reported = job.get("usage")
    return Job(
        text(job.get("id")) or text(job.get("name")) or text(job.get("jobArn")).rpartition("/")[2],
        state,
        _ENDED.get(state),
        _unix_s(_first(job, _CREATED)),
        _unix_s(_first(job, _FINISHED)),
        _number(_first(counts, _TOTAL)) or succeeded + failed + cancelled,
        succeeded,
        failed,
        cancelled,
        model_name(job.get("model")) or text(job.get("model_id")) or text(job.get("modelId")),
        text(job.get("endpoint")),
        _files(job),
        None if reported is None else chat_usage(view(reported)) or media_usage(reported),
        results,
    )


def _files(job: View) -> tuple[str, ...]:
    target = view(job.get("dest"))
    found = (
        _first(job, ("output_file_id", "output_file")) or _first(target, ("file_name", "fileName")),
        _first(job, ("error_file_id", "error_file")),
    )
    return tuple(text(file) for file in found if text(file))


def _inline(job: View) -> tuple[Any, ...] | None:
    for holder in (job.get("dest"), job.get("output"), job.get("response"), job):
        for key in ("inlined_responses", "inlinedResponses", "inlined_embed_content_responses", "outputs"):
            held = view(holder).get(key)
            if held is not None and not isinstance(held, (list, tuple)):
                held = view(held).get(key)
            if isinstance(held, (list, tuple)) and held:
                return tuple(held)
    return None


def is_result(given: Any) -> bool:
    """Whether a JSON object is a line of results, and not one of requests or of anything else."""
    line = view(given)
    if "result" in line and "custom_id" in line:
        return "type" in view(line.get("result"))
    if "recordId" in line:
        return "modelOutput" in line or "error" in line
    keyed = "custom_id" in line or "key" in line or "status" in line or "processed_time" in line
    return keyed and ("response" in line or "error" in line) and "body" not in line


def read_line(given: Any) -> BatchLine:
    """Read one result.

    Args:
        given: Decoded JSON of a line of a results file, or a result that came with the job object.
    """
    line = view(given)
    metadata = view(line.get("metadata"))
    key = text(line.get("custom_id")) or text(line.get("key")) or text(metadata.get("key"))
    if "result" in line:
        return _message_line(key, view(line.get("result")))
    if "recordId" in line:
        return _record(text(line.get("recordId")), line)
    response = line.get("response")
    held = view(response)
    status = count(held.get("status_code"))
    body = held.get("body", response) if status is not None or "body" in held else response
    if response and (status is None or status // 100 == 2) and not line.get("error"):
        return BatchLine(key, "ok", body)
    problem = view(line.get("error") or view(body).get("error") or body)
    code = text(problem.get("code")) or text(problem.get("type")) or text(problem.get("status")) or str(status or "")
    if code in _LOST:
        return BatchLine(key, _LOST[code])
    if code in _EXPIRED:
        return BatchLine(key, "error", None, code, "timeout")
    failure = classify_names(code, status)
    return BatchLine(key, "error", None, failure.error_type, failure.kind if status is None else kind_of_status(status))


def _message_line(key: str, result: View) -> BatchLine:
    """A line of Anthropic's."""
    kind = text(result.get("type"))
    if kind == "succeeded":
        return BatchLine(key, "ok", result.get("message"))
    if kind in _LOST:
        return BatchLine(key, _LOST[kind])
    if kind in _EXPIRED:
        return BatchLine(key, "error", None, "expired", "timeout")
    problem = view(result.get("error"))
    problem = view(problem.get("error") or problem)
    failure = classify_names(text(problem.get("type")), None)
    return BatchLine(key, "error", None, failure.error_type, failure.kind)


def _record(key: str, line: View) -> BatchLine:
    """A line of Bedrock's."""
    output, problem = line.get("modelOutput"), view(line.get("error"))
    if output and not problem:
        return BatchLine(key, "ok", output, request=line.get("modelInput"))
    status = _number(problem.get("errorCode"))
    failure = classify_names(str(status or ""), status or None)
    return BatchLine(key, "error", None, failure.error_type, failure.kind)


def format_of(body: Any, endpoint: str, model: str = "", request: Any = None) -> tuple[str, Format]:
    """Operation and format of a result's reply.

    Args:
        body: The reply.
        endpoint: Path that the job's requests are sent to; "" when unknown.
        model: The job's model; "" when unknown.
        request: The request, where it stands beside the reply.
    """
    if isinstance(request, dict) and request:
        return told_by(model, request)
    path = endpoint.partition("/v1/")[2] or endpoint.strip("/")
    known = _OPERATIONS.get(path)
    if known is not None:
        return known
    format = recognise(body)
    if format is not None:
        return _BY_FORMAT.get(format.name, names.CHAT), format
    reply = view(body)
    counts = view(reply.get("usage"))
    if "usageMetadata" in reply or "candidates" in reply or "usage_metadata" in reply:
        return names.GENERATE_CONTENT, GENERATE_CONTENT
    if "inputTextTokenCount" in reply:
        return told_by("embed", {}) if "embedding" in reply else told_by(model, {"inputText": ""})
    if "inputTokens" in counts:
        return names.CHAT, CONVERSE
    if "embedding" in reply:
        return names.EMBEDDINGS, EMBED_CONTENT
    if "prompt_tokens" in counts or listed(reply.get("choices")):
        return names.CHAT, CHAT
    return names.CHAT, RESPONSES
