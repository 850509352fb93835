"""What the analyser answers: plain records with units in their names, each with what it covers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from trisignal.analysis import tables
from trisignal.analysis.rows import JudgedSpan, LogLine, Score, SpanRow, Total

Measure = Literal[
    "latency", "request_latency", "first_token", "error_rate", "request_error_rate", "cost", "tokens", "quality",
    "calls",
]  # fmt: skip
"""What `compare` can explain: mean seconds of model calls or of requests, share of errors, US dollars or tokens per
call, mean score, number of calls."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """What an answer is about, and what may be missing from it."""

    source: str
    """The folder, or the URL without credentials."""
    since: datetime | None
    """Start of the window (UTC); None for an answer about one trace."""
    until: datetime | None
    """End of the window (UTC), exclusive."""
    partial: bool = False
    """A limit of rows or time was reached: there is more than the answer holds."""
    sampled: bool = False
    """The source holds sampled spans only: counts and sums are lower than the truth."""
    notes: tuple[str, ...] = ()
    """What else limits the answer, in words."""


@dataclass(frozen=True, slots=True)
class CostShare:
    """Time of one kind of work inside a request."""

    name: str
    """Stage, tool, model or span name."""
    operation: str
    spans: int
    self_s: float
    """Seconds in which this work ran and nothing inside it did. Parallel work counts each for itself, so
    shares of a request with parallel work add up to more than its duration."""
    share: float
    """``self_s`` as a part of all self times of the request, 0 to 1."""


@dataclass(frozen=True, slots=True)
class SlowSpan:
    """A slow call or request, and where its time went."""

    span: SpanRow
    root: SpanRow | None
    """First span of its request; None when it is the span itself."""
    breakdown: tuple[CostShare, ...]
    """Largest first."""


@dataclass(frozen=True, slots=True)
class Slowest:
    """Answer of `TraceAnalyzer.slowest`, slowest first."""

    items: tuple[SlowSpan, ...]
    threshold_s: float | None
    """Duration at the requested percentile; None without one."""
    coverage: Coverage


@dataclass(frozen=True, slots=True)
class LowestQuality:
    """Answer of `TraceAnalyzer.lowest_quality`, worst first."""

    items: tuple[JudgedSpan, ...]
    judged: int
    """Scores in the window, of any height."""
    mean: float | None
    """Mean of their goodness, see `Score.goodness`; None without any."""
    coverage: Coverage


@dataclass(frozen=True, slots=True)
class QualityGroup:
    """Scores of one group."""

    key: tuple[str, ...]
    judged: int
    mean: float
    below: int
    """Scores under the threshold."""
    examples: tuple[str, ...]
    """Trace ids of the worst."""


@dataclass(frozen=True, slots=True)
class Quality:
    """Answer of `TraceAnalyzer.quality`: how scores are spread, and over whom."""

    evaluations: tuple[str, ...]
    """Names of the evaluations in the window."""
    histogram: tuple[int, ...]
    """Scores per tenth: 0 up to 0.1, …, 0.9 up to and including 1."""
    groups: tuple[QualityGroup, ...]
    """Lowest mean first."""
    by: tuple[str, ...]
    coverage: Coverage


@dataclass(frozen=True, slots=True)
class ErrorGroup:
    """Failed calls of one group."""

    key: tuple[str, ...]
    errors: int
    calls: int
    """All calls of the group's dimensions apart from those of the error itself."""
    rate: float
    """``errors / calls``."""
    first: datetime | None
    """Start of the first failed call in the window."""
    last: datetime | None
    wasted_usd: float
    examples: tuple[str, ...]
    """Trace ids, latest first."""


@dataclass(frozen=True, slots=True)
class Errors:
    """Answer of `TraceAnalyzer.errors`, most errors first."""

    groups: tuple[ErrorGroup, ...]
    by: tuple[str, ...]
    errors: int
    calls: int
    coverage: Coverage


@dataclass(frozen=True, slots=True)
class CostAnswer:
    """Answer of `TraceAnalyzer.cost`, highest cost first."""

    groups: tuple[Total, ...]
    total: Total
    by: tuple[str, ...]
    step_s: float | None
    coverage: Coverage

    def to_csv(self) -> str:
        """The groups as CSV text with a header; cells that a spreadsheet would run as a formula are escaped."""
        return tables.totals_csv(self.groups, self.by, self.step_s is not None)

    def to_focus(self) -> str:
        """The groups as CSV text in the columns of FOCUS 1.2, the open format of cloud bills."""
        since, until = self.coverage.since, self.coverage.until
        assert since is not None
        assert until is not None
        return tables.focus_csv(self.groups, self.by, self.step_s, (since, until))


@dataclass(frozen=True, slots=True)
class Totals:
    """Answer of `TraceAnalyzer.totals`."""

    groups: tuple[Total, ...]
    """By step of time, then by key."""
    by: tuple[str, ...]
    step_s: float | None
    coverage: Coverage


@dataclass(frozen=True, slots=True)
class Spans:
    """Rows of spans, and ways to take them elsewhere."""

    rows: tuple[SpanRow, ...]
    coverage: Coverage

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[SpanRow]:
        return iter(self.rows)

    def to_csv(self) -> str:
        """The rows as CSV text with a header; cells that a spreadsheet would run as a formula are escaped."""
        return tables.spans_csv(self.rows)

    def to_pandas(self) -> object:
        """The rows as a ``pandas.DataFrame``.

        Raises:
            SourceError: pandas is not installed.
        """
        return tables.frame(self.rows, "pandas")

    def to_polars(self) -> object:
        """The rows as a ``polars.DataFrame``.

        Raises:
            SourceError: polars is not installed.
        """
        return tables.frame(self.rows, "polars")

    def to_parquet(self, path: str) -> None:
        """Write the rows to a Parquet file.

        Raises:
            SourceError: pyarrow is not installed.
        """
        tables.write_parquet(self.rows, path)


@dataclass(frozen=True, slots=True)
class Found:
    """Answer of `TraceAnalyzer.find`: everything that belongs to what was looked for."""

    spans: tuple[SpanRow, ...]
    """Newest first."""
    logs: tuple[LogLine, ...]
    trace_ids: tuple[str, ...]
    """Newest first."""
    coverage: Coverage


@dataclass(frozen=True, slots=True)
class CallPart:
    """A part of a model call's duration, as its server reported it."""

    name: str
    """``attempts`` (earlier ones, with their waits), ``network`` (proxies and the client included), ``queue``,
    ``load``, ``prefill``, ``decode``, ``inference`` (prefill and decode, where the server has no more), ``server``
    (whatever else it did)."""
    duration_s: float


@dataclass(frozen=True, slots=True)
class Node:
    """A span in the tree of its trace."""

    span: SpanRow
    children: tuple[Node, ...]
    """By start."""
    self_s: float
    """Duration less the union of the children's intervals: parallel children are not added up."""
    offset_s: float
    """Start, counted from the start of the trace."""
    scores: tuple[Score, ...] = ()
    parts: tuple[CallPart, ...] = ()
    """Of a call whose server reported times, in its reply or as a span below: where its duration went."""


@dataclass(frozen=True, slots=True)
class Trace:
    """Answer of `TraceAnalyzer.trace`: one trace as a tree."""

    trace_id: str
    roots: tuple[Node, ...]
    """More than one where a parent is missing, or belongs to a program that is not recorded."""
    start_unix_s: float
    duration_s: float
    """First start to last end."""
    breakdown: tuple[CostShare, ...]
    """Self times by kind of work, largest first."""
    calls: int
    errors: int
    cost_usd: float
    input_tokens: int
    output_tokens: int
    logs: tuple[LogLine, ...]
    coverage: Coverage

    def nodes(self) -> Iterator[tuple[int, Node]]:
        """Every node with its depth, parents before children, in the order of a waterfall."""
        waiting = [(0, node) for node in reversed(self.roots)]
        while waiting:
            depth, node = waiting.pop()
            yield depth, node
            waiting.extend((depth + 1, child) for child in reversed(node.children))


@dataclass(frozen=True, slots=True)
class Contribution:
    """How much one group carries of a change; contributions of one dimension add up to the change."""

    dimension: str
    value: str
    before: float | None
    """The measure within the group, before; None where it had no calls."""
    after: float | None
    calls_before: int
    calls_after: int
    rate: float
    """Part of the change as the group itself became different (slower, dearer, worse)."""
    mix: float
    """Part of the change as the group's share of all calls became different."""
    total: float
    """``rate + mix``, in the unit of the measure."""
    share: float
    """``total`` as a share of the whole change; may exceed 1 where other groups changed the other way."""
    examples: tuple[str, ...] = ()
    """Trace ids of the later window that show it."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Answer of `TraceAnalyzer.compare`."""

    measure: Measure
    before: float | None
    """The measure over all calls, before; None without calls."""
    after: float | None
    change: float
    """``after - before``, in the unit of the measure."""
    calls_before: int
    calls_after: int
    causes: tuple[Contribution, ...]
    """What explains the change best, over all dimensions, best first."""
    by_dimension: tuple[tuple[str, tuple[Contribution, ...]], ...] = field(default=())
    """For each dimension all its groups, largest contribution first; they add up to ``change``."""
    coverage_before: Coverage | None = None
    coverage: Coverage | None = None
    """Of the later window."""
