"""azure-ai-inference, with its own instrumentation switched on."""

from __future__ import annotations

import os

os.environ["AZURE_SDK_TRACING_IMPLEMENTATION"] = "opentelemetry"

from azure.ai.inference import ChatCompletionsClient
from azure.ai.inference.aio import ChatCompletionsClient as AsyncClient
from azure.ai.inference.tracing import AIInferenceInstrumentor
from azure.core.credentials import AzureKeyCredential
from azure.core.settings import settings
from matrix.scenario import Scenario
from matrix.server import MODEL, REFUSED

PACKAGES = ("azure-ai-inference",)
settings.tracing_implementation = "opentelemetry"


def scenarios(url: str, *, native: bool) -> dict[str, Scenario]:
    """The runs."""
    AIInferenceInstrumentor().instrument()
    client = ChatCompletionsClient(f"{url}/v1", AzureKeyCredential("none"), retry_total=0)

    def ask(text: str, **more: object) -> object:
        return client.complete(model=MODEL, messages=[{"role": "user", "content": text}], **more)

    async def later() -> None:
        async with AsyncClient(f"{url}/v1", AzureKeyCredential("none"), retry_total=0) as client:
            await client.complete(model=MODEL, messages=[{"role": "user", "content": "Which days?"}])

    def stream() -> None:
        for _ in ask("Which days?", stream=True, model_extras={"stream_options": {"include_usage": True}}):
            pass

    return {
        "plain": Scenario(lambda: ask("Which days?"), agents=()),
        "plain, async": Scenario(later, agents=()),
        "streamed": Scenario(stream, agents=()),
        "with an error": Scenario(lambda: ask(REFUSED), agents=(), fails=True),
    }
