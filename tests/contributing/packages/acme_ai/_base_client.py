"""Base clients as OpenAI's generator makes them: a made-up vendor's are openai's, under its own name."""

from __future__ import annotations

from openai import _base_client


class BaseClient(_base_client.BaseClient):
    """What both clients share."""


class SyncAPIClient(_base_client.SyncAPIClient, BaseClient):
    """Sends requests, one after the other."""


class AsyncAPIClient(_base_client.AsyncAPIClient, BaseClient):
    """Sends requests from tasks."""
