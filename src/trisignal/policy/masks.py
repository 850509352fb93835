"""Values masked by their key, or by the path of keys that leads to them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import translate
from functools import lru_cache
from typing import Any

from trisignal.errors import ConfigError

MASKED = "[REDACTED:mask_keys]"
DETECTOR = "mask_keys"
"""Name under which masked values are counted."""
_DEEPEST = 64
_MOST_JSON = 1 << 20
"""Characters of a text that is read as JSON; in longer ones keys are searched."""
_LONGEST_PATH = 512
_LISTS = (list, tuple, set, frozenset)


class KeyMasks:
    """What ``mask_keys`` names.

    Args:
        patterns: Keys (``card``) or paths of keys (``customer.card``, ``*.ssn``), in any case. A pattern matches at the
            end of a path; places in lists are not part of it.
        on_hit: Called with the name of the detector and the number of masked values.

    Raises:
        ConfigError: A pattern is not a text, or empty.
    """

    masked = MASKED

    def __init__(self, patterns: Sequence[str], on_hit: Callable[[str, int], None] | None = None) -> None:
        parts = []
        for pattern in patterns:
            if not isinstance(pattern, str) or not pattern.strip(".* "):
                raise ConfigError("mask_keys", pattern, "keys or paths of keys, e.g. card,*.ssn")
            parts.append(pattern.strip().lower().removeprefix("*."))
        self._path = re.compile("|".join(rf"(?:.*\.)?{translate(part)}" for part in parts), re.DOTALL)
        self._matches = lru_cache(maxsize=4096)(lambda path: self._path.match(path.lower()) is not None)
        last = "|".join(_searched(part.rpartition(".")[2]) for part in parts)
        self._written = re.compile(
            rf"(?i)(?P<quote>(?<!\\)\\*[\"'])?(?<![\w.\-])(?:{last})(?(quote)(?P=quote)\s*:|\s*=)\s*"
            r"(?P<value>\\+[\"'][^\"'\\]*(?:\\+[\"'])?|\"(?:[^\"\\]|\\.)*\"?|'(?:[^'\\]|\\.)*'?|[\[{].*|[^\s,;&)}\]\"'\[{]+)",
            re.DOTALL,
        )
        self._on_hit = on_hit

    def matches(self, path: str) -> bool:
        """Whether the value at a path of keys is masked."""
        return self._matches(path[-_LONGEST_PATH:])

    def value(self, value: Any, path: str = "") -> Any:
        """A copy of a structure in which every value under a masked key is replaced."""
        hits: list[str] = []
        done = self._walk(value, path, 0, hits)
        self._count(len(hits))
        return done if hits else value

    def text(self, text: str) -> str:
        """The same for a text that holds JSON, or keys and values as programs write them."""
        start = text.lstrip()[:1]
        if start and start in "{[" and len(text) <= _MOST_JSON:
            try:
                loaded = json.loads(text)
            except (ValueError, RecursionError):
                loaded = None
            if loaded is not None:
                masked = self.value(loaded)
                return text if masked is loaded else json.dumps(masked, ensure_ascii=False, separators=(",", ":"))
        masked_text, hits = self._written.subn(_hide, text)
        self._count(hits)
        return masked_text

    def _count(self, hits: int) -> None:
        if hits and self._on_hit is not None:
            self._on_hit(DETECTOR, hits)

    def _walk(self, value: Any, path: str, depth: int, hits: list[str]) -> Any:
        if isinstance(value, str):
            return self._in_text(value, hits) if value.lstrip()[:1] in ("{", "[") and depth else value
        if depth >= _DEEPEST:
            return "[nested too deep]" if isinstance(value, (Mapping, *_LISTS)) else value
        if isinstance(value, Mapping):
            done = {}
            for key, item in value.items():
                below = f"{path}.{key}" if path else str(key)
                if self.matches(below) and item != MASKED:
                    hits.append(below)
                    done[key] = MASKED
                else:
                    done[key] = self._walk(item, below, depth + 1, hits)
            return done
        if isinstance(value, _LISTS):
            return [self._walk(item, path, depth + 1, hits) for item in value]
        return value

    def _in_text(self, text: str, hits: list[str]) -> str:
        try:
            loaded = json.loads(text) if len(text) <= _MOST_JSON else None
        except (ValueError, RecursionError):
            return text
        before = len(hits)
        masked = self._walk(loaded, "", 1, hits)
        return json.dumps(masked, ensure_ascii=False, separators=(",", ":")) if len(hits) > before else text


def _searched(key: str) -> str:
    return "".join(r"[\w\-]{0,64}" if c == "*" else r"[\w\-]" if c == "?" else re.escape(c) for c in key)


def _hide(found: re.Match[str]) -> str:
    if found["value"].strip("\\\"'") == MASKED:
        return found.group()
    head = found.group()[: found.start("value") - found.start()]
    quote = re.match(r"\\*[\"']", found["value"]) or re.match(r"\\*[\"']", found["quote"] or "")
    around = quote.group() if quote else ""
    return f"{head}{around}{MASKED}{around}"
