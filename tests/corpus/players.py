"""The players, and which recordings each of them takes. No client is imported before its player is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import NamedTuple

from clients.anthropic import facts as anthropic_facts
from clients.bedrock import facts as bedrock_facts
from clients.cohere import facts as cohere_facts
from clients.google_genai import facts as google_facts
from clients.ollama import facts as ollama_facts
from corpus import facts
from corpus.player import Player
from corpus.recordings import Recording


class Row(NamedTuple):
    """One player."""

    name: str
    place: str
    """Module and class."""
    package: str
    """Import name of the client."""
    takes: Callable[[Recording], bool]

    def load(self) -> type[Player]:
        """Import the player, and with it the client."""
        module, _, name = self.place.partition(":")
        player: type[Player] = getattr(importlib.import_module(module), name)
        return player


def _of(provider: str) -> Callable[[Recording], bool]:
    """Return whether a recording speaks OpenAI's protocol with one provider."""
    return lambda recording: facts.shape_of(recording.url) is not None and facts.provider_of(recording.url) == provider


PLAYERS = (
    Row(
        "openai",
        "corpus.openai_player:OpenAIPlayer",
        "openai",
        lambda recording: facts.shape_of(recording.url) is not None,
    ),
    Row("anthropic", "clients.anthropic.replay:AnthropicPlayer", "anthropic", anthropic_facts.takes),
    Row("bedrock", "clients.bedrock.replay:BedrockPlayer", "aiobotocore", bedrock_facts.takes),
    Row("google-genai", "clients.google_genai.replay:GooglePlayer", "google.genai", google_facts.takes),
    Row("cohere", "clients.cohere.replay:CoherePlayer", "cohere", cohere_facts.takes),
    Row("mistral", "clients.mistral.replay:MistralPlayer", "mistralai", _of("mistral_ai")),
    Row("groq", "clients.groq.replay:GroqPlayer", "groq", _of("groq")),
    Row("together", "clients.together.replay:TogetherPlayer", "together", _of("together")),
    Row("cerebras", "clients.cerebras.replay:CerebrasPlayer", "cerebras", _of("cerebras")),
    Row("huggingface", "clients.huggingface.replay:HuggingFacePlayer", "huggingface_hub", _of("huggingface")),
    Row("ollama", "clients.ollama.replay:OllamaPlayer", "ollama", ollama_facts.takes),
)
