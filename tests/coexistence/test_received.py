"""What installed instrumentations send over OTLP/HTTP: the console shows their calls, beside ours, each counted once."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from coexistence.beside.program import RefusingProvider
from console.conftest import served

from trisignal.analysis.analyzer import TraceAnalyzer
from trisignal.console import intake
from trisignal.console.receiver import Receiver

ENVIRONMENTS = os.environ.get("TRISIGNAL_ENVIRONMENTS", "")
TESTS = Path(__file__).parents[1]
LIBRARIES = ("official", "openinference", "openllmetry", "logfire")
"""Langfuse's spans go to Langfuse only, and have names of their own: beside it ours are shown."""

pytestmark = pytest.mark.skipif(
    not ENVIRONMENTS, reason="needs the environments of make coexistence (TRISIGNAL_ENVIRONMENTS)"
)


@pytest.fixture
def provider() -> Iterator[RefusingProvider]:
    """A provider of models on this machine, which knows what it sent."""
    made = RefusingProvider()
    yield made
    made.server.close()


def send(environment: str, library: str, provider: str, console: str, encoding: str) -> None:
    """Run the sender in an environment."""
    done = subprocess.run(
        [str(Path(ENVIRONMENTS) / environment / "bin" / "python"), "-m", "coexistence.sender", library, provider,
         console, encoding],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS.parent / "src"), str(TESTS)])},
        capture_output=True,
        text=True,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    assert "SENT" in done.stdout


@pytest.mark.parametrize(
    ("library", "beside", "encoding"),
    [
        *((library, "", "protobuf") for library in LIBRARIES),
        *((library, "+ours", "json") for library in (*LIBRARIES, "langfuse")),
        ("official", "", "json"),
    ],
)
def test_calls_of_another_instrumentation_are_shown(
    tmp_path: Path, provider: RefusingProvider, library: str, beside: str, encoding: str
) -> None:
    """A plain call, a stream and a refused call: three calls with their tokens and cost, whoever recorded them."""
    receiver = Receiver(str(tmp_path / "store"))
    with served(tmp_path / "store", routes=intake.routes(receiver)) as console:
        send(library, library + beside, provider.server.url, console, encoding)
        assert receiver._telemetry.force_flush(60)
        with TraceAnalyzer(tmp_path / "store") as analyzer:
            window: dict[str, Any] = {"since": "1d", "until": time.time() + 3600}
            calls = sorted(analyzer.spans(of="calls", **window), key=lambda row: row.start_unix_s)
            roots = analyzer.spans(of="requests", **window).rows
        page = httpx.get(f"{console}/calls", timeout=60)
    receiver.close()
    assert [(one.model, one.provider, one.operation) for one in calls] == [
        ("gpt-4o-mini", "openai", "chat"), ("gpt-4o-mini", "openai", "chat"), ("refused-model", "openai", "chat"),
    ]  # fmt: skip
    assert [one.outcome for one in calls] == ["ok", "ok", "error"]
    assert sum(one.input_tokens or 0 for one in calls) == provider.input_tokens
    assert sum(one.output_tokens or 0 for one in calls) == provider.output_tokens
    assert all(one.cost_usd for one in calls[:2])
    assert [root.name for root in roots] == ["POST /plan"] * 3
    assert page.status_code == 200
    assert all(one.trace_id in page.text for one in calls)
