"""Loops of a run: the same tool call, the same prompt, no new result, again and again.

Tool calls are compared where tools are observed, and in the history that each request sends along: so a loop is seen
in whatever framework it runs. Only digests are kept.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Literal, NamedTuple

from trisignal.call import Content, ContentSource
from trisignal.semconv.values import number, text_of

Repeats = Literal["tools", "prompts", "results"]
REPEATS: tuple[Repeats, ...] = ("tools", "prompts", "results")
Match = Literal["normalised", "exact"]

_DEEPEST = 24
_EMPTY = ("", "null", "[]", "{}", "true", "none", "ok")
"""Results that are not news of a loop: tools that act and have nothing to report."""


class Repeated(NamedTuple):
    """What has come again."""

    what: str
    """In words, with the name of the tool."""
    times: int


def normal(value: Any, depth: int = 0) -> Any:
    """A value without what makes no difference: order of keys, case, spaces, empty entries, kinds of numbers.

    Args:
        value: Arguments or a result; a text that holds JSON is read.
        depth: How deep it lies.
    """
    if depth > _DEEPEST:
        return text_of(value)
    if isinstance(value, (str, bytes)):
        text = text_of(value).strip()
        if text[:1] in ("{", "["):
            try:
                return normal(json.loads(text), depth + 1)
            except (ValueError, RecursionError):
                pass
        return " ".join(text.split()).casefold()
    if isinstance(value, Mapping):
        pairs = ((text_of(key), normal(item, depth + 1)) for key, item in value.items())
        return {key: item for key, item in sorted(pairs, key=lambda pair: pair[0]) if item not in (None, "", [], {})}
    if isinstance(value, (list, tuple)):
        return [normal(item, depth + 1) for item in value]
    plain = number(value)
    if plain is not None and not isinstance(plain, bool):
        return int(plain) if plain == int(plain) else plain
    return plain if isinstance(plain, bool) or value is None else text_of(value)


def digest(value: Any, match: Match) -> str:
    """A short mark of a value.

    Args:
        value: Anything.
        match: ``exact`` compares it as it is.
    """
    if match == "normalised":
        value = normal(value)
    text = value if isinstance(value, str) else json.dumps(value, default=text_of, ensure_ascii=False)
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=10).hexdigest()


def content_of(source: ContentSource | None) -> Content | None:
    """Messages of a request that is about to be sent; None where they are not known."""
    if source is None or source.reader is None:
        return None
    read: Content = source.reader(source.request, None, None)
    return read if read.input_messages else None


class _History(NamedTuple):
    """Tool calls and results in the messages of one request."""

    calls: Counter[str]
    names: Mapping[str, str]
    results: tuple[str, ...]


def _history(content: Content, match: Match) -> _History:
    calls: Counter[str] = Counter()
    names: dict[str, str] = {}
    results: list[str] = []
    for message in content.input_messages or ():
        for part in message.get("parts") or () if isinstance(message, Mapping) else ():
            kind = part.get("type") if isinstance(part, Mapping) else None
            if kind == "tool_call":
                name = text_of(part.get("name"))
                mark = digest([name, part.get("arguments")], match)
                calls[mark] += 1
                names[mark] = name
            elif kind == "tool_call_response":
                results.append(result_mark(part.get("response", part.get("result")), match))
    return _History(calls, names, tuple(results))


def result_mark(result: Any, match: Match) -> str:
    """Mark of a tool's result; "" where it says nothing."""
    plain = normal(result)
    text = plain if isinstance(plain, str) else json.dumps(plain, default=text_of)
    return "" if text in _EMPTY else digest(result, match)


class Loops:
    """What one run has seen of its own history and results.

    Args:
        repeats: How often the same may come; None compares nothing.
        kinds: What is compared.
        match: How.
    """

    def __init__(self, repeats: int | None, kinds: tuple[Repeats, ...], match: Match) -> None:
        self._repeats = repeats or 0
        self._kinds = kinds if repeats else ()
        self.results = 0
        """Results of tools that the last request had more than the first one, whoever observes these tools."""
        self.match: Match = match
        self._before: _History | None = None
        """What the first request of the run came with: no loop of this run."""
        self._last_result = ""
        self._same_results = 0

    def tool_mark(self, name: str, source: ContentSource | None) -> str:
        """Mark of a tool call that is about to run; "" where its arguments are not known."""
        if "tools" not in self._kinds or source is None or source.arguments is None:
            return ""
        return digest([name, source.arguments], self.match)

    def prompt_mark(self, content: Content | None) -> str:
        """Mark of a prompt that is about to be sent; "" where it is not known."""
        if "prompts" not in self._kinds or content is None:
            return ""
        return digest([content.system_instructions, content.input_messages], self.match)

    def sent(self, content: Content | None) -> Repeated | None:
        """What the history of a request repeats, if that is too often."""
        if content is None:
            return self.stale()
        now = _history(content, self.match)
        before = self._before
        if before is None:
            self._before = now
            return self.stale()
        self.results = len(now.results) - len(before.results)
        if "tools" in self._kinds:
            for mark, times in now.calls.items():
                times -= before.calls[mark]
                if times >= self._repeats:
                    return Repeated(f"tool {now.names[mark]!r} with the same arguments", times)
        if "results" in self._kinds:
            new = now.results[len(before.results) :]
            same = 0
            for mark in reversed(new):
                if not mark or mark != new[-1]:
                    break
                same += 1
            if same >= self._repeats:
                return Repeated("no new tool result", same)
        return self.stale()

    def ended(self, result: Any) -> None:
        """A tool of the run has ended."""
        mark = result_mark(result, self.match)
        self._same_results = self._same_results + 1 if mark and mark == self._last_result else int(bool(mark))
        self._last_result = mark

    def stale(self) -> Repeated | None:
        """Whether the last results of observed tools were all the same."""
        if "results" in self._kinds and self._same_results >= self._repeats:
            return Repeated("no new tool result", self._same_results)
        return None
