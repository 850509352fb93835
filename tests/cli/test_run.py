"""``trisignal run``: an application that knows nothing of trisignal, with all three signals."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback import Loopback, Recorded, Reply, json_reply
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from waiting import until

import trisignal

testing = pytest.importorskip("click.testing")
pytest.importorskip("rich")
pytest.importorskip("openai")

from trisignal import cli  # noqa: E402 - needs the extra

SOURCE = Path(trisignal.__file__).parents[1]
STARTUP = SOURCE / "trisignal" / "_startup"
CHOICES = [{"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}]
USAGE = {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}
REPLY = {"id": "c1", "object": "chat.completion", "created": 1, "model": "gpt-4o", "choices": CHOICES, "usage": USAGE}
CALL = """
import os, sys, urllib.request

def ask():
    from openai import OpenAI
    with OpenAI(api_key="k") as client:
        client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "Well?"}])

def page():
    with urllib.request.urlopen(f"http://127.0.0.1:{os.environ['TRISIGNAL_METRICS_PORT']}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return [line for line in lines if line.startswith("llm_requests_total") and 'outcome="ok"' in line]
"""
FORKED = """
import openai

for _ in range(2):
    child = os.fork()
    if not child:
        ask()
        os._exit(0)
    os.waitpid(child, 0)
print([line.rpartition(" ")[2] for line in page()])
print(os.environ.get("PROMETHEUS_MULTIPROC_DIR"))
"""
SERVED = """
from fastapi import FastAPI
from openai import AsyncOpenAI

app = FastAPI()
client = AsyncOpenAI(api_key="k")

@app.get("/ask")
async def ask():
    reply = await client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "Well?"}])
    return reply.choices[0].message.content
"""
posix = pytest.mark.skipif(os.name == "nt", reason="processes of another kind")


@pytest.fixture(name="provider")
def _provider() -> Iterator[Loopback]:
    """Plays the provider, and takes spans."""

    def answer(request: Recorded) -> Reply:
        return (
            Reply(headers={"Content-Type": "application/x-protobuf"}) if "traces" in request.path else json_reply(REPLY)
        )

    with Loopback() as server:
        server.handle(answer)
        yield server


def environment(provider: Loopback | None = None, **more: str) -> dict[str, str]:
    """What an application's processes inherit."""
    environ = {**os.environ, "PYTHONPATH": str(SOURCE), "PYTHONDONTWRITEBYTECODE": "1"}
    if provider is not None:
        environ |= {"OPENAI_BASE_URL": provider.url, "OTEL_EXPORTER_OTLP_ENDPOINT": provider.url}
    return {**environ, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", **more}


def words(*arguments: str) -> list[str]:
    """A command line of ours."""
    return [sys.executable, "-c", "from trisignal.cli import main; main()", "run", *arguments]


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a command under ours to its end."""
    given = {**environment(), **environ}
    return subprocess.run(words(*arguments), env=given, capture_output=True, text=True, timeout=60)


def written(folder: Path, text: str) -> str:
    """A script with the helpers above in front."""
    path = folder / "script.py"
    path.write_text(CALL + textwrap.dedent(text), encoding="utf-8")
    return str(path)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def fetched(url: str) -> str:
    """A page, as soon as there is one."""
    end = time.monotonic() + 90
    while True:
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:
                return str(answer.read().decode())
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


# --- an application -----------------------------------------------------------------------------


@posix
def test_a_server_shows_its_metrics_and_spans(provider: Loopback, tmp_path: Path) -> None:
    """A uvicorn application that calls a model has /metrics and exported spans, and dies of its own signal."""
    (tmp_path / "service.py").write_text(SERVED, encoding="utf-8")
    port, metrics = free_port(), free_port()
    command = words("--metrics-port", str(metrics), "--", sys.executable, "-m", "uvicorn", "service:app")
    environ = environment(provider, OTEL_BSP_SCHEDULE_DELAY="100", OTEL_SERVICE_NAME="shop")
    with subprocess.Popen(
        [*command, "--port", str(port)], env=environ, cwd=tmp_path, stderr=subprocess.PIPE
    ) as process:
        try:
            assert fetched(f"http://127.0.0.1:{port}/ask") == '"Yes."'
            page = fetched(f"http://127.0.0.1:{metrics}/metrics")
            until(lambda: any(b"chat gpt-4o" in request.body for request in provider.requests), "an export")
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(60) == -signal.SIGTERM
        assert process.stderr is not None
        assert f"trisignal: metrics on http://127.0.0.1:{metrics}/metrics".encode() in process.stderr.readline()
    assert 'llm_requests_total{gen_ai_operation_name="chat",gen_ai_provider_name="openai"' in page
    assert "python_info" in page
    # Frameworks may have spans of their own, and what is not seen answered in time is sent again.
    exports = {request.body for request in provider.requests if "traces" in request.path}
    resources = [part for body in exports for part in ExportTraceServiceRequest.FromString(body).resource_spans]
    scopes = [scope for resource in resources for scope in resource.scope_spans if scope.scope.name == "trisignal"]
    assert [span.name for scope in scopes for span in scope.spans] == ["chat gpt-4o"]
    assert all("shop" in str(resource.resource) for resource in resources)


@posix
@pytest.mark.parametrize(("option", "seen"), [("--multiprocess", ["2.0"]), ("--one-process", [])])
def test_forked_workers_are_added_up(provider: Loopback, tmp_path: Path, option: str, seen: list[str]) -> None:
    """With a common directory the page adds up all processes; without one, those that are not shown say so."""
    done = run("--metrics-port", "0", option, "--", written(tmp_path, FORKED), OPENAI_BASE_URL=provider.url)
    counts, directory = done.stdout.splitlines()
    assert (done.returncode, counts) == (0, str(seen))
    lost = [line for line in done.stderr.splitlines() if "does not show the calls of process" in line]
    if option == "--multiprocess":
        assert lost == []
        assert "trisignal-metrics-" in directory
        assert not Path(directory).exists()
    else:
        assert (len(lost), directory) == (2, "None")


def test_exit_code_arguments_and_path_are_the_commands_own() -> None:
    """The command runs as if it had been started by hand."""
    script = "import sys; print(sys.argv, 'openai' in sys.modules, sys.path); sys.exit(7)"
    bare = subprocess.run(
        [sys.executable, "-c", script, "a", "--b"], env=environment(), capture_output=True, text=True, timeout=60
    )
    done = run("--no-metrics", "--", sys.executable, "-c", script, "a", "--b")
    assert (done.returncode, done.stdout) == (7, bare.stdout)
    assert re.fullmatch(r"trisignal: no model call was recorded in \d+ s \(clients: none was imported\)\n", done.stderr)
    assert "['-c', 'a', '--b'] False" in bare.stdout


def test_a_module_may_be_named() -> None:
    """``-m`` goes to the interpreter that runs trisignal."""
    done = run("--no-metrics", "--", "-m", "this")
    assert (done.returncode, done.stderr.count("\n")) == (0, 1)
    assert "Zen of Python" in done.stdout


COUNTED = """
import trisignal
for number in range(3):
    with trisignal.llm(provider="openai", model="gpt-4o") as call:
        call.set_usage(input_tokens=1000, output_tokens=100)
try:
    with trisignal.llm(provider="openai", model="gpt-4o"):
        raise ValueError
except ValueError:
    pass
"""


@pytest.mark.parametrize("more", [(), ("--multiprocess",)])
def test_the_last_line_says_what_was_recorded(more: tuple[str, ...]) -> None:
    """Calls, failures, tokens and cost of all processes, in one line at the end."""
    done = run("--metrics-port", "0", *more, "--", sys.executable, "-c", COUNTED)
    assert re.fullmatch(
        r"trisignal: 4 model calls \(1 failed\) recorded in \d+ s: 3,000 tokens in, 300 out, 0\.0105 USD",
        done.stderr.splitlines()[-1],
    )


# --- start-up ------------------------------------------------------------------------------------

ACTIVE = "from trisignal.assembly.telemetry import running; import sitecustomize; print(running() is not None, sitecustomize.HOST)"


@pytest.mark.parametrize("broken", [False, True])
def test_the_hosts_own_sitecustomize_runs(tmp_path: Path, broken: bool) -> None:
    """A ``sitecustomize`` further down the path is run, be it broken, and is the one that is imported."""
    more = "raise ValueError('of the host')" if broken else ""
    (tmp_path / "sitecustomize.py").write_text(f"HOST = 'host'\n{more}\n", encoding="utf-8")
    path = os.pathsep.join((str(tmp_path), str(SOURCE)))
    script = ACTIVE.replace("import sitecustomize; ", "").replace(", sitecustomize.HOST", "") if broken else ACTIVE
    done = run("--no-metrics", "--", sys.executable, "-c", script, PYTHONPATH=path)
    assert (done.returncode, done.stdout.split()) == (0, ["True"] if broken else ["True", "host"])
    assert ("of the host" in done.stderr) is broken


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"TRISIGNAL_METRIC_PROFILE": "nope"}, "TRISIGNAL_METRIC_PROFILE='nope'"),
        ({"TRISIGNAL_METRICS_PORT": "nope"}, "TRISIGNAL_METRICS_PORT='nope'"),
        ({"PYTHONPATH": str(STARTUP)}, ""),
    ],
)
def test_the_application_runs_without_us(environ: dict[str, str], said: str, tmp_path: Path) -> None:
    """Whatever keeps trisignal from starting is one line on stderr, and the application runs on."""
    (tmp_path / "trisignal.py").write_text("raise ImportError('not for this interpreter')\n", encoding="utf-8")
    first = tmp_path if "PYTHONPATH" in environ else SOURCE
    path = os.pathsep.join((str(STARTUP), str(first)))
    given = {**environment(TRISIGNAL_AUTO="1"), **environ, "PYTHONPATH": path}
    command = [sys.executable, "-c", "print('ran')"]
    done = subprocess.run(command, env=given, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (0, "ran\n", 1)
    assert done.stderr.startswith("trisignal: not active in this process: ")
    assert said in done.stderr


# --- wrong input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "environ", "said"),
    [
        ((), {}, "Missing argument 'COMMAND...'"),
        (("--", "no-such-command"), {}, "no such command: 'no-such-command'"),
        (("--no-such-option", "--", "python"), {}, "No such option"),
        (("--metrics-port", "70000", "--", sys.executable), {}, "70000"),
        (("--", sys.executable), {"TRISIGNAL_METRIC_PROFILE": "nope"}, "TRISIGNAL_METRIC_PROFILE='nope'"),
        (("--metrics-port", "0", "--", sys.executable), {"PROMETHEUS_MULTIPROC_DIR": "no/such"}, "names no directory"),
    ],
)
def test_wrong_input_is_one_line(arguments: tuple[str, ...], environ: dict[str, str], said: str) -> None:
    """A mistake is one line on stderr and exit code 2, and nothing is started."""
    result = testing.CliRunner().invoke(cli.group(), ["run", *arguments], env=environ, prog_name="trisignal")
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert said in result.stderr


def test_a_port_in_use_is_told() -> None:
    """Where the port is taken, one line says so before the command starts."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        arguments = ["run", "--metrics-port", port, "--", sys.executable]
        result = testing.CliRunner().invoke(cli.group(), arguments, prog_name="trisignal")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert f"cannot listen on port {port} (" in result.stderr
    assert "--metrics-port" in result.stderr


@pytest.mark.parametrize(
    ("command", "shared"),
    [
        ("uvicorn app:app", False),
        ("python app.py", False),
        ("uvicorn app:app --workers 4", True),
        ("uvicorn app:app --workers=4", True),
        ("/usr/bin/gunicorn app:app", True),
        ("python -m gunicorn app:app", True),
        ("python manage.py runserver", True),
    ],
)
def test_workers_are_told_from_the_command(command: str, shared: bool) -> None:
    """Commands that make worker processes get a common directory without being asked."""
    from trisignal.cli.run import _has_workers

    assert _has_workers(command.split()) is shared
