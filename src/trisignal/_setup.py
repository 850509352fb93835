"""setup(): settings in, everything running out; nothing of the host is replaced."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.trace import ProxyTracerProvider, TracerProvider

from trisignal import _exposition, _guard, _runtime, config
from trisignal import semconv as names
from trisignal._exporters import Built, logger_provider_from, meter_provider_from, tracer_provider_from
from trisignal._redacting import RedactingExporter
from trisignal.logs import ContextFilter, JsonFormatter
from trisignal.policy import Policy
from trisignal.policy.price import Pricer, PriceSource
from trisignal.policy.redact import PatternRedactor, Redactor, chain
from trisignal.sinks import Meter, Sink
from trisignal.sinks.json_log import JsonLogSink
from trisignal.sinks.prometheus import PrometheusSink
from trisignal.sinks.span import SpanSink
from trisignal.sinks.tally import Summary, TallySink

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from prometheus_client import CollectorRegistry

CALL_LOGGER = "trisignal.calls"


class Telemetry:
    """What setup() made; keep it to flush and to shut down.

    Attributes:
        settings: Settings in force.
        sources: Where each setting came from: argument, environment, file, default.
        tracer_provider: Provider of the spans.
        registry: Registry of the Prometheus metrics.
    """

    def __init__(self, loaded: config.Loaded, explicit: Mapping[str, object]) -> None:
        self.settings = loaded.settings
        self.sources = loaded.sources
        self.explicit = dict(explicit)
        self.tracer_provider: TracerProvider = ProxyTracerProvider()
        self.registry: CollectorRegistry | None = None
        self.redactor: Redactor = str
        self.pricer = Pricer()
        self.tally = TallySink()
        self.prometheus: PrometheusSink | None = None
        self._built: list[Built] = []
        self._undo: list[Callable[[], None]] = []

    def force_flush(self, timeout_s: float = 30.0) -> bool:
        """Finish abandoned streams and send what is queued.

        Args:
            timeout_s: Longest wait, in seconds, for each exporter.

        Returns:
            Whether everything was sent in time.
        """
        _runtime.drain()
        done = True
        flush = getattr(self.tracer_provider, "force_flush", None)
        if flush is not None:
            done = bool(flush(int(timeout_s * 1000)))
        for built in self._built:
            if built.provider is not self.tracer_provider:
                done = bool(built.provider.force_flush(int(timeout_s * 1000))) and done
        return done

    def shutdown(self) -> None:
        """Undo setup(): metrics unregistered, handlers removed, own providers shut down."""
        global _telemetry
        with _lock:
            if _telemetry is not self:
                return
            _runtime.drain()
            _runtime.reset()
            _guard.reset()
            while self._undo:
                self._undo.pop()()
            for built in self._built:
                built.provider.shutdown()
            _telemetry = None

    def __enter__(self) -> Telemetry:
        return self

    def __exit__(self, *error: object) -> None:
        self.force_flush()
        self.shutdown()


_lock = RLock()
_telemetry: Telemetry | None = None
_fork_hooked = False


def running() -> Telemetry | None:
    """The handle of the setup() in force, if any."""
    return _telemetry


def redacting(exporter: SpanExporter) -> SpanExporter:
    """Put the redaction gate before an exporter of your own.

    Every span that leaves through it is redacted, also those of other libraries. Exporters
    that `setup` builds are behind the gate already.

    Args:
        exporter: Any span exporter.
    """

    def clean(text: str) -> str:
        policy = _runtime.STATE.policy
        return (policy or _default_policy()).known(text)

    return RedactingExporter(exporter, clean)


@functools.cache
def _default_policy() -> Policy:
    """For spans that leave before setup() or after shutdown(): the built-in detectors."""
    return Policy(config.Settings(), PatternRedactor(), Pricer(), lambda: None)


def summary() -> Summary:
    """Totals, error rate, cost and latency quantiles of this process since setup()."""
    _runtime.drain()
    tally = TallySink() if _telemetry is None else _telemetry.tally
    return tally.summary()


class _Aside:
    """A setup() put aside by a test, with everything that was in force."""

    def __init__(self, telemetry: Telemetry | None) -> None:
        self.telemetry = telemetry
        self.state = {slot: getattr(_runtime.STATE, slot) for slot in _runtime.State.__slots__}
        self.guard = (_guard.STATE.listener, _guard.STATE.strict)


def put_aside() -> _Aside:
    """Put the running setup() aside without shutting it down; `bring_back` undoes it."""
    global _telemetry
    _runtime.drain()
    aside = _Aside(_telemetry)
    _telemetry = None
    _runtime.reset()
    return aside


def bring_back(aside: _Aside) -> None:
    """Put what `put_aside` took back in force."""
    global _telemetry
    _telemetry = aside.telemetry
    for slot, value in aside.state.items():
        setattr(_runtime.STATE, slot, value)
    _guard.STATE.listener, _guard.STATE.strict = aside.guard


def add_sink(sink: Sink) -> None:
    """Give finished calls to one more sink."""
    state = _runtime.STATE
    if state.policy is not None:
        _runtime.configure(state.settings, state.policy, (*state.sinks, sink), state.meters)


def setup(
    *,
    service_name: str | None = None,
    tracer_provider: TracerProvider | None = None,
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
    metric_profile: str | None = None,
    metric_prefix: str | None = None,
    metric_dimensions: Sequence[str] | None = None,
    slo_thresholds: Sequence[float] | None = None,
    max_label_sets: int | None = None,
    max_series: int | None = None,
    exemplars: bool | None = None,
    trace_sample_ratio: float | None = None,
    log_sample_ratio: float | None = None,
    prices_file: str | os.PathLike[str] | None = None,
    live_prices: bool | None = None,
    propagate_trace_context: bool | None = None,
    inject_stream_usage: bool | None = None,
    provider_hosts: Mapping[str, str] | None = None,
    event_score_threshold: float | None = None,
    disabled: bool | None = None,
) -> Telemetry:
    """Start trisignal: spans, Prometheus metrics and call logs from now on.

    Every argument but the objects also has the environment variable ``TRISIGNAL_<NAME>``;
    explicit arguments win over the environment, that over the file named by
    ``TRISIGNAL_CONFIG``, that over the defaults. What is not given is built from the standard
    ``OTEL_*`` variables. Calling it again returns the handle of the first call.

    Args:
        service_name: ``service.name`` of the resource that is built here.
        tracer_provider: Where spans go; else the host's global one, else one that is built
            from ``OTEL_*`` variables. The global provider is never replaced.
        meter_provider: Switches pushed metrics on, as an OTLP metrics endpoint does.
        logger_provider: Switches the conventions' log events on, as an OTLP logs endpoint does.
        registry: Prometheus registry; the default registry when omitted.
        redactor: Called with every text before it leaves, after the built-in detectors.
        price_source: Asked for prices before the override file and the shipped table.
        logs: ``"stderr"``, ``"root"``, a file path or a handler for the call log.
        capture_content: See `trisignal.config.Settings` for this and all further settings.

    Returns:
        A handle with ``force_flush()`` and ``shutdown()``; also a context manager.

    Raises:
        ConfigError: A setting has a wrong value.
        MetricCollisionError: A metric name is taken in the registry.
        PriceFileError: The price override file is wrong.
    """
    explicit = {k: v for k, v in locals().items() if v is not None}
    global _telemetry
    with _lock:
        if _telemetry is not None:
            if explicit and explicit != _telemetry.explicit:
                _guard.logger.warning(
                    "trisignal.setup() was called before; call shutdown() first to change settings"
                )
            return _telemetry
        made = _start(explicit)
        _telemetry = made
        return made


_OBJECTS = (
    "tracer_provider", "meter_provider", "logger_provider", "registry", "redactor", "price_source",
)  # fmt: skip


def _start(explicit: dict[str, Any]) -> Telemetry:
    values = {k: v for k, v in explicit.items() if k not in _OBJECTS}
    handler = values.pop("logs") if isinstance(values.get("logs"), logging.Handler) else None
    values = {k: str(v) if isinstance(v, os.PathLike) else v for k, v in values.items()}
    loaded = config.load(values)
    settings = loaded.settings
    made = Telemetry(loaded, explicit)
    made.pricer = Pricer(
        explicit.get("price_source"), prices_file=settings.prices_file, live=settings.live_prices
    )
    if settings.disabled:
        return made
    try:
        _build(made, explicit, handler)
    except BaseException:
        while made._undo:
            made._undo.pop()()
        raise
    return made


def _build(made: Telemetry, explicit: dict[str, Any], handler: logging.Handler | None) -> None:
    settings = made.settings
    patterns = PatternRedactor(settings.redact, settings.redact_patterns, _count_redaction)
    own = explicit.get("redactor")
    made.redactor = chain(patterns, own) if own is not None else patterns
    policy = Policy(settings, made.redactor, made.pricer, _count_redaction_failure)

    prometheus = _prometheus(made, explicit.get("registry"))
    tracer_provider = _tracer_provider(made, explicit.get("tracer_provider"), policy.known)
    tracer = tracer_provider.get_tracer(names.SCOPE, _version(), names.SCHEMA_URL)
    log_sink = JsonLogSink(logging.getLogger(CALL_LOGGER), settings.log_sample_ratio)
    sinks: list[Sink] = [SpanSink(tracer, policy), prometheus, log_sink, made.tally]
    meters: list[Meter] = [prometheus]
    _add_push(made, explicit, sinks, meters)
    _add_handler(made, handler)
    _serve(made)
    _guard.STATE.listener = lambda site: prometheus.count("internal_errors", (site,))
    _runtime.configure(settings, policy, tuple(sinks), tuple(meters))
    _hook_fork()


def _serve(made: Telemetry) -> None:
    """Let the /metrics applications find this setup's registry, and settle before each scrape."""
    before, registry = _exposition.default_registry, made.registry
    assert registry is not None
    _exposition.default_registry = lambda: registry
    _exposition.before_scrape.append(_runtime.drain)

    def undo() -> None:
        _exposition.default_registry = before
        _exposition.before_scrape.remove(_runtime.drain)

    made._undo.append(undo)


def _prometheus(made: Telemetry, registry: CollectorRegistry | None) -> PrometheusSink:
    import prometheus_client

    settings = made.settings
    made.registry = prometheus_client.REGISTRY if registry is None else registry
    sink = PrometheusSink(
        made.registry,
        profile=settings.metric_profile,
        prefix=settings.metric_prefix,
        dimensions=settings.metric_dimensions,
        slo_thresholds=settings.slo_thresholds,
        max_label_sets=settings.max_label_sets,
        max_series=settings.max_series,
        exemplars=settings.exemplars,
    )
    sink.gauge_from("price_table_timestamp", lambda: made.pricer.table_timestamp_s)
    made.prometheus = sink
    made._undo.append(sink.unregister)
    return sink


def _tracer_provider(
    made: Telemetry, given: TracerProvider | None, clean: Callable[[str], str]
) -> TracerProvider:
    if given is None:
        present = trace.get_tracer_provider()
        if not isinstance(present, ProxyTracerProvider):
            given = present
    if given is None:
        built = tracer_provider_from(made.settings, clean)
        made._built.append(built)
        given = built.provider
    made.tracer_provider = given
    return given


def _add_push(made: Telemetry, explicit: dict[str, Any], sinks: list[Sink], meters: list[Meter]) -> None:
    settings = made.settings
    meter_provider = explicit.get("meter_provider")
    if meter_provider is None:
        built = meter_provider_from(settings)
        if built is not None:
            made._built.append(built)
            meter_provider = built.provider
    if meter_provider is not None:
        from trisignal.sinks.otel_metrics import OtelMetricsSink

        pushed = OtelMetricsSink(
            meter_provider.get_meter(names.SCOPE, _version(), names.SCHEMA_URL),
            profile=settings.metric_profile,
            dimensions=settings.metric_dimensions,
            max_label_sets=settings.max_label_sets,
            slo_thresholds=settings.slo_thresholds,
        )
        sinks.append(pushed)
        meters.append(pushed)
    logger_provider = explicit.get("logger_provider")
    if logger_provider is None:
        built = logger_provider_from(settings)
        if built is not None:
            made._built.append(built)
            logger_provider = built.provider
    if logger_provider is not None:
        from trisignal.sinks.otel_events import OtelEventSink

        logger = logger_provider.get_logger(names.SCOPE, _version(), names.SCHEMA_URL)
        # Before the span sink: events belong to the span while it is open.
        sinks.insert(0, OtelEventSink(logger, details=True, content=settings.content_in_events))


def _add_handler(made: Telemetry, handler: logging.Handler | None) -> None:
    target = made.settings.logs
    if handler is None:
        if not target:
            return
        if target in ("stderr", "root"):
            handler = logging.StreamHandler()
        else:
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            handler = logging.FileHandler(target, encoding="utf-8", delay=True)
        handler.setFormatter(JsonFormatter(redactor=made.redactor))
    elif handler.formatter is None:
        handler.setFormatter(JsonFormatter(redactor=made.redactor))
    handler.addFilter(ContextFilter())
    logger = logging.getLogger() if target == "root" else logging.getLogger(CALL_LOGGER)
    logger.addHandler(handler)
    installed = handler
    calls = logging.getLogger(CALL_LOGGER)
    before = calls.level
    if before == logging.NOTSET:
        calls.setLevel(logging.INFO)
    made._undo.append(lambda: calls.setLevel(before))
    made._undo.append(installed.close)
    made._undo.append(lambda: logger.removeHandler(installed))


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("trisignal")
    except PackageNotFoundError:
        return "0"


def _count_redaction(detector: str, hits: int) -> None:
    for meter in _runtime.STATE.meters:
        meter.count("redactions", (detector,), hits)


def _count_redaction_failure() -> None:
    for meter in _runtime.STATE.meters:
        meter.count("redaction_failures", ("redactor",))


def _hook_fork() -> None:
    global _fork_hooked
    if not _fork_hooked and hasattr(os, "register_at_fork"):
        _fork_hooked = True
        os.register_at_fork(after_in_child=_after_fork)


def _after_fork() -> None:
    """The child starts clean: no inherited work, no lock that another thread held."""
    global _lock
    _lock = RLock()
    _runtime.dropped.clear()
    if _telemetry is not None:
        _telemetry.tally.reset()
        if _telemetry.prometheus is not None:
            _telemetry.prometheus.after_fork()
