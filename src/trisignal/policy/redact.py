"""Redaction: every text passes a redactor before it leaves."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from hashlib import blake2b
from itertools import islice
from typing import Any, Protocol

from trisignal.config import DETECTORS, OPTIONAL_DETECTORS
from trisignal.errors import ConfigError, redact_messages
from trisignal.policy.masks import KeyMasks
from trisignal.policy.secret_keys import is_secret
from trisignal.semconv.digits import SHORTEST, redact_number
from trisignal.semconv.values import number

ALL = (*DETECTORS, *OPTIONAL_DETECTORS)
"""Names of the built-in detectors."""
_HARMLESS = re.compile(r"[A-Za-z][A-Za-z0-9_\-./]{0,127}")
_LONGEST_HARMLESS = 128
_SHORTEST_HEAD, _LONGEST_HEAD, _MOST_HEADS = 4, 16, 256
"""Characters and number of the beginnings of ids that are remembered."""
MOST_PASSED = 4096
"""Texts that are remembered as clean, of either kind."""
_FORGOTTEN_AT_ONCE = 64
_LONGEST_WORD = 32
Hit = tuple[int, int, str]
"""Start, end, detector."""
_MAX_DEPTH = 32
_PASSES = 8
"""What touched a hit may stand alone once that is replaced: look again, so that once is enough."""
HIDDEN = "[REDACTED:api_key]"
"""Stands for a value whose key announces a secret."""
ENTANGLED = "[REDACTED:text]"
"""Stands for a text in which hits never end: nothing of it is shown."""


class Redactor(Protocol):
    """Anything that takes a text and returns it without private data."""

    def __call__(self, text: str, /) -> str:
        """The redacted text."""
        ...


class Chain:
    """One redactor that applies several in order.

    Args:
        *redactors: Each gets what the one before returned.
    """

    def __init__(self, *redactors: Redactor) -> None:
        self._redactors = redactors
        self.masks: KeyMasks | None = next((m for r in redactors if (m := masks_of(r)) is not None), None)
        """What masks values by their key, in structures that are not text yet."""
        self.shortest_number: int = min((getattr(redactor, "shortest_number", 1) for redactor in redactors), default=1)
        """Digits of the shortest number that any of them may change."""

    def secret_under(self, key: object, value: object) -> str | None:
        """What stands for the value of an entry whose key announces a secret; None where it does not."""
        for redactor in self._redactors:
            hidden = secret_under(redactor, key, value)
            if hidden is not None:
                return hidden
        return None

    def __call__(self, text: str, /) -> str:
        """The redacted text."""
        for redactor in self._redactors:
            text = redactor(text)
        return text


chain = Chain


def masks_of(redactor: Redactor) -> KeyMasks | None:
    """What masks values by their key before a redactor sees their text, if anything does."""
    return getattr(redactor, "masks", None)


def secret_under(redactor: Redactor, key: object, value: object) -> str | None:
    """What stands for the value of an entry whose key announces a secret; None where it does not.

    Args:
        redactor: Decides, if it is one of ours.
        key: Key of an entry, or name of an attribute.
        value: Its value.
    """
    decide = getattr(redactor, "secret_under", None)
    return None if decide is None else decide(key, value)


class PatternRedactor:
    """Replaces what the detectors find with ``[REDACTED:<detector>]``.

    Args:
        detectors: Names of built-in detectors.
        patterns: Own detectors: name to regular expression. Its running time is the user's care.
        on_hit: Called with a detector's name and its number of hits in a text.
        mask_keys: Keys, or paths of keys, whose values are masked in structured content, e.g. ``("card", "*.ssn")``.

    Raises:
        ConfigError: A detector is unknown, a pattern cannot be compiled, or a key is empty.
    """

    def __init__(
        self,
        detectors: Sequence[str] = DETECTORS,
        patterns: Mapping[str, str] | None = None,
        on_hit: Callable[[str, int], None] | None = None,
        mask_keys: Sequence[str] = (),
    ) -> None:
        for name in detectors:
            if name not in ALL:
                raise ConfigError("redact", name, "one or more of " + ", ".join(ALL))
        self._names = frozenset(detectors)
        self._own: list[tuple[str, re.Pattern[str]]] = []
        for name, pattern in (patterns or {}).items():
            try:
                self._own.append((name, re.compile(pattern)))
            except re.error as error:
                raise ConfigError("redact_patterns", pattern, f"regular expressions ({error})") from None
        self._on_hit = on_hit
        self.masks = KeyMasks(mask_keys, on_hit) if mask_keys else None
        self.passes_harmless = not self._own and self.masks is None
        """It leaves every text as it is that `is_harmless`."""
        self.shortest_number = 1 if self._own else SHORTEST
        """Digits of the shortest number that it may change."""
        self._words: dict[str, None] = {}
        """Short tokens without a hit: names of roles, types and keys, of which content has many."""
        self._passed: dict[bytes, None] = {}
        """Digests of other texts without a hit: a conversation is sent again with each of its turns."""

    def __call__(self, text: str, /) -> str:
        """The text with every hit replaced."""
        if self.masks is not None:
            text = self.masks.text(text)
        if type(text) is not str:
            return self._replaced(text)  # a subclass may equal what it is not
        if text in self._words:
            return text
        if len(text) <= _LONGEST_HARMLESS and not self._own and is_harmless(text):
            if len(text) <= _LONGEST_WORD:
                _remember(self._words, text)
            return text
        # Not the text itself, which stays nowhere, nor its hash, which others might share.
        digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16, usedforsecurity=False).digest()
        if digest in self._passed:
            return text
        done = self._replaced(text)
        if done is text:
            _remember(self._passed, digest)
        return done

    def _replaced(self, text: str) -> str:
        """The text with every hit replaced; the same object where there is none."""
        counts: dict[str, int] = {}
        for _ in range(_PASSES):
            hits = self._hits(text)
            if not hits:
                break
            text = _replaced(text, hits, counts)
        else:
            text = ENTANGLED
        if self._on_hit is not None:
            for name, count in counts.items():
                self._on_hit(name, count)
        return text

    def secret_under(self, key: object, value: object) -> str | None:
        """What stands for the value of an entry whose key announces a secret; None where it does not."""
        if "api_key" not in self._names or not is_secret(key, value):
            return None
        if self._on_hit is not None:
            self._on_hit("api_key", 1)
        return HIDDEN

    def _hits(self, text: str) -> list[Hit]:
        found: list[tuple[int, int, int, str]] = []
        rank = 0
        for rank, (name, pattern) in enumerate(self._own):
            found += [(m.start(), rank, m.end(), name) for m in pattern.finditer(text) if m.end() > m.start()]
        if self._names:
            # Its patterns take milliseconds to compile: not before the first text that is more than an id.
            from trisignal.policy import detectors

            seen = detectors.prepare(text)
            if seen.quiet and not found:
                return []
            for order, (name, find) in enumerate(detectors.BUILT_IN.items(), rank + 1):
                if name in self._names:
                    found += [(start, order, end, name) for start, end in find(seen)]
        found.sort()
        return [(start, end, name) for start, _, end, name in _settled(found)]


def is_harmless(text: str) -> bool:
    """A cheap yes for ids and model names: one token, beginning with a letter, that no detector knows.

    Args:
        text: Any text.
    """
    return harmless()(text)


@cache
def harmless() -> Callable[[str], bool]:
    """`is_harmless`, ready for use: its patterns take milliseconds to compile, so not before the first text.

    Ids of one kind begin alike (``chatcmpl-``, ``req_``) and end in letters and digits. Where such a beginning has
    passed once, only what a key can begin with or hold inside of the rest is looked for: a fifth of the time.
    """
    from trisignal.policy.key_formats import OPENINGS, has_start, hints, is_open_head

    marks, dotted = hints()
    fits = _HARMLESS.fullmatch
    heads: set[str] = set()
    openings = OPENINGS | {"mm"}  # the last one as in "_mmk"

    def is_harmless(text: str) -> bool:
        end = text.rfind("_") + 1 or text.rfind("-") + 1
        head = text[:end]
        if head in heads:
            rest = text[end:]
            if (
                rest.isalnum()
                and rest.isascii()
                and rest[:2] not in openings
                and "hook" not in rest
                and "JQQJ99" not in rest
                and len(text) <= _LONGEST_HARMLESS
            ):
                return True
        passes = (
            fits(text) is not None
            and not has_start("_" + text)
            and marks(text) is None
            and ("." not in text or dotted(text) is None)
            and not (text[2:4].isdecimal() and text[:2].isupper())
        )
        room = _SHORTEST_HEAD <= end <= _LONGEST_HEAD and len(heads) < _MOST_HEADS
        if passes and room and "." not in head and "/" not in head and not is_open_head(head):
            heads.add(head)
        return passes

    return is_harmless


def _remember(known: dict[Any, None], item: str | bytes) -> None:
    """Note an item, and forget some of the oldest ones where there are too many."""
    if len(known) >= MOST_PASSED:
        for oldest in list(islice(known, _FORGOTTEN_AT_ONCE)):
            known.pop(oldest, None)
    known[item] = None


def _replaced(text: str, hits: list[Hit], counts: dict[str, int]) -> str:
    parts: list[str] = []
    at = 0
    for start, end, name in hits:
        parts += (text[at:start], f"[REDACTED:{name}]")
        counts[name] = counts.get(name, 0) + 1
        at = end
    parts.append(text[at:])
    return "".join(parts)


def _settled(found: list[tuple[int, int, int, str]]) -> list[tuple[int, int, int, str]]:
    """Overlapping hits become one that covers all of them, under the first one's name."""
    done: list[tuple[int, int, int, str]] = []
    for start, order, end, name in found:
        if done and start < done[-1][2]:
            first = done[-1]
            name = name if order < first[1] else first[3]
            done[-1] = (first[0], min(order, first[1]), max(end, first[2]), name)
        else:
            done.append((start, order, end, name))
    return done


def redact_value(value: object, redactor: Redactor, depth: int = 0) -> Any:
    """Redact every text and number in a structure of dicts, lists and scalars.

    Args:
        value: Anything; unknown objects are turned into text first.
        redactor: Applied to every string, dictionary keys included, and to the digits of numbers.
        depth: Nesting so far; below 32 levels a structure is dropped.
    """
    if isinstance(value, str):
        return redactor(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (bytes, bytearray)):
        return f"[bytes:{len(value)}]"
    if depth >= _MAX_DEPTH:
        return "[nested too deep]"
    if isinstance(value, (Mapping, list, tuple, set, frozenset)):
        if depth == 0 and (masks := masks_of(redactor)) is not None:
            value = masks.value(value)
        if isinstance(value, Mapping):
            return {
                redactor(str(k)): secret_under(redactor, k, v) or redact_value(v, redactor, depth + 1)
                for k, v in value.items()
            }
        return [redact_value(item, redactor, depth + 1) for item in value]  # type: ignore[attr-defined]  # a copy
    if number(value) is not None:
        return redact_number(value, redactor)
    return redactor(str(value))


# Addresses of machines stay in messages: they say where to look.
redact_messages(PatternRedactor([name for name in DETECTORS if name != "ip"]))
