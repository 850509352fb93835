"""A pytest plugin that runs somebody else's test suite with trisignal switched on.

``pytest -p trisignal_on`` with this folder on ``PYTHONPATH``. The suite is to pass as it does without:
``TRISIGNAL_SUITE_STRICT=1`` raises every error of ours where it would be contained, and
``TRISIGNAL_SUITE_CONTENT=1`` captures content, so that all readers run.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry

import trisignal
from trisignal import _guard

_SHOWN = ("trisignal_internal_errors_total", "llm_requests_total", "llm_errors_total", "llm_active_requests")

_registry = CollectorRegistry()


class _Nowhere(logging.Handler):
    """Formats every call's log line and drops it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Format a record."""
        self.format(record)


def pytest_configure(config: Any) -> None:
    """Set up and patch before any test module is imported."""
    if not os.environ.get("TRISIGNAL_SUITE_OFF"):
        trisignal.setup(
            tracer_provider=TracerProvider(),
            registry=_registry,
            logs=_Nowhere(),
            capture_content=bool(os.environ.get("TRISIGNAL_SUITE_CONTENT")),
        )
        trisignal.instrument()
        _guard.STATE.strict = bool(os.environ.get("TRISIGNAL_SUITE_STRICT"))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Show what was counted, and every error of ours that was contained."""
    totals = dict.fromkeys(_SHOWN, 0.0)
    for family in _registry.collect():
        for sample in family.samples:
            if sample.name in totals:
                totals[sample.name] += sample.value
    terminalreporter.section("trisignal")
    for name, total in totals.items():
        terminalreporter.write_line(f"{name} {total:g}")
    for site, count in sorted(_guard.STATE.counts.items()):
        terminalreporter.write_line(f"contained at {site}: {count}")
