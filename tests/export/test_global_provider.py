"""The global tracer provider: ours where there is none, the host's whenever there is one."""

from __future__ import annotations

import pytest
from export.scripts import run

BEGIN = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
import trisignal

def native(tracer, model="m"):
    # What a framework with spans of its own does.
    span = tracer.start_span("chat " + model)
    span.set_attributes({"gen_ai.operation.name": "chat", "gen_ai.provider.name": "p", "gen_ai.request.model": model,
                         "gen_ai.usage.input_tokens": 3, "gen_ai.usage.output_tokens": 4})
    span.end()

def host():
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    provider.names = lambda: [span.name for span in exporter.get_finished_spans()]
    return provider

def calls():
    return trisignal.summary().total.calls
"""


def works(script: str, **variables: str) -> None:
    """Run a script that checks itself, and must be silent."""
    assert run(BEGIN + script, **variables) == ("", "")


def test_without_a_provider_of_the_host_ours_is_global() -> None:
    """Native spans are seen, and are part of the same traces, whether their tracers were made before or after."""
    works(
        """
early = trace.get_tracer("early")
telemetry = trisignal.setup()
assert trace.get_tracer_provider() is telemetry.tracer_provider
with trisignal.workflow("w") as block:
    with early.start_as_current_span("step") as span:
        assert f"{span.get_span_context().trace_id:032x}" == block.trace_id
        native(trace.get_tracer("late"))
native(early)
assert calls() == 2
assert telemetry.force_flush()
telemetry.shutdown()
assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
assert not early.start_span("s").get_span_context().is_valid
"""
    )


@pytest.mark.parametrize("how", ["setup(set_global=False)", "setup()"])
def test_it_can_be_kept_private(how: str) -> None:
    """With set_global off, by argument or variable, the global provider stays unset."""
    works(
        f"""
trisignal.{how}
trisignal.instrument()
assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
native(trace.get_tracer("x"))
assert calls() == 0
trace.set_tracer_provider(provider := host())
assert trace.get_tracer_provider() is provider
""",
        **({} if "False" in how else {"TRISIGNAL_SET_GLOBAL": "false"}),
    )


def test_the_hosts_provider_comes_first() -> None:
    """A provider that is set before setup() is used, bridged, and there afterwards."""
    works(
        """
trace.set_tracer_provider(provider := host())
with trisignal.setup() as telemetry:
    assert telemetry.tracer_provider is provider is trace.get_tracer_provider()
    native(trace.get_tracer("x"))
    with trisignal.llm(model="ours"):
        pass
    assert calls() == 2
assert trace.get_tracer_provider() is provider
assert provider.names() == ["chat m", "chat ours"]
"""
    )


def test_the_hosts_provider_comes_later() -> None:
    """One that is set after setup() takes over: spans go there, tracers from before too, and it is bridged once."""
    works(
        """
telemetry = trisignal.setup()
early, decorated = trace.get_tracer("early"), trace.get_tracer("decorator")
@decorated.start_as_current_span("work")
def work():
    native(early, "inner")
native(early)
block = trisignal.workflow("open")
block.__enter__()
trace.set_tracer_provider(provider := host())
assert trace.get_tracer_provider() is provider is telemetry.tracer_provider
assert telemetry.followed
block.__exit__(None, None, None)
native(early, "after")
work()
with trisignal.llm(model="ours"):
    pass
assert calls() == 4, calls()
assert provider.names() == ["chat after", "chat inner", "work", "chat ours"], provider.names()
assert telemetry.force_flush()
telemetry.shutdown()
assert trace.get_tracer_provider() is provider
native(early, "last")
assert provider.names()[-1] == "chat last"
assert calls() == 0
"""
    )


def test_a_third_provider_is_refused_as_always() -> None:
    """The host may set one provider, not two."""
    ran = run(
        BEGIN
        + """
trisignal.setup()
trace.set_tracer_provider(provider := host())
trace.set_tracer_provider(host())
assert trace.get_tracer_provider() is provider
"""
    )
    assert "Overriding of current TracerProvider is not allowed" in ran.err


def test_setup_and_shutdown_again_and_again() -> None:
    """Tracers that a library keeps follow each new setup(), and are silent in between."""
    works(
        """
kept = trace.get_tracer("kept")
for round in range(3):
    with trisignal.setup():
        native(kept)
        native(trace.get_tracer("fresh"))
        assert calls() == 2, calls()
    native(kept)
trace.set_tracer_provider(provider := host())
native(kept)
assert provider.names() == ["chat m"]
"""
    )


@pytest.mark.parametrize(
    "reset",
    [
        "trace._TRACER_PROVIDER_SET_ONCE = Once(); trace._TRACER_PROVIDER = None",
        "trace._TRACER_PROVIDER_SET_ONCE._done = False; trace._TRACER_PROVIDER = None",
        "trace._TRACER_PROVIDER = None",
        "trace._TRACER_PROVIDER_SET_ONCE._done = False",
    ],
)
def test_suites_that_reset_the_global_are_not_disturbed(reset: str) -> None:
    """The ways in which tests of others make room for their own provider work while ours is global."""
    works(
        f"""
from opentelemetry.util._once import Once
telemetry = trisignal.setup()
for round in range(2):
    {reset}
    trace.set_tracer_provider(provider := host())
    assert trace.get_tracer_provider() is provider
    native(trace.get_tracer("theirs"))
    assert provider.names() == ["chat m"]
    if round == 0:
        trace._TRACER_PROVIDER, trace._TRACER_PROVIDER_SET_ONCE = None, Once()
telemetry.shutdown()
assert trace.get_tracer_provider() is provider
"""
    )


WRAPPERS = {
    "inner only": """
class Wrapper(trace.TracerProvider):
    def __init__(self, inner): self._inner = inner
    def get_tracer(self, *a, **k): return self._inner.get_tracer(*a, **k)
""",
    "eq without hash": """
from dataclasses import dataclass
@dataclass
class Wrapper(trace.TracerProvider):
    provider: TracerProvider
    def get_tracer(self, *a, **k): return self.provider.get_tracer(*a, **k)
    def force_flush(self): return self.provider.force_flush()
""",
    "slots": """
class Wrapper(trace.TracerProvider):
    __slots__ = ("hidden",)
    def __init__(self, inner): self.hidden = inner
    def get_tracer(self, *a, **k): return self.hidden.get_tracer(*a, **k)
    def force_flush(self, timeout_millis: int = 1) -> None: pass
""",
    "wrapt": """
import wrapt
class Wrapper(wrapt.ObjectProxy):
    pass
""",
    "refuses": """
class Wrapper(trace.TracerProvider):
    def __init__(self, inner): self.inner = inner
    def get_tracer(self, *a, **k): return self.inner.get_tracer(*a, **k)
    def add_span_processor(self, processor): raise RuntimeError("no")
""",
    "two deep": """
class Inner(trace.TracerProvider):
    def __init__(self, inner): self.a = inner
    def get_tracer(self, *a, **k): return self.a.get_tracer(*a, **k)
class Wrapper(Inner):
    def __init__(self, inner): self.a = Inner(inner)
""",
}


@pytest.mark.parametrize("when", ["before", "after", "given"])
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_provider_behind_a_wrapper_is_bridged(wrapper: str, when: str) -> None:
    """Spans of a provider that another library has wrapped become calls, and it can be flushed."""
    order = {
        "before": "trace.set_tracer_provider(outer)\ntelemetry = trisignal.setup()",
        "after": "telemetry = trisignal.setup()\ntrace.set_tracer_provider(outer)",
        "given": "telemetry = trisignal.setup(tracer_provider=outer)",
    }[when]
    works(
        WRAPPERS[wrapper]
        + f"""
outer = Wrapper(provider := host())
{order}
native(outer.get_tracer("x"))
assert calls() == 1, calls()
assert telemetry.force_flush()
assert provider.names() == ["chat m"]
"""
    )


def test_a_wrapper_around_ours_is_not_a_loop() -> None:
    """The host may wrap the provider that it finds, ours, and set the wrapper."""
    works(
        WRAPPERS["inner only"]
        + """
telemetry = trisignal.setup()
early = trace.get_tracer("early")
trace.set_tracer_provider(Wrapper(trace.get_tracer_provider()))
native(early)
native(trace.get_tracer("late"))
assert calls() == 2, calls()
"""
    )


@pytest.mark.parametrize("flush", ["raise ValueError('no')", "return False", "time.sleep(60)"])
def test_force_flush_never_raises(flush: str) -> None:
    """Whatever a provider does when it is flushed, the answer is no."""
    works(
        f"""
import time
class Odd(TracerProvider):
    def force_flush(self, timeout_millis=30000):
        {flush}
assert trisignal.setup(tracer_provider=Odd()).force_flush(1) is False
"""
    )


def test_a_provider_that_takes_no_processors_is_said() -> None:
    """Where spans of other instrumentations cannot be seen, a warning says so and how to agree."""
    script = (
        BEGIN
        + """
class Bare(trace.TracerProvider):
    def get_tracer(self, *a, **k): return trace.NoOpTracer()
trisignal.setup(tracer_provider=Bare(){more})
trisignal.instrument()
"""
    )
    assert "Bare takes no span processors" in run(script.replace("{more}", "")).err
    assert run(script.replace("{more}", ", bridge=False")).err == ""
