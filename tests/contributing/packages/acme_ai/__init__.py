"""The SDK of a made-up vendor, as OpenAI's generator makes it."""

from __future__ import annotations

import openai

from acme_ai._base_client import AsyncAPIClient, SyncAPIClient

__version__ = "1.0"
__all__ = ["AcmeAI", "AsyncAcmeAI"]


class AcmeAI(SyncAPIClient, openai.OpenAI):
    """The client."""


class AsyncAcmeAI(AsyncAPIClient, openai.AsyncOpenAI):
    """Its asynchronous twin."""
