"""A stand-in for a self-hosted model server, with trisignal's middleware for such servers.

uvicorn model_server:app
"""

from __future__ import annotations

import os
from typing import Any

from fastapi import FastAPI

import trisignal

trisignal.setup(store=os.environ["STORE"])
app = FastAPI()
app.add_middleware(trisignal.ServerMiddleware, provider="vllm")


@app.post("/v1/chat/completions")
def complete(request: dict[str, Any]) -> dict[str, Any]:
    """Always the same words."""
    message = {"role": "assistant", "content": "It is on the van."}
    return {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1_760_000_000, "model": request["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 20, "completion_tokens": 6, "total_tokens": 26},
    }  # fmt: skip


@app.get("/health")
def health() -> str:
    """Whether it runs."""
    return "ok"
