"""The public decorators: what each operation is called, and what may be said of it."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, Literal, ParamSpec, TypeVar, overload

from trisignal import semconv as names
from trisignal.observe.observation import Observation, ReadResponse
from trisignal.semconv.values import text_of

P = ParamSpec("P")
R = TypeVar("R")

ChatOperation = Literal["chat", "generate_content", "text_completion"]
Role = Literal["client", "server"]


def _made(function: Callable[P, R] | None, observation: Observation) -> Any:
    return observation if function is None else observation(function)


def _named(first: Any, observation_of: Callable[[str], Observation]) -> Any:
    """``@tool``, ``@tool("name")`` and ``with tool("name")`` share one entrance."""
    # Applications name their steps by enumerations, numbers and ids of their own as well.
    kind = type(first)
    if issubclass(kind, Enum) or not (callable(first) or issubclass(kind, classmethod)):
        return observation_of(text_of(first))
    function: Any = first
    return observation_of("")(function)


@overload
def llm(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def llm(
    *,
    provider: str = "",
    model: str = "",
    operation: ChatOperation = "chat",
    role: Role = "client",
    name: str = "",
    read_response: ReadResponse | None = None,
) -> Observation: ...
def llm(
    function: Callable[..., Any] | None = None,
    /,
    *,
    provider: str = "",
    model: str = "",
    operation: ChatOperation = "chat",
    role: Role = "client",
    name: str = "",
    read_response: ReadResponse | None = None,
) -> Any:
    """Observe a model call: decorator (bare or with arguments) and context manager.

    A decorated function that returns or yields a known vendor's reply (OpenAI, Anthropic,
    Gemini, as objects or dicts) has usage, model, id and finish reasons read. Request facts
    come from arguments named ``model``, ``temperature``, ``max_tokens`` and so on. If a
    patched client's call happens inside, that one is counted and this one becomes
    ``invoke_workflow``.

    Args:
        function: The function, when used as a bare decorator.
        provider: The provider, e.g. ``openai``; taken from the reply when omitted.
        model: Requested model, unless an argument of the function names it.
        operation: Kind of inference.
        role: ``server`` where this process is the one that answers: the span is of kind SERVER,
            and the conventions' server metrics stand in for those of a client. A patched
            client's call inside is counted as well, each in the metrics of its role;
            requests, tokens and cost count once, for the client's call.
        name: Name of the block, used if it turns out to enclose other calls.
        read_response: Called with the result and the call instead of the built-in readers.
    """
    return _made(
        function,
        Observation(
            operation,
            kind="client",
            role=role,
            name=name,
            provider=provider,
            model=model,
            read_response=read_response,
        ),
    )


@overload
def embeddings(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def embeddings(*, provider: str = "", model: str = "", read_response: ReadResponse | None = None) -> Observation: ...
def embeddings(
    function: Callable[..., Any] | None = None,
    /,
    *,
    provider: str = "",
    model: str = "",
    read_response: ReadResponse | None = None,
) -> Any:
    """Observe an embeddings call; see `llm` for the arguments."""
    made = Observation(names.EMBEDDINGS, kind="client", provider=provider, model=model, read_response=read_response)
    return _made(function, made)


@overload
def retrieval(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def retrieval(data_source: str | None = None, /, *, provider: str = "", top_k: int | None = None) -> Observation: ...
def retrieval(
    data_source: str | Callable[..., Any] | None = None, /, *, provider: str = "", top_k: int | None = None
) -> Any:
    """Observe a search in a vector store or index.

    Args:
        data_source: Id of the data source; by default the decorated function's name.
        provider: Service that searches, if any.
        top_k: Number of requested documents.
    """
    fields = {} if top_k is None else {names.RETRIEVAL_TOP_K: top_k}
    return _named(
        data_source,
        lambda name: Observation(names.RETRIEVAL, kind="client", name=name, provider=provider, fields=fields),
    )


@overload
def tool(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def tool(name: str | None = None, /, *, type: str = "function", call_id: str = "") -> Observation: ...
def tool(name: str | Callable[..., Any] | None = None, /, *, type: str = "function", call_id: str = "") -> Any:
    """Observe a tool call.

    Args:
        name: Name of the tool; a decorated function's name stands in.
        type: ``function``, ``extension`` or ``datastore``.
        call_id: Id that the model gave the call.
    """
    fields = {names.TOOL_TYPE: type}
    if identity := text_of(call_id):
        fields[names.TOOL_CALL_ID] = identity
    return _named(name, lambda chosen: Observation(names.EXECUTE_TOOL, kind="internal", name=chosen, fields=fields))


@overload
def agent(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def agent(
    name: str | None = None,
    /,
    *,
    provider: str = "",
    model: str = "",
    description: str = "",
    version: str = "",
    agent_id: str = "",
    operation: Literal["invoke_agent", "create_agent"] = "invoke_agent",
) -> Observation: ...
def agent(
    name: str | Callable[..., Any] | None = None,
    /,
    *,
    provider: str = "",
    model: str = "",
    description: str = "",
    version: str = "",
    agent_id: str = "",
    operation: Literal["invoke_agent", "create_agent"] = "invoke_agent",
) -> Any:
    """Observe an agent run; model and tool calls inside are counted for it.

    Args:
        name: Name of the agent; a decorated function's name stands in.
        provider: Service that hosts the agent; omit it for an agent in this process.
        model: The agent's model, if it has exactly one.
        description: What the agent does.
        version: Version of a hosted agent.
        agent_id: Stable id of a hosted agent.
        operation: ``create_agent`` observes its creation at a provider instead.
    """
    provider = text_of(provider)
    hosted = bool(provider) or operation == names.CREATE_AGENT
    fields = {names.AGENT_DESCRIPTION: text_of(description)}
    if hosted:
        # The conventions forbid these two on agents that run in the process.
        fields |= {names.AGENT_VERSION: text_of(version), names.AGENT_ID: text_of(agent_id)}
    given = {key: value for key, value in fields.items() if value}
    return _named(
        name,
        lambda chosen: Observation(
            operation,
            kind="client" if hosted else "internal",
            name=chosen,
            provider=provider,
            model=model,
            fields=given,
        ),
    )


@overload
def workflow(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def workflow(name: str | None = None, /) -> Observation: ...
def workflow(name: str | Callable[..., Any] | None = None, /) -> Any:
    """Observe a workflow; its span and log line carry the time of every stage inside.

    Args:
        name: Name of the workflow, of few different values; a decorated function's name stands in.
    """
    return _named(name, lambda chosen: Observation(names.INVOKE_WORKFLOW, kind="internal", name=chosen))


@overload
def stage(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def stage(name: str | None = None, /) -> Observation: ...
def stage(name: str | Callable[..., Any] | None = None, /) -> Any:
    """Attribute time to a named stage of the enclosing workflow, agent or call.

    Args:
        name: Name of the stage, of few different values; a decorated function's name stands in.
    """
    return _named(name, lambda chosen: Observation(names.STAGE, kind="internal", name=chosen))
