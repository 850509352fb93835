"""A FastAPI service with /metrics, request ids, JSON logs and a streamed answer.

    python examples/fastapi_app.py --demo          # no key: a provider on this machine answers
    OPENAI_API_KEY=... python examples/fastapi_app.py

    curl -s 'localhost:8000/ask?question=Where+is+order+1042'
    curl -sN 'localhost:8000/stream?question=Where+is+order+1042'
    curl -s localhost:8000/metrics

Needs: pip install trisignal fastapi uvicorn openai
"""

from __future__ import annotations

import argparse
import os
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from functools import cache

import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionUserMessageParam

import trisignal

MODEL = "gpt-4o"

telemetry = trisignal.setup(service_name="chat-api", logs=os.environ.get("TRISIGNAL_LOGS", "stderr"))
trisignal.instrument("openai")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Send what is queued when the server stops."""
    yield
    telemetry.shutdown()


app = FastAPI(lifespan=lifespan)
app.add_route("/metrics", trisignal.metrics_app())
app.add_middleware(trisignal.RequestIdMiddleware)


@cache
def client() -> AsyncOpenAI:
    """The client; it reads OPENAI_API_KEY and OPENAI_BASE_URL."""
    return AsyncOpenAI()


def user_message(text: str) -> ChatCompletionUserMessageParam:
    """One message of the user."""
    return {"role": "user", "content": text}


@app.get("/ask")
async def ask(question: str) -> dict[str, str]:
    """One answer, with the request id that all three signals carry."""
    reply = await client().chat.completions.create(model=MODEL, messages=[user_message(question)])
    return {"answer": reply.choices[0].message.content or "", "request_id": trisignal.request_id() or ""}


@app.get("/stream")
async def stream(question: str) -> StreamingResponse:
    """The same answer, word by word. A client that hangs up makes the call `abandoned` or `cancelled`."""

    async def words() -> AsyncIterator[str]:
        chunks = await client().chat.completions.create(
            model=MODEL,
            messages=[user_message(question)],
            stream=True,
            stream_options={"include_usage": True},
        )
        async for chunk in chunks:
            if chunk.choices:
                yield chunk.choices[0].delta.content or ""

    return StreamingResponse(words(), media_type="text/plain")


def main() -> None:
    """Serve on this machine."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--demo", action="store_true", help="answer from a provider on this machine")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    chosen = parser.parse_args()
    with ExitStack() as stack:
        if chosen.demo:
            from trisignal.cli._demo_provider import DemoProvider

            provider = stack.enter_context(DemoProvider())
            os.environ["OPENAI_BASE_URL"], os.environ["OPENAI_API_KEY"] = provider.base_url, "demo"
        uvicorn.run(app, host=chosen.host, port=chosen.port, log_level="warning")


if __name__ == "__main__":
    main()
