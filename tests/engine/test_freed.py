"""What nobody closes ends all the same: freed, interrupted, forked or cut off by the end of the process."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import generate_latest

import trisignal
from trisignal.call import Draft
from trisignal.engine import lifecycle
from trisignal.formats.openai_chat import CHAT
from trisignal.streams.fold import Fold, iterate
from trisignal.testing import Seen, capture

CHUNK = {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": None}]}
LLM = trisignal.llm(provider="acme", model="small")


@pytest.fixture(name="seen")
def _seen() -> Iterator[Seen]:
    """What is emitted."""
    with capture(strict=False) as seen:
        yield seen


def stream() -> Any:
    """A stream of an open call, one chunk of which has been read."""
    draft = Draft("chat", provider="acme", request_model="small")
    lifecycle.open_call(draft)
    chunks = iterate(iter([CHUNK, CHUNK, CHUNK]), Fold(draft, CHAT, keep_content=False))
    next(chunks)
    return chunks


class Ring:
    """Something that only the garbage collector frees."""

    def __init__(self, held: Any) -> None:
        self.held, self.me = held, self


@pytest.mark.parametrize("wrap", [list, pytest.param(Ring, marks=pytest.mark.slow)])
def test_many_streams_freed_at_once(seen: Seen, wrap: Callable[[Any], Any]) -> None:
    """More than any queue would hold: each is counted, nothing recurses, the gauge is down."""
    number = 12_000
    held = wrap([stream() for _ in range(number)])
    assert seen.value("llm_active_requests") == number
    del held
    gc.collect()
    assert seen.value("llm_requests_total", llm_outcome="abandoned") == number
    assert seen.value("llm_active_requests") == 0
    assert seen.value("trisignal_internal_errors_total") == 0


def test_a_freed_draft_ends_its_call(seen: Seen) -> None:
    """An open call whose source has gone is abandoned."""
    draft = Draft("chat", provider="acme", request_model="small")
    lifecycle.open_call(draft)
    assert seen.value("llm_active_requests") == 1
    del draft
    assert [call.outcome for call in seen.calls] == ["abandoned"]
    assert seen.value("llm_active_requests") == 0


def test_what_a_freed_stream_frees_is_counted_too(seen: Seen) -> None:
    """A stream in the attributes of a stream in the attributes of …: one loop ends them all."""
    inner: Any = None
    for _ in range(3_000):
        draft = Draft("chat", provider="acme", request_model="small")
        lifecycle.open_call(draft)
        draft.exchange = [inner]
        inner = Fold(draft, CHAT, keep_content=False)
    del draft, inner
    gc.collect()
    assert len(seen.calls) == 3_000
    assert seen.value("llm_active_requests") == 0


def test_the_hosts_own_page_settles(seen: Seen) -> None:
    """Any collection of the registry counts what was freed before."""
    freed = stream()
    del freed
    page = generate_latest(seen.registry).decode()
    [line] = [line for line in page.splitlines() if "llm_requests_total{" in line and 'outcome="abandoned"' in line]
    assert line.endswith(" 1.0")
    assert [line[-4:] for line in page.splitlines() if line.startswith("llm_active_requests{")] == [" 0.0"]


def test_a_metric_reader_settles() -> None:
    """A collection of OpenTelemetry's metrics counts what was freed before."""
    reader = InMemoryMetricReader()
    with capture(strict=False, meter_provider=MeterProvider([reader])):
        freed = stream()
        assert points(reader, "llm.active_requests") == [1]
        del freed
        assert points(reader, "llm.active_requests") == [0]
        assert sum(points(reader, "llm.requests")) == 1


def test_a_second_setup_on_a_meter_provider_observes_its_own_calls() -> None:
    """Callbacks cannot be taken back: the first setup's reports nothing any more, the second's own calls count."""
    provider = MeterProvider([reader := InMemoryMetricReader()])
    with capture(strict=False, meter_provider=provider):
        first = stream()
        assert points(reader, "llm.active_requests") == [1]
    del first
    with capture(strict=False, meter_provider=provider):
        second = [stream(), stream()]
        assert points(reader, "llm.active_requests") == [2]
        second.clear()


def points(reader: InMemoryMetricReader, name: str) -> list[float]:
    """Values of a metric."""
    data = reader.get_metrics_data()
    assert data is not None
    metrics = [m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics if m.name == name]
    return [point.value for metric in metrics for point in metric.data.data_points]


# --- interruptions -----------------------------------------------------------------------------------------

OURS = os.path.dirname(trisignal.__file__)


def interrupt(at: int, act: Callable[[], Any]) -> bool:
    """Run something, and raise ``KeyboardInterrupt`` at the given line of ours; whether that line was reached."""
    lines = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal lines
        if not frame.f_code.co_filename.startswith(OURS):
            return None
        # Python may be interrupted between a block and the first line of its exit: nobody could help that.
        if event == "line" and frame.f_code.co_name not in ("__exit__", "_leave"):
            lines += 1
            if lines == at:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        act()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(before)
    return lines >= at


def plain() -> None:
    """A decorated function, which stands for a call without a stream."""
    LLM(lambda: "text")()


def block() -> None:
    """The context manager."""
    with LLM as call:
        call.set_usage(input_tokens=1)


def half_read() -> None:
    """A stream that is left."""
    chunks = LLM(lambda: iter_of(CHUNK, CHUNK))()
    next(chunks)
    chunks.close()


def iter_of(*items: Any) -> Iterator[Any]:
    """A generator of items."""
    yield from items


@pytest.mark.parametrize(
    "act", [plain, pytest.param(block, marks=pytest.mark.slow), pytest.param(half_read, marks=pytest.mark.slow)]
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interruption_anywhere_leaves_no_gauge_up(act: Callable[[], None]) -> None:
    """Wherever in our code Ctrl-C strikes, the call ends, and what comes after is recorded as ever."""
    at, reached = 0, True
    with capture(strict=False) as seen:
        act()
        while reached:
            at += 1
            reached = interrupt(at, act)
            gc.collect(0)
            assert seen.value("llm_active_requests") == 0, at
            assert trisignal.current_call().ref == {}, at
            before = len(seen.calls)
            act()
            assert len(seen.calls) == before + 1, at
            seen.clear()
    assert at > 50


# --- other processes ---------------------------------------------------------------------------------------

SCRIPT = """
import gc, os, sys
import trisignal
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

class Print(SpanExporter):
    def export(self, spans):
        os.write(1, "".join(f"SPAN {os.getpid() == first} {span.name} {span.attributes.get('llm.outcome')}\\n"
                            for span in spans).encode())
        return SpanExportResult.SUCCESS

first = os.getpid()
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(Print()))
trisignal.setup(tracer_provider=provider)

@trisignal.llm(provider="acme", model="small")
def words():
    yield "a"
    yield "b"

stream = words()
next(stream)
"""


def run(rest: str) -> list[str]:
    """Spans that leave a script, as text."""
    script = SCRIPT + textwrap.dedent(rest)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return [line for line in done.stdout.splitlines() if line.startswith("SPAN")]


@pytest.mark.parametrize("how", ["", "del stream", "del stream; gc.collect()", "stream.close()"])
def test_the_end_of_a_process_ends_its_calls(how: str) -> None:
    """A call that is open when the interpreter exits is abandoned, and its span leaves."""
    assert run(how) == ["SPAN True chat small abandoned"]


def test_a_block_that_is_open_at_the_end() -> None:
    """The same for what is not a stream, on a thread that never ends."""
    rest = """
    import threading
    stream.close()
    entered = threading.Event()
    def wait():
        with trisignal.llm(provider="acme", model="waiting"):
            entered.set()
            threading.Event().wait()
    threading.Thread(target=wait, daemon=True).start()
    entered.wait()
    """
    assert run(rest)[-1] == "SPAN True chat waiting abandoned"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.parametrize("child", ["pass", "list(stream)", "del stream; gc.collect()", "stream.close()"])
def test_an_inherited_stream_is_counted_once(child: str) -> None:
    """A stream that a forked process has, too, is its parent's to count, whatever the child does with it."""
    rest = f"""
    import warnings
    warnings.simplefilter("ignore")
    pid = os.fork()
    if pid == 0:
        {child}
        sys.exit()
    os.waitpid(pid, 0)
    list(stream)
    """
    assert run(rest) == ["SPAN True chat small None"]
