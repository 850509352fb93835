"""Parts of PromQL over our metrics, in the names of one profile and with short labels."""

from __future__ import annotations

from trisignal import semconv as names
from trisignal.operate.objectives import Plan

SHORT = {"model": names.REQUEST_MODEL, "provider": names.PROVIDER}
"""Labels of recorded series, and the attributes they stand for."""


def label(attribute: str) -> str:
    """The Prometheus label of an attribute."""
    return attribute.replace(".", "_")


def bound(value: float) -> str:
    """A matcher of one bucket: clients write ``5.0``, translations from OpenTelemetry ``5``."""
    text = f"{value:g}"
    return f'le=~"{text}(\\\\.0)?"' if value == int(value) else f'le="{text}"'


def one_of(values: tuple[str, ...]) -> str:
    """A matcher's value for any of some plain words."""
    return "|".join(values)


class Queries:
    """Writes queries for one plan.

    Args:
        plan: Profile, prefix and dimensions.
    """

    def __init__(self, plan: Plan) -> None:
        self._prefix = plan.metric_prefix
        self._metrics = names.profile(plan.metric_profile)
        self.dimensions = plan.dimensions
        self.by = ("model", "provider", *plan.dimensions)
        """Labels of the series that are recorded by default."""

    def name(self, key: str, suffix: str = "") -> str:
        """Prometheus name of a metric by its key in `semconv`."""
        return f"{self._prefix}{self._metrics[key].prometheus_name}{suffix}"

    def rate(self, key: str, window: str, matcher: str = "", suffix: str = "") -> str:
        """Rate of a counter, or of a part of a histogram."""
        return f"rate({self.name(key, suffix)}{{{matcher}}}[{window}])" if matcher else (
            f"rate({self.name(key, suffix)}[{window}])"
        )  # fmt: skip

    def short(self, vector: str, *more: str, by: tuple[str, ...] | None = None) -> str:
        """Sum of a vector by short labels.

        Args:
            vector: Query whose series have the conventions' labels.
            *more: Further labels to keep, as they are called in the vector.
            by: Short labels, where not the usual ones.
        """
        kept = self.by if by is None else by
        for short in kept:
            if short in SHORT:
                vector = f'label_replace({vector}, "{short}", "$1", "{label(SHORT[short])}", "(.*)")'
        return f"sum by ({', '.join((*kept, *more))}) ({vector})"

    def quantile(self, q: float, key: str, window: str, matcher: str = "", by: tuple[str, ...] | None = None) -> str:
        """A quantile over the buckets of a histogram, by short labels."""
        return f"histogram_quantile({q:g}, {self.short(self.rate(key, window, matcher, '_bucket'), 'le', by=by)})"

    def ratio(self, part: str, whole: str) -> str:
        """Part of a whole: 0 where only the part is missing, nothing where nothing happened."""
        return f"(({part}) or ({whole}) * 0) / (({whole}) > 0)"

    def mean(self, key: str, window: str, matcher: str = "", *more: str, by: tuple[str, ...] | None = None) -> str:
        """Mean of a histogram's observations."""
        total = self.short(self.rate(key, window, matcher, "_sum"), *more, by=by)
        count = self.short(self.rate(key, window, matcher, "_count"), *more, by=by)
        return f"{total} / ({count} > 0)"
