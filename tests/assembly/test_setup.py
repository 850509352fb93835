"""setup() and its handle: built once, nothing of the host replaced, everything taken back."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from measured import MEASURED
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge

import trisignal
from trisignal.assembly.telemetry import running
from trisignal.errors import ConfigError, MetricCollisionError, PriceFileError, TrisignalWarning
from trisignal.testing import capture

SOURCE = str(Path(trisignal.__file__).parents[1])
CALLS = logging.getLogger("trisignal.calls")
OURS = ("llm_", "gen_ai_", "trisignal_")


def call(name: str = "m") -> None:
    """Record one call."""
    with trisignal.llm(provider="p", model=name):
        pass


def names(registry: CollectorRegistry) -> list[str]:
    """Names of the metrics in a registry."""
    return sorted(family.name for family in registry.collect())


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    """A sample's value."""
    return registry.get_sample_value(name, labels)


class Host:
    """What of the host and of the process may not be different afterwards."""

    def __init__(self, registry: CollectorRegistry) -> None:
        root = logging.getLogger()
        self.logging = [
            (logger.level, logger.propagate, list(logger.handlers), list(logger.filters))
            for logger in (root, CALLS, logging.getLogger("trisignal"))
        ]
        self.threads = sorted(thread.name for thread in threading.enumerate())
        self.metrics = names(registry), names(REGISTRY)
        self.provider = trace.get_tracer_provider()
        self.factory = logging.getLogRecordFactory()

    def __eq__(self, other: object) -> bool:
        return vars(self) == vars(other)

    def __repr__(self) -> str:
        return repr(vars(self))


# --- once ------------------------------------------------------------------------------------------------


def test_setup_is_idempotent(registry: CollectorRegistry) -> None:
    """A second call answers the first one's handle; other settings are warned of, by name, and have no effect."""
    first = trisignal.setup(registry=registry, metric_prefix="a_", redact=["email"])
    assert trisignal.setup() is first
    assert trisignal.setup(registry=registry, metric_prefix="a_", redact="email", exemplars=True) is first
    with pytest.warns(TrisignalWarning, match=r"stay until shutdown\(\), so metric_prefix, registry of") as caught:
        assert trisignal.setup(metric_prefix="b_", registry=CollectorRegistry()) is first
    assert caught[0].filename == __file__
    assert all(name.startswith("a_") for name in names(registry))


def test_setup_from_many_threads_is_one_setup(registry: CollectorRegistry) -> None:
    """Threads that set up at the same moment get the same handle."""
    together = threading.Barrier(8)

    def start(_: int) -> trisignal.Telemetry:
        together.wait(60)
        return trisignal.setup(registry=registry)

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(start, range(8)))) == 1


def test_the_handle_tells_settings_and_their_sources(
    registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in force, and where it came from, can be looked up."""
    monkeypatch.setenv("TRISIGNAL_MAX_SERIES", "500")
    telemetry = trisignal.setup(registry=registry, exemplars=False)
    assert (telemetry.settings.max_series, telemetry.settings.exemplars) == (500, False)
    assert {k: v for k, v in telemetry.sources.items() if v != "default"} == {
        "max_series": "environment",
        "exemplars": "argument",
    }
    assert telemetry.registry is registry


def test_disabled_means_nothing_is_built(registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Disabled, there is a handle and nothing else."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    before = Host(registry)
    telemetry = trisignal.setup(registry=registry, logs="stderr")
    call()
    assert Host(registry) == before
    assert telemetry.force_flush()
    telemetry.shutdown()


# --- failing ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("taken", ["llm_requests", "llm_active_requests", "gen_ai_client_token_usage"])
def test_a_taken_name_is_told_before_anything_is_registered(registry: CollectorRegistry, taken: str) -> None:
    """A collision names the metric and the way out, and leaves everything as it was."""
    (Counter if taken == "llm_requests" else Gauge)(taken, "the host's own", registry=registry)
    before = Host(registry)
    with pytest.raises(MetricCollisionError) as caught:
        trisignal.setup(registry=registry, logs="stderr")
    assert any(name.startswith(taken) for name in caught.value.names)
    assert "metric_prefix=" in str(caught.value)
    assert Host(registry) == before
    trisignal.setup(registry=registry, metric_prefix="app_")
    call()
    assert value(registry, "app_llm_active_requests", **dict(zip(R, ("chat", "p", "m"), strict=True))) == 0


R = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")

WRONG: list[tuple[dict[str, str], dict[str, Any], type[Exception]]] = [
    ({"TRISIGNAL_MAX_SERIES": "1"}, {}, ConfigError),
    ({}, {"redact_patterns": {"a": "("}}, ConfigError),
    ({}, {"prices_file": "/nowhere/prices.yaml"}, PriceFileError),
    ({"OTEL_TRACES_EXPORTER": "otlp"}, {"logs": "/dev/null/file"}, ConfigError),
]


@pytest.mark.parametrize(("environ", "arguments", "error"), WRONG)
def test_a_setup_that_fails_leaves_nothing(
    registry: CollectorRegistry,
    monkeypatch: pytest.MonkeyPatch,
    environ: dict[str, str],
    arguments: dict[str, Any],
    error: type[Exception],
) -> None:
    """Whatever is wrong, no metric, handler, thread or provider stays, and setup() may be tried again."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    for name, text in environ.items():
        monkeypatch.setenv(name, text)
    before = Host(registry)
    with pytest.raises(error):
        trisignal.setup(registry=registry, **arguments)
    assert Host(registry) == before
    assert running() is None
    call()
    for name in (*environ, "OTEL_EXPORTER_OTLP_ENDPOINT"):
        monkeypatch.delenv(name)
    trisignal.setup(registry=registry)
    call()
    assert value(registry, "llm_requests_total", **dict(zip(R, ("chat", "p", "m"), strict=True)), llm_outcome="ok") == 1


@pytest.mark.parametrize(
    ("argument", "given"),
    [
        ("tracer_provider", "otlp"),
        ("tracer_provider", TracerProvider),
        ("meter_provider", "http://localhost:4318"),
        ("logger_provider", logging.getLogger("app")),
        ("registry", "default"),
        ("registry", CollectorRegistry),
        ("redactor", "email"),
        ("price_source", "prices.yaml"),
        ("logs", logging.StreamHandler),
        ("logs", sys.stderr),
    ],
)
def test_objects_of_the_wrong_kind_are_refused(argument: str, given: Any) -> None:
    """A text or a class where an object is expected is an error that names the argument and what may be given."""
    with pytest.raises(ConfigError) as caught:
        trisignal.setup(**{argument: given})
    assert (caught.value.setting, caught.value.source) == (argument, "argument")
    assert running() is None


def test_a_misspelt_variable_is_warned_of(registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that looks like ours and is none is named once, with the one that was meant."""
    monkeypatch.setenv("TRISIGNAL_METRIC_PREFX", "app_")
    with pytest.warns(TrisignalWarning, match="TRISIGNAL_METRIC_PREFX .* did you mean TRISIGNAL_METRIC_PREFIX"):
        trisignal.setup(registry=registry).shutdown()
    trisignal.setup(registry=registry)


# --- shutdown --------------------------------------------------------------------------------------------


def test_shutdown_takes_everything_back(registry: CollectorRegistry, tmp_path: Path) -> None:
    """Metrics, handlers, levels, formatters and threads are as before, and calls pass through."""
    handler = logging.StreamHandler(io.StringIO())
    formatter = logging.Formatter("%(message)s")
    handler.setFormatter(formatter)
    before = Host(registry)
    for logs in ("root", str(tmp_path / "calls.log"), handler):
        with trisignal.setup(registry=registry, logs=logs, meter_provider=MeterProvider()) as telemetry:
            call()
            assert value(registry, "llm_active_requests", **dict(zip(R, ("chat", "p", "m"), strict=True))) == 0
        assert Host(registry) == before
        telemetry.shutdown()
        call()
        assert trisignal.summary().total.calls == 0
    assert handler.formatter is formatter
    assert handler.filters == []


def test_an_old_handle_does_not_shut_down_a_new_setup(registry: CollectorRegistry) -> None:
    """After shutdown() setup() may be called again; the old handle has no say any more."""
    old = trisignal.setup(registry=registry, metric_prefix="a_")
    old.shutdown()
    new = trisignal.setup(registry=registry, metric_prefix="b_")
    assert new is not old
    old.shutdown()
    call()
    assert trisignal.summary().total.calls == 1
    assert all(name.startswith("b_") for name in names(registry))


# --- the host's things -----------------------------------------------------------------------------------


def test_a_given_provider_is_used_and_stays(registry: CollectorRegistry) -> None:
    """Spans go to the given provider, which is flushed but never shut down by us."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    telemetry = trisignal.setup(registry=registry, tracer_provider=provider)
    call()
    assert telemetry.tracer_provider is provider
    assert telemetry.force_flush()
    telemetry.shutdown()
    with provider.get_tracer("host").start_as_current_span("after"):
        pass
    assert [span.name for span in exporter.get_finished_spans()] == ["chat m", "after"]


def run(script: str) -> str:
    """Run a script in a process of its own, which must succeed and be silent on stderr."""
    environ = {**MEASURED, "PYTHONPATH": SOURCE, "PATH": os.environ["PATH"]}
    done = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_pushed_metrics_are_switched_on_by_a_provider(registry: CollectorRegistry) -> None:
    """A given meter provider gets the same numbers as the registry."""
    reader = InMemoryMetricReader()
    trisignal.setup(registry=registry, meter_provider=MeterProvider([reader]))
    call()
    data: Any = reader.get_metrics_data()
    pushed = {metric.name for scope in data.resource_metrics[0].scope_metrics for metric in scope.metrics}
    assert {"llm.requests", "gen_ai.client.operation.duration"} <= pushed


# --- logs ------------------------------------------------------------------------------------------------


def test_without_logs_nothing_is_printed(registry: CollectorRegistry, capfd: pytest.CaptureFixture[str]) -> None:
    """By default no handler is installed, and nothing reaches stdout or stderr, not even failures."""
    with trisignal.setup(registry=registry):
        call()
        with pytest.raises(ZeroDivisionError):
            trisignal.llm(lambda: 1 / 0)()
    assert capfd.readouterr() == ("", "")


def test_nothing_is_printed_without_logging_configured() -> None:
    """The same in a program that has never configured logging, where Python prints warnings by itself."""
    script = "import trisignal\ntrisignal.setup()\ntrisignal.setup()\ntry:\n"
    script += "    trisignal.llm(lambda: 1 / 0)()\nexcept ZeroDivisionError:\n    pass\n"
    assert run(script) == ""


def test_logs_to_stderr(registry: CollectorRegistry, capsys: pytest.CaptureFixture[str]) -> None:
    """``stderr`` is one JSON line per call, on stderr only, and not another one for the root's handlers."""
    trisignal.setup(registry=registry, logs="stderr")
    call()
    logging.getLogger("app").warning("not ours")
    out, err = capsys.readouterr()
    [line] = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    assert (out, line["gen_ai.request.model"], line["level"]) == ("", "m", "INFO")


@pytest.mark.parametrize("as_path", [True, False], ids=["path", "text"])
def test_logs_to_a_file(registry: CollectorRegistry, tmp_path: Path, as_path: bool) -> None:
    """A path is a file that is appended to, and is there from the start, in a directory that is made."""
    path = tmp_path / "deep" / "calls.log"
    for number in (1, 2):
        with trisignal.setup(registry=registry, logs=path if as_path else str(path)):
            assert path.exists()
            call(f"m{number}")
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [line["gen_ai.request.model"] for line in lines] == ["m1", "m2"]


def test_logs_of_the_whole_application(registry: CollectorRegistry, capsys: pytest.CaptureFixture[str]) -> None:
    """``root`` formats every record of the application, with ids of the call and of the request."""
    trisignal.setup(registry=registry, logs="root")
    with trisignal.context(request_id="r-1"), trisignal.workflow("w") as block:
        logging.getLogger("app.module").warning("hello ann@example.com")
    app, ours = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert (app["message"], app["logger"]) == ("hello [REDACTED:email]", "app.module")
    assert app["trace_id"] == ours["trace_id"] == block.trace_id
    assert app["request_id"] == "r-1"


@pytest.mark.parametrize("own", [True, False], ids=["own format", "no format"])
def test_logs_to_a_handler(registry: CollectorRegistry, own: bool) -> None:
    """A handler gets the lines; it keeps its own format, and is made to write JSON where it has none."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    if own:
        handler.setFormatter(logging.Formatter("own %(message)s"))
    trisignal.setup(registry=registry, logs=handler)
    call()
    assert stream.getvalue().startswith("own chat m ok" if own else "{")


def test_a_level_that_the_host_chose_stays(registry: CollectorRegistry) -> None:
    """The calls' logger gets a level only where it has none."""
    CALLS.setLevel(logging.ERROR)
    try:
        with trisignal.setup(registry=registry, logs="stderr"):
            assert CALLS.level == logging.ERROR
        assert CALLS.level == logging.ERROR
    finally:
        CALLS.setLevel(logging.NOTSET)


def test_what_capture_has_seen_stays_readable() -> None:
    """After its block too a capture tells spans, calls, log lines and metrics."""
    with capture() as seen:
        call()
    assert (seen.span.name, len(seen.calls), len(seen.logs)) == ("chat m", 1, 1)
    assert seen.value("llm_requests_total", llm_outcome="ok") == 1


_FIRST_CALL = """
import asyncio, sys
import trisignal

trisignal.setup(service_name="quiet")
opened = []


def note(event, args):
    # What is imported, or was compiled for it, is not a file of ours.
    if event == "open" and not any(part in str(args[0]) for part in (".py", ".so")):
        opened.append(args[0])


async def first():
    with trisignal.llm(provider="openai", model="gpt-4o-mini") as call:
        call.set_usage(input_tokens=10, output_tokens=5)


sys.addaudithook(note)
asyncio.run(first())
print(opened, trisignal.summary().total.cost_usd)
"""


def test_the_first_call_opens_no_file() -> None:
    """It may run in an event loop, which is not to wait for a disk: what is read of files, setup() reads."""
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": SOURCE, **MEASURED}
    done = subprocess.run(
        [sys.executable, "-c", _FIRST_CALL], env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.startswith("[] 4.5"), done.stdout + done.stderr
