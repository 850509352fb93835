"""Incremental decoders for raw response bytes that no vendor code parses for us.

Both keep a bounded buffer; what does not fit is skipped, never an error. Compressed bodies
are inflated where the standard library can, or the package that HTTP clients use.
"""

from __future__ import annotations

import base64
import importlib
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

MAX_EVENT = 8 << 20
MAX_BODY = 32 << 20
_PRELUDE = 12
"""Bytes before the headers of an AWS frame."""


Inflate = Callable[[bytes], bytes]


def inflater(encoding: str) -> Inflate | None:
    """A decompressor for a content encoding.

    Args:
        encoding: In lower case; several are in the order in which they were applied.

    Returns:
        The identity for no encoding; None for one that cannot be read here.
    """
    inflate: Inflate = bytes
    for name in reversed(encoding.split(",")):
        make = _INFLATERS.get(name.strip())
        one = None if make is None else make()
        if one is None:
            return None
        if one is not bytes:
            inflate = one if inflate is bytes else _chained(inflate, one)
    return inflate


def _chained(first: Inflate, second: Inflate) -> Inflate:
    return lambda data: second(first(data))


def _deflate() -> Inflate:
    """With zlib's header as the standard says, or without, as some servers send it."""
    state: list[Any] = [zlib.decompressobj()]

    def inflate(data: bytes) -> bytes:
        try:
            done: bytes = state[0].decompress(data)
        except zlib.error:
            if len(state) > 1:
                raise
            state[:] = [zlib.decompressobj(-zlib.MAX_WBITS), None]
            done = state[0].decompress(data)
        state[1:] = [None]
        return done

    return inflate


def _first_of(*modules: str) -> Any:
    """The first module that is installed; HTTP clients decode with the same ones, where there are any."""
    for name in modules:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    return None


def _brotli() -> Inflate | None:
    module = _first_of("brotli", "brotlicffi")
    if module is None:
        return None
    decompressor = module.Decompressor()
    inflate: Inflate = getattr(decompressor, "process", None) or decompressor.decompress
    return inflate


def _zstd() -> Inflate | None:
    module = _first_of("compression.zstd", "backports.zstd", "zstandard")
    if module is None:
        return None

    def begin() -> Any:
        decompressor = module.ZstdDecompressor()
        return decompressor.decompressobj() if hasattr(decompressor, "decompressobj") else decompressor

    frame = [begin()]

    def inflate(data: bytes) -> bytes:
        parts = []
        while data:
            if frame[0].eof:
                frame[0] = begin()
            parts.append(frame[0].decompress(data))
            data = frame[0].unused_data if frame[0].eof else b""
        return b"".join(parts)

    return inflate


_INFLATERS: dict[str, Callable[[], Inflate | None]] = {
    "": lambda: bytes,
    "identity": lambda: bytes,
    "gzip": lambda: zlib.decompressobj(31).decompress,
    "x-gzip": lambda: zlib.decompressobj(31).decompress,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}


class EventDecoder:
    """Server-sent events: raw bytes in, decoded JSON objects out."""

    __slots__ = ("_buffer", "_data", "_inflate", "done")

    def __init__(self, inflate: Callable[[bytes], bytes]) -> None:
        self._inflate = inflate
        self._buffer = b""
        self._data: list[bytes] = []
        self.done = False
        """The ``[DONE]`` mark of OpenAI-like streams has come."""

    def feed(self, raw: bytes) -> Iterator[dict[str, Any]]:
        """Take bytes as they come; yield the events that are complete."""
        *lines, self._buffer = (self._buffer + self._inflate(raw)).split(b"\n")
        if len(self._buffer) > MAX_EVENT:
            self._buffer = b""
        for line in lines:
            line = line.rstrip(b"\r")
            if line.startswith(b"data:"):
                self._data.append(line[5:].lstrip(b" "))
            elif not line and self._data:
                yield from self._event()

    def finish(self) -> Iterator[dict[str, Any]]:
        """The body is over: a last event may lack its blank line."""
        yield from self.feed(b"\n\n")

    def _event(self) -> Iterator[dict[str, Any]]:
        text = b"\n".join(self._data)
        self._data = []
        if text.startswith(b"[DONE]"):
            self.done = True
            return
        try:
            event = json.loads(text)
        except ValueError:
            return
        if isinstance(event, dict):
            yield event


class FrameDecoder:
    """AWS event stream frames around JSON events: raw bytes in, decoded JSON objects out.

    Frame: total and headers length, checksum, headers, payload, checksum (AWS SDK documentation).
    """

    __slots__ = ("_buffer", "_inflate", "done")

    def __init__(self, inflate: Callable[[bytes], bytes]) -> None:
        self._inflate = inflate
        self._buffer = b""
        self.done = False

    def feed(self, raw: bytes) -> Iterator[dict[str, Any]]:
        """Take bytes as they come; yield the events that are complete."""
        self._buffer += self._inflate(raw)
        while len(self._buffer) >= _PRELUDE:
            total, headers = struct.unpack_from("!II", self._buffer)
            if not _PRELUDE + headers <= total <= MAX_EVENT:
                self._buffer = b""
            if not 0 < total <= len(self._buffer):
                return
            payload = self._buffer[_PRELUDE + headers : total - 4]
            self._buffer = self._buffer[total:]
            try:
                event = json.loads(base64.b64decode(json.loads(payload)["bytes"]))
            except (ValueError, KeyError, TypeError):
                continue
            if isinstance(event, dict):
                yield event


class BodyDecoder:
    """A JSON body in pieces."""

    __slots__ = ("_inflate", "_parts", "_size")

    def __init__(self, inflate: Callable[[bytes], bytes]) -> None:
        self._inflate = inflate
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, raw: bytes) -> None:
        """Keep the bytes, up to the limit."""
        self._size += len(raw)
        if self._size <= MAX_BODY:
            self._parts.append(raw)
        else:
            self._parts.clear()

    def body(self) -> dict[str, Any] | None:
        """The decoded object; None when it is incomplete or none."""
        try:
            loaded = json.loads(b"".join(map(self._inflate, self._parts)))
        except Exception:  # each decompressor has errors of its own
            return None
        return loaded if isinstance(loaded, dict) else None
