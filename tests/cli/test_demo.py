"""``trisignal demo``: every kind of call, three signals that agree, output for any terminal."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from prometheus_client import REGISTRY

import trisignal

testing = pytest.importorskip("click.testing")
Console = pytest.importorskip("rich.console").Console
pytest.importorskip("openai")

from trisignal import clients  # noqa: E402 - needs the extra
from trisignal.cli import group  # noqa: E402
from trisignal.cli._demo_calls import OPENMETRICS, QUESTION, Shown, as_shipped  # noqa: E402
from trisignal.cli._demo_calls import run as make  # noqa: E402
from trisignal.cli._demo_view import SIDE_BY_SIDE, show  # noqa: E402
from trisignal.testing import capture  # noqa: E402
from trisignal.web.metrics_page import serve_metrics  # noqa: E402

IDS = re.compile(r'\{span_id="(\w+)",trace_id="(\w+)"\}')


def run(*arguments: str, **environ: str) -> tuple[int, str, str]:
    result = testing.CliRunner().invoke(group(), ["demo", *arguments], prog_name="trisignal", env=environ)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def start(*arguments: str, **environ: str) -> subprocess.Popen[str]:
    """A process of its own, as a user starts it."""
    return subprocess.Popen(
        [sys.executable, "-c", "from trisignal.cli import main; main()", "demo", *arguments],
        env={**os.environ, "PYTHONPATH": str(Path(trisignal.__file__).parent.parent), **environ},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    """What one run tells scripts."""
    code, out, err = run("--json")
    assert (code, err) == (0, "")
    found: dict[str, Any] = json.loads(out)
    return found


@pytest.fixture(scope="module")
def shown() -> Shown:
    """What one run has to show."""
    with as_shipped(), capture() as seen:
        page = serve_metrics(registry=seen.registry)
        try:
            return make(seen, page.url)
        finally:
            page.close()


def draw(shown: Shown, **terminal: Any) -> str:
    console = Console(file=StringIO(), highlight=False, legacy_windows=False, **terminal)
    show(console, shown, serving=False)
    text: str = console.file.getvalue()
    return text


def test_the_three_signals_share_their_ids(told: dict[str, Any]) -> None:
    """Span, log line and exemplars of the call on show carry the same trace and span id."""
    ids = (told["trace_id"], told["span_id"])
    assert (told["span"]["trace_id"], told["span"]["span_id"]) == ids
    assert (told["log"]["trace_id"], told["log"]["span_id"]) == ids
    exemplars = [found.groups()[::-1] for line in told["metrics"] if (found := IDS.search(line))]
    assert exemplars == [ids] * 3


def test_the_three_signals_agree(told: dict[str, Any]) -> None:
    """Tokens and cost are the same on the span, in the log line and in the metrics."""
    span, log = told["span"]["attributes"], told["log"]
    shorter = {"llm.request_id": "request_id", "llm.cost.total_usd": "cost_usd", "gen_ai.usage.cost": "cost_usd"}
    for name, value in span.items():
        assert log[shorter.get(name, name)] == value
    metrics = {line.partition("} ")[0]: float(line.partition("} ")[2].split()[0]) for line in told["metrics"]}
    tokens = {
        kind: [value for name, value in metrics.items() if f'gen_ai_token_type="{kind}"' in name]
        for kind in ("input", "output")
    }
    assert tokens["input"] == [span["gen_ai.usage.input_tokens"]]
    assert tokens["output"] == [span["gen_ai.usage.output_tokens"]]
    cost_usd = sum(value for name, value in metrics.items() if name.startswith("llm_cost_usd_total"))
    assert cost_usd == pytest.approx(log["cost_usd"])
    assert log["cost_usd"] > 0


def test_the_trace_is_one_tree(told: dict[str, Any]) -> None:
    """Workflow, stage, retrieval, agent, tool and model calls hang together under one root."""
    trace = told["trace"]
    ids = {span["span_id"] for span in trace}
    roots = [span for span in trace if span["parent_span_id"] is None]
    assert [span["name"] for span in roots] == ["invoke_workflow answer_question"]
    assert all(span["parent_span_id"] in ids for span in trace if span not in roots)
    assert {span["name"].split()[0] for span in trace} == {
        "invoke_workflow", "stage", "retrieval", "invoke_agent", "execute_tool", "embeddings", "chat",
    }  # fmt: skip


def test_calls_of_every_kind_are_made(told: dict[str, Any]) -> None:
    """There is a stream, a retry, an error, an abandoned stream, and all that can be priced is."""
    calls = told["calls"]
    assert [call["outcome"] for call in calls].count("ok") == len(calls) - 2
    [failed] = [call for call in calls if call["outcome"] == "error"]
    [left] = [call for call in calls if call["outcome"] == "abandoned"]
    assert failed["error_kind"] == "invalid_request"
    assert left["time_to_first_token_s"] > 0
    assert [call["retries"] for call in calls].count(1) == 1
    assert {call["operation"] for call in calls} == {"chat", "embeddings"}
    assert {call["provider"] for call in calls} == {"openai"}
    assert all(call["cost_usd"] > 0 for call in calls if call["outcome"] == "ok")


def test_no_signal_holds_content(told: dict[str, Any]) -> None:
    """Neither what was asked nor what was answered is anywhere in the output."""
    text = json.dumps(told)
    assert "jane.doe" in QUESTION
    for private in ("jane.doe", "Where is order", "left the warehouse", "on its way"):
        assert private not in text


def test_settings_of_the_machine_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings, keys, endpoints and proxies in the environment change nothing, and are there afterwards."""
    nowhere = "http://127.0.0.1:9"
    environ = {
        "TRISIGNAL_DISABLED": "true",
        "TRISIGNAL_METRIC_PROFILE": "no such profile",
        "OTEL_EXPORTER_OTLP_ENDPOINT": nowhere,
        "OPENAI_BASE_URL": nowhere,
        "http_proxy": nowhere,
        "ALL_PROXY": nowhere,
    }
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    code, out, _ = run("--json")
    assert code == 0
    assert len(json.loads(out)["calls"]) == 8
    assert {name: os.environ[name] for name in environ} == environ


def test_nothing_is_left_behind() -> None:
    """Afterwards the client is as before, and the process's own registry has no metric of the demo."""
    assert run("--json")[0] == 0
    assert clients.instrumented() == ()
    assert REGISTRY.get_sample_value("llm_requests_total") is None
    assert not any(family.name.startswith(("llm_", "gen_ai_")) for family in REGISTRY.collect())


@pytest.mark.parametrize("columns", [50, 80, SIDE_BY_SIDE, 97, 120])
def test_output_fits_the_terminal(shown: Shown, columns: int) -> None:
    """No line is wider than the terminal, nothing is cut off, and panels stand side by side where they fit."""
    out = draw(shown, width=columns)
    lines = out.splitlines()
    assert max(map(len, lines)) <= columns
    assert '"request_id": "req-7f3a"}' in out
    if columns >= 80:
        heading, span, log, exemplars = 1, 1, 1, 3
        assert out.count(shown.call.trace_id) == heading + span + log + exemplars
    tops, bottoms = ([line.count(corner) for line in lines if corner in line] for corner in "╭╰")
    assert tops == bottoms
    assert tops == ([2, 1, 1] if columns >= SIDE_BY_SIDE else [1, 1, 1, 1])


def test_the_ids_stand_out(shown: Shown) -> None:
    """The trace id is in reverse video wherever it is, with colours and without."""
    for no_color in (False, True):
        out = draw(shown, width=100, force_terminal=True, color_system="truecolor", no_color=no_color)
        codes = re.findall(rf"\x1b\[([\d;]+)m{shown.call.trace_id}\x1b\[0m", out)
        assert len(codes) == 6
        assert {"7"} <= set.intersection(*(set(code.split(";")) for code in codes))


def test_no_color_is_honoured() -> None:
    """With NO_COLOR a terminal gets bold, dim and reverse, and no colour."""
    _, out, _ = run(COLUMNS="100", FORCE_COLOR="1", NO_COLOR="1", TERM="xterm-256color")
    codes = {int(part) for code in re.findall(r"\x1b\[([\d;]+)m", out) for part in code.split(";")}
    assert 7 in codes
    assert codes <= set(range(10))


def test_piped_output_has_no_codes() -> None:
    """What goes to a file or a pipe is plain text, and says what to do next."""
    code, out, err = run(COLUMNS="120")
    assert (code, err) == (0, "")
    assert "\x1b" not in out
    assert "trisignal demo --serve" in out


def test_terminals_without_unicode_are_served() -> None:
    """Where a character is lacking another stands for it."""
    process = start(PYTHONIOENCODING="ascii", PYTHONUTF8="0", COLUMNS="100")
    out, err = process.communicate(timeout=240)
    assert (process.returncode, err) == (0, "")
    assert out.isascii()
    assert "|- stage retrieve" in out
    assert "?" not in out


def test_svg_is_self_contained(tmp_path: Path) -> None:
    """The picture is well-formed and loads nothing."""
    path = tmp_path / "demo.svg"
    assert run("--svg", str(path)) == (0, "", "")
    text = path.read_text(encoding="utf-8")
    assert ET.fromstring(text).tag.endswith("svg")
    assert "url(" not in text.replace("url(#", "")
    assert "font-face" not in text


def test_serving_ends_by_itself() -> None:
    """``--for`` bounds how long the page is up."""
    code, out, err = run("--json", "--serve", "--port", "0", "--for", "0.05")
    assert code == 0
    assert json.loads(out)["trace_id"]
    assert "/metrics for 0.05 s" in err


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
def test_the_page_is_served_until_interrupted() -> None:
    """``--serve`` leaves the same exemplars up on loopback; Ctrl-C ends it with exit code 0."""
    with start("--serve", "--json", "--port", "0") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        told = json.loads(process.stdout.readline())
        url = process.stderr.readline().split()[1]
        assert url.startswith("http://127.0.0.1:")
        with urlopen(Request(url, headers={"Accept": OPENMETRICS}), timeout=60) as answer:
            page = answer.read().decode()
        assert set(told["metrics"]) <= set(page.splitlines())
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=240) == 0


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
def test_the_provider_answers_other_programs_until_interrupted() -> None:
    """``--provider`` prints what a shell needs, answers the real client, and ends with exit code 0 at Ctrl-C."""
    import openai

    with start("--provider", "--port", "0", PROMETHEUS_MULTIPROC_DIR="not-used") as process:
        assert process.stdout is not None
        lines = [process.stdout.readline().split() for _ in range(2)]
        assert [word for word, _ in lines] == ["export", "export"]
        variables = dict(setting.split("=", 1) for _, setting in lines)
        assert set(variables) == {"OPENAI_BASE_URL", "OPENAI_API_KEY"}
        client = openai.OpenAI(base_url=variables["OPENAI_BASE_URL"], api_key=variables["OPENAI_API_KEY"])
        reply = client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "Where is it?"}])
        assert reply.choices[0].message.content
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=240) == 0


@pytest.mark.parametrize("what", ["--serve", "--provider"])
def test_a_port_in_use_is_reported(what: str) -> None:
    """Where the port is taken, one line says so and how to choose another."""
    taken = serve_metrics()
    try:
        code, out, err = run(what, "--port", str(taken.port))
    finally:
        taken.close()
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert f"port {taken.port}" in err
    assert "--port" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--port", "1"), "--port has no effect without --serve or --provider"),
        (("--for", "1"), "--for has no effect without --serve or --provider"),
        (("--provider", "--serve"), "--provider makes no calls"),
        (("--provider", "--json"), "--provider makes no calls"),
        (("--serve", "--port", "70000"), "70000"),
        (("--serve", "--for", "-1"), "-1"),
        (("--svg", "no-such-folder/demo.svg"), "no-such-folder/demo.svg"),
    ],
)
def test_wrong_input_is_one_line(arguments: tuple[str, ...], said: str) -> None:
    """A mistake is one line on stderr and exit code 2."""
    code, out, err = run(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err


def test_multiprocess_mode_is_refused() -> None:
    """The files of other processes are not touched."""
    code, out, err = run(PROMETHEUS_MULTIPROC_DIR="somewhere")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "unset PROMETHEUS_MULTIPROC_DIR" in err


def test_a_missing_client_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the openai package one line names the extra that brings it."""
    monkeypatch.setitem(sys.modules, "openai", None)
    code, out, err = run("--json")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "pip install 'trisignal[demo]'" in err
