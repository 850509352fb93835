"""The application that the workers of `bench.loopback_workers` serve: each request makes one call of a model.

``/CLIENT/KIND``: ``/openai/chat`` makes a plain call, ``/openai/stream`` reads a stream. Every worker builds
it by itself, and puts the contender to work on its clients, as an application without ``preload_app`` does.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from bench import contenders
from bench.sink import Sink

MODEL = "small-model"
PROMPT = "What does it cost to measure what a call costs? " * 12
CONTENDER_VARIABLE, PORT_VARIABLE = "BENCH_CONTENDER", "BENCH_PORT"

Call = Callable[[], None]


def _openai(port: int) -> dict[str, Call]:
    import openai

    client = openai.OpenAI(api_key="none", base_url=f"http://127.0.0.1:{port}/v1", max_retries=0, timeout=120)
    request: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": PROMPT}]}

    def chat() -> None:
        client.chat.completions.create(**request)

    def stream() -> None:
        for _ in client.chat.completions.create(stream=True, **request):
            pass

    return {"chat": chat, "stream": stream}


def _anthropic(port: int) -> dict[str, Call]:
    import anthropic

    client = anthropic.Anthropic(api_key="none", base_url=f"http://127.0.0.1:{port}", max_retries=0, timeout=120)
    request: dict[str, Any] = {
        "model": MODEL, "max_tokens": 256, "messages": [{"role": "user", "content": PROMPT}],
    }  # fmt: skip

    def chat() -> None:
        client.messages.create(**request)

    def stream() -> None:
        for _ in client.messages.create(stream=True, **request):
            pass

    return {"chat": chat, "stream": stream}


def _google(port: int) -> dict[str, Call]:
    from google import genai

    options: Any = {"base_url": f"http://127.0.0.1:{port}"}
    client = genai.Client(api_key="none", http_options=options)  # one that is freed closes its connections

    def chat() -> None:
        client.models.generate_content(model=MODEL, contents=PROMPT)

    def stream() -> None:
        for _ in client.models.generate_content_stream(model=MODEL, contents=PROMPT):
            pass

    return {"chat": chat, "stream": stream}


def _calls(contender: str, port: int) -> dict[str, Call]:
    sink = Sink()
    contenders.SETUP[contender](sink)
    clients = {"openai": _openai}
    if not contenders.peer_of(contender):
        clients |= {"anthropic": _anthropic, "google-genai": _google}
        if contender != contenders.BARE:
            import trisignal

            trisignal.instrument("anthropic", "google-genai")
    made = {client: build(port) for client, build in clients.items()}
    return {f"/{client}/{kind}": call for client, kinds in made.items() for kind, call in kinds.items()}


def application() -> Callable[..., Iterable[bytes]]:
    """The WSGI application; its contender and the provider's port are in the environment."""
    calls = _calls(os.environ[CONTENDER_VARIABLE], int(os.environ[PORT_VARIABLE]))

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        calls[environ["PATH_INFO"]]()
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
        return [b"ok"]

    return app
