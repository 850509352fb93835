"""Where vendors that speak OpenAI's protocol put usage that it has no field for: ``x_groq`` and the like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trisignal.formats import view

_FIELDS = frozenset(
    (
        "id", "choices", "created", "model", "object", "service_tier", "system_fingerprint", "usage", "obfuscation",
        "moderation",
    )
)  # fmt: skip
"""The protocol's own."""


def with_usage(chunk: Any) -> Mapping[str, Any] | None:
    """The part of a chunk that has its usage: the chunk, or a vendor's extension; None where there is none.

    Args:
        chunk: A view of a chunk.
    """
    usage = chunk.get("usage")
    if not isinstance(chunk, Mapping):
        return None if usage is None else {"usage": usage}
    if usage is not None:
        return chunk
    if _FIELDS.issuperset(chunk):
        return None
    for key, value in chunk.items():
        if value is not None and type(key) is str and key.startswith("x_"):
            extension = view(value)
            if isinstance(extension, Mapping) and extension.get("usage") is not None:
                return extension
    return None
