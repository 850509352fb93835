"""What other instrumentations call things, as data: their names on the left, ours on the right.

Known vocabularies: the GenAI conventions of today and before (``gen_ai.system``,
``prompt_tokens``), OpenLLMetry (``traceloop.*``, ``llm.*``), OpenInference
(``openinference.span.kind``, ``llm.token_count.*``), Logfire and pydantic-ai, the AI SDK of
Vercel (``ai.*``), the vendors' own spans (``anthropic.*``).

Totals: everything here is read as inclusive (cache reads and writes are part of the input,
reasoning is part of the output). That is what OpenLLMetry 0.62, OpenInference 3.1 (anthropic),
Logfire 5.2 and anthropic 2.11 were seen to write for Anthropic's exclusive counts, too: 120 for
40 fresh, 64 read and 16 written tokens. `exclusive` finds the spans that show otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from trisignal import semconv as names

Attributes = Mapping[str, Any]

# --- which operation -------------------------------------------------------------------

OPERATIONS: dict[str, str] = {
    **{
        operation: operation
        for operation in (
            *names.INFERENCE, names.EMBEDDINGS, names.RETRIEVAL, names.FETCH_RESPONSE, names.CREATE_AGENT,
            names.INVOKE_AGENT, names.EXECUTE_TOOL, names.INVOKE_WORKFLOW,
            *(names.EXTENSION_OPERATIONS - {names.STAGE, "request"}),
        )
    },
    "completion": names.TEXT_COMPLETION,
    "embedding": names.EMBEDDINGS,
    "responses": names.CHAT,
    "message": names.CHAT,
    "run_agent": names.INVOKE_AGENT,
    "invoke_model": names.CHAT,
}  # fmt: skip
"""Values of ``gen_ai.operation.name``, with older spellings; others are not a call that is counted."""

STEP = "step"
"""A workflow, unless it runs inside a workflow or an agent: then it is a step of that."""

KINDS: tuple[tuple[str, Mapping[str, str]], ...] = (
    (
        "openinference.span.kind",
        {
            "LLM": names.CHAT,
            "EMBEDDING": names.EMBEDDINGS,
            "RERANKER": "rerank",
            "RETRIEVER": names.RETRIEVAL,
            "TOOL": names.EXECUTE_TOOL,
            "AGENT": names.INVOKE_AGENT,
            "CHAIN": STEP,
        },
    ),
    (names.OPERATION, OPERATIONS),
    (
        "traceloop.span.kind",
        {"workflow": names.INVOKE_WORKFLOW, "agent": names.INVOKE_AGENT, "tool": names.EXECUTE_TOOL},
    ),
    (
        "llm.request.type",
        {
            "chat": names.CHAT,
            "completion": names.TEXT_COMPLETION,
            "embedding": names.EMBEDDINGS,
            "rerank": "rerank",
        },
    ),
    (
        "ai.operationId",
        {
            "ai.generateText.doGenerate": names.CHAT,
            "ai.streamText.doStream": names.CHAT,
            "ai.generateObject.doGenerate": names.CHAT,
            "ai.streamObject.doStream": names.CHAT,
            "ai.embed.doEmbed": names.EMBEDDINGS,
            "ai.embedMany.doEmbed": names.EMBEDDINGS,
            "ai.toolCall": names.EXECUTE_TOOL,
        },
    ),
)
"""Attributes that say what a span is. The first one present decides, also that it is nothing of ours."""

HINTS: tuple[tuple[str, str, str], ...] = (
    ("agent_name", names.INVOKE_AGENT, "pydantic-ai"),
    (names.TOOL_NAME, names.EXECUTE_TOOL, ""),
    ("embedding.model_name", names.EMBEDDINGS, ""),
    ("embedding.invocation_parameters", names.EMBEDDINGS, ""),
    ("llm.model_name", names.CHAT, ""),
    ("llm.invocation_parameters", names.CHAT, ""),
    (names.REQUEST_MODEL, names.CHAT, ""),
)
"""Attributes that give away what a span is where nothing says so, with the scope they mean it in.

OpenInference says what a span is at its end only.
"""


ATTEMPT = "pydantic_ai.model_request.attempt"
"""On a span of a try that has failed, made afterwards beside the call that was answered: a call of its own."""
_MERGED = "(merged tools)"
"""What google-adk calls a span without a tool of its own: it sums up those that ran at once."""


def operation_of(attributes: Attributes, scope: str) -> str:
    """What a span stands for: an operation, `STEP`, or "" for nothing of ours.

    Args:
        attributes: Of a span, finished or still open.
        scope: Name of its instrumentation scope.
    """
    for attribute, operations in KINDS:
        value = attributes.get(attribute)
        if value is not None:
            found = operations.get(value, "") if isinstance(value, str) else ""
            return STEP if found == names.EXECUTE_TOOL and attributes.get(names.TOOL_NAME) == _MERGED else found
    for attribute, operation, prefix in HINTS:
        if attribute in attributes and scope.startswith(prefix):
            return operation
    return ""


NESTING = (names.INVOKE_AGENT, names.INVOKE_WORKFLOW)
"""What may run inside of its like: only one of ours and one of another instrumentation are the same one."""


def family_of(operation: str, name: str) -> str:
    """What may be the same call when one encloses the other; "" for what may well be nested."""
    if operation in names.INFERENCE:
        return names.CHAT
    if operation == names.EXECUTE_TOOL:
        # Some agents put the name of the server before that of its tool.
        return f"{operation} {name.split('__', 2)[-1] if name.startswith('mcp__') else name}"
    if operation in NESTING:
        return f"{operation} {name}"
    return "" if operation in names.MODEL_CALLS_EXCLUDED or operation == STEP else operation


# --- texts -------------------------------------------------------------------------------

CONVERSATION = (
    names.CONVERSATION_ID,
    "session.id",
    "gen_ai.session.id",
    "anthropic.session.id",
    "traceloop.association.properties.session_id",
    "traceloop.association.properties.thread_id",
)
AGENT = (names.AGENT_NAME, "agent.name", "agent_name")
ENTITY: dict[str, tuple[str, ...]] = {
    names.INVOKE_AGENT: (*AGENT, "traceloop.entity.name", "graph.node.id"),
    names.CREATE_AGENT: AGENT,
    names.EXECUTE_TOOL: (names.TOOL_NAME, "tool.name", "ai.toolCall.name", "traceloop.entity.name"),
    names.INVOKE_WORKFLOW: (names.WORKFLOW_NAME, "traceloop.entity.name", "traceloop.workflow.name"),
    names.RETRIEVAL: (names.DATA_SOURCE_ID, "traceloop.entity.name"),
}
"""Where an operation's own name stands; else it is the span's."""

PROVIDER = (names.PROVIDER, "llm.provider", "gen_ai.system", "llm.system", "ai.model.provider")
REQUEST_MODEL = (names.REQUEST_MODEL, "llm.request.model_name", "llm.request.model", "ai.model.id", "model_name")
PARAMETERS = ("llm.invocation_parameters", "embedding.invocation_parameters")
"""Request parameters as one JSON object; their ``model`` is the one that was asked for."""
ONLY_MODEL = ("llm.model_name", "embedding.model_name")
"""The model that answered where a reply has come, else the one that was asked for."""
RESPONSE_MODEL = (names.RESPONSE_MODEL, "llm.response.model_name", "llm.response.model", "ai.response.model")
RESPONSE_ID = (names.RESPONSE_ID, "llm.response.id", "ai.response.id")
FINISH_REASONS = (
    names.RESPONSE_FINISH_REASONS, "gen_ai.response.finish_reason", "gen_ai.response.stop_reason", "llm.finish_reason",
    "llm.response.finish_reason", "llm.response.stop_reason", "anthropic.message.stop_reason",
    "ai.response.finishReason",
)  # fmt: skip
"""A list, a list as JSON text, or one reason."""
VENDOR_REQUEST_ID = ("anthropic.request.id", "gen_ai.response.request_id", "aws.request_id")
BILLED_TIER = (
    names.OPENAI_RESPONSE_SERVICE_TIER, "gen_ai.openai.response.service_tier", "anthropic.response.service_tier",
)  # fmt: skip
BASE_URL = ("gen_ai.openai.api_base", "llm.openai.api_base", "url.full")
"""Where the request went, if ``server.address`` does not say."""
STREAMING = (names.REQUEST_STREAM, "gen_ai.is_streaming", "llm.is_streaming")
STATUS_CODE = ("http.response.status_code", "http.status_code")

PROVIDERS: dict[str, str] = {
    "azure": "azure.ai.openai",
    "az.ai.openai": "azure.ai.openai",
    "azure_openai": "azure.ai.openai",
    "azure-openai": "azure.ai.openai",
    "az.ai.inference": "azure.ai.inference",
    "azure_ai": "azure.ai.inference",
    "openai-chat": "openai",
    "openai-responses": "openai",
    "openai.chat": "openai",
    "openai.responses": "openai",
    "anthropic.messages": "anthropic",
    "claude": "anthropic",
    "vertex_ai": "gcp.vertex_ai",
    "vertexai": "gcp.vertex_ai",
    "google_vertexai": "gcp.vertex_ai",
    "google-vertex": "gcp.vertex_ai",
    "google.vertex.chat": "gcp.vertex_ai",
    "gemini": "gcp.gemini",
    "google-gla": "gcp.gemini",
    "google.generative-ai": "gcp.gemini",
    "google_ai_studio": "gcp.gemini",
    "google": "gcp.gen_ai",
    "google_genai": "gcp.gen_ai",
    "google_generativeai": "gcp.gen_ai",
    "aws": "aws.bedrock",
    "bedrock": "aws.bedrock",
    "aws_bedrock": "aws.bedrock",
    "amazon_bedrock": "aws.bedrock",
    "amazon-bedrock": "aws.bedrock",
    "xai": "x_ai",
    "mistral": "mistral_ai",
    "mistralai": "mistral_ai",
    "mistral.chat": "mistral_ai",
    "moonshot": "moonshot_ai",
    "moonshotai": "moonshot_ai",
    "watsonx": "ibm.watsonx.ai",
    "ibm_watsonx": "ibm.watsonx.ai",
    "together_ai": "together",
    "togetherai": "together",
    "fireworks_ai": "fireworks",
    "hugging_face": "huggingface",
    "hf": "huggingface",
    "perplexity_ai": "perplexity",
}
"""Older and other ids of providers, in lower case; what is not here is taken as it is, in lower case."""
PREFIXES = frozenset({*PROVIDERS.values(), "openai", "anthropic", "cohere", "groq", "ollama", "deepseek", "cerebras"})
"""What may stand before a model and a slash, and names who is asked for it, besides the keys of `PROVIDERS`."""
FRAMEWORKS = frozenset(
    {
        "langchain", "langgraph", "llamaindex", "llama_index", "crewai", "haystack", "litellm", "pydantic-ai",
        "pydantic_ai", "logfire", "strands", "strands-agents", "google-adk", "google_adk", "agno", "smolagents", "dspy",
        "ag2", "autogen", "autogen-core", "semantic-kernel", "semantic_kernel", "agent-framework", "agent_framework",
        "microsoft.agent_framework", "openai-agents", "openai_agents", "instructor", "mem0", "browser-use",
        "browser_use", "pipecat", "livekit", "vercel", "ai-sdk",
    }
)  # fmt: skip
"""Not providers, whatever a span says."""
VENDORS: tuple[tuple[str, str], ...] = (
    (r"(?:gpt|chatgpt|o[134]|text-embedding|dall-e|whisper|tts)-|o[134]$", "openai"),
    (r"claude-", "anthropic"),
    (r"gemini-", "gcp.gemini"),
    (r"(?:mistral|ministral|codestral|magistral|pixtral)-", "mistral_ai"),
    (r"command-|embed-", "cohere"),
    (r"grok-", "x_ai"),
    (r"deepseek-(?:chat|reasoner)", "deepseek"),
    (
        r"(?:(?:us|eu|apac|global)\.)?(?:amazon|anthropic|meta|cohere|mistral|ai21|deepseek|qwen|openai)\.",
        "aws.bedrock",
    ),
)
"""Who sells models of such names, as the start of a pattern: for spans that only name a framework."""

# --- numbers -----------------------------------------------------------------------------

USAGE: dict[str, tuple[str, ...]] = {
    "input": (
        names.USAGE_INPUT, "gen_ai.usage.prompt_tokens", "llm.token_count.prompt", "llm.usage.prompt_tokens",
        "ai.usage.promptTokens", "ai.usage.inputTokens", "ai.usage.tokens",
    ),
    "output": (
        names.USAGE_OUTPUT, "gen_ai.usage.completion_tokens", "llm.token_count.completion",
        "llm.usage.completion_tokens",
        "ai.usage.completionTokens", "ai.usage.outputTokens",
    ),
    "cache_read": (
        names.USAGE_CACHE_READ, "gen_ai.usage.cache_read_input_tokens", "gen_ai.usage.cached_tokens",
        "gen_ai.usage.details.cache_read_tokens", "gen_ai.usage.details.cache_read_input_tokens",
        "gen_ai.usage.details.cached_tokens", "llm.token_count.prompt_details.cache_read",
        "llm.token_count.prompt_details.cache_input", "ai.usage.cachedInputTokens",
        "gen_ai.usage.cached_prompt_text_tokens",
    ),
    "cache_write": (
        names.USAGE_CACHE_WRITE, "gen_ai.usage.cache_creation.input_tokens", "gen_ai.usage.cache_creation_input_tokens",
        "gen_ai.usage.details.cache_write_tokens", "gen_ai.usage.details.cache_creation_input_tokens",
        "llm.token_count.prompt_details.cache_write",
    ),
    "reasoning": (
        names.USAGE_REASONING, "gen_ai.usage.reasoning_tokens", "gen_ai.usage.thinking_tokens",
        "gen_ai.usage.details.reasoning_tokens",
        "llm.usage.reasoning_tokens", "llm.token_count.completion_details.reasoning", "ai.usage.reasoningTokens",
    ),
    "input_audio": (
        names.USAGE_INPUT_AUDIO, "gen_ai.usage.details.input_audio_tokens", "llm.token_count.prompt_details.audio",
    ),
    "output_audio": (
        names.USAGE_OUTPUT_AUDIO, "gen_ai.usage.details.output_audio_tokens",
        "llm.token_count.completion_details.audio",
    ),
    "input_image": (names.USAGE_INPUT_IMAGE, "gen_ai.usage.prompt_image_tokens"),
    "output_image": (names.USAGE_OUTPUT_IMAGE,),
    "cache_read_audio": (names.USAGE_CACHE_READ_AUDIO,),
    "cache_read_image": (names.USAGE_CACHE_READ_IMAGE,),
    "input_video": (names.USAGE_INPUT_VIDEO,),
    "output_video": (names.USAGE_OUTPUT_VIDEO,),
    "cache_read_video": (names.USAGE_CACHE_READ_VIDEO,),
}  # fmt: skip
"""Fields of `call.Usage`; of several names the first one that holds a number."""
RAW_USAGE = ("gen_ai.usage.raw",)
"""The vendor's own usage object as JSON text: reports more than the counts beside it."""
TOTAL = ("gen_ai.usage.total_tokens", "llm.usage.total_tokens", "llm.token_count.total")

TICKS = "gen_ai.usage.cost_in_usd_ticks"
"""Where xAI's SDK writes what the provider has charged."""
COSTS = ("llm.cost.total", "llm.cost.prompt", "llm.cost.completion", "llm.usage.cost", "operation.cost", "gen_ai.cost")
"""Where other instrumentations write what a call has cost."""


def exclusive(counts: Mapping[str, int], total: int | None) -> bool:
    """Whether an input count leaves out the cached tokens, which the span itself must show.

    Either the parts exceed the input, or a total was reported that only adds up with them.

    Args:
        counts: Counts by their names in `USAGE`.
        total: Total that the span reports, if any.
    """
    cached = counts.get("cache_read", 0) + counts.get("cache_write", 0)
    if not cached or "input" not in counts:
        return False
    return cached > counts["input"] or total == counts["input"] + counts.get("output", 0) + cached


class Fact(NamedTuple):
    """A request or response parameter."""

    name: str
    """The conventions' name."""
    kind: type
    """``int``, ``float``, ``str``, or ``tuple`` for a list of texts."""
    others: tuple[str, ...] = ()


FACTS: tuple[Fact, ...] = (
    Fact(names.OUTPUT_TYPE, str),
    Fact(names.REQUEST_MAX_TOKENS, int, ("gen_ai.request.max_completion_tokens", "ai.settings.maxOutputTokens")),
    Fact(names.REQUEST_CHOICE_COUNT, int, ("gen_ai.request.n",)),
    Fact(names.REQUEST_TEMPERATURE, float, ("llm.request.temperature", "ai.settings.temperature")),
    Fact(names.REQUEST_TOP_P, float, ("llm.request.top_p", "ai.settings.topP")),
    Fact(names.REQUEST_TOP_K, int, ("llm.top_k", "ai.settings.topK")),
    Fact(names.REQUEST_STOP_SEQUENCES, tuple, ("llm.chat.stop_sequences",)),
    Fact(names.REQUEST_FREQUENCY_PENALTY, float, ("llm.frequency_penalty",)),
    Fact(names.REQUEST_PRESENCE_PENALTY, float, ("llm.presence_penalty",)),
    Fact(names.REQUEST_ENCODING_FORMATS, tuple),
    Fact(names.REQUEST_SEED, int, ("gen_ai.openai.request.seed",)),
    Fact(names.REQUEST_REASONING_LEVEL, str, ("gen_ai.request.reasoning_effort", "llm.request.reasoning_effort")),
    Fact(names.REQUEST_PREVIOUS_RESPONSE_ID, str),
    Fact(names.RESPONSE_STATUS, str),
    Fact(names.EMBEDDINGS_DIMENSION_COUNT, int),
    Fact(names.RETRIEVAL_TOP_K, int),
    Fact(names.TOOL_CALL_ID, str, ("tool.id", "tool_call.id", "ai.toolCall.id")),
    Fact(names.TOOL_TYPE, str),
    Fact(names.AGENT_ID, str),
    Fact(names.PROMPT_NAME, str, ("traceloop.prompt.key", "llm.prompt_template.name")),
    Fact(names.PROMPT_VERSION, str, ("traceloop.prompt.version", "llm.prompt_template.version")),
    Fact(names.OPENAI_API_TYPE, str),
    Fact(names.OPENAI_REQUEST_SERVICE_TIER, str, ("gen_ai.openai.request.service_tier",)),
    Fact(names.OPENAI_RESPONSE_SERVICE_TIER, str, ("gen_ai.openai.response.service_tier",)),
    Fact(
        names.OPENAI_SYSTEM_FINGERPRINT, str,
        ("gen_ai.openai.response.system_fingerprint", "gen_ai.openai.system_fingerprint"),
    ),
)  # fmt: skip
"""What a bridged call's line shows besides its own fields; nothing here is content."""

FIRST_CHUNK: tuple[tuple[str, float], ...] = (
    (names.RESPONSE_TIME_TO_FIRST_CHUNK, 1.0),
    ("gen_ai.server.time_to_first_token", 1.0),
    ("ai.response.msToFirstChunk", 1e-3),
)
"""Time to the first chunk, with what makes seconds of it."""
CHUNK_EVENTS = frozenset({"gen_ai.content.completion.chunk", "llm.content.completion.chunk"})
"""Span events of which there is one per chunk."""
FIRST_TOKEN_EVENTS = frozenset({"First Token Stream Event", "gen_ai.first_token", "ai.stream.firstChunk"})

# --- calls that two spans stand for ------------------------------------------------------

HALF_SCOPES = ("logfire.",)
"""Scopes whose streams have a span for the request and, after the stream, a record for the reply."""
RECORD_MARK = ("logfire.span_type", "log")
"""What marks the record of the reply."""
WHOLE_MARKS = (*USAGE["input"], *USAGE["output"], names.RESPONSE_ID, names.OUTPUT_MESSAGES, "response_data")
"""A request's span that holds none of these, and no error, is the first half of a stream."""
