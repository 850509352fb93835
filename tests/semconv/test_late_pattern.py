"""Patterns of a module take no time to compile until a text is to be searched."""

from __future__ import annotations

import re

import pytest

from trisignal.semconv import late_pattern as module
from trisignal.semconv.late_pattern import late_pattern


def test_a_late_pattern_is_compiled_once_and_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """It finds what the pattern finds; neither making nor inspecting it compiles or builds anything."""
    compiled: list[str] = []
    built: list[str] = []
    compile_pattern = re.compile

    def noting(source: str, flags: int = 0) -> re.Pattern[str]:
        compiled.append(source)
        return compile_pattern(source, flags)

    def source() -> str:
        built.append("a+")
        return "a+"

    monkeypatch.setattr(module.re, "compile", noting)
    plain, put_together = late_pattern("A+", re.IGNORECASE), late_pattern(source)
    assert not hasattr(plain, "__wrapped__")
    assert (compiled, built) == ([], [])
    for pattern in (plain, put_together):
        for text in ("aa", "baa", ""):
            assert bool(pattern.search(text)) == bool(re.search("a+", text))
    assert compiled == ["A+", "a+"]
    assert built == ["a+"]
