"""What doctor says of an application: setup, clients, variables, log file, workers; one finding per cause, verdict first."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from measured import MEASURED
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, Sampler, TraceIdRatioBased
from prometheus_client import CollectorRegistry

import trisignal
from trisignal.export.otel_providers import RecordingSampler, ReplaceableSampler
from trisignal.operate import doctor
from trisignal.operate.doctor import application, export, settings, store, workers
from trisignal.operate.doctor.findings import Finding, grouped, verdict

SOURCE = str(Path(trisignal.__file__).parents[1])
SETTLED = "import trisignal\ntrisignal.setup(service_name='shop')\ntrisignal.instrument()\n"


def run(folder: Path, *arguments: str, app: str = "", **variables: str) -> tuple[int, list[dict[str, str]]]:
    """Exit code and findings of the command, in a process and a folder of its own; the first one is the verdict."""
    if app:
        (folder / "shop.py").write_text(app)
        arguments = ("--app", "shop", *arguments)
    environ = {**MEASURED, "PYTHONPATH": SOURCE, "PATH": os.environ["PATH"], "OTEL_SERVICE_NAME": "shop", **variables}
    command = [sys.executable, "-c", "from trisignal.cli import main; main()", "doctor", "--json", *arguments]
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=110, check=False)
    assert done.stderr == ""
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert found[0]["check"] == "verdict"
    return done.returncode, found


def wrong(found: list[dict[str, str]]) -> list[str]:
    """What is said of warnings and errors, the verdict aside."""
    return [one["said"] for one in found[1:] if one["level"] in ("warning", "error")]


def test_an_application_with_nothing_wrong(tmp_path: Path) -> None:
    """The verdict says so, and the exit code is 0."""
    code, found = run(tmp_path, app=SETTLED)
    assert (code, found[0]["level"], wrong(found)) == (0, "ok", [])
    said = " ".join(one["said"] for one in found)
    assert "instrument() is called" in said
    assert "spans go to the tracer provider that setup() built, which is the global one" in said


PLANTED: list[tuple[str, dict[str, str], str, str]] = [
    ("import trisignal\ntrisignal.setup()", {}, "instrument() is not called, and nothing is decorated", "error"),
    ("import trisignal\ntrisignal.instrument()", {}, "setup() is not called by the application, instrument() is", "error"),
    ("import json", {}, "setup() is not called by the application: nothing is recorded", "error"),
    (SETTLED, {"TRISIGNAL_METRIC_DIMENSION": "tenant"}, "TRISIGNAL_METRIC_DIMENSION is not known", "warning"),
    (SETTLED, {"TRISIGNAL_LOGS": "/proc/nowhere/calls.log"}, "calls.log", "error"),
    ("import trisignal\ntrisignal.setup(logs='/dev/null/x.log')", {}, "the application does not start: logs=", "error"),
    (SETTLED, {"OTEL_TRACES_EXPORTER": "zipkin"}, "exporters that are not installed: zipkin", "warning"),
    (SETTLED, {"OTEL_BSP_SCHEDULE_DELAY": "5s"}, "OTEL_BSP_SCHEDULE_DELAY='5s' cannot be used", "warning"),
    (SETTLED, {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "openai"}, "calls of openai are not recorded", "warning"),
    (SETTLED + "import logging\nlogging.disable()\n", {"TRISIGNAL_LOGS": "stderr"}, "logging.disable(CRITICAL)", "warning"),
    (
        SETTLED + "import logging\nlogging.getLogger().handlers = []\n", {"TRISIGNAL_LOGS": "root"},
        "logging was configured after setup(logs='root')", "warning",
    ),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("app", "variables", "said", "level"), PLANTED)
def test_planted_faults_are_found(app: str, variables: dict[str, str], said: str, level: str, tmp_path: Path) -> None:
    """Each fault is one finding, and the verdict begins with it."""
    code, found = run(tmp_path, app=app, **variables)
    assert [one for one in wrong(found) if said in one] == wrong(found)[:1], wrong(found)
    assert said in found[0]["said"]
    assert (code, found[0]["level"]) == (int(level == "error"), level)


@pytest.mark.parametrize(
    "arguments",
    [("--app", "nowhere"), ("--url", "nonsense"), ("--queries", "absent.json"), ("--config", "absent.yaml"),
     ("--url", "http://127.0.0.1:1/metrics", "--header", "no colon")],
)  # fmt: skip
def test_wrong_input_is_answered_as_json(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """With --json whatever is wrong with the input is a finding, too."""
    code, found = run(tmp_path, *arguments)
    assert (code, [one["check"] for one in found]) == (2, ["verdict", "input"])


# --- providers -------------------------------------------------------------------------------------------


def said_of(check: Iterator[Finding]) -> str:
    """Everything that a check says."""
    return " ".join(f"{one.level}: {one.said}" for one in check)


def test_where_spans_go() -> None:
    """Each way of setting a tracer provider is told apart."""
    given = TracerProvider()
    for arguments, expected in (
        ({}, "ok: spans go to the tracer provider that setup() built, which is the global one"),
        ({"set_global": False}, "info: spans go to a private tracer provider"),
        ({"tracer_provider": given}, "ok: spans go to the TracerProvider that setup() was given"),
    ):
        with trisignal.setup(registry=CollectorRegistry(), **arguments):  # type: ignore[arg-type]
            assert expected in said_of(application.check(imported=False))


def test_levels_of_the_call_logger(tmp_path: Path) -> None:
    """A level that silences the lines of good calls is a warning."""
    logger = logging.getLogger("trisignal.calls")
    with trisignal.setup(registry=CollectorRegistry(), logs=tmp_path / "calls.log"):
        assert "ok: lines of calls are written" in said_of(application.check(imported=False))
        logger.setLevel(logging.WARNING)
        assert "has level WARNING" in said_of(application.check(imported=False))


# --- workers ---------------------------------------------------------------------------------------------

WEB = "import trisignal\ntrisignal.setup(service_name='web')\ntrisignal.instrument()\napp = trisignal.metrics_app()\n"


@pytest.mark.parametrize("shared", [False, True], ids=["alone", "with a directory"])
def test_workers_without_a_common_directory_are_seen_from_outside(shared: bool, tmp_path: Path) -> None:
    """Two real workers behind one port are told from two that share a directory."""
    pytest.importorskip("uvicorn")
    (tmp_path / "web.py").write_text(WEB)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environ = {**MEASURED, "PYTHONPATH": SOURCE, "PATH": os.environ["PATH"]}
    if shared:
        (tmp_path / "metrics").mkdir()
        environ["PROMETHEUS_MULTIPROC_DIR"] = str(tmp_path / "metrics")
    command = [sys.executable, "-m", "uvicorn", "web:app", "--workers", "2", "--port", str(port)]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=tmp_path, env=environ, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if (tmp_path / "log").read_text().count("Application startup complete") == 2:
                break
            time.sleep(0.1)
        found = list(workers.check(f"http://127.0.0.1:{port}/metrics", {}, 10.0))
    finally:
        server.terminate()
        server.wait(60)
    assert [one.level for one in found] == ([] if shared else ["error"])
    assert all("PROMETHEUS_MULTIPROC_DIR" in one.do for one in found)


def test_counters_that_fall_are_several_processes() -> None:
    """Where a page has no start time, a counter that goes back shows that another process answered."""
    pages = ['llm_requests_total{a="b"} 5.0\n', 'llm_requests_total{a="b"} 6.0\n']
    assert not workers._goes_back(pages)
    assert workers._goes_back([*pages, pages[0]])
    assert workers._goes_back([*pages, ""]) is False
    assert workers._goes_back([pages[0], "llm_cost_usd_total 2.5e-05 # {} 1\n"])


# --- what it comes to ------------------------------------------------------------------------------------


def test_one_cause_is_one_finding() -> None:
    """What one act cures is said together; good news and different acts stay apart."""
    many = [Finding("rules", "error", f"m{number} is missing", "set the prefix") for number in range(8)]
    found = grouped([Finding("a", "ok", "one"), many[0], Finding("a", "ok", "one"), *many, Finding("a", "error", "x")])
    assert [one.level for one in found] == ["ok", "error", "ok", "error"]
    assert found[1].said == "m0 is missing; m1 is missing; m2 is missing; m3 is missing; m4 is missing; and 3 more"


def test_the_verdict() -> None:
    """It counts, and names what to begin with: the first of the worst."""
    found = [Finding("a", "warning", "w", "dw"), Finding("b", "error", "e", "de"), Finding("c", "error", "f", "df")]
    assert verdict(found) == Finding("verdict", "error", "2 errors and 1 warning; first: e", "de")
    assert verdict([Finding("a", "ok", "fine"), Finding("a", "info", "hm")]).level == "ok"


def test_a_check_that_fails_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check with a mistake of its own costs only itself."""

    def broken() -> Any:
        raise RuntimeError("no")
        yield

    monkeypatch.setattr(doctor.machine, "check", broken)
    found = list(doctor.examine())
    assert [one.said for one in found if one.check == "process"] == ["this could not be checked: RuntimeError: no"]
    assert {one.check for one in found} >= {"install", "settings", "export", "metrics"}


@pytest.mark.parametrize(
    ("sampler", "variables", "dropped"),
    [
        (ALWAYS_OFF, {}, "AlwaysOffSampler"),
        (ReplaceableSampler(ParentBased(TraceIdRatioBased(0))), {}, "TraceIdRatioBased{0}"),
        (RecordingSampler(ALWAYS_OFF), {}, "AlwaysOffSampler"),
        (ParentBased(TraceIdRatioBased(0.01)), {}, ""),
        (None, {"OTEL_TRACES_SAMPLER": "parentbased_always_off"}, "parentbased_always_off"),
        (None, {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.0"}, "traceidratio"),
        (None, {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"}, ""),
        (None, {"OTEL_TRACES_SAMPLER": "traceidratio"}, ""),
    ],
)
def test_a_sampler_that_drops_everything(
    sampler: Sampler | None, variables: dict[str, str], dropped: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spans that are to be exported and never are: an error that names the sampler, in the provider or in a variable."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    provider: object = TracerProvider(sampler=sampler) if sampler else object()
    if isinstance(provider, TracerProvider):
        provider.add_span_processor(SimpleSpanProcessor(InMemorySpanExporter()))
    else:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    found = [one for one in export.check(provider, 1.0) if "sampler" in one.said]
    assert [one.level for one in found] == ["error"] * bool(dropped)
    assert all(dropped in one.said for one in found)


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    """A folder below a file, a file for a folder, a folder for a file; what can be made is fine, and is not made."""
    file = tmp_path / "file"
    file.write_text("")
    assert settings.not_writable(file / "store", folder=True)
    assert settings.not_writable(file, folder=True) == "it is a file"
    assert settings.not_writable(tmp_path) == "it is a folder"
    assert settings.not_writable(tmp_path / "a" / "b", folder=True) == ""
    assert settings.not_writable(tmp_path / "calls.log") == ""
    assert sorted(tmp_path.iterdir()) == [file]


def test_a_store_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an error before anything is lost."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TRISIGNAL_STORE", str(tmp_path / "file" / "store"))
    [found] = store.check()
    assert found.level == "error"
    assert "cannot be written" in found.said


def test_a_name_that_setup_may_give_is_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the application nobody knows what setup() is given: no variable names the service, and that is all."""
    monkeypatch.delenv("OTEL_SERVICE_NAME", raising=False)
    [found] = [one for one in settings.check() if "the service" in one.said]
    assert found.level == "info"
