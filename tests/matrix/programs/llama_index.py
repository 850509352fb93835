"""LlamaIndex: `FunctionAgent` and `AgentWorkflow` on ``llama-index-llms-openai``."""

from __future__ import annotations

from typing import Any

from llama_index.core import Document, VectorStoreIndex
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent
from llama_index.core.tools import QueryEngineTool
from llama_index.embeddings.openai import OpenAIEmbedding
from llama_index.llms.openai import OpenAI
from matrix.scenario import Scenario
from matrix.server import MODEL, REFUSED

import trisignal

PACKAGES = ("llama-index-core", "llama-index-llms-openai")


def weather(city: str) -> str:
    """The weather of a city."""
    return f"sun in {city}"


def scenarios(url: str, *, native: bool) -> dict[str, Scenario]:
    """The runs."""
    model = OpenAI(model=MODEL, max_retries=0, api_base=f"{url}/v1", additional_kwargs={})
    streaming = OpenAI(
        model=MODEL, max_retries=0, api_base=f"{url}/v1", additional_kwargs={"stream_options": {"include_usage": True}}
    )

    def agent(*tools: Any, name: str = "planner", llm: Any = model, stream: bool = False, **more: Any) -> FunctionAgent:
        return FunctionAgent(
            name=name, description=name, tools=list(tools), llm=llm, streaming=stream, system_prompt="Plan.", **more
        )

    vectors = OpenAIEmbedding(model="text-embedding-3-small", max_retries=0, api_base=f"{url}/v1")

    async def run(made: Any, text: str = "The weather?") -> None:
        handler = made.run(user_msg=text)
        async for _ in handler.stream_events():
            pass
        await handler

    async def ask_expert(city: str) -> str:
        """Ask the expert about a city."""
        return str(await agent(name="expert").run(user_msg=city))

    def handoff() -> AgentWorkflow:
        return AgentWorkflow(
            agents=[agent(can_handoff_to=["expert"]), agent(name="expert", can_handoff_to=["planner"])],
            root_agent="planner",
        )

    def index() -> VectorStoreIndex:
        return VectorStoreIndex.from_documents([Document(text="Lisbon")], embed_model=vectors)

    def search() -> QueryEngineTool:
        return QueryEngineTool.from_defaults(index().as_query_engine(llm=model), name="search", description="Search.")

    def stream_answer() -> None:
        with trisignal.workflow("trip"):
            "".join(index().as_query_engine(llm=streaming, streaming=True).query("Which days?").response_gen)

    async def stream_chats() -> None:
        with trisignal.agent("planner"):
            for mode in ("context", "condense_plus_context", "condense_question"):
                engine = index().as_chat_engine(chat_mode=mode, llm=streaming)
                "".join(engine.stream_chat("Which days?").response_gen)
                answer = await engine.astream_chat("And then?")
                async for _ in answer.async_response_gen():
                    pass

    async def search_with_agent() -> None:
        with trisignal.agent("planner"):
            await run(agent(search(), name="expert"))

    return {
        "plain": Scenario(lambda: run(agent())),
        "a streamed query": Scenario(stream_answer, agents=()),
        "streamed chats": Scenario(stream_chats),
        "with a query engine as its tool": Scenario(search_with_agent, agents=("planner", "expert"), tools=("search",)),
        "streamed": Scenario(lambda: run(agent(weather, llm=streaming, stream=True)), tools=("weather",)),
        "with a tool": Scenario(lambda: run(agent(weather)), tools=("weather",)),
        "with an error": Scenario(lambda: run(agent(), REFUSED), fails=True),
        "two agents": Scenario(lambda: run(agent(ask_expert)), agents=("planner", "expert"), tools=("ask_expert",)),
        "a workflow of one agent": Scenario(
            lambda: run(AgentWorkflow(agents=[agent(weather)], root_agent="planner")), tools=("weather",)
        ),
        "a workflow of two agents": Scenario(lambda: run(handoff()), agents=("planner", "expert"), tools=("handoff",)),
    }
