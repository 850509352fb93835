"""What a value of each kind may be: readers that take an argument or a variable's text, or say what is allowed."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from math import isfinite
from typing import Any

from trisignal.semconv import PROFILES, profile

DETECTORS = ("email", "phone", "card", "iban", "us_ssn", "ip", "api_key", "jwt", "private_key")
OPTIONAL_DETECTORS = ("national_phone",)
"""These find much that is not private, so they must be asked for."""

_TABLES = (profile(name) for name in PROFILES)
TAKEN_LABELS = frozenset(
    label.replace(".", "_") for table in _TABLES for metric in table.values() for label in metric.labels
) | {"le", "quantile", "request_id", "conversation_id", "user_id"}
"""No dimension may be called so: labels that metrics have already, and ids, which have no bound."""


class Wrong(Exception):
    """A value cannot be used; the text says what can."""


Reader = Callable[[Any], Any]


def text(value: Any) -> str:
    """Any text."""
    if not isinstance(value, str):
        raise Wrong("a text")
    return value.strip()


def path(value: Any) -> str:
    """The path of a file or folder, as a text or a path object."""
    try:
        given = os.fspath(value).strip()
        if "\0" not in given and os.fsencode(given) is not None:
            return given  # type: ignore[no-any-return]  # a text, as bytes hold no text
    except (TypeError, ValueError):
        pass
    raise Wrong("the path of a file or folder, as a text")


def switch(value: Any) -> bool:
    """True or false, in a word or as a number."""
    word = value.strip().lower() if isinstance(value, str) else value
    if word in (True, 1, "true", "1", "yes", "on", "t", "y"):
        return True
    if word in (False, 0, "false", "0", "no", "off", "f", "n"):
        return False
    raise Wrong("true or false (also 1, 0, yes, no, on, off)")


def whole(least: int, most: int | None = None) -> Reader:
    """A whole number with a lower and maybe an upper limit."""
    allowed = f"a whole number, {least} or more" if most is None else f"a whole number from {least} to {most}"

    def read(value: Any) -> int:
        try:
            number = int(value.strip() if isinstance(value, str) else value)
            if isinstance(value, bool) or (not isinstance(value, str) and number != value) or number < least:
                raise Wrong(allowed)
            if most is not None and number > most:
                raise Wrong(allowed)
        except (TypeError, ValueError, OverflowError):
            raise Wrong(allowed) from None
        return number

    return read


def _number(value: Any) -> float:
    if isinstance(value, (bool, bytes, bytearray)):
        raise ValueError
    return float(value)


def share(value: Any) -> float:
    """A share from 0 to 1."""
    try:
        number = _number(value)
    except (TypeError, ValueError, OverflowError):
        number = -1.0
    if not 0 <= number <= 1:
        raise Wrong("a number from 0 to 1")
    return number


def one_of(*words: str) -> Reader:
    """One of several words."""

    def read(value: Any) -> str:
        word = value.strip() if isinstance(value, str) else value
        if word not in words:
            raise Wrong(", ".join(words))
        return str(word)

    return read


def content(value: Any) -> str:
    """Where content goes; true and false count as well."""
    words = ("no_content", "span_only", "event_only", "span_and_event")
    word = value.strip().lower() if isinstance(value, str) else value
    if isinstance(word, str):
        word = {"true": True, "1": True, "false": False, "0": False}.get(word, word)
    if isinstance(word, bool):
        return "span_only" if word else "no_content"
    if word not in words:
        raise Wrong(", ".join((*words, "true", "false")))
    return str(word)


def _listed(value: Any, allowed: str) -> tuple[Any, ...]:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    if not isinstance(value, Iterable) or isinstance(value, (bytes, bytearray, Mapping)):
        raise Wrong(allowed)
    return tuple(value)


def detectors(value: Any) -> tuple[str, ...]:
    """Names of built-in detectors."""
    known = (*DETECTORS, *OPTIONAL_DETECTORS, "default")
    allowed = "one or more of " + ", ".join(known)
    listed = _listed(value, allowed)
    if any(name not in known for name in listed):
        raise Wrong(allowed)
    return tuple(dict.fromkeys(part for name in listed for part in (DETECTORS if name == "default" else (name,))))


def keys(value: Any) -> tuple[str, ...]:
    """Keys or paths of keys."""
    allowed = "keys or paths of keys, e.g. card,*.ssn"
    listed = _listed(value, allowed)
    if any(not isinstance(key, str) or not key.strip(".* ") for key in listed):
        raise Wrong(allowed)
    return listed


def dollars(value: Any) -> float:
    """US dollars, more than none."""
    return _above_none(value, "a finite number of US dollars above 0")


def duration(value: Any) -> float:
    """A time in seconds."""
    return _above_none(value, "a finite number of seconds above 0")


def _above_none(value: Any, allowed: str) -> float:
    try:
        number = _number(value)
    except (TypeError, ValueError, OverflowError):
        number = 0.0
    if not (isfinite(number) and number > 0):
        raise Wrong(allowed)
    return number


def labels(value: Any) -> tuple[str, ...]:
    """Names of metric dimensions."""
    allowed = "names of letters, digits and underscores, e.g. tenant,region"
    listed = _listed(value, allowed)
    for name in listed:
        if not isinstance(name, str) or not name.isidentifier() or not name.isascii() or name.startswith("__"):
            raise Wrong(allowed)
        if name in TAKEN_LABELS:
            raise Wrong("names other than the labels " + ", ".join(sorted(TAKEN_LABELS)))
    return listed


def seconds(value: Any) -> tuple[float, ...]:
    """Bounds in seconds."""
    allowed = "finite numbers of seconds above 0, e.g. 0.5,2"
    try:
        bounds = tuple(_number(part) for part in _listed(value, allowed))
    except (TypeError, ValueError, OverflowError):
        raise Wrong(allowed) from None
    if not all(isfinite(bound) and bound > 0 for bound in bounds):
        raise Wrong(allowed)
    return bounds


def mapping(example: str) -> Reader:
    """Texts by text."""
    allowed = f"a mapping of texts to texts (a JSON object in a variable), e.g. {example}"

    def read(value: Any) -> dict[str, str]:
        try:
            found = json.loads(value) if isinstance(value, str) else value
        except (ValueError, RecursionError):
            raise Wrong(allowed) from None
        if not isinstance(found, Mapping):
            raise Wrong(allowed)
        if not all(isinstance(part, str) for pair in found.items() for part in pair):
            raise Wrong(allowed)
        return dict(found)

    return read


def hosts(value: Any) -> dict[str, str]:
    """Provider ids by host, or by host and port, as URLs have them: in lower case, addresses without brackets."""
    example = '{"gpu:8000": "vllm"}'
    named = {}
    for place, provider in mapping(example)(value).items():
        host, port = _host_and_port(place.strip())
        if re.fullmatch(r"[^\s/@?#\[\]]+", host) is None or not re.fullmatch(r"\d{0,5}", port):
            raise Wrong(f"provider ids by `host` or `host:port`, without scheme and path, e.g. {example}")
        named[f"{host}:{port}" if port else host] = provider
    return named


def _host_and_port(place: str) -> tuple[str, str]:
    if place.startswith("["):
        host, _, port = place[1:].partition("]")
        return host.lower(), port.removeprefix(":")
    if place.count(":") > 1 and "/" not in place:  # an IPv6 address
        return place.lower(), ""
    host, _, port = place.partition(":")
    return host.lower(), port


def prefix(value: Any) -> str:
    """The beginning of metric names."""
    given = value.strip() if isinstance(value, str) else None
    if given is None or not re.fullmatch(r"([a-zA-Z_][a-zA-Z0-9_]*)?", given):
        raise Wrong("letters, digits and underscores, not beginning with a digit, e.g. app_")
    return given


LOG_TARGETS = ("stderr", "stdout", "console", "root", "emf")


def log_target(value: Any) -> str:
    """Where the lines of calls go."""
    allowed = ", ".join(LOG_TARGETS) + ", or the path of a file, e.g. ./calls.log"
    try:
        given = path(value)
    except Wrong:
        raise Wrong(allowed) from None
    if given.lower() in LOG_TARGETS:
        return given.lower()
    if given and re.fullmatch(r"[\w -]+", given):
        raise Wrong(allowed)  # a misspelt word would be a file of that name
    return given
