"""The ``trisignal`` command itself: its table, its mistakes, its exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import pytest

import trisignal

click = pytest.importorskip("click")
testing = pytest.importorskip("click.testing")
pytest.importorskip("rich")

from trisignal import cli  # noqa: E402 - needs the extra
from trisignal.errors import ConfigError  # noqa: E402


def run(*arguments: str) -> tuple[int, str, str]:
    result = testing.CliRunner().invoke(cli.group(), list(arguments), prog_name="trisignal")
    return result.exit_code, result.stdout, result.stderr


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": str(Path(trisignal.__file__).parent.parent)}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        env=environ, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module that stands in the table as command ``made``; its body is set by the test."""
    module = ModuleType("made_command")
    monkeypatch.setitem(sys.modules, "made_command", module)
    monkeypatch.setitem(cli.COMMANDS, "made", "made_command")
    return module


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_of_the_table_has_help(name: str) -> None:
    """Each row leads to a command that explains itself, and the overview lists it."""
    code, out, err = run(name, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"Usage: trisignal {name} ")
    code, out, _ = run("--help")
    assert code == 0
    [line] = [line for line in out.splitlines() if line.startswith(f"  {name} ")]
    assert len(line.split()) > 1


def test_version_is_that_of_the_distribution() -> None:
    """``--version`` prints name and version."""
    assert run("--version") == (0, f"trisignal {version('trisignal')}\n", "")


def test_without_a_command_help_is_printed() -> None:
    """Called with nothing, the command says what it can do."""
    _, out, err = run()
    assert "Commands:" in out + err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("no-such-command",), "No such command"),
        (("--no-such-option",), "No such option"),
        (("prices", "no-such-command"), "No such command"),
        (("prices", "show"), "Missing argument 'MODEL'"),
        (("prices", "show", "no-such-model"), "no price of model 'no-such-model'"),
    ],
)
def test_wrong_input_is_one_line(arguments: tuple[str, ...], said: str) -> None:
    """Whatever was typed wrong is told in one line on stderr, with exit code 2."""
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("trisignal: ")
    assert (err.count("\n"), err[-1]) == (1, "\n")
    assert said in err


def test_errors_of_the_library_are_one_line(made: ModuleType) -> None:
    """A setting or a file that is wrong ends a command like a wrong argument does."""

    @click.command()
    def command() -> None:
        raise ConfigError("metric_profile", "1.0", "1.41,\n2026-10")

    made.command = command
    code, out, err = run("made")
    assert (code, out) == (2, "")
    assert err == "trisignal: metric_profile='1.0' (from argument) cannot be used; allowed: 1.41, 2026-10\n"


@pytest.mark.parametrize(("raised", "code"), [(None, 0), (3, 3), (KeyboardInterrupt(), 130)])
def test_exit_codes_are_those_of_the_commands(made: ModuleType, raised: int | BaseException | None, code: int) -> None:
    """A command that returns ends with 0, one that exits with its own code, an interrupted one with 130."""

    @click.command()
    @click.pass_context
    def command(ctx: click.Context) -> None:
        if isinstance(raised, int):
            ctx.exit(raised)
        if raised is not None:
            raise raised

    made.command = command
    assert run("made")[0] == code


def test_a_command_loads_its_own_file_only() -> None:
    """No other command is imported, and neither rich nor a vendor's SDK before it is needed."""
    done = python(
        "import sys\n"
        "from trisignal.cli import group\n"
        "try:\n"
        "    group()(['prices', 'age'])\n"
        "except SystemExit as end:\n"
        "    assert not end.code\n"
        "print(sorted({'trisignal.cli.demo', 'rich', 'openai'} & set(sys.modules)))\n"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_a_missing_package_is_told_with_the_line_that_installs_it(missing: str) -> None:
    """Without the extra the console script says in one line what to install, and exits with 2."""
    done = python(f"import sys; sys.modules[{missing!r}] = None; from trisignal.cli import main; main()", "demo")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "pip install 'trisignal[cli]'" in done.stderr


def test_the_console_script_runs_commands() -> None:
    """``main`` takes the arguments of the process."""
    done = python("from trisignal.cli import main; main()", "prices", "show", "gpt-4o", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert '"model": "gpt-4o"' in done.stdout
