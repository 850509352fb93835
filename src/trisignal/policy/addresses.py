"""Addresses of e-mail, found in linear time."""

from __future__ import annotations

import re
from collections.abc import Iterator

_DOMAIN = re.compile(r"(?:@(?<=[\w.%+\-]@)|%40(?<=[\w.%+\-]%40))[\w\-]+(?:\.[\w\-]+)+")
_LOCAL = re.compile(r"[\w.%+\-]+")
_LONGEST_LOCAL = 4096
_MOST_VERSIONS = 4000
"""Versions of packages (``react@18.2.0``) that are looked at; what follows is one hit."""


def addresses(whole: str) -> Iterator[tuple[int, int]]:
    """Where e-mail addresses are.

    Args:
        whole: Any text.
    """
    if "@" not in whole and "%40" not in whole:
        return
    done = versions = 0
    for match in _DOMAIN.finditer(whole):
        at = match.start()
        local = _LOCAL.match(whole[max(done, at - _LONGEST_LOCAL) : at][::-1])
        length = _domain(match.group()) if local is not None else 0
        if local is not None and length:
            done = at + length
            yield at - local.end(), done
        elif local is not None:
            versions += 1
            if versions > _MOST_VERSIONS:
                yield at, len(whole)
                return


def _domain(found: str) -> int:
    """Length of an address's second half without what follows its top level; 0 for versions, which have none."""
    labels = found.split(".")
    while len(labels) > 1 and not labels[-1][0].isalpha():
        labels.pop()
    return len(".".join(labels)) if len(labels) > 1 else 0
