"""``trisignal prices``: what the shipped table knows, how old it is, and whether a price file is right."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import click

from trisignal.cli._terminal import plain
from trisignal.errors import MissingExtraError, PriceFileError
from trisignal.policy.price_table import TablePrices, day_unix_s, shipped

if TYPE_CHECKING:
    from trisignal.policy.price_table import ModelRow

_DAY_S = 86_400
_WORDS = ("provider", "model", "tier", "valid")


class _WrongInput(click.ClickException):
    """One line on stderr, exit code 2."""

    exit_code = 2


@click.group(name="prices", help="Show and check the prices behind the cost figures.")
def command() -> None:
    """Group of the price commands."""


@command.command()
@click.argument("model")
@click.option("--provider", default="", help="Only what this provider bills, e.g. azure.ai.openai.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def show(model: str, provider: str, as_json: bool) -> None:
    """List every price of MODEL in the shipped table, in US dollars per million tokens."""
    rows = [
        line
        for biller, row in TablePrices(shipped()["providers"]).offers(model, provider)
        for line in _lines(biller, row)
    ]
    if not rows:
        whose = f" of provider {provider!r}" if provider else ""
        raise _WrongInput(f"no price of model {model!r}{whose} in the shipped table")
    if as_json:
        for line in rows:
            click.echo(json.dumps(line))
        return
    _print_table(rows)


@command.command()
@click.argument("file")
def check(file: str) -> None:
    """Check the price override file FILE (YAML or JSON)."""
    from trisignal.policy.price_file import FilePrices

    try:
        prices = FilePrices(file)
    except (PriceFileError, MissingExtraError) as error:
        raise _WrongInput(str(error)) from None
    click.echo(f"{plain(file)}: {prices.models} models, no mistake")


@command.command()
def age() -> None:
    """Print the date and the source of the shipped table."""
    table = shipped()
    days = int((time.time() - day_unix_s(table["generated"])) // _DAY_S)
    click.echo(f"{table['generated']} ({days} days old), from {table['source']} ({table['license']})")


def _lines(biller: str, row: ModelRow) -> list[dict[str, Any]]:
    name, _, dated, tiered = row
    unconditional = "always" if len(dated) == 1 else "otherwise"
    found = [("standard", when or unconditional, prices) for when, prices in dated]
    found += [(tier, when or "always", prices) for tier, when, prices in tiered]
    return [
        {"provider": biller, "model": name, "tier": tier, "valid": when, **prices}
        for tier, when, prices in found
        if prices
    ]


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = Table(
        title="US dollars per million tokens (per_request: per call)",
        caption="Days and hours are UTC. What a tier leaves empty costs the standard price.",
    )
    for column in columns:
        table.add_column(column, justify="left" if column in _WORDS else "right")
    for row in rows:
        table.add_row(*(plain(_text(row.get(column, ""))) for column in columns))
    Console(markup=False, emoji=False).print(table)


def _text(value: Any) -> str:
    if not isinstance(value, list):
        return str(value)
    base, *steps = value
    return "\n".join([str(base), *(f"{price} over {start}" for start, price in steps)])
