"""What a start does not load: whatever only some applications need, and no first call does."""

from __future__ import annotations

import subprocess
import sys

WAITING = (
    "trisignal.bridge.translation", "trisignal.clients._realtime", "trisignal.formats.openai_realtime", "html",
    "trisignal.sinks.console", "trisignal.store", "pydantic_settings", "urllib.request", "grpc",
)  # fmt: skip
PROGRAM = """
import sys
import openai
import prometheus_client
before = set(sys.modules)
import trisignal
with trisignal.setup():
    trisignal.instrument("openai")
    with trisignal.llm(provider="openai", model="gpt-4o") as call:
        call.set_usage(input_tokens=100, output_tokens=10)
    print(*(set(sys.modules) - before))
"""


def test_a_start_loads_what_a_first_call_needs() -> None:
    """The bridge's tables, realtime connections, HTML, the console's lines and the store wait until they are used."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=120)
    loaded = set(done.stdout.split())
    assert "trisignal.sinks.prometheus" in loaded
    assert not loaded.intersection(WAITING)
