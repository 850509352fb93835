"""trisignal for a made-up vendor whose SDK comes from OpenAI's generator: one row, no reader."""

from __future__ import annotations

from trisignal.clients.authoring import Row

ROW = Row(
    name="acme",
    module="acme_ai",
    reader="trisignal.clients.openai:provider",
    versions=">=1.0",
    arguments=("acme_ai", "acme"),
    package="acme-ai",
)
