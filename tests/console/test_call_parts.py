"""Where a call's time went, by what its server says: from the receiver to page, REST and terminal."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from console.conftest import served
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import SpanKind, set_span_in_context

from trisignal.analysis.analyzer import TraceAnalyzer
from trisignal.cli.traces import command
from trisignal.console import intake
from trisignal.console.receiver import Receiver
from trisignal.semconv import serving

CHAT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "vllm",
    "gen_ai.request.model": "qwen3-8b",
    "gen_ai.usage.input_tokens": 14,
    "gen_ai.usage.output_tokens": 8,
}
ENGINE = {
    serving.QUEUE_S: 0.5,
    serving.PREFILL_S: 0.25,
    serving.DECODE_S: 1.0,
    serving.E2E_S: 1.8,
    "gen_ai.latency.time_to_first_token": 0.76,
    "gen_ai.usage.prompt_tokens": 14,
    "gen_ai.usage.completion_tokens": 8,
    "gen_ai.request.id": "req-1",
}
"""The one span that vLLM makes of a request."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that has received a call of 2 s, and from another program the engine's span inside of it."""
    made: Path = tmp_path_factory.mktemp("parts") / "store"
    receiver = Receiver(str(made))
    with served(made, routes=intake.routes(receiver)) as url:
        tracers = []
        for service in ("chat-api", "vllm"):
            provider = TracerProvider(resource=Resource({"service.name": service}))
            provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"{url}/v1/traces")))
            tracers.append(provider.get_tracer("t"))
        start_ns = time.time_ns() - 60 * 10**9
        app, engine = tracers
        call = app.start_span("chat qwen3-8b", kind=SpanKind.CLIENT, attributes=CHAT, start_time=start_ns)
        served_ = engine.start_span(
            "llm_request", set_span_in_context(call), SpanKind.SERVER, ENGINE, start_time=start_ns + 10**8
        )
        served_.end(start_ns + 19 * 10**8)
        call.end(start_ns + 2 * 10**9)
        assert receiver._telemetry.force_flush(60)
    receiver.close()
    return made


@pytest.fixture
def trace_id(folder: Path) -> str:
    """Id of the only trace, whose engine's span is not a second call."""
    with TraceAnalyzer(folder) as analyzer:
        [row] = analyzer.spans(since="1d", of="calls").rows
        assert len(analyzer.spans(since="1d", of="spans").rows) == 2
        return str(row.trace_id)


PARTS = {"network": 0.2, "queue": 0.5, "prefill": 0.25, "decode": 1.0, "server": 0.05}


def test_rest_has_the_parts(folder: Path, trace_id: str) -> None:
    """Network is what the engine's own time leaves of the call's; the parts add up to its duration."""
    with served(folder) as url:
        [root] = httpx.get(f"{url}/v1/traces/{trace_id}", timeout=60).json()["roots"]
    parts = {part["name"]: part["duration_s"] for part in root["parts"]}
    assert parts == pytest.approx(PARTS)
    assert sum(parts.values()) == pytest.approx(root["span"]["duration_s"])
    assert root["children"][0]["parts"] == []


def test_the_terminal_shows_them_below_the_call(folder: Path, trace_id: str) -> None:
    """One line for each part, in the order in which they happen."""
    result = CliRunner().invoke(command, ["--store", str(folder), "show", trace_id], env={"COLUMNS": "160"})
    lines = [line.split() for line in result.output.splitlines()]
    at = [line[0] for line in lines if line and line[0] in PARTS]
    assert at == list(PARTS), result.output


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium."""
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        pytest.skip("no chromium is installed")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_has_one_bar_of_all_parts(browser: Any, folder: Path, trace_id: str, scheme: str) -> None:
    """Each part is as wide as its share, in a colour of its own that differs from the panel's, and is named."""
    axe: Any = pytest.importorskip("axe_playwright_python.sync_playwright")
    with served(folder) as url:
        page = browser.new_page(color_scheme=scheme, viewport={"width": 1280, "height": 700})
        page.goto(f"{url}/traces/{trace_id}")
        bar = page.locator("svg.stacked")
        whole = bar.bounding_box()["width"]
        widths = [part.bounding_box()["width"] / whole for part in bar.locator("rect").all()]
        colours = bar.locator("rect").evaluate_all("all => all.map(one => getComputedStyle(one).fill)")
        behind = page.locator("section.panel").first.evaluate("one => getComputedStyle(one).backgroundColor")
        legend = page.locator(".legend").last.inner_text()
        name = bar.get_attribute("aria-label")
        problems = axe.Axe().run(page).response["violations"]
        page.close()
    assert [one["id"] for one in problems if one["impact"] in ("serious", "critical")] == []
    assert widths == pytest.approx([part / 2 for part in PARTS.values()], abs=0.01)
    assert len({*colours, behind}) == len(PARTS) + 1
    assert all(part in legend and part in name for part in PARTS)
