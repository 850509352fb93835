"""The REST interface, version 1: the analyser's answers as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, NamedTuple, get_args

from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from trisignal.analysis import answers
from trisignal.analysis.analyzer import TraceAnalyzer
from trisignal.analysis.query import CONTEXT_PREFIX, DIMENSIONS, Subject
from trisignal.analysis.rows import LogLine, SpanRow
from trisignal.console import asked, exposition
from trisignal.errors import ConfigError, SourceError
from trisignal.watch.alert_history import History

MEASURES: tuple[answers.Measure, ...] = get_args(answers.Measure)


class Parameter(NamedTuple):
    """One parameter of a URL, as the OpenAPI document describes it."""

    name: str
    text: str
    schema: dict[str, Any]


class Route(NamedTuple):
    """One path and method."""

    path: str
    summary: str
    answer: Callable[[TraceAnalyzer, Request], Any]
    type: Any
    """Dataclass of the answer; ``str`` for plain text."""
    parameters: tuple[Parameter, ...] = ()


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a request was refused."""

    error: str


@dataclass(frozen=True, slots=True)
class HealthReport:
    """Whether the source answers, and what it holds."""

    status: str
    """``ok``, or ``failing``: then the HTTP status is 503."""
    source: str
    spans: int | None = None
    size_bytes: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Logs:
    """Log lines, newest first."""

    lines: tuple[LogLine, ...]
    partial: bool


@dataclass(frozen=True, slots=True)
class AlertRow:
    """One alert, active or past."""

    rule: str
    status: str
    """``firing`` or ``resolved``."""
    signal: str
    group: str
    value: float
    limit: float
    samples: int
    window_s: float
    started_unix_s: float
    ended_unix_s: float | None
    explanation: str
    """What carried the change when it began."""
    examples: tuple[str, ...]
    """Trace ids."""


@dataclass(frozen=True, slots=True)
class AlertList:
    """Alerts of the window, newest first; active ones whenever they began."""

    alerts: tuple[AlertRow, ...]


@dataclass(frozen=True, slots=True)
class SpanList:
    """Spans of one page, and the page that follows."""

    rows: tuple[SpanRow, ...]
    next_page: int | None
    coverage: answers.Coverage


_TEXT = {"type": "string", "maxLength": asked.LONGEST_VALUE}
_MOMENT = {**_TEXT, "examples": ["1h", "7d", "2026-11-30T08:00", "1796000000"]}
_WINDOW = (
    Parameter("since", "Start of the window: an age, a time (UTC) or Unix seconds. Default 24h.", _MOMENT),
    Parameter("until", "End of the window, exclusive. Default now.", _MOMENT),
)
_FILTERS = tuple(Parameter(name, f"Only spans with this {name.replace('_', ' ')}.", _TEXT) for name in DIMENSIONS)
_GROUPS = (*_WINDOW, *_FILTERS)
_REQUEST = Parameter("request_id", "Only lines of this request.", _TEXT)
_LIMIT = Parameter("limit", "Most rows.", {"type": "integer", "minimum": 1, "maximum": asked.MOST_ROWS})
_OF = Parameter("of", "Model calls, first spans of requests, or all spans.", {"enum": ["calls", "requests", "spans"]})
_BY = Parameter("by", "One to three dimensions, separated by commas.", _TEXT)
_SOURCE = Parameter(
    "source", "Add up the spans, or all calls by metrics where the console has them.", {"enum": ["spans", "metrics"]}
)
_STEP = Parameter(
    "step_s", "Length of steps of time, in seconds.", {"type": "integer", "minimum": 1, "maximum": 604800}
)
_ROWS = (
    *_WINDOW, *_FILTERS, _LIMIT,
    Parameter("page", "Number of the page, from 1.", {"type": "integer", "minimum": 1, "maximum": 10_000}),
    Parameter("order", "What to sort by.", {"enum": list(asked.ORDERS)}),
    Parameter("direction", "Smallest or largest first.", {"enum": ["asc", "desc"]}),
    Parameter("text", "Only spans whose attributes contain this text.", _TEXT),
)  # fmt: skip
_SCORES = (
    Parameter("threshold", "Scores below it are low, 0 to 1.", {"type": "number", "minimum": 0, "maximum": 1}),
    Parameter("evaluation", "Only scores of this evaluation.", _TEXT),
)


def _asked(request: Request) -> asked.Asked:
    return asked.read(request.query_params, since="24h")


def _rows(analyzer: TraceAnalyzer, request: Request, of: Subject | None) -> SpanList:
    wanted = _asked(request)
    found = analyzer.spans(
        of=of or wanted.of,
        order=wanted.order,
        descending=wanted.direction == "desc",
        text=wanted.text,
        limit=wanted.limit,
        offset=(wanted.page - 1) * wanted.limit,
        **wanted.arguments(),
    )
    return SpanList(found.rows, wanted.page + 1 if len(found) == wanted.limit else None, found.coverage)


def _traces(analyzer: TraceAnalyzer, request: Request) -> SpanList:
    return _rows(analyzer, request, "requests")


def _calls(analyzer: TraceAnalyzer, request: Request) -> SpanList:
    return _rows(analyzer, request, None)


def _trace(analyzer: TraceAnalyzer, request: Request) -> answers.Trace:
    return analyzer.trace(request.path_params["trace_id"])


def _cost(analyzer: TraceAnalyzer, request: Request) -> answers.CostAnswer:
    parameters = request.query_params
    by = asked.names("by", parameters.get("by"), "model")
    return analyzer.cost(by, step_s=_step(request), **_asked(request).arguments())


def _step(request: Request) -> float | None:
    given = request.query_params.get("step_s")
    return float(asked.whole("step_s", given, 60, 604_800)) if given else None


def _errors(analyzer: TraceAnalyzer, request: Request) -> answers.Errors:
    wanted = _asked(request)
    by = asked.names("by", request.query_params.get("by"), "provider,error_kind")
    return analyzer.errors(by, of=wanted.of, limit=wanted.limit, **wanted.arguments())


def threshold_of(request: Request) -> float:
    """The parameter ``threshold``, 0 to 1.

    Raises:
        ConfigError: It is something else.
    """
    given = request.query_params.get("threshold") or "0.5"
    try:
        value = float(given)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise ConfigError("threshold", given[:20], "a number from 0 to 1")
    return value


def _quality(analyzer: TraceAnalyzer, request: Request) -> answers.Quality:
    evaluation = request.query_params.get("evaluation", "")
    by = asked.names("by", request.query_params.get("by"), "model")
    wanted = _asked(request).arguments()
    return analyzer.quality(by, threshold=threshold_of(request), evaluation=evaluation, **wanted)


def measure_of(request: Request) -> answers.Measure | None:
    """The parameter ``measure``; None when it is left out.

    Raises:
        ConfigError: There is no such measure.
    """
    given = request.query_params
    return asked.choice("measure", given, MEASURES, MEASURES[0]) if given.get("measure") else None  # pyright: ignore[reportReturnType]


def _compare(analyzer: TraceAnalyzer, request: Request) -> answers.Comparison:
    wanted = _asked(request)
    earlier = asked.earlier(request.query_params, wanted)
    later = wanted.window.since_unix_s, wanted.window.until_unix_s
    return analyzer.compare(earlier, later, measure=measure_of(request), **wanted.where)


SOURCES = ("spans", "metrics")


def _metrics(analyzer: TraceAnalyzer, request: Request) -> answers.Totals:
    wanted = _asked(request)
    by = asked.names("by", request.query_params.get("by"), "operation,provider,model")
    source = request.query_params.get("source") or SOURCES[0]
    if source not in SOURCES:
        raise ConfigError("source", source[:40], ", ".join(SOURCES))
    if source == "metrics":
        if analyzer.metrics is None:
            raise ConfigError("source", source, f"{SOURCES[0]}; {source} where the console has --metrics URL")
        return analyzer.measured(by, quantiles=True, **wanted.arguments())
    return analyzer.totals(by, of=wanted.of, step_s=_step(request), quantiles=True, **wanted.arguments())


def _prometheus(analyzer: TraceAnalyzer, request: Request) -> str:
    return exposition.text_of(analyzer, _asked(request))


def _logs(analyzer: TraceAnalyzer, request: Request) -> Logs:
    wanted = _asked(request)
    found = analyzer.logs(limit=wanted.limit, request_id=wanted.where.get("request_id"), **wanted.window_arguments())
    return Logs(found.items, found.partial)


def alerts(analyzer: TraceAnalyzer, request: Request) -> AlertList:
    """Active alerts, and those that ended in the window."""
    history: History | None = request.app.state.history
    since = _asked(request).window.since_unix_s
    kept = history.alerts(since) if history is not None else []
    return AlertList(tuple(AlertRow(**one._asdict()) for one in kept))


def health(analyzer: TraceAnalyzer, request: Request) -> HealthReport:
    """What the source holds."""
    held = analyzer.holding()
    return HealthReport("ok", held.name, held.spans, held.size_bytes, held.notes)


_BEFORE = (
    Parameter("before_since", "Start of the earlier window; the window right before when omitted.", _MOMENT),
    Parameter("before_until", "End of the earlier window.", _MOMENT),
    Parameter("measure", "What to explain; what changed most when omitted.", {"enum": list(MEASURES)}),
)
ENDPOINTS = (
    Route("/v1/traces", "Requests: the first span of each", _traces, SpanList, _ROWS),
    Route("/v1/traces/{trace_id}", "One trace as a tree with self times", _trace, answers.Trace),
    Route("/v1/calls", "Calls to models", _calls, SpanList, (*_ROWS, _OF)),
    Route("/v1/cost", "Cost, waste, savings and tokens by group", _cost, answers.CostAnswer, (*_GROUPS, _BY, _STEP)),
    Route("/v1/errors", "Failed calls by group", _errors, answers.Errors, (*_GROUPS, _BY, _OF, _LIMIT)),
    Route("/v1/quality", "Scores by group", _quality, answers.Quality, (*_GROUPS, _BY, *_SCORES)),
    Route("/v1/compare", "What changed between two windows", _compare, answers.Comparison, (*_GROUPS, *_BEFORE)),
    Route("/v1/metrics", "Totals by group", _metrics, answers.Totals, (*_GROUPS, _BY, _OF, _STEP, _SOURCE)),
    Route("/v1/metrics/prometheus", "Totals of the window in Prometheus' text format", _prometheus, str, _GROUPS),
    Route("/v1/alerts", "Alerts over the store, active and past", alerts, AlertList, _WINDOW),
    Route("/v1/logs", "Log lines that were bound to a trace", _logs, Logs, (*_WINDOW, _LIMIT, _REQUEST)),
    Route("/health", "Whether the source answers", health, HealthReport),
)  # fmt: skip


@cache
def adapter(kind: Any) -> TypeAdapter[Any]:
    """What writes and describes an answer; made when it is first needed."""
    return TypeAdapter(kind)


def as_json(kind: Any, answer: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An answer as JSON: NaN and infinity are null, times are ISO 8601."""
    try:
        body = adapter(kind).dump_json(answer)
    except Exception:  # text that is not Unicode, or a value of another program's that has no JSON form
        body = json.dumps(asdict(answer), default=str).encode()
    return Response(body, status, headers, media_type="application/json")


def refusal(error: ConfigError) -> str:
    """Which parameter is wrong, and what is allowed."""
    return f"{error.setting}={str(error.value)[:80]!r} cannot be used; allowed: {error.allowed}"


def problem(error: Exception, request: Request) -> Response:
    """The answer to a request that cannot be served: 400 for wrong parameters, 404, or 503 for the source."""
    if isinstance(error, ConfigError):
        return as_json(Problem, Problem(refusal(error)), 400)
    assert isinstance(error, SourceError)
    if request.url.path == "/health":
        return as_json(HealthReport, HealthReport("failing", error.source, notes=(error.problem,)), 503)
    return as_json(Problem, Problem(error.problem), 404 if "trace_id" in request.path_params else 503)


def _check_names(endpoint: Route, request: Request) -> None:
    """A misspelt filter would answer with everything."""
    known = [parameter.name for parameter in endpoint.parameters]
    filtered = "model" in known
    for name, value in request.query_params.items():
        if name not in known and not (filtered and name.startswith(CONTEXT_PREFIX)):
            if not endpoint.path.startswith("/v1/"):
                continue  # probes of health checkers carry what they like
            allowed = ", ".join([*known, *([f"{CONTEXT_PREFIX}NAME"] if filtered else [])])
            raise ConfigError(name[:40], value[:40], f"these parameters: {allowed}" if allowed else "no parameter")


def serve(endpoint: Route, analyzer: TraceAnalyzer, request: Request) -> Response:
    """Answer one request."""
    try:
        _check_names(endpoint, request)
        answer = endpoint.answer(analyzer, request)
    except (ConfigError, SourceError) as error:
        return problem(error, request)
    if endpoint.type is str:
        return PlainTextResponse(answer, media_type="text/plain; version=0.0.4")
    return as_json(endpoint.type, answer)
