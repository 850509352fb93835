"""A provider for the demo: answers OpenAI's API on loopback with replies that are made up here."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from itertools import count
from socketserver import ThreadingTCPServer
from types import TracebackType
from typing import Any

SCENE = "x-demo-scene"
"""Request header that asks for one of the two scenes below; without it all goes well."""
BUSY = "busy"
"""The first try is refused with status 429, the next one is answered."""
TOO_LONG = "too-long"
"""The prompt is refused with status 400."""

_FIRST_BYTE_S = 0.06
_CHUNK_S = 0.012
_RETRY_AFTER_MS = 80
_REASONING_TOKENS = 192
_CACHE_STEP = 128
_CACHEABLE = 1024
_SNAPSHOTS = {
    "gpt-4o": "gpt-4o-2024-08-06",
    "gpt-4o-mini": "gpt-4o-mini-2024-07-18",
    "gpt-4.1": "gpt-4.1-2025-04-14",
    "gpt-4.1-mini": "gpt-4.1-mini-2025-04-14",
    "gpt-5-mini": "gpt-5-mini-2025-08-07",
}
"""Dated model that an alias stands for: request and response model differ, as in real traffic."""
_ANSWER = (
    "Order 1042 left the warehouse on Monday. The carrier has it on the van for today, "
    "and you can still move the delivery to another day until noon."
)


class DemoProvider:
    """The server: listens on loopback from construction until the end of its block.

    Args:
        port: TCP port; 0 takes a free one.

    Raises:
        OSError: The port is taken.
    """

    def __init__(self, port: int = 0) -> None:
        self._server = _Server(("127.0.0.1", port), _Handler)
        self.base_url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        """What an OpenAI client takes as ``base_url``."""
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def __enter__(self) -> DemoProvider:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingTCPServer):
    daemon_threads = True
    # A port that the last run has just left can be used at once.
    allow_reuse_address = True

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.numbers = count(1)
        self.refused = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that hangs up in the middle of a stream is part of the demo.
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Else each small write waits for the acknowledgement of the one before.
    disable_nagle_algorithm = True
    server: Any
    """The `_Server` that took the connection."""

    def log_message(self, format: str, *args: Any) -> None:
        """The demo's output is the client's side."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.number = next(self.server.numbers)
        time.sleep(_FIRST_BYTE_S)
        scene = self.headers.get(SCENE)
        if scene == BUSY and not self.server.refused:
            self.server.refused = True
            self._refuse(429, "rate_limit_exceeded", "Too many requests.")
        elif scene == TOO_LONG:
            self._refuse(400, "context_length_exceeded", "The prompt is too long for this model.")
        elif self.path == "/v1/embeddings":
            self._json(200, _embeddings(body))
        elif self.path == "/v1/responses":
            self._json(200, _response(body, self.number))
        elif body.get("stream"):
            self._stream(_chunks(body, self.number))
        else:
            self._json(200, _completion(body, self.number))

    def _refuse(self, status: int, code: str, message: str) -> None:
        self._json(status, {"error": {"message": message, "type": code, "code": code, "param": None}})

    def _head(self, status: int, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("x-request-id", f"req_demo_{self.number}")
        self.send_header("x-ratelimit-limit-requests", "500")
        self.send_header("x-ratelimit-remaining-requests", str(500 - self.number))
        if status == 429:
            self.send_header("retry-after-ms", str(_RETRY_AFTER_MS))

    def _json(self, status: int, payload: dict[str, Any]) -> None:
        data = json.dumps(payload).encode()
        self._head(status, "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, events: Iterator[dict[str, Any]]) -> None:
        self._head(200, "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in events:
            self._chunk(f"data: {json.dumps(event)}\n\n")
            time.sleep(_CHUNK_S)
        self._chunk("data: [DONE]\n\n")
        self._chunk("")

    def _chunk(self, text: str) -> None:
        data = text.encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))


def _completion(body: dict[str, Any], number: int) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": _ANSWER, "refusal": None}
    reason, output = "stop", _tokens(_ANSWER)
    if body.get("tools"):
        function = {"name": body["tools"][0]["function"]["name"], "arguments": '{"order": 1042}'}
        message |= {"content": None, "tool_calls": [{"id": "call_1", "type": "function", "function": function}]}
        reason, output = "tool_calls", 16
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
    return _envelope(body, number, "chat.completion") | {"choices": [choice], "usage": _usage(body, output)}


def _chunks(body: dict[str, Any], number: int) -> Iterator[dict[str, Any]]:
    head = _envelope(body, number, "chat.completion.chunk")

    def chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        return head | {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}], "usage": None}

    yield chunk({"role": "assistant", "content": ""})
    for word in _ANSWER.split():
        yield chunk({"content": word + " "})
    yield chunk({}, "stop")
    if (body.get("stream_options") or {}).get("include_usage"):
        yield head | {"choices": [], "usage": _usage(body, _tokens(_ANSWER))}


def _response(body: dict[str, Any], number: int) -> dict[str, Any]:
    usage = _usage(body, _tokens(_ANSWER) + _REASONING_TOKENS)
    part = {"type": "output_text", "text": _ANSWER, "annotations": []}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    return {
        "id": f"resp_demo_{number}",
        "object": "response",
        "created_at": int(time.time()),
        "status": "completed",
        "model": _model(body),
        "output": [{"id": "rs_1", "type": "reasoning", "summary": []}, message],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": usage["prompt_tokens"],
            "input_tokens_details": usage["prompt_tokens_details"],
            "output_tokens": usage["completion_tokens"],
            "output_tokens_details": {"reasoning_tokens": _REASONING_TOKENS},
            "total_tokens": usage["total_tokens"],
        },
    }


def _embeddings(body: dict[str, Any]) -> dict[str, Any]:
    tokens = _tokens(json.dumps(body["input"]))
    # The client asks for base64; it takes a list of numbers too.
    vector = {"object": "embedding", "index": 0, "embedding": [0.25, -0.5, 0.125, 0.75]}
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": [vector], "model": _model(body), "usage": usage}


def _envelope(body: dict[str, Any], number: int, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-demo-{number}", "object": kind, "created": int(time.time()), "model": _model(body)}


def _model(body: dict[str, Any]) -> str:
    asked: str = body["model"]
    return _SNAPSHOTS.get(asked, asked)


def _usage(body: dict[str, Any], output: int) -> dict[str, Any]:
    prompt = _tokens(json.dumps(body.get("messages") or body.get("input")))
    # Long prompts are read from the cache in whole steps, as the real service does it.
    cached = prompt // _CACHE_STEP * _CACHE_STEP if prompt >= _CACHEABLE else 0
    return {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _tokens(text: str) -> int:
    """Four characters make about one token of English."""
    return len(text) // 4
