"""Texts from outside on terminals and in Markdown: shown, never interpreted."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from trisignal.cli import _terminal, top
from trisignal.cli import doctor as doctor_command
from trisignal.operate import markdown
from trisignal.operate.doctor.findings import Finding
from trisignal.operate.top import ModelRates

NASTY = [
    "m\x1b]0;pwned\x07\x1b[2J", "a[/b]c", "x[red]y", ":smile:", "\x9b31m", "a\rb", "a\nb", "a\x08\x08b", "\u202egpj.exe", "\u2028x",
    "[link=https://evil.example]x[/link]", "<script>alert(1)</script>", "![i](https://evil.example/p.png)", "[x](javascript:alert(1))",
    "`code`", "**b**", "|x|", "# head", "https://evil.example", "www.evil.example", "&lt;", "~~s~~", "$x$", "=cmd|' /C calc'!A0", "@here",
]  # fmt: skip


def row(model: str, provider: str) -> ModelRates:
    """One row of a model."""
    return ModelRates(provider, model, 1.0, 0.5, 1.0, 1.0, None, None, 1.0, 1.0, 1.0, 0.0)


def acts(text: str) -> list[str]:
    """Characters that do something to a terminal."""
    return [c for c in text if c not in "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]


@pytest.mark.parametrize("columns", [80, 160])
@pytest.mark.parametrize("text", NASTY)
def test_top_shows_names_as_they_are(text: str, columns: int) -> None:
    """No model or provider name acts on the terminal, is markup, or ends the program."""
    console = Console(width=columns, record=True, markup=False, emoji=False, highlight=False)
    with console.capture() as captured:
        console.print(top._table([row(text, text), row("other", "p")], columns))
    said = captured.get()
    assert not acts(said)
    assert _terminal.plain(text)[:6] in said


@pytest.mark.parametrize("text", NASTY)
def test_doctor_shows_findings_as_they_are(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What a server answered or a variable holds is shown and not interpreted."""
    finding = Finding("metrics", "error", f"it answered {text}", f"do {text}")
    doctor_command._print(finding, [finding])
    assert not acts(capsys.readouterr().out)


@pytest.mark.parametrize("text", NASTY)
def test_mistakes_are_one_plain_line(text: str) -> None:
    """An address, option or name that is wrong is quoted in one line without effect on the terminal."""
    from trisignal import cli

    for arguments in (
        ["top", text],
        ["report", text],
        ["prices", "show", text],
        ["doctor", "--app", text],
        [text],
        ["top", "--once", "http://[" + text],
    ):
        result = CliRunner().invoke(cli.group(), arguments)
        assert result.exit_code != 0
        assert len(result.stderr.splitlines()) == 1, (arguments, result.stderr)
        assert not acts(result.stderr)
        assert "Traceback" not in result.output


@given(st.text(), st.integers(0, 40))
def test_any_text_is_plain_on_a_terminal(text: str, most: int) -> None:
    """Nothing that acts on a terminal is left, whatever the text."""
    assert not acts(_terminal.plain(text, most))
    assert "\n" not in _terminal.plain(text, most)


@pytest.mark.parametrize("text", NASTY)
def test_markdown_shows_texts_as_they_are(text: str) -> None:
    """Rendered, a text from outside is that text: no element, link, image or further cell comes of it."""
    parser: Any = pytest.importorskip("markdown_it").MarkdownIt("gfm-like", {"linkify": False, "html": True})
    cell = f"| {markdown.text(text)} | 1 |"
    tokens = parser.parse(f"| a | b |\n| --- | --- |\n{cell}\n")
    inline = [token for token in tokens if token.type == "inline"]
    assert len(inline) == 4
    kinds = {child.type for child in inline[2].children or ()}
    assert kinds <= {"text", "text_special"}
    assert not acts(markdown.text(text))
