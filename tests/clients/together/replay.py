"""Recorded exchanges with Together, sent again by its own client."""

from __future__ import annotations

import httpx
import together
from corpus.stainless_player import VendorPlayer


class TogetherPlayer(VendorPlayer):
    """The together package."""

    client = "together"
    http_package = httpx
    failures = (together.APIError,)
    classes = (together.Together, together.AsyncTogether)
