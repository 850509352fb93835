"""One wrong input for each command: the error names the setting and what is allowed, with exit code 2."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from store.filled import call, item, store

from trisignal.cli import group

WRONG = [
    (["top", "STORE/missing", "--once"], "URL|FOLDER=", "a store's folder"),
    (["top", "STORE", "--once", "--sort", "name"], "--sort", "'calls', 'errors', 'latency', 'tokens', 'cost'"),
    (["top", "STORE", "--once", "--header", "a: b"], "--header", "metrics page"),
    (["traces", "slow", "--store", "STORE", "--since", "soon"], "since='soon'", "15m, 1h or 7d"),
    (["traces", "slow", "--store", "STORE", "--where", "tenannt=a"], "filter tenannt=", "tenant"),
    (["traces", "errors", "--store", "STORE", "--by", "kind"], "by='kind'", "error_kind"),
    (["traces", "quality", "--store", "STORE", "--threshold", "3"], "--threshold", "0<=x<=1"),
    (["traces", "cost", "--store", "STORE", "--csv", "--focus"], "--csv", "--focus"),
    (["traces", "find", "--store", "STORE", "--limit", "0"], "--limit", "1<=x"),
    (["traces", "show", "--store", "STORE", "zz"], "STORE", "there is no trace zz"),
    (["traces", "compare", "--store", "STORE", "--before", "1h"], "--before='1h'", "two times"),
    (["traces", "compare", "--store", "STORE", "--measure", "speed"], "--measure", "'latency'"),
    (["traces", "tail", "--store", "tempo://h"], "tempo://h", "tempo+http://HOST"),
    (["traces", "slow", "--store", "nowhere://h"], "nowhere://", "elasticsearch, jaeger, opensearch, tempo"),
    (["store", "info", "STORE/missing"], "missing", "no such folder"),
    (["store", "compact", "STORE/missing"], "missing", "no such folder"),
    (["store", "export", "STORE"], "--csv FILE", "--parquet FILE"),
    (["store", "export", "STORE", "--csv", "-", "--since", "soon"], "since='soon'", "15m, 1h or 7d"),
    (["store", "purge", "STORE", "--user", " ", "--yes"], "--user=", "the id of one person"),
    (["console", "STORE/no/where"], "SOURCE=", "a store's folder"),
    (["console", "STORE", "--host", "0.0.0.0"], "--host=", "--token"),
    (["console", "STORE", "--port", "99999"], "--port", "0<=x<=65535"),
    (["console", "STORE", "--metrics", "ftp://h"], "ftp://h", "prometheus+http://HOST"),
    (["mcp", "STORE/missing"], "missing", "no such folder"),
    (["stores"], "'stores'", "Allowed: console, dashboards, demo, doctor"),
    (["store", "shrink"], "'shrink'", "Allowed: compact, export, index, info, purge"),
    (["traces", "tail", "--where", "tenant=a"], "--where", "--store, --logs, --json, --for, --of"),
    (["demo", "--port", "x"], "--port", "integer"),
    (["doctor", "--url", "somewhere"], "URL='somewhere'", "http://localhost:8000/metrics"),
    (["prices", "show", "no-such-model"], "'no-such-model'", "shipped table"),
    (["rules", "--profile", "1.0"], "--profile", "'1.41', '2026-10'"),
    (["dashboards"], "--output", "-o"),
    (["run", "/no/such/program"], "'/no/such/program'", "no such command"),
    (["report", "somewhere"], "URL=", "an address such as"),
]


@pytest.mark.parametrize(
    ("args", "setting", "allowed"), WRONG, ids=[" ".join(args[:2] + args[-2:]) for args, _, _ in WRONG]
)
def test_the_error_names_setting_and_allowed_values(
    tmp_path: Path, args: list[str], setting: str, allowed: str
) -> None:
    """A wrong input ends the command before it does anything."""
    store(tmp_path, [item(call(1))])
    before = sorted(tmp_path.rglob("*.db"))
    given = [one.replace("STORE", str(tmp_path)) for one in args]
    result = CliRunner().invoke(group(), given)
    said = result.output.replace(str(tmp_path), "STORE")
    assert result.exit_code == 2, said
    assert setting in said
    assert allowed in said
    assert sorted(tmp_path.rglob("*.db")) == before
    assert not (tmp_path / "no").exists()
