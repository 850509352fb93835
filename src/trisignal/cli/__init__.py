"""The ``trisignal`` command: one table, one file per subcommand, each imported when it is called."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NoReturn

from trisignal.errors import MissingExtraError, TrisignalError

if TYPE_CHECKING:
    import click

COMMANDS = {
    "console": "trisignal.cli.console",
    "dashboards": "trisignal.cli.dashboards",
    "demo": "trisignal.cli.demo",
    "doctor": "trisignal.cli.doctor",
    "mcp": "trisignal.cli.mcp",
    "prices": "trisignal.cli.prices",
    "report": "trisignal.cli.report",
    "rules": "trisignal.cli.rules",
    "run": "trisignal.cli.run",
    "store": "trisignal.cli.store",
    "top": "trisignal.cli.top",
    "traces": "trisignal.cli.traces",
}
"""Subcommand to the module whose ``command`` it is."""

WRONG_INPUT = 2
"""Exit code when what was asked for cannot be done as asked."""
_INTERRUPTED = 130
_LONGEST = 2000


def main() -> None:
    """Run the command line; this is the ``trisignal`` console script."""
    if find_spec("click") is None or find_spec("rich") is None:
        _refuse(str(MissingExtraError("the trisignal command", "cli")))
    group()(prog_name="trisignal")


def group() -> click.Group:
    """The command with all its subcommands; needs the extra ``cli``."""
    import click

    class Commands(click.Group):
        def list_commands(self, ctx: click.Context) -> list[str]:
            return sorted(COMMANDS)

        def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
            module = COMMANDS.get(cmd_name)
            if module is None:
                return None
            found: click.Command = import_module(module).command
            return found

        def main(self, *args: Any, **extra: Any) -> Any:
            """Like the inherited method, but a mistake is reported in one line."""
            extra["standalone_mode"] = False
            try:
                code = super().main(*args, **extra)
            except click.ClickException as error:
                if isinstance(error, _help_wanted(click)):
                    error.show()
                    sys.exit(error.exit_code)
                _refuse(error.format_message() + _offered(click, error), error.exit_code)
            except TrisignalError as error:
                _refuse(str(error))
            except click.Abort:
                sys.exit(_INTERRUPTED)
            sys.exit(code if isinstance(code, int) else 0)

    made = Commands(
        "trisignal",
        help="One LLM call, three signals: an OpenTelemetry span, Prometheus metrics, a JSON log line.",
        epilog="Try it without a key and without a network: trisignal demo",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    return click.version_option(_version(), prog_name="trisignal", message="%(prog)s %(version)s")(made)


def _help_wanted(click: Any) -> tuple[type[Exception], ...]:
    # Since click 8.2 a group that is called without a subcommand raises its help text.
    found = getattr(click.exceptions, "NoArgsIsHelpError", None)
    return () if found is None else (found,)


def _offered(click: Any, error: Any) -> str:
    """What there is in place of a misspelt subcommand or option."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is None or not error.format_message().startswith("No such "):
        return ""
    command = context.command
    if isinstance(command, click.Group) and not isinstance(error, click.NoSuchOption):
        names = command.list_commands(context)
    else:
        names = [option for one in command.get_params(context) for option in one.opts if option.startswith("--")]
    return f" Allowed: {', '.join(names)}."


def _refuse(line: str, code: int = WRONG_INPUT) -> NoReturn:
    from trisignal.cli._terminal import plain
    from trisignal.errors import shown

    sys.stderr.write(f"trisignal: {plain(shown(' '.join(line.split()), _LONGEST))}\n")
    sys.exit(code)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("trisignal")
    except PackageNotFoundError:
        return "(not installed)"
