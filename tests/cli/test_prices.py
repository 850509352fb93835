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


def test_show_says_which_row_prices_a_call_and_why() -> None:
    """With a host or a provider the row, its rule, its source and how the biller is known are printed."""
    code, out, _ = run("show", "gpt-4o", "--host", "https://api.openai.com/v1")
    assert code == 0
    assert "because: the host https://api.openai.com/v1 is that of openai" in out
    assert "from: " in out
    code, out, _ = run("show", "claude-sonnet-4-5", "--provider", "gcp.vertex_ai", "--json")
    row = json.loads(out.splitlines()[0])
    assert (code, row["provider"]) == (0, "google-vertex")
    assert row["because"] == "provider gcp.vertex_ai is billed by google-vertex"


def test_show_says_why_a_tier_is_unpriced() -> None:
    """A tier without a price is named, and so is the reason that the metric has."""
    code, out, _ = run("show", "gpt-4o", "--provider", "openai", "--tier", "provisioned")
    assert code == 0
    assert "unpriced: reason tier" in out


def test_diff_lists_what_differs(tmp_path: Path) -> None:
    """A changed price, a new model and an equal one: only the first two are differences."""
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    first.write_text('{"providers": {"acme": {"m": {"input": 1, "output": 2}, "same": {"input": 1}}}}')
    second.write_text(
        '{"providers": {"acme": {"m": {"input": 1, "output": 3}, "same": {"input": 1}, "new": {"input": 1}}}}'
    )
    code, out, _ = run("diff", str(first), str(second), "--json")
    assert code == 0
    rows = [json.loads(line) for line in out.splitlines()]
    assert [(row["model"], row["field"], row["before"], row["after"]) for row in rows] == [
        ("m", "output", 2, 3),
        ("new", "model", None, True),
    ]
    code, out, _ = run("diff", str(first), str(second), "--fail")
    assert code == 1
    assert "prices that differ: 1" in out


def test_diff_of_a_table_with_itself_is_empty() -> None:
    """The shipped table does not differ from itself."""
    assert run("diff", "shipped", "shipped", "--json") == (0, "", "")


def test_diff_refuses_what_is_no_table(tmp_path: Path) -> None:
    """A file that is not a table is one line and exit code 2."""
    path = tmp_path / "prices.json"
    path.write_text("[")
    code, out, err = run("diff", "shipped", str(path))
    assert (code, out, err.count("\n")) == (2, "", 1)
