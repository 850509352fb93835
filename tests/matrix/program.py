"""Runs the scenarios of one framework, and reports what was sent beside what was seen.

``python -m matrix.program NAME MODE`` prints one line of JSON. In mode ``ours`` trisignal patches
clients and frameworks; in ``bridge`` it only reads the spans that the framework writes.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import inspect
import json
import os
import sys
from typing import Any

from matrix.scenario import Scenario
from matrix.server import ModelServer
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

import trisignal

BACKEND = "MATRIX_BACKEND"
"""Variable with the address of a server that takes OTLP over HTTP; behind a ``#`` an experiment's id."""
MODES = ("ours", "bridge")
USAGE = (
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.output_tokens",
    "llm.token_count.prompt",
    "gen_ai.usage.prompt_tokens",
)
SHOWN = (
    "gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.agent.name", "gen_ai.tool.name", "gen_ai.request.model",
    "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.cache_read_input_tokens",
    "gen_ai.usage.cost", "error.type",
)  # fmt: skip


class Counted:
    """What the metrics say, as sums of everything."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._samples = [sample for family in registry.collect() for sample in family.samples]

    def sum(self, metric: str, **labels: str) -> float:
        """Sum of the samples of one name with these labels."""
        return sum(s.value for s in self._samples if s.name == metric and labels.items() <= s.labels.items())

    def facts(self) -> dict[str, float]:
        """What is compared."""
        tokens = "gen_ai_client_token_usage_sum"
        total = self.sum("llm_requests_total")
        return {
            "calls": total,
            "ok": self.sum("llm_requests_total", llm_outcome="ok"),
            "failed": self.sum("llm_requests_total", llm_outcome="error"),
            "input": self.sum(tokens, gen_ai_token_type="input"),
            "output": self.sum(tokens, gen_ai_token_type="output"),
            "cost_usd": self.sum("llm_cost_usd_total"),
            "agents": self.sum("gen_ai_invoke_agent_duration_seconds_count"),
            "tools": self.sum("gen_ai_execute_tool_duration_seconds_count"),
            "internal_errors": self.sum("trisignal_internal_errors_total"),
            "usage_missing": self.sum("llm_usage_missing_total"),
            "unpriced": self.sum("llm_unpriced_requests_total"),
        }


def _span(span: ReadableSpan) -> dict[str, Any]:
    attributes = dict(span.attributes or {})
    scope = span.instrumentation_scope
    ids = span.context
    shown = {name: attributes[name] for name in SHOWN if name in attributes}
    shown["usage"] = any(name in attributes for name in USAGE)
    shown["status"] = span.status.status_code.name
    assert ids is not None
    place = {
        "name": span.name,
        "scope": scope.name if scope else "",
        "trace": f"{ids.trace_id:032x}",
        "id": f"{ids.span_id:016x}",
        "parent": f"{span.parent.span_id:016x}" if span.parent else "",
    }
    return {**place, **shown}


def _run(scenario: Scenario, loop: asyncio.AbstractEventLoop) -> str:
    """Make the run; what it raised, as text."""
    try:
        made = scenario.run()
        if inspect.isawaitable(made):

            async def wait() -> None:
                await made

            loop.run_until_complete(wait())
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:300]
    return ""


def main(name: str, mode: str) -> dict[str, Any]:
    """All scenarios of one framework.

    Args:
        name: Module of ``matrix.programs``.
        mode: One of `MODES`.
    """
    spec = importlib.util.find_spec(f"matrix.programs.{name}")
    assert spec is not None, name
    os.environ.update({"OPENAI_API_KEY": "sk-none", "GOOGLE_API_KEY": "none", "LITELLM_LOCAL_MODEL_COST_MAP": "True"})
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    backend = os.environ.get(BACKEND)
    if backend:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        address, _, experiment = backend.partition("#")
        provider.add_span_processor(
            SimpleSpanProcessor(
                OTLPSpanExporter(f"{address}/v1/traces", headers={"x-mlflow-experiment-id": experiment})
            )
        )
    trace.set_tracer_provider(provider)
    registry = CollectorRegistry()
    telemetry = trisignal.setup(service_name="frameworks", registry=registry)
    if mode == "ours":
        trisignal.instrument()
    program = importlib.import_module(f"matrix.programs.{name}")
    server = ModelServer(getattr(program, "text", None))
    os.environ.update({"OPENAI_BASE_URL": f"{server.url}/v1", "OPENAI_API_BASE": f"{server.url}/v1"})
    os.environ["GOOGLE_GEMINI_BASE_URL"] = server.url
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    scenarios: dict[str, Scenario] = program.scenarios(server.url, native=mode == "bridge")
    reports: dict[str, Any] = {}
    for title, scenario in scenarios.items():
        kept.clear()
        before, sent = Counted(registry).facts(), vars(server.sent).copy()
        raised = _run(scenario, loop)
        telemetry.force_flush(10.0)
        after = Counted(registry).facts()
        reports[title] = {
            "expected": {
                "agents": scenario.agents,
                "tools": scenario.tools,
                "fails": scenario.fails or scenario.tool_fails,
                "tool": scenario.tool_fails,
            },
            "sent": {key: value - sent[key] for key, value in vars(server.sent).items()},
            "counted": {key: value - before[key] for key, value in after.items()},
            "active": Counted(registry).sum("llm_active_requests"),
            "raised": raised,
            "spans": [_span(span) for span in kept.get_finished_spans()],
        }
    return {"versions": versions(program.PACKAGES), "unknown": server.unknown, "scenarios": reports}


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Versions of installed packages."""
    from importlib.metadata import version

    return {package: version(package) for package in packages}


if __name__ == "__main__":
    print("REPORT " + json.dumps(main(*sys.argv[1:3])), flush=True)
    sys.stdout.flush()
    os._exit(0)  # some frameworks leave threads that wait for a server of theirs
