"""The plugin for pytest: fixture, assertions, bill and limits, in runs of pytest of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from loopback import Loopback, json_reply
from measured import MEASURED

import trisignal
from trisignal.pytest_plugin.recorded_calls import CallsBill, RecordedCalls, bill_lines, recorded

REPLY = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1_700_000_000,
    "model": "gpt-4o-2024-08-06",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "In Ulm."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100},
}
TESTS = """
import pytest
import trisignal
from trisignal import testing

REPLY = {
    "id": "chatcmpl-1", "object": "chat.completion", "created": 1700000000, "model": "gpt-4o-2024-08-06",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "In Ulm."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100},
}

@trisignal.llm(provider="openai", model="gpt-4o")
def ask():
    return REPLY

def test_plain():
    ask()
    ask()

def test_fixture(trisignal_calls):
    ask()
    trisignal_calls.assert_calls(1)

def test_own_setup():
    with testing.capture():
        ask()
    handle = trisignal.setup(service_name="mine", set_global=False)
    ask()
    handle.shutdown()

@pytest.fixture
def warm():
    ask()

def test_warm(warm):
    testing.reset()

@pytest.mark.llm_max_usd(0.005)
def test_dear():
    ask()
    ask()

@pytest.mark.llm_max_usd(usd=0.005)
def test_cheap():
    ask()

def test_nothing():
    pass
"""


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    """Exit status and output of pytest in a folder."""
    (folder / "test_agent.py").write_text(TESTS, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n", encoding="utf-8")
    known = any(point.name == "trisignal" for point in entry_points(group="pytest11"))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:asyncio",
        *([] if known else ["-p", "trisignal.pytest_plugin"]),
    ]
    environ = {**MEASURED, "PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([*command, *arguments], cwd=folder, env=environ, capture_output=True, text=True, timeout=240)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_the_bill_of_a_run(tmp_path: Path, workers: tuple[str, ...]) -> None:
    """Each test is listed with its calls, tokens and dollars, whoever recorded them, also from workers."""
    status, output = run(tmp_path, "--llm-report", *workers)
    rows = {name: (int(calls), int(tokens), float(usd)) for calls, tokens, usd, name in _rows(output)}
    assert rows == {
        "test_agent.py::test_plain": (2, 2200, 0.007),
        "test_agent.py::test_fixture": (1, 1100, 0.0035),
        "test_agent.py::test_own_setup": (2, 2200, 0.007),
        "test_agent.py::test_warm": (1, 1100, 0.0035),
        "test_agent.py::test_dear": (2, 2200, 0.007),
        "test_agent.py::test_cheap": (1, 1100, 0.0035),
        "in all, of 7 tests": (9, 9900, 0.0315),
    }
    assert status == 1
    assert "the model calls of this test cost 0.007 USD; it may cost 0.005" in output
    assert "1 failed, 6 passed" in output


def _rows(output: str) -> list[tuple[str, str, str, str]]:
    return re.findall(r"^ +(\d+) +(\d+) +([\d.]+)  (.+)$", output, re.MULTILINE)


@pytest.mark.slow
def test_a_run_stops_over_its_limit(tmp_path: Path) -> None:
    """The first test that goes over the limit is the last one, and the run has failed."""
    status, output = run(tmp_path, "--llm-max-usd", "0.011", "-k", "plain or fixture or own or nothing")
    assert status == 1, output
    assert "model calls cost 0.0175 USD; --llm-max-usd allows 0.011" in output
    assert "3 passed" in output
    status, output = run(tmp_path, "--llm-max-usd", "0.0175", "-k", "plain or fixture or own or nothing")
    assert status == 0, output


# --- assertions ------------------------------------------------------------------------------


@trisignal.tool
def search(query: str) -> str:
    """A tool."""
    return f"nothing about {query}"


def test_assertions_on_a_real_client() -> None:
    """Cost, tokens, calls, tools, content and outcome of what a real client did, and clients are as before after."""
    openai: Any = pytest.importorskip("openai")
    with Loopback() as server, recorded() as calls:
        server.play(json_reply(REPLY))
        with openai.OpenAI(base_url=server.url, api_key="k") as client:
            client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "Where is it?"}])
        search("umbrellas")
        calls.assert_calls(1).assert_calls(at_most=1, model="gpt-4o").assert_tokens(1100).assert_cost(
            at_most_usd=0.0035
        )
        calls.assert_tools("search").assert_outcome("ok").assert_content("In Ulm.").assert_content("it?", where="input")
        calls.assert_content("umbrellas", where="input").assert_content("nothing about umbrellas", where="any")
        assert (calls.usd, calls.tokens, calls.tools) == (pytest.approx(0.0035), 1100, ["search"])
        for wrong, said in WRONG:
            with pytest.raises(AssertionError, match=said):
                wrong(calls)
        calls.clear()
        with pytest.raises(AssertionError, match="there was no model call"):
            calls.assert_outcome("ok")
    assert trisignal.clients.instrumented() == ()


WRONG = [
    (lambda calls: calls.assert_calls(2), "1 calls, and not 2"),
    (lambda calls: calls.assert_calls(at_most=0, model="gpt-4o"), "1 calls of gpt-4o, and at most 0"),
    (lambda calls: calls.assert_calls(), "give a number"),
    (lambda calls: calls.assert_tokens(at_most=1000), "1100 tokens, and at most 1000"),
    (lambda calls: calls.assert_cost(at_most_usd=0.001), r"cost 0\.0035 USD, and may cost 0\.001"),
    (lambda calls: calls.assert_tools("book"), r"\['search'\] ran, and not \['book'\]"),
    (lambda calls: calls.assert_outcome("error"), "not all as error"),
    (lambda calls: calls.assert_content("Bonn"), "'Bonn' stands nowhere"),
]


def test_what_has_no_price_or_usage_fails_its_assertion() -> None:
    """Unknown is not zero."""
    with recorded() as calls:
        with trisignal.llm(provider="nobody", model="unheard-of") as call:
            call.set_usage(input_tokens=10, output_tokens=1)
        with pytest.raises(AssertionError, match="no price is known of unheard-of"):
            calls.assert_cost(at_most_usd=1)
        with trisignal.llm(provider="openai", model="gpt-4o"):
            pass
        with pytest.raises(AssertionError, match="no usage was reported"):
            calls.assert_tokens(at_most=100)


def test_errors_have_a_kind() -> None:
    """A failed call is asserted with the kind of its error."""
    with recorded() as calls:
        with pytest.raises(TimeoutError), trisignal.llm(provider="openai", model="gpt-4o"):
            raise TimeoutError
        calls.assert_outcome("error", error_kind="timeout")
        with pytest.raises(AssertionError, match="and not as rate_limit"):
            calls.assert_outcome("error", error_kind="rate_limit")


def test_unpriced_calls_are_named_in_the_bill() -> None:
    """A sum that lacks something says so."""
    lines = list(bill_lines({"a": CallsBill(2, 30, 0.5, 0), "b": CallsBill(1, 10, 0.0, 1), "c": CallsBill()}))
    assert [line.split() for line in lines[1:3]] == [["2", "30", "0.500000", "a"], ["1", "10", "0.000000", "b"]]
    assert lines[-1] == "1 calls have no known price, and are not in the sum"
    assert isinstance(RecordedCalls, type)
