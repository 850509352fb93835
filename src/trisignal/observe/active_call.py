"""`ActiveCall`: what application code may do with a call that is open."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trisignal import _context, _guard
from trisignal import semconv as names
from trisignal.call import Bill, ChunkTimes, ContentSource, Draft, Usage
from trisignal.engine.state import STATE, captures
from trisignal.formats import Format, bills, latencies, view
from trisignal.formats.openai_chat import CHAT
from trisignal.formats.recognise import recognise
from trisignal.semconv import serving
from trisignal.semconv.values import count as _count
from trisignal.semconv.values import text_of

UNKNOWN_PROVIDER = "unknown"
_PROVIDERS = {
    "chat": "openai",
    "responses": "openai",
    "embeddings": "openai",
    "messages": "anthropic",
    "generate_content": "gcp.gen_ai",
    "embed_content": "gcp.gen_ai",
}
"""Who speaks a format, where nobody has said who answered."""


class ActiveCall:
    """An open call. Every method does nothing when nothing is recorded, and never raises."""

    __slots__ = ("_draft",)

    def __init__(self, draft: Draft | None) -> None:
        self._draft = draft

    def set_request(self, **parameters: Any) -> None:
        """Set facts of the request by their usual parameter names.

        Args:
            **parameters: ``model``, ``temperature``, ``max_tokens``, ``top_p``, ``seed``,
                ``stop``, ``n`` … as in OpenAI's chat API.
        """
        draft = self._draft
        if draft is None:
            return
        model = draft.request_model
        _contained(CHAT.read_request, draft, parameters)
        draft.request_model = draft.request_model or model

    def set_response(self, response: Any) -> None:
        """Read usage, model, id and finish reasons from a vendor's reply (object or dict).

        Args:
            response: A reply of OpenAI (chat, responses, embeddings), Anthropic or Gemini;
                anything else is ignored.
        """
        if self._draft is not None:
            _contained(read_reply, self._draft, response)

    def set_model(self, *, request: str | None = None, response: str | None = None) -> None:
        """Set the requested model, or the one that answered."""
        if self._draft is not None:
            self._draft.request_model = text_of(request) or self._draft.request_model
            self._draft.response_model = text_of(response) or self._draft.response_model

    def set_usage(
        self,
        *,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        cache_read_tokens: int | None = None,
        cache_write_tokens: int | None = None,
        reasoning_tokens: int | None = None,
        input_image_tokens: int | None = None,
        input_audio_tokens: int | None = None,
        input_video_tokens: int | None = None,
        output_image_tokens: int | None = None,
        output_audio_tokens: int | None = None,
        output_video_tokens: int | None = None,
    ) -> None:
        """Set token counts; a count that is omitted or not a whole number from 0 on stays unknown.

        Integers of any library are taken (numpy's, a `Decimal`, an enumeration's value).

        Args:
            input_tokens: All input tokens, cached ones included.
            output_tokens: All output tokens, reasoning included.
            cache_read_tokens: Part of the input that was read from a cache.
            cache_write_tokens: Part of the input that was written to a cache.
            reasoning_tokens: Part of the output that was reasoning.
            input_image_tokens: Part of the input that was images.
            input_audio_tokens: Part of the input that was audio.
            input_video_tokens: Part of the input that was video.
            output_image_tokens: Part of the output that was images.
            output_audio_tokens: Part of the output that was audio.
            output_video_tokens: Part of the output that was video.
        """
        if self._draft is not None:
            self._draft.usage = Usage(
                _count(input_tokens),
                _count(output_tokens),
                _count(cache_read_tokens),
                _count(cache_write_tokens),
                None,
                _count(reasoning_tokens),
                input_image=_count(input_image_tokens),
                input_audio=_count(input_audio_tokens),
                input_video=_count(input_video_tokens),
                output_image=_count(output_image_tokens),
                output_audio=_count(output_audio_tokens),
                output_video=_count(output_video_tokens),
            )

    def set_cost(self, total_usd: float) -> None:
        """Set what the call cost, in place of what a price table says.

        Args:
            total_usd: US dollars, as a number or a decimal text; anything else, or a negative amount, changes nothing.
        """
        amount = bills.usd(total_usd)
        if self._draft is not None and amount is not None:
            self._draft.bill = Bill(amount, source="user", final=True)

    def set_serving(
        self,
        *,
        queue_s: float | None = None,
        prefill_s: float | None = None,
        decode_s: float | None = None,
        batch_size: int | None = None,
        waiting: int | None = None,
    ) -> None:
        """Set what a model server knows of its work on this call; for calls of role ``server`` above all.

        What is omitted, or is not a number from 0 on, stays unknown.

        Args:
            queue_s: Seconds that the request waited before it was worked on.
            prefill_s: Seconds until its first token, counted from the end of the queue.
            decode_s: Seconds from the first to the last token.
            batch_size: Requests that were worked on together, this one included.
            waiting: Requests that waited when this one came.
        """
        draft = self._draft
        if draft is None:
            return
        given = {serving.QUEUE_S: queue_s, serving.PREFILL_S: prefill_s, serving.DECODE_S: decode_s}
        _contained(latencies.note, draft, {name: value for name, value in given.items() if value is not None})
        for name, value in ((serving.BATCH_SIZE, batch_size), (serving.WAITING, waiting)):
            known = _count(value)
            if known is not None:
                draft.fields[name] = known

    def set_response_id(self, response_id: str) -> None:
        """Set the provider's id of the reply."""
        if self._draft is not None:
            self._draft.response_id = text_of(response_id)

    def set_finish_reasons(self, *reasons: str) -> None:
        """Set one finish reason per choice."""
        if self._draft is not None:
            self._draft.finish_reasons = tuple(map(text_of, reasons))

    def set_attribute(self, name: str, value: Any) -> None:
        """Set an attribute of your own on span and log line; redacted like everything else."""
        if self._draft is not None:
            self._draft.attributes[text_of(name)] = value

    def set_content(self, *, input: Any = None, output: Any = None) -> None:
        """Give messages in the conventions' structure; dropped unless content is captured."""
        draft = self._draft
        if draft is None or not captures():
            return
        if draft.content is None or draft.content.reader is not None:
            draft.content = ContentSource()
        if input is not None:
            draft.content.arguments = input
        if output is not None:
            draft.content.result = output

    def mark_first_token(self) -> None:
        """The first visible token has just arrived; makes the call a streaming one."""
        draft = self._draft
        if draft is not None and draft.chunk_times is None:
            times = draft.chunk_times = ChunkTimes(len(names.SECONDS) + 1)
            now = STATE.perf_ns()
            times.marked = True
            times.first_chunk_ns = times.first_token_ns = times.first_answer_ns = times.last_ns = now
            draft.fields[names.REQUEST_STREAM] = True

    @property
    def ref(self) -> dict[str, str]:
        """A small serialisable reference for a later `evaluate` or `feedback`."""
        draft = self._draft
        if draft is None:
            return {}
        found = {"operation": draft.operation, "model": draft.request_model, "response_id": draft.response_id}
        if draft.span is not None:
            ids = draft.span.get_span_context()
            found["trace_id"], found["span_id"] = f"{ids.trace_id:032x}", f"{ids.span_id:016x}"
        for key in (_context.PROMPT_NAME, _context.PROMPT_VERSION):
            found[key] = draft.bound.get(key, "")
        for name in STATE.settings.metric_dimensions:
            found[names.DIMENSION_PREFIX + name] = draft.bound.get(name, "")
        return {key: value for key, value in found.items() if value}

    @property
    def trace_id(self) -> str:
        """Trace id as 32 hexadecimal digits; "" when nothing is recorded."""
        return self.ref.get("trace_id", "")


def current_call() -> ActiveCall:
    """The innermost open call of this task or thread; a handle that does nothing outside of one."""
    return ActiveCall(_context.current.get())


def read_reply(draft: Draft, reply: Any) -> Format | None:
    """Read a vendor's reply into a draft; the format it was in, if any."""
    format = recognise(reply)
    if format is not None:
        format.read_response(draft, view(reply))
        adopt(draft, format)
        if draft.content is not None:
            draft.content.response = reply
    return format


def adopt(draft: Draft, format: Format) -> None:
    """Take the provider from the format when nobody has named one."""
    if draft.provider == UNKNOWN_PROVIDER:
        draft.provider = _PROVIDERS.get(format.name, UNKNOWN_PROVIDER)


def _contained(function: Any, draft: Draft, value: Mapping[str, Any] | Any) -> None:
    try:
        function(draft, value)
    except Exception as error:
        _guard.contain("active_call", error)
