"""Parts of URLs that let in whoever knows them: passwords, signatures, paths of webhooks."""

from __future__ import annotations

import re
from collections.abc import Iterator

from trisignal.policy.announced import MOST_TRIED, Span, looks_random

_USERINFO = re.compile(
    r"://(?!\[REDACTED:[^\]\s]{1,64}\]@)(?:[^\s/@:\"'<>]{0,256}:[^\s/\"'<>]{1,256}|[\w%~.\-]{16,256})@"
)
_PARAMETERS = (
    "signature", "sig", "hmac", "jwt", "hdnea", "hdnts", "awsaccesskeyid", "googleaccessid", "key-pair-id",
    "key", "code", "auth", "policy", "sid", "pass", "ticket", "state", "otp",
)  # fmt: skip
"""Names of parameters that sign a URL or let in; what `announced.WORDS` names is not repeated."""
_SIGNING = 9
"""The first names have no other use; the values of the others must look random."""
_PARAMETER = re.compile(r"([^\s&;#\"'<>`\\,)\]}]{6,})")
_HOOKS = {
    "maker.ifttt.com": re.compile(r"maker\.ifttt\.com/([^\s\"'<>`\\]{12,})"),
    "events.pagerduty.com": re.compile(r"events\.pagerduty\.com/(?:integration|x-ere)/([^\s\"'<>`\\/]{16,})"),
    "hc-ping.com": re.compile(r"hc-ping\.com/([^\s\"'<>`\\]{16,})"),
    "/open-apis/bot/": re.compile(r"/open-apis/bot/([^\s\"'<>`\\]{16,})"),
}  # fmt: skip
"""Addresses that let in whoever knows them, by a mark that each has."""
_LONGEST_HOST = 80
_HOST, _PATH = re.compile(r"hook[\w.\-:]*"), re.compile(r"[^\s\"'<>`\\]{16,}")


def in_urls(whole: str, lowered: str) -> Iterator[Span]:
    """Passwords, signatures and webhook paths of URLs.

    Args:
        whole: The text.
        lowered: The same in lower case, place by place.
    """
    if "://" in whole and "@" in whole:
        yield from ((m.start() + 3, m.end() - 1) for m in _USERINFO.finditer(whole))
    if "=" in whole and ("?" in whole or "&" in whole or "#" in whole):
        yield from _parameters(whole, lowered)
    yield from _webhooks(whole, lowered)
    for mark, pattern in _HOOKS.items():
        if mark in lowered:
            yield from (match.span(1) for match in pattern.finditer(whole))


def _webhooks(whole: str, lowered: str) -> Iterator[Span]:
    """Paths that look random after a part of an address that is or ends in ``hook`` or ``hooks``."""
    tried, at = 0, lowered.find("hook")
    while at >= 0:
        slash = lowered.find("/", at)
        if slash < 0:
            return
        if slash - at > _LONGEST_HOST:
            at = lowered.find("hook", slash - _LONGEST_HOST)
            continue
        path = None
        if _HOST.fullmatch(lowered, at, slash):
            tried += 1
            if tried > MOST_TRIED:
                yield at, len(whole)
                return
            path = _PATH.match(whole, slash + 1)
        if path is not None and "[REDACTED" not in path.group() and _has_random_part(path.group()[:512]):
            yield path.span()
        at = lowered.find("hook", at + 4 if path is None else path.end())


def _parameters(whole: str, lowered: str) -> Iterator[Span]:
    tried = 0
    for rank, name in enumerate(_PARAMETERS):
        mark = name + "="
        at = lowered.find(mark)
        while at >= 0:
            match = None
            if at and (lowered[at - 1] in "?&;#" or (rank < _SIGNING and lowered[at - 1] in "-_")):
                tried += 1
                if tried > MOST_TRIED:
                    yield at, len(whole)
                    return
                match = _PARAMETER.match(whole, at + len(mark))
            if (
                match is not None
                and not match.group(1).startswith("[REDACTED")
                and (rank < _SIGNING or (len(match.group(1)) >= 12 and looks_random(match.group(1)[:512])))
            ):
                yield match.span(1)
                at = match.end()
            at = lowered.find(mark, max(at, at + len(mark) if match is None else match.end()))


def _has_random_part(path: str) -> bool:
    return any(len(part) >= 16 and looks_random(part) for part in re.split(r"[/?&=@]", path))
