"""The user's own prices: a YAML or JSON file that goes before the shipped table.

Prices are US dollars per million tokens (``per_request``: dollars per call)::

    providers:
      openai:                     # provider name, host name, or "*" for every provider
        gpt-4o:                   # model name; "*" stands for any run of characters
          input: 2.50
          output: 10
          cache_read: 1.25
          tiers:                  # service tiers; what they leave out costs as above
            batch: {input: 1.25, output: 5}
          above:                  # more input tokens than this: the whole call costs
            200000: {input: 5, output: 15}
        my-tuned-*:
          - {input: 3, output: 6}
          - {from: 2026-07-01, input: 4, output: 8}     # from this day on (UTC)

Keys with a price: ``input``, ``output``, ``cache_read``, ``cache_write``, ``cache_write_1h``, ``reasoning``;
``input``, ``cache_read`` and ``output`` also with ``_image``, ``_audio`` or ``_video``; ``per_request`` (dollars per
call), ``per_audio_hour``; ``tools``, a mapping of server tools and other units to dollars per use. At least one of
``input``, ``output``, ``per_request``, ``per_audio_hour``, ``output_image``, ``output_audio`` and a unit of whole calls
(``image``, ``video_second``, ``character``, ``page``, ``search``) is needed; what has no price of its own is billed as
`Pricer` says. A host beats a provider, a provider beats ``*``; a full model name beats a
pattern, an earlier pattern a later one.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any, cast

from trisignal.errors import MissingExtraError, PriceFileError
from trisignal.formats.units import is_unit
from trisignal.policy.price_table import (
    Biller,
    Dated,
    ModelRow,
    PriceSet,
    Rates,
    TablePrices,
    Tiered,
    billed_as,
)

_UNITS = ("per_request", "per_audio_hour")
_TOKEN_PRICES = tuple(name for name in Rates._fields if name not in (*_UNITS, "valid_until_unix_s", "tools"))
_PRICES = (*_TOKEN_PRICES, *_UNITS)
_ENOUGH = ("input", "output", *_UNITS, "output_image", "output_audio")
_Path = tuple[object, ...]
_JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+')


class FilePrices(TablePrices):
    """Prices of an override file.

    Args:
        path: YAML (``.yaml``, ``.yml``) or JSON (``.json``) file.

    Raises:
        PriceFileError: The file cannot be read, or something in it is wrong.
        MissingExtraError: It is YAML and PyYAML is not installed.
    """

    __slots__ = ()

    def __init__(self, path: str) -> None:
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            problem = f"cannot be read ({reason}); prices_file is the path of a YAML or JSON file"
            raise PriceFileError(path, 0, problem) from None
        super().__init__(_Checker(path, text).billers())

    def _who(self, provider: str, host: str, model: str) -> Iterator[tuple[Biller, str]]:
        address = host.rpartition("://")[2].partition("/")[0]
        name = provider.strip().lower()
        billed = billed_as(name)
        for key in (address, address.rpartition(":")[0], name, billed, billed.removesuffix("-vertex"), "*"):
            if key in self._billers:
                yield (
                    self._billers[key],
                    "provider" if key in (name, billed, billed.removesuffix("-vertex")) else "host",
                )


class _Checker:
    """Walks a parsed file; every complaint carries the line of the key it is about."""

    def __init__(self, path: str, text: str) -> None:
        self._path = path
        self._lines: dict[_Path, int] = {}
        self._root = self._json(text) if path.lower().endswith(".json") else self._yaml(text)

    def _wrong(self, where: _Path, problem: str) -> PriceFileError:
        while where and where not in self._lines:
            where = where[:-1]
        return PriceFileError(self._path, self._lines.get(where, 0), problem)

    def _note(self, where: _Path, line: int) -> None:
        if where in self._lines:
            raise PriceFileError(self._path, line, f"{where[-1]!r} is given twice; keep one")
        self._lines[where] = line

    def _json(self, text: str) -> object:
        try:
            root: object = json.loads(text)
        except (ValueError, RecursionError) as error:
            line = getattr(error, "lineno", 0)
            raise PriceFileError(self._path, line, f"is not JSON: {error}") from None
        tokens = ((m[0], text.count("\n", 0, m.start()) + 1) for m in _JSON_TOKEN.finditer(text))
        self._note_json(tokens, ())
        return root

    def _note_json(self, tokens: Iterator[tuple[str, int]], where: _Path, token: str = "") -> None:
        token = token or next(tokens)[0]
        if token == "{":
            for key, line in tokens:
                if key == "}":
                    return
                if key != ",":
                    below = (*where, json.loads(key))
                    self._note(below, line)
                    next(tokens)
                    self._note_json(tokens, below)
        elif token == "[":
            index = 0
            for item, line in tokens:
                if item == "]":
                    return
                if item != ",":
                    self._note((*where, index), line)
                    self._note_json(tokens, (*where, index), item)
                    index += 1

    def _yaml(self, text: str) -> object:
        try:
            import yaml
        except ImportError:
            raise MissingExtraError("a YAML price file", "yaml") from None
        loader: Any = yaml.SafeLoader(text)
        # Days stay text, so that a wrong one is reported with its line.
        as_text = {"tag:yaml.org,2002:timestamp": yaml.SafeLoader.construct_yaml_str}
        loader.yaml_constructors = {**loader.yaml_constructors, **as_text}
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            self._note_yaml(loader, node, ())
            return cast(object, loader.construct_document(node))
        except PriceFileError:
            raise
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            mark = getattr(error, "problem_mark", None)
            line = mark.line + 1 if mark else 0
            problem = getattr(error, "problem", None) or error
            raise PriceFileError(self._path, line, f"is not YAML: {problem}") from None
        finally:
            loader.dispose()

    def _note_yaml(self, loader: Any, node: Any, where: _Path) -> None:
        if node.id == "mapping":
            for key, value in node.value:
                if key.id != "scalar":
                    continue
                below = (*where, loader.construct_object(key))
                self._note(below, key.start_mark.line + 1)
                self._note_yaml(loader, value, below)
        elif node.id == "sequence":
            for index, value in enumerate(node.value):
                self._note((*where, index), value.start_mark.line + 1)
                self._note_yaml(loader, value, (*where, index))

    def billers(self) -> list[Biller]:
        root = self._mapping(self._root, (), ("providers",))
        providers = self._mapping(root.get("providers"), ("providers",))
        return [
            {
                "id": str(name).lower(),
                "api": "",
                "names": None,
                "fallback": [],
                "models": self._models(models, ("providers", name)),
            }
            for name, models in providers.items()
        ]

    def _mapping(self, value: object, where: _Path, allowed: tuple[str, ...] = ()) -> Mapping[object, object]:
        if not isinstance(value, dict):
            name = f"{where[-1]!r}" if where else "the file"
            keys = f" with the keys {', '.join(allowed)}" if allowed else ""
            raise self._wrong(where, f"{name} must be a mapping{keys}, not {value!r}")
        mapping = cast("dict[object, object]", value)
        for key in mapping:
            if allowed and key not in allowed:
                raise self._wrong((*where, key), f"unknown key {key!r}; allowed: {', '.join(allowed)}")
        return mapping

    def _models(self, models: object, where: _Path) -> list[ModelRow]:
        given = self._mapping(models, where).items()
        rows = [self._model(str(name), value, (*where, name)) for name, value in given]
        return sorted(rows, key=lambda row: "*" in row[0])

    def _model(self, name: str, value: object, where: _Path) -> ModelRow:
        entries = cast("list[object]", value) if isinstance(value, list) else [value]
        if not entries:
            raise self._wrong(where, f"{name!r} needs prices")
        dated: list[Dated] = []
        tiers: list[Tiered] = []
        for index, given in enumerate(entries):
            place = (*where, index) if isinstance(value, list) else where
            entry = self._mapping(given, place, (*_PRICES, "above", "from", "tiers", "tools"))
            start = self._day(entry.get("from"), (*place, "from"))
            if not dated and start is not None:
                dated.append((None, None))
            elif dated and (start is None or (dated[-1][0] or "") >= start):
                raise self._wrong(place, "a list of prices needs a later 'from' day at each further entry")
            prices = self._prices(entry, place)
            tools = self._mapping(entry.get("tools", {}), (*place, "tools"))
            if not prices.keys() & set(_ENOUGH) and not any(is_unit(str(tool)) for tool in tools):
                raise self._wrong(place, f"at least one of {', '.join(_ENOUGH)} or a unit in 'tools' is needed")
            if tools:
                prices["tools"] = {str(tool): self._price(fee, (*place, "tools", tool)) for tool, fee in tools.items()}
            dated.append((start, prices))
            named = self._mapping(entry.get("tiers", {}), (*place, "tiers"))
            tiers[:0] = self._tiers(named, start, (*place, "tiers"))
        pattern = re.escape(name.lower()).replace(r"\*", ".*")
        return (name, f"~^(?:{pattern})$" if "*" in name else f"={name.lower()}", dated, tiers)

    def _tiers(self, named: Mapping[object, object], start: str | None, where: _Path) -> list[Tiered]:
        rows: list[Tiered] = []
        for tier, value in named.items():
            below = (*where, tier)
            prices = self._prices(self._mapping(value, below, (*_PRICES, "above")), below)
            rows.append((str(tier).lower(), start, prices))
        # Tier prices of an earlier day must not show through a later entry.
        return [*rows, ("*", start, None)]

    def _prices(self, entry: Mapping[object, object], where: _Path) -> PriceSet:
        found: PriceSet = {key: self._price(entry[key], (*where, key)) for key in _PRICES if key in entry}
        levels = self._mapping(entry.get("above", {}), (*where, "above"))
        for start, place in sorted((self._tokens(key, (*where, "above", key)), key) for key in levels):
            below = (*where, "above", place)
            for key, value in self._mapping(levels[place], below, _TOKEN_PRICES).items():
                field = str(key)
                if field not in found:
                    raise self._wrong((*below, key), f"{field!r} needs a price below {start} tokens too")
                steps = found[field] if isinstance(found[field], list) else [found[field]]
                found[field] = [*steps, [start, self._price(value, (*below, key))]]
        return found

    def _price(self, value: object, where: _Path) -> float:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf:
            return value
        raise self._wrong(where, f"{where[-1]!r} must be US dollars as a number of 0 or more, not {value!r}")

    def _tokens(self, value: object, where: _Path) -> int:
        if not isinstance(value, bool) and isinstance(value, (int, str)) and str(value).isdecimal():
            return int(value)
        raise self._wrong(where, f"a key under 'above' is a number of input tokens, not {value!r}")

    def _day(self, value: object, where: _Path) -> str | None:
        if value is None:
            return None
        try:
            return date.fromisoformat(str(value)).isoformat()
        except ValueError:
            raise self._wrong(where, f"'from' must be a day such as 2026-07-01, not {value!r}") from None
