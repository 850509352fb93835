"""The floors: the least that records a plain call, written by hand.

Each makes one span after the reply and does 5 Prometheus operations through cached children. `install` puts the
attributes on it that trisignal's span has, and `install_small` 12 of them, as somebody would who needs no more. The
operations are the requests counter, and the histograms of duration, input tokens, output tokens, and cost (with 12
attributes: time to the first chunk). There are no error paths, options, redaction, parenting, in-flight gauge, cost by
bucket, chunk gaps or content; host and price are constants.
"""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator, Callable, Iterator
from time import perf_counter_ns, time_ns
from typing import Any

from opentelemetry.trace import SpanKind, Tracer

from bench.wire import HOST

_SECONDS = tuple(0.01 * 2**n for n in range(14))
_TOKENS = tuple(4**n for n in range(14))
_DOLLARS = tuple(0.0001 * 2**n for n in range(14))
_INPUT_USD, _OUTPUT_USD = 0.15e-6, 0.6e-6

Done = Callable[[dict[str, Any], Any, Any, Any, int, int, dict[str, float]], None]


def _count(last: str = "usd", bounds_of_last: tuple[float, ...] = _DOLLARS) -> Callable[..., None]:
    from prometheus_client import REGISTRY, Counter, Histogram

    labels = ("operation", "provider", "request_model", "response_model")
    requests = Counter("floor_requests", "Calls", labels, registry=REGISTRY)
    histograms = [
        Histogram(f"floor_{name}", name, labels, buckets=bounds, registry=REGISTRY)
        for name, bounds in (("s", _SECONDS), ("input", _TOKENS), ("output", _TOKENS), (last, bounds_of_last))
    ]
    children: dict[tuple[str, str], tuple[Callable[..., None], ...]] = {}

    def count(asked: str, answered: str, duration_s: float, sent: int, received: int, more: float) -> None:
        found = children.get((asked, answered))
        if found is None:
            values = ("chat", "openai", asked, answered)
            found = children[asked, answered] = (
                requests.labels(*values).inc,
                *[histogram.labels(*values).observe for histogram in histograms],
            )
        found[0]()
        found[1](duration_s)
        found[2](sent)
        found[3](received)
        found[4](more)

    return count


def _recorder(tracer: Tracer) -> Done:
    start_span, client, count = tracer.start_span, SpanKind.CLIENT, _count()

    def done(
        asked: dict[str, Any],
        head: Any,
        finish: Any,
        usage: Any,
        start_unix_ns: int,
        start_ns: int,
        times: dict[str, float],
    ) -> None:
        model, sent, got = asked["model"], usage.prompt_tokens, usage.completion_tokens
        input_usd, output_usd = sent * _INPUT_USD, got * _OUTPUT_USD
        attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": model,
            "server.address": HOST,
            "server.port": 80,
            "gen_ai.request.max_tokens": asked["max_tokens"],
            "gen_ai.request.temperature": asked["temperature"],
            "openai.api.type": "chat_completions",
            "gen_ai.response.id": head.id,
            "gen_ai.response.model": head.model,
            "gen_ai.response.finish_reasons": (finish,),
            "gen_ai.usage.input_tokens": sent,
            "gen_ai.usage.output_tokens": got,
            "gen_ai.usage.cache_read.input_tokens": usage.prompt_tokens_details.cached_tokens,
            "gen_ai.usage.reasoning.output_tokens": usage.completion_tokens_details.reasoning_tokens,
            "llm.cost.input_usd": input_usd,
            "llm.cost.output_usd": output_usd,
            "llm.cost.total_usd": input_usd + output_usd,
            "gen_ai.usage.cost": input_usd + output_usd,
            "llm.cost.source": "table",
            "openai.response.service_tier": head.service_tier,
            "openai.response.system_fingerprint": head.system_fingerprint,
            **times,
        }
        span = start_span("chat " + model, kind=client, attributes=attributes, start_time=start_unix_ns)
        span.end()
        duration_s = (perf_counter_ns() - start_ns) * 1e-9
        count(model, head.model, duration_s, sent, got, input_usd + output_usd)

    return done


def _small_recorder(tracer: Tracer) -> Done:
    start_span, client, count = tracer.start_span, SpanKind.CLIENT, _count("first_s", _SECONDS)

    def done(
        asked: dict[str, Any],
        head: Any,
        finish: Any,
        usage: Any,
        start_unix_ns: int,
        start_ns: int,
        times: dict[str, float],
    ) -> None:
        model, sent, received = asked["model"], usage.prompt_tokens, usage.completion_tokens
        attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": model,
            "server.address": HOST,
            "server.port": 80,
            "gen_ai.request.max_tokens": asked["max_tokens"],
            "gen_ai.request.temperature": asked["temperature"],
            "gen_ai.response.id": head.id,
            "gen_ai.response.model": head.model,
            "gen_ai.response.finish_reasons": (finish,),
            "gen_ai.usage.input_tokens": sent,
            "gen_ai.usage.output_tokens": received,
        }
        start_span("chat " + model, kind=client, attributes=attributes, start_time=start_unix_ns).end()
        duration_s = (perf_counter_ns() - start_ns) * 1e-9
        first_s = times.get("gen_ai.response.time_to_first_chunk", duration_s)
        count(model, head.model, duration_s, sent, received, first_s)

    return done


class _Watched:
    """A stream that is one generator frame per chunk away from the client's own."""

    def __init__(self, stream: Any, done: Done, asked: dict[str, Any], unix_ns: int, start_ns: int) -> None:
        self._stream = stream
        self._done = done
        self._asked = asked
        self._unix_ns = unix_ns
        self._start_ns = start_ns

    def __iter__(self) -> Iterator[Any]:
        first_ns, finish, chunk = 0, None, None
        for chunk in self._stream:
            if not first_ns:
                first_ns = perf_counter_ns()
            yield chunk
            if chunk.choices:
                finish = chunk.choices[0].finish_reason
        self._end(first_ns, finish, chunk)

    async def __aiter__(self) -> AsyncIterator[Any]:
        first_ns, finish, chunk = 0, None, None
        async for chunk in self._stream:
            if not first_ns:
                first_ns = perf_counter_ns()
            yield chunk
            if chunk.choices:
                finish = chunk.choices[0].finish_reason
        self._end(first_ns, finish, chunk)

    def _end(self, first_ns: int, finish: Any, last: Any) -> None:
        waited_s = (first_ns - self._start_ns) * 1e-9
        times = {
            "gen_ai.request.stream": True,
            "gen_ai.response.time_to_first_chunk": waited_s,
            "llm.time_to_first_token_s": waited_s,
            "llm.time_to_first_answer_s": waited_s,
        }
        self._done(self._asked, last, finish, last.usage, self._unix_ns, self._start_ns, times)


def install(tracer: Tracer) -> None:
    """Wrap the two methods that make chat completions.

    Args:
        tracer: Where the spans come from.
    """
    _wrap(_recorder(tracer))


def install_small(tracer: Tracer) -> None:
    """The same with 12 attributes.

    Args:
        tracer: Where the spans come from.
    """
    _wrap(_small_recorder(tracer))


def _wrap(done: Done) -> None:
    resources: Any = importlib.import_module("openai.resources.chat.completions")
    create, acreate = resources.Completions.create, resources.AsyncCompletions.create

    def finish(asked: dict[str, Any], reply: Any, unix_ns: int, start_ns: int) -> Any:
        if asked.get("stream"):
            return _Watched(reply, done, asked, unix_ns, start_ns)
        done(asked, reply, reply.choices[0].finish_reason, reply.usage, unix_ns, start_ns, {})
        return reply

    def call(self: Any, **asked: Any) -> Any:
        unix_ns, start_ns = time_ns(), perf_counter_ns()
        return finish(asked, create(self, **asked), unix_ns, start_ns)

    async def acall(self: Any, **asked: Any) -> Any:
        unix_ns, start_ns = time_ns(), perf_counter_ns()
        return finish(asked, await acreate(self, **asked), unix_ns, start_ns)

    resources.Completions.create = call
    resources.AsyncCompletions.create = acall
