"""Lines for people: a tree of calls, nothing that a terminal would interpret."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable
from threading import Thread
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

import trisignal
from trisignal.sinks import console
from trisignal.sinks.console import ConsoleLine, plain, render


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """It is."""
        return True


@pytest.fixture(name="written")
def _written(capsys: pytest.CaptureFixture[str]) -> Callable[[], list[str]]:
    """Lines that were written so far."""
    lines: list[str] = []

    def written() -> list[str]:
        lines.extend(capsys.readouterr().err.splitlines())
        return lines

    trisignal.setup(registry=CollectorRegistry(), logs="console")
    return written


def call(model: str, **usage: int) -> None:
    """Record a call."""
    with trisignal.llm(provider="openai", model=model) as block:
        if usage:
            block.set_usage(**usage)


def names(lines: list[str]) -> list[str]:
    """What the lines are about, with their indentation."""
    found = [re.match(r"\d\d:\d\d:\d\d  ( *)(.*?)  ", line) for line in lines]
    return ["".join(match.groups()) for match in found if match]


def test_calls_stand_under_their_workflow(written: Callable[[], list[str]]) -> None:
    """One line per call: the workflow first, what ran inside below it in order of start, deeper things deeper."""
    with trisignal.workflow("trip"):
        call("gpt-4o-mini", input_tokens=12, output_tokens=5)
        with trisignal.agent("planner"):
            call("gpt-4o")
            with trisignal.tool("search"):
                pass
    call("alone")
    assert names(written()) == [
        "invoke_workflow trip", "  chat gpt-4o-mini", "  invoke_agent planner", "    chat gpt-4o",
        "    execute_tool search", "chat alone",
    ]  # fmt: skip
    assert "12 in, 5 out, $0.0000048" in written()[1] or "$0.000005" in written()[1]


def test_a_failure_has_its_kind(written: Callable[[], list[str]]) -> None:
    """A failed call says how, and never with the text of the exception."""
    with pytest.raises(ValueError, match="secret"), trisignal.llm(model="m"):
        raise ValueError("secret")
    [line] = written()
    assert ("error" in line, "other: ValueError" in line, "secret" in line) == (True, True, False)


def test_lines_do_not_wait_for_ever(written: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs long gets a heading, so that its calls can be read while it runs."""
    monkeypatch.setattr(console, "LONGEST_WAIT_S", -1)
    with trisignal.workflow("long"):
        call("first")
        assert names(written()) == ["invoke_workflow long", "  chat first"]
        assert " runs " in written()[0]
        call("second")
        assert names(written())[2:] == ["  chat second"]
    assert names(written())[3:] == ["invoke_workflow long"]


def test_what_waits_is_written_at_the_end(written: Callable[[], list[str]]) -> None:
    """shutdown() writes the calls of a workflow that never ended."""
    block = trisignal.workflow("open")
    block.__enter__()
    call("inside")
    assert written() == []
    trisignal.setup().shutdown()
    assert names(written()) == ["invoke_workflow open", "  chat inside"]
    block.__exit__(None, None, None)


def test_side_by_side_workflows_do_not_mix(written: Callable[[], list[str]]) -> None:
    """Two workflows in two threads are two trees."""

    def run(name: str) -> None:
        with trisignal.workflow(name):
            for number in range(5):
                call(f"{name}-{number}")

    threads = [Thread(target=run, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seen = names(written())
    for name in ("a", "b"):
        at = seen.index(f"invoke_workflow {name}")
        assert seen[at + 1 : at + 6] == [f"  chat {name}-{number}" for number in range(5)]


@pytest.mark.parametrize(
    ("stream", "environ", "colored"),
    [(Terminal(), {}, True), (Terminal(), {"NO_COLOR": "1"}, False), (Terminal(), {"TERM": "dumb"}, False),
     (io.StringIO(), {}, False)],
)  # fmt: skip
def test_colours_on_a_terminal_only(
    stream: Any, environ: dict[str, str], colored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Escape codes go to a terminal that takes them, and nowhere else."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stderr", stream)
    with trisignal.setup(registry=CollectorRegistry(), logs="console"):
        call("m")
    assert ("\x1b[32m" in stream.getvalue()) == colored


@settings(max_examples=200)
@given(name=st.text(), facts=st.text())
def test_nothing_from_outside_is_interpreted(name: str, facts: str) -> None:
    """Whatever a model is called, a line is one line of printable characters."""
    text = render([ConsoleLine(0, 1, "ok", "12:00:00", name, facts)], color=False)
    assert text.isprintable()
    assert len(text.splitlines()) == 1
    assert plain(name) == name or not name.isprintable()


def test_a_console_without_unicode_still_gets_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that the terminal's encoding has not is escaped."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(raw, encoding="ascii", write_through=True))
    with trisignal.setup(registry=CollectorRegistry(), logs="console"):
        call("größe")
    assert b"gr\\xf6\\xdfe" in raw.getvalue()
