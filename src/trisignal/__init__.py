"""trisignal: one LLM call becomes a GenAI span, Prometheus metrics and a JSON log line."""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING

from trisignal._active import ActiveCall, current_call
from trisignal._authoring import agent, embeddings, llm, retrieval, stage, tool, workflow
from trisignal._bridge import BridgeSpanProcessor
from trisignal._context import (
    ContextThreadPoolExecutor,
    carry,
    context,
    continue_from,
    inject,
    request_id,
    suppress,
)
from trisignal._exposition import metrics_app, metrics_wsgi_app, serve_metrics
from trisignal._serving import ServerMiddleware
from trisignal._setup import redacting, setup
from trisignal._signals import Cache, Queue, cache, evaluate, feedback, queue
from trisignal._telemetry import Telemetry, summary
from trisignal.clients import instrument, uninstrument
from trisignal.errors import BudgetExceeded
from trisignal.middleware import RequestIdMiddleware, WsgiRequestIdMiddleware
from trisignal.policy.price import PriceSource, Rates
from trisignal.policy.redact import Redactor
from trisignal.sinks.tally import Summary

if _TYPE_CHECKING:
    from trisignal._alert_handlers import Alert, alert_to_log, alert_to_slack, alert_to_webhook
    from trisignal._alert_rules import AlertRule
    from trisignal._health import Health, health, http_probe
    from trisignal._push import push, push_at_exit, pushing
    from trisignal.alerts import Alerts
    from trisignal.budgets import Budget

__all__ = [
    "ActiveCall",
    "Alert",
    "AlertRule",
    "Alerts",
    "BridgeSpanProcessor",
    "Budget",
    "BudgetExceeded",
    "Cache",
    "ContextThreadPoolExecutor",
    "Health",
    "PriceSource",
    "Queue",
    "Rates",
    "Redactor",
    "RequestIdMiddleware",
    "ServerMiddleware",
    "Summary",
    "Telemetry",
    "WsgiRequestIdMiddleware",
    "agent",
    "alert_to_log",
    "alert_to_slack",
    "alert_to_webhook",
    "cache",
    "carry",
    "context",
    "continue_from",
    "current_call",
    "embeddings",
    "evaluate",
    "feedback",
    "health",
    "http_probe",
    "inject",
    "instrument",
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
    "workflow",
]

_LATER = {
    "Alert": "trisignal._alert_handlers",
    "alert_to_log": "trisignal._alert_handlers",
    "alert_to_slack": "trisignal._alert_handlers",
    "alert_to_webhook": "trisignal._alert_handlers",
    "AlertRule": "trisignal._alert_rules",
    "Health": "trisignal._health",
    "health": "trisignal._health",
    "http_probe": "trisignal._health",
    "push": "trisignal._push",
    "push_at_exit": "trisignal._push",
    "pushing": "trisignal._push",
    "Alerts": "trisignal.alerts",
    "Budget": "trisignal.budgets",
}
"""What many programs do without, and the modules that are loaded when it is first asked for."""


def __getattr__(name: str) -> object:
    module = _LATER.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(_import_module(module), name)
    globals()[name] = found
    return found
