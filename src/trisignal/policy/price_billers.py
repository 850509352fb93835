"""Names under which price tables list providers."""

from __future__ import annotations

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
