"""What a server knows of its queue, its batches and its engine, through FastAPI and uvicorn to the caller's trace."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st

import trisignal
from trisignal import ServerMiddleware, TraceAnalyzer
from trisignal.call import Draft
from trisignal.observe.active_call import ActiveCall
from trisignal.semconv import serving
from trisignal.testing import Seen, capture

openai: Any = pytest.importorskip("openai")
fastapi: Any = pytest.importorskip("fastapi")

QUEUE, PREFILL, DECODE = 0.02, 0.03, 0.05
TOKENS = 6


class Work(NamedTuple):
    """A request in the queue."""

    came_s: float
    done: asyncio.Future[dict[str, Any]]


class Batches:
    """A server that works on what has come together, as engines do."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Work] = asyncio.Queue()

    async def ask(self) -> dict[str, Any]:
        """Wait for the facts of one's own work."""
        work = Work(time.perf_counter(), asyncio.get_running_loop().create_future())
        waiting = self.queue.qsize()
        await self.queue.put(work)
        return {"waiting": waiting, **await work.done}

    async def run(self) -> None:
        """Batch after batch, until it is cancelled."""
        while True:
            batch = [await self.queue.get()]
            await asyncio.sleep(QUEUE)
            while not self.queue.empty():
                batch.append(self.queue.get_nowait())
            taken_s = time.perf_counter()
            await asyncio.sleep(PREFILL)
            prefilled_s = time.perf_counter()
            await asyncio.sleep(DECODE)
            times = {"prefill_s": prefilled_s - taken_s, "decode_s": time.perf_counter() - prefilled_s}
            for work in batch:
                work.done.set_result({"queue_s": taken_s - work.came_s, "batch_size": len(batch), **times})


def application() -> Any:
    """An OpenAI-compatible server in FastAPI."""
    batches = Batches()

    @asynccontextmanager
    async def running(_: Any) -> AsyncIterator[None]:
        task = asyncio.create_task(batches.run())
        yield
        task.cancel()

    app = fastapi.FastAPI(lifespan=running)
    app.add_middleware(ServerMiddleware, provider="acme")

    @app.post("/v1/chat/completions")
    async def chat(question: dict[str, Any]) -> Any:
        facts = await batches.ask()
        trisignal.current_call().set_serving(**facts)
        usage = {"prompt_tokens": 11, "completion_tokens": TOKENS, "total_tokens": 11 + TOKENS}
        head = {"id": "c1", "created": 1, "model": question["model"]}
        if question.get("stream"):
            return fastapi.responses.StreamingResponse(_words(head, usage), media_type="text/event-stream")
        message = {"role": "assistant", "content": "Yes."}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        return {**head, "object": "chat.completion", "choices": choices, "usage": usage}

    return app


async def _words(head: dict[str, Any], usage: dict[str, int]) -> AsyncIterator[str]:
    for finish in (None, "stop"):
        choices = [{"index": 0, "delta": {"content": "Yes."}, "finish_reason": finish}]
        chunk = {**head, "object": "chat.completion.chunk", "choices": choices}
        yield f"data: {json.dumps({**chunk, 'usage': usage} if finish else chunk)}\n\n"
    yield "data: [DONE]\n\n"


@contextmanager
def serving_at() -> Iterator[str]:
    """The server on a port of its own."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(application(), log_level="critical", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
    server.should_exit = True
    thread.join(60)
    listening.close()


def ask(url: str, stream: bool = False) -> None:
    """One call of a real client."""
    with openai.OpenAI(base_url=url, api_key="k", timeout=60) as client:
        asked = {"model": "qwen3", "messages": [{"role": "user", "content": "?"}]}
        reply = client.chat.completions.create(**asked, stream=stream)
        if stream:
            list(reply)


def called(seen: Seen, role: str) -> Any:
    """The only call of a role."""
    [call] = [call for call in seen.calls if call.role == role]
    return call


@pytest.mark.parametrize("stream", [False, True])
def test_queue_and_batch_are_on_the_servers_span_and_in_metrics(stream: bool) -> None:
    """Times to the first token and per token of a whole reply are the engine's own, those of a stream are measured."""
    with capture(provider_hosts={"127.0.0.1": "acme"}) as seen:
        with serving_at() as url:  # its end is that of its requests, too: a client may have read all before
            trisignal.instrument("openai")
            ask(url, stream)
        of_server = called(seen, "server")
        facts = of_server.closing
        assert facts[serving.QUEUE_S] >= QUEUE * 0.9
        assert (facts[serving.BATCH_SIZE], facts[serving.WAITING]) == (1, 0)
        assert serving.TOTAL_S not in facts
        assert serving.NETWORK_S not in facts
        line = next(line for line in seen.logs if line.get("span_id") == of_server.span_id)
        assert line[serving.QUEUE_S] == facts[serving.QUEUE_S]
        assert seen.value("llm_server_queue_time_seconds_sum") == pytest.approx(facts[serving.QUEUE_S])
        assert seen.value("llm_server_batch_size_sum") == 1
        assert seen.value("gen_ai_server_request_duration_seconds_count") == 1
        assert seen.value("gen_ai_server_time_to_first_token_seconds_count") == 1
        assert seen.value("gen_ai_server_time_per_output_token_seconds_count") == 1
        if not stream:
            first_s = facts[serving.QUEUE_S] + facts[serving.PREFILL_S]
            assert seen.value("gen_ai_server_time_to_first_token_seconds_sum") == pytest.approx(first_s)
            per_token_s = facts[serving.DECODE_S] / (TOKENS - 1)
            assert seen.value("gen_ai_server_time_per_output_token_seconds_sum") == pytest.approx(per_token_s)


def test_requests_that_come_together_are_one_batch() -> None:
    """Each of them reports the size of the batch, so that the mean of the metric is weighted by requests."""
    with capture(provider_hosts={"127.0.0.1": "acme"}) as seen:
        with serving_at() as url:
            trisignal.instrument("openai")
            callers = [threading.Thread(target=ask, args=(url,)) for _ in range(6)]
            for caller in callers:
                caller.start()
            for caller in callers:
                caller.join(60)
        sizes = [call.closing[serving.BATCH_SIZE] for call in seen.calls if call.role == "server"]
    assert len(sizes) == 6
    assert all(1 <= size <= 6 for size in sizes)
    assert all(sizes.count(size) % size == 0 for size in set(sizes))


def test_client_and_server_are_one_trace_whose_parts_add_up(tmp_path: Path) -> None:
    """The call's parts are the server's queue, prefill and decode, what else it did, and the network around it."""
    telemetry = trisignal.setup(store=str(tmp_path / "store"), provider_hosts={"127.0.0.1": "acme"}, set_global=False)
    try:
        with serving_at() as url:
            trisignal.instrument("openai")
            ask(url)
        assert telemetry.force_flush(60)
    finally:
        telemetry.shutdown()
    with TraceAnalyzer(tmp_path / "store") as analyzer:
        [row] = analyzer.spans(since="1h", of="requests").rows[-1:]
        [root] = analyzer.trace(row.trace_id).roots
    [served] = root.children
    assert (served.span.name, root.span.name) == ("chat qwen3", "chat qwen3")
    parts = {part.name: part.duration_s for part in root.parts}
    assert list(parts) == ["network", "queue", "prefill", "decode", "server"]
    assert parts["network"] == pytest.approx(root.span.duration_s - served.span.duration_s, abs=1e-5)
    assert sum(parts.values()) == pytest.approx(root.span.duration_s, abs=1e-4)
    assert parts["queue"] >= QUEUE * 0.9


ODD = st.one_of(st.none(), st.booleans(), st.floats(), st.integers(-5, 10**20), st.text(max_size=2))


@given(ODD, ODD, ODD)
def test_odd_facts_are_none(seconds: Any, size: Any, waiting: Any) -> None:
    """Whatever is set: times are numbers from 0 on, counts are whole."""
    draft = Draft("chat")
    draft.role = "server"
    ActiveCall(draft).set_serving(queue_s=seconds, decode_s=seconds, batch_size=size, waiting=waiting)
    for name, value in draft.fields.items():
        whole = name in (serving.BATCH_SIZE, serving.WAITING)
        assert isinstance(value, int if whole else float)
        assert value >= 0


def test_outside_of_a_call_nothing_happens() -> None:
    """As all setters of a call that is none."""
    ActiveCall(None).set_serving(queue_s=1.0)
