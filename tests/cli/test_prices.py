"""``trisignal prices``: output, one line per mistake, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

testing = pytest.importorskip("click.testing")
pytest.importorskip("rich")

from trisignal.cli.prices import command  # noqa: E402 - needs the extra
from trisignal.policy.price_table import shipped  # noqa: E402


def run(*arguments: str) -> tuple[int, str, str]:
    result = testing.CliRunner().invoke(command, list(arguments))
    return result.exit_code, result.stdout, result.stderr


def test_show_lists_every_biller_as_json() -> None:
    """One JSON object per price, from every provider that bills the model, or from one of them."""
    code, out, _ = run("show", "gpt-4o", "--json")
    everywhere = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert {"openai", "azure"} <= {row["provider"] for row in everywhere}
    assert all(row["tier"] and row["valid"] for row in everywhere)
    code, out, _ = run("show", "gpt-4o", "--provider", "azure.ai.openai", "--json")
    assert code == 0
    assert {json.loads(line)["provider"] for line in out.splitlines()} == {"azure"}


def test_show_prints_a_table() -> None:
    """Without --json the prices are a table with a column per price."""
    code, out, _ = run("show", "gpt-4o", "--provider", "openai")
    assert code == 0
    assert "standard" in out
    assert "input" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("show", "no-such-model"), "no price of model 'no-such-model'"),
        (("show", "gpt-4o", "--provider", "vllm"), "of provider 'vllm'"),
        (("check", "no-such-file.yaml"), "no-such-file.yaml: cannot be read"),
    ],
)
def test_wrong_input_is_one_line(arguments: tuple[str, ...], said: str) -> None:
    """A mistake is one line on stderr and exit code 2."""
    code, out, err = run(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err


def test_check_tells_the_line(tmp_path: Path) -> None:
    """A right file is confirmed; a wrong one is refused with file and line."""
    path = tmp_path / "prices.json"
    path.write_text('{"providers": {"openai": {"m": {"input": 1}}}}')
    assert run("check", str(path)) == (0, f"{path}: 1 models, no mistake\n", "")
    path.write_text('{"providers": {\n"openai": {"m": {"inptu": 1}}}}')
    code, _, err = run("check", str(path))
    assert code == 2
    assert f"{path}:2: unknown key 'inptu'" in err


def test_age_names_day_and_source() -> None:
    """The age of the table comes with where it was taken from."""
    code, out, _ = run("age")
    assert code == 0
    assert out.startswith(shipped()["generated"])
    assert shipped()["source"] in out
