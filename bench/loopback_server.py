"""The provider of `bench.loopback`: fixed replies of three vendors over HTTP/1.1, in a process of its own."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

CHUNKS = 100
_TEXT = "Measured, not guessed. " * 25


def _line(event: Any, name: str = "") -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(event)}\n\n".encode()


def _openai() -> tuple[bytes, list[bytes]]:
    usage = {"prompt_tokens": 260, "completion_tokens": 120, "total_tokens": 380}
    head = {"id": "chatcmpl-0123456789abcdef", "created": 1_700_000_000, "model": "small-model"}
    message = {"role": "assistant", "content": _TEXT}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    reply = {**head, "object": "chat.completion", "choices": [choice], "usage": usage}
    chunk = {**head, "object": "chat.completion.chunk"}
    words = [
        _line({**chunk, "choices": [{"index": 0, "delta": {"content": " word"}, "finish_reason": None}]})
    ] * (CHUNKS - 1)  # fmt: skip
    last = _line({**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": usage})
    return json.dumps(reply).encode(), [*words, last, b"data: [DONE]\n\n"]


def _anthropic() -> tuple[bytes, list[bytes]]:
    usage = {"input_tokens": 260, "output_tokens": 120}
    head = {"id": "msg_0123456789abcdef", "type": "message", "role": "assistant", "model": "small-model"}
    reply = {
        **head, "content": [{"type": "text", "text": _TEXT}], "stop_reason": "end_turn", "stop_sequence": None,
        "usage": usage,
    }  # fmt: skip
    start = {**reply, "content": [], "stop_reason": None}
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": " word"}}
    events = [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *[delta] * (CHUNKS - 5),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": usage},
        {"type": "message_stop"},
    ]
    return json.dumps(reply).encode(), [_line(event, str(event["type"])) for event in events]


def _google() -> tuple[bytes, list[bytes]]:
    usage = {"promptTokenCount": 260, "candidatesTokenCount": 120, "totalTokenCount": 380}
    head = {"modelVersion": "small-model", "responseId": "resp0123456789abcdef", "usageMetadata": usage}

    def candidate(text: str, **more: str) -> dict[str, Any]:
        return {"content": {"role": "model", "parts": [{"text": text}]}, "index": 0, **more}

    reply = {**head, "candidates": [candidate(_TEXT, finishReason="STOP")]}
    words = [_line({**head, "candidates": [candidate(" word")]})] * (CHUNKS - 1)
    return json.dumps(reply).encode(), [*words, _line({**head, "candidates": [candidate("", finishReason="STOP")]})]


def _replies() -> dict[tuple[str, bool], tuple[bytes, list[bytes]]]:
    """Head and body of each reply, by a part of its path and whether it is streamed."""
    replies = {}
    for path, (reply, events) in {
        "/chat/completions": _openai(), "/messages": _anthropic(), "enerateContent": _google(),
    }.items():  # fmt: skip
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(reply)}\r\n\r\n"
        replies[path, False] = (head.encode(), [reply])
        chunked = [b"%x\r\n%b\r\n" % (len(event), event) for event in events]
        head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        replies[path, True] = (head.encode(), [*chunked, b"0\r\n\r\n"])
    return replies


async def _serve(ready: Any) -> None:
    replies = _replies()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                length = next(
                    int(line.partition(":")[2]) for line in head.split("\r\n") if line.lower().startswith("content-len")
                )
                body = await reader.readexactly(length)
                target = head.split(" ", 2)[1]
                path = next(path for path, _ in replies if path in target)
                streamed = "stream" in target or b'"stream": true' in body or b'"stream":true' in body
                first, parts = replies[path, streamed]
                writer.write(first)
                for part in parts:
                    writer.write(part)
                    if streamed:
                        await asyncio.sleep(0)  # other connections take their turn, as with a model that writes
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, backlog=512)
    ready(server.sockets[0].getsockname()[1])
    async with server:
        # It ends with its parent, which holds the other end of standard input.
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


@contextmanager
def serving() -> Iterator[int]:
    """Run the server.

    Yields:
        Its port.
    """
    process = subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )  # fmt: skip
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


if __name__ == "__main__":
    asyncio.run(_serve(lambda port: print(port, flush=True)))
