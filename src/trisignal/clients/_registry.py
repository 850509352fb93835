"""Which clients there are: the built-in rows, and those of other packages; SDKs are never imported from here."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from trisignal import _guard

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "trisignal.providers"
"""Entry points of this group are rows of other packages."""
DISABLED_VARIABLE = "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"


class Row(NamedTuple):
    """One client that can be instrumented."""

    name: str
    module: str
    """Import name of what is patched."""
    reader: str
    """``module:function`` that returns the `Provider`."""
    versions: str
    """Supported versions, for the documentation and the doctor."""
    arguments: tuple[str, ...] = ()
    """What the reader's function is called with: rows may share one."""
    also: tuple[str, ...] = ()
    """Packages built on the SDK: the reader patches those that are imported, and is asked again for later ones."""
    package: str = ""
    """Distribution that brings the client, for ``pip install``; called like the row when empty."""
    aliases: tuple[str, ...] = ()
    """What people call it, too: an error about such a name says the right one."""

    @property
    def distribution(self) -> str:
        """What installs the client."""
        return self.package or self.name


_COMPATIBLE = "trisignal.clients.openai:provider"
_SPEAK_OPENAI = (
    "azure", "azure openai", "azure ai", "chatgpt", "gpt", "sglang", "lm studio", "llama.cpp", "deepseek",
    "openrouter", "xai", "grok", "perplexity", "moonshot", "kimi", "nvidia", "nim", "tgi", "localai",
)  # fmt: skip
"""Servers and vendors that are called through openai's client."""

_HAYSTACK_PIPELINES = ("haystack.core.pipeline.pipeline", "haystack.core.pipeline.async_pipeline")

REGISTRY: tuple[Row, ...] = (
    Row(
        "openai",
        "openai",
        _COMPATIBLE,
        ">=1.40",
        ("openai", "openai"),
        # Realtime connections, which the client imports when they are needed.
        also=(
            "openai.resources.realtime.realtime",
            "openai.resources.beta.realtime.realtime",
            "openai.resources.responses.responses",
            "openai.resources.beta.responses.responses",
        ),
        aliases=_SPEAK_OPENAI,
    ),
    Row("anthropic", "anthropic", "trisignal.clients.anthropic:provider", ">=0.40", aliases=("claude",)),
    Row(
        "cerebras",
        "cerebras.cloud.sdk",
        _COMPATIBLE,
        ">=1.50",
        ("cerebras.cloud.sdk", "cerebras"),
        package="cerebras-cloud-sdk",
    ),
    Row("groq", "groq", _COMPATIBLE, ">=0.9", ("groq", "groq")),
    Row("together", "together", _COMPATIBLE, ">=2.0", ("together", "together"), aliases=("togetherai",)),
    Row(
        "google-genai",
        "google.genai",
        "trisignal.clients.google_genai:provider",
        ">=1.9",
        also=("google.genai._interactions._client", "google.genai._gaos.interactions"),
        aliases=("gemini", "google", "genai", "vertex", "vertexai", "google gemini", "google generativeai", "gcp"),
    ),
    Row(
        "bedrock",
        "botocore",
        "trisignal.clients.bedrock:provider",
        ">=1.34.131",
        also=("aiobotocore",),
        package="botocore",
        aliases=("boto", "boto3", "aws", "aws bedrock", "amazon bedrock", "bedrock runtime", "aioboto3", "sagemaker"),
    ),
    Row(
        "mistral",
        "mistralai",
        "trisignal.clients.mistral:provider",
        ">=1.12.2",
        also=("mistralai.client", "mistralai.azure.client", "mistralai.gcp.client", "mistralai_azure", "mistralai_gcp"),
        package="mistralai",
    ),
    Row("cohere", "cohere", "trisignal.clients.cohere:provider", ">=5.16"),
    Row("litellm", "litellm", "trisignal.clients.litellm:provider", ">=1.60"),
    Row("ollama", "ollama", "trisignal.clients.ollama:provider", ">=0.6"),
    Row(
        "huggingface_hub",
        "huggingface_hub",
        "trisignal.clients.huggingface:provider",
        ">=1.0",
        aliases=("hf", "huggingface", "inference client"),
    ),
    Row(
        "triton",
        "tritonclient",
        "trisignal.clients.triton:provider",
        ">=2.41",
        also=("tritonclient.http", "tritonclient.grpc", "tritonclient.http.aio", "tritonclient.grpc.aio"),
        package="tritonclient[all]",
    ),
    Row(
        "fireworks-ai",
        "fireworks",
        _COMPATIBLE,
        ">=1.0",
        ("fireworks", "fireworks"),
        aliases=("fireworks", "fireworks client"),
    ),
    Row(
        "azure-ai-inference",
        "azure.ai.inference",
        "trisignal.clients.azure_inference:provider",
        ">=1.0.0b9",
        aliases=("azure inference", "github models"),
    ),
    Row(
        "ibm-watsonx-ai",
        "ibm_watsonx_ai.foundation_models",
        "trisignal.clients.watsonx:provider",
        ">=1.8",
        aliases=("watsonx", "ibm watsonx"),
    ),
    Row("xai-sdk", "xai_sdk", "trisignal.clients.xai:provider", ">=1.4", aliases=("xai sdk", "grok sdk")),
    Row("voyageai", "voyageai", "trisignal.clients.voyageai:provider", ">=0.3", aliases=("voyage",)),
    Row("elevenlabs", "elevenlabs", "trisignal.clients.elevenlabs:provider", ">=2.0", aliases=("eleven labs",)),
    Row("deepgram-sdk", "deepgram", "trisignal.clients.deepgram:provider", ">=5.0", aliases=("deepgram",)),
    Row("assemblyai", "assemblyai", "trisignal.clients.assemblyai:provider", ">=0.40"),
    Row("replicate", "replicate", "trisignal.clients.replicate:provider", ">=1.0"),
    # Models in this process.
    Row(
        "sentence-transformers",
        "sentence_transformers",
        "trisignal.clients.sentence_transformers:provider",
        ">=3.0",
        aliases=("sbert", "cross encoder"),
    ),
    Row(
        "transformers",
        "transformers.pipelines",
        "trisignal.clients.transformers:provider",
        ">=4.40",
        aliases=("hf pipelines",),
    ),
    Row("llama-cpp-python", "llama_cpp", "trisignal.clients.llama_cpp:provider", ">=0.2.60"),
    Row("vllm", "vllm.entrypoints.llm", "trisignal.clients.vllm:provider", ">=0.8", aliases=("vllm offline",)),
    # Frameworks: they call models through clients, so they get spans of agents, tools and workflows.
    Row(
        "langchain",
        "langchain_core",
        "trisignal.clients.frameworks.langchain:provider",
        ">=1.0",
        package="langchain-core",
        aliases=("langchain openai", "langchain community"),
    ),
    # The package itself is a namespace, which other distributions share: what is patched is in here.
    Row("langgraph", "langgraph.pregel", "trisignal.clients.frameworks.langchain:graphs", ">=0.4"),
    Row(
        "llama-index",
        "llama_index.core",
        "trisignal.clients.frameworks.llama_index:provider",
        ">=0.12",
        package="llama-index-core",
    ),
    Row("mcp", "mcp", "trisignal.clients.frameworks.mcp:provider", ">=1.0", aliases=("fastmcp",)),
    Row(
        "claude-agent-sdk",
        "claude_agent_sdk",
        "trisignal.clients.frameworks.claude_agent_sdk:provider",
        ">=0.1",
        aliases=("claude code", "claude code sdk", "claude agents"),
    ),
    Row(
        "openai-agents",
        "agents",
        "trisignal.clients.frameworks.openai_agents:provider",
        ">=0.1",
        also=("agents.realtime.openai_realtime", "agents.realtime.session"),
        aliases=("openai agents sdk",),
    ),
    Row("crewai", "crewai", "trisignal.clients.frameworks.crewai:provider", ">=1.0"),
    Row(
        "agno",
        "agno",
        "trisignal.clients.frameworks.agno:provider",
        ">=2.0",
        also=("agno.agent", "agno.team", "agno.workflow", "agno.tools"),
    ),
    Row("smolagents", "smolagents", "trisignal.clients.frameworks.smolagents:provider", ">=1.20"),
    Row(
        "haystack",
        "haystack",
        "trisignal.clients.frameworks.haystack:provider",
        ">=2.20",
        # Its packages import their modules when something is taken from them.
        also=("haystack.components.agents.agent", "haystack.tools.tool", *_HAYSTACK_PIPELINES),
        package="haystack-ai",
    ),
    Row("dspy", "dspy", "trisignal.clients.frameworks.dspy:provider", ">=3.0"),
    Row(
        "autogen",
        "autogen_agentchat.teams",
        "trisignal.clients.frameworks.autogen:provider",
        ">=0.7",
        package="autogen-agentchat",
        aliases=("autogen core", "autogen ext"),
    ),
    # These write spans of agents and tools themselves: they are switched on.
    Row(
        "pydantic-ai",
        "pydantic_ai",
        "trisignal.clients.frameworks.own_spans:pydantic_ai",
        ">=2.0",
        package="pydantic-ai-slim",
    ),
    Row(
        "semantic-kernel",
        "semantic_kernel.agents",
        "trisignal.clients.frameworks.own_spans:semantic_kernel",
        ">=1.30",
        package="semantic-kernel",
    ),
    Row("ag2", "ag2.agent", "trisignal.clients.frameworks.own_spans:ag2", ">=1.0", package="ag2"),
    # Vector stores: their searches are retrievals.
    Row(
        "chromadb",
        "chromadb",
        "trisignal.clients.vectors.chroma:provider",
        ">=0.5",
        also=("chromadb.api.models.AsyncCollection",),
        aliases=("chroma",),
    ),
    Row(
        "qdrant",
        "qdrant_client",
        "trisignal.clients.vectors.qdrant:provider",
        ">=1.10",
        package="qdrant-client",
    ),
    Row("faiss", "faiss", "trisignal.clients.vectors.faiss:provider", ">=1.7", package="faiss-cpu"),
    Row("lancedb", "lancedb", "trisignal.clients.vectors.lancedb:provider", ">=0.10", aliases=("lance",)),
    Row("psycopg", "psycopg", "trisignal.clients.vectors.postgres:psycopg", ">=3.1", aliases=("pgvector",)),
    Row("sqlalchemy", "sqlalchemy", "trisignal.clients.vectors.postgres:sqlalchemy", ">=1.4"),
    Row("pymilvus", "pymilvus", "trisignal.clients.vectors.milvus:provider", ">=2.4", aliases=("milvus",)),
    Row(
        "weaviate",
        "weaviate",
        "trisignal.clients.vectors.weaviate:provider",
        ">=4.20",
        package="weaviate-client",
    ),
    Row("pinecone", "pinecone", "trisignal.clients.vectors.pinecone:provider", ">=5"),
    Row(
        "elasticsearch", "elasticsearch", "trisignal.clients.vectors.elastic:elasticsearch", ">=8", aliases=("elastic",)
    ),
    Row(
        "opensearch",
        "opensearchpy",
        "trisignal.clients.vectors.elastic:opensearch",
        ">=2",
        package="opensearch-py",
    ),
)


def _announced() -> Iterable[EntryPoint]:
    """Entry points of our group. Hardly any package has one: their files are searched for its name, and not parsed."""
    from importlib.metadata import distributions

    having = [one for one in distributions() if GROUP in (one.read_text("entry_points.txt") or "")]
    # A package may be on the path twice.
    return dict.fromkeys(point for one in having for point in one.entry_points.select(group=GROUP))


@functools.cache
def rows() -> Mapping[str, Row]:
    """All rows by name; other packages are asked once per process."""
    known = {row.name: row for row in REGISTRY}
    for point in _announced():
        try:
            row = point.load()
        except Exception as error:
            _guard.warn(f"the provider {point.value} cannot be loaded: {type(error).__name__}", contained=True)
            continue
        if not isinstance(row, Row):
            _guard.warn(f"the provider {point.value} is not a trisignal.clients.Row: it is left out", contained=True)
        elif row.name in known:
            _guard.warn(f"the provider {point.value} is called {row.name}, as another: it is left out", contained=True)
        else:
            known[row.name] = row
    return known


def nearest(name: object) -> str:
    """Name of the row that is probably meant, or "".

    Args:
        name: What was given: a name, or the client's module or class.
    """
    from difflib import get_close_matches

    meant = name if isinstance(name, str) else getattr(name, "__module__", None) or getattr(name, "__name__", "")
    words: dict[str, str] = {}
    for row in rows().values():
        for word in (*row.aliases, row.distribution, row.module, row.name):
            words[_letters(word)] = row.name
    for tried in (meant, str(meant).partition(".")[0]):
        close = get_close_matches(_letters(tried), words, n=1, cutoff=0.8)
        if close:
            return words[close[0]]
    return ""


def disabled() -> frozenset[str]:
    """Names of the rows that the standard variable switches off; its names are those of OTel's instrumentations."""
    listed = {_letters(part) for part in os.environ.get(DISABLED_VARIABLE, "").split(",")} - {""}
    everything = listed & {"trisignal"} or "*" in os.environ.get(DISABLED_VARIABLE, "").replace(" ", "").split(",")
    return frozenset(
        row.name
        for row in rows().values()
        if everything or listed & {_letters(word) for word in (row.name, row.module, row.distribution)}
    )


def _letters(word: object) -> str:
    return re.sub(r"[^a-z0-9]", "", str(word).lower())
