"""The web application: hands questions to the worker.

uvicorn web:app
"""

from __future__ import annotations

import os

from fastapi import FastAPI
from tasks import answer

import trisignal

app = FastAPI()
app.add_middleware(trisignal.RequestIdMiddleware)


@app.get("/ask")
def ask(question: str) -> dict[str, str | None]:
    """Waits for the worker's answer."""
    with trisignal.workflow("ask"):
        return {"answer": answer.delay(question).get(timeout=60), "request_id": trisignal.request_id()}


@app.get("/health")
def health() -> str:
    """Whether it runs."""
    return f"ok {os.getpid()}"
