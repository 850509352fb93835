"""``trisignal traces`` and ``trisignal store`` as commands: tables, trees, JSON, wrong input, hostile texts."""

from __future__ import annotations

import csv
import json
import re
import sqlite3
import time
from contextlib import closing
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from analysis.planted import PLANTS, traffic
from store.filled import NOW_S, call, item, judged, store

testing = pytest.importorskip("click.testing")
pytest.importorskip("rich")

from trisignal import cli  # noqa: E402 - needs the extra
from trisignal.cli import _terminal  # noqa: E402

SINCE = ("--since", "2026-11-01")
HOSTILE = "\x1b]0;owned\x07\x1b[31m[red]<b>\u202e\x9b2J"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the traffic of two hours."""
    path: Path = tmp_path_factory.mktemp("store")
    store(path, traffic(60, PLANTS["a stage is slow"][0], seed=1))
    return path


def run(*arguments: object) -> Any:
    """Run the command in this process."""
    return testing.CliRunner().invoke(cli.group(), [str(one) for one in arguments])


def traces(folder: Path, *arguments: object) -> str:
    """Output of ``trisignal traces``."""
    result = run("traces", "--store", folder, *arguments)
    assert result.exit_code == 0, result.output + result.stderr
    return str(result.output)


def test_tables_have_what_was_asked(folder: Path) -> None:
    """Each question prints its table, and what it covers."""
    assert "chat small" in traces(folder, "latest", *SINCE)
    assert "retrieve" in traces(folder, "slow", "--of", "requests", *SINCE)
    assert "rate_limit" in traces(folder, "errors", *SINCE)
    assert "faithfulness" in traces(folder, "quality", *SINCE)
    cost = traces(folder, "cost", "--by", "tenant,model", *SINCE)
    assert "acme" in cost
    assert str(folder) in cost.replace("\n", "")
    compared = traces(
        folder,
        "compare",
        "--before",
        f"{NOW_S - 7200:.0f},{NOW_S - 3600:.0f}",
        "--after",
        f"{NOW_S - 3600:.0f},{NOW_S:.0f}",
    )
    assert re.search(r"stage\s+retrieve", compared)


def test_json_is_the_whole_answer(folder: Path) -> None:
    """--json prints one document with units in its names and times in UTC, before and after the subcommand."""
    answer = json.loads(traces(folder, "slow", "--json", "--limit", 2, *SINCE))
    assert len(answer["items"]) == 2
    assert answer["items"][0]["span"]["duration_s"] > answer["items"][1]["span"]["duration_s"]
    assert answer["coverage"]["since"].endswith("+00:00")
    assert json.loads(traces(folder, "--json", "cost", *SINCE))["total"]["spans"] == 120


def test_a_trace_is_shown_by_the_first_digits_of_its_id(folder: Path) -> None:
    """`show` draws the tree, and takes what the tables print of an id."""
    [row] = json.loads(traces(folder, "latest", "--json", "--limit", 1, *SINCE))["rows"]
    # The made-up ids count up, so nearly all of one is needed.
    out = traces(folder, "show", row["trace_id"])
    assert [name in out for name in ("answer", "  stage retrieve", "  execute_tool search", "  chat")] == [True] * 4
    assert "━" in out
    wrong = run("traces", "--store", folder, "show", "ffff")
    assert (wrong.exit_code, wrong.exception.__class__.__name__) == (2, "SystemExit")


def test_filters(folder: Path) -> None:
    """Options and --where filter by any dimension; a misspelt one is refused with those that there are."""
    answer = json.loads(traces(folder, "cost", "--json", "--tenant", "acme", "--where", "model=small", *SINCE))
    assert 0 < answer["total"]["spans"] < 60
    for wrong, said in (
        (("--where", "model"), "NAME=VALUE"),
        (("--where", "colour=red"), "tenant"),
        (("--since", "soon"), "1h"),
    ):
        result = run("traces", "--store", folder, "cost", *wrong)
        assert result.exit_code == 2
        assert said in result.stderr


def test_csv_and_focus(folder: Path) -> None:
    """Costs are printed as a table for spreadsheets, in ours or in FOCUS columns."""
    rows = list(csv.DictReader(StringIO(traces(folder, "cost", "--csv", "--by", "tenant", *SINCE))))
    assert len(rows) == 5
    focus = list(
        csv.DictReader(StringIO(traces(folder, "cost", "--focus", "--step", "1d", "--by", "provider", *SINCE)))
    )
    assert sum(float(row["BilledCost"]) for row in focus) == pytest.approx(sum(float(row["cost_usd"]) for row in rows))


def test_nothing_from_outside_acts_on_the_terminal(tmp_path: Path) -> None:
    """Escapes, markup and characters that reorder text are written out in every table, tree and JSON document."""
    bound = {"tenant": HOSTILE, "request_id": HOSTILE, "user_id": HOSTILE, "prompt_version": HOSTILE}
    facts = {
        "span_name": HOSTILE,
        "request_model": HOSTILE,
        "provider": HOSTILE,
        "bound": bound,
        "closing": {HOSTILE: HOSTILE},
    }
    bad = call(1, outcome="error", error_kind="other", error_type=HOSTILE, **facts)
    store(tmp_path, [item(bad), judged(HOSTILE, 0.1, bad, HOSTILE), item(call(2, name=HOSTILE, **facts))])
    outputs = [
        traces(tmp_path, *asked, *(SINCE if asked[0] not in ("show", "compare") else ()), *form)
        for asked in (
            ("latest",), ("slow",), ("errors", "--by", "model,error_type"), ("quality",), ("cost", "--by", "tenant"),
            ("find", "--tenant", HOSTILE), ("show", bad.trace_id, "--attributes"),
            ("compare", "--before", "2026-11-01,2026-11-02", "--after", "2026-11-02,now", "--measure", "calls"),
        )
        for form in ((), ("--json",))
    ]  # fmt: skip
    for out in outputs:
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", out)
    assert all("\\x1b]0;owned" in out or "\\u001b]0;owned" in out for out in outputs[:-2])


def test_tail_prints_calls_once(tmp_path: Path) -> None:
    """`tail` prints the calls that end while it runs, each once."""
    store(tmp_path, [item(call(1, time.time() - 60))])
    store(tmp_path, [item(call(2, time.time() + 1, duration_s=1.0))])
    out = traces(tmp_path, "tail", "--for", 2.5)
    assert out.count("chat small") == 1


def test_a_log_is_asked_like_a_store(tmp_path: Path) -> None:
    """--logs answers from JSON lines; --store and --logs exclude each other."""
    line = {
        "timestamp": "2026-11-30T12:00:00.000Z", "message": "chat gpt-4o ok 0.5s", "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-4o", "duration_s": 0.5, "cost_usd": 0.25, "trace_id": "ab" * 16, "span_id": "cd" * 8,
    }  # fmt: skip
    path = tmp_path / "calls.jsonl"
    path.write_text(json.dumps(line) + "\n", encoding="utf-8")
    result = run("traces", "--logs", path, "cost", "--by", "model", *SINCE)
    assert result.exit_code == 0
    assert "$0.2500" in result.output
    assert run("traces", "--logs", path, "--store", tmp_path, "cost").exit_code == 2


def test_no_store_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a store the error names the folder and how it comes to be."""
    monkeypatch.chdir(tmp_path)
    for asked in (("traces",), ("store",)):
        result = run(*asked)
        assert result.exit_code == 2
        assert "trisignal-store" in result.stderr
        assert len(result.stderr.splitlines()) == 1


# --- trisignal store -----------------------------------------------------------------


def test_info_and_compact(folder: Path) -> None:
    """The files are listed with what they hold; compacting keeps every row."""
    info = json.loads(run("store", "info", folder, "--json").output)
    assert sum(file["spans"] for file in info["files"]) == 120 * 6
    assert run("store", "compact", folder).exit_code == 0
    assert json.loads(run("store", "info", folder, "--json").output)["files"][0]["spans"] == 120 * 6
    assert "720" in run("store", "info", folder).output


def test_export(folder: Path, tmp_path: Path) -> None:
    """All spans go to a CSV file, or to Parquet where pyarrow is installed."""
    target = tmp_path / "spans.csv"
    assert run("store", "export", folder, "--csv", target).exit_code == 0
    with target.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 720
    assert json.loads(rows[0]["attributes"])
    parquet = run("store", "export", folder, "--parquet", tmp_path / "spans.parquet")
    try:
        import pyarrow.parquet
    except ImportError:
        assert "pip install pyarrow" in parquet.stderr
    else:
        assert pyarrow.parquet.read_table(tmp_path / "spans.parquet").num_rows == 720
    assert run("store", "export", folder).exit_code == 2


def test_an_export_that_fails_leaves_what_was_there(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until all spans are written the earlier file stays under its name, and nothing is left beside it."""
    from trisignal.analysis import tables

    target = tmp_path / "spans.csv"
    target.write_text("earlier", encoding="utf-8")
    target.chmod(0o640)
    seen = []

    def cells(row: Any) -> list[object]:
        seen.append(target.read_text(encoding="utf-8"))
        if len(seen) == 500:
            raise OSError(28, "No space left on device")
        return [row.name]

    with monkeypatch.context() as patched:
        patched.setattr(tables, "span_cells", cells)
        failed = run("store", "export", folder, "--csv", target)
    assert failed.exit_code == 2
    assert "No space left" in failed.stderr
    assert {*seen} == {"earlier"}
    assert [path.name for path in tmp_path.iterdir()] == ["spans.csv"]
    assert target.read_text(encoding="utf-8") == "earlier"
    assert run("store", "export", folder, "--csv", target).exit_code == 0
    assert target.stat().st_mode & 0o777 == 0o640
    assert target.read_text(encoding="utf-8").count("\n") == 721


def test_an_export_says_what_it_left_out(tmp_path: Path) -> None:
    """A file that cannot be read is named; the others are exported."""
    store(tmp_path, [item(call(1))])
    (tmp_path / "2026-11-29.db").write_bytes(b"no database " * 200)
    exported = run("store", "export", tmp_path, "--csv", tmp_path / "spans.csv")
    assert exported.exit_code == 0
    assert "1 spans" in exported.stderr
    assert "left out: 2026-11-29.db cannot be read" in exported.stderr


def test_purge_removes_a_person(tmp_path: Path) -> None:
    """Afterwards no byte of the store holds the person's id; others' rows stay; what is out of reach is listed."""
    person, other = "person-4711-xyz", "other-42"
    first = call(1, bound={"user_id": person, "tenant": "acme"}, closing={"a": person})
    stage = call(2, trace_id=first.trace_id, operation="stage", name="s", model_call=False, usage=None, cost=None)
    store(
        tmp_path,
        [item(first), item(stage), judged("faithfulness", 0.1, first), item(call(3, bound={"user_id": other}))],
    )
    assert run("store", "purge", tmp_path, "--user", person).exit_code != 0
    result = run("store", "purge", tmp_path, "--user", person, "--yes")
    assert "removed 2 spans, 1 scores" in result.output
    assert "not reached" in result.output
    [path] = tmp_path.glob("*.db")
    assert person.encode() not in path.read_bytes()
    with closing(sqlite3.connect(path)) as db, db:
        assert db.execute("SELECT count(*) FROM span").fetchone() == (1,)
    answer = json.loads(traces(tmp_path, "cost", "--by", "user", "--json", *SINCE))
    assert [group["key"] for group in answer["groups"]] == [[other]]
    assert "removed 0 spans" in run("store", "purge", tmp_path, "--user", "nobody", "--yes").output


def test_numbers_for_people() -> None:
    """Durations and amounts keep two or three figures, whatever their size."""
    assert [_terminal.seconds(value) for value in (0.0000123, 0.0123, 0.9996, 1.5, 123.0, None)] == [
        "12 µs", "12 ms", "1.00 s", "1.50 s", "123 s", "–"
    ]  # fmt: skip
    assert [_terminal.dollars(value) for value in (0, 0.0000123, 0.0123, 1234.5, None)] == [
        "$0.00", "$1.2e-05", "$0.0123", "$1,234.50", "–"
    ]  # fmt: skip
