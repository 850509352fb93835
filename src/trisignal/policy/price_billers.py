"""Names under which price tables list providers, and those under which these list models."""

from __future__ import annotations

import re
from collections.abc import Iterator

_REGION = re.compile(r"\bbedrock[a-z-]*\.([a-z]{2}(?:-[a-z]+)+-\d)\.")
_BILLED_AS = {
    "aws.bedrock": "aws",
    "bedrock": "aws",
    "az.ai.inference": "azure",
    "az.ai.openai": "azure",
    "azure.ai.inference": "azure",
    "azure.ai.openai": "azure",
    "azure_ai": "azure",
    "azure_text": "azure",
    "bedrock_converse": "aws",
    "cohere_chat": "cohere",
    "azure_openai": "azure",
    "fireworks_ai": "fireworks",
    "gcp.gemini": "google",
    "gcp.gen_ai": "google",
    "gcp.vertex_ai": "google-vertex",
    "gemini": "google",
    "mistral_ai": "mistral",
    "mistralai": "mistral",
    "moonshot_ai": "moonshotai",
    "together_ai": "together",
    "vertex_ai": "google-vertex",
    "vertexai": "google-vertex",
    "alibaba": "dashscope",
    "deep_infra": "deepinfra",
    "ibm.watsonx.ai": "watsonx",
    "jina_ai": "jina",
    "voyage_ai": "voyageai",
    "x_ai": "x-ai",
    "xai": "x-ai",
}


def billed_as(provider: str) -> str:
    """Name under which tables list a provider."""
    name = provider.strip().lower()
    return _BILLED_AS.get(name, name)


_RESOURCES = frozenset({"google", "google-vertex"})
_OPENROUTER = "openrouter"
_ROUTES = (":nitro", ":floor", ":exacto", ":online")
"""Variants of OpenRouter's that say how a request is routed or prepared, at the prices of the model before them."""


def named(provider: str, response_model: str, request_model: str) -> tuple[str, ...]:
    """Models whose prices hold, the first that has any: the one that answered before the one that was requested.

    Args:
        provider: Provider name, as on the span.
        response_model: Model that answered; "" when unknown.
        request_model: Model that was asked for; "" when unknown.
    """
    # Bedrock's ids (us.anthropic.claude-…) name the model that answers, and whose prices: a region's.
    if response_model and f".{response_model}" in request_model:
        return request_model, response_model
    # So do OpenRouter's variants; one that is not listed has no price, not that of the model it is a variant of.
    if request_model.startswith(f"{response_model}:") and billed_as(provider) == _OPENROUTER:
        return (request_model,)
    return response_model, request_model


def spellings(biller: str, host: str, model: str) -> Iterator[str]:
    """Names that a biller may list a model under: with the region of its host, as given, without the seller's name.

    Google's resource names (``publishers/google/models/…``, with a project before it or not) end with the model's.

    Args:
        biller: Id of the biller.
        host: Host name or base URL of the server, in lower case; "" when unknown.
        model: Model name, in lower case.
    """
    region = _REGION.search(host) if biller == "aws" else None
    if region:
        yield f"{region[1]}/{model}"
    prefix, slash, rest = model.partition("/")
    if biller in _RESOURCES and slash:
        # First: rules of the vendor's own rows may fit the longer name, too.
        yield rest if prefix == "google" else model.rpartition("/models/")[2].removeprefix("models/")
    yield model
    if biller == _OPENROUTER and model.endswith(_ROUTES):
        while model.endswith(_ROUTES):
            model = model.rpartition(":")[0]
        yield model
    if slash and billed_as(prefix) == biller:
        yield rest
