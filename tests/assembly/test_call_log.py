"""The call log goes on whatever a host does to logging, or it says that it does not."""

from __future__ import annotations

import io
import json
import logging
import logging.config
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

import trisignal
from trisignal.errors import ConfigError, TrisignalWarning

CALLS = "trisignal.calls"


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """What a test does to logging is undone, also to loggers that `dictConfig` has disabled by the way."""
    for name in (CALLS, "app"):
        logging.getLogger(name)
    existing = logging.root.manager.loggerDict.values()
    loggers = [logging.getLogger(), *(one for one in existing if isinstance(one, logging.Logger))]
    before = [(one, one.level, one.disabled, one.propagate, list(one.handlers), list(one.filters)) for one in loggers]
    known, listed = dict(logging._handlers), list(logging._handlerList)  # type: ignore[attr-defined]
    yield
    logging.disable(logging.NOTSET)
    for one, level, disabled, propagate, handlers, filters in before:
        one.setLevel(level)
        one.disabled, one.propagate, one.handlers, one.filters = disabled, propagate, handlers, filters
    logging._handlers.update(known)  # type: ignore[attr-defined]
    logging._handlerList[:] = listed  # type: ignore[attr-defined]


def call(model: str = "m", fails: bool = False) -> None:
    """Record one call."""
    try:
        with trisignal.llm(provider="p", model=model):
            if fails:
                raise ValueError
    except ValueError:
        pass


def lines(path: Path) -> list[dict[str, Any]]:
    """Lines of a log file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


ROOT = {"version": 1, "handlers": {"h": {"class": "logging.NullHandler"}}, "root": {"level": "INFO", "handlers": ["h"]}}
WARNINGS_ONLY = {"version": 1, "disable_existing_loggers": False, "root": {"level": "WARNING", "handlers": []}}
FILE = """
[loggers]
keys=root
[handlers]
keys=h
[formatters]
keys=
[logger_root]
level=WARNING
handlers=h
[handler_h]
class=NullHandler
args=()
"""


def celery() -> None:
    """What Celery does where it takes the root logger over, and Django with its default settings."""
    logging.getLogger().handlers = []
    for logger in [one for one in logging.Logger.manager.loggerDict.values() if isinstance(one, logging.Logger)]:
        logger.handlers = []


def uvicorn() -> None:
    """What ``uvicorn --log-config`` does by default."""
    from uvicorn.config import LOGGING_CONFIG

    logging.config.dictConfig({**LOGGING_CONFIG, "disable_existing_loggers": True})


def parent(level: str, **more: Any) -> Callable[[], None]:
    """A configuration that names our parent logger."""
    loggers = {"trisignal": {"level": level, "handlers": [], **more}}
    return lambda: logging.config.dictConfig({"version": 1, "loggers": loggers})


HOSTS: dict[str, Callable[[], object]] = {
    "dictConfig": lambda: logging.config.dictConfig(ROOT),
    "dictConfig twice": lambda: [logging.config.dictConfig(ROOT) for _ in range(2)],
    "dictConfig keeps loggers": lambda: logging.config.dictConfig(WARNINGS_ONLY),
    "dictConfig of our parent": parent("ERROR"),
    "dictConfig of our parent without propagation": parent("ERROR", propagate=False),
    "fileConfig": lambda: logging.config.fileConfig(io.StringIO(FILE)),
    "basicConfig by force": lambda: logging.basicConfig(force=True, level=logging.ERROR, stream=io.StringIO()),
    "celery": celery,
    "uvicorn": uvicorn,
    "shutdown": logging.shutdown,
    "disabled": lambda: setattr(logging.getLogger(CALLS), "disabled", True),
    "no handlers": lambda: logging.getLogger(CALLS).handlers.clear(),
    "root level": lambda: logging.getLogger().setLevel(logging.CRITICAL),
    "no propagation": lambda: setattr(logging.getLogger(CALLS), "propagate", False),
}


@pytest.mark.parametrize("host", HOSTS)
def test_lines_in_a_file_go_on(host: str, registry: CollectorRegistry, tmp_path: Path) -> None:
    """After the host has configured logging there is one line per call as before, and only one."""
    path = tmp_path / "calls.log"
    with trisignal.setup(registry=registry, logs=path):
        call("before")
        HOSTS[host]()
        call("after")
        call("failed", fails=True)
    assert [line["gen_ai.request.model"] for line in lines(path)] == ["before", "after", "failed"]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("logs", ["stderr", "stdout", "root", "handler", "console"])
def test_lines_elsewhere_go_on(
    logs: str, host: str, registry: CollectorRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same for streams, for the whole application, for a handler and for people."""
    stream = io.StringIO()
    target: Any = logging.StreamHandler(stream) if logs == "handler" else logs
    with pytest.warns() if logs == "root" else _nothing(), trisignal.setup(registry=registry, logs=target):
        call("before")
        HOSTS[host]()
        call("after")
        if logs == "root":
            trisignal._guard.warn("there is always one")  # type: ignore[attr-defined]
    out, err = capsys.readouterr()
    written = {"stdout": out, "handler": stream.getvalue()}.get(logs, err)
    assert [word for word in ("before", "after") if f"chat {word}" in written] == ["before", "after"]
    assert len([line for line in written.splitlines() if "chat after" in line]) == 1


class _nothing:
    def __enter__(self) -> None: ...
    def __exit__(self, *error: object) -> None: ...


def test_the_whole_application_loses_its_format_and_hears_of_it(registry: CollectorRegistry) -> None:
    """Where configuration takes our handler from the root logger, a warning says what follows and what to do."""
    with trisignal.setup(registry=registry, logs="root"):
        logging.config.dictConfig(ROOT)
        with pytest.warns(TrisignalWarning, match="took our handler from the root logger.*configure logging first"):
            call()
        call()


def test_what_is_meant_is_heeded(registry: CollectorRegistry, tmp_path: Path) -> None:
    """A level of this very logger is a wish, and so is `logging.disable`."""
    path = tmp_path / "calls.log"
    with trisignal.setup(registry=registry, logs=path):
        logging.getLogger(CALLS).setLevel(logging.ERROR)
        call("quiet")
        call("failed", fails=True)
        logging.getLogger(CALLS).setLevel(logging.INFO)
        logging.disable(logging.CRITICAL)
        call("lost")
        logging.disable(logging.NOTSET)
        call("back")
    assert [line["gen_ai.request.model"] for line in lines(path)] == ["failed", "back"]


def test_handlers_of_the_host_get_the_lines_too(registry: CollectorRegistry, tmp_path: Path) -> None:
    """A handler that the host puts on our logger afterwards gets each line once, beside ours."""
    theirs = io.StringIO()
    with trisignal.setup(registry=registry, logs=tmp_path / "calls.log"):
        config = {
            "version": 1,
            "handlers": {"h": {"class": "logging.StreamHandler", "stream": theirs}},
            "loggers": {CALLS: {"level": "INFO", "handlers": ["h"]}},
        }
        logging.config.dictConfig(config)
        call()
    assert theirs.getvalue().count("chat m ok") == len(lines(tmp_path / "calls.log")) == 1


# --- the file --------------------------------------------------------------------------------------------


def renamed(path: Path) -> None:
    """As logrotate does by default."""
    path.rename(path.with_suffix(".1"))


def replaced(path: Path) -> None:
    """Another file of this name is there by now."""
    path.rename(path.with_suffix(".1"))
    path.write_text("")


def truncated(path: Path) -> None:
    """As logrotate does with copytruncate."""
    shutil.copy(path, path.with_suffix(".1"))
    os.truncate(path, 0)


@pytest.mark.parametrize("what", [renamed, replaced, truncated, Path.unlink, lambda path: shutil.rmtree(path.parent)])
def test_a_file_that_is_rotated_or_deleted_is_opened_anew(
    what: Callable[[Path], None], registry: CollectorRegistry, tmp_path: Path
) -> None:
    """The next line is in the file that has the name, and what was written stays where it went."""
    path = tmp_path / "logs" / "calls.log"
    with trisignal.setup(registry=registry, logs=path):
        call("before")
        what(path)
        call("after")
        call("again")
    assert [line["gen_ai.request.model"] for line in lines(path)] == ["after", "again"]
    old = path.with_suffix(".1")
    assert not old.exists() or [line["gen_ai.request.model"] for line in lines(old)] == ["before"]
    assert not registry.get_sample_value("trisignal_dropped_total", {"queue": "log_file"})


@pytest.mark.parametrize("where", ["/proc/nowhere/calls.log", "/dev/null/calls.log", "FOLDER", "a\0b.log"])
def test_a_path_that_cannot_be_written_is_an_error_of_setup(where: str, tmp_path: Path) -> None:
    """setup() says which setting it is and why, and leaves nothing behind."""
    with pytest.raises(ConfigError) as caught:
        trisignal.setup(logs=str(tmp_path) if where == "FOLDER" else where)
    assert (caught.value.setting, caught.value.source) == ("logs", "argument")
    assert logging.getLogger(CALLS).handlers == []
    trisignal.setup(registry=CollectorRegistry())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_a_pipe_is_not_waited_for(tmp_path: Path, registry: CollectorRegistry) -> None:
    """A pipe with a name is written to without being opened by setup(), which would wait for its reader."""
    path = tmp_path / "pipe.log"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with trisignal.setup(registry=registry, logs=path):
        call()
        call()
        assert os.read(reader, 100_000).count(b"chat m ok") == 2
    os.close(reader)


def test_a_path_object_is_never_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registry: CollectorRegistry
) -> None:
    """Path("calls") and Path("stderr") are files, though the words would not be."""
    monkeypatch.chdir(tmp_path)
    for name in ("calls", "stderr"):
        with trisignal.setup(registry=registry, logs=Path(name)):
            call()
        assert len(lines(tmp_path / name)) == 1


# --- streams ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("logs", ["stdout", "stderr", "console"])
def test_a_stream_that_is_gone_disturbs_nobody(
    logs: str, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines for a closed stream, or for none, are dropped; those for a closed one are counted."""
    name = "stdout" if logs == "stdout" else "stderr"
    with trisignal.setup(registry=registry, logs=logs):
        closed = io.StringIO()
        closed.close()
        monkeypatch.setattr(sys, name, closed)
        call()
        monkeypatch.setattr(sys, name, None)
        call()
        assert registry.get_sample_value("trisignal_dropped_total", {"queue": name}) == 1


def test_a_reader_that_leaves_is_not_an_error() -> None:
    """``program | head -1`` ends without a word of ours."""
    script = "import trisignal\ntrisignal.setup(logs='stdout')\nfor _ in range(2000):\n    with trisignal.llm(model='m'): pass"
    source = str(Path(trisignal.__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={"PYTHONPATH": source, "PATH": os.environ["PATH"]},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    assert b"chat m ok" in process.stdout.readline()
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    process.wait(60)
    assert b"Traceback" not in err


# --- one fact, once --------------------------------------------------------------------------------------


def test_a_line_states_each_fact_once(registry: CollectorRegistry, tmp_path: Path) -> None:
    """Service, parent, user and bound values are on the line, each under one name."""
    path = tmp_path / "calls.log"
    facts = {
        "request_id": "r-1", "conversation_id": "c-1", "user_id": "u-1", "agent_name": "a-1", "prompt_name": "p-1",
        "prompt_version": "v-1", "tenant": "t-1", "plan": "pl-1",
    }  # fmt: skip
    with trisignal.setup(registry=registry, logs=path, service_name="svc", metric_dimensions=["tenant"]):
        with trisignal.context(**facts), trisignal.workflow("w") as workflow:
            with trisignal.llm(provider="openai", model="gpt-4o") as block:
                block.set_usage(input_tokens=3, output_tokens=4)
            call("failed", fails=True)
    good, bad, outer = lines(path)
    for line in (good, bad, outer):
        assert line["service.name"] == "svc"
        for value in facts.values():
            assert [key for key, other in line.items() if other == value] != [], value
            assert len([key for key, other in line.items() if other == value]) == 1, (value, line)
        assert line["user.id"] == "u-1"
    assert good["parent_span_id"] == bad["parent_span_id"] == outer["span_id"] == workflow.ref["span_id"]
    assert len([key for key, value in good.items() if value == good["cost_usd"]]) == 1
    assert [key for key, value in bad.items() if value == "error"] == ["llm_outcome"]
    assert [key for key, value in bad.items() if value == "other"] == ["llm_error_kind"]


def test_every_line_of_the_application_names_the_service(
    registry: CollectorRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    """With logs="root" the application's own lines have the service and the user under the same names."""
    with trisignal.setup(registry=registry, logs="root", service_name="svc"), trisignal.context(user_id="u-1"):
        logging.getLogger("app").warning("hello")
    [line] = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert (line["service.name"], line["user.id"], "user_id" in line) == ("svc", "u-1", False)
