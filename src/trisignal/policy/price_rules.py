"""Rules by which rows of a price table fit model names, and the index that finds the first fitting row fast."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, Union

Rule = Union[str, "list[Rule]"]
"""``=same``, ``^start``, ``$end``, ``*part``, ``~regex``; a list: any of them, after ``&`` all."""


def fits(rule: Rule, name: str) -> bool:
    """Whether a rule fits a model name in lower case."""
    if not isinstance(rule, str):
        if rule[0] == "&":
            return all(fits(part, name) for part in rule[1:])
        return any(fits(part, name) for part in rule)
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


def literals(pattern: str) -> list[str]:
    """Texts one of which is in whatever a regular expression matches, so that it need not be compiled for other texts.

    This takes as long as compiling it: tables keep the answer.

    Args:
        pattern: For addresses of hosts.

    Returns:
        ``[""]``, which is in every text, where no better answer is plain to see.
    """
    parser = importlib.import_module("re._parser" if sys.version_info >= (3, 11) else "sre_parse")
    return list(dict.fromkeys(_literals(parser.parse(pattern)))) or [""]


def _literals(items: Iterable[Any]) -> tuple[str, ...]:
    """The most telling answer for items in a row: that whose shortest text is longest."""
    best: tuple[str, ...] = ()
    run = ""
    row: list[tuple[Any, Any]] = [*items, ("end", None)]
    for operation, argument in row:
        kind = str(operation)
        texts: tuple[str, ...] = ()
        if kind == "LITERAL":
            run += chr(argument)
            continue
        if kind == "SUBPATTERN" and not argument[1]:  # no flags of its own
            texts = _literals(argument[3])
        elif kind in ("MAX_REPEAT", "MIN_REPEAT") and argument[0]:
            texts = _literals(argument[2])
        elif kind == "BRANCH":
            branches = [_literals(branch) for branch in argument[1]]
            texts = tuple(chain.from_iterable(branches)) if all(branches) else ()
        run = run.removeprefix("https://")  # nearly all addresses begin with it
        best = max(best, (run,) if run else (), texts, key=lambda these: min(map(len, these), default=0))
        run = ""
    return best


class RowIndex:
    """Finds the first row whose rule fits a name: exact names by look-up, all else in order.

    Args:
        rules: Rules of the rows, in their order.
    """

    __slots__ = ("_exact", "_others")

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._exact: dict[str, int] = {}
        self._others: list[tuple[int, Rule]] = []
        for index, rule in enumerate(rules):
            parts = [rule] if isinstance(rule, str) else rule
            if parts and parts[0] == "&":
                self._others.append((index, rule))
                continue
            for part in parts:
                if isinstance(part, str) and part.startswith("="):
                    self._exact.setdefault(part[1:], index)
                else:
                    self._others.append((index, part))

    def first(self, name: str) -> int | None:
        """Index of the first row that fits; None when none does."""
        exact = self._exact.get(name)
        for index, rule in self._others:
            if exact is not None and index >= exact:
                break
            if fits(rule, name):
                return index
        return exact
