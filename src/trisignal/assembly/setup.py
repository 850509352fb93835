"""setup(): settings in, everything running out; nothing of the host is replaced."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trisignal import _guard
from trisignal.assembly.arguments import differences
from trisignal.assembly.telemetry import CURRENT, Telemetry
from trisignal.engine import state
from trisignal.engine.garbage import without_collections
from trisignal.export.standard_variables import usable

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import TracerProvider
    from prometheus_client import CollectorRegistry

    from trisignal.policy import Policy
    from trisignal.policy.price import PriceSource
    from trisignal.policy.redact import Redactor


def setup(
    *,
    service_name: str | None = None,
    tracer_provider: TracerProvider | None = None,
    set_global: bool | None = None,
    meter_provider: MeterProvider | None = None,
    logger_provider: LoggerProvider | None = None,
    registry: CollectorRegistry | None = None,
    redactor: Redactor | None = None,
    price_source: PriceSource | None = None,
    logs: str | os.PathLike[str] | logging.Handler | None = None,
    capture_content: bool | str | None = None,
    content_field_bytes: int | None = None,
    content_span_bytes: int | None = None,
    redact: Sequence[str] | None = None,
    redact_patterns: Mapping[str, str] | None = None,
    mask_keys: Sequence[str] | None = None,
    redactor_timeout_s: float | None = None,
    metric_profile: str | None = None,
    metric_prefix: str | None = None,
    metric_dimensions: Sequence[str] | None = None,
    slo_thresholds: Sequence[float] | None = None,
    max_label_sets: int | None = None,
    max_series: int | None = None,
    exemplars: bool | None = None,
    trace_sample_ratio: float | None = None,
    tail_sampling: bool | None = None,
    tail_wait_s: float | None = None,
    tail_dear_usd: float | None = None,
    tail_max_traces: int | None = None,
    tail_max_spans: int | None = None,
    tail_max_mb: int | None = None,
    tail_max_s: float | None = None,
    log_sample_ratio: float | None = None,
    emf_namespace: str | None = None,
    prices_file: str | os.PathLike[str] | None = None,
    live_prices: bool | None = None,
    propagate_trace_context: bool | None = None,
    inject_stream_usage: bool | None = None,
    provider_hosts: Mapping[str, str] | None = None,
    bridge: bool | None = None,
    event_score_threshold: float | None = None,
    store: str | os.PathLike[str] | None = None,
    store_days: int | None = None,
    store_mb: int | None = None,
    store_logs: bool | None = None,
    disabled: bool | None = None,
) -> Telemetry:
    """Start trisignal: spans, Prometheus metrics and call logs from now on.

    Where the host has set no tracer provider, the one that is built here becomes the global one, so that
    spans of frameworks are part of the same traces. It makes room for one that the host sets later: from
    then on spans go there. A provider of the host's is never replaced.

    Every argument but the objects also has the environment variable ``TRISIGNAL_<NAME>``;
    explicit arguments win over the environment, that over the file named by
    ``TRISIGNAL_CONFIG``, that over the defaults. What is not given is built from the standard
    ``OTEL_*`` variables. Calling it again returns the handle of the first call.

    Args:
        service_name: ``service.name`` of the resource that is built here.
        tracer_provider: Where spans go; else the host's global one, else one that is built
            from ``OTEL_*`` variables.
        set_global: False keeps the provider that is built here private.
        meter_provider: Switches pushed metrics on, as an OTLP metrics endpoint does.
        logger_provider: Switches the conventions' log events on, as an OTLP logs endpoint does.
        registry: Prometheus registry; the default registry when omitted.
        redactor: Called with every text before it leaves, after the built-in detectors.
        price_source: Source of prices, used before the override file and the shipped table.
        logs: ``"stderr"`` or ``"stdout"`` for JSON lines, ``"console"`` for lines that people read,
            ``"root"`` for the whole application, ``"emf"`` for lines of which CloudWatch makes metrics, a file path,
            or a handler for the call log.
        capture_content: See `trisignal.config.Settings` for this and all further settings.

    Returns:
        A handle with ``force_flush()`` and ``shutdown()``; also a context manager.

    Raises:
        ConfigError: A setting has a wrong value.
        MetricCollisionError: A metric name is taken in the registry.
        PriceFileError: The price override file is wrong.
    """
    explicit = {k: v for k, v in locals().items() if v is not None}
    with CURRENT.lock:
        present = CURRENT.telemetry
        if present is not None and present.automatic and explicit:
            # Budgets and alerts of the application stay.
            attached, state.STATE.attached = state.STATE.attached, ()
            present.shutdown()
            state.STATE.attached = attached
            present = None
        if present is None:
            with usable(), without_collections():
                # The SDK reads the environment when it is imported, too.
                from trisignal.assembly.build import start

                present = CURRENT.telemetry = start(explicit)
        elif differing := differences(present, explicit):
            _guard.warn(
                f"setup() was called before: its settings stay until shutdown(), so {', '.join(differing)} of this "
                "call have no effect"
            )
        return present


def redacting(exporter: SpanExporter) -> SpanExporter:
    """Put the redaction gate before an exporter of your own.

    Every span that leaves through it is redacted, also those of other libraries. Exporters
    that `setup` builds are behind the gate already.

    Args:
        exporter: Any span exporter.
    """

    from trisignal.export.redaction_gate import RedactingExporter

    return RedactingExporter(exporter, _CurrentSettings())


class _CurrentSettings:
    """Redacts by the policy in force; before setup() and after shutdown() with the built-in detectors."""

    @staticmethod
    def _policy() -> Policy:
        return state.STATE.policy or _default_policy()

    def known(self, value: object, /) -> str:
        return self._policy().known(value)

    def number(self, value: Any, /, shortest: int | None = None) -> Any:
        return self._policy().number(value, shortest)

    def masked(self, name: str, value: object, /) -> str | None:
        return self._policy().masked(name, value)


@functools.cache
def _default_policy() -> Policy:
    """For spans that leave before setup() or after shutdown(): the built-in detectors."""
    from trisignal import config
    from trisignal.policy import Policy
    from trisignal.policy.price import Pricer
    from trisignal.policy.redact import PatternRedactor

    return Policy(config.Settings(), PatternRedactor(), Pricer(), lambda: None)
