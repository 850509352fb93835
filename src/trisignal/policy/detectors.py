"""Built-in detectors: what private data looks like, found in linear time.

Python's regular expressions cost tens of nanoseconds a character, so most text must not meet
them: plain searches, and maps of a text to character classes, show first whether a detector
can find anything. Patterns begin with a literal where they can and have no nested repeats.
Work is bounded, and the bound fails closed: where a text holds more candidates than any honest
text does, the rest of it counts as one hit. Numbers must stand alone: what touches letters,
digits, ``_``, ``-`` or ``/`` is part of an identifier, except behind an escape of JSON or of a
URL.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from ipaddress import AddressValueError, IPv6Address
from typing import NamedTuple

from trisignal.policy.addresses import addresses
from trisignal.policy.announced import announced, of_vendors
from trisignal.policy.check_digits import luhn, mod_97
from trisignal.policy.key_formats import BODIES, FORMATS, SHAPES, any_prefix
from trisignal.policy.url_secrets import in_urls

_ESCAPE = r"(?<=\\[nrt])|(?<=\\u[0-9A-Fa-f]{4})|(?<=%[0-9A-Fa-f]{2})"
_BEFORE = rf"(?:(?<![\w\-./+%])|{_ESCAPE})"
_AFTER = r"(?![\w\-]|\.\d)"
_OCTET = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"

_PHONE = re.compile(
    rf"(?:(?<![\w+])|{_ESCAPE})(?:\+|%2[Bb])\d(?:[ .\-()]{{0,2}}\d){{6,14}}(?!\d)"
    rf"|{_BEFORE}(?:1[ .\-])?(?:\(\d{{3}}\) ?|\d{{3}}[ .\-])\d{{3}}[ .\-]\d{{4}}{_AFTER}",
    re.ASCII,
)
_NATIONAL = re.compile(
    rf"{_BEFORE}(?:\(?0\)?\d(?:[ .\-/()]{{0,2}}\d){{6,10}}|[2-9]\d{{2}}[2-9]\d{{6}}|\d\d(?: \d\d){{3,4}})"
    r"(?![\w\-/]|[.]\d)",
    re.ASCII,
)
_DATE = re.compile(r"(?:19|20)\d\d[-./ ]\d\d?[-./ ]\d\d?|\d\d?[-./ ]\d\d?[-./ ](?:19|20)\d\d")
_CARD = re.compile(
    rf"(?:(?<![\w./+%])(?<![\w\-./+%]-)|{_ESCAPE})\d(?:[ \-]?\d){{12,18}}(?![\w\-]|\.\d*[1-9])", re.ASCII
)
_IBAN = re.compile(rf"{_BEFORE}[A-Z]{{2}}\d\d(?: ?[A-Z0-9]{{4}}){{2,7}}(?: ?[A-Z0-9]{{1,3}})?(?![A-Za-z0-9])", re.ASCII)
_SSN = re.compile(rf"{_BEFORE}(?!000|666|9)\d{{3}}([ \-])(?!00)\d\d\1(?!0000)\d{{4}}{_AFTER}", re.ASCII)
_IPV4 = re.compile(rf"(?:{_BEFORE}|(?<=://)){_OCTET}(?:\.{_OCTET}){{3}}{_AFTER}", re.ASCII)
_IPV6 = re.compile(r"[0-9A-Fa-f:]{7,}")
_JWT = re.compile(
    r"ey[\w\-]{6,}\.ey[\w\-/\\]{6,}(?:\.[\w\-/\\]*=*){0,3}|eyJ[\w\-]{10,}\.[\w\-]{4,}\.[\w\-]{20,}", re.ASCII
)
"""The second kind is of signed cookies, whose middle is a time, and of tokens with a compressed body."""
_JWE = re.compile(r"eyJ[\w\-]{10,}(?:\.[\w\-]*){4}", re.ASCII)

_RUN = re.compile(r"[\w\-]+")

_LONGEST_IPV6 = 39

_SHAPES = tuple(
    (shape.mark, shape.left, shape.most, re.compile(shape.hint), re.compile(shape.whole)) for shape in SHAPES
)
_BY_START: dict[bytes, list[tuple[bytes, re.Pattern[str], int, bool]]] = {}
for _prefix, _kind, _least, _mixed in sorted(FORMATS, key=lambda row: -len(row[0])):
    _BY_START.setdefault(_prefix[:2].encode(), []).append((_prefix.encode(), BODIES[_kind], _least, _mixed))
_STARTS = re.compile(rf"(?<![A-Za-z0-9])(?={any_prefix()})".encode())
_STARTS_ESCAPED = re.compile(
    rf"(?:(?<![A-Za-z0-9])|(?<=\\[A-Za-z0-9])|(?<=\\u[A-Za-z0-9]{{4}})|(?<=%[A-Za-z0-9]{{2}}))(?={any_prefix()})".encode()
)
"""Where a key may begin; behind escapes as well, where a text has any."""
_JOINED = (b"-", b"_", b"+", b"/")
"""A short prefix after one of these is part of base64 text; ``=`` ends such a text, or a name."""
_BEGIN, _END, _DASHES, _PRIVATE = "-----BEGIN ", "-----END ", "-----", "PRIVATE KEY"

_MOST = 2000
"""Candidates of one detector in one text; the rest of a text that has more is one hit."""
_MOST_STARTS = 4000
"""Places of a text at which a key may begin that are looked at; what follows is one hit."""
_MOST_TOKENS = 1 << 17
"""Characters of a text in long runs of word characters that are looked at; what follows is one hit."""
_BEFORE_RUN = 32
"""Characters before a run that can belong to the prefix of a key."""
_AFTER_RUN = 12
"""Characters after a run that can be the mark of a shape."""
_RANDOM = 12
"""Characters of a run that may be random."""
_MOST_NUMBERS = 1 << 16
"""Characters of a text around numbers that are looked at; further numbers are hits unseen."""


def _classes(members: str) -> bytes:
    return bytes(ord("x") if chr(code) in members else ord(" ") for code in range(256))


_WORD = _classes("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
_LONG_RUN = b"x" * 12
_DIGIT = re.compile(rb"[0-9]")
_NUMBERS, _LONG_NUMBER = _classes("0123456789 ().-+/"), b"x" * 7
_HEX, _LONG_HEX = _classes("0123456789abcdefABCDEF:"), b"x" * 15
_FLOAT = re.compile(r"[0-9]{1,2}\.[0-9]+")
"""A number that is nothing but a number; embeddings have thousands of them."""
_HAS_DIGITS = re.compile(r"[0-9][0-9 ().\-/]{5,}[0-9]")
_PAD = 40
"""Characters before and after a number that can belong to it (the letters of an IBAN)."""

Span = tuple[int, int]


class Text(NamedTuple):
    """A text with what plain searches have found in it."""

    text: str
    raw: bytes
    """One byte a character, so that places are the same; characters beyond Latin-1 are ``?``."""
    runs: list[Span]
    """Windows around runs of word characters that are more than a plain word: keys are in them."""
    random: list[Span]
    """Runs that hold digits: keys without a prefix are among them."""
    rest: list[Span]
    """What lies beyond the bound on runs: a hit without a look."""
    numbers: list[Span]
    """Windows around numbers of seven digits and more."""
    unseen: list[Span]
    """Numbers beyond the bound: hits without a look."""
    quiet: bool
    """No detector can find anything."""


_SHORT = 4096
"""Characters up to which a text is searched for signs; beyond them each detector looks for its own."""
_SIGNS = (
    "@", ":", "=", "%40", "-----", " is ", "earer ", " IS ", "EARER ", "Q~", "assw", "ASSW", "assphrase", "asscode",
    "pwd", "ecret", "ennwort", "ontrase", "enha", "mot de", "curl ", "asic ", "hook", "->",
)  # fmt: skip
"""Without any of these, a long token and a long number, there is nothing to find."""


def prepare(text: str) -> Text:
    """Search a text for what the detectors build on."""
    raw = text.encode("latin-1", "replace")
    numbers: list[Span] = []
    unseen: list[Span] = []
    if _LONG_NUMBER in raw.translate(_NUMBERS):
        numbers, unseen = _windows(text)
    runs, random, rest = _tokens_in(raw)
    found = runs or rest or numbers or unseen or len(text) > _SHORT or any(sign in text for sign in _SIGNS)
    return Text(text, raw, runs, random, rest, numbers, unseen, not found)


def _tokens_in(raw: bytes) -> tuple[list[Span], list[Span], list[Span]]:
    runs: list[Span] = []
    random: list[Span] = []
    left = _MOST_TOKENS
    classes = raw.translate(_WORD)
    start = classes.find(_LONG_RUN)
    while start >= 0:
        end = classes.find(b" ", start)
        end = len(raw) if end < 0 else end
        run = raw[start:end]
        if not _is_plain(run, raw, start):
            left -= end - start + _BEFORE_RUN
            if left < 0:
                return runs, random, [(start, len(raw))]
            _add(runs, max(0, start - _BEFORE_RUN), end + _AFTER_RUN)
            if _DIGIT.search(run):
                random.append((start, end))
        start = classes.find(_LONG_RUN, end)
    return runs, random, []


def _is_plain(run: bytes, raw: bytes, start: int) -> bool:
    """Whether a run is a plain word, a line, or the fraction of a number."""
    if run.isalpha():
        return run[1:].islower()
    if run.isdigit():
        return raw[start - 1 : start] == b"." and raw[start - 2 : start - 1].isdigit()
    return not run.strip(b"-_")


def _add(windows: list[Span], start: int, end: int) -> None:
    if windows and start <= windows[-1][1]:
        start = windows.pop()[0]
    windows.append((start, end))


def _windows(text: str) -> tuple[list[Span], list[Span]]:
    seen: list[Span] = []
    left, length = _MOST_NUMBERS, len(text)
    for match in _HAS_DIGITS.finditer(text):
        if _FLOAT.fullmatch(text, match.start(), match.end()) and text[match.start() - 1 : match.start()] not in (
            "+",
            "B",
            "b",
        ):
            continue
        start, end = max(0, match.start() - _PAD), min(length, match.end() + _PAD)
        if end - start > left:
            return seen, [(match.start(), length)]
        left -= end - start
        _add(seen, start, end)
    return seen, []


def _bounded(found: Iterable[Span], length: int) -> Iterator[Span]:
    """The hits of a detector; beyond the bound the rest of the text is one hit."""
    for count, span in enumerate(found):
        if count >= _MOST:
            yield span[0], length
            return
        yield span


def _in_numbers(pattern: re.Pattern[str], text: Text, check: Callable[[str], bool] | None = None) -> Iterator[Span]:
    for start, end in text.numbers:
        for match in pattern.finditer(text.text, start, end):
            if check is None or check(match.group()):
                yield match.span()


def _cards(text: Text) -> Iterator[Span]:
    yield from text.unseen
    yield from _in_numbers(_CARD, text, luhn)


def _emails(text: Text) -> Iterator[Span]:
    return addresses(text.text)


def _ips(text: Text) -> Iterator[Span]:
    yield from _in_numbers(_IPV4, text)
    whole = text.text
    if ":" not in whole or not ("::" in whole or _LONG_HEX in text.raw.translate(_HEX)):
        return
    for match in _IPV6.finditer(text.text):
        start, end = match.span()
        if whole[start - 1 : start] == "%":
            start += 2  # the two digits of the escape are not part of the address
        elif whole[start - 2 : start] == "\\u":
            start += 4
        after = whole[end : end + 1]
        alone = _starts_word(whole, start) and not (after.isascii() and (after.isalnum() or after == "_"))
        if alone and end - start <= _LONGEST_IPV6 and _is_ipv6(whole[start:end]):
            yield start, end


def _is_ipv6(candidate: str) -> bool:
    if candidate.count(":") < 2:
        return False
    try:
        IPv6Address(candidate)
    except AddressValueError:
        return False
    return sum(1 for group in candidate.split(":") if group) > 1


def _starts_word(text: str, at: int) -> bool:
    """Whether a key may begin here: not inside a word, unless that is an escape of JSON or of a URL."""
    if at == 0:
        return True
    before = text[at - 1]
    if not (before.isascii() and before.isalnum()):
        return True
    escaped = before in "nrt" and at > 1 and text[at - 2] == "\\"
    return escaped or (at > 2 and text[at - 3] == "%") or (at > 5 and text[at - 6 : at - 4] == "\\u")


def _tokens(text: Text) -> Iterator[Span]:
    whole = text.text
    for first, last in text.runs:
        at = whole.find("ey", first, last)
        while at >= 0:
            match = None
            if _starts_word(whole, at):
                match = _JWT.match(whole, at) or _JWE.match(whole, at)
            if match is not None:
                yield match.span()
            # A token is tried once, at its start: else a run of such starts costs the square of its length.
            run = _RUN.match(whole, at)
            at = whole.find("ey", max(run.end() if run else at + 2, match.end() if match else 0), last)


def _keys(text: Text) -> Iterator[Span]:
    whole = text.text
    yield from text.rest
    yield from _formats(
        text, text.runs if text.runs or "Q~" not in whole else [(0, min(len(whole), _MOST_TOKENS >> 2))]
    )
    lowered = text.raw.lower().decode("latin-1")
    yield from in_urls(whole, lowered)
    yield from announced(whole, lowered)
    yield from of_vendors(whole, lowered, text.random)


def _formats(text: Text, windows: Sequence[Span]) -> Iterator[Span]:
    if not windows:
        return
    whole, raw = text.text, text.raw
    starts = _STARTS_ESCAPED if b"\\" in raw or b"%" in raw else _STARTS
    shapes = [shape for shape in _SHAPES if shape[0] in whole]
    ends = [0] * len(shapes)
    done = tried = 0
    for first, last in windows:
        for match in starts.finditer(raw, first, last):
            at = match.start()
            if at >= done:
                tried += 1
                if tried > _MOST_STARTS:
                    yield at, len(whole)
                    return
                end = _key_at(whole, raw, at)
                if end:
                    yield at, end
                    done = end
        for number, (_, left, most, hint, pattern) in enumerate(shapes):
            for hinted in hint.finditer(whole, max(first, ends[number]), last):
                at = hinted.start()
                if at < ends[number]:
                    # Inside the hit before: to read it again from each mark would cost the square of its length.
                    continue
                before = whole[max(0, at - most) : at]
                found = pattern.match(whole, at - len(before) + len(before.rstrip(left)))
                if found is not None:
                    ends[number] = found.end()
                    yield found.span()


def _key_at(whole: str, raw: bytes, at: int) -> int:
    """Where the key that begins here ends; 0 if none begins here."""
    for prefix, body, least, mixed in _BY_START.get(raw[at : at + 2], ()):
        if raw.startswith(prefix, at) and not (mixed and raw[at - 1 : at] in _JOINED):
            rest = body.match(whole, at + len(prefix))
            if rest and rest.end() - rest.start() >= least and (not mixed or _is_mixed(rest.group())):
                return rest.end()
    return 0


def _is_mixed(text: str) -> bool:
    return not text.isalpha() and any(c.isalpha() for c in text)


def _private_keys(text: Text) -> Iterator[Span]:
    whole = text.text
    last_kind = whole.rfind(_PRIVATE)
    at = whole.find(_BEGIN) if last_kind >= 0 else -1
    tried = 0
    while 0 <= at < last_kind:
        tried += 1
        if tried > _MOST:
            yield at, len(whole)
            return
        head = whole.find(_DASHES, at + len(_BEGIN), at + 80)
        if head < 0 or _PRIVATE not in whole[at:head]:
            at = whole.find(_BEGIN, at + len(_BEGIN))
            continue
        foot = whole.find(_END, head)
        last = whole.find(_DASHES, foot + len(_END)) if foot >= 0 else -1
        end = last + len(_DASHES) if last >= 0 else len(whole)
        yield at, end
        at = whole.find(_BEGIN, end)


def _national(text: Text) -> Iterator[Span]:
    """Phone numbers without a country: 8 to 12 digits after a 0, ten of North America, or pairs of digits."""
    for start, end in (*_in_numbers(_NATIONAL, text),):
        digits = sum(1 for c in text.text[start:end] if c.isdecimal())
        if 8 <= digits <= 12 and not _DATE.fullmatch(text.text, start, end):
            yield start, end


Find = Callable[[Text], Iterator[Span]]


def _limited(find: Find) -> Find:
    return lambda text: _bounded(find(text), len(text.text))


BUILT_IN: dict[str, Find] = {
    "private_key": _limited(_private_keys),
    "jwt": _limited(_tokens),
    "api_key": _limited(_keys),
    "email": _limited(_emails),
    "iban": _limited(lambda text: _in_numbers(_IBAN, text, mod_97)),
    "card": _limited(_cards),
    "us_ssn": _limited(lambda text: _in_numbers(_SSN, text)),
    "phone": _limited(lambda text: _in_numbers(_PHONE, text)),
    "ip": _limited(_ips),
    "national_phone": _limited(_national),
}
"""Detectors by name, the more specific ones first: where two overlap, the first has the hit."""
