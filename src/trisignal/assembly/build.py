"""Builds what runs between setup() and shutdown(), out of settings and given objects."""

from __future__ import annotations

import functools
import logging
import os
from functools import partial
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.trace import NoOpTracerProvider, TracerProvider

from trisignal import _guard, config
from trisignal import semconv as names
from trisignal.assembly import arguments, call_log, sources
from trisignal.assembly.profiles import join_profiles
from trisignal.assembly.telemetry import Telemetry, after_fork, own_version
from trisignal.bridge.processor import BridgeSpanProcessor
from trisignal.engine import lifecycle, state
from trisignal.export.global_provider import SharedTracerProvider, is_unset, share
from trisignal.export.otel_providers import IDS_ONLY, logger_provider_from, meter_provider_from, tracer_provider_from
from trisignal.policy import Policy
from trisignal.policy.own_redactor import OwnRedactor
from trisignal.policy.price import Pricer
from trisignal.policy.redact import PatternRedactor, chain
from trisignal.sinks import Meter, Sink
from trisignal.sinks.prometheus import PrometheusSink
from trisignal.sinks.span import SpanSink
from trisignal.web import metrics_page

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


def start(explicit: dict[str, Any]) -> Telemetry:
    """Load the settings and put everything in force; leaves nothing behind when it raises."""
    given = arguments.sort(explicit)
    loaded = config.load(given.settings)
    settings = loaded.settings
    arguments.warn_of_variables()
    telemetry = Telemetry(loaded, explicit)
    telemetry.pricer = Pricer(
        given.objects.get("price_source"), prices_file=settings.prices_file, live=settings.live_prices
    )
    if settings.disabled:
        state.SIGNS.add("setup")
        return telemetry
    try:
        _build(telemetry, explicit, given.handler)
    except BaseException:
        telemetry.take_back()
        raise
    return telemetry


def _build(telemetry: Telemetry, explicit: dict[str, Any], handler: logging.Handler | None) -> None:
    settings = telemetry.settings
    telemetry.pricer.load()
    patterns = PatternRedactor(settings.redact, settings.redact_patterns, _count_redaction, settings.mask_keys)
    own = explicit.get("redactor")
    telemetry.redactor = patterns
    if own is not None:
        telemetry.redactor = chain(patterns, OwnRedactor(own, settings.redactor_timeout_s, _count_redaction_failure))
    policy = Policy(settings, telemetry.redactor, telemetry.pricer, _count_redaction_failure)

    prometheus = _prometheus(telemetry, explicit.get("registry"))
    tracer_provider = _tracer_provider(telemetry, explicit.get("tracer_provider"), policy)
    tracer = tracer_provider.get_tracer(names.SCOPE, own_version(), names.SCHEMA_URL)
    sinks: list[Sink] = [SpanSink(tracer, policy), prometheus, *call_log.sinks(telemetry, handler), telemetry.tally]
    meters: list[Meter] = [prometheus]
    _add_push(telemetry, explicit, policy, sinks, meters)
    _serve(telemetry, prometheus)
    _add_bridge(telemetry)
    if settings.store:
        from trisignal.assembly.store import add_store

        sinks.append(add_store(telemetry, policy))
    prometheus.before_collect = _refresh
    if prometheus.multiprocess:
        # A worker may end by a signal right after it flushed: what waits for the mover's thread would be lost.
        telemetry.flushes.append(lambda timeout_s: prometheus.settle())
    _guard.STATE.listener = lambda site: prometheus.count("internal_errors", (site,))
    state.configure(settings, policy, tuple(sinks), tuple(meters), tracer_provider)
    _attach_tail(telemetry)
    _share(telemetry)
    sources.watch(telemetry)
    _hook_fork()
    lifecycle.at_exit_last()


def _attach_tail(telemetry: Telemetry) -> None:
    """Let scores, forks and the clock reach the tail sampler."""
    for tail in [built.tail for built in telemetry.built if built.tail is not None]:
        state.attach(tail)
        telemetry.undo.append(partial(state.detach, tail))
    if telemetry.settings.tail_sampling and not any(built.signal in ("traces", IDS_ONLY) for built in telemetry.built):
        _guard.warn(
            "tail_sampling has no effect on a tracer provider of the application's own: sample in the collector",
            contained=True,
        )


def _add_bridge(telemetry: Telemetry) -> None:
    """See the spans of other instrumentations."""
    if not telemetry.settings.bridge or telemetry.add_processor(BridgeSpanProcessor()):
        return
    provider = telemetry.tracer_provider
    if not isinstance(provider, NoOpTracerProvider):
        _guard.warn(
            f"{type(provider).__name__} takes no span processors: spans of other instrumentations do not become calls; "
            "setup(bridge=False) says that this is meant",
            contained=True,
        )


def _share(telemetry: Telemetry) -> None:
    """Make the provider that was built here the global one, until shutdown, or until the host sets its own."""
    provider = telemetry.tracer_provider
    if telemetry.settings.set_global and isinstance(provider, SharedTracerProvider):
        undo = share(provider, telemetry.follow)
        if undo is not None:
            telemetry.undo.append(undo)


def _serve(telemetry: Telemetry, prometheus: PrometheusSink) -> None:
    """Let the /metrics applications find this setup's registry, and settle before each scrape."""
    # Where several processes share files, a page is made from these, and no collection of ours settles first.
    settle = prometheus.settle if prometheus.multiprocess else state.settle
    before, registry = metrics_page.default_registry, telemetry.registry
    assert registry is not None
    metrics_page.default_registry = lambda: registry
    metrics_page.before_scrape.append(settle)

    def undo() -> None:
        metrics_page.default_registry = before
        metrics_page.before_scrape.remove(settle)

    telemetry.undo.append(undo)


def _prometheus(telemetry: Telemetry, registry: CollectorRegistry | None) -> PrometheusSink:
    import prometheus_client

    settings = telemetry.settings
    telemetry.registry = prometheus_client.REGISTRY if registry is None else registry
    sink = PrometheusSink(
        telemetry.registry,
        profile=settings.metric_profile,
        prefix=settings.metric_prefix,
        dimensions=settings.metric_dimensions,
        slo_thresholds=settings.slo_thresholds,
        max_label_sets=settings.max_label_sets,
        max_series=settings.max_series,
        exemplars=settings.exemplars,
    )
    sink.gauge_from("price_table_timestamp", lambda: telemetry.pricer.table_timestamp_s)
    telemetry.undo.append(sink.unregister)
    return sink


def _tracer_provider(telemetry: Telemetry, given: TracerProvider | None, policy: Policy) -> TracerProvider:
    present = _global_provider() if given is None else given
    if present is None or is_unset(present):
        built = tracer_provider_from(telemetry.settings, policy)
        telemetry.built.append(built)
        present = built.provider
        if built.signal != IDS_ONLY:
            join_profiles(built.provider)
    telemetry.tracer_provider = present
    return present


def _global_provider() -> TracerProvider | None:
    try:
        return trace.get_tracer_provider()
    except Exception as error:
        # A variable may name one that is to be loaded now.
        _guard.warn(f"the global tracer provider cannot be loaded: {type(error).__name__}: {error}", contained=True)
        return None


def _add_push(
    telemetry: Telemetry, explicit: dict[str, Any], policy: Policy, sinks: list[Sink], meters: list[Meter]
) -> None:
    settings = telemetry.settings
    meter_provider = explicit.get("meter_provider")
    if meter_provider is None:
        built = meter_provider_from(settings, policy)
        if built is not None:
            telemetry.built.append(built)
            meter_provider = built.provider
    if meter_provider is not None:
        from trisignal.sinks.otel_metrics import OtelMetricsSink

        pushed = OtelMetricsSink(
            meter_provider.get_meter(names.SCOPE, own_version(), names.SCHEMA_URL),
            profile=settings.metric_profile,
            dimensions=settings.metric_dimensions,
            max_label_sets=settings.max_label_sets,
            slo_thresholds=settings.slo_thresholds,
        )
        pushed.before_collect = _refresh
        telemetry.undo.append(pushed.detach)
        sinks.append(pushed)
        meters.append(pushed)
    logger_provider = explicit.get("logger_provider")
    if logger_provider is None:
        built = logger_provider_from(settings, policy)
        if built is not None:
            telemetry.built.append(built)
            logger_provider = built.provider
    if logger_provider is not None:
        from trisignal.sinks.otel_events import OtelEventSink

        exports = all(built.signal != IDS_ONLY for built in telemetry.built)
        logger = logger_provider.get_logger(names.SCOPE, own_version(), names.SCHEMA_URL)
        # Before the span sink: events belong to the span while it is open.
        sinks.insert(0, OtelEventSink(logger, details=True, content=settings.content_in_events, sampled_only=exports))


def _refresh() -> None:
    """Before anything is collected: settle what finalizers left, and bring up to date what changes by the clock."""
    state.settle()
    if state.STATE.jobs is not None:
        state.STATE.jobs.settle()
    for watcher in state.STATE.attached:
        refresh = getattr(watcher, "refresh", None)
        if refresh is not None:
            try:
                refresh()
            except Exception as error:
                _guard.contain(f"{watcher.name}.refresh", error)


def _count_redaction(detector: str, hits: int) -> None:
    for meter in state.STATE.meters:
        meter.count("redactions", (detector,), hits)


def _count_redaction_failure() -> None:
    for meter in state.STATE.meters:
        meter.count("redaction_failures", ("redactor",))


@functools.cache
def _hook_fork() -> None:
    """Once per process: hooks cannot be removed again."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_parent=lambda: state.SIGNS.add("fork"), after_in_child=after_fork)
