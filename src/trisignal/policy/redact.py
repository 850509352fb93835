"""PLACEHOLDER until the real module lands; overwrite me."""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol


class Redactor(Protocol):
    def __call__(self, text: str, /) -> str: ...
class PatternRedactor:
    def __init__(self, detectors: Sequence[str] = (), patterns: Mapping[str, str] | None = None, on_hit: Callable[[str, int], None] | None = None) -> None: ...
    def __call__(self, text: str, /) -> str: return text
def chain(*redactors: Redactor) -> Redactor:
    def run(text: str, /) -> str:
        for r in redactors: text = r(text)
        return text
    return run
