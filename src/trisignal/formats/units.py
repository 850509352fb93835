"""Units other than tokens and seconds of audio that vendors bill by; prices list their fees beside those of tools.

What a unit costs may depend on more than the model: details follow its name (``image:hd:1024x1792``,
``video_second:1080p``).
"""

from __future__ import annotations

from collections.abc import Mapping

CHARACTERS = "character"
PAGES = "page"
IMAGES = "image"
SEARCHES = "search"
"""A query of a reranking model, with at most `SEARCHED` documents."""
VIDEO_SECONDS = "video_second"
WEB_PLUGIN = "web_plugin"
"""A search before the model is called, whose fee depends on results that replies do not count."""
UNITS = frozenset({CHARACTERS, PAGES, IMAGES, SEARCHES, VIDEO_SECONDS})
"""Units of whole calls: a model may have no other price."""
SEARCHED = 100


def detailed(unit: str, *details: str) -> str:
    """A unit with those of its details that are known."""
    return ":".join([unit, *[detail.lower() for detail in details if detail]])


def is_unit(name: str) -> bool:
    """Whether a fee is one of whole calls, with details or without."""
    return name.partition(":")[0] in UNITS


def fee_of(use: str, fees: Mapping[str, float]) -> float | None:
    """US dollars for one use: the fee of its details; else that of the unit, where no fee has details.

    Args:
        use: Unit, with details or without.
        fees: US dollars, by unit.
    """
    fee = fees.get(use)
    if fee is None:
        unit, colon, _ = use.partition(":")
        if colon and not any(name.startswith(f"{unit}:") for name in fees):
            fee = fees.get(unit)
    return fee


def searches(documents: int) -> int:
    """Queries that are billed for a number of documents (price pages of Cohere and Amazon Bedrock)."""
    return max(1, -(-documents // SEARCHED))
