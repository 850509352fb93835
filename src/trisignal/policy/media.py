"""Media inside content: hash and size stand for it."""

from __future__ import annotations

import re
from base64 import b64decode
from hashlib import sha256

MEDIA_CHARACTERS = 1024
_DISTINCT = 16
"""Distinct characters of real base64; a text that repeats a few letters is not media."""
_BASE64 = re.compile(r"[A-Za-z0-9+/_\-]+={0,2}")
_DATA_URL = re.compile(r"data:[^\s,\"'<>]{0,96};base64,([A-Za-z0-9+/_\-]+={0,2})")


def is_base64(text: str) -> bool:
    """Whether a long text is nothing but base64."""
    return _BASE64.fullmatch(text) is not None and len(set(text[:MEDIA_CHARACTERS])) >= _DISTINCT


def without_data_urls(text: str) -> str:
    """The text with a tag in place of each data URL."""
    return _DATA_URL.sub(lambda url: tag(url[1]), text) if ";base64," in text else text


def tag(content: str) -> str:
    """What stands for base64 media: hash and size of the bytes that it encodes."""
    try:
        raw = b64decode(content.replace("-", "+").replace("_", "/") + "=" * (-len(content) % 4))
    except ValueError:
        raw = content.encode("utf-8", "surrogatepass")
    return f"[media sha256:{sha256(raw).hexdigest()[:16]} {len(raw)} bytes]"
