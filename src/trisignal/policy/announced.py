"""Secrets that their surroundings announce: a word or the name of a service before them, a header."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from trisignal.policy.key_formats import any_of
from trisignal.semconv.late_pattern import late_pattern

Span = tuple[int, int]

MOST_TRIED = 2000
"""Words, headers or addresses that are followed up in one text, 5,000 in prose; the rest is one hit."""

_QUOTE = r"\\{0,7}[\"'`]"
_SIGN = (
    r"(?:\s{0,4}(?:[:=]{1,3}>?[*_]{0,3}|>(?=[^<>\s])|->|\|\||\?=|\u2192|,)"
    r"|\s{1,4}(?:(?:is|was|has\sbeen|will\sbe|are)\s)?(?:(?:now\s)?(?:changed|set|reset|updated)\sto|is|was|will\sbe|are|to)\b:?)"
)
_VALUE = (
    # First what ends a long run of word characters at once: all that follows would be tried after each of them.
    r"(?=[\w.\-]{0,24}(?:[^\w.\-]|->))"
    rf"[\w.\-]{{0,24}}(?:{_QUOTE})?\)?(?:\s{{1,3}}(?:for|of|to|on|at)\s[\w.@\-]{{1,40}}(?:\s[\w.@\-]{{1,24}}){{0,2}})?"
    rf"(?:(?:{_SIGN})(?:\s{{0,4}}(?:{_QUOTE})?|(?:{_QUOTE})?)|\s{{1,4}}value={_QUOTE}|\s{{1,4}}(?:{_QUOTE})?)\s{{0,4}}"
    r"(?:(?:bearer|basic|token)\s{1,4})?"
    r"(?<=[:=>\"'`,|\s\u2192])([^\s\"'`\\,;&<>{}()\[\]]{4,512})"
)
"""What may stand between a word and its secret, and what the secret is judged by."""
_REST = late_pattern(r"[^\s\"'`\\,;&<>{}()\[\]]*")
"""The rest of a long secret. It is read when the first part is one: else a text of words that announce something,
and of nothing that ends a secret, costs the square of its length."""
_TO_SPACE = late_pattern(r"[^\s\"'`\\<>]{0,256}")
_QUOTED = late_pattern(
    rf"[\w. \-]{{3,32}}(?:{_QUOTE})?\s{{0,4}}[:=]{{1,3}}>?\s{{0,4}}{_QUOTE}([^\"'`\\\r\n]{{4,256}})(?={_QUOTE})"
)
"""A password in quotes may hold what ends others."""
WORDS = {
    "pass": ("passw", "passphrase", "passcode", "mot de passe"),
    "pwd": ("pwd",),
    "kennwort": ("kennwort",),
    "contrase": ("contrase",),
    "senha": ("senha",),
    "secret": ("secret",),
    "token": ("token",),
    "key": (
        "api_key", "api-key", "api key", "apikey", "access_key", "access-key", "access key", "accesskey", "accountkey",
        "private_key", "private-key",
    ),
    "auth": ("authorization", "x-auth"),
    "bearer": ("bearer",),
    "sess": ("sessionid", "session_id", "sessid"),
    "credential": ("credential",),
    "contribsys": ("contribsys",),
}  # fmt: skip
"""Words that announce a secret, in lower case, by a part that is searched first."""
_STATES = (" is ", " are ", " was ", " were ")
_AFTER_PROSE = (" ", "s", ".", ",", "\n", ")", "")
_PASSWORD_WORDS = frozenset((*WORDS["pass"], "pwd", "kennwort", "contrase", "senha"))

VENDORS = (
    "adafruit", "adobe", "airtable", "algolia", "alibaba", "asana", "atlassian", "confluence", "jira", "beamer",
    "bitbucket", "bittrex", "meraki", "cloudflare", "codecov", "cohere", "co_api", "coinbase", "confluent",
    "contentful", "datadog", "dnkey", "discord", "droneci", "dropbox", "etsy", "facebook", "fastly", "finicity",
    "finnhub", "sourcegraph", "flickr", "freshbooks", "gitter", "gocardless", "heroku", "hubspot", "intercom",
    "jfrog", "artifactory", "bintray", "xray", "kraken", "kucoin", "launchdarkly", "linear", "linkedin",
    "linked_in", "linked-in", "lob", "looker", "mailchimp", "mailgun", "mapbox", "mattermost", "messagebird",
    "message_bird", "message-bird", "netlify", "newrelic", "new-relic", "new_relic", "nytimes", "newyorktimes",
    "new-york-times", "okta", "plaid", "privateai", "private_ai", "private-ai", "rapidapi", "sendbird", "sentry",
    "snyk", "sonar", "squarespace", "sumo", "telegr", "travis", "twitch", "twitter", "typeform", "yandex",
    "zendesk", "mistral", "deepgram", "together", "fireworks", "voyage", "azure", "openai", "anthropic",
    "openrouter", "groq", "deepseek", "moonshot", "minimax", "zhipu", "baseten", "novita", "cerebras", "sambanova",
    "hyperbolic", "nebius", "ovh", "elevenlabs", "replicate", "perplexity", "stability", "assemblyai", "pinecone",
    "qdrant", "weaviate", "langfuse", "langsmith", "wandb", "watsonx", "ibm", "scaleway", "runpod", "cursor",
    "arcee", "vercel", "nscale", "doubleword",
)  # fmt: skip
"""Names of services whose keys have no prefix: they announce what looks random."""
_COMMON = ("auth", "key", "cred", "access", "api")
"""Words that announce what looks random as well, unless it is called an id."""

_AFTER_VENDOR = late_pattern(
    rf"[\w. \t\-]{{0,24}}(?:{_QUOTE})?\s{{0,3}}(?:[:=]{{1,3}}>?|\|\||\?=|,|\bis\b)\s{{0,5}}(?:{_QUOTE})?[\s=]{{0,3}}"
    r"([\w.=+/\-%]{0,48})$"
)
_NAMES = late_pattern(lambda: f"(?<![a-z]){any_of((*VENDORS, *_COMMON))}")
_MOST_NAMED = 1000
"""Values after a name in one text; the rest is one hit."""
_VALUE_AFTER, _REST_AFTER = late_pattern(r"[\w.=+/\-%]{14,512}"), late_pattern(r"[\w.=+/\-%]*")
_BEFORE_VALUE = 56
"""Characters before a run in which the name of a vendor announces the value that it is a part of."""
_SIGNS = late_pattern(r"[:=,|]|\sis\s")
_AN_ID = late_pattern(r"(?:id|hash|digest|url|uri|name|version)[\"'`]?\s{0,3}[:=]")
_EDGES = late_pattern(r"[A-Za-z](?=\d)|\d(?=[A-Za-z])")
_RANDOM_PART = late_pattern(
    r"(?<![A-Za-z0-9])(?:(?=[A-Za-z]*\d)(?=\d*[A-Za-z])[A-Za-z0-9]{14,}|\d{15,}|[\da-fA-F]{8}-[\da-fA-F]{4}-)"
)

PLAIN_WORDS = frozenset((
    "not", "none", "null", "true", "false", "required", "incorrect", "wrong", "invalid", "missing", "empty",
    "stored", "hashed", "valid", "correct", "weak", "strong", "reset", "expired", "changed", "your", "same", "case",
    "being", "needed", "optional", "also", "never", "always", "used", "okay", "secure", "long", "short",
    "encrypted", "protected", "unknown", "different", "safe", "known", "what", "that", "this", "very", "still",
    "already", "only", "just", "simply", "sent", "saved", "kept", "given", "there", "here", "when", "where",
    "which", "good", "best", "important", "important.", "generated", "provided", "entered", "hidden", "visible",
    "managed", "supposed", "meant", "allowed", "must", "should", "shown", "asked", "checked", "verified",
    "accepted", "rejected", "leaked", "compromised", "shared", "rotated", "going", "about", "more", "less", "then",
    "than", "with", "from", "into", "like", "made", "part", "handled", "currently", "usually", "often", "ignored",
    "disabled", "enabled", "unset", "undefined", "blank", "default", "redacted", "removed", "masked", "available",
    "found", "updated", "created", "cached", "temporary", "passed", "obtained", "supported", "deprecated",
    "included", "excluded", "based", "called", "string", "text", "field", "parameter", "value", "variable", "the",
    "and", "for", "has", "have", "was", "were", "been", "will", "would", "could", "can", "may", "might", "does",
    "did", "its", "their", "you", "yours", "mine", "ours", "string,", "optional,", "str", "bytes", "number",
    "boolean", "object", "array", "any",
))  # fmt: skip
"""What follows ``password is`` in prose that states none."""

_COOKIE = late_pattern(r"cookie2?(?:\\?[\"'`])?\s{0,3}[:=,]\s{0,3}(?:\\?[\"'`])?")
_COOKIES = late_pattern(r"[^\r\n\"'`\\]{4,}")
_COOKIE_NAME = late_pattern(r"[\w!#$%&*+.^|~\-]{1,128}=[^\s;]{2,}", re.ASCII)
_SHORT: dict[str, tuple[re.Pattern[str], tuple[str, ...]]] = {
    "pin": (
        late_pattern(r"pin(?:\s(?:code|number))?\s{0,3}(?::|=|\bis\b)\s{0,3}[\"'`]?(\d{4,8})(?!\w)"),
        (" is", " code", " number"),
    ),
    "pass": (late_pattern(r"pass\s{0,2}[:=]\s{0,2}[\"'`]?([^\s\"'`,;&<>{}()\[\]]{6,64})"), ()),
    "pw": (late_pattern(r"pw\s{0,2}[:=]\s{0,2}[\"'`]?([^\s\"'`,;&<>{}()\[\]]{6,64})"), ()),
}
"""Short words for passwords, which are parts of others, and what may follow them beside signs."""
_MOST_SHORT, _SHORT_REST = 64, late_pattern(r"[^\s\"'`,;&<>{}()\[\]]*")
_DIGIT = late_pattern(r"\d")
_AFTER_SHORT = (":", "=", " :", " =", "  ")
_AFTER_COOKIE = (":", "=", ",", "2", " ", '"', "'", "`", "\\")
_BLANKS = (" ", "\t", "\n")
_MOST_PLACES = 10_000
"""Places of one kind in one text that are looked at; the rest is one hit."""
_SESSION = late_pattern(r"_session=([\w%\-]{16,})")
_BASIC = late_pattern(r"basic\s{1,4}([a-z0-9+/_\-]{8,}={0,2})")
_CURL_USER = late_pattern(
    r"-(?:u|-user)[=\s]{1,3}[\"']?([^\s:\"']{1,128}:[^\s\"']{2,}|:[^\s\"']{3,}|[^\s:\"']{3,128}:(?=[\s\"']))"
)


def announced(whole: str, lowered: str) -> Iterator[Span]:
    """Values after a word that announces a secret.

    Args:
        whole: The text.
        lowered: The same in lower case, place by place.
    """
    tried = 0.0
    for stem, words in WORDS.items():
        if stem not in lowered:
            continue
        for word in words:
            at = lowered.find(word)
            while at >= 0:
                if tried >= MOST_TRIED:
                    yield at, len(whole)
                    return
                span = _secret_after(word, at, whole, lowered)
                tried += 0.4 if span is None and _in_prose(lowered, at + len(word)) else 1
                if span is not None:
                    yield span
                at = lowered.find(word, span[1] if span is not None else at + len(word))
    yield from _headers(whole, lowered)


def _in_prose(lowered: str, after: int) -> bool:
    """Whether a word is one of thousands in a text about tokens, say: no value is near it."""
    return lowered[after : after + 1] in _AFTER_PROSE and not lowered.startswith(_STATES, after)


def _pattern(word: str) -> re.Pattern[str]:
    pattern = _PATTERNS.get(word)
    if pattern is None:
        pattern = _PATTERNS[word] = re.compile(re.escape(word) + _VALUE)
    return pattern


_PATTERNS: dict[str, re.Pattern[str]] = {}
"""Compiled when the word is first met: most texts have none."""


def _secret_after(word: str, at: int, whole: str, lowered: str) -> Span | None:
    match = _pattern(word).match(lowered, at)
    if match is None:
        quoted = _QUOTED.match(lowered, at) if word in _PASSWORD_WORDS else None
        return None if quoted is None or "[redacted" in quoted.group(1) else quoted.span(1)
    start, end = match.span(1)
    between = lowered[at:start]
    quote = between[-1:]
    if quote in "\"'`" and quote and word in _PASSWORD_WORDS:
        closing = whole.find(quote, end, end + 256)
        if closing >= 0 and "\n" not in whole[end:closing] and ":" not in whole[end:closing]:
            end = closing
    if not _looks_secret(word, between, whole[start:end]):
        return None
    end = _end_of(_REST, whole, end)
    if word in _PASSWORD_WORDS and not between.endswith("="):
        # Prose has no separators inside a password; a query or a connection string has.
        end = _end_of(_TO_SPACE, whole, end)
        end = start + len(whole[start:end].rstrip(".,;!?)"))
    return start, end


def _end_of(rest: re.Pattern[str], text: str, at: int) -> int:
    match = rest.match(text, at)
    return at if match is None else match.end()


def _looks_secret(word: str, between: str, value: str) -> bool:
    """An assignment or a header names a secret; a plain word after ``token is`` does not."""
    if "[REDACTED" in value or value.startswith(("//", "http:", "https:")):
        return False
    password = word in _PASSWORD_WORDS
    said = between.rstrip(" \"'`\\*_\t\r\n")
    assigned = said[-1:] in (":", "=", ">", "|", ",", "\u2192") or said.endswith(("bearer", "basic"))
    assigned = assigned or said.endswith(" token")
    if said[-1:] == ",":
        return looks_random(value)
    if password and (assigned or said.endswith((" is", " was", " be", " to"))):
        bare = value.rstrip(".!?:*").lower()
        return len(bare) >= 4 and bare not in PLAIN_WORDS and not (value.endswith("...") or set(bare) <= {"*", "."})
    if len(value) < 6 or value.replace(".", "").isdecimal():
        return False
    if len(value) > 24 or (assigned and not value.isalpha()):
        return True
    return len(value) >= 10 and said.endswith(" is") and not value.isalpha() and any(c.isdecimal() for c in value)


def _headers(whole: str, lowered: str) -> Iterator[Span]:
    yield from _followed(lowered, "cookie", _AFTER_COOKIE, partial(_cookie, lowered))
    for word, (pattern, more) in _SHORT.items():
        yield from _followed(lowered, word, (*_AFTER_SHORT, *more), partial(_short, lowered, pattern))
    if "_session=" in lowered:
        yield from (match.span(1) for match in _SESSION.finditer(lowered))
    yield from _followed(lowered, "basic", _BLANKS, partial(_basic, whole, lowered))
    first = lowered.find("curl")
    if first >= 0:
        for option in ("-u", "--user"):
            yield from _followed(whole, option, (*_BLANKS, "="), partial(_curl_user, whole), first)


def _followed(
    text: str, word: str, follows: tuple[str, ...], read: Callable[[int], Span | None], first: int = 0
) -> Iterator[Span]:
    """Secrets after a word that stands before one of these: plain searches, which cost little where there are none.

    Args:
        text: Where to search.
        word: What is followed up.
        follows: What must stand right behind it.
        read: Answers the secret after a place.
        first: Where to begin.
    """
    if text.find(word, first) < 0:
        return
    for follow in follows:
        sought, tried = word + follow, 0
        at = text.find(sought, first)
        while at >= 0:
            tried += 1
            if tried > _MOST_PLACES:
                yield at, len(text)
                return
            span = read(at)
            if span is not None:
                yield span
            at = text.find(sought, at + len(sought) if span is None else span[1])


def _cookie(lowered: str, at: int) -> Span | None:
    match = _COOKIE.match(lowered, at)
    if match is None or not _COOKIE_NAME.match(lowered, match.end()):
        return None
    # Only now, as it reads to the end of the line.
    cookies = _COOKIES.match(lowered, match.end())
    return None if cookies is None else cookies.span()


def _short(lowered: str, pattern: re.Pattern[str], at: int) -> Span | None:
    match = None if lowered[at - 1 : at].isalpha() else pattern.match(lowered, at)
    if match is None or not _DIGIT.search(lowered, *match.span(1)):
        return None
    start, end = match.span(1)
    return start, _end_of(_SHORT_REST, lowered, end) if end - start == _MOST_SHORT else end


def _basic(whole: str, lowered: str, at: int) -> Span | None:
    match = _BASIC.match(lowered, at)
    if match is None:
        return None
    start, end = match.span(1)
    encoded = whole[start : min(end, start + 512)]
    return None if encoded.islower() or not _is_pair(encoded) else (start, end)


def _curl_user(whole: str, at: int) -> Span | None:
    match = _CURL_USER.match(whole, at)
    return None if match is None else match.span(1)


def _is_pair(encoded: str) -> bool:
    """Whether base64 text encodes ``user:password``."""
    try:
        raw = b64decode(encoded[:512] + "=" * (-len(encoded[:512]) % 4), altchars=b"-_" if "-" in encoded else None)
    except ValueError:
        return False
    return b":" in raw and raw.isascii()


def of_vendors(whole: str, lowered: str, runs: Sequence[Span]) -> Iterator[Span]:
    """Values that look random after the name of a vendor.

    Args:
        whole: The text.
        lowered: The same in lower case, place by place.
        runs: What may be random in the text.
    """
    done = tried = 0
    for start, _ in runs:
        if start < done:
            continue
        first = max(0, start - _BEFORE_VALUE)
        if _SIGNS.search(lowered, first, start) is None:
            continue
        begins = _announced_at(lowered, first, start)
        if begins < 0:
            continue
        tried += 1
        if tried > _MOST_NAMED:
            yield begins, len(whole)
            return
        value = _VALUE_AFTER.match(whole, begins)
        if value is not None and looks_random(value.group()):
            done = _end_of(_REST_AFTER, whole, value.end())
            yield begins, done


def _announced_at(lowered: str, first: int, last: int) -> int:
    """Where the value begins that a name announces; -1 if none does."""
    for name in _NAMES.finditer(lowered, first, last):
        match = _AFTER_VENDOR.match(lowered, name.end(), last)
        if match is not None and not (name.group() in _COMMON and _AN_ID.search(lowered, name.start(), match.start(1))):
            return match.start(1)
    return -1


def looks_random(value: str) -> bool:
    """Whether a value cannot be a name: a long unbroken part holds digits, or letters and digits alternate."""
    return _RANDOM_PART.search(value) is not None or len(_EDGES.findall(value[:256])) >= 6
