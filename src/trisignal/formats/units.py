"""Units other than tokens and seconds that vendors bill by: prices list their fees beside those of server tools."""

from __future__ import annotations

CHARACTERS = "character"
PAGES = "page"
IMAGES = "image"
UNITS = frozenset({CHARACTERS, PAGES, IMAGES})
"""Units of whole calls: a model may have no other price."""
