"""The record of one call: `Draft` while it runs, `Call` once it has ended.

A source (decorator, patched client, bridge) fills a `Draft`; policy turns it into a
`Call`, built once and never changed; sinks only read the `Call`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Union

from trisignal.usage import Bill as Bill
from trisignal.usage import Cost as Cost
from trisignal.usage import CostBucket as CostBucket
from trisignal.usage import TokenBuckets as TokenBuckets
from trisignal.usage import UnpricedReason as UnpricedReason
from trisignal.usage import Usage as Usage
from trisignal.usage import buckets as buckets

Outcome = Literal["ok", "error", "cancelled", "abandoned"]
OUTCOMES: tuple[Outcome, ...] = ("ok", "error", "cancelled", "abandoned")

ErrorKind = Literal[
    "rate_limit",
    "timeout",
    "auth",
    "invalid_request",
    "content_filter",
    "overloaded",
    "server",
    "connection",
    "other",
]
ERROR_KINDS: tuple[ErrorKind, ...] = (
    "rate_limit",
    "timeout",
    "auth",
    "invalid_request",
    "content_filter",
    "overloaded",
    "server",
    "connection",
    "other",
)

AttributeValue = Union[str, bool, int, float, "tuple[str, ...]"]


class RateLimit(NamedTuple):
    """Remaining requests or tokens, as a provider reported them in response headers, for one resource."""

    resource: str
    """``requests``, ``tokens``, ``input_tokens`` …"""
    remaining: float | None
    limit: float | None


class Attempt(NamedTuple):
    """An attempt of a client that failed, and was followed by another one."""

    kind: ErrorKind
    status: int
    """HTTP status of the reply; 0 where there was none, or where it is not known."""
    wait_s: float
    """Seconds that the client waited before the next one."""
    at_ns: int
    """When it had failed, by `time.perf_counter_ns`."""


_NO_RETRIES: tuple[ErrorKind, ...] = ()
_NO_ATTEMPTS: tuple[Attempt, ...] = ()
_NO_LIMITS: tuple[RateLimit, ...] = ()
_NOTHING: Mapping[str, Any] = MappingProxyType({})


class ChunkTimes:
    """Fixed-size record of a stream's timing; all times are `time.perf_counter_ns`."""

    __slots__ = (
        "first_answer_ns", "first_audio_ns", "first_chunk_ns", "first_token_ns", "intervals", "last_ns", "marked",
        "speech_end_ns",
    )  # fmt: skip

    def __init__(self, buckets: int) -> None:
        self.first_chunk_ns = 0
        self.first_token_ns = 0
        self.first_answer_ns = 0
        self.first_audio_ns = 0
        """Of realtime responses: audio of the model."""
        self.speech_end_ns = 0
        """Of realtime responses: when what the user said ended, if it was spoken."""
        self.last_ns = 0
        self.marked = False
        """The application marked the first token by hand: the last one comes with the end."""
        self.intervals = [0] * buckets
        """Count of gaps between chunks per histogram bucket (last one: over all bounds)."""


class Exchange:
    """What a source keeps about an open call: how to read its reply, what its attempts have shown. See `Draft`."""

    __slots__ = ()


class Draft:
    """One call while it runs. Sources write to it; only policy reads it as a whole.

    A draft that is freed while its call is open reports it through ``freed``: whatever interrupted
    the source, the call ends all the same.
    """

    __slots__ = (
        "__weakref__",
        "agent",
        "agent_calls",
        "around",
        "attempts",
        "attributes",
        "background",
        "background_id",
        "beside",
        "bill",
        "bound",
        "by_model",
        "chunk_times",
        "content",
        "conversation_id",
        "counted",
        "encloses_call",
        "end_ns",
        "ended",
        "error",
        "error_kind",
        "error_type",
        "exchange",
        "fields",
        "finish_reasons",
        "freed",
        "hidden",
        "ids",
        "key",
        "kind",
        "leaf",
        "link",
        "name",
        "native",
        "opening",
        "operation",
        "outcome",
        "parent",
        "pending",
        "provider",
        "rate_limits",
        "request_model",
        "response_id",
        "response_model",
        "retries",
        "role",
        "server_address",
        "server_port",
        "server_tools",
        "span",
        "stages",
        "stages_total_s",
        "start_ns",
        "start_unix_ns",
        "stream_state",
        "tier",
        "tokens",
        "tool_calls",
        "tool_uses",
        "total_cost",
        "usage",
        "vendor_request_id",
    )

    def __init__(
        self,
        operation: str,
        *,
        provider: str = "",
        request_model: str = "",
        name: str = "",
        kind: Literal["client", "internal"] = "client",
    ) -> None:
        self.operation = operation
        """``gen_ai.operation.name``, or ``stage``."""
        self.kind: Literal["client", "internal"] = kind
        self.role: Literal["client", "server"] = "client"
        self.provider, self.request_model = provider, request_model
        self.name = name
        """Agent, tool, workflow, data source or stage name; "" when there is none."""
        self.server_address, self.server_port = "", 0
        self.fields: dict[str, AttributeValue] = {}
        """Facts of request and response under the conventions' attribute names."""
        self.attributes: dict[str, Any] = {}
        """What the user set by hand; may be anything until policy has seen it."""
        self.response_model = self.response_id = self.vendor_request_id = ""
        self.finish_reasons: tuple[str, ...] = ()
        self.tier = self.background_id = ""
        """Service tier that the provider billed, when reported (``flex``, ``batch`` …); id of the background response
        whose tokens arrived with this call, or which brought none that may count."""
        self.usage: Usage | None = None
        self.bill: Bill | None = None
        """What the provider reported to have charged: it wins over every price table."""
        self.server_tools: Mapping[str, int] | None = None
        """Calls of tools that the provider ran, by tool."""
        self.tool_uses: Mapping[str, int] | None = None
        """Uses of server tools in the unit of their fee: searches, containers, grounded prompts."""
        self.total_cost: Cost | None = None
        """Of a batch job: what its requests cost, each priced by itself."""
        self.by_model: tuple[tuple[str, Usage], ...] = ()
        """Tokens of each request inside the call with the model that took it, where the provider reports several;
        they may be more than ``usage``, which leaves some out."""
        self.pending = False
        """The reply comes later (background response): missing usage is not an omission."""
        self.chunk_times: ChunkTimes | None = None
        """Set iff the call streams."""
        self.retries, self.attempts, self.rate_limits = _NO_RETRIES, _NO_ATTEMPTS, _NO_LIMITS
        """Why attempts inside the client failed, and the same with what is known of each."""
        self.content: ContentSource | None = None
        self.outcome: Outcome | None = None
        self.error: BaseException | None = None
        self.error_kind: ErrorKind | None = None
        self.start_ns = self.start_unix_ns = self.end_ns = 0
        self.freed: Callable[[Draft], None] | None = None
        """Set while the call is open: called with a draft that nobody can close any more."""
        self.ended = False
        self.counted = True
        """False: the call is recorded by its span only (an enclosing call counts it)."""
        self.encloses_call = False
        """An inference ran inside this one, so this one must not be counted."""
        self.hidden = False
        """Its span does not become the current one: what happens inside is not to be parented to it."""
        self.leaf = False
        """Made by a patched client: another call seen inside is this very one, seen lower down."""
        self.link: Any = None
        """Span context that its span points to, beside its parent."""
        self.key: tuple[int, int] | None = None
        """Trace and span id, while spans of other instrumentations are watched."""
        self.parent: Any = None
        """The draft, or the open span of another instrumentation, that this call began in."""
        self.beside: tuple[tuple[int, int], ...] = ()
        """Open spans of other instrumentations that began in the same context: one that was never made the current
        span may stand for this very call."""
        self.native: Any = None
        """The open span of another instrumentation that carries this call, in place of one of ours."""
        self.exchange: Any = None
        """What the source keeps about the call until it has ended: an `Exchange` of its own kind."""
        self.around: tuple[Draft | None, Any] | None = None
        """Current call and context before this one was activated."""
        self.bound: Mapping[str, str] = _NOTHING
        self.conversation_id = self.agent = self.error_type = ""
        self.agent_calls = self.tool_calls = 0
        self.stages_total_s = 0.0
        self.stages: dict[str, float] | None = None
        """Seconds per stage name, on the draft that encloses the stages."""
        self.opening: Mapping[str, AttributeValue] = _NOTHING
        """What policy admitted at the start: the span's first attributes."""
        self.stream_state: Any = None
        """What the format kept of the stream."""
        self.background = False
        """The provider says that the response is made in the background."""
        self.span: Any = None
        """The open span that work inside of the call is parented to."""
        self.ids: Any = None
        """Its `SpanContext`: a tuple that begins with trace id and span id."""
        self.tokens: dict[Any, Any] = {}
        """What each sink's ``open`` returned, by sink: its ``close`` takes it from here."""

    def __del__(self) -> None:
        freed = getattr(self, "freed", None)  # it may have been interrupted before it was complete
        if freed is not None:
            freed(self)


class ContentSource:
    """Where the messages of a call can be read from, if anybody wants them.

    Nothing here is touched while content capture is off.
    """

    __slots__ = ("arguments", "output", "reader", "request", "response", "result")

    def __init__(self, reader: Any = None, request: Any = None) -> None:
        self.reader = reader
        """Format with ``read_content(request, response) -> Content``; None when unknown."""
        self.request = request
        self.response: Any = None
        self.output: Any = None
        """Output messages folded from a stream."""
        self.arguments: Any = None
        """Arguments of a tool call."""
        self.result: Any = None
        """Result of a tool call."""


class Content(NamedTuple):
    """Messages in the conventions' structure (plain lists and dicts), before policy."""

    system_instructions: list[Any] | None = None
    input_messages: list[Any] | None = None
    output_messages: list[Any] | None = None
    tool_definitions: list[Any] | None = None


class Call(NamedTuple):
    """One ended call: redacted, truncated, priced, bounded. Sinks render it, nothing else."""

    operation: str
    kind: Literal["client", "internal"]
    role: Literal["client", "server"]
    span_name: str
    provider: str
    request_model: str
    response_model: str
    name: str
    outcome: Outcome
    error_type: str
    error_kind: ErrorKind | None
    error_message: str
    """Redacted text of the exception; "" while content is off or when there is none."""
    error_stack: str
    """Redacted stack of the exception, under the same rule."""
    start_unix_ns: int
    start_ns: int
    duration_s: float
    usage: Usage | None
    cost: Cost | None
    model_call: bool
    """The operation calls a model: requests, tokens and cost apply."""
    counted: bool
    """False: no requests, tokens or cost of this call are counted."""
    pending: bool
    retries: tuple[ErrorKind, ...]
    rate_limits: tuple[RateLimit, ...]
    chunk_times: ChunkTimes | None
    opening: Mapping[str, AttributeValue]
    """Facts that were on the span from its start, under their conventional names."""
    closing: Mapping[str, AttributeValue]
    """Facts added at the end. Span and log line show both parts, and nothing else."""
    content: Mapping[str, str]
    """Content attributes as JSON text; empty unless capture is on."""
    server_address: str
    server_port: int
    dimensions: tuple[str, ...]
    """Values of the configured metric dimensions, in their order."""
    agent: str
    agent_calls: int
    tool_calls: int
    trace_id: str
    """32 hexadecimal digits; "" without a span."""
    span_id: str
    sampled: bool
    bound: Mapping[str, str]
    """Values bound by `context`, redacted."""
    background_id: str
    """Set on a poll that brought the tokens of a background response; without usage nobody knows whether they count."""
    vendor_request_id: str
    """Always on the log line; on the span only where the call was not ok, to keep spans small."""
    unpriced: UnpricedReason | None = None
    """Why there is no cost; None where there is one, or nothing to price."""
    bill: Bill | None = None
    """What the provider reported to have charged."""
    list_cost: Cost | None = None
    """What the price table says where the provider reported a bill, to compare."""
    server_tools: Mapping[str, int] = MappingProxyType({})
    """Calls of tools that the provider ran, by tool."""
    tokens: TokenBuckets | None = None
    """The usage of a counted call in disjoint buckets."""
    batch: Literal["", "line", "spent"] = ""
    """``line``: a request of a batch job, which is counted and has no latency; ``spent``: it has been counted
    before, and brings its tokens and cost."""
    attempts: tuple[Attempt, ...] = ()
    """Failed attempts inside the client, each of which was followed by another one."""
