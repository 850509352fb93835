"""Mem0: memories made by a model, and their embeddings, in a store of this process."""

from __future__ import annotations

import json
import os
import tempfile
from typing import Any

os.environ.update({"MEM0_TELEMETRY": "false", "MEM0_DIR": tempfile.mkdtemp()})

from matrix.scenario import Scenario
from matrix.server import MODEL, REFUSED
from mem0 import Memory

PACKAGES = ("mem0ai",)


def text(body: dict[str, Any]) -> str:
    """An answer with every list that is asked for."""
    return json.dumps({"facts": ["Likes Lisbon"], "memory": [{"id": "0", "text": "Likes Lisbon", "event": "ADD"}]})


def scenarios(url: str, *, native: bool) -> dict[str, Scenario]:
    """The runs."""
    place = {"openai_base_url": f"{url}/v1", "api_key": "sk-none"}
    memory = Memory.from_config(
        {
            "llm": {"provider": "openai", "config": {"model": MODEL, **place}},
            "embedder": {"provider": "openai", "config": {"model": "text-embedding-3-small", **place}},
            "vector_store": {
                "provider": "qdrant",
                "config": {"path": tempfile.mkdtemp(), "on_disk": False, "embedding_model_dims": 1536},
            },
        }
    )
    return {
        "plain": Scenario(lambda: memory.add("I like Lisbon.", user_id="ada"), agents=()),
        "search": Scenario(lambda: memory.search("Which city?", filters={"user_id": "ada"}), agents=()),
        "with an error": Scenario(lambda: memory.add(REFUSED, user_id="ada"), agents=(), fails=True),
    }
