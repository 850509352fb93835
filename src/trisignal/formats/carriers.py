"""What holds a context, read as one mapping: plain mappings, lists of headers, messages of the clients of queues."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Headers = Mapping[str, str]

_ATTRIBUTES = ("MessageAttributes", "messageAttributes", "message_attributes")
"""SQS: in replies of the client, in events of Lambda functions, on boto3's resources."""


def headers_of(carrier: object) -> Headers:
    """The texts in a carrier by name; empty when there is nothing to read.

    Args:
        carrier: A mapping of texts, pairs of name and value (Kafka), or a message with headers or attributes.
    """
    if isinstance(carrier, Mapping):
        for key in _ATTRIBUTES:
            if isinstance(carrier.get(key), Mapping):
                return _texts(carrier[key].items())
        return carrier if _is_plain(carrier) else _texts(carrier.items())
    if isinstance(carrier, (list, tuple)) and not hasattr(carrier, "_fields") and not hasattr(carrier, "headers"):
        return _texts(pair for pair in carrier if isinstance(pair, (list, tuple)) and len(pair) == 2)
    for name in ("headers", *_ATTRIBUTES):
        held = getattr(carrier, name, None)
        if callable(held) and not isinstance(held, Mapping):
            held = held()
        if isinstance(held, (Mapping, list, tuple)):
            return headers_of(held)
    return {}


def _is_plain(carrier: Mapping[Any, Any]) -> bool:
    return all(type(value) is str for value in carrier.values())


def _texts(pairs: Any) -> dict[str, str]:
    texts: dict[str, str] = {}
    for name, value in pairs:
        text = _text(value)
        if isinstance(name, str) and text is not None:
            texts.setdefault(name, text)
    return texts


def _text(value: Any) -> str | None:
    if isinstance(value, Mapping):  # an attribute of SQS
        value = value.get("StringValue", value.get("stringValue"))
    if isinstance(value, (bytes, bytearray)):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return None
    return str.__str__(value) if issubclass(type(value), str) else None
