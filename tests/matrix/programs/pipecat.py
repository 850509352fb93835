"""Pipecat: its OpenAI service, asked outside of a pipeline."""

from __future__ import annotations

from matrix.scenario import Scenario
from matrix.server import MODEL, REFUSED
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.services.openai.llm import OpenAILLMService

PACKAGES = ("pipecat-ai",)


def scenarios(url: str, *, native: bool) -> dict[str, Scenario]:
    """The runs."""

    def service() -> OpenAILLMService:
        settings = OpenAILLMService.Settings(model=MODEL)
        return OpenAILLMService(api_key="sk-none", base_url=f"{url}/v1", settings=settings)

    async def stream(text: str) -> None:
        made = service()
        context = LLMContext(messages=[{"role": "user", "content": text}])
        async for _ in await made.get_chat_completions(context):
            pass

    async def plain() -> None:
        await service().run_inference(LLMContext(messages=[{"role": "user", "content": "Which days?"}]))

    return {
        "plain": Scenario(plain, agents=()),
        "streamed": Scenario(lambda: stream("Which days?"), agents=()),
        "with an error": Scenario(lambda: stream(REFUSED), agents=(), fails=True),
    }
