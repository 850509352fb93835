"""Numbers that check themselves: cards and bank accounts."""

from __future__ import annotations


def luhn(candidate: str) -> bool:
    """Whether a number may be that of a card."""
    digits = [int(c) for c in candidate if c.isdecimal()]
    if digits[0] in _NO_ISSUERS and len(digits) != _UATP_DIGITS:
        return False  # times in milliseconds and nanoseconds begin with 1
    doubled = sum(d * 2 - 9 if d > 4 else d * 2 for d in digits[-2::-2])
    return (sum(digits[-1::-2]) + doubled) % 10 == 0


_NO_ISSUERS, _UATP_DIGITS = (0, 1, 7, 9), 15


def mod_97(candidate: str) -> bool:
    """Whether a text may be an IBAN."""
    compact = candidate.replace(" ", "")
    if not 15 <= len(compact) <= 34:
        return False
    return int("".join(str(int(c, 36)) for c in compact[4:] + compact[:4])) % 97 == 1
