"""Truncation: content as JSON text within a byte budget, redacted before anything is cut.

Only what can be shown is redacted, so the work follows the budget and not the size of the content. Where a list does
not fit, its first item and its newest items stay. Every cut is marked in place with how much it took.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, islice
from typing import Any

from trisignal.policy.media import MEDIA_CHARACTERS, is_base64, tag, without_data_urls
from trisignal.policy.redact import Redactor, masks_of
from trisignal.semconv.digits import redact_number
from trisignal.semconv.values import number, well_formed


def _json(value: Any, /) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


try:
    import orjson
except ImportError:
    _dumps: Callable[[Any], bytes] = _json
else:
    _dumps = orjson.dumps

_MAX_DEPTH = 32
_MARGIN = 4096
"""Characters redacted beyond what is shown of a long text, so that no secret is met half."""
_KEY_BYTES = 256
_COUNTED = 4096
"""Values whose bytes are counted in what was dropped; beyond them a count is a lower bound."""
_WORST = 10**12
"""Stands for a count that is not known yet: its marker is the longest that can be needed."""
_LISTS = (list, tuple, set, frozenset)

_Fitted = tuple[bytes, int]
"""JSON text and the number of bytes that were cut to make it."""


def shorten(text: str, budget_bytes: int) -> tuple[str, int]:
    """Cut a text to a budget, with a marker of how much was cut at its end.

    Args:
        text: Redacted already. Lone surrogates become U+FFFD.
        budget_bytes: UTF-8 bytes that the result may take, its marker included. A budget too
            small for the marker is filled with text alone.

    Returns:
        The text, and the number of UTF-8 bytes cut; 0 if it was within the budget.
    """
    if text.isascii() and len(text) <= budget_bytes:
        return text, 0
    text = well_formed(text)
    raw = text.encode()
    if len(raw) <= budget_bytes:
        return text, 0
    room = budget_bytes - len(_marker(len(raw)).encode())
    kept = raw[: room if room >= 0 else max(0, budget_bytes)].decode(errors="ignore")
    cut = len(raw) - len(kept.encode())
    return (kept + _marker(cut) if room >= 0 else kept), cut


def render(value: object, redactor: Redactor, budget_bytes: int) -> tuple[str, int]:
    """Write content as compact JSON of the same top-level type within a budget.

    Args:
        value: Lists, dicts, texts and scalars; other objects are written as their ``str()``.
        redactor: Applied to every text, keys included, before it is cut.
        budget_bytes: UTF-8 bytes that the JSON text may take, at least 2. A budget too small
            for a marker gives an empty list, dict or text.

    Returns:
        The JSON text, and the number of bytes cut; 0 if nothing was. Of more than 4096
        dropped values the count is a lower bound.

    Raises:
        Exception: Whatever the redactor raises.
    """
    masks = masks_of(redactor)
    if masks is not None:
        value = masks.value(value)
    fitted = _Fitter(redactor).fit(value, budget_bytes, 0)
    if fitted is None:
        empty = b"{}" if isinstance(value, Mapping) else b"[]" if isinstance(value, _LISTS) else b'""'
        fitted = empty, max(1, _size([value]))
    return fitted[0].decode(), fitted[1]


class _Fitter:
    """Renders one value; a text that is met again on the way is not redacted again."""

    __slots__ = ("_known", "_redactor", "_secret")

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._secret: Callable[[object, object], str | None] = getattr(
            redactor, "secret_under", lambda key, value: None
        )
        self._known: dict[int, tuple[str, str]] = {}
        """A text by its id, and what it turned into; holding the text keeps the id its own."""

    def fit(self, value: Any, budget: int, depth: int) -> _Fitted | None:
        """The value whole, or else what fits of it; None if not even a marker does."""
        whole = self._whole(value, budget, depth)
        if whole is not None:
            return whole, 0
        if depth >= _MAX_DEPTH:
            return None
        if isinstance(value, Mapping):
            return self._fit_dict(value, budget, depth)
        if isinstance(value, _LISTS):
            return self._fit_list(list(value), budget, depth)
        if value is None or isinstance(value, (bool, float, bytes, bytearray)):
            return None
        return self._fit_text(value if isinstance(value, str) else _as_text(value), budget)

    def _whole(self, value: Any, budget: int, depth: int) -> bytes | None:
        if self._least(value, budget, depth) > budget:
            return None
        done = _dumps(self._plain(value, depth))
        return done if len(done) <= budget else None

    def _least(self, value: Any, limit: int, depth: int) -> int:
        """About the bytes that a value takes at least; counting stops beyond the limit."""
        # Exact classes first, here and below: nearly all content is of these, and `Mapping` is slow to ask.
        cls = type(value)
        if cls is str or isinstance(value, str):
            # Redaction may shorten a text, so this decides what is worth redacting, not what fits.
            if len(value) > MEDIA_CHARACTERS:
                self._note_media(value)
            return 2 + len(self._known.get(id(value), (value, value))[1])
        if depth >= _MAX_DEPTH:
            return 2
        spent = 2
        if cls is dict or (cls is not list and isinstance(value, Mapping)):
            if value.get("type") == "blob":
                self._note_blob(value)
            for key, item in value.items():
                spent += 3 + (len(key) if isinstance(key, str) else 1)
                if spent <= limit:
                    spent += self._least(item, limit - spent, depth + 1)
                if spent > limit:
                    break
        elif isinstance(value, _LISTS):
            for item in value:
                spent += 1 + self._least(item, limit - spent, depth + 1)
                if spent > limit + 1:
                    break
        else:
            spent = 1
        return spent - (1 if isinstance(value, _LISTS) and value else 0)

    def _plain(self, value: Any, depth: int) -> Any:
        """A redacted copy made of what JSON has."""
        cls = type(value)
        if cls is str or isinstance(value, str):
            return self._text(value)
        if value is None or value is True or value is False:
            return value
        if cls is not dict and cls is not list:
            if number(value) is not None:
                return self._number(value)
            if isinstance(value, float):
                return None
            if isinstance(value, (bytes, bytearray)):
                return f"[bytes:{len(value)}]"
        if depth >= _MAX_DEPTH:
            return "[nested too deep]"
        if cls is dict or (cls is not list and isinstance(value, Mapping)):
            if value.get("type") == "blob":
                self._note_blob(value)
            done: dict[str, Any] = {}
            for key, item in value.items():
                known = self._known.get(id(key))  # a key comes with every message
                name = self._key(key) if known is None else known[1]
                name = _unused(name, done) if name in done else name
                done[name] = self._secret(key, item) or self._plain(item, depth + 1)
            return done
        if isinstance(value, _LISTS):
            return [self._plain(item, depth + 1) for item in value]
        return self._redacted(_as_text(value))

    def _number(self, value: Any) -> Any:
        done = redact_number(value, self._redactor)
        if type(done) is int and not -(2**63) <= done < 2**64:
            return self._redacted(_as_text(done))
        return done

    def _key(self, key: object) -> str:
        return self._text(key) if isinstance(key, str) else self._redacted(_as_text(key))

    def _text(self, text: str) -> str:
        if len(text) > MEDIA_CHARACTERS:
            self._note_media(text)
        known = self._known.get(id(text))
        if known is None:
            known = self._known[id(text)] = text, self._redacted(text)
        return known[1]

    def _redacted(self, text: str) -> str:
        done = self._redactor(without_data_urls(text) if ";base64," in text else text)
        return done if done.isascii() else well_formed(done)

    def _note_media(self, text: str) -> None:
        if len(text) > MEDIA_CHARACTERS and id(text) not in self._known and is_base64(text):
            self._known[id(text)] = text, tag(text)

    def _note_blob(self, value: Mapping[Any, Any]) -> None:
        """The content of a blob part is media, however short."""
        if value.get("type") == "blob" and isinstance(content := value.get("content"), str):
            self._known.setdefault(id(content), (content, tag(content)))

    def _fit_text(self, text: str, budget: int) -> _Fitted | None:
        shown, hidden = self._shown(text, budget)
        if not hidden and len(done := _dumps(shown)) <= budget:
            return done, 0
        size = _utf8_size(shown) + hidden
        room = budget - len(_dumps(_marker(size)))
        if room < 0:
            return None
        kept = _json_prefix(shown, room)
        cut = size - _utf8_size(kept)
        return _dumps(kept + _marker(cut)), cut

    def _shown(self, text: str, budget: int) -> tuple[str, int]:
        """As much of a text, redacted, as a budget could hold, and the bytes that were left out."""
        if id(text) in self._known:
            return self._text(text), 0
        short = without_data_urls(text)
        if len(short) <= budget + _MARGIN:
            return self._text(text), 0
        # Without its end a secret may go unseen, so the last of what was redacted is not shown.
        shown = well_formed(self._redactor(short[: budget + _MARGIN]))[:-_MARGIN]
        return shown, max(1, _utf8_size(short) - _utf8_size(shown))

    def _fit_list(self, items: Sequence[Any], budget: int, depth: int) -> _Fitted | None:
        if not items:
            return None
        room = budget - 3 - len(_list_marker(items[0], _WORST, _WORST))
        if room < 0:
            return None
        head: list[_Fitted] = []
        tail: list[_Fitted] = []
        if len(items) > 1:
            # The first item takes what the newest ones leave, but a quarter is kept for it.
            first = self._whole(items[0], room // 4, depth + 1)
            quarter = room // 4 if first is None else len(first)
            tail, used = self._newest(items[1:], room - quarter - 1, depth)
            room -= used
        self._append(head, items[0], room, depth)
        room -= sum(len(piece[0]) + 1 for piece in head)
        end = len(items) - len(tail)
        if head and tail and end > 1 and room > _KEY_BYTES:
            self._append(tail, items[end - 1], room, depth)
            end = len(items) - len(tail)
        dropped = items[len(head) : end]
        cut = sum(piece[1] for piece in head + tail)
        parts = [piece[0] for piece in head]
        if dropped:
            cut += max(1, _size(dropped))
            parts.append(_list_marker(items[0], len(dropped), cut))
        parts += [piece[0] for piece in reversed(tail)]
        return b"[" + b",".join(parts) + b"]", cut

    def _newest(self, items: Sequence[Any], room: int, depth: int) -> tuple[list[_Fitted], int]:
        """The last item, shortened if it must be, and whole ones before it: newest first."""
        pieces: list[_Fitted] = []
        self._append(pieces, items[-1], room, depth)
        used = sum(len(piece[0]) + 1 for piece in pieces)
        for item in reversed(items[:-1] if pieces else ()):
            whole = self._whole(item, room - used - 1, depth + 1)
            if whole is None:
                break
            pieces.append((whole, 0))
            used += len(whole) + 1
        return pieces, used

    def _append(self, pieces: list[_Fitted], item: Any, room: int, depth: int) -> None:
        piece = self.fit(item, room - 1, depth + 1)
        if piece is not None:
            pieces.append(piece)

    def _fit_dict(self, value: Mapping[Any, Any], budget: int, depth: int) -> _Fitted | None:
        room = budget - 2 - len(_dict_marker(_WORST, _WORST))
        if room < 0:
            return None
        self._note_blob(value)
        entries = list(islice(value.items(), budget // 32))
        names: dict[str, int] = {}
        cut = 0
        for key, _ in entries:
            name, lost = shorten(self._key(key), _KEY_BYTES)
            names[_unused(name, names)] = lost
        written = [_dumps(name) + b":" for name in names]
        while written and sum(len(name) + 3 for name in written) > room:
            written.pop()
        room -= sum(len(name) + 1 for name in written)
        wanted = {at: self._least(entries[at][1], room, depth + 1) for at in range(len(written))}
        done: dict[int, bytes] = {}
        # Small entries stay whole; what they leave of an equal share goes to the larger ones.
        for turn, at in enumerate(sorted(wanted, key=wanted.__getitem__)):
            share = room // (len(wanted) - turn)
            hidden = self._secret(*entries[at])
            piece = self.fit(entries[at][1], share, depth + 1) if hidden is None else (_dumps(hidden), 0)
            if hidden is not None and len(_dumps(hidden)) > share:
                continue
            if piece is not None:
                done[at] = written[at] + piece[0]
                room -= len(piece[0])
                cut += piece[1] + list(names.values())[at]
        parts = [done[at] for at in sorted(done)]
        if len(parts) < len(value):
            cut += max(1, _size(item for at, item in enumerate(value.items()) if at not in done))
            parts.append(_dict_marker(len(value) - len(parts), cut))
        return b"{" + b",".join(parts) + b"}", cut


def _marker(cut: int) -> str:
    return f"…[{cut} bytes cut]"


def _list_marker(example: Any, count: int, cut: int) -> bytes:
    """An item that stands for dropped ones, of the kind that the list holds."""
    marker = f"…[{count} items, {cut} bytes cut]"
    if not isinstance(example, Mapping):
        return _dumps(marker)
    if "role" in example:
        marker = f"…[{count} messages, {cut} bytes cut]"
        return _dumps({"role": "trisignal", "parts": [{"type": "text", "content": marker}]})
    if example.get("type") == "function":
        return _dumps({"type": "trisignal", "name": marker})
    return _dumps({"type": "text", "content": marker} if "type" in example else {"trisignal": marker})


def _dict_marker(count: int, cut: int) -> bytes:
    return _dumps("trisignal.cut") + b":" + _dumps(f"…[{count} entries, {cut} bytes cut]")


def _json_prefix(text: str, room: int) -> str:
    """The longest beginning of a text whose JSON form, without quotes, takes at most ``room`` bytes."""
    low, high = 0, min(len(text), room)
    while low < high:
        middle = (low + high + 1) // 2
        if len(_dumps(text[:middle])) - 2 <= room:
            low = middle
        else:
            high = middle - 1
    return text[:low]


def _size(values: Iterable[Any]) -> int:
    """Bytes of the texts among values and below them."""
    total, left = 0, _COUNTED
    waiting = [iter(values)]  # no recursion: content may be nested deeper than Python calls
    while waiting:
        for item in waiting[-1]:
            left -= 1
            if left < 0:
                return total
            cls = type(item)
            if cls is str or isinstance(item, str):
                total += len(item) if item.isascii() else _utf8_size(item)
            elif cls is dict or (cls is not tuple and cls is not list and isinstance(item, Mapping)):
                left -= len(item)
                waiting.append(chain.from_iterable(item.items()))
                break
            elif isinstance(item, _LISTS):
                waiting.append(iter(item))
                break
            else:
                total += 1
        else:
            waiting.pop()
    return total


def _utf8_size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _as_text(value: object) -> str:
    # Python refuses to write integers of thousands of digits, and nobody would read them.
    if isinstance(value, int) and value.bit_length() > 4096:
        return f"[integer of {value.bit_length()} bits]"
    return str(value)


def _unused(name: str, taken: Mapping[str, Any]) -> str:
    """The name, numbered if another key was redacted to the same one."""
    if name not in taken:
        return name
    number = 2
    while f"{name}#{number}" in taken:
        number += 1
    return f"{name}#{number}"
