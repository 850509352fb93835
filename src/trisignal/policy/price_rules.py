"""Rules by which rows of a price table fit model names, and the index that finds the first fitting row fast."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Union

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


_LITERAL = re.compile(r"\\[.\-/]|[A-Za-z0-9:/_\-]")
_LITERALS = re.compile(f"(?:{_LITERAL.pattern})+")
_GROUP = re.compile(r"\([^()]*\)")


@cache
def literal_head(pattern: str) -> str:
    """Text that everything begins with that a regular expression matches; "" where that is not plain to see.

    Args:
        pattern: Of the simple kind that price tables have for addresses.
    """
    bare, nested = pattern, ""
    while bare != nested:  # alternatives inside of groups come later than the head
        nested, bare = bare, _GROUP.sub("", bare)
    match = _LITERALS.match(pattern)
    if match is None or "|" in bare:
        return ""
    units = _LITERAL.findall(match.group())
    if pattern[match.end() : match.end() + 1] in ("?", "*", "{"):
        units = units[:-1]  # it may be absent
    return "".join(units).replace("\\", "")


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
