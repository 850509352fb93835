"""Queries over what the reader has chosen: service, provider, model and dimensions."""

from __future__ import annotations

from trisignal import semconv as names
from trisignal.operate.dashboards.pages import Variable
from trisignal.operate.objectives import RulesPlan
from trisignal.operate.queries import Queries, label, one_of

RATE = "$__rate_interval"
RANGE = "$__range"
HOUR = "1h"
"""Window where events are few: cost, evaluations, feedback."""
SERVICE = "job"
"""Label that Prometheus gives to a scraped service, and its OTLP receiver to ``service.name``."""
NAMED = f'{label(names.REQUEST_MODEL)}!=""'
"""What a server is asked for is known only when the request has been read."""
OK = f'{label(names.OUTCOME)}="ok"'
ERROR = f'{label(names.OUTCOME)}="error"'
ENDED = f'{label(names.OUTCOME)}=~"ok|error"'
"""Calls that the application cancelled or left say nothing about the provider."""
INFERENCE = f'{label(names.OPERATION)}=~"{one_of(tuple(sorted(names.INFERENCE)))}"'
"""The metric of durations may hold embeddings and retrievals too, which are much faster."""
ANSWERED = f"{INFERENCE},{OK}"
CHOSEN = {names.PROVIDER: "provider", names.REQUEST_MODEL: "model"}
"""Attributes that variables are about."""


def legend(*attributes: str) -> str:
    """A legend of labels."""
    return " ".join(f"{{{{{label(attribute)}}}}}" for attribute in attributes)


class Selection:
    """Writes the queries of one plan's dashboards.

    Args:
        plan: Profile, prefix, dimensions and objectives.
    """

    def __init__(self, plan: RulesPlan) -> None:
        self.plan = plan
        self._queries = Queries(plan)
        self._metrics = names.profile(plan.metric_profile)

    def series(self, key: str, matcher: str = "", suffix: str = "") -> str:
        """Selector of a metric's chosen series.

        Args:
            key: Key of the metric in `semconv`.
            matcher: Further matchers.
            suffix: Part of a histogram, e.g. ``_bucket``.
        """
        metric = self._metrics[key]
        matchers = [f'{SERVICE}=~"$service"']
        # A matcher on a label that a metric lacks would hide all of it once something is chosen.
        matchers += [f'{label(name)}=~"${chosen}"' for name, chosen in CHOSEN.items() if name in metric.labels]
        if metric.dimensioned:
            matchers += [f'{name}=~"${name}"' for name in self.plan.dimensions]
        if matcher:
            matchers.append(matcher)
        return f"{self._queries.name(key, suffix)}{{{','.join(matchers)}}}"

    def sum(self, key: str, *by: str, matcher: str = "", suffix: str = "", window: str = RATE) -> str:
        """Rate of a counter, or of a part of a histogram, summed by attributes."""
        return f"{_over('sum', by)}(rate({self.series(key, matcher, suffix)}[{window}]))"

    def grown(self, key: str, *by: str, matcher: str = "", suffix: str = "", window: str = RANGE) -> str:
        """Growth of a counter, or of a part of a histogram, summed by attributes."""
        return f"{_over('sum', by)}(increase({self.series(key, matcher, suffix)}[{window}]))"

    def gauge(self, key: str, *by: str, over: str = "sum", matcher: str = "", within: str = "") -> str:
        """A gauge, aggregated by attributes.

        Args:
            key: Key of the metric in `semconv`.
            *by: Attributes to keep.
            over: How series are put together.
            matcher: Further matchers.
            within: ``avg`` or ``max`` between two points of the chart; "": the last value.
        """
        series = self.series(key, matcher)
        return f"{_over(over, by)}({f'{within}_over_time({series}[{RATE}])' if within else series})"

    def quantile(self, q: float, key: str, *by: str, matcher: str = "", window: str = RATE) -> str:
        """A quantile over the buckets of a histogram."""
        buckets = self.sum(key, *by, "le", matcher=matcher, suffix="_bucket", window=window)
        return f"histogram_quantile({q:g}, {buckets})"

    def mean(self, key: str, *by: str, matcher: str = "", window: str = RATE) -> str:
        """Mean of a histogram's observations."""
        total, count = (self.sum(key, *by, matcher=matcher, suffix=s, window=window) for s in ("_sum", "_count"))
        return f"{total} / ({count} > 0)"

    def earlier(self, expr: str, window: str, weeks: int) -> str:
        """The same query some weeks ago; all its rates are of one window."""
        return expr.replace(f"[{window}]", f"[{window}] offset {weeks}w")

    def ratio(self, part: str, whole: str) -> str:
        """Part of a whole by the same labels: 0 where only the part is missing."""
        return self._queries.ratio(part, whole)

    def failing(self, *by: str, window: str = RATE) -> str:
        """Share of the ended calls that failed."""
        error, ended = (self.sum("requests", *by, matcher=which, window=window) for which in (ERROR, ENDED))
        return self.ratio(error, ended)

    def has(self, key: str) -> bool:
        """Whether the profile has a metric."""
        return key in self._metrics

    def output_length(self) -> tuple[str, str]:
        """Key and matcher of the histogram of output tokens."""
        if self.has("tokens"):
            return "tokens", f'{label(names.TOKEN_TYPE)}="output"'
        return "output_tokens", ""

    def input_length(self) -> tuple[str, str]:
        """Key and matcher of the histogram of input tokens."""
        if self.has("tokens"):
            return "tokens", f'{label(names.TOKEN_TYPE)}="input"'
        return "input_tokens", ""

    def variables(self) -> tuple[Variable, ...]:
        """What every dashboard lets the reader choose."""
        calls, chosen = self._queries.name("requests"), f'{SERVICE}=~"$service"'
        found = [Variable("service", "Service", calls, SERVICE)]
        for attribute, name in CHOSEN.items():
            found.append(Variable(name, name.capitalize(), f"{calls}{{{chosen}}}", label(attribute)))
            chosen += f',{label(attribute)}=~"${name}"'
        series = f"{calls}{{{chosen}}}"
        cohorts = (Variable(name, name.replace("_", " ").capitalize(), series, name) for name in self.plan.dimensions)
        return (*found, *cohorts)


def _over(aggregation: str, by: tuple[str, ...]) -> str:
    return f"{aggregation} by ({', '.join(map(label, by))}) " if by else aggregation
