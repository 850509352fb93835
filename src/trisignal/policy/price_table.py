"""Who knows prices: the `PriceSource` protocol, tables of prices, the shipped table.

Whose prices: the base URL decides, else the provider name, else (neither is known) the
model name. A provider name that no table lists has no price, so local servers (``ollama``,
``vllm`` and the like) and unknown gateways are unpriced. The ``openai`` of an unknown host is
priced as OpenAI's, except for the models that OpenAI publishes and does not serve.

Standard service tiers (none reported, ``default``, ``auto``, ``standard``, ``standard_only``,
``on_demand``) pay the standard price. Any other tier (``batch``, ``flex``, ``priority``,
``fast`` ...) is priced only where the table has prices for it at that time, and only at the
vendor itself: a tier price does not hold at those who resell the model.
"""

from __future__ import annotations

import functools
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from typing import Any, NamedTuple, Protocol, TypedDict, Union, cast

from trisignal.policy.price_billers import billed_as as billed_as
from trisignal.policy.price_billers import spellings
from trisignal.policy.price_rules import RowIndex, Rule, fits
from trisignal.policy.price_validity import bounds, valid
from trisignal.policy.price_validity import day_unix_s as day_unix_s
from trisignal.usage import UnpricedReason

Price = Union[float, "tuple[tuple[int, float], ...]"]
"""US dollars per million tokens: a number, or ``((0, base), (start, price), ...)``, where the
last step counts whose start is below the input tokens of the call."""

PriceSet = dict[str, Any]
"""Field of `Rates` to a number, to ``[base, [start, price], ...]`` by input tokens, or to the name of the field
whose price it shares; ``tools`` to US dollars by use."""
Dated = tuple["str | None", "PriceSet | None"]
"""First day or daily hours of validity (``2026-07-01``, ``00:30-16:30``, UTC), and prices."""
Tiered = tuple[str, "str | None", "PriceSet | None"]
"""Service tier, validity, and what differs from the standard price; None ends the search."""
ModelRow = tuple[str, Rule, "list[Dated]", "list[Tiered]"]
"""Name, rule, prices (the last valid one counts, else the first), prices of service tiers."""

ASK_AGAIN_S = 60.0
"""An answer that may change without notice is good for so long."""
_STANDARD = frozenset({"", "default", "auto", "standard", "standard_only", "on_demand"})
_TIERS = {
    "batches": "batch",
    "on_demand_flex": "flex",
    "on_demand_priority": "priority",
    "provisioned_throughput": "provisioned",
    "reserved": "provisioned",
}
ORIGINS = {
    "g": "genai-prices",
    "l": "litellm",
    "b": "genai-prices and litellm",
    "c": "corrections of trisignal",
}
"""Sources of the rows of the shipped table, by letter."""
_OPEN_WEIGHTS = "gpt-oss"
# Where the shipped file is cut: one line for each model, and for the head of each biller.
_PROVIDERS, _MODELS, _BETWEEN, _END = ',"providers":[\n', '"models":[\n', "\n]},\n", "\n]}\n]}\n"
_ANY = ("",)
_COMPACT_DATE = re.compile(r"-(20\d\d)(\d\d)(\d\d)(?=[-:]|$)")


class Rates(NamedTuple):
    """Prices of one model at one time; None: no price of its own (`Pricer` says what follows)."""

    input: Price | None = None
    output: Price | None = None
    cache_read: Price | None = None
    cache_write: Price | None = None
    cache_write_1h: Price | None = None
    input_audio: Price | None = None
    cache_read_audio: Price | None = None
    output_audio: Price | None = None
    reasoning: Price | None = None
    per_request: float | None = None
    """US dollars per call."""
    valid_until_unix_s: float = math.inf
    """Looked up again from this time on."""
    input_image: Price | None = None
    input_video: Price | None = None
    cache_read_image: Price | None = None
    cache_read_video: Price | None = None
    output_image: Price | None = None
    output_video: Price | None = None
    per_audio_hour: float | None = None
    """US dollars per hour of audio, where that is billed instead of tokens."""
    tools: Mapping[str, float] | None = None
    """US dollars per use of a server tool, by the unit of its fee (``web_search``, ``container`` …)."""


class PriceSource(Protocol):
    """A source of prices; the one passed to `setup` is used before all others."""

    def rates(self, provider: str, host: str, model: str, tier: str, at_unix_s: float) -> Rates | None:
        """Look up the prices of a model.

        Args:
            provider: Provider name, as on the span.
            host: Host name or base URL of the server; "" when unknown.
            model: Model name as the provider or the caller wrote it.
            tier: Service tier that was billed; "" when unknown.
            at_unix_s: Start of the call, in seconds since the epoch.

        Returns:
            Prices, or None when unknown: then the next source is used.
        """
        ...


class _Biller(TypedDict):
    id: str
    api: str
    """Pattern of the base URL."""
    names: Rule | None
    """Model names that belong to this biller when nothing else does."""
    fallback: list[str]
    """Billers whose models it sells too."""
    models: list[ModelRow]


class Biller(_Biller, total=False):
    """Somebody who sends a bill: a vendor, or a key of an override file."""

    hosts: list[str]
    """Texts one of which is in whatever ``api`` matches."""
    tiers: list[str]
    """Those of ``fallback`` whose tier prices hold here too."""
    tools: dict[str, float]
    """US dollars per use of server tools, whatever the model."""
    origins: str
    """Where each of ``models`` is from, one letter of `ORIGINS` each."""


class Table(TypedDict):
    """The shipped file."""

    generated: str
    """Day of generation (UTC), ISO 8601."""
    source: str
    license: str
    providers: list[Biller]


class _Unread(dict[str, Any]):
    """A biller of the shipped file whose models are parsed when they are first asked for."""

    __slots__ = ("_end", "_start", "_text")

    def __init__(self, text: str, start: int, end: int) -> None:
        models = text.index(_MODELS, start, end)
        super().__init__(json.loads(f"{text[start : models - 1]}}}"))
        self._text = text
        self._start, self._end = models + len(_MODELS), end

    def __missing__(self, key: str) -> Any:
        if key != "models":
            raise KeyError(key)
        models = self["models"] = json.loads(f"[{self._text[self._start : self._end]}]")
        return models


@functools.cache
def shipped() -> Table:
    """The table inside the package: read once, and parsed biller by biller as they are asked for."""
    # Every start pays for this: importlib.resources takes five milliseconds to import, and pkgutil half of one.
    loader: Any = __spec__.loader
    data: bytes = loader.get_data(os.path.join(os.path.dirname(os.path.dirname(__file__)), "data", "prices.json"))
    text = data.decode("utf-8")
    head = text.index(_PROVIDERS)
    billers: list[Any] = []
    start = head + len(_PROVIDERS)
    while (end := text.find(_BETWEEN, start)) > 0:
        billers.append(_Unread(text, start, end))
        start = end + len(_BETWEEN)
    billers.append(_Unread(text, start, len(text) - len(_END)))
    return cast(Table, {**json.loads(f"{text[:head]}}}"), "providers": billers})


class Match(NamedTuple):
    """The row that prices a model, and why it does."""

    biller: str
    """Who sends the bill."""
    seller: str
    """Whose row it is: the biller's own, or that of a vendor whose models it sells."""
    row: ModelRow
    name: str
    """The model name that the row's rule fits: as given, or with dashes in its date."""
    origin: str
    """Where the row is from, a letter of `ORIGINS`; "" when the table does not say."""
    because: str
    """How the biller is known: ``host``, ``provider`` or ``model``."""


class TablePrices:
    """Looks prices up in billers.

    Args:
        billers: Who sells what for how much.
    """

    __slots__ = ("_billers", "_rows")

    fixed = True
    """Answers never change for a given time."""

    def __init__(self, billers: Iterable[Biller]) -> None:
        self._billers = {biller["id"]: biller for biller in billers}
        self._rows: dict[str, RowIndex] = {}

    @property
    def models(self) -> int:
        """Number of models listed."""
        return sum(len(biller["models"]) for biller in self._billers.values())

    @property
    def billers(self) -> Mapping[str, Biller]:
        """Billers by id."""
        return self._billers

    def rates(self, provider: str, host: str, model: str, tier: str, at_unix_s: float) -> Rates | None:
        """Prices of a model, or None when the table has none; see `PriceSource.rates`."""
        match = self.match(provider, host, model)
        if match is None:
            return None
        biller = self._billers[match.biller]
        return _rates(match.row, _tier(tier), at_unix_s, _has_tiers(biller, match.seller), biller.get("tools"))

    def reason(self, provider: str, host: str, model: str, tier: str) -> UnpricedReason:
        """Why `rates` has no answer: no such model, no such tier, or prices in units other than tokens."""
        match = self.match(provider, host, model)
        if match is None:
            return "model"
        if all(prices is None for _, prices in match.row[2]):
            return "unit"
        return "model" if _tier(tier) in _STANDARD else "tier"

    def match(self, provider: str, host: str, model: str) -> Match | None:
        """The row that prices a model; None when there is none.

        Args:
            provider: Provider name, as on the span.
            host: Host name or base URL of the server; "" when unknown.
            model: Model name as the provider or the caller wrote it.
        """
        model, host = model.lower(), host.lower()
        if model.startswith("arn:"):
            model = model.rpartition("/")[2]
        for biller, because in self._who(provider, host, model):
            for name in spellings(biller["id"], host, model):
                found = self._row(biller, name)
                if found is not None:
                    return Match(biller["id"], *found, because)
        return None

    def listed(self, biller: str, model: str) -> Match | None:
        """The row that prices a model at a biller; None when there is none."""
        found = self._row(self._billers[biller], model.lower())
        return None if found is None else Match(biller, *found, "provider")

    def offers(self, model: str, provider: str = "") -> Iterator[tuple[str, ModelRow]]:
        """Every biller (or the one that bills for ``provider``) that lists a model, and what it lists."""
        for name, biller in self._billers.items():
            found = self._row(biller, model.lower())
            if found is not None and (not provider or name == billed_as(provider)):
                yield name, found[1]

    def _who(self, provider: str, host: str, model: str) -> Iterator[tuple[Biller, str]]:
        named = self._billers.get(billed_as(provider))
        if host:
            address = host.rpartition("://")[2]
            url = f"https://{address}" if "/" in address else f"https://{address}/"
            # Compiling all patterns takes long: the provider's own is tried first, unless its hosts hold another's.
            billers = self._billers.values()
            shared = named is None or any(named["id"] in biller.get("tiers", ()) for biller in billers)
            for biller in billers if shared else (cast(Biller, named), *billers):
                api = biller["api"]
                # Most patterns need not be compiled: what they match has a text in it that the address has not.
                if api and any(part in url for part in biller.get("hosts", _ANY)) and re.match(api, url):
                    yield biller, "host"
                    return
        if named is not None:
            if named["id"] != "openai" or not model.startswith(_OPEN_WEIGHTS):
                yield named, "provider"
        elif not provider and not host:
            for biller in self._billers.values():
                if biller["names"] is not None and fits(biller["names"], model):
                    yield biller, "model"
                    return

    def _row(self, biller: Biller, model: str) -> tuple[str, ModelRow, str, str] | None:
        sellers = [biller, *(self._billers[name] for name in biller["fallback"] if name in self._billers)]
        for name in dict.fromkeys((model, _COMPACT_DATE.sub(_dashed, model))):
            for seller in sellers:
                rows = self._rows.get(seller["id"])
                if rows is None:
                    rows = self._rows[seller["id"]] = RowIndex([row[1] for row in seller["models"]])
                index = rows.first(name)
                if index is not None:
                    origin = seller.get("origins", "")[index : index + 1]
                    return seller["id"], seller["models"][index], name, origin
        return None


class ShippedPrices(TablePrices):
    """Prices of the table inside the package, which is read when first asked."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(())

    def match(self, provider: str, host: str, model: str) -> Match | None:
        """The row that prices a model; None when there is none."""
        if not self._billers:
            self._billers = {biller["id"]: biller for biller in shipped()["providers"]}
        return super().match(provider, host, model)


def _dashed(match: re.Match[str]) -> str:
    try:
        return f"-{date(*map(int, match.groups())).isoformat()}"
    except ValueError:
        return match[0]


def _tier(tier: str) -> str:
    name = tier.lower()
    return _TIERS.get(name, name)


def _has_tiers(biller: Biller, seller: str) -> bool:
    """Whether the tier prices in a seller's row hold at the biller."""
    return seller == biller["id"] or seller in biller.get("tiers", ())


def price_set(row: ModelRow, tier: str, at_unix_s: float, own: bool = True) -> PriceSet | None:
    """The prices of a row at one time; None when it has none, or none for the tier.

    Args:
        row: A row of a table.
        tier: Service tier, in lower case.
        at_unix_s: Seconds since the epoch.
        own: Tier prices hold.
    """
    dated, tiered = row[2], row[3]
    prices = next((p for when, p in reversed(dated) if valid(when, at_unix_s)), dated[0][1])
    if prices is None:
        return None
    changes: PriceSet = {}
    known = tier in _STANDARD
    for name, when, differing in tiered if own else ():
        if name in (tier, "*") and valid(when, at_unix_s):
            if differing is None:
                break
            known = True
            changes = {**differing, **changes}
    if not known:
        return None
    named: PriceSet = {**prices, **changes}
    return {name: named.get(value) if isinstance(value, str) else value for name, value in named.items()}


def _rates(row: ModelRow, tier: str, at_unix_s: float, own: bool, tools: Mapping[str, float] | None) -> Rates | None:
    prices = price_set(row, tier, at_unix_s, own)
    if prices is None:
        return None
    times = [*(when for when, _ in row[2]), *(when for _, when, _ in row[3])]
    later = (bound for when in times for bound in bounds(when, at_unix_s) if bound > at_unix_s)
    fees = prices.pop("tools", {})
    # A reseller's fees are its own, as its tiers are.
    fees = {**(tools or {}), **fees} if own else dict(tools or {})
    merged: dict[str, Any] = {name: _price(value) for name, value in prices.items()}
    return Rates(**merged, tools=fees or None, valid_until_unix_s=min(later, default=math.inf))


def _price(value: Any) -> Price:
    if isinstance(value, list):
        return ((0, value[0]), *((start, price) for start, price in value[1:]))
    return cast(float, value)
