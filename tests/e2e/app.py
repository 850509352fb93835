"""The application under test: model calls on demand, and what became of each as the application saw it.

Settings come from the environment alone, so that every scenario runs the same program.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import openai
from fastapi import FastAPI

import trisignal

telemetry = trisignal.setup(service_name="e2e")
trisignal.instrument("openai")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Send what is queued when a worker ends."""
    yield
    telemetry.force_flush()


app = FastAPI(lifespan=lifespan)
app.add_route("/metrics", trisignal.metrics_app())
app.add_middleware(trisignal.RequestIdMiddleware)


@cache
def client(process: int) -> openai.AsyncOpenAI:
    """The asynchronous client of a process."""
    return openai.AsyncOpenAI(max_retries=0)


@cache
def blocking_client(process: int) -> openai.OpenAI:
    """The synchronous client of a process."""
    return openai.OpenAI(max_retries=0)


def asked(model: str, kind: str) -> dict[str, Any]:
    """Arguments of a call; the message tells the provider what to play."""
    return {"model": model, "messages": [{"role": "user", "content": kind}]}


STREAM: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}


@app.get("/alive")
async def alive() -> str:
    """For whoever waits for the server."""
    return "yes"


@app.get("/call")
async def call(model: str, kind: str) -> dict[str, object]:
    """One call with the asynchronous client: its outcome, its text and the process that made it."""
    outcome, text = "ok", ""
    mine = client(os.getpid()).with_options(max_retries=1 if kind == "retried" else 0)
    try:
        if kind in ("stream", "left"):
            stream = await mine.chat.completions.create(**asked(model, kind), **STREAM)
            async for chunk in stream:
                text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
                if kind == "left" and text:
                    outcome = "abandoned"
                    await stream.close()
                    break
        else:
            reply = await mine.chat.completions.create(**asked(model, kind))
            text = reply.choices[0].message.content or ""
    except openai.OpenAIError as error:
        outcome, text = "error", type(error).__name__
    return {"outcome": outcome, "text": text, "process": os.getpid()}


@app.get("/blocking-call")
def blocking_call(model: str, kind: str) -> dict[str, object]:
    """The same with the synchronous client, in a thread."""
    outcome, text = "ok", ""
    mine = blocking_client(os.getpid()).with_options(max_retries=1 if kind == "retried" else 0)
    try:
        if kind in ("stream", "left"):
            stream = mine.chat.completions.create(**asked(model, kind), **STREAM)
            for chunk in stream:
                text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
                if kind == "left" and text:
                    outcome = "abandoned"
                    stream.close()
                    break
        else:
            text = mine.chat.completions.create(**asked(model, kind)).choices[0].message.content or ""
    except openai.OpenAIError as error:
        outcome, text = "error", type(error).__name__
    return {"outcome": outcome, "text": text, "process": os.getpid()}
