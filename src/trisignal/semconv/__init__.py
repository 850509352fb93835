"""Every name that trisignal emits: attributes, metrics, labels, events, units, buckets.

Names without a remark are those of the OpenTelemetry GenAI semantic conventions
(`SCHEMA_URL`); what no convention names begins with ``llm.`` (as a label: ``llm_``) and is
listed in `EXTENSION_ATTRIBUTES`. Sinks, dashboards, rules and documentation read the
names here and nowhere else.
"""

from __future__ import annotations

from trisignal.semconv.batch import BATCH_ATTRIBUTES, BATCH_METRICS
from trisignal.semconv.batch import BATCH_JOB as BATCH_JOB
from trisignal.semconv.metric import AGENT_SECONDS as AGENT_SECONDS
from trisignal.semconv.metric import CALLS as CALLS
from trisignal.semconv.metric import EXTRA_SECONDS as EXTRA_SECONDS
from trisignal.semconv.metric import FIRST_TOKEN_SECONDS as FIRST_TOKEN_SECONDS
from trisignal.semconv.metric import LONG_SECONDS as LONG_SECONDS
from trisignal.semconv.metric import OPERATION as OPERATION
from trisignal.semconv.metric import PER_TOKEN_SECONDS as PER_TOKEN_SECONDS
from trisignal.semconv.metric import PROVIDER as PROVIDER
from trisignal.semconv.metric import REQUEST_MODEL as REQUEST_MODEL
from trisignal.semconv.metric import RESPONSE_MODEL as RESPONSE_MODEL
from trisignal.semconv.metric import SCORES as SCORES
from trisignal.semconv.metric import SECONDS as SECONDS
from trisignal.semconv.metric import TOKENS as TOKENS
from trisignal.semconv.metric import USD as USD
from trisignal.semconv.metric import WORKFLOW_SECONDS as WORKFLOW_SECONDS
from trisignal.semconv.metric import Instrument as Instrument
from trisignal.semconv.metric import Metric as Metric
from trisignal.semconv.metric import R as R
from trisignal.semconv.metric import described as _metric
from trisignal.semconv.metric import sample_names as sample_names
from trisignal.semconv.money import COST_ATTRIBUTES as COST_ATTRIBUTES
from trisignal.semconv.money import COST_SOURCE as COST_SOURCE
from trisignal.semconv.money import LABEL_COST_BUCKET as LABEL_COST_BUCKET
from trisignal.semconv.money import LABEL_REASON as LABEL_REASON
from trisignal.semconv.money import LABEL_RESULT as LABEL_RESULT
from trisignal.semconv.money import LABEL_TOKEN_BUCKET as LABEL_TOKEN_BUCKET
from trisignal.semconv.money import MONEY_ATTRIBUTES, MONEY_METRICS
from trisignal.semconv.money import OTHER_MODELS_INPUT as OTHER_MODELS_INPUT
from trisignal.semconv.money import OTHER_MODELS_OUTPUT as OTHER_MODELS_OUTPUT
from trisignal.semconv.money import PROPOSED_COST as PROPOSED_COST
from trisignal.semconv.money import PROPOSED_SOURCES as PROPOSED_SOURCES
from trisignal.semconv.money import RUN_COST as RUN_COST
from trisignal.semconv.money import RUN_TURNS as RUN_TURNS
from trisignal.semconv.money import SERVER_TOOL_PREFIX as SERVER_TOOL_PREFIX
from trisignal.semconv.money import UNPRICED_REASON as UNPRICED_REASON
from trisignal.semconv.money import USAGE_AUDIO_S as USAGE_AUDIO_S
from trisignal.semconv.money import USAGE_CACHE_READ_VIDEO as USAGE_CACHE_READ_VIDEO
from trisignal.semconv.money import USAGE_COST as USAGE_COST
from trisignal.semconv.money import USAGE_INPUT_VIDEO as USAGE_INPUT_VIDEO
from trisignal.semconv.money import USAGE_OUTPUT_VIDEO as USAGE_OUTPUT_VIDEO
from trisignal.semconv.money import USAGE_PAGES as USAGE_PAGES
from trisignal.semconv.realtime import DRAFT as DRAFT
from trisignal.semconv.realtime import REALTIME_ATTRIBUTES, REALTIME_METRICS
from trisignal.semconv.realtime import REALTIME_INFERENCE as REALTIME_INFERENCE
from trisignal.semconv.realtime import REALTIME_SESSION as REALTIME_SESSION
from trisignal.semconv.realtime import REALTIME_SESSION_ID as REALTIME_SESSION_ID
from trisignal.semconv.realtime import REALTIME_TURN as REALTIME_TURN
from trisignal.semconv.realtime import TIME_TO_FIRST_AUDIO_S as TIME_TO_FIRST_AUDIO_S
from trisignal.semconv.retries import RETRIES as RETRIES
from trisignal.semconv.retries import RETRIES_LOST_S as RETRIES_LOST_S
from trisignal.semconv.runs import RUN_ATTRIBUTES, RUN_METRICS
from trisignal.semconv.search import SEARCH_ATTRIBUTES, SEARCH_METRICS, WRITE_VECTORS

SCHEMA_URL = "https://opentelemetry.io/schemas/gen-ai-dev/1.42.0-dev"
SCOPE = "trisignal"

# --- attributes of the conventions ---------------------------------------------------
OUTPUT_TYPE = "gen_ai.output.type"
DATA_SOURCE_ID = "gen_ai.data_source.id"
REQUEST_MAX_TOKENS = "gen_ai.request.max_tokens"
REQUEST_CHOICE_COUNT = "gen_ai.request.choice.count"
REQUEST_TEMPERATURE = "gen_ai.request.temperature"
REQUEST_TOP_P = "gen_ai.request.top_p"
REQUEST_TOP_K = "gen_ai.request.top_k"
REQUEST_STOP_SEQUENCES = "gen_ai.request.stop_sequences"
REQUEST_FREQUENCY_PENALTY = "gen_ai.request.frequency_penalty"
REQUEST_PRESENCE_PENALTY = "gen_ai.request.presence_penalty"
REQUEST_ENCODING_FORMATS = "gen_ai.request.encoding_formats"
REQUEST_SEED = "gen_ai.request.seed"
REQUEST_STREAM = "gen_ai.request.stream"
REQUEST_REASONING_LEVEL = "gen_ai.request.reasoning.level"
REQUEST_PREVIOUS_RESPONSE_ID = "gen_ai.request.previous_response.id"
REQUEST_STREAM_CURSOR = "gen_ai.request.stream_cursor"
RESPONSE_ID = "gen_ai.response.id"
RESPONSE_FINISH_REASONS = "gen_ai.response.finish_reasons"
RESPONSE_STATUS = "gen_ai.response.status"
RESPONSE_TIME_TO_FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
USAGE_INPUT = "gen_ai.usage.input_tokens"
USAGE_OUTPUT = "gen_ai.usage.output_tokens"
USAGE_CACHE_READ = "gen_ai.usage.cache_read.input_tokens"
USAGE_CACHE_WRITE = "gen_ai.usage.cache_write.input_tokens"
USAGE_REASONING = "gen_ai.usage.reasoning.output_tokens"
USAGE_INPUT_AUDIO = "gen_ai.usage.audio.input_tokens"
USAGE_INPUT_IMAGE = "gen_ai.usage.image.input_tokens"
USAGE_OUTPUT_AUDIO = "gen_ai.usage.audio.output_tokens"
USAGE_OUTPUT_IMAGE = "gen_ai.usage.image.output_tokens"
USAGE_CACHE_READ_AUDIO = "gen_ai.usage.audio.cache_read.input_tokens"
USAGE_CACHE_READ_IMAGE = "gen_ai.usage.image.cache_read.input_tokens"
TOKEN_TYPE = "gen_ai.token.type"
TOKEN_MODALITY = "gen_ai.token.modality"
CONVERSATION_ID = "gen_ai.conversation.id"
AGENT_ID = "gen_ai.agent.id"
AGENT_NAME = "gen_ai.agent.name"
AGENT_DESCRIPTION = "gen_ai.agent.description"
AGENT_VERSION = "gen_ai.agent.version"
WORKFLOW_NAME = "gen_ai.workflow.name"
TOOL_NAME = "gen_ai.tool.name"
TOOL_CALL_ID = "gen_ai.tool.call.id"
TOOL_DESCRIPTION = "gen_ai.tool.description"
TOOL_TYPE = "gen_ai.tool.type"
TOOL_CALL_ARGUMENTS = "gen_ai.tool.call.arguments"
TOOL_CALL_RESULT = "gen_ai.tool.call.result"
TOOL_DEFINITIONS = "gen_ai.tool.definitions"
EMBEDDINGS_DIMENSION_COUNT = "gen_ai.embeddings.dimension.count"
RETRIEVAL_TOP_K = "gen_ai.retrieval.top_k"
RETRIEVAL_QUERY = "gen_ai.retrieval.query.text"
RETRIEVAL_DOCUMENTS = "gen_ai.retrieval.documents"
SYSTEM_INSTRUCTIONS = "gen_ai.system_instructions"
INPUT_MESSAGES = "gen_ai.input.messages"
OUTPUT_MESSAGES = "gen_ai.output.messages"
EVALUATION_NAME = "gen_ai.evaluation.name"
EVALUATION_SCORE = "gen_ai.evaluation.score.value"
EVALUATION_LABEL = "gen_ai.evaluation.score.label"
EVALUATION_EXPLANATION = "gen_ai.evaluation.explanation"
BETTER = "better"
"""Label of scores: which ones are good."""
HIGHER, LOWER = "higher", "lower"
"""Its values."""
PROMPT_NAME = "gen_ai.prompt.name"
PROMPT_VERSION = "gen_ai.prompt.version"
OPENAI_API_TYPE = "openai.api.type"
OPENAI_REQUEST_SERVICE_TIER = "openai.request.service_tier"
OPENAI_RESPONSE_SERVICE_TIER = "openai.response.service_tier"
OPENAI_SYSTEM_FINGERPRINT = "openai.response.system_fingerprint"
BEDROCK_GUARDRAIL_ID = "aws.bedrock.guardrail.id"
ERROR_TYPE = "error.type"
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"
EXCEPTION_TYPE = "exception.type"
EXCEPTION_MESSAGE = "exception.message"
EXCEPTION_STACKTRACE = "exception.stacktrace"

# --- attributes of Anthropic's SDK, whose late versions make spans of their own -------
ANTHROPIC_BETA = "anthropic.beta"
ANTHROPIC_STRINGS = (
    ANTHROPIC_REQUEST_ID := "anthropic.request.id",
    ANTHROPIC_ORGANIZATION_ID := "anthropic.organization.id",
    ANTHROPIC_WORKSPACE_ID := "anthropic.workspace.id",
    ANTHROPIC_REQUEST_SERVICE_TIER := "anthropic.request.service_tier",
    ANTHROPIC_RESPONSE_SERVICE_TIER := "anthropic.response.service_tier",
    ANTHROPIC_THINKING_TYPE := "anthropic.thinking.type",
    ANTHROPIC_STOP_REASON := "anthropic.message.stop_reason",
    ANTHROPIC_BATCH_ID := "anthropic.message.batch.id",
)
ANTHROPIC_COUNTS = (
    ANTHROPIC_THINKING_BUDGET := "anthropic.thinking.budget_tokens",
    ANTHROPIC_CACHE_WRITE_5M := "anthropic.usage.cache_creation.ephemeral_5m_input_tokens",
    ANTHROPIC_CACHE_WRITE_1H := "anthropic.usage.cache_creation.ephemeral_1h_input_tokens",
    ANTHROPIC_COMPACTION_INPUT := "anthropic.usage.compaction.input_tokens",
    ANTHROPIC_COMPACTION_OUTPUT := "anthropic.usage.compaction.output_tokens",
    ANTHROPIC_COUNTED_TOKENS := "anthropic.message.count_tokens.input_tokens",
    ANTHROPIC_BATCH_REQUESTS := "anthropic.message.batch.request_count",
)
HTTP_STATUS = "http.response.status_code"
HTTP_RESENDS = "http.request.resend_count"

# --- our own, where no convention has a name -----------------------------------------
OUTCOME = "llm.outcome"
ERROR_KIND = "llm.error_kind"
PARTIAL = "llm.usage.partial"
REQUEST_ID = "llm.request_id"
VENDOR_REQUEST_ID = "llm.response.request_id"
USER_ID = "user.id"
DURATION_S = "duration_s"
SPAN_KIND = "span.kind"  # of a log line: "server" where a model server writes it
TOTAL_TOKENS = "total_tokens"
COST_USD = "cost_usd"
TIME_TO_FIRST_TOKEN_S = "llm.time_to_first_token_s"
TIME_TO_FIRST_ANSWER_S = "llm.time_to_first_answer_s"
RECORD_COMPLETE = "_trisignal_complete"
"""Marks log records that carry their ids already; never written out."""
RECORD_CLEAN = "_trisignal_clean"
"""Marks log records that are redacted already; never written out."""
DIMENSION_PREFIX = "llm.dimension."
STAGE_NAME = "llm.stage.name"
STAGE_PREFIX = "llm.stage."
STAGES_TOTAL_MS = "llm.stages.total_ms"
CONTENT_CUT_BYTES = "llm.content.cut_bytes"
CONTENT_DROPPED = "llm.content.dropped"

EXTENSION_ATTRIBUTES: dict[str, str] = {
    **dict.fromkeys((OUTCOME, ERROR_KIND, REQUEST_ID, VENDOR_REQUEST_ID, USER_ID), "string"),
    **dict.fromkeys((DIMENSION_PREFIX + "*", STAGE_NAME, CONTENT_DROPPED, *ANTHROPIC_STRINGS), "string"),
    **dict.fromkeys((CONTENT_CUT_BYTES, *ANTHROPIC_COUNTS), "int"),
    **dict.fromkeys((TIME_TO_FIRST_TOKEN_S, TIME_TO_FIRST_ANSWER_S, STAGE_PREFIX + "*", STAGES_TOTAL_MS), "double"),
    **MONEY_ATTRIBUTES,
    **REALTIME_ATTRIBUTES,
    **SEARCH_ATTRIBUTES,
    **RUN_ATTRIBUTES,
    **BATCH_ATTRIBUTES,
    PARTIAL: "boolean",
    ANTHROPIC_BETA: "string[]",
    AGENT_NAME: "string",  # the conventions' own, also on the model calls of an agent
}
"""Span and log attributes beyond the conventions, with their types (``*``: any ending)."""

# --- operations ----------------------------------------------------------------------
CHAT = "chat"
GENERATE_CONTENT = "generate_content"
TEXT_COMPLETION = "text_completion"
EMBEDDINGS = "embeddings"
RETRIEVAL = "retrieval"
FETCH_RESPONSE = "fetch_response"
CREATE_AGENT = "create_agent"
INVOKE_AGENT = "invoke_agent"
EXECUTE_TOOL = "execute_tool"
INVOKE_WORKFLOW = "invoke_workflow"
COUNT_TOKENS = "count_tokens"
BATCHES = frozenset(f"batch_{verb}" for verb in ("create", "list", "retrieve", "cancel", "delete", "results"))
STAGE = "stage"

INFERENCE = frozenset({CHAT, GENERATE_CONTENT, TEXT_COMPLETION, REALTIME_INFERENCE})
EXTENSION_OPERATIONS = BATCHES | {
    BATCH_JOB, STAGE, COUNT_TOKENS, "image_generation", "moderation", "speech", "transcription", "translation",
    "video_generation", "rerank", "ocr", "request", REALTIME_SESSION, REALTIME_TURN, REALTIME_INFERENCE,
    WRITE_VECTORS,
}  # fmt: skip
"""Values of `OPERATION` beyond the conventions' list, which is open."""

MODEL_CALLS_EXCLUDED = BATCHES | {
    RETRIEVAL, FETCH_RESPONSE, CREATE_AGENT, INVOKE_AGENT, EXECUTE_TOOL, INVOKE_WORKFLOW, STAGE, COUNT_TOKENS,
    BATCH_JOB, REALTIME_SESSION, REALTIME_TURN, WRITE_VECTORS,
}  # fmt: skip
"""Operations that are not a model call: they get durations, but no requests, tokens or cost."""

SPAN_NAME_BY_ENTITY = frozenset(
    {RETRIEVAL, WRITE_VECTORS, CREATE_AGENT, INVOKE_AGENT, EXECUTE_TOOL, INVOKE_WORKFLOW, STAGE}
)
"""Operations whose span is named after their entity, not after a model."""

# --- events --------------------------------------------------------------------------
EVENT_DETAILS = "gen_ai.client.inference.operation.details"
EVENT_EXCEPTION = "gen_ai.client.operation.exception"
EVENT_EVALUATION = "gen_ai.evaluation.result"

# --- metrics -------------------------------------------------------------------------
PROFILES = ("1.41", "2026-10")

COMMON = (*R, RESPONSE_MODEL, SERVER_ADDRESS, SERVER_PORT)

_TIMED = (*COMMON, ERROR_TYPE, OUTCOME)
_OPERATION_DURATION = _metric(
    "gen_ai.client.operation.duration", "histogram", "s", _TIMED, "Duration of calls to a model", LONG_SECONDS
)  # fmt: skip

_SHARED: dict[str, Metric] = {
    "operation_duration": _OPERATION_DURATION,
    "agent_duration": _metric(
        "gen_ai.invoke_agent.duration", "histogram", "s", (AGENT_NAME, REQUEST_MODEL, ERROR_TYPE, OUTCOME),
        "Duration of agent runs", AGENT_SECONDS),
    "agent_inference_calls": _metric(
        "gen_ai.invoke_agent.inference_calls", "histogram", "{inference_call}", (AGENT_NAME,),
        "Model calls per agent run", CALLS),
    "agent_tool_calls": _metric(
        "gen_ai.invoke_agent.tool_calls", "histogram", "{tool_call}", (AGENT_NAME,),
        "Tool calls per agent run", CALLS),
    "tool_duration": _metric(
        "gen_ai.execute_tool.duration", "histogram", "s", (TOOL_NAME, AGENT_NAME, TOOL_TYPE, ERROR_TYPE, OUTCOME),
        "Duration of tool calls", SECONDS),
    "workflow_duration": _metric(
        "gen_ai.invoke_workflow.duration", "histogram", "s", (WORKFLOW_NAME, ERROR_TYPE, OUTCOME),
        "Duration of workflows", WORKFLOW_SECONDS),
    "server_duration": _metric(
        "gen_ai.server.request.duration", "histogram", "s", _TIMED, "Duration of served requests", LONG_SECONDS),
    "server_first_token": _metric(
        "gen_ai.server.time_to_first_token", "histogram", "s", COMMON,
        "Queue and prefill time of successful served requests", FIRST_TOKEN_SECONDS),
    "server_per_token": _metric(
        "gen_ai.server.time_per_output_token", "histogram", "s", COMMON,
        "Time per output token after the first, of successful served requests", PER_TOKEN_SECONDS),
    "requests": _metric("llm.requests", "counter", "{request}", (*R, OUTCOME), "Ended model calls by outcome"),
    "errors": _metric("llm.errors", "counter", "{error}", (*R, ERROR_KIND, ERROR_TYPE), "Failed model calls by kind"),
    **MONEY_METRICS,
    **REALTIME_METRICS,
    **SEARCH_METRICS,
    **BATCH_METRICS,
    "first_token": _metric(
        "llm.time_to_first_token", "histogram", "s", R, "Request sent to first token of any kind", LONG_SECONDS),
    "first_answer": _metric(
        "llm.time_to_first_answer", "histogram", "s", R, "Request sent to first visible text or tool call",
        LONG_SECONDS),
    "per_token": _metric(
        "llm.time_per_output_token", "histogram", "s", R, "Per streamed call: time per token after the first",
        PER_TOKEN_SECONDS),
    "active": _metric("llm.active_requests", "updowncounter", "{request}", R, "Model calls in flight"),
    "stage_duration": _metric(
        "llm.stage_duration", "histogram", "s", ("stage",), "Duration of named stages", LONG_SECONDS),
    **RUN_METRICS,
    "ratelimit_remaining": _metric(
        "llm.ratelimit_remaining", "gauge", "{unit}", (PROVIDER, REQUEST_MODEL, "resource"),
        "Remaining requests or tokens, as last reported by the provider", (), "livemostrecent"),
    "ratelimit_limit": _metric(
        "llm.ratelimit_limit", "gauge", "{unit}", (PROVIDER, REQUEST_MODEL, "resource"),
        "Limit of requests or tokens, as last reported by the provider", (), "livemostrecent"),
    "provider_up": _metric(
        "llm.provider_up", "gauge", "1", (PROVIDER,), "Last probe of the provider: 1 it answered, 0 it did not", (),
        "livemostrecent"),
    "probe_duration": _metric(
        "llm.provider_probe_duration", "histogram", "s", (PROVIDER, "result"), "Duration of probes of the provider",
        SECONDS),
    "cache_requests": _metric(
        "llm.cache_requests", "counter", "{request}", ("cache", "result"), "Lookups in the application's caches"),
    "quality_score": _metric(
        "llm.quality_score", "histogram", "1",
        ("evaluation", BETTER, REQUEST_MODEL, PROMPT_NAME, PROMPT_VERSION),
        "Evaluation scores, 0 to 1; the label better says whether high or low scores are good", SCORES, dimensioned=True),
    "feedback": _metric(
        "llm.feedback", "counter", "{rating}", ("rating", REQUEST_MODEL, PROMPT_NAME, PROMPT_VERSION),
        "User feedback by rating", dimensioned=True),
    "usage_missing": _metric(
        "llm.usage_missing", "counter", "{request}", R, "Successful calls for which the provider reported no token usage"),
    "redactions": _metric(
        "llm.redactions", "counter", "{redaction}", ("detector",), "Texts replaced by the redactor"),
    "redaction_failures": _metric(
        "llm.redaction_failures", "counter", "{failure}", ("detector",), "Contents dropped because the redactor failed"),
    "internal_errors": _metric(
        "trisignal.internal_errors", "counter", "{error}", ("site",), "Contained internal errors of trisignal"),
    "label_overflow": _metric(
        "trisignal.label_overflow", "counter", "{label_set}", ("metric",), "Label sets replaced by _OTHER, each once"),
    "dropped": _metric(
        "trisignal.dropped", "counter", "{item}", ("queue",), "Lost telemetry: a queue was full, a backend did not accept it, or a line could not be written"),
    "encoder_fallbacks": _metric(
        "trisignal.encoder_fallbacks", "counter", "{item}", ("item",), "Spans and attributes left to OpenTelemetry's slower OTLP encoder"),
    "price_table_timestamp": _metric(
        "trisignal.price_table_timestamp", "gauge", "s", (), "Unix time at which the price table was created", (),
        "livemostrecent"),
}  # fmt: skip


def _inference(prefix: str) -> dict[str, Metric]:
    return {
        "first_chunk": _metric(
            f"{prefix}.time_to_first_chunk", "histogram", "s", COMMON, "Request sent to first chunk", LONG_SECONDS),
        "chunk_interval": _metric(
            f"{prefix}.time_per_output_chunk", "histogram", "s", COMMON, "Time between streamed chunks", SECONDS),
    }  # fmt: skip


def _counter_2026(part: str, help: str) -> Metric:
    labels = (*COMMON, TOKEN_MODALITY)
    return _metric(f"gen_ai.client.inference.usage.{part}", "counter", "{token}", labels, help)


def profile(name: str) -> dict[str, Metric]:
    """Metrics of one profile by the key that the sinks use.

    Args:
        name: One of `PROFILES`.

    Returns:
        Key to metric; two keys may name the same metric (``inference_duration`` and
        ``operation_duration`` in profile ``1.41``).

    Raises:
        KeyError: Unknown profile.
    """
    if name == "1.41":
        return {
            **_SHARED,
            "inference_duration": _OPERATION_DURATION,
            **_inference("gen_ai.client.operation"),
            "tokens": _metric(
                "gen_ai.client.token.usage", "histogram", "{token}", (*COMMON, TOKEN_TYPE),
                "Tokens per model call, inclusive totals", TOKENS),
        }  # fmt: skip
    if name == "2026-10":
        operation = "gen_ai.client.inference.operation"
        return {
            **_SHARED,
            "inference_duration": _metric(
                "gen_ai.client.inference.duration", "histogram", "s", _TIMED, "Duration of inference calls",
                LONG_SECONDS),
            **_inference("gen_ai.client.inference"),
            "input_tokens": _metric(
                f"{operation}.input_tokens", "histogram", "{token}", COMMON, "Input tokens per call", TOKENS),
            "output_tokens": _metric(
                f"{operation}.output_tokens", "histogram", "{token}", COMMON, "Output tokens per call", TOKENS),
            "usage_input": _counter_2026("input_tokens", "Input tokens, cached ones included"),
            "usage_output": _counter_2026("output_tokens", "Output tokens, reasoning included"),
            "usage_cache_read": _counter_2026("cache_read.input_tokens", "Input tokens read from a cache"),
            "usage_cache_write": _counter_2026("cache_write.input_tokens", "Input tokens written to a cache"),
            "usage_reasoning": _counter_2026("reasoning.output_tokens", "Reasoning tokens"),
        }  # fmt: skip
    raise KeyError(name)


EXTENSION_LABELS = frozenset({OUTCOME, ERROR_KIND})
"""Labels beyond the conventions on metrics that the conventions define, besides dimensions."""
