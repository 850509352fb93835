"""An application under load that moves every metric: what dashboards and rules are tried on.

    PYTHONPATH=src:tests python tests/operate/load_app.py --profile 1.41

It prints the address of its metrics page. The provider is tests' loopback server: calls are made with
the real OpenAI client, and with decorators where another provider is played. It runs until it is ended,
or for ``--seconds``.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import math
import random
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import faiss
import httpx
import numpy
import openai
from loopback import Loopback, Recorded, Reply, json_reply, sse
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Tracer

import trisignal
from trisignal.policy.price import Rates

SCENE = "x-scene"
LIMIT, BUSY, CALM = 600, 40, 240
MODELS = {"gpt-4o": (0.35, 0.02), "gpt-4o-mini": (0.12, 0.008), "gpt-5-mini": (0.6, 0.015)}
"""Seconds to the first byte and between two chunks, on average."""
OTHERS = {
    ("anthropic", "claude-sonnet-4-5", "chat"): 0.5,
    ("gcp.gemini", "gemini-2.5-flash", "generate_content"): 0.25,
    ("vllm", "qwen3-8b", "chat"): 0.15,
}
"""Provider, model and operation of calls that are only described; vLLM's have no price."""
TENANTS = ("acme", "globex", "initech")
PROMPTS = (("order-status", "3"), ("order-status", "4"), ("refund", "1"))
BUDGET_TOKENS = 5_000_000
CHANCE = random.Random(7)
HANDBOOK: Any = faiss.IndexFlatIP(4)
HANDBOOK.add(numpy.eye(4, dtype="float32"))


class ToolError(Exception):
    """A tool that did not work."""


# --- the provider --------------------------------------------------------------------


class Provider:
    """Answers OpenAI's API as the request's scene asks.

    Args:
        busy: Remaining requests with which its limit starts over.
    """

    def __init__(self, busy: int) -> None:
        self.left, self.busy = LIMIT, busy
        self.refused: set[str] = set()

    def answer(self, request: Recorded) -> Reply:
        """The reply to one request."""
        if request.method == "GET":  # a probe
            return json_reply({"data": []})
        body, scene = request.json(), request.header(SCENE) or ""
        self.left = LIMIT if self.left < self.busy else self.left - CHANCE.randint(1, 4)
        headers = {
            "x-request-id": f"req_{CHANCE.randrange(10**9)}",
            "x-ratelimit-limit-requests": str(LIMIT),
            "x-ratelimit-remaining-requests": str(self.left),
            "x-ratelimit-limit-tokens": "200000",
            "x-ratelimit-remaining-tokens": str(self.left * 300),
        }
        if scene.startswith("retry ") and scene not in self.refused:
            self.refused.add(scene)
            return _refusal(429, "rate_limit_exceeded", {**headers, "retry-after-ms": "30"})
        if scene in ("400", "429", "503"):
            codes = {"400": "context_length_exceeded", "429": "rate_limit_exceeded", "503": "overloaded"}
            return _refusal(int(scene), codes[scene], headers)
        if request.path.endswith("/embeddings"):
            return Reply(headers=headers, body=json.dumps(_vectors(body)).encode(), delay_s=0.04)
        slow, gap = MODELS[body["model"]]
        delay = slow * CHANCE.lognormvariate(0, 0.4)
        if body.get("stream"):
            return Reply(headers=headers, body=_stream(body, scene), delay_s=delay, gap_s=gap * CHANCE.uniform(0.5, 2))
        usage = _usage(CHANCE.choice((300, 900, 2400)), CHANCE.randint(20, 400), "gpt-5" in body["model"])
        message = {"role": "assistant", "content": "It is on its way.", "refusal": None}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        told = {**_head(body, "chat.completion"), "choices": [choice], "usage": usage}
        return Reply(headers=headers, body=json.dumps(told).encode(), delay_s=delay * 1.5)


def _refusal(status: int, code: str, headers: dict[str, str]) -> Reply:
    error = {"message": "refused", "type": code, "code": code, "param": None}
    return json_reply({"error": error}, status=status, headers=headers)


def _head(body: dict[str, Any], kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{CHANCE.randrange(10**9)}", "object": kind, "created": 1, "model": body["model"]}


def _usage(prompt: int, output: int, reasons: bool = False) -> dict[str, Any]:
    thought = output // 2 if reasons else 0
    return {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "prompt_tokens_details": {"cached_tokens": prompt // 256 * 128 if prompt > 512 else 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": thought, "audio_tokens": 0},
    }


def _stream(body: dict[str, Any], scene: str) -> list[bytes]:
    head = _head(body, "chat.completion.chunk")
    words = CHANCE.randint(8, 30)

    def chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        return head | {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}], "usage": None}

    told = [chunk({"role": "assistant", "content": ""})]
    if "gpt-5" in body["model"]:
        told += [chunk({"reasoning_content": "hm "}) for _ in range(words)]
    told += [chunk({"content": "word "}) for _ in range(words)]
    told.append(chunk({}, "stop"))
    if scene != "no usage":
        told.append(head | {"choices": [], "usage": _usage(CHANCE.choice((200, 1500)), words)})
    return sse(*told)


def _vectors(body: dict[str, Any]) -> dict[str, Any]:
    vector = {"object": "embedding", "index": 0, "embedding": [0.25, -0.5]}
    usage = {"prompt_tokens": 12, "total_tokens": 12}
    return {"object": "list", "data": [vector], "model": body["model"], "usage": usage}


# --- the application -----------------------------------------------------------------


class App:
    """What the application does, one method per kind of traffic.

    Args:
        client: OpenAI's client.
    """

    def __init__(self, client: openai.AsyncOpenAI) -> None:
        self.client = client
        self.queue = trisignal.queue("questions")
        self.cache = trisignal.cache("answers")
        self.workers = asyncio.Semaphore(4)
        self.scenes = itertools.cycle(("400", "retry", "leave", "429", "cancel", "503", "no usage"))

    async def chat(self, scene: str = "", model: str = "", **more: Any) -> Any:
        """One call."""
        asked: Any = [{"role": "user", "content": "Where is order 1042? Write to jane.doe@example.com."}]
        return await self.client.chat.completions.create(
            model=model or CHANCE.choice(list(MODELS)), messages=asked, extra_headers={SCENE: scene}, **more
        )

    async def stream(self, scene: str = "", most: int = 1000) -> None:
        """One streamed call, of which ``most`` chunks are read."""
        chunks = await self.chat(scene, stream=True, stream_options={"include_usage": True})
        async for _ in chunks:
            most -= 1
            if most == 0:
                break
        await chunks.close()

    async def question(self) -> None:
        """All that is done for one question of a user."""
        name, version = CHANCE.choice(PROMPTS)
        with trisignal.context(prompt_name=name, prompt_version=version):
            carrier = self.queue.put()
            async with self.workers:
                with self.queue.get(carrier), trisignal.workflow("refund" if name == "refund" else "answer_question"):
                    self.cache.record(CHANCE.random() < 0.4)
                    await self.prepare()
                    with trisignal.stage("answer"):
                        await self.agent(name)
                    judge(0.95 if version == "4" else 0.85)

    async def prepare(self) -> None:
        """What comes before the answer."""
        with trisignal.stage("check"):
            await asyncio.sleep(CHANCE.uniform(0.02, 0.06))
        with trisignal.stage("retrieve"):
            await self.client.embeddings.create(model="text-embedding-3-small", input="where")
            with trisignal.retrieval("handbook", top_k=3):
                await asyncio.sleep(CHANCE.uniform(0.01, 0.15))
                HANDBOOK.search(numpy.random.default_rng().random((1, 4), dtype="float32"), 3)

    async def agent(self, prompt: str) -> None:
        """Calls, a tool that fails sometimes, and an answer."""
        with trisignal.agent("clerk" if prompt == "refund" else "planner"):
            await self.chat()
            for _ in range(CHANCE.choice((1, 1, 2))):
                await self.use(CHANCE.choice(("look_up_order", "search_handbook")))
            await self.stream()

    async def use(self, name: str) -> None:
        """A tool."""
        with trisignal.tool(name):
            await asyncio.sleep(CHANCE.uniform(0.01, 0.06) * (4 if name == "search_handbook" else 1))
            if CHANCE.random() < 0.03:
                raise ToolError

    async def other(self) -> None:
        """A call of another provider, as a decorated function sees it."""
        (provider, model, operation), slow = CHANCE.choice(list(OTHERS.items()))
        told = trisignal.llm(provider=provider, model=model, operation=operation)  # type: ignore[arg-type]
        with told as call:
            await asyncio.sleep(slow * CHANCE.lognormvariate(0, 0.3))
            call.set_usage(input_tokens=CHANCE.choice((200, 800)), output_tokens=CHANCE.randint(30, 300))
            await asyncio.sleep(0.02)

    async def impatient(self) -> None:
        """A call that is cancelled after its tokens were spent: their cost is wasted."""
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._endless(), 0.2)

    async def _endless(self) -> None:
        with trisignal.llm(provider="anthropic", model="claude-sonnet-4-5") as call:
            call.set_usage(input_tokens=400, output_tokens=80)
            await asyncio.sleep(60)

    async def trouble(self) -> None:
        """What does not go well."""
        scene = next(self.scenes)
        with suppress(openai.APIError, asyncio.TimeoutError):
            if scene == "leave":
                await self.stream(most=5)
            elif scene == "cancel":
                await asyncio.wait_for(self.stream(), 0.15)
            elif scene == "no usage":
                await self.stream(scene)
            elif scene == "retry":
                await self.chat(f"retry {CHANCE.random()}")
            else:
                await self.chat(scene)

    async def serve(self) -> None:
        """A request that this process answers itself."""
        transport = httpx.ASGITransport(app=trisignal.ServerMiddleware(model_server, provider="vllm"))
        async with httpx.AsyncClient(transport=transport, base_url="http://model-server") as client:
            body = {"model": "qwen3-8b", "stream": True, "messages": [{"role": "user", "content": "Hello."}]}
            await client.post("/v1/chat/completions", json=body)


async def model_server(scope: Any, receive: Any, send: Any) -> None:
    """A model server of a dozen tokens."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    waited_s = CHANCE.uniform(0.03, 0.2)
    await asyncio.sleep(waited_s)
    trisignal.current_call().set_serving(queue_s=waited_s, batch_size=CHANCE.randint(1, 8))
    for chunk in _stream({"model": "qwen3-8b"}, ""):
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await asyncio.sleep(0.012)
    await send({"type": "http.response.body", "body": b""})


def judge(usual: float) -> None:
    """Evaluations and feedback of an answer, by the reference that was stored with it."""
    ref = {"model": CHANCE.choice(list(MODELS))}
    for name, best in (("faithfulness", usual), ("retrieval_relevance", usual - 0.1)):
        trisignal.evaluate(name, min(1.0, CHANCE.betavariate(9, 2) * best + 0.1), ref=ref)
    trisignal.evaluate("hallucination", CHANCE.betavariate(1, 6), higher_is_better=False, ref=ref)
    if CHANCE.random() < 0.7:
        trisignal.feedback(CHANCE.choice((1, 1, 1, 0, -1)), ref=ref)


# --- what telemetry has to cope with -------------------------------------------------


class Misfiled:
    """A source of prices that fails for one model."""

    def rates(self, provider: str, host: str, model: str, tier: str, at_unix_s: float) -> Rates | None:
        """Never a price: the shipped table has them."""
        if model == "misfiled":
            raise LookupError(model)
        return None


def censor(text: str) -> str:
    """A redactor that fails on one word."""
    if "unreadable" in text:
        raise ValueError
    return text


async def spend() -> None:
    """Calls of a tenant that uses up its budget with the first one, and is refused from then on."""
    with trisignal.context(tenant="thrifty"), suppress(trisignal.BudgetExceeded):
        with trisignal.llm(provider="vllm", model="qwen3-8b") as call:
            call.set_usage(input_tokens=BUDGET_TOKENS, output_tokens=1)


async def overstep() -> None:
    """A run that is stopped before its second call."""
    with suppress(trisignal.GuardExceeded), trisignal.guard(calls=1, name="impatient"):
        for _ in range(2):
            with trisignal.llm(provider="vllm", model="qwen3-8b") as call:
                call.set_usage(input_tokens=100, output_tokens=10)


async def strain(app: App, tracer: Tracer) -> None:
    """Errors inside of telemetry, labels without bound, spans without end, texts that cannot be redacted."""
    for rating, model, (name, version) in itertools.product((1, 0, -1), MODELS, PROMPTS):
        # What is usual has its labels before there are too many.
        trisignal.feedback(rating, ref={"model": model, "prompt_name": name, "prompt_version": version})
    for number in itertools.count():
        with trisignal.llm(provider="vllm", model="misfiled") as call:
            call.set_usage(input_tokens=1, output_tokens=1)
        await app.client.chat.completions.create(
            model="gpt-4o-mini", messages=[{"role": "user", "content": "unreadable"}]
        )
        for span in range(20 if number else 10_020):
            tracer.start_span("chat", attributes={"gen_ai.operation.name": "chat"})
            if span % 500 == 0:
                await asyncio.sleep(0.01)
        for draft in range(3 if number else 203):
            trisignal.feedback(0, ref={"model": "gpt-4o", "prompt_version": f"draft-{number}-{draft}"})
        await asyncio.sleep(6)


async def repeat(action: Callable[[], Awaitable[None]], pause_s: float) -> None:
    """Do something again and again, in waves."""
    while True:
        with suppress(ToolError, openai.APIError), trisignal.context(tenant=CHANCE.choice(TENANTS)):
            await action()
        wave = 1 + 0.7 * math.sin(time.monotonic() / 20)
        await asyncio.sleep(CHANCE.expovariate(1 / pause_s) * wave)


async def load(base_url: str, tracer: Tracer, seconds: float, calm: bool) -> None:
    """All traffic at once; calm, trouble is rare, and telemetry has none."""
    rarer = 12 if calm else 1
    async with openai.AsyncOpenAI(base_url=base_url, api_key="none", max_retries=1) as client:
        app = App(client)
        tasks = [asyncio.create_task(repeat(app.question, 0.6)) for _ in range(6)]
        tasks += [
            asyncio.create_task(repeat(action, pause_s))
            for action, pause_s in (
                (app.other, 0.3),
                (app.trouble, 1.0 * rarer),
                (app.serve, 0.5),
                (app.impatient, 4.0 * rarer),
                (overstep, 3.0 * rarer),
            )
        ]
        with trisignal.context(tenant=TENANTS[0]):
            strains = () if calm else (strain(app, tracer), repeat(spend, 3.0))
            tasks += [asyncio.create_task(strain) for strain in strains]
        done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        for task in tasks:
            task.cancel()
        for task in done:
            task.result()


def main() -> None:
    """Serve the page, and make traffic."""
    parser = argparse.ArgumentParser(description="Moves every metric.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--profile", default="1.41")
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--calm", action="store_true", help="little goes wrong: for pictures")
    told = parser.parse_args()
    provider = TracerProvider()
    trisignal.setup(
        service_name="load", tracer_provider=provider, metric_profile=told.profile, metric_dimensions=["tenant"],
        capture_content=True, redactor=censor, price_source=Misfiled(),
    )  # fmt: skip
    trisignal.instrument("openai", "faiss")
    with Loopback() as loopback, tempfile.TemporaryDirectory() as accounts:
        loopback.handle(Provider(CALM if told.calm else BUSY).answer)
        trisignal.health({"openai": trisignal.http_probe(f"{loopback.url}/v1/models")}, every_s=3)
        trisignal.Budget(tokens=BUDGET_TOKENS, per="day", key="tenant", action="raise")
        trisignal.Budget(usd=1000, per="day", name="all processes", shared=accounts)
        print(trisignal.serve_metrics(told.port).url, flush=True)
        asyncio.run(load(f"{loopback.url}/v1", provider.get_tracer("spans.without.end"), told.seconds, told.calm))


if __name__ == "__main__":
    main()
