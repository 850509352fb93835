"""Recorded exchanges with Groq, sent again by its own client."""

from __future__ import annotations

import groq
import httpx
from corpus.stainless_player import VendorPlayer


class GroqPlayer(VendorPlayer):
    """The groq package."""

    client = "groq"
    http_package = httpx
    failures = (groq.APIError,)
    classes = (groq.Groq, groq.AsyncGroq)
