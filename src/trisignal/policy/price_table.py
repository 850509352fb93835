"""Who knows prices: the `PriceSource` protocol, tables of prices, the shipped table.

Whose prices: the base URL tells it, else the provider name, else (neither is known) the
model name. A provider name that no table lists has no price, so local servers (``ollama``,
``vllm`` and the like) and unknown gateways are unpriced. The ``openai`` of an unknown host is
priced as OpenAI's, except for the models that OpenAI publishes and does not serve.

Standard service tiers (none told, ``default``, ``auto``, ``standard``, ``standard_only``,
``on_demand``) pay the standard price. Any other tier (``batch``, ``flex``, ``priority``,
``fast`` ...) is priced only where the table has prices for it at that time, and only at the
vendor itself: a tier price does not hold at those who resell the model.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Iterable, Iterator
from datetime import date, datetime, timezone
from typing import Any, NamedTuple, Protocol, TypedDict, Union, cast

Price = Union[float, "tuple[tuple[int, float], ...]"]
"""US dollars per million tokens: a number, or ``((0, base), (start, price), ...)``, where the
last step counts whose start is below the input tokens of the call."""

Rule = Union[str, "list[Rule]"]
"""``=same``, ``^start``, ``$end``, ``*part``, ``~regex``; a list: any of them, after ``&`` all."""
PriceSet = dict[str, Any]
"""Field of `Rates` to a number, or ``[base, [start, price], ...]`` by input tokens."""
Dated = tuple["str | None", "PriceSet | None"]
"""First day or daily hours of validity (``2026-07-01``, ``00:30-16:30``, UTC), and prices."""
Tiered = tuple[str, "str | None", "PriceSet | None"]
"""Service tier, validity, and what differs from the standard price; None ends the search."""
ModelRow = tuple[str, Rule, "list[Dated]", "list[Tiered]"]
"""Name, rule, prices (the last valid one counts, else the first), prices of service tiers."""

ASK_AGAIN_S = 60.0
"""An answer that may change without notice is good for so long."""
_DAY_S = 86_400
_STANDARD = frozenset({"", "default", "auto", "standard", "standard_only", "on_demand"})
_TIERS = {"on_demand_flex": "flex", "on_demand_priority": "priority"}
_OPEN_WEIGHTS = "gpt-oss"
_COMPACT_DATE = re.compile(r"-(20\d\d)(\d\d)(\d\d)(?=[-:]|$)")
_BILLED_AS = {
    "aws.bedrock": "aws",
    "bedrock": "aws",
    "az.ai.inference": "azure",
    "az.ai.openai": "azure",
    "azure.ai.inference": "azure",
    "azure.ai.openai": "azure",
    "azure_openai": "azure",
    "fireworks_ai": "fireworks",
    "gcp.gemini": "google",
    "gcp.gen_ai": "google",
    "gcp.vertex_ai": "google",
    "gemini": "google",
    "mistral_ai": "mistral",
    "mistralai": "mistral",
    "moonshot_ai": "moonshotai",
    "together_ai": "together",
    "vertex_ai": "google",
    "vertexai": "google",
    "voyage_ai": "voyageai",
    "x_ai": "x-ai",
    "xai": "x-ai",
}


class Rates(NamedTuple):
    """Prices of one model at one time; None: no price of its own (`Pricer` tells what then)."""

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
    """Asked again from this moment on."""


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
            Prices, or None when unknown: then the next source is asked.
        """
        ...


class Biller(TypedDict):
    """Somebody who sends a bill: a vendor, or a key of an override file."""

    id: str
    api: str
    """Pattern of the base URL."""
    names: Rule | None
    """Model names that tell this biller when nothing else does."""
    fallback: list[str]
    """Billers whose models it sells too."""
    models: list[ModelRow]


class Table(TypedDict):
    """The shipped file."""

    generated: str
    """Day of generation (UTC), ISO 8601."""
    source: str
    license: str
    providers: list[Biller]


@functools.cache
def shipped() -> Table:
    """The table inside the package; read once, on first use."""
    from importlib import resources

    return cast(Table, json.loads(resources.files("trisignal").joinpath("data/prices.json").read_bytes()))


def billed_as(provider: str) -> str:
    """Name under which tables list a provider."""
    name = provider.strip().lower()
    return _BILLED_AS.get(name, name)


class TablePrices:
    """Looks prices up in billers.

    Args:
        billers: Who sells what for how much.
    """

    __slots__ = ("_billers",)

    def __init__(self, billers: Iterable[Biller]) -> None:
        self._billers = {biller["id"]: biller for biller in billers}

    @property
    def models(self) -> int:
        """Number of models listed."""
        return sum(len(biller["models"]) for biller in self._billers.values())

    def rates(self, provider: str, host: str, model: str, tier: str, at_unix_s: float) -> Rates | None:
        """Prices of a model, or None when the table has none; see `PriceSource.rates`."""
        model = model.lower()
        tier = tier.lower()
        for biller in self._who(provider, host.lower(), model):
            row, own = self._row(biller, model)
            if row is not None:
                return _rates(row, _TIERS.get(tier, tier), at_unix_s, own)
        return None

    def offers(self, model: str, provider: str = "") -> Iterator[tuple[str, ModelRow]]:
        """Every biller (or the one that bills for ``provider``) that lists a model, and what it lists."""
        for name, biller in self._billers.items():
            row, _ = self._row(biller, model.lower())
            if row is not None and (not provider or name == billed_as(provider)):
                yield name, row

    def _who(self, provider: str, host: str, model: str) -> Iterator[Biller]:
        address = host.rpartition("://")[2]
        url = f"https://{address}" if "/" in address else f"https://{address}/"
        for biller in self._billers.values():
            if host and re.match(biller["api"], url):
                yield biller
                return
        named = self._billers.get(billed_as(provider))
        if named is not None:
            if named["id"] != "openai" or not model.startswith(_OPEN_WEIGHTS):
                yield named
        elif not provider and not host:
            for biller in self._billers.values():
                if biller["names"] is not None and _fits(biller["names"], model):
                    yield biller
                    return

    def _row(self, biller: Biller, model: str) -> tuple[ModelRow | None, bool]:
        sellers = [biller, *(self._billers[name] for name in biller["fallback"] if name in self._billers)]
        for name in dict.fromkeys((model, _COMPACT_DATE.sub(_dashed, model))):
            for seller in sellers:
                for row in seller["models"]:
                    if _fits(row[1], name):
                        return row, seller is biller
        return None, False


class ShippedPrices(TablePrices):
    """Prices of the table inside the package, which is read when first asked."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(())

    def rates(self, provider: str, host: str, model: str, tier: str, at_unix_s: float) -> Rates | None:
        """Prices of a model, or None when the table has none; see `PriceSource.rates`."""
        if not self._billers:
            self._billers = {biller["id"]: biller for biller in shipped()["providers"]}
        return super().rates(provider, host, model, tier, at_unix_s)


def _fits(rule: Rule, name: str) -> bool:
    if not isinstance(rule, str):
        if rule[0] == "&":
            return all(_fits(part, name) for part in rule[1:])
        return any(_fits(part, name) for part in rule)
    sign, word = rule[0], rule[1:]
    if sign == "=":
        return name == word
    if sign == "^":
        return name.startswith(word)
    if sign == "$":
        return name.endswith(word)
    if sign == "*":
        return word in name
    return re.search(word, name) is not None


def _dashed(match: re.Match[str]) -> str:
    try:
        return f"-{date(*map(int, match.groups())).isoformat()}"
    except ValueError:
        return match[0]


def _rates(row: ModelRow, tier: str, at_unix_s: float, own: bool) -> Rates | None:
    _, _, dated, tiered = row
    prices = next((p for when, p in reversed(dated) if _valid(when, at_unix_s)), dated[0][1])
    if prices is None:
        return None
    changes: PriceSet = {}
    known = tier in _STANDARD
    for name, when, differing in tiered if own else ():
        if name in (tier, "*") and _valid(when, at_unix_s):
            if differing is None:
                break
            known = True
            changes = {**differing, **changes}
    if not known:
        return None
    times = [*(when for when, _ in dated), *(when for _, when, _ in tiered)]
    bounds = (bound for when in times for bound in _bounds(when, at_unix_s) if bound > at_unix_s)
    merged: dict[str, Any] = {name: _price(value) for name, value in {**prices, **changes}.items()}
    return Rates(**merged, valid_until_unix_s=min(bounds, default=math.inf))


def _price(value: Any) -> Price:
    if isinstance(value, list):
        return ((0, value[0]), *((start, price) for start, price in value[1:]))
    return cast(float, value)


def _valid(when: str | None, at_unix_s: float) -> bool:
    if when is None:
        return True
    first, _, last = when.partition("-")
    if ":" not in first:
        return at_unix_s >= day_unix_s(when)
    start, end, now = _second(first), _second(last), at_unix_s % _DAY_S
    return start <= now < end if start <= end else now >= start or now < end


def _bounds(when: str | None, at_unix_s: float) -> tuple[float, ...]:
    if when is None:
        return ()
    if ":" not in when:
        return (day_unix_s(when),)
    midnight = at_unix_s - at_unix_s % _DAY_S
    seconds = [_second(clock) for clock in when.split("-")]
    return tuple(midnight + day + second for day in (0, _DAY_S) for second in seconds)


def _second(clock: str) -> int:
    hour, minute = clock.split(":")
    return int(hour) * 3600 + int(minute) * 60


def day_unix_s(day: str) -> float:
    """Seconds since the epoch at which an ISO day begins (UTC)."""
    return datetime.fromisoformat(day).replace(tzinfo=timezone.utc).timestamp()
