"""trisignal: one LLM call becomes a GenAI span, Prometheus metrics and a JSON log line."""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING

from trisignal._context import (
    ContextThreadPoolExecutor,
    carry,
    context,
    continue_from,
    inject,
    request_id,
    suppress,
)
from trisignal.assembly.setup import redacting, setup
from trisignal.assembly.telemetry import Telemetry, summary
from trisignal.clients import instrument, uninstrument
from trisignal.errors import BudgetExceeded, GuardExceeded, LimitExceeded
from trisignal.policy.price import PriceSource, Rates
from trisignal.policy.redact import Redactor
from trisignal.sinks.tally import Summary
from trisignal.web.metrics_page import metrics_app, metrics_wsgi_app, serve_metrics
from trisignal.web.request_id import RequestIdMiddleware, WsgiRequestIdMiddleware

if _TYPE_CHECKING:
    from trisignal.analysis.analyzer import TraceAnalyzer
    from trisignal.assembly.flush_middleware import FlushMiddleware, WsgiFlushMiddleware
    from trisignal.assembly.pushgateway import push, push_at_exit, pushing
    from trisignal.assembly.short_lives import flush_on_return
    from trisignal.bridge.processor import BridgeSpanProcessor
    from trisignal.export.fast_otlp import fast_otlp
    from trisignal.observe.active_call import ActiveCall, current_call
    from trisignal.observe.batch_results import batch_results
    from trisignal.observe.decorators import agent, embeddings, llm, retrieval, stage, tool, workflow
    from trisignal.observe.measurements import Cache, Queue, cache, evaluate, feedback, queue
    from trisignal.queues.registry import instrument_queues, uninstrument_queues
    from trisignal.watch.alert_handlers import Alert, alert_to_log, alert_to_slack, alert_to_webhook
    from trisignal.watch.alert_rules import AlertRule
    from trisignal.watch.alerts import Alerts
    from trisignal.watch.budgets import Budget
    from trisignal.watch.guards import guard
    from trisignal.watch.health import Health, health, http_probe
    from trisignal.watch.patterns import AlertPattern
    from trisignal.watch.ranking import healthiest
    from trisignal.watch.store_alerts import StoreAlerts
    from trisignal.web.model_server import ServerMiddleware

__all__ = [
    "ActiveCall",
    "Alert",
    "AlertPattern",
    "AlertRule",
    "Alerts",
    "BridgeSpanProcessor",
    "Budget",
    "BudgetExceeded",
    "Cache",
    "ContextThreadPoolExecutor",
    "FlushMiddleware",
    "GuardExceeded",
    "Health",
    "LimitExceeded",
    "PriceSource",
    "Queue",
    "Rates",
    "Redactor",
    "RequestIdMiddleware",
    "ServerMiddleware",
    "StoreAlerts",
    "Summary",
    "Telemetry",
    "TraceAnalyzer",
    "WsgiFlushMiddleware",
    "WsgiRequestIdMiddleware",
    "agent",
    "alert_to_log",
    "alert_to_slack",
    "alert_to_webhook",
    "batch_results",
    "cache",
    "carry",
    "context",
    "continue_from",
    "current_call",
    "embeddings",
    "evaluate",
    "fast_otlp",
    "feedback",
    "flush_on_return",
    "guard",
    "health",
    "healthiest",
    "http_probe",
    "inject",
    "instrument",
    "instrument_queues",
    "llm",
    "metrics_app",
    "metrics_wsgi_app",
    "push",
    "push_at_exit",
    "pushing",
    "queue",
    "redacting",
    "request_id",
    "retrieval",
    "serve_metrics",
    "setup",
    "stage",
    "summary",
    "suppress",
    "tool",
    "uninstrument",
    "uninstrument_queues",
    "workflow",
]

_LATER = {
    "batch_results": "trisignal.observe.batch_results",
    "ActiveCall": "trisignal.observe.active_call",
    "current_call": "trisignal.observe.active_call",
    "agent": "trisignal.observe.decorators",
    "embeddings": "trisignal.observe.decorators",
    "llm": "trisignal.observe.decorators",
    "retrieval": "trisignal.observe.decorators",
    "stage": "trisignal.observe.decorators",
    "tool": "trisignal.observe.decorators",
    "workflow": "trisignal.observe.decorators",
    "Cache": "trisignal.observe.measurements",
    "Queue": "trisignal.observe.measurements",
    "cache": "trisignal.observe.measurements",
    "evaluate": "trisignal.observe.measurements",
    "feedback": "trisignal.observe.measurements",
    "queue": "trisignal.observe.measurements",
    "instrument_queues": "trisignal.queues.registry",
    "uninstrument_queues": "trisignal.queues.registry",
    "FlushMiddleware": "trisignal.assembly.flush_middleware",
    "WsgiFlushMiddleware": "trisignal.assembly.flush_middleware",
    "flush_on_return": "trisignal.assembly.short_lives",
    "AlertPattern": "trisignal.watch.patterns",
    "StoreAlerts": "trisignal.watch.store_alerts",
    "ServerMiddleware": "trisignal.web.model_server",
    "BridgeSpanProcessor": "trisignal.bridge.processor",
    "fast_otlp": "trisignal.export.fast_otlp",
    "TraceAnalyzer": "trisignal.analysis.analyzer",
    "Alert": "trisignal.watch.alert_handlers",
    "alert_to_log": "trisignal.watch.alert_handlers",
    "alert_to_slack": "trisignal.watch.alert_handlers",
    "alert_to_webhook": "trisignal.watch.alert_handlers",
    "AlertRule": "trisignal.watch.alert_rules",
    "guard": "trisignal.watch.guards",
    "Health": "trisignal.watch.health",
    "health": "trisignal.watch.health",
    "healthiest": "trisignal.watch.ranking",
    "http_probe": "trisignal.watch.health",
    "push": "trisignal.assembly.pushgateway",
    "push_at_exit": "trisignal.assembly.pushgateway",
    "pushing": "trisignal.assembly.pushgateway",
    "Alerts": "trisignal.watch.alerts",
    "Budget": "trisignal.watch.budgets",
}
"""What many programs do without, and the modules that are loaded when it is first asked for."""


def __getattr__(name: str) -> object:
    module = _LATER.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(_import_module(module), name)
    globals()[name] = found
    return found
