"""What a source returns: spans, scores, log lines and totals, with units in their names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

T = TypeVar("T", covariant=True)

_NOTHING: Mapping[str, Any] = {}


@dataclass(frozen=True)  # with slots, `Rows[X](...)` fails on Python 3.10 and 3.11
class Rows(Generic[T]):
    """Rows of one question, and whether they are all of them."""

    items: tuple[T, ...]
    partial: bool = False
    """The source stopped at a limit of rows or time: there is more than this."""
    sampled: bool = False
    """The source holds sampled spans only, so counts and sums are lower than the truth."""
    notes: tuple[str, ...] = ()
    """What could not be read, in words."""


@dataclass(frozen=True, slots=True)
class SpanRow:
    """One span: a model call, a stage, a tool, or a span of another instrumentation.

    An empty text means that nothing was recorded; ``None`` means the same for numbers.
    """

    trace_id: str
    """32 hexadecimal digits."""
    span_id: str
    """16 hexadecimal digits; "" for a span without an id."""
    parent_span_id: str
    """16 hexadecimal digits; "" for a root."""
    name: str
    """Name of the span, e.g. ``chat gpt-4o``."""
    start_unix_s: float
    duration_s: float
    operation: str = ""
    """``gen_ai.operation.name``, or ``stage``; "" for a span that is not about a model."""
    service: str = ""
    provider: str = ""
    model: str = ""
    """Model of the request."""
    response_model: str = ""
    outcome: str = "ok"
    """One of `trisignal.call.OUTCOMES`."""
    error_kind: str = ""
    """One of `trisignal.call.ERROR_KINDS`, or ""."""
    error_type: str = ""
    entity: str = ""
    """Name of the agent, tool, workflow, data source or stage that the span is about."""
    agent: str = ""
    tenant: str = ""
    user_id: str = ""
    request_id: str = ""
    conversation_id: str = ""
    prompt_name: str = ""
    prompt_version: str = ""
    input_tokens: int | None = None
    """Inclusive total."""
    cache_read_tokens: int | None = None
    """Part of ``input_tokens``."""
    cache_write_tokens: int | None = None
    """Part of ``input_tokens``."""
    output_tokens: int | None = None
    """Inclusive total."""
    reasoning_tokens: int | None = None
    """Part of ``output_tokens``."""
    cost_usd: float | None = None
    cache_saved_usd: float | None = None
    """What the tokens read from a cache would have cost more at the price of uncached input."""
    first_token_s: float | None = None
    """From the start to the first token."""
    quality: float | None = None
    """Lowest score of the span's evaluations, 0 to 1."""
    model_call: bool = False
    """A counted call to a model: requests, tokens and cost apply."""
    root: bool = False
    """The first span of its request in this program."""
    sampled: bool = True
    """Its span was exported, so that a trace backend has it as well."""
    attributes: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    """All recorded attributes; empty where the question did not ask for them."""

    @property
    def end_unix_s(self) -> float:
        """When the span ended."""
        return self.start_unix_s + self.duration_s


@dataclass(frozen=True, slots=True)
class Score:
    """One evaluation or one user's feedback."""

    evaluation: str
    """Name of the evaluation; ``user_feedback`` for feedback."""
    score: float | None
    """0 to 1, of which 1 is best unless `higher_is_better` is false; feedback counts 1, 0.5 or 0. None where only a
    label was recorded."""
    label: str = ""
    explanation: str = ""
    """Empty unless content is captured."""
    unix_s: float = 0.0
    """When it was recorded."""
    trace_id: str = ""
    span_id: str = ""
    higher_is_better: bool = True
    """False where a low score is good, as of ``toxicity``."""

    @property
    def goodness(self) -> float | None:
        """0 (worst) to 1 (best), whichever way is good; None where only a label was recorded."""
        return self.score if self.score is None or self.higher_is_better else 1 - self.score

    @property
    def rank(self) -> float:
        """What sorts the worst first, and those without a score last."""
        return 2.0 if self.goodness is None else self.goodness


@dataclass(frozen=True, slots=True)
class JudgedSpan:
    """A score and the span that it judges."""

    score: Score
    span: SpanRow | None
    """None while the span has not been stored."""


@dataclass(frozen=True, slots=True)
class ScoreGroup:
    """Scores of one evaluation, in one tenth, of one group."""

    evaluation: str
    tenth: int
    """0 for the worst, up to 0.1, …, 9 for the best, from 0.9 up to and including 1; `Score.goodness` counts."""
    key: tuple[str, ...] | None
    """Values of the dimensions asked for; None for scores without a known span."""
    judged: int
    total: float
    """Sum of the scores' goodness."""
    below: int
    """Scores whose goodness is under the threshold."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """One log record that was bound to a trace."""

    unix_s: float
    level: str
    """Name of the level, e.g. ``WARNING``."""
    logger: str
    message: str
    trace_id: str = ""
    span_id: str = ""
    fields: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)


@dataclass(frozen=True, slots=True)
class TraceRecord:
    """Everything that a source holds of one trace."""

    spans: tuple[SpanRow, ...]
    """With their attributes, by start."""
    scores: tuple[Score, ...] = ()
    logs: tuple[LogLine, ...] = ()
    partial: bool = False
    """The trace has more spans than the source returns."""
    sampled: bool = False
    """Spans of the trace may have been sampled out."""


@dataclass(frozen=True, slots=True)
class Total:
    """Sums over the spans of one group, and of one step of time where steps were asked for."""

    key: tuple[str, ...]
    """Values of the dimensions asked for, in their order."""
    step_unix_s: float | None
    """Start of the step; None for the whole window."""
    spans: int
    """Spans in the group: model calls, requests or all spans, as the question said."""
    errors: int = 0
    """Those with the outcome ``error``."""
    cancelled: int = 0
    abandoned: int = 0
    duration_s: float = 0.0
    """Sum of the durations."""
    p50_s: float | None = None
    """Quantiles of the duration, within 5 % of the value at that rank; None unless asked for."""
    p95_s: float | None = None
    p99_s: float | None = None
    first_token_s: float = 0.0
    """Sum of the times to the first token."""
    first_tokens: int = 0
    """Spans that had one."""
    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: float = 0.0
    wasted_usd: float = 0.0
    """Part of ``cost_usd`` spent on calls that were not ``ok``."""
    cache_saved_usd: float = 0.0
    unpriced: int = 0
    """Model calls with usage but without a known price: they add nothing to ``cost_usd``."""
    quality: float = 0.0
    """Sum of the quality of judged spans; 0 unless ``judged``."""
    judged: int = 0
    """Spans with a quality."""
    first_unix_s: float | None = None
    """Start of the first span of the group; None where the source does not know it."""
    last_unix_s: float | None = None
