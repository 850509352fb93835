"""``trisignal store``: the files of a trace store."""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import IO, TYPE_CHECKING, Any

import click

from trisignal.analysis import query, tables
from trisignal.analysis.whole_file import whole_file
from trisignal.cli import _terminal
from trisignal.cli.traces import DEFAULT_STORE
from trisignal.config import PREFIX
from trisignal.errors import ConfigError, SourceError
from trisignal.store import keeping
from trisignal.store.folder import Folder

if TYPE_CHECKING:
    from trisignal.analysis.rows import SpanRow

_CHUNK = 5_000
_MIB = 1 << 20
_ELSEWHERE = (
    "spans, metrics and log lines that were exported to other systems",
    "rows of this person that were recorded without user_id, in traces of their own",
    "backups and copies of the folder",
)
_folder = click.argument("folder", default="", metavar="[FOLDER]")


@click.group(name="store", invoke_without_command=True, short_help="Look after a trace store: size, export, purge.")
@click.pass_context
def command(context: click.Context) -> None:
    """Look after the trace store in FOLDER ($TRISIGNAL_STORE, or ./trisignal-store)."""
    if context.invoked_subcommand is None:
        context.invoke(info, folder="", as_json=False)


@command.command(short_help="Files, spans, sizes.")
@_folder
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def info(folder: str, as_json: bool) -> None:
    """List the files of a store, with what they hold."""
    from rich.table import Table
    from rich.text import Text

    store = _opened(folder)
    files = keeping.info(store)
    if as_json:
        click.echo(_terminal.as_json({"folder": store.path, "files": files}))
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("file", "spans", "scores", "from", "to", "MiB", ""):
        table.add_column(name, justify="right" if name in ("spans", "scores", "MiB") else "left", no_wrap=True)
    for file in files:
        table.add_row(
            Text(_terminal.plain(file.name)),
            _terminal.count(file.spans),
            _terminal.count(file.scores),
            "–" if file.first_unix_s is None else _terminal.clock(file.first_unix_s),
            "–" if file.last_unix_s is None else _terminal.clock(file.last_unix_s),
            f"{file.size_bytes / _MIB:,.1f}",
            Text(_terminal.plain(file.problem), "bold red"),
        )
    console = _terminal.console()
    console.print(table)
    whole = sum(file.size_bytes for file in files)
    console.print(Text(f"{_terminal.plain(store.path)}: {len(files)} files, {whole / _MIB:,.1f} MiB", "bold"))


@command.command(short_help="Give unused space back.")
@_folder
def compact(folder: str) -> None:
    """Rewrite the files of a store without their gaps; writers may go on meanwhile."""
    before, after = keeping.compact(_opened(folder))
    click.echo(f"{before / _MIB:,.1f} MiB → {after / _MIB:,.1f} MiB")


@command.command(short_help="Index texts, so that searches for one are quick.")
@_folder
def index(folder: str) -> None:
    """Bring the index of texts up to date; without one, a search by text reads every span of its window."""
    from trisignal.store.text_indexing import index_texts

    spans, problems = index_texts(_opened(folder))
    click.echo(f"{spans:,} spans indexed")
    for problem in problems:
        click.echo(f"left out: {_terminal.plain(problem)}", err=True)


@command.command(short_help="Write all spans to a CSV or Parquet file.")
@_folder
@click.option("--csv", "csv_file", metavar="FILE", help="Write CSV; - is standard output.")
@click.option("--parquet", "parquet_file", metavar="FILE", help="Write Parquet; needs pyarrow.")
@click.option("--since", default="3650d", metavar="TIME", help="15m, 1h, 7d, or 2026-11-30T08:00; all.")
@click.option("--until", metavar="TIME", help="End of the window; now.")
def export(folder: str, csv_file: str | None, parquet_file: str | None, since: str, until: str | None) -> None:
    """Write every span of the window, with its attributes.

    FILE is replaced when all of them are written; until then, and if that fails, it stays as it is.
    """
    from trisignal.store.reader import StoreSource

    if (csv_file is None) == (parquet_file is None):
        raise click.UsageError("give one of --csv FILE and --parquet FILE")
    source = StoreSource(_opened(folder).path)
    asked = query.Query(query.window(since, until), "spans", attributes=True)
    left_out: list[str] = []
    rows = source.every(asked, left_out)
    if csv_file is not None:
        with _written(csv_file) as file:
            written = _csv(rows, file)
    else:
        assert parquet_file is not None
        with _reported(parquet_file):
            written = tables.write_parquet_stream(_chunks(rows), parquet_file)
    source.close()
    click.echo(f"{written:,} spans", err=True)
    for problem in left_out:
        click.echo(f"left out: {_terminal.plain(problem)}", err=True)


@command.command(short_help="Remove a person's rows.")
@_folder
@click.option("--user", "user_id", required=True, metavar="ID", help="As it was given to trisignal.context(user_id=).")
@click.option("--yes", is_flag=True, help="Do not ask.")
def purge(folder: str, user_id: str, yes: bool) -> None:
    """Remove what was stored of a person, and say what this cannot reach."""
    store = _opened(folder)
    if not user_id.strip():
        raise ConfigError("--user", user_id, "the id of one person, as it was given to trisignal.context(user_id=)")
    if not yes:
        click.confirm(f"Remove every row of user {_terminal.plain(user_id)} from {store.path}?", abort=True)
    purged = keeping.purge(store, user_id)
    click.echo(
        f"removed {purged.spans:,} spans, {purged.scores:,} scores and {purged.logs:,} log lines from "
        f"{purged.files} files"
    )
    click.echo("not reached:")
    for place in (*purged.unreached, *_ELSEWHERE):
        click.echo(f"  {_terminal.plain(place)}")


def _opened(folder: str) -> Folder:
    path = folder or os.environ.get(PREFIX + "STORE", "") or DEFAULT_STORE
    if not os.path.isdir(path):
        raise SourceError(path, "there is no such folder")
    return Folder(path)


def _csv(rows: Iterable[SpanRow], file: IO[str]) -> int:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(tables.SPAN_COLUMNS)
    written = 0
    for row in rows:
        writer.writerow(tables.span_cells(row))
        written += 1
    return written


def _chunks(rows: Iterator[SpanRow]) -> Iterator[list[SpanRow]]:
    while chunk := list(islice(rows, _CHUNK)):
        yield chunk


@contextmanager
def _written(path: str) -> Iterator[Any]:
    if path == "-":
        yield sys.stdout
        return
    with _reported(path), whole_file(path) as beside:
        with open(beside, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            yield file


@contextmanager
def _reported(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise click.UsageError(f"cannot write {path}: {error.strerror or error}") from None
