"""A provider of OpenAI's API on this machine whose model never stops: every reply calls the same tool again."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any


class LoopingProvider:
    """Runs for the length of its block, and counts the requests that reach it.

    Args:
        tool: Name of the tool that each reply calls, with the argument ``query``.
    """

    def __init__(self, tool: str) -> None:
        provider = self
        self.requests = 0
        self._numbers = count(1)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                number = next(provider._numbers)
                provider.requests = number
                body = json.dumps(
                    response(tool, number) if self.path.endswith("/responses") else completion(tool, number)
                ).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        """What the client takes as ``base_url``."""

    def __enter__(self) -> LoopingProvider:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def completion(tool: str, number: int) -> dict[str, Any]:
    """A reply of chat completions."""
    function = {"name": tool, "arguments": '{"query": "umbrella"}'}
    call = {"id": f"call_{number}", "type": "function", "function": function}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    return {
        "id": f"chatcmpl-{number}", "object": "chat.completion", "created": 1_760_000_000, "model": "gpt-4o-2024-08-06",
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
    }  # fmt: skip


def response(tool: str, number: int) -> dict[str, Any]:
    """A reply of the Responses API."""
    call = {
        "type": "function_call", "id": f"fc_{number}", "call_id": f"call_{number}", "name": tool,
        "arguments": '{"query": "umbrella"}', "status": "completed",
    }  # fmt: skip
    usage = {
        "input_tokens": 100, "output_tokens": 10, "total_tokens": 110,
        "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0},
    }  # fmt: skip
    return {
        "id": f"resp_{number}", "object": "response", "created_at": 1_760_000_000, "model": "gpt-4o-2024-08-06",
        "status": "completed", "output": [call], "usage": usage, "tools": [], "tool_choice": "auto",
        "parallel_tool_calls": True, "error": None, "incomplete_details": None, "instructions": None, "metadata": {},
        "temperature": 1.0, "top_p": 1.0,
    }  # fmt: skip
