"""``trisignal prices``: what the shipped table knows, how old it is, and whether a price file is right."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import click

from trisignal.cli._terminal import plain
from trisignal.errors import MissingExtraError, PriceFileError
from trisignal.policy.price_table import ORIGINS, TablePrices, day_unix_s, shipped

if TYPE_CHECKING:
    from trisignal.policy.price_diff import Difference

_DAY_S = 86_400
_WORDS = ("provider", "model", "tier", "valid", "tools", "from")


class _WrongInput(click.ClickException):
    """One line on stderr, exit code 2."""

    exit_code = 2


@click.group(name="prices", help="Show and check the prices behind the cost figures.")
def command() -> None:
    """Group of the price commands."""


@command.command()
@click.argument("model")
@click.option("--provider", default="", help="Only what this provider bills, e.g. azure.ai.openai.")
@click.option("--host", default="", help="Host or base URL of the server: what is billed there.")
@click.option("--tier", default="", help="Service tier, e.g. batch, flex or priority.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def show(model: str, provider: str, host: str, tier: str, as_json: bool) -> None:
    """List every price of MODEL in the shipped table, in US dollars per million tokens.

    With --provider or --host it says which row prices a call there, and why.
    """
    table = TablePrices(shipped()["providers"])
    why = _why(table, model, provider, host, tier) if provider or host else None
    billers = [why["provider"]] if why else [] if host else [name for name, _ in table.offers(model, provider)]
    rows = [line for biller in billers for line in _lines(table, biller, model, tier)]
    if not rows and why is None:
        whose = f" of provider {provider!r}" if provider else f" at {host!r}" if host else ""
        raise _WrongInput(f"no price of model {model!r}{whose} in the shipped table")
    if as_json:
        for line in rows:
            click.echo(json.dumps({**line, **(why or {})}))
        return
    if why is not None:
        for key, value in why.items():
            click.echo(plain(f"{key.replace('_', ' ')}: {value}"))
    if rows:
        _print_table(rows)


def _why(table: TablePrices, model: str, provider: str, host: str, tier: str) -> dict[str, str] | None:
    """Which row prices a call, and why."""
    match = table.match(provider, host, model)
    if match is None:
        return None
    billers = {
        "host": f"the host {host} is that of {match.biller}",
        "provider": f"provider {provider} is billed by {match.biller}",
        "model": f"no provider and no host: the name {model} is one of {match.biller}",
    }
    found = {"provider": match.biller, "row": match.row[0], "rule": json.dumps(match.row[1])}
    found["because"] = billers[match.because]
    if match.seller != match.biller:
        found["row_of"] = f"{match.seller}, whose models {match.biller} sells"
    if match.name != model.lower():
        found["matched_as"] = match.name
    found["from"] = ORIGINS.get(match.origin, "an unknown source")
    reason = table.reason(provider, host, model, tier)
    if table.rates(provider, host, model, tier, time.time()) is None:
        found["unpriced"] = f"reason {reason}: the row has no price for " + (f"tier {tier}" if tier else "tokens")
    return found


@command.command()
@click.argument("before", default="shipped")
@click.argument("after", default="installed")
@click.option("--provider", default="", help="Only this biller, as `trisignal prices show` names it.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@click.option("--fail", is_flag=True, help="Exit code 1 where the tables differ.")
def diff(before: str, after: str, provider: str, as_json: bool, fail: bool) -> None:
    """Compare two price tables at this moment.

    BEFORE and AFTER are `shipped`, `installed` (the installed genai-prices), or a file: a table such as the shipped
    one, or an override file.
    """
    from trisignal.policy.price_diff import differences, load

    try:
        tables = load(before), load(after)
    except (PriceFileError, MissingExtraError) as error:
        raise _WrongInput(str(error)) from None
    found = sorted(differences(*tables, time.time(), provider), key=lambda difference: difference[:4])
    if as_json:
        for difference in found:
            click.echo(json.dumps(difference._asdict()))
    else:
        _print_differences(found, before, after)
    if fail and found:
        raise SystemExit(1)


def _print_differences(found: list[Difference], before: str, after: str) -> None:
    from rich.console import Console
    from rich.table import Table

    prices = [difference for difference in found if difference.field not in ("model", "tier")]
    if prices:
        table = Table(title="Prices that differ, US dollars per million tokens")
        for column in ("provider", "model", "tier", "price", before, after):
            table.add_column(plain(column), overflow="fold")
        for difference in prices:
            cells = (*difference[:4], _or_none(difference.before), _or_none(difference.after))
            table.add_row(*map(_cell, cells))
        Console().print(table)
    for name, side in ((before, 4), (after, 5)):
        for field, what in (("model", "models"), ("tier", "tiers")):
            only = sum(1 for difference in found if difference.field == field and difference[side])
            click.echo(f"{what} only in {plain(name)}: {only}")
    click.echo(f"prices that differ: {len(prices)}")


def _or_none(value: Any) -> Any:
    return "none" if value is None else value


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


def _lines(table: TablePrices, biller: str, model: str, only: str) -> list[dict[str, Any]]:
    match = table.listed(biller, model)
    if match is None:
        return []
    dated, tiered = match.row[2], match.row[3]
    unconditional = "always" if len(dated) == 1 else "otherwise"
    found = [("standard", when or unconditional, prices) for when, prices in dated]
    holds = match.seller == biller or match.seller in table.billers[biller].get("tiers", ())
    # A reseller has the models of a vendor, not its tiers.
    found += [(tier, when or "always", prices) for tier, when, prices in tiered if holds and only in ("", tier)]
    about = {"from": ORIGINS[match.origin]} if match.origin else {}
    fees = table.billers[biller].get("tools", {})
    return [
        {"provider": biller, "model": match.row[0], "tier": tier, "valid": when, **_shown(prices, fees), **about}
        for tier, when, prices in found
        if prices
    ]


def _shown(prices: dict[str, Any], fees: dict[str, float]) -> dict[str, Any]:
    """Prices with those that are shared spelled out, and the fees of server tools as one price."""
    shown = {name: prices.get(value, value) if isinstance(value, str) else value for name, value in prices.items()}
    tools = {**fees, **shown.pop("tools", {})} if prices.keys() & {"input", "output"} else {}
    return {**shown, "tools": tools} if tools else shown


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = Table(
        title="US dollars per million tokens (per_request: per call, tools: per use)",
        caption="Days and hours are UTC. What a tier leaves empty costs the standard price.",
    )
    for column in columns:
        table.add_column(column, justify="left" if column in _WORDS else "right")
    for row in rows:
        table.add_row(*(_cell(row.get(column, "")) for column in columns))
    Console(markup=False, emoji=False).print(table)


def _cell(value: Any) -> str:
    return "\n".join(map(plain, _text(value).split("\n")))


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{name} {price}" for name, price in value.items())
    if not isinstance(value, list):
        return str(value)
    base, *steps = value
    return "\n".join([str(base), *(f"{price} over {start}" for start, price in steps)])
