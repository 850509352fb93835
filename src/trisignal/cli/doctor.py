"""``trisignal doctor``: what is set up, what is wrong with it, and what to do."""

from __future__ import annotations

import json
import os
import sys
import warnings
from importlib import import_module

import click

from trisignal.cli import WRONG_INPUT
from trisignal.cli._terminal import plain
from trisignal.errors import ConfigError, TrisignalError, TrisignalWarning
from trisignal.errors import shown as quoted
from trisignal.operate import doctor, objectives, scrape
from trisignal.operate.doctor import application, readers
from trisignal.operate.doctor.findings import LEVELS, Finding, worst

_LONGEST = 2000
_STYLES = {"ok": "green", "info": "blue", "warning": "yellow", "error": "bold red"}


@click.command(name="doctor", short_help="Check the set-up: what is there, what is wrong, what to do.")
@click.option("--app", metavar="MODULE[:ATTR]", help="Import the application first, so that its setup() is looked at.")
@click.option("--url", default="", metavar="URL", help="Metrics page of the running application.")
@click.option("--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="Sent to the metrics page.")
@click.option("--config", "path", default="", metavar="FILE", help="Plan of your rules, as for trisignal rules.")
@click.option("--queries", "files", multiple=True, metavar="FILE", help="Dashboard (JSON) or rule file to check, too.")
@click.option("--engine", "engine_urls", multiple=True, metavar="URL", help="Metrics page of a model server it calls.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(0.1, 60), default=5.0, show_default=True,
              help="Seconds to wait for each server.")  # fmt: skip
@click.option("--strict", is_flag=True, help="Warnings count as errors.")
@click.option("--quiet", "-q", is_flag=True, help="Show warnings and errors only.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@click.pass_context
def command(
    ctx: click.Context, app: str | None, url: str, headers: tuple[str, ...], path: str, files: tuple[str, ...],
    engine_urls: tuple[str, ...], timeout_s: float, strict: bool, quiet: bool, as_json: bool,
) -> None:  # fmt: skip
    """Look at what is installed, at the settings of this environment, at exporters and at a metrics page.

    Run it where the application runs: same machine or container, same user, same variables. Settings that are
    arguments of setup() are checked with --app, which imports the module as its server does; metrics of the
    running application with --url, those of the model servers that it calls with --engine.

    Exit code: 0 nothing is wrong, 1 there is an error (with --strict also a warning), 2 wrong input.
    """
    # What it finds it says itself, better.
    warnings.simplefilter("ignore", TrisignalWarning)
    found, code = _examined(app, url, headers, path, files, engine_urls, timeout_s)
    found = [one._replace(said=quoted(one.said, _LONGEST), do=quoted(one.do, _LONGEST)) for one in found]
    verdict = doctor.verdict(found)
    shown = [finding for finding in found if not quiet or finding.level in ("warning", "error")]
    if as_json:
        for finding in (verdict, *shown):
            click.echo(json.dumps(finding._asdict()))
    elif code:
        raise click.UsageError(found[-1].said)
    else:
        _print(verdict, shown)
    failed = LEVELS.index("warning" if strict else "error")
    ctx.exit(code or int(LEVELS.index(worst(found)) >= failed))


def _examined(
    app: str | None,
    url: str,
    headers: tuple[str, ...],
    path: str,
    files: tuple[str, ...],
    engine_urls: tuple[str, ...],
    timeout_s: float,
) -> tuple[list[Finding], int]:
    """All findings, and the exit code where the input is wrong: that is a finding, too."""
    try:
        plan = objectives.load(path) if path else None
        queries = {file: readers.of_file(file) for file in files}
        if files and not url:
            raise click.UsageError("--queries are compared with a metrics page: add --url")
        sent = scrape.header(headers)
        for address in filter(None, (url, *engine_urls)):
            scrape.check_address(address)
        began, imported = _import(app) if app else ([], False)
    except TrisignalError as error:
        return [Finding("input", "error", str(error), "correct it")], WRONG_INPUT
    except click.UsageError as error:
        return [Finding("input", "error", error.format_message(), "correct it")], WRONG_INPUT
    examined = doctor.examine(
        url=url, headers=sent, plan=plan, queries=queries, engine_urls=engine_urls, timeout_s=timeout_s,
        imported=imported,
    )  # fmt: skip
    return [*began, *examined], 0


def _import(app: str) -> tuple[list[Finding], bool]:
    """Import an application as its server does, from the current folder; what setup() refuses is a finding.

    Returns:
        Findings, and whether it could be imported.
    """
    module, _, attribute = app.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        target = import_module(module)
        for name in filter(None, attribute.split(".")):
            target = getattr(target, name)
    except TrisignalError as error:
        if isinstance(error, ConfigError) and error.source != "argument":
            return [], False  # the environment is looked at anyway
        return [Finding(application.CHECK, "error", f"the application does not start: {error}", "correct it")], False
    except (Exception, SystemExit) as error:
        wanted = f"a module that can be imported from here ({type(error).__name__}: {quoted(str(error))})"
        raise ConfigError("--app", app, wanted) from None
    return [], True


def _print(verdict: Finding, shown: list[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, markup=False, emoji=False)
    console.print(Text(plain(verdict.said), _STYLES[verdict.level]))
    if verdict.do:
        console.print(Text(f"→ {plain(verdict.do)}"))
    console.print()
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="dim")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    before = ""
    for finding in shown:
        said = Text(plain(finding.said))
        if finding.do:
            said.append(f"\n→ {plain(finding.do)}", "dim" if finding.level == "info" else "")
        first = "" if finding.check == before else finding.check
        table.add_row(first, Text(finding.level, _STYLES[finding.level]), said)
        before = finding.check
    console.print(table)
