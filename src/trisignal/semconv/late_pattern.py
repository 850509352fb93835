"""Regular expressions that are compiled when they are first used."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, cast


class _Late:
    """Becomes a pattern's methods one by one, as they are asked for; from then on it costs what the pattern does."""

    def __init__(self, source: str | Callable[[], str], flags: int) -> None:
        self._source = source
        self._flags = flags

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        source = self._source if isinstance(self._source, str) else self._source()
        method = self.__dict__[name] = getattr(re.compile(source, self._flags), name)
        return method


def late_pattern(source: str | Callable[[], str], flags: int = 0) -> re.Pattern[str]:
    """A pattern that stands in a module without taking its time to compile from the import.

    Most processes never meet a text that most of the patterns are for; together they take longer than all else that
    is imported.

    Args:
        source: The regular expression, or a function that puts it together.
        flags: As for `re.compile`.
    """
    return cast("re.Pattern[str]", _Late(source, flags))
