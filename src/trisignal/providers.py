"""Who answers a request: host names to provider ids.

Ids are those of the GenAI conventions where they list one, else the vendor's own short
name in lower case. The base URL decides, as it names the billing provider; a client class does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address

_BY_SUFFIX: dict[str, str] = {
    "openai.com": "openai",
    "openai.azure.com": "azure.ai.openai",
    "cognitiveservices.azure.com": "azure.ai.openai",
    "services.ai.azure.com": "azure.ai.inference",
    "inference.ai.azure.com": "azure.ai.inference",
    "models.ai.azure.com": "azure.ai.inference",
    "anthropic.com": "anthropic",
    "generativelanguage.googleapis.com": "gcp.gemini",
    "aiplatform.googleapis.com": "gcp.vertex_ai",
    "googleapis.com": "gcp.gen_ai",
    "amazonaws.com": "aws.bedrock",
    "oraclecloud.com": "oci",
    "cohere.com": "cohere",
    "cohere.ai": "cohere",
    "groq.com": "groq",
    "mistral.ai": "mistral_ai",
    "x.ai": "x_ai",
    "deepseek.com": "deepseek",
    "perplexity.ai": "perplexity",
    "moonshot.ai": "moonshot_ai",
    "moonshot.cn": "moonshot_ai",
    "ibm.com": "ibm.watsonx.ai",
    "openrouter.ai": "openrouter",
    "together.ai": "together",
    "together.xyz": "together",
    "fireworks.ai": "fireworks",
    "cerebras.ai": "cerebras",
    "huggingface.co": "huggingface",
    "huggingface.cloud": "huggingface",
    "ollama.com": "ollama",
    "snowflakecomputing.com": "snowflake",
    "z.ai": "zai",
    "bigmodel.cn": "zai",
    "heroku.com": "heroku",
    "crusoecloud.com": "crusoe",
    "novita.ai": "novita",
    "nebius.com": "nebius",
    "nebius.ai": "nebius",
    "sambanova.ai": "sambanova",
    "deepinfra.com": "deepinfra",
    "databricks.com": "databricks",
    "azuredatabricks.net": "databricks",
    "hyperbolic.xyz": "hyperbolic",
    "baseten.co": "baseten",
    "replicate.com": "replicate",
    "nvidia.com": "nvidia",
    "githubcopilot.com": "github",
    "models.github.ai": "github",
    "aliyuncs.com": "alibaba",
    "minimax.io": "minimax",
    "minimax.chat": "minimax",
    "ovh.net": "ovhcloud",
    "scaleway.ai": "scaleway",
    "voyageai.com": "voyageai",
    "jina.ai": "jina",
    "elevenlabs.io": "elevenlabs",
    "deepgram.com": "deepgram",
    "assemblyai.com": "assemblyai",
}
_BY_LOCAL_PORT = {11434: "ollama", 1234: "lm_studio"}
_GOOGLE = ".googleapis.com"
"""Hosts of Vertex AI have a region in their first label, or behind it."""
_SAGEMAKER = "runtime.sagemaker."
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1", "0.0.0.0"})


_RENTED = ("amazonaws.com", "huggingface.cloud", "ovh.net")
"""Domains of vendors that also rent out machines and endpoints, on which customers run servers of their own."""
_VENDORS_API = ("bedrock", "sagemaker", "ai.cloud")
"""Part of the names of these vendors' own APIs there."""


def is_ip(host: str) -> bool:
    """Whether a text is an IP address and nothing else, maybe with brackets or a port.

    Args:
        host: What stands where a host is expected.
    """
    bare, _, port = host.rpartition(":")
    for text in (host, bare if port.isdecimal() else ""):
        try:
            ip_address(text.removeprefix("[").removesuffix("]").partition("%")[0])
        except ValueError:
            continue
        return True
    return False


_LONGEST_HOST = 253
"""Characters of a host's name (RFC 1035); what another library writes in its place may be anything."""


def is_vendor(host: str) -> bool:
    """Whether a host is a vendor's API, so that no setting makes it the application's own.

    Args:
        host: Host name without port.
    """
    name = host.lower().rstrip(".")
    if not by_host(name, 0, {}, ""):
        return False
    rented = any(name.endswith(f".{domain}") for domain in _RENTED)
    return not rented or any(part in name for part in _VENDORS_API)


def by_host(host: str, port: int, named: Mapping[str, str], fallback: str) -> str:
    """Provider id of what answers at a host.

    Args:
        host: Host name without port.
        port: TCP port; 0 when unknown.
        named: The user's own hosts (setting ``provider_hosts``), as ``host`` or ``host:port``.
        fallback: Id for an unknown host: the protocol that is spoken there.
    """
    if named:
        own = named.get(f"{host}:{port}") or named.get(host)
        if own:
            return own
    if host in _LOCAL:
        return _BY_LOCAL_PORT.get(port, fallback)
    suffix = host.lower()
    if suffix.endswith(_GOOGLE) and "aiplatform" in suffix.partition(".")[0]:
        return "gcp.vertex_ai"
    if suffix.startswith(_SAGEMAKER):
        return "aws.sagemaker"
    while suffix and len(suffix) <= _LONGEST_HOST:
        found = _BY_SUFFIX.get(suffix)
        if found:
            return found
        _, _, suffix = suffix.partition(".")
    return fallback
