"""Merges the rows of two price sources and our corrections, and notes every disagreement."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, cast

from litellm_prices import Listed

from trisignal.policy.price_rules import Rule, fits
from trisignal.policy.price_table import Biller, ModelRow, TablePrices
from trisignal.policy.price_validity import valid

_ABOUT = frozenset({"biller", "models", "day", "source", "reason", "tiers", "take", "tools", "from"})
_ROUNDING = 0.01
"""Relative difference that is rounding: litellm derives some prices from other units."""
_STEP_SLACK = 8
_OWN_STEPS = ("input", "output", "cache_read", "cache_write", "cache_write_1h", "reasoning")


class Decision(NamedTuple):
    """One disagreement of the sources, and what was taken."""

    biller: str
    model: str
    fields: dict[str, tuple[Any, Any]]
    """What genai-prices and litellm say, by field."""
    taken: str
    why: str


class Merge:
    """A table that grows by the rows of litellm and by corrections.

    Args:
        billers: Rows of genai-prices.
        corrections: Content of the corrections file.
        at_unix_s: When prices are compared, in seconds since the epoch.
    """

    def __init__(self, billers: list[Biller], corrections: dict[str, Any], *, at_unix_s: float) -> None:
        self.billers = {biller["id"]: biller for biller in billers}
        self.decisions: list[Decision] = []
        self.counts: Counter[str] = Counter()
        self.corrections = corrections
        self._at = at_unix_s
        self._before = TablePrices(json.loads(json.dumps(billers)))
        self._added: dict[str, list[tuple[ModelRow, str]]] = {}
        self._origins = {name: ["g"] * len(biller["models"]) for name, biller in self.billers.items()}

    # --- litellm's rows ----------------------------------------------------------------

    def add(self, rows: Iterable[Listed]) -> None:
        """Take litellm's rows: new models, fields and tiers that the other source lacks, and disagreements."""
        for row in rows:
            biller = self.billers.get(row.biller)
            if biller is None:
                continue
            found = self._before._row(biller, row.model)
            if found is None or all(prices is None for _, prices in found[1][2]):
                self._append(row.biller, row.model, [(None, _trimmed(row.prices))], _tiers(row.tiers), "l")
                self.counts["new"] += 1
                continue
            self._compare(row, *found[:2])

    def _compare(self, row: Listed, seller: str, known: ModelRow) -> None:
        dated, tiered = known[2], known[3]
        now = _now(dated, self._at)
        theirs = _trimmed(row.prices)
        differing, missing = _differences(now, theirs)
        own = seller == row.biller or seller in self.billers[row.biller].get("tiers", ())
        tiers = [tier for tier in _tiers(row.tiers) if not own or tier[0] not in {name for name, _, _ in tiered}]
        if not differing:
            self.counts["agreed"] += 1
            if missing or tiers:
                more = {**now, **missing}
                kept = [(when, {**(prices or {}), **missing}) for when, prices in dated] if own else [(None, more)]
                if not own:
                    more.pop("tools", None)
                self._append(row.biller, row.model, kept, [*(tiered if own else []), *tiers], "b")
            return
        taken, why = self._decide(row, seller, known, differing)
        self.decisions.append(Decision(row.biller, row.model, differing, taken, why))
        if taken == "litellm":
            older = {field: value for field, value in now.items() if field not in theirs and own}
            self._append(row.biller, row.model, [(None, {**older, **theirs})], _tiers(row.tiers), "l")
        elif missing or tiers:
            kept = [(when, {**(prices or {}), **missing}) for when, prices in dated]
            self._append(row.biller, row.model, kept, [*(tiered if own else ()), *tiers], "b")

    def _decide(
        self, row: Listed, seller: str, known: ModelRow, differing: dict[str, tuple[Any, Any]]
    ) -> tuple[str, str]:
        for rule in self.corrections.get("decided", ()):
            same = all(_first(one) == _first(other) for one, other in differing.values())
            if rule["biller"] == row.biller and re.search(rule["models"], row.model) and not same:
                return rule["take"], f"{rule['reason']} ({rule['source']})"
        for rule in self.corrections.get("prices", ()):
            if rule["biller"] == row.biller and any(fits(_rule(name), row.model) for name in rule["models"]):
                return "a correction", f"{rule['reason']} ({rule['source']})"
        ours, theirs = ([side[place] for side in differing.values()] for place in (0, 1))
        if all(_first(one) == _first(other) for one, other in differing.values()):
            # Same base, and one of them knows a price for long contexts.
            if any(isinstance(value, list) for value in theirs) and not any(isinstance(value, list) for value in ours):
                return "litellm", "the other lacks the price of long contexts"
            if not any(isinstance(value, list) for value in theirs):
                return "genai-prices", "the other lacks the price of long contexts"
        if seller != row.biller and seller not in self.billers[row.biller].get("tiers", ()):
            return "litellm", f"a price of this biller's own; the other is {seller}'s"
        if not _exact(known[1], row.model):
            return "litellm", f"a price of this very name; the other is that of the family {known[0]}"
        days = [when for when, _ in known[2] if when and ":" not in when]
        if days:
            return "genai-prices", f"it follows the price over time, last from {days[-1]}"
        return "genai-prices", "both name the model; genai-prices is dated and checked against the vendor's page"

    def _append(self, biller: str, model: str, dated: Any, tiers: Any, origin: str) -> None:
        rule = f"^{model}" if model.startswith("ft:") else f"={model}"
        self._added.setdefault(biller, []).append(((model, rule, dated, tiers), origin))

    # --- corrections -------------------------------------------------------------------

    def finish(self) -> None:
        """Apply the corrections, put exact rows before families, and fold rows of equal prices together."""
        for rule in self.corrections.get("prices", ()):
            prices = {key: value for key, value in rule.items() if key not in _ABOUT - {"tools"}}
            tiers = [(name, None, part) for name, part in rule.get("tiers", {}).items()]
            rules = [_rule(name) for name in rule["models"]]
            dated: list[Any] = [(None, prices)]
            if "from" in rule:
                found = self._before._row(self.billers[rule["biller"]], rule["models"][0].lstrip("^"))
                dated = [*(found[1][2] if found else [(None, None)]), (rule["from"].isoformat(), prices)]
            row: ModelRow = (rule["models"][0].lstrip("^"), rules, dated, tiers)
            self._added.setdefault(rule["biller"], []).insert(0, (row, "c"))
        for name, biller in self.billers.items():
            added = _folded(self._added.get(name, []))
            # What begins with a prefix must not hide an exact name that comes after it.
            added.sort(key=lambda entry: (entry[1] != "c", not _is_exact(entry[0][1])))
            kept = list(zip(biller["models"], self._origins[name], strict=True))
            rows = [(part, origin) for row, origin in (*added, *kept) for part in self._split(name, row)]
            general = [rule["tools"] for rule in self._rules("fees", name) if "models" not in rule]
            fees = {tool: fee for tools in general for tool, fee in tools.items()}
            made = (self._discounted(name, self._shared(name, self._charged(name, row))) for row, _ in rows)
            biller["models"] = [_plain(row, fees) for row in made]
            biller["origins"] = "".join(origin for _, origin in rows)
            if fees:
                biller["tools"] = fees

    def _split(self, biller: str, row: ModelRow) -> list[ModelRow]:
        """A row in parts, where corrections hold for some of the names that it lists and not for others."""
        parts = [row[1]] if isinstance(row[1], str) else row[1]
        if any(not isinstance(part, str) or part[:1] not in "=^" for part in parts):
            return [row]
        rules = [rule for kind in ("fees", "shared", "added") for rule in self._rules(kind, biller) if "models" in rule]
        groups: dict[tuple[bool, ...], list[Rule]] = {}
        for part in parts:
            holds = tuple(bool(re.search(rule["models"], str(part)[1:])) for rule in rules)
            groups.setdefault(holds, []).append(part)
        if len(groups) == 1:
            return [row]
        found = []
        for held in groups.values():
            names = [str(part)[1:] for part in held]
            name = row[0] if row[0].lower() in names else names[0]
            found.append((name, held[0] if len(held) == 1 else held, row[2], row[3]))
        return found

    def _rules(self, kind: str, biller: str) -> Iterator[dict[str, Any]]:
        return (rule for rule in self.corrections.get(kind, ()) if rule["biller"] == biller)

    def _shared(self, biller: str, row: ModelRow) -> ModelRow:
        for rule in self._rules("shared", biller):
            if any(re.search(rule["models"], name) for name in _names(row)):
                fields = {key: value for key, value in rule.items() if key not in _ABOUT}
                dated = [(when, _with(prices, fields)) for when, prices in row[2]]
                row = (row[0], row[1], dated, row[3])
        for rule in self._rules("added", biller):
            if any(re.search(rule["models"], name) for name in _names(row)):
                fields = {key: value for key, value in rule.items() if key not in _ABOUT}
                row = (row[0], row[1], [(when, prices and {**fields, **prices}) for when, prices in row[2]], row[3])
        return row

    def _discounted(self, biller: str, row: ModelRow) -> ModelRow:
        """A row with the price of a service tier that its biller states as a share of the standard price."""
        for rule in self._rules("shares", biller):
            matches = any(re.search(rule["models"], name) for name in _names(row))
            if not matches or any(tier == rule["tier"] and when is None for tier, when, _ in row[3]):
                continue
            # Of several that are valid, the first counts: the latest day has to come first.
            parts = [(rule["tier"], when, _share(prices, rule)) for when, prices in reversed(row[2]) if prices]
            row = (row[0], row[1], row[2], [*row[3], *parts])
        return row

    def _charged(self, biller: str, row: ModelRow) -> ModelRow:
        for rule in self._rules("fees", biller):
            if "models" in rule and any(re.search(rule["models"], name) for name in _names(row)):
                dated = [
                    (when, prices and {**prices, "tools": {**prices.get("tools", {}), **rule["tools"]}})
                    for when, prices in row[2]
                ]
                row = (row[0], row[1], cast(Any, dated), row[3])
        return row


def _share(prices: dict[str, Any], rule: dict[str, Any]) -> dict[str, Any]:
    """The prices of tokens at a share of what they are; others, and those that the rule keeps, stay."""

    def part(value: Any) -> Any:
        if isinstance(value, list):
            return [part(value[0]), *([start, part(price)] for start, price in value[1:])]
        return round(value * rule["share"], 9)

    left = {*rule.get("keeps", ()), "tools", "per_request", "per_audio_hour"}
    return {field: part(value) for field, value in prices.items() if field not in left and not isinstance(value, str)}


def _with(prices: dict[str, Any] | None, fields: dict[str, str]) -> dict[str, Any] | None:
    if prices is None:
        return None
    return {**{name: other for name, other in fields.items() if other in prices and name not in prices}, **prices}


def _names(row: ModelRow) -> Iterator[str]:
    parts = [row[1]] if isinstance(row[1], str) else row[1]
    if not all(isinstance(part, str) and part[:1] in "=^" for part in parts):
        yield row[0].lower()
    for part in [row[1]] if isinstance(row[1], str) else row[1]:
        if isinstance(part, str) and part[:1] in "=^":
            yield part[1:]


def _plain(row: ModelRow, fees: dict[str, float]) -> ModelRow:
    """A row without the fees that are the biller's for all models."""
    dated = []
    for when, prices in row[2]:
        tools = {tool: fee for tool, fee in (prices or {}).get("tools", {}).items() if fees.get(tool) != fee}
        kept = prices and {key: value for key, value in prices.items() if key != "tools"}
        dated.append((when, {**(kept or {}), "tools": tools} if tools else kept))
    return (row[0], row[1], dated, row[3])


def _rule(name: str) -> Rule:
    return name if name[:1] in "^$" else f"={name}"


def _is_exact(rule: Rule) -> bool:
    parts = [rule] if isinstance(rule, str) else rule
    return all(isinstance(part, str) and part.startswith("=") for part in parts)


def _exact(rule: Rule, name: str) -> bool:
    parts = [rule] if isinstance(rule, str) else rule
    return f"={name}" in parts or f"^{name}" in parts


def _folded(rows: list[tuple[ModelRow, str]]) -> list[tuple[ModelRow, str]]:
    """Rows of the same prices as one row that names all their models."""
    groups: dict[str, list[tuple[ModelRow, str]]] = {}
    for row, origin in rows:
        groups.setdefault(json.dumps([row[2], row[3], origin, _is_exact(row[1])]), []).append((row, origin))
    found: list[tuple[ModelRow, str]] = []
    for members in groups.values():
        (name, rule, dated, tiers), origin = members[0]
        rules: list[Rule] = []
        for row, _ in members:
            rules += [row[1]] if isinstance(row[1], str) else row[1]
        found.append(((name, rule if len(rules) == 1 else list(dict.fromkeys(map(str, rules))), dated, tiers), origin))
    return found


def _now(dated: Any, at_unix_s: float) -> dict[str, Any]:
    prices = next((prices for when, prices in reversed(dated) if valid(when, at_unix_s)), dated[0][1])
    return dict(prices or {})


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) else value


def _near(one: Any, other: Any) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return (
            len(one) == len(other)
            and _near(one[0], other[0])
            and all(
                abs(a[0] - b[0]) <= _STEP_SLACK and _near(a[1], b[1]) for a, b in zip(one[1:], other[1:], strict=True)
            )
        )
    if isinstance(one, list) or isinstance(other, list):
        return False
    return bool(abs(one - other) <= _ROUNDING * max(abs(one), abs(other)))


def _differences(ours: dict[str, Any], theirs: dict[str, Any]) -> tuple[dict[str, tuple[Any, Any]], dict[str, Any]]:
    """Fields in which two price sets differ, and fields that only theirs has."""
    differing: dict[str, tuple[Any, Any]] = {}
    missing: dict[str, Any] = {}
    for field, value in theirs.items():
        if field == "tools":
            if field not in ours:
                missing[field] = value
        elif field not in ours:
            missing[field] = value
        elif not _near(ours[field], value):
            differing[field] = (ours[field], value)
    return differing, missing


def _trimmed(prices: dict[str, Any]) -> dict[str, Any]:
    """A price set without zeros that mean "none", and without steps that only a modality has."""
    found = {field: value for field, value in prices.items() if value or field in ("input", "output")}
    if found.get("reasoning") == found.get("output"):
        found.pop("reasoning", None)
    stepped = any(isinstance(found.get(field), list) for field in ("input", "output"))
    if not stepped:
        found = {field: _first(value) for field, value in found.items()}
    return found


def _tiers(tiers: dict[str, dict[str, Any]]) -> list[tuple[str, None, dict[str, Any]]]:
    return [
        (name, None, _trimmed_tier(prices)) for name, prices in tiers.items() if "input" in prices or "output" in prices
    ]


def _trimmed_tier(prices: dict[str, Any]) -> dict[str, Any]:
    return {field: value for field, value in prices.items() if value and field != "reasoning"}
