"""What two price tables say differently: rows that only one has, and prices that differ."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from trisignal.errors import MissingExtraError
from trisignal.policy.price_table import Biller, ModelRow, TablePrices, price_set, shipped

_SAME = 1e-9


class Difference(NamedTuple):
    """One price that differs."""

    biller: str
    model: str
    tier: str
    """``standard`` or a service tier."""
    field: str
    """A field of `Rates`; ``model`` where one table does not list the model, ``tier`` where it lacks the tier."""
    before: Any
    """US dollars per million tokens, or None."""
    after: Any


def load(name: str) -> TablePrices:
    """A table by name.

    Args:
        name: ``shipped``, ``installed`` (the installed `genai-prices`), or a file: a table as the shipped one, or an
            override file.

    Raises:
        MissingExtraError: `genai-prices` is not installed.
        PriceFileError: The file cannot be read, or something in it is wrong.
    """
    if name == "shipped":
        return TablePrices(shipped()["providers"])
    if name == "installed":
        return TablePrices(_installed())
    if name.endswith(".json"):
        try:
            found = json.loads(Path(name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            found = None  # the file's own reader says what is wrong
        if isinstance(found, dict) and isinstance(found.get("providers"), list):
            return TablePrices(cast("list[Biller]", found["providers"]))
    from trisignal.policy.price_file import FilePrices

    return FilePrices(name)


def _installed() -> list[Biller]:
    try:
        from genai_prices.data import providers
    except ImportError:
        raise MissingExtraError("the prices of genai-prices", "live-prices") from None
    from trisignal.policy.price_live import compact

    return compact(providers)


def differences(before: TablePrices, after: TablePrices, at_unix_s: float, provider: str = "") -> Iterator[Difference]:
    """Everything that two tables say differently at one time, for billers that both have.

    Args:
        before: The one table.
        after: The other.
        at_unix_s: When prices are compared, in seconds since the epoch.
        provider: Only this biller; "" for all.
    """
    both = before.billers.keys() & after.billers.keys()
    for name in both & {provider} if provider else both:
        for model in dict.fromkeys((*_names(before, name), *_names(after, name))):
            found = [table.listed(name, model) for table in (before, after)]
            one, other = (None if match is None else match.row for match in found)
            yield from _compared(name, model, one, other, at_unix_s)


def _names(table: TablePrices, biller: str) -> Iterator[str]:
    """Names of models that a biller's rows name exactly."""
    for row in table.billers[biller]["models"]:
        parts = [row[1]] if isinstance(row[1], str) else row[1]
        exact = [part[1:] for part in parts if isinstance(part, str) and part.startswith("=")]
        yield from exact or [row[0].lower()]


def _compared(
    biller: str, model: str, one: ModelRow | None, other: ModelRow | None, at_unix_s: float
) -> Iterator[Difference]:
    if one is None and other is None:
        return  # a row whose own name its rule does not fit
    if one is None or other is None:
        yield Difference(biller, model, "standard", "model", one is not None or None, other is not None or None)
        return
    tiers = dict.fromkeys(("", *(tier[0] for row in (one, other) for tier in row[3] if tier[0] != "*")))
    for tier in tiers:
        ours, theirs = price_set(one, tier, at_unix_s), price_set(other, tier, at_unix_s)
        if (ours is None) != (theirs is None):
            field = "tier" if tier else "model"
            yield Difference(
                biller, model, tier or "standard", field, ours is not None or None, theirs is not None or None
            )
            continue
        fields: dict[str, None] = dict.fromkeys((*(ours or {}), *(theirs or {})))
        for field in fields:
            before, after = (ours or {}).get(field), (theirs or {}).get(field)
            if not _same(before, after):
                yield Difference(biller, model, tier or "standard", field, before, after)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Mapping) or isinstance(other, Mapping):
        return bool(one == other)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return abs(one - other) <= _SAME * max(1.0, abs(one), abs(other))
    return bool(one == other)
