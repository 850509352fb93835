"""Built-in detectors: what private data looks like, found in linear time.

Python's regular expressions cost tens of nanoseconds a character, so most text must not meet
them: plain searches, and maps of a text to character classes, tell first whether a detector
can find anything. Patterns begin with a literal where they can and have no nested repeats.
Work is bounded, and the bound fails closed: where a text holds more candidates than any honest
text does, the rest of it counts as one hit. Numbers must stand alone: what touches letters,
digits, ``_``, ``-`` or ``/`` is part of an identifier, except behind an escape of JSON or of a
URL.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from ipaddress import AddressValueError, IPv6Address
from typing import NamedTuple

_ESCAPE = r"(?<=\\[nrt])|(?<=\\u[0-9A-Fa-f]{4})|(?<=%[0-9A-Fa-f]{2})"
_BEFORE = rf"(?:(?<![\w\-./+%])|{_ESCAPE})"
_AFTER = r"(?![\w\-]|\.\d)"
_OCTET = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"

_EMAIL_HINT = re.compile(r"(?:@|%40)[\w\-]+\.\w")
_EMAIL = re.compile(r"(?<![\w.%+\-])[\w.%+\-]+(?:@|%40)[\w\-]+(?:\.[\w\-]+)+")
_USERINFO = re.compile(r"://(?!\[REDACTED:[^\]\s]{1,64}\]@)[^\s/@:\"'<>]{1,256}:[^\s/\"'<>]{1,256}@")
_PHONE = re.compile(
    rf"(?:(?<![\w+])|{_ESCAPE})(?:\+|%2[Bb])\d(?:[ .\-()]{{0,2}}\d){{6,14}}(?!\d)"
    rf"|{_BEFORE}(?:1[ .\-])?(?:\(\d{{3}}\) ?|\d{{3}}[ .\-])\d{{3}}[ .\-]\d{{4}}{_AFTER}",
    re.ASCII,
)
_CARD = re.compile(rf"{_BEFORE}\d(?:[ \-]?\d){{12,18}}{_AFTER}", re.ASCII)
_IBAN = re.compile(rf"{_BEFORE}[A-Z]{{2}}\d\d(?: ?[A-Z0-9]{{4}}){{2,7}}(?: ?[A-Z0-9]{{1,3}})?(?![A-Za-z0-9])", re.ASCII)
_SSN = re.compile(rf"{_BEFORE}(?!000|666|9)\d{{3}}([ \-])(?!00)\d\d\1(?!0000)\d{{4}}{_AFTER}", re.ASCII)
_IPV4 = re.compile(rf"(?:{_BEFORE}|(?<=://)){_OCTET}(?:\.{_OCTET}){{3}}{_AFTER}", re.ASCII)
_IPV6 = re.compile(r"[0-9A-Fa-f:]{7,}")
_JWT = re.compile(r"eyJ[\w\-]{6,}\.eyJ[\w\-]{6,}(?:\.[\w\-]+)?")

_RUN = re.compile(r"[\w\-]+")

_KEYS = {
    prefix: re.compile(re.escape(prefix) + rest)
    for prefix, rest in (
        ("sk-", r"[\w\-]{16,}"), ("AIza", r"[\w\-]{30,}"), ("AKIA", "[0-9A-Z]{16,}"), ("ASIA", "[0-9A-Z]{16,}"),
        ("ghp_", r"\w{20,}"), ("gho_", r"\w{20,}"), ("ghu_", r"\w{20,}"), ("ghs_", r"\w{20,}"), ("ghr_", r"\w{20,}"),
        ("github_pat_", r"\w{20,}"), ("glpat-", r"[\w\-]{16,}"), ("xox", r"[abeoprs]-[\w\-]{10,}"),
        ("sk_live_", r"\w{10,}"), ("rk_live_", r"\w{10,}"), ("sk_test_", r"\w{10,}"), ("whsec_", r"\w{16,}"),
        ("hf_", r"\w{20,}"), ("gsk_", r"\w{20,}"), ("xai-", r"[\w\-]{20,}"), ("pplx-", r"\w{20,}"),
        ("r8_", r"\w{20,}"), ("SG.", r"[\w\-]{16,}\.[\w\-]{16,}"), ("npm_", r"\w{20,}"), ("ya29.", r"[\w\-]{16,}"),
        ("pypi-", r"[\w\-]{16,}"), ("tgp_v1_", r"[\w\-]{16,}"), ("lsv2_", r"\w{20,}"), ("dop_v1_", r"\w{20,}"),
        ("xapp-", r"[\w\-]{20,}"), ("dckr_pat_", r"[\w\-]{20,}"),
    )
}  # fmt: skip
"""Keys and tokens of common vendors: what they begin with, and what follows."""

_KEYS_BY_SIGN = {
    sign: [prefix for prefix in _KEYS if sign in prefix and (sign or not set(prefix) & {"-", "_"})]
    for sign in ("-", "_", "")
}
"""Most texts lack one of the signs: then its prefixes need not be looked for."""

_VALUE = (
    r"[\w\-]{0,24}\\?[\"']?\s{0,4}(?:[:=]>?|\bis\b)?\s{0,4}\\?[\"']?(?:(?:bearer|basic)\s{1,4})?"
    r"(?<=[:=>\"'\s])([^\s\"'\\,;&<>{}()\[\]]{6,512})"
)
_ASSIGNED = {
    word: re.compile(word + _VALUE)
    for word in (
        "passw", "passphrase", "pwd", "secret", "token", "api_key", "api-key", "api key", "apikey", "access_key",
        "access-key", "accesskey", "accountkey", "authorization", "bearer",
    )
}  # fmt: skip
"""Words that announce a secret, in lower case, each with what may come between it and the value."""

_LONGEST_IPV6 = 39

_STEMS = ("passw", "passphrase", "pwd", "secret", "token", "key", "authorization", "bearer")
"""One of these is in every word of `_ASSIGNED`."""

_BEGIN, _END, _DASHES = "-----BEGIN ", "-----END ", "-----"

_MOST = 2000
"""Candidates of one detector in one text; the rest of a text that has more is one hit."""
_MOST_WORDS = 500
"""Words that announce a secret which are followed up in one text; the rest is one hit."""
_MOST_NUMBERS = 1 << 15
"""Characters of a text around numbers that are looked at; further numbers are hits unseen."""


def _classes(members: str) -> bytes:
    return bytes(ord("x") if chr(code) in members else ord(" ") for code in range(256))


_ALNUM = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_TOKENS, _LONG_TOKEN = _classes(_ALNUM + "_-"), b"x" * 16
_NUMBERS, _LONG_NUMBER = _classes("0123456789 ().-+"), b"x" * 7
_HEX, _LONG_HEX = _classes("0123456789abcdefABCDEF:"), b"x" * 15
_HAS_DIGITS = re.compile(r"[0-9][0-9 ().\-]{5,}[0-9]")
_PAD = 40
"""Characters before and after a number that can belong to it (the letters of an IBAN)."""

Span = tuple[int, int]


class Text(NamedTuple):
    """A text with what plain searches have told of it."""

    text: str
    raw: bytes
    """One byte a character, so that places are the same; characters beyond Latin-1 are ``?``."""
    long_token: bool
    numbers: list[Span]
    """Windows around numbers of seven digits and more."""
    unseen: list[Span]
    """Numbers beyond the bound: hits without a look."""
    quiet: bool
    """No detector can find anything."""


_SIGNS = ("@", ":", "=", "%40", "-----", " is ", "earer ", " IS ", "EARER ")
"""Without any of these, a long token and a long number, there is nothing to find."""


def prepare(text: str) -> Text:
    """Search a text for what the detectors build on."""
    raw = text.encode("latin-1", "replace")
    numbers: list[Span] = []
    unseen: list[Span] = []
    if _LONG_NUMBER in raw.translate(_NUMBERS):
        numbers, unseen = _windows(text)
    long_token = _LONG_TOKEN in raw.translate(_TOKENS)
    quiet = not (long_token or numbers or unseen or any(sign in text for sign in _SIGNS))
    return Text(text, raw, long_token, numbers, unseen, quiet)


def _windows(text: str) -> tuple[list[Span], list[Span]]:
    seen: list[Span] = []
    left, length = _MOST_NUMBERS, len(text)
    for match in _HAS_DIGITS.finditer(text):
        start, end = max(0, match.start() - _PAD), min(length, match.end() + _PAD)
        if end - start > left:
            return seen, [(match.start(), length)]
        left -= end - start
        if seen and start <= seen[-1][1]:
            start = seen.pop()[0]
        seen.append((start, end))
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


def _luhn(candidate: str) -> bool:
    digits = [int(c) for c in candidate if c.isdecimal()]
    doubled = sum(d * 2 - 9 if d > 4 else d * 2 for d in digits[-2::-2])
    return (sum(digits[-1::-2]) + doubled) % 10 == 0


def _mod_97(candidate: str) -> bool:
    compact = candidate.replace(" ", "")
    if not 15 <= len(compact) <= 34:
        return False
    return int("".join(str(int(c, 36)) for c in compact[4:] + compact[:4])) % 97 == 1


def _cards(text: Text) -> Iterator[Span]:
    yield from text.unseen
    yield from _in_numbers(_CARD, text, _luhn)


def _emails(text: Text) -> Iterator[Span]:
    if ("@" in text.text or "%40" in text.text) and _EMAIL_HINT.search(text.text):
        yield from (match.span() for match in _EMAIL.finditer(text.text))


def _ips(text: Text) -> Iterator[Span]:
    yield from _in_numbers(_IPV4, text)
    whole = text.text
    if ":" not in whole or not ("::" in whole or _LONG_HEX in text.raw.translate(_HEX)):
        return
    for match in _IPV6.finditer(text.text):
        start, end = match.span()
        if whole[start - 1 : start] == "%":
            start += 2  # the two digits of the escape are no part of the address
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
    at = whole.find("eyJ") if text.long_token else -1
    while at >= 0:
        match = _JWT.match(whole, at) if _starts_word(whole, at) else None
        if match is not None:
            yield match.span()
        # A token is tried once, at its start: else a run of such starts costs the square of its length.
        run = _RUN.match(whole, at)
        at = whole.find("eyJ", max(run.end() if run else at + 3, match.end() if match else 0))


def _keys(text: Text) -> Iterator[Span]:
    whole = text.text
    if text.long_token:
        yield from _prefixed(whole)
    if "://" in whole and "@" in whole:
        yield from ((m.start() + 3, m.end() - 1) for m in _USERINFO.finditer(whole))
    yield from _assigned(text)


def _prefixed(whole: str) -> Iterator[Span]:
    tried = 0
    for sign, prefixes in _KEYS_BY_SIGN.items():
        if sign not in whole:
            continue
        for prefix in prefixes:
            at = whole.find(prefix)
            while at >= 0:
                tried += 1
                if tried > _MOST:
                    yield at, len(whole)
                    return
                match = _KEYS[prefix].match(whole, at) if _starts_word(whole, at) else None
                if match is not None:
                    yield match.span()
                at = whole.find(prefix, match.end() if match is not None else at + len(prefix))


def _assigned(text: Text) -> Iterator[Span]:
    whole = text.text
    lowered = text.raw.lower().decode("latin-1")
    if not any(stem in lowered for stem in _STEMS):
        return
    tried = 0
    for word, pattern in _ASSIGNED.items():
        at = lowered.find(word)
        while at >= 0:
            tried += 1
            if tried > _MOST_WORDS:
                yield at, len(whole)
                return
            match = pattern.match(lowered, at)
            if match is not None and _looks_secret(lowered[at : match.start(1)], whole[match.start(1) : match.end(1)]):
                yield match.span(1)
            at = lowered.find(word, match.end() if match is not None else at + len(word))


def _looks_secret(said: str, value: str) -> bool:
    """An assignment or a header names a secret; a plain word after ``token is`` does not."""
    if value.startswith("[REDACTED") or value.replace(".", "").isdecimal():
        return "passw" in said and not value.startswith("[")
    assigned = said.rstrip(" \"'\\\t\n")[-1:] in (":", "=", ">") or said.rstrip().endswith(("bearer", "basic"))
    return len(value) > 24 or (assigned and (not value.isalpha() or "passw" in said))


def _private_keys(text: Text) -> Iterator[Span]:
    whole = text.text
    at = whole.find(_BEGIN)
    while at >= 0:
        head = whole.find(_DASHES, at + len(_BEGIN), at + 80)
        if head < 0 or "PRIVATE KEY" not in whole[at:head]:
            at = whole.find(_BEGIN, at + len(_BEGIN))
            continue
        foot = whole.find(_END, head)
        last = whole.find(_DASHES, foot + len(_END)) if foot >= 0 else -1
        end = last + len(_DASHES) if last >= 0 else len(whole)
        yield at, end
        at = whole.find(_BEGIN, end)


Find = Callable[[Text], Iterator[Span]]


def _limited(find: Find) -> Find:
    return lambda text: _bounded(find(text), len(text.text))


BUILT_IN: dict[str, Find] = {
    "private_key": _limited(_private_keys),
    "jwt": _limited(_tokens),
    "api_key": _limited(_keys),
    "email": _limited(_emails),
    "iban": _limited(lambda text: _in_numbers(_IBAN, text, _mod_97)),
    "card": _limited(_cards),
    "us_ssn": _limited(lambda text: _in_numbers(_SSN, text)),
    "phone": _limited(lambda text: _in_numbers(_PHONE, text)),
    "ip": _limited(_ips),
}
"""Detectors by name, the more specific ones first: where two overlap, the first has the hit."""
