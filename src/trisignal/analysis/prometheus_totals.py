"""Totals of all calls from Prometheus: sampling never touches metrics, so they say how many calls a source lacks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from trisignal import semconv as names
from trisignal.analysis.http_backend import HttpBackend
from trisignal.analysis.query import CONTEXT_PREFIX, Query
from trisignal.analysis.rows import Rows, Total
from trisignal.analysis.span_reading import number
from trisignal.call import OUTCOMES
from trisignal.errors import ConfigError, SourceError

SCHEME = "prometheus"
PORTS = {"http": 9090}
_BASE = {"operation": names.OPERATION, "provider": names.PROVIDER, "model": names.REQUEST_MODEL}
"""Dimensions that every metric of calls has."""
_IS_PREFIX = re.compile(r"[A-Za-z_]?\w*")
_QUANTILES = {"p50_s": 0.5, "p95_s": 0.95, "p99_s": 0.99}
NOTE = "counts are increases between scrapes, as Prometheus estimates them; quantiles are those of buckets"

Key = tuple[str, ...]


class _Figure(NamedTuple):
    """One query: which metric, by what further label, and where each value of that label goes."""

    metric: str
    suffix: str
    into: str
    label: str = ""


class PrometheusTotals:
    """Asks a Prometheus, or what speaks its API, for totals of calls to models.

    Args:
        url: ``prometheus+https://[user:password@]host[:port][/path]``; ``?profile=2026-10`` and ``?prefix=NAME`` where
            the application has these settings, ``?selector=job="chat-api"`` to choose series.
        headers: Sent with each request, e.g. ``{"Authorization": "Bearer …"}``.

    Raises:
        SourceError: The URL has another form.
    """

    def __init__(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        self._backend = HttpBackend(url, SCHEME, headers, ports=PORTS)
        options = self._backend.options
        self.name = self._backend.name
        self._prefix = options.get("prefix", "")
        self._selector = options.get("selector", "").strip("{} ")
        profile = options.get("profile", names.PROFILES[0])
        if profile not in names.PROFILES:
            raise SourceError(self.name, f"profile={profile!r}: allowed: {', '.join(names.PROFILES)}")
        if not _IS_PREFIX.fullmatch(self._prefix):
            raise SourceError(self.name, f"prefix={self._prefix!r}: allowed: letters, digits and underscores")
        self._metrics = names.profile(profile)

    def totals(self, query: Query, by: Sequence[str] = (), *, quantiles: bool = False) -> Rows[Total]:
        """Sums over the calls of a query.

        Args:
            query: Its window and dimensions; `by` says which there are.
            by: ``operation``, ``provider``, ``model``, and names of the application's ``metric_dimensions``.
            quantiles: Compute quantiles of the duration.

        Raises:
            ConfigError: Metrics do not know a dimension, or cannot answer such a question.
            SourceError: Prometheus does not answer, or refuses.
        """
        if query.of != "calls" or query.text or query.min_duration_s is not None or query.max_quality is not None:
            raise ConfigError("metrics", query.of, "questions about calls to models, by dimensions only")
        labels = tuple(self._label(name) for name in by)
        asking = _Asking(self._backend, query, self._matchers(query), labels)
        sums: dict[Key, dict[str, float]] = {}
        for figure in _figures():
            metric = self._prefix + self._metrics[figure.metric].prometheus_name + figure.suffix
            for key, label, value in asking.increases(metric, figure.label):
                into = _into(figure, label)
                for name in into:
                    group = sums.setdefault(key, {})
                    group[name] = group.get(name, 0.0) + value
        found = {key: _total(key, group) for key, group in sums.items() if group.get("spans", 0.0) >= 0.5}
        if quantiles:
            metric = f"{self._prefix}{self._metrics['operation_duration'].prometheus_name}_bucket"
            for name, share in _QUANTILES.items():
                for key, value in asking.quantiles(metric, share):
                    if key in found:
                        found[key] = replace(found[key], **{name: value})  # type: ignore[arg-type]  # one of the three
        asking.check(by)
        return Rows(tuple(found[key] for key in sorted(found)), notes=(NOTE,))

    def _label(self, dimension: str) -> str:
        if dimension in _BASE:
            return _BASE[dimension].replace(".", "_")
        label = dimension.removeprefix(CONTEXT_PREFIX)
        if not re.fullmatch(r"[A-Za-z_]\w*", label):
            raise ConfigError("by", dimension, f"{', '.join(_BASE)}, or one of the application's metric_dimensions")
        return label

    def _matchers(self, query: Query) -> str:
        matchers = [self._selector] if self._selector else []
        excluded = "|".join(sorted(names.MODEL_CALLS_EXCLUDED))
        matchers.append(f'{self._label("operation")}!~"{excluded}"')
        for dimension, values in query.where.items():
            given = "|".join(re.escape(value) for value in values)
            matchers.append(f"{self._label(dimension)}=~{json.dumps(given)}")
        return ", ".join(matchers)


class _Asking:
    """Sends the queries of one question."""

    def __init__(self, backend: HttpBackend, query: Query, matchers: str, labels: tuple[str, ...]) -> None:
        self._backend = backend
        self._at = f"{query.window.until_unix_s:.3f}"
        self._window = f"{max(1, round(query.window.duration_s))}s"
        self._matchers = matchers
        self._labels = labels
        self._known: set[str] = set()
        """Labels that series have."""
        self._any = False

    def increases(self, metric: str, label: str) -> Iterator[tuple[Key, str, float]]:
        """How much a counter grew in the window, by group and by a further label."""
        groups = ", ".join((*self._labels, *([label] if label else ())))
        increase = f"increase({metric}{{{self._matchers}}}[{self._window}])"
        for found, value in self._vector(f"sum by ({groups}) ({increase})"):
            yield self._key(found), found.get(label, ""), value

    def quantiles(self, metric: str, share: float) -> Iterator[tuple[Key, float]]:
        """A quantile of a histogram, by group."""
        groups = ", ".join((*self._labels, "le"))
        increase = f"increase({metric}{{{self._matchers}}}[{self._window}])"
        for found, value in self._vector(f"histogram_quantile({share}, sum by ({groups}) ({increase}))"):
            yield self._key(found), value

    def check(self, by: Sequence[str]) -> None:
        """Refuse dimensions that no series has.

        Raises:
            ConfigError: There is one.
        """
        for dimension, label in zip(by, self._labels):
            if self._any and label not in self._known:
                allowed = f"labels of the metrics: set up the application with metric_dimensions=({label!r},)"
                raise ConfigError("by", dimension, allowed)

    def _key(self, labels: Mapping[str, str]) -> Key:
        self._known.update(labels)
        self._any = True
        return tuple(labels.get(label, "") for label in self._labels)

    def _vector(self, query: str) -> Iterator[tuple[dict[str, str], float]]:
        document = self._backend.get("/api/v1/query", {"query": query, "time": self._at})
        data = document.get("data") if isinstance(document, dict) else None
        if not isinstance(data, dict) or not isinstance(data.get("result"), list):
            raise SourceError(self._backend.name, "there is no /api/v1/query: is this the address of Prometheus?")
        for one in data["result"]:
            value = number(one["value"][1]) if isinstance(one, dict) and one.get("value") else None
            if value is not None:
                yield {str(name): str(text) for name, text in (one.get("metric") or {}).items()}, value


def _figures() -> Iterator[_Figure]:
    yield _Figure("requests", "", "spans", names.OUTCOME.replace(".", "_"))
    yield _Figure("operation_duration", "_sum", "duration_s")
    yield _Figure("first_token", "_sum", "first_token_s")
    yield _Figure("first_token", "_count", "first_tokens")
    yield _Figure("token_buckets", "", "", names.LABEL_TOKEN_BUCKET.replace(".", "_"))
    yield _Figure("cost", "", "cost_usd")
    yield _Figure("wasted_cost", "", "wasted_usd")
    yield _Figure("cache_savings", "", "cache_saved_usd")
    yield _Figure("unpriced", "", "unpriced")


def _into(figure: _Figure, label: str) -> tuple[str, ...]:
    """What a value is added to: inclusive totals are sums of disjoint buckets."""
    if figure.metric == "requests":
        outcome = {"error": "errors"}.get(label, label)
        return ("spans", outcome) if label in OUTCOMES and label != "ok" else ("spans",)
    if figure.metric != "token_buckets":
        return (figure.into,)
    if label.startswith(("output", "reasoning")):
        return ("output_tokens", "reasoning_tokens") if label == "reasoning" else ("output_tokens",)
    kept = next((f"{part}_tokens" for part in ("cache_read", "cache_write") if label.startswith(part)), "")
    return ("input_tokens", kept) if kept else ("input_tokens",)


_FLOATS = frozenset(("duration_s", "first_token_s", "cost_usd", "wasted_usd", "cache_saved_usd"))


def _total(key: Key, sums: Mapping[str, float]) -> Total:
    figures: dict[str, Any] = {name: value if name in _FLOATS else round(value) for name, value in sums.items()}
    return Total(key=key, step_unix_s=None, **figures)
