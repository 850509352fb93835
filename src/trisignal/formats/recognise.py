"""Which format a reply or a chunk is in, by its shape.

Asked about whatever an application returns, so it looks only into dicts and pydantic models,
and only at what they store: no property of another class runs, and nothing is iterated.
"""

from __future__ import annotations

from typing import Any

from trisignal.formats import Format, view
from trisignal.formats.anthropic_messages import MESSAGES
from trisignal.formats.gemini import EMBED_CONTENT, GENERATE_CONTENT
from trisignal.formats.openai_chat import CHAT
from trisignal.formats.openai_embeddings import EMBEDDINGS
from trisignal.formats.openai_responses import RESPONSES

_FORMATS = (CHAT, RESPONSES, MESSAGES, GENERATE_CONTENT, EMBEDDINGS, EMBED_CONTENT)
_NESTED = ("data", "error", "embedding", "embeddings", "predictions")
"""Where the formats look below the top of a reply."""
_SCALARS = frozenset({type(None), bool, int, float, str})
_VENDORS = frozenset({"openai", "anthropic", "google"})
"""Packages whose classes stand for one format each."""
_MAX_KNOWN = 256
_known: dict[type, Format] = {}
_models: dict[type, bool] = {}


def _is_model(cls: type) -> bool:
    """Whether a class is a pydantic model, by the slots of its base class."""
    known = _models.get(cls)
    if known is None:
        known = any("__pydantic_fields_set__" in vars(base) for base in cls.__mro__)
        if len(_models) < _MAX_KNOWN:
            _models[cls] = known
    return known


def _is_data(value: Any) -> bool:
    """Whether the parts that formats look at are of known kinds, whose reading runs no code."""
    cls = type(value)
    if cls in _SCALARS:
        return True
    if cls is list or cls is tuple:
        return not value or _is_data(value[0])
    if cls is not dict and not _is_model(cls):
        return False
    stored = view(value)
    return all(_is_data(stored[key]) for key in _NESTED if key in stored)


def _by_shape(value: Any) -> Format | None:
    if not _is_data(value):
        return None
    reply = view(value)
    for format in _FORMATS:
        if format.recognises(reply):
            return format
    return None


def recognise(value: object) -> Format | None:
    """Recognise the format of a reply or of a stream's chunk; never raises.

    Args:
        value: Anything: a vendor's object, a decoded JSON mapping, an object of the application.

    Returns:
        The format, or None when it is none of those that are known.
    """
    cls = type(value)
    try:
        known = _known.get(cls)
        if known is not None or (cls is not dict and not _is_model(cls)):
            return known
        found = _by_shape(value)
        if found is not None and cls.__module__.partition(".")[0] in _VENDORS and len(_known) < _MAX_KNOWN:
            _known[cls] = found
        return found
    # Classes may be made so that they cannot be hashed, and models so that they cannot be read.
    except Exception:
        return None
