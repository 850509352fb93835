"""Byte budgets: content becomes JSON that fits, redacted before anything is cut.

What does not fit is told in the place where it was. Of a list the first item and the last ones
stay (instructions, and what the conversation is about now); of a text, its beginning. Only what
can still be shown is redacted, so cost is bounded by the budget, not by the input.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trisignal.policy.redact import Redactor

_ROOM = 160
"""Bytes kept free for the note about what was cut."""
_LEAST = 64
"""A remainder below this many bytes is not worth a shortened item."""
_LOOK_AHEAD = 4096
"""Characters behind what can be shown that are redacted too: a secret may reach over the cut."""
_MAX_DEPTH = 32
_MEDIA_LENGTH = 1024
_BASE64 = re.compile(r"[A-Za-z0-9+/_\-]+={0,2}")

_Dump = Callable[[Any], bytes]


def _dumper() -> _Dump:
    try:
        import orjson
    except ImportError:
        encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
        return lambda value: encode(value).encode()
    dumps: _Dump = orjson.dumps
    return dumps


_dumps = _dumper()


def shorten(text: str, budget_bytes: int) -> tuple[str, int]:
    """Cut a text to a budget, with a note at its end.

    Args:
        text: Redacted text.
        budget_bytes: UTF-8 bytes that may remain, the note included.

    Returns:
        The text, and the number of bytes that were cut (0: untouched).
    """
    if len(text) * 4 <= budget_bytes:
        return text, 0
    raw = text.encode("utf-8", "replace")
    if len(raw) <= budget_bytes:
        return text, 0
    note = f"…[{len(raw)} bytes cut]".encode()
    kept = raw[: max(0, budget_bytes - len(note))].decode("utf-8", "ignore")
    cut = len(raw) - len(kept.encode())
    note_text = f"…[{cut} bytes cut]"
    return (kept + note_text if len(note) <= budget_bytes else ""), cut


def render(value: object, redactor: Redactor, budget_bytes: int) -> tuple[str, int]:
    """Content as compact JSON of at most so many bytes, redacted.

    Args:
        value: Lists, dicts, texts and numbers.
        redactor: Applied to every text, before anything is cut.
        budget_bytes: UTF-8 bytes that may remain.

    Returns:
        Valid JSON of the same kind (list, object, string), and the number of bytes cut.
    """
    if isinstance(value, (list, tuple)):
        return _render_list(value, redactor, budget_bytes)
    item = _clean(value, redactor, budget_bytes, 0)
    text = _json(item)
    if len(text) <= budget_bytes:
        return text.decode(), 0
    fitted, cut = _fit(item, budget_bytes)
    if fitted is None:
        cut = len(text)
        note = f"…[{cut} bytes cut]"
        fitted = _json({"truncated": note} if isinstance(item, dict) else note)
    return fitted.decode(), cut


def _render_list(items: Sequence[Any], redactor: Redactor, budget_bytes: int) -> tuple[str, int]:
    count = len(items)
    left = budget_bytes - 2 - _ROOM
    cut, dropped = 0, 0
    front: list[bytes] = []
    back: list[bytes] = []
    order = [0, *range(count - 1, 0, -1)] if count else []
    for place, index in enumerate(order):
        item = _clean(items[index], redactor, budget_bytes, 0)
        text: bytes | None = _json(item)
        assert text is not None
        if len(text) + 1 > left:
            whole = len(text)
            text, lost = _fit(item, left - 1) if left > _LEAST else (None, 0)
            cut += whole if text is None else lost
            dropped = count - place - (text is not None)
            cut += sum(_size(items[i]) for i in order[place + 1 :])
            left = 0
        if text is not None:
            (front if index == 0 else back).append(text)
            left -= len(text) + 1
        if dropped or left <= 0:
            dropped = dropped or (count - place - 1)
            break
    parts = front
    if dropped:
        parts = [*front, _json(_note(items[0], dropped, cut))]
    parts = [*parts, *reversed(back)]
    return "[" + b",".join(parts).decode() + "]", cut


def _note(like: Any, dropped: int, cut: int) -> Any:
    """An item that says what was dropped, valid where items like the given one stand."""
    if isinstance(like, Mapping):
        if "role" in like:
            words = f"…[{dropped} messages, {cut} bytes cut]"
            return {"role": "trisignal", "parts": [{"type": "text", "content": words}]}
        words = f"…[{dropped} items, {cut} bytes cut]"
        if "content" in like:
            return {"type": "text", "content": words}
        return {"type": "trisignal", "name": words}
    return f"…[{dropped} items, {cut} bytes cut]"


def _clean(value: Any, redactor: Redactor, budget: int, depth: int) -> Any:
    """Redacted copy of a value; texts longer than can be shown are cut behind a margin first."""
    if isinstance(value, str):
        media = _media(value)
        if media is not None:
            return media
        return redactor(value if len(value) <= budget + _LOOK_AHEAD else value[: budget + _LOOK_AHEAD])
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else str(value)
    if isinstance(value, (bytes, bytearray)):
        return f"[bytes:{len(value)}]"
    if depth >= _MAX_DEPTH:
        return "[nested too deep]"
    if isinstance(value, Mapping):
        if value.get("type") == "blob" and isinstance(value.get("content"), str):
            value = {**value, "content": _digest(value["content"])}
        return {redactor(str(k)): _clean(v, redactor, budget, depth + 1) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_clean(item, redactor, budget, depth + 1) for item in value]
    dumped = getattr(value, "model_dump", None)
    if dumped is not None:
        return _clean(dumped(mode="json"), redactor, budget, depth + 1)
    return redactor(str(value)[: budget + _LOOK_AHEAD])


def _media(text: str) -> str | None:
    """A stand-in for embedded media; None for ordinary text."""
    if text.startswith("data:") and ";base64," in text[:200]:
        return _digest(text.partition(",")[2])
    if len(text) > _MEDIA_LENGTH and " " not in text[:_MEDIA_LENGTH] and _BASE64.fullmatch(text):
        return _digest(text)
    return None


def _digest(data: str) -> str:
    digest = hashlib.sha256(data.encode("utf-8", "replace")).hexdigest()[:16]
    return f"[media sha256:{digest} {len(data) * 3 // 4} bytes]"


def _json(value: Any) -> bytes:
    try:
        return _dumps(value)
    except (TypeError, ValueError, UnicodeEncodeError):
        # Lone surrogates and integers beyond 64 bits are no JSON for everybody.
        return _dumps(_plain(value))


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, bool) or value is None or isinstance(value, float):
        return value
    if isinstance(value, int):
        return value if abs(value) < 1 << 63 else str(value)
    if isinstance(value, dict):
        return {_plain(str(k)): _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return _plain(str(value))


def _size(value: Any) -> int:
    """Roughly the bytes of a value that is not rendered at all."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(len(str(k)) + _size(v) for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return sum(map(_size, value))
    return 8


def _fit(item: Any, room: int) -> tuple[bytes | None, int]:
    """An item with its longest texts shortened until it fits; None when that is not possible."""
    lengths: list[int] = []
    _texts(item, lengths)
    whole = _json(item)
    longest = max(lengths, default=0)
    over = len(whole) - room
    while over > 0 and longest > 0:
        longest = min(
            longest - 1, max(0, longest - max(over // max(1, sum(n >= longest for n in lengths)), 1) - 32)
        )
        cut = [0]
        fitted = _json(_shortened(item, longest, cut))
        if len(fitted) <= room:
            return fitted, cut[0]
        over = len(fitted) - room
        lengths = [min(n, longest) for n in lengths]
        if longest <= _LEAST // 2:
            break
    return None, 0


def _texts(value: Any, lengths: list[int]) -> None:
    if isinstance(value, str):
        lengths.append(len(value.encode("utf-8", "replace")))
    elif isinstance(value, dict):
        for item in value.values():
            _texts(item, lengths)
    elif isinstance(value, list):
        for item in value:
            _texts(item, lengths)


def _shortened(value: Any, longest: int, cut: list[int]) -> Any:
    if isinstance(value, str):
        text, lost = shorten(value, max(longest, _LEAST // 2))
        cut[0] += lost
        return text
    if isinstance(value, dict):
        return {key: _shortened(item, longest, cut) for key, item in value.items()}
    if isinstance(value, list):
        return [_shortened(item, longest, cut) for item in value]
    return value
