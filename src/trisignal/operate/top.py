"""What happens per model now: the difference of two scrapes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from trisignal import semconv as names
from trisignal.operate.queries import label
from trisignal.operate.scrape import Scrape, Scraped, quantile

_HOUR_S = 3600.0
_PROVIDER, _MODEL, _OUTCOME = label(names.PROVIDER), label(names.REQUEST_MODEL), label(names.OUTCOME)
_TYPE = label(names.TOKEN_TYPE)

Key = tuple[str, str]


class ModelRates(NamedTuple):
    """One model between two scrapes; None where nothing was observed."""

    provider: str
    model: str
    requests_per_s: float
    """Ended calls of any outcome."""
    error_ratio: float | None
    """Share of errors among calls that succeeded or failed."""
    p50_s: float | None
    """Median duration of successful calls, in seconds."""
    p95_s: float | None
    first_token_p50_s: float | None
    first_token_p95_s: float | None
    input_tokens_per_s: float
    output_tokens_per_s: float
    usd_per_hour: float
    in_flight: float
    """Calls that are open at the later scrape."""


def rates(before: Scrape, after: Scrape) -> list[ModelRates]:
    """Per model and provider, most calls first.

    Args:
        before: The earlier scrape.
        after: The later scrape of the same endpoint.
    """
    passed_s = max(after.at_s - before.at_s, 1e-9)
    moved = _Moved(before, after)
    ended = moved.by_key("requests")
    settled = moved.by_key("requests", keep=lambda s: s.labels.get(_OUTCOME) in ("ok", "error"))
    failed = moved.by_key("requests", keep=lambda s: s.labels.get(_OUTCOME) == "error")
    duration = moved.buckets("inference_duration", keep=lambda s: s.labels.get(_OUTCOME) == "ok")
    first = moved.buckets("first_token")
    cost = moved.by_key("cost")
    tokens = {side: moved.tokens(side) for side in ("input", "output")}
    active: dict[Key, float] = {}
    for series in after.series("active"):
        active[_key(series)] = active.get(_key(series), 0.0) + series.value
    found = [
        ModelRates(
            *key,
            requests_per_s=ended.get(key, 0.0) / passed_s,
            error_ratio=failed.get(key, 0.0) / settled[key] if settled.get(key) else None,
            p50_s=quantile(0.5, duration.get(key, {})),
            p95_s=quantile(0.95, duration.get(key, {})),
            first_token_p50_s=quantile(0.5, first.get(key, {})),
            first_token_p95_s=quantile(0.95, first.get(key, {})),
            input_tokens_per_s=tokens["input"].get(key, 0.0) / passed_s,
            output_tokens_per_s=tokens["output"].get(key, 0.0) / passed_s,
            usd_per_hour=cost.get(key, 0.0) / passed_s * _HOUR_S,
            in_flight=active.get(key, 0.0),
        )
        for key in {*ended, *active}
    ]
    return sorted(found, key=lambda row: (-row.requests_per_s, row.provider, row.model))


def _key(series: Scraped) -> Key:
    return series.labels.get(_PROVIDER, ""), series.labels.get(_MODEL, "")


class _Moved:
    """How far counters went between two pages."""

    def __init__(self, before: Scrape, after: Scrape) -> None:
        self._before, self._after = before, after

    def series(self, key: str, suffix: str = "") -> Iterable[Scraped]:
        """Samples with their increase; after a restart all of the later value is new."""
        earlier = {_identity(series): series.value for series in self._before.series(key, suffix)}
        for series in self._after.series(key, suffix):
            was = earlier.get(_identity(series), 0.0)
            yield series._replace(value=series.value - was if series.value >= was else series.value)

    def by_key(
        self, key: str, suffix: str = "", keep: Callable[[Scraped], bool] = lambda series: True
    ) -> dict[Key, float]:
        """Increase per provider and model."""
        found: dict[Key, float] = {}
        for series in self.series(key, suffix):
            if keep(series):
                found[_key(series)] = found.get(_key(series), 0.0) + series.value
        return found

    def buckets(self, key: str, keep: Callable[[Scraped], bool] = lambda series: True) -> dict[Key, dict[float, float]]:
        """Increase of a histogram's buckets per provider and model."""
        found: dict[Key, dict[float, float]] = {}
        for series in self.series(key, "_bucket"):
            if keep(series):
                bounds, bound = found.setdefault(_key(series), {}), float(series.labels["le"])
                bounds[bound] = bounds.get(bound, 0.0) + series.value
        return found

    def tokens(self, side: str) -> dict[Key, float]:
        """Tokens of one side, in either profile."""
        if self._after.name("tokens"):
            return self.by_key("tokens", "_sum", keep=lambda series: series.labels.get(_TYPE) == side)
        return self.by_key(f"{side}_tokens", "_sum")


def _identity(series: Scraped) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(series.labels.items()))
