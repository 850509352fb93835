"""What a provider is written with, for packages of their own: everything here is a promise.

A package names a `Row` in the entry-point group ``trisignal.providers``; the row names a function that
returns an object with the methods of `Provider`. CONTRIBUTING shows both ways: an SDK by OpenAI's
generator needs the row only, any other one needs a reader as well.
"""

from __future__ import annotations

from trisignal import semconv as names
from trisignal.call import Content, ContentSource, Draft, Usage
from trisignal.clients._patch import Patches
from trisignal.clients._provider import (
    Args,
    ClientExchange,
    Instead,
    Kwargs,
    Place,
    Provider,
    async_wrapper,
    draft_at,
    outgoing,
    place_of,
    sync_wrapper,
)
from trisignal.clients._registry import Row
from trisignal.engine.state import captures
from trisignal.formats import ANSWER, NOTABLE, TOKEN, Format, StreamState, View, view
from trisignal.formats.openai_chat import CHAT
from trisignal.formats.openai_embeddings import EMBEDDINGS
from trisignal.streams.fold import Fold, aiterate, iterate

__all__ = [
    "ANSWER",
    "CHAT",
    "EMBEDDINGS",
    "NOTABLE",
    "TOKEN",
    "Args",
    "ClientExchange",
    "Content",
    "ContentSource",
    "Draft",
    "Fold",
    "Format",
    "Instead",
    "Kwargs",
    "Patches",
    "Place",
    "Provider",
    "Row",
    "StreamState",
    "Usage",
    "View",
    "aiterate",
    "async_wrapper",
    "captures",
    "draft_at",
    "iterate",
    "names",
    "outgoing",
    "place_of",
    "sync_wrapper",
    "view",
]
