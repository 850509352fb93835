"""``trisignal run``: start a command with trisignal in every Python process of it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import click

from trisignal import config
from trisignal.assembly import zero_code
from trisignal.web.metrics_page import MULTIPROCESS_VARIABLES

PORT = 9464
"""Default TCP port of the metrics page."""
HOST = "127.0.0.1"
_STARTUP = str(Path(zero_code.__file__).parents[1] / "_startup")
_SERVERS_WITH_WORKERS = frozenset(
    {"celery", "daphne", "dramatiq", "granian", "gunicorn", "hypercorn", "rq", "runserver", "uwsgi"}
)
_WORKER_OPTIONS = frozenset({"--workers", "-w", "--processes", "--reload", "--debug"})


@click.command(name="run", context_settings={"allow_interspersed_args": False})
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    default=PORT,
    show_default=True,
    envvar=zero_code.PORT_VARIABLE,
    help="Loopback port of /metrics; 0 takes a free one.",
)
@click.option("--no-metrics", is_flag=True, help="Serve no /metrics.")
@click.option(
    "--multiprocess/--one-process",
    default=None,
    help="Add up the metrics of all worker processes, which costs exemplars; derived from the command if not given.",
)
@click.argument("words", metavar="COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED)
def command(metrics_port: int, no_metrics: bool, multiprocess: bool | None, words: tuple[str, ...]) -> None:
    """Run COMMAND with every supported client instrumented, and /metrics on a loopback port.

    Nothing in the application changes. Settings come from TRISIGNAL_* and OTEL_* variables.
    """
    config.load()
    path, words = _found(words)
    environ = dict(os.environ)
    environ[zero_code.SWITCH] = "1"
    # An empty entry would stand for the current folder.
    environ["PYTHONPATH"] = os.pathsep.join(filter(None, (_STARTUP, environ.get("PYTHONPATH"))))
    for name in (zero_code.PORT_VARIABLE, zero_code.SERVING, zero_code.DIRECTORY_VARIABLE):
        environ.pop(name, None)
    if not no_metrics:
        port = _checked(metrics_port)
        environ[zero_code.PORT_VARIABLE] = str(port)
        _share(environ, _has_workers(words) if multiprocess is None else multiprocess)
        click.echo(f"trisignal: metrics on http://{HOST}:{port}/metrics", err=True)
    _become(path, words, environ)


def _found(words: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """The executable and its arguments; a Python file or ``-m`` goes to this interpreter."""
    path = shutil.which(words[0])
    if path is not None:
        return path, words
    if words[0] == "-m" or words[0].endswith(".py"):
        return sys.executable, (sys.executable, *words)
    raise click.UsageError(f"no such command: {words[0]!r}")


def _checked(port: int) -> int:
    """A port that can be listened on; the process that does so is still to come."""
    try:
        with socket.create_server((HOST, port)) as probe:
            return int(probe.getsockname()[1])
    except OSError as error:
        # create_server adds the address to its text.
        why = os.strerror(error.errno) if error.errno else str(error)
        raise click.UsageError(f"cannot listen on port {port} ({why}): choose another with --metrics-port") from None


def _has_workers(words: Sequence[str]) -> bool:
    if os.environ.get("WEB_CONCURRENCY"):
        return True
    names = {Path(word).name for word in words}
    return bool(names & _SERVERS_WITH_WORKERS or {word.partition("=")[0] for word in words} & _WORKER_OPTIONS)


def _share(environ: dict[str, str], wanted: bool) -> None:
    """See to it that the processes have a common directory, if they need one."""
    given = next((name for name in MULTIPROCESS_VARIABLES if environ.get(name)), None)
    if given is not None:
        if not Path(environ[given]).is_dir():
            raise click.UsageError(f"{given} names no directory: create it first")
    elif wanted:
        made = tempfile.mkdtemp(prefix="trisignal-metrics-")
        environ[MULTIPROCESS_VARIABLES[0]] = environ[zero_code.DIRECTORY_VARIABLE] = made


def _become(path: str, words: tuple[str, ...], environ: dict[str, str]) -> NoReturn:
    """Replace this process, so that signals and exit code are the command's own."""
    if os.name == "nt":
        sys.exit(subprocess.call(words, executable=path, env=environ))
    for name in ("SIGPIPE", "SIGXFSZ"):
        # Python ignores them, and what is ignored stays so in the command.
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    try:
        os.execve(path, words, environ)
    except OSError as error:
        raise click.UsageError(f"cannot run {path!r}: {error.strerror}") from None
