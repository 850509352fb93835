"""Recorded exchanges with Cerebras, sent again by its own client."""

from __future__ import annotations

from typing import Any, ClassVar

import httpx
from cerebras.cloud import sdk
from corpus.stainless_player import VendorPlayer


class CerebrasPlayer(VendorPlayer):
    """The cerebras-cloud-sdk package."""

    client = "cerebras"
    http_package = httpx
    failures = (sdk.APIError,)
    classes = (sdk.Cerebras, sdk.AsyncCerebras)
    options: ClassVar[dict[str, Any]] = {"warm_tcp_connection": False}
