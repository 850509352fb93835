"""llama.cpp's real server: its times become the parts of a call, and its page is known."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e.llama_server import MODEL
from e2e.servers import Server, clean_environ, free_port, get

import trisignal
from trisignal import TraceAnalyzer
from trisignal.operate.dashboards import Selection, infrastructure
from trisignal.operate.doctor import engines
from trisignal.operate.objectives import RulesPlan
from trisignal.semconv import serving
from trisignal.testing import capture

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Host and port of a server with a tiny model."""
    for module in ("xllamacpp", "gguf", "openai"):
        pytest.importorskip(module, reason=f"{module} is not installed (see make e2e)")
    port = free_port()
    command = [sys.executable, "-m", "e2e.llama_server", str(port)]
    folder = tmp_path_factory.mktemp("llama")
    ready = f"http://127.0.0.1:{port}/health"
    with Server(folder, command, lambda: get(ready), clean_environ()):
        yield f"127.0.0.1:{port}"


def ask(address: str, stream: bool) -> None:
    """A call of OpenAI's client, of a few tokens."""
    openai: Any = pytest.importorskip("openai")
    more: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    with openai.OpenAI(base_url=f"http://{address}/v1", api_key="none") as client:
        reply = client.chat.completions.create(
            model=MODEL, max_tokens=12, messages=[{"role": "user", "content": f"stream is {stream}"}], **more
        )
        if stream:
            list(reply)


@pytest.mark.parametrize("stream", [False, True])
def test_prefill_and_decode_of_a_real_reply(address: str, stream: bool) -> None:
    """Whole and streamed, the server's times are inside of the call's, and span and line agree."""
    with capture(provider_hosts={address: "llama_cpp"}) as seen:
        trisignal.instrument("openai")
        ask(address, stream)
    attributes: dict[str, Any] = dict(seen.span.attributes or {})
    assert attributes["gen_ai.provider.name"] == "llama_cpp"
    assert attributes["gen_ai.usage.output_tokens"] == 12
    prefill_s, decode_s = attributes[serving.PREFILL_S], attributes[serving.DECODE_S]
    assert prefill_s > 0
    assert decode_s > 0
    assert attributes[serving.TOTAL_S] == pytest.approx(prefill_s + decode_s)
    assert 0 < attributes[serving.TOTAL_S] < seen.calls[0].duration_s
    assert {name: seen.logs[0].get(name) for name in serving.SERVING_ATTRIBUTES} == {
        name: attributes.get(name) for name in serving.SERVING_ATTRIBUTES
    }


def test_the_parts_in_the_store(address: str, tmp_path: Path) -> None:
    """They add up to the call's duration."""
    telemetry = trisignal.setup(store=str(tmp_path / "store"), provider_hosts={address: "llama_cpp"}, set_global=False)
    try:
        trisignal.instrument("openai")
        ask(address, False)
        assert telemetry.force_flush(60)
    finally:
        telemetry.shutdown()
    with TraceAnalyzer(tmp_path / "store") as analyzer:
        [row] = analyzer.spans(since="1h").rows
        [root] = analyzer.trace(row.trace_id).roots
    assert [part.name for part in root.parts] == ["network", "prefill", "decode"]
    assert sum(part.duration_s for part in root.parts) == pytest.approx(root.span.duration_s, abs=1e-4)


def test_its_page_is_known_and_has_what_dashboards_ask_for(address: str) -> None:
    """The doctor recognises it, and finds its queue; the dashboard's names are those of this release."""
    ask(address, False)
    found = list(engines.check([f"http://{address}/metrics"], (), 60.0))
    assert [one.said for one in found if one.level == "ok"] == [f"http://{address}/metrics is a page of llama.cpp"]
    assert {one.level for one in found} == {"ok", "info"}
    page = get(f"http://{address}/metrics")
    panels = infrastructure.page(Selection(RulesPlan())).panels
    asked = {name for panel in panels for one in panel.queries for name in re.findall(r"llamacpp\[:_\]\w+", one.expr)}
    assert len(asked) == 4
    assert all(re.search(rf"^{name} ", page, re.MULTILINE) for name in asked)
