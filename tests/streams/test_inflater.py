"""Bodies are decompressed as they come, however they were compressed."""

from __future__ import annotations

import gzip
import importlib
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from trisignal.streams.decoders import BodyDecoder, inflater

BODY = b'{"a": "' + b"abc" * 1000 + b'"}'


def zstd(body: bytes) -> bytes:
    """Two frames, as servers send that flush in between."""
    for name in ("compression.zstd", "backports.zstd", "zstandard"):
        try:
            module: Any = importlib.import_module(name)
        except ImportError:
            continue
        return bytes(module.compress(body[:100]) + module.compress(body[100:]))
    return pytest.skip("no package for zstd is installed")


def brotli(body: bytes) -> bytes:
    """One stream."""
    return bytes(pytest.importorskip("brotli").compress(body))


CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "identity": bytes,
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli,
    "zstd": zstd,
    "gzip, br": lambda body: brotli(gzip.compress(body)),
    "deflate,identity, gzip": lambda body: gzip.compress(zlib.compress(body)),
}


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("coding", CODINGS)
def test_a_body_comes_out_as_it_was(coding: str, size: int) -> None:
    """Whatever the coding, and wherever the network cuts it."""
    sent = CODINGS[coding](BODY)
    inflate = inflater(coding)
    assert inflate is not None
    assert b"".join(inflate(sent[at : at + size]) for at in range(0, len(sent), size)) == BODY


@pytest.mark.parametrize("coding", ["compress", "gzip, aes128gcm"])
def test_an_unknown_coding_is_said(coding: str) -> None:
    """Nothing is read of what cannot be read."""
    assert inflater(coding) is None


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br"])
def test_a_broken_body_is_no_error(coding: str) -> None:
    """Whoever parses the body finds out; a reader of ours has nothing."""
    if coding == "br":
        pytest.importorskip("brotli")
    inflate = inflater(coding)
    assert inflate is not None
    decoder = BodyDecoder(inflate)
    decoder.feed(b"\xff" * 100)
    assert decoder.body() is None
