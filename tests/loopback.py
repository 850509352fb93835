"""A real HTTP/1.1 server on 127.0.0.1 that plays prepared replies and records what it was sent."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Union

Body = Union[bytes, Sequence[bytes]]
_NO_BODY = {204, 304}
_SOCKETS = Path("/proc/net/tcp")
_LIMIT_S = 60.0
_UNREAD_S = 0.1
"""Where there is no such table: how long a client that reads takes at most."""


@dataclass(frozen=True)
class Reply:
    """One prepared answer.

    Args:
        status: HTTP status code.
        headers: Response headers; content type, length and transfer encoding are added when absent.
        body: Bytes are sent with a length, a sequence chunked, one write per item.
        delay_s: Seconds of silence before the first byte.
        gap_s: Seconds of silence between two chunks.
        apart: Whether a chunk waits until the client has read the one before (on Linux), so that no two of them
            come in one read; ``gap_s`` counts from then on.
        drop: Close the connection after what was written, short of the announced end. With an empty
            ``bytes`` body nothing is written at all, not even a status line.
        hang: Like ``drop``, but keep the connection open in silence until either side closes it.
        raw: Written as it stands in place of status line, headers and body; then the connection is closed.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body = b""
    delay_s: float = 0.0
    gap_s: float = 0.0
    apart: bool = False
    drop: bool = False
    hang: bool = False
    raw: bytes = b""

    @property
    def unfinished(self) -> bool:
        """Whether the client never gets the end that was announced to it."""
        return self.drop or self.hang or bool(self.raw)


@dataclass(frozen=True)
class Recorded:
    """One request exactly as received; header names keep their case and order."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """Return the first header of that name, whatever its case; None when absent."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def json(self) -> Any:
        """Return the body read as JSON."""
        return json.loads(self.body)


def json_reply(payload: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """Return a reply with a JSON body and a length."""
    return Reply(status=status, headers=headers or {}, body=json.dumps(payload).encode())


def sse(*events: Mapping[str, Any] | str, done: bool = True) -> list[bytes]:
    """Return server-sent events as the chunks of a body, one event per item.

    Args:
        events: Mappings become one JSON ``data:`` line, preceded by an ``event:`` line when they carry
            the key ``"event:"`` (which is not sent as data); strings are sent verbatim.
        done: Whether to end with ``data: [DONE]``.
    """
    chunks: list[bytes] = []
    for event in events:
        if isinstance(event, str):
            chunks.append(event.encode())
            continue
        data = dict(event)
        name = data.pop("event:", None)
        head = f"event: {name}\n" if name else ""
        chunks.append(f"{head}data: {json.dumps(data)}\n\n".encode())
    if done:
        chunks.append(b"data: [DONE]\n\n")
    return chunks


class Loopback:
    """The server: a context manager that listens from construction until its exit.

    Replies come from `handle`'s function when one is set, else from `play`'s queue. A request that finds
    no reply gets status 418, which no client retries.
    """

    def __init__(self) -> None:
        self.requests: list[Recorded] = []
        self._replies: deque[Reply] = deque()
        self._answer: Callable[[Recorded], Reply] | None = None
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self.silent = threading.Event()
        """Set when a reply that hangs has been written."""
        self._connections: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._start(self._accept)

    def play(self, *replies: Reply) -> None:
        """Queue replies: the first request to arrive gets the first one."""
        self._replies.extend(replies)

    def handle(self, answer: Callable[[Recorded], Reply]) -> None:
        """Let a function choose every reply; it runs in the connection's own thread."""
        self._answer = answer

    def close(self) -> None:
        """Stop listening and cut every connection; can be called repeatedly."""
        if self._closing.is_set():
            return
        self._closing.set()
        # A blocked accept() is not woken by closing its socket on every platform.
        with socket.create_connection(("127.0.0.1", self.port)):
            pass
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            _shutdown(connection)
        for thread in self._threads:
            thread.join(timeout=1)
        self._listener.close()

    def __enter__(self) -> Loopback:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, name="loopback", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with self._lock:
                if self._closing.is_set():
                    connection.close()
                    return
                self._connections.add(connection)
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            with connection, connection.makefile("rb") as reader:
                while (request := _read_request(reader)) is not None:
                    with self._lock:
                        self.requests.append(request)
                    reply = self._reply_to(request)
                    self._write(connection, request, reply)
                    if reply.hang:
                        self.silent.set()
                        _wait_for_end(connection)
                    if reply.unfinished or (request.header("connection") or "").lower() == "close":
                        return
        except OSError:
            pass  # the client went away, which is part of what is tested
        finally:
            with self._lock:
                self._connections.discard(connection)

    def _reply_to(self, request: Recorded) -> Reply:
        if self._answer is not None:
            return self._answer(request)
        try:
            return self._replies.popleft()
        except IndexError:
            return Reply(status=418, body=b'{"error": {"message": "the loopback has no reply left to play"}}')

    def _write(self, connection: socket.socket, request: Recorded, reply: Reply) -> None:
        if reply.delay_s:
            self._closing.wait(reply.delay_s)
        if reply.raw:
            connection.sendall(reply.raw)
            return
        body = reply.body
        if isinstance(body, bytes):
            if body or not reply.unfinished:
                no_body = request.method == "HEAD" or reply.status in _NO_BODY
                connection.sendall(_head(reply) + (b"" if no_body else body))
            return
        connection.sendall(_head(reply))
        for number, chunk in enumerate(body):
            if number and reply.apart:
                _wait_until_read(connection)
            if number and reply.gap_s:
                self._closing.wait(reply.gap_s)
            connection.sendall(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        if not reply.unfinished:
            connection.sendall(b"0\r\n\r\n")


def _head(reply: Reply) -> bytes:
    headers = dict(reply.headers)
    told = {name.lower() for name in headers}
    chunked = not isinstance(reply.body, bytes)
    if "content-type" not in told:
        headers["Content-Type"] = "text/event-stream" if chunked else "application/json"
    if chunked:
        headers["Transfer-Encoding"] = "chunked"
    elif "content-length" not in told and reply.status not in _NO_BODY:
        # An unfinished body is announced one byte longer than it is.
        headers["Content-Length"] = str(len(reply.body) + reply.unfinished)
    try:
        reason = HTTPStatus(reply.status).phrase
    except ValueError:
        reason = "Unknown"
    lines = [f"HTTP/1.1 {reply.status} {reason}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _read_request(reader: IO[bytes]) -> Recorded | None:
    """Read one request; None when the client left, be it in the middle of a request."""
    first = reader.readline().decode("latin-1").split()
    if len(first) != 3:
        return None
    method, path, _ = first
    headers: list[tuple[str, str]] = []
    while line := reader.readline().decode("latin-1").rstrip("\r\n"):
        name, _, value = line.partition(":")
        headers.append((name, value.strip()))
    lowered = {name.lower(): value for name, value in headers}
    if "chunked" in lowered.get("transfer-encoding", "").lower():
        body = _read_chunked(reader)
    else:
        length = int(lowered.get("content-length", 0))
        body = reader.read(length)
        if len(body) < length:
            return None
    return Recorded(method, path, tuple(headers), body)


def _read_chunked(reader: IO[bytes]) -> bytes:
    body = b""
    while size := int(reader.readline().split(b";")[0] or b"0", 16):
        body += reader.read(size)
        reader.readline()
    while reader.readline().strip():
        pass
    return body


def _wait_until_read(connection: socket.socket) -> None:
    """Wait until nothing that was sent waits in the client's socket, as the kernel's table of sockets has it."""
    if not _SOCKETS.exists():
        time.sleep(_UNREAD_S)
        return
    client, end = f":{connection.getpeername()[1]:04X}", time.monotonic() + _LIMIT_S
    while time.monotonic() < end:
        rows = (line.split() for line in _SOCKETS.read_text(encoding="ascii").splitlines()[1:])
        unread = [row[4].partition(":")[2] for row in rows if row[1].endswith(client)]
        if all(int(size, 16) == 0 for size in unread):
            return
        time.sleep(0.001)


def _wait_for_end(connection: socket.socket) -> None:
    while connection.recv(4096):
        pass


def _shutdown(connection: socket.socket) -> None:
    with suppress(OSError):  # it may be gone already
        connection.shutdown(socket.SHUT_RDWR)
