"""The frameworks of the matrix: what is installed for each, and what is known to be missing."""

from __future__ import annotations

from typing import NamedTuple

ENVIRONMENTS: dict[str, list[str]] = {
    "langchain": ["langchain", "langchain-openai", "langgraph"],
    "openai_agents": ["openai-agents"],
    "pydantic_ai": ["pydantic-ai-slim[openai]"],
    "llama_index": ["llama-index-core", "llama-index-llms-openai", "llama-index-embeddings-openai"],
    "google_adk": ["google-adk", "litellm"],
    "crewai": ["crewai"],
    "litellm": ["litellm", "fastapi", "orjson", "soundfile", "backoff", "redis"],
    "strands": ["strands-agents[openai]"],
    "agno": ["agno", "openai", "sqlalchemy"],
    "dspy": ["dspy"],
    "smolagents": ["smolagents[openai]"],
    "haystack": ["haystack-ai"],
    "semantic_kernel": ["semantic-kernel"],
    "agent_framework": ["agent-framework-openai"],
    "ag2": ["ag2[openai,tracing]"],
    "autogen": ["autogen-agentchat", "autogen-ext[openai]"],
    "instructor": ["instructor", "openai"],
    "mem0": ["mem0ai"],
    "mcp": ["mcp", "openai"],
    "azure_ai": ["azure-ai-inference", "azure-ai-projects", "azure-core-tracing-opentelemetry", "aiohttp"],
    "pipecat": ["pipecat-ai[openai]"],
    "livekit": ["livekit-agents", "livekit-plugins-openai"],
    "browser_use": ["browser-use"],
    "claude_agents": ["claude-agent-sdk"],
    "xai": ["xai-sdk"],
}


class Program(NamedTuple):
    """One module of ``matrix.programs``."""

    title: str
    environment: str = ""
    """Key of `ENVIRONMENTS`, where it is not the program's name."""
    native: bool = False
    """Whether the framework writes spans itself, so that the bridge alone can see it."""
    bridged: bool = False
    """Whether no client of ours makes its calls, so that its spans are all there is."""


PROGRAMS = {
    "langchain": Program("LangChain"),
    "langgraph": Program("LangGraph", "langchain"),
    "openai_agents": Program("openai-agents"),
    "pydantic_ai": Program("pydantic-ai", native=True),
    "llama_index": Program("LlamaIndex"),
    "google_adk": Program("google-adk", native=True),
    "adk_litellm": Program("google-adk on litellm", "google_adk", native=True),
    "crewai": Program("CrewAI"),
    "litellm": Program("litellm"),
    "strands": Program("Strands Agents", native=True),
    "agno": Program("Agno"),
    "dspy": Program("DSPy"),
    "smolagents": Program("smolagents"),
    "haystack": Program("Haystack"),
    "semantic_kernel": Program("Semantic Kernel", native=True),
    "agent_framework": Program("Agent Framework", native=True),
    "ag2": Program("AG2", native=True),
    "autogen": Program("AutoGen"),
    "instructor": Program("Instructor"),
    "mem0": Program("Mem0"),
    "mcp": Program("MCP"),
    "azure_projects": Program("azure-ai-projects", "azure_ai"),
    "azure_inference": Program("azure-ai-inference", "azure_ai", native=True),
    "pipecat": Program("Pipecat"),
    "livekit": Program("LiveKit Agents"),
    "browser_use": Program("browser-use"),
    "claude_agents": Program("claude-agent-sdk"),
    "xai": Program("xai-sdk", native=True),
}
KNOWN: dict[tuple[str, str], tuple[str, ...]] = {
    # Its spans do not say which tokens were cached.
    ("semantic_kernel", "bridge"): ("cached tokens", "cost:"),
    ("azure_inference", "bridge"): ("cached tokens", "cost:"),
}
"""Parts of the faults that are known, by program and mode; each stands on the page, too."""
