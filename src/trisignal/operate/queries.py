"""Parts of PromQL over our metrics, in the names of one profile and with short labels."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from trisignal import semconv as names
from trisignal.operate.objectives import RulesPlan

SHORT = {"model": names.REQUEST_MODEL, "provider": names.PROVIDER}
"""Labels of recorded series, and the attributes they stand for."""


def label(attribute: str) -> str:
    """The Prometheus label of an attribute."""
    return attribute.replace(".", "_")


def raw(short: str) -> str:
    """The label of our metrics that a short label stands for."""
    return label(SHORT[short]) if short in SHORT else short


def bound(value: float) -> str:
    """A matcher of one bucket: clients write ``5.0``, translations from OpenTelemetry ``5``."""
    text = f"{value:g}"
    return f'le=~"{text}(\\\\.0)?"' if value == int(value) else f'le="{text}"'


def one_of(values: tuple[str, ...]) -> str:
    """A matcher's value for any of some plain words."""
    return "|".join(values)


def matcher(name: str, values: tuple[str, ...]) -> str:
    """A matcher of one label with any of some values, whatever stands in them."""
    if len(values) == 1:
        return f'{name}="{_quoted(values[0])}"'
    return f'{name}=~"{_quoted("|".join(map(re.escape, values)))}"'


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


class Where(NamedTuple):
    """Which series an alert is about: all, or those with some labels."""

    match: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def recorded(self, name: str, *matchers: str) -> str:
        """Selector of a recorded series, which has short labels."""
        return _selector(name, matchers, (matcher(key, values) for key, values in self.match))

    def metric(self, name: str, *matchers: str) -> str:
        """Selector of one of our metrics."""
        return _selector(name, matchers, (matcher(raw(key), values) for key, values in self.match))


def _selector(name: str, *groups: Iterable[str]) -> str:
    parts = [part for group in groups for part in group if part]
    return f"{name}{{{','.join(parts)}}}" if parts else name


EVERYWHERE = Where()


class Queries:
    """Writes queries for one plan.

    Args:
        plan: Profile, prefix, dimensions and labels of services.
    """

    def __init__(self, plan: RulesPlan) -> None:
        self._prefix = plan.metric_prefix
        self._metrics = names.profile(plan.metric_profile)
        self.dimensions = plan.dimensions
        self.source = plan.source_labels
        """Labels of a service."""
        self.by = ("model", "provider", *plan.dimensions)
        """Labels of the series that are recorded by default, beside those of the service."""

    def name(self, key: str, suffix: str = "") -> str:
        """Prometheus name of a metric by its key in `semconv`."""
        return f"{self._prefix}{self._metrics[key].prometheus_name}{suffix}"

    def has(self, key: str) -> bool:
        """Whether the profile has a metric."""
        return key in self._metrics

    def rate(self, key: str, window: str, matcher: str = "", suffix: str = "") -> str:
        """Rate of a counter, or of a part of a histogram."""
        return f"rate({_selector(self.name(key, suffix), (matcher,))}[{window}])"

    def increase(self, key: str, window: str, *matchers: str, suffix: str = "", where: Where = EVERYWHERE) -> str:
        """Growth of a counter, or of a part of a histogram."""
        return f"increase({where.metric(self.name(key, suffix), *matchers)}[{window}])"

    def labels(self, *by: str) -> str:
        """Labels of a service and some others, for ``by`` and ``on``."""
        return ", ".join((*self.source, *by))

    def short(self, vector: str, *more: str, by: tuple[str, ...] | None = None, over: str = "sum") -> str:
        """A vector aggregated by the labels of a service and short labels.

        Labels are renamed outside of the aggregation: there are few series left.

        Args:
            vector: Query whose series have the conventions' labels.
            *more: Further labels to keep, as they are called in the vector.
            by: Short labels, where not the usual ones.
            over: How series are put together.
        """
        return self._renamed(self._raw(vector, *more, by=by, over=over), self.by if by is None else by)

    def _raw(self, vector: str, *more: str, by: tuple[str, ...] | None, over: str = "sum") -> str:
        kept = self.by if by is None else by
        return f"{over} by ({self.labels(*map(raw, kept), *more)}) ({vector})"

    def _renamed(self, vector: str, kept: tuple[str, ...]) -> str:
        renamed = [short for short in kept if short in SHORT]
        for short in renamed:
            vector = f'label_replace({vector}, "{short}", "$1", "{raw(short)}", "(.*)")'
        return f"sum without ({', '.join(map(raw, renamed))}) ({vector})" if renamed else vector

    def quantile(self, q: float, key: str, window: str, matcher: str = "", by: tuple[str, ...] | None = None) -> str:
        """A quantile over the buckets of a histogram, by short labels."""
        buckets = self._raw(self.rate(key, window, matcher, "_bucket"), "le", by=by)
        return self._renamed(f"histogram_quantile({q:g}, {buckets})", self.by if by is None else by)

    def over_bound(self, key: str, window: str, bounds: tuple[float, ...], limit: float, matcher: str = "") -> str:
        """Observations per second over the highest bucket bound that is not above a limit."""
        at = max((value for value in bounds if value <= limit), default=bounds[0])
        also = f"{matcher}," if matcher else ""
        count = self.rate(key, window, matcher, "_count")
        under = self.rate(key, window, also + bound(at), "_bucket")
        return f"{self.short(count)} - {self.short(under)}"

    def ratio(self, part: str, whole: str) -> str:
        """Part of a whole: 0 where only the part is missing, nothing where nothing happened."""
        return f"(({part}) or ({whole}) * 0) / (({whole}) > 0)"

    def mean(self, key: str, window: str, matcher: str = "", *more: str, by: tuple[str, ...] | None = None) -> str:
        """Mean of a histogram's observations."""
        total = self.short(self.rate(key, window, matcher, "_sum"), *more, by=by)
        count = self.short(self.rate(key, window, matcher, "_count"), *more, by=by)
        return f"{total} / ({count} > 0)"


def enough(count: float) -> str:
    """A condition on an estimated number of events: rates of whole events are not whole."""
    return f"> {max(count - 0.5, 0):g}"


def too_few(count: float) -> str:
    """The opposite; for ``unless``, where an alert is to hold also if the events cannot be counted."""
    return f"<= {max(count - 0.5, 0):g}"
