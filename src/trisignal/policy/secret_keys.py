"""Keys of structured content that announce a secret: ``{"password": ...}`` is as private as ``password: ...``."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from trisignal.policy.announced import PLAIN_WORDS
from trisignal.semconv.late_pattern import late_pattern
from trisignal.semconv.values import number

_PASSWORD = late_pattern(
    r"passw(?!ordless)|passphrase|passcode|kennwort|contrase|(?:^|[_.\-])(?:pwd|pin|cvv2?|cvc2?|otp|senha)(?:$|[_.\-])"
    r"|authorization|cookie|private_?-?key|client_?-?secret"
)
_TOKEN = late_pattern(
    r"secret|api[_\- ]?key|(?:access|account|signing|encryption|shared|storage|auth)[_\-]?key|credential|x[_\-]auth"
    r"|(?:access|refresh|id|bearer|session|csrf|xsrf|api|bot|user|auth|oauth|security|sas|device|push|personal)[_\-]?token"
)
_NO_SECRET = late_pattern(
    r"(?:[_.\-]|^)(?:id|alg|algorithm|name|type|kind|count|url|uri|hash|expires?\w*|version|length|size|required|enabled|"
    r"ttl|policy|limit|usage|ref|arn|path|file|format|hint|age|provided|valid|set|field|label|description|scopes?|method|"
    r"strength|policies|reset|changed|consent)$"
)
"""Ends of keys whose values describe a secret without being one."""

_CAMEL = late_pattern(r"(?<=[a-z0-9])(?=[A-Z])")

PASSWORD, TOKEN = 2, 1


@lru_cache(maxsize=4096)
def kind_of(key: str) -> int:
    """Whether a key announces a password, a token, or nothing (0)."""
    lowered = _CAMEL.sub("_", key[-128:]).lower()
    if _PASSWORD.search(lowered):
        kind = PASSWORD
    elif _TOKEN.search(lowered):
        kind = TOKEN
    else:
        return 0
    return 0 if _NO_SECRET.search(lowered) else kind


def is_secret(key: object, value: Any) -> bool:
    """Whether a value is a secret, by its key.

    Args:
        key: Key of an entry, or name of an attribute.
        value: Its value; only texts and numbers are judged.
    """
    kind = kind_of(key) if isinstance(key, str) else 0
    if not kind:
        return False
    if isinstance(value, str):
        word = value.strip()
        if len(word) < 4 or "[REDACTED" in word or word.lower() in PLAIN_WORDS or set(word) <= {"*", ".", "x", "X"}:
            return False
        return kind == PASSWORD or (len(word) >= 6 and not word.isalpha() and " " not in word)
    plain = number(value)
    return kind == PASSWORD and plain is not None and not isinstance(plain, bool) and abs(plain) >= 100
