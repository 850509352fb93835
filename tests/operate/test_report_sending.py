"""The weekly review with recorded traces, and sent to where people read it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from loopback import Loopback, Reply, json_reply
from operate.serving import served
from store.filled import call, item, store

from trisignal.cli import group
from trisignal.operate.report_sending import MOST_SLACK, slack_text
from trisignal.watch import alert_handlers

END_S = 1_796_000_000.0
UNTIL = "2026-11-30T00:53:20"
DAY_S = 86_400
EMPTY = json.dumps({"status": "success", "data": {"result": []}})


@pytest.fixture(scope="module", name="traces")
def _traces(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store with two weeks: in the second one, acme's calls to the large model are slow, dear and fail."""
    folder = tmp_path_factory.mktemp("store")
    items = []
    for number in range(200):
        late, large = number % 2 == 1, number % 4 == 3
        facts = {"request_model": "large" if large else "small", "bound": {"tenant": "acme|<b>" if large else "bolt"}}
        facts |= {"cost_usd": 0.5 if large and late else 0.1, "duration_s": 30.0 if large and late else 1.0}
        if large and late and number % 8 == 3:
            facts |= {"outcome": "error", "error_kind": "timeout"}
        items.append(item(call(number, END_S - (3 if late else 10) * DAY_S + number, **facts)))
    store(folder, items)
    return str(folder)


@pytest.fixture(name="prometheus")
def _prometheus() -> Iterator[str]:
    """A Prometheus that knows nothing."""
    with served(EMPTY, "application/json") as told:
        yield told.url


def run(*arguments: str, address: str = "") -> str:
    """Output of the command."""
    done = CliRunner().invoke(group(), ["report", *arguments], env={"TRISIGNAL_REPORT_ADDRESS": address or None})
    assert done.exit_code == 0, done.output
    return done.output


def test_traces_add_tenants_worst_traces_and_causes(prometheus: str, traces: str, tmp_path: Path) -> None:
    """The analyser's answers stand in the page, what came from outside as text only."""
    page = tmp_path / "week.md"
    assert run(prometheus, "--traces", traces, "--until", UNTIL, "--to", "file", "-o", str(page)) == ""
    text = page.read_text(encoding="utf-8")
    parts = {part.partition("\n")[0]: part for part in text.split("## ")[1:]}
    assert "| acme\\|\\<b\\> | $25.00 |" in parts["Cost by tenant"]
    assert "| bolt | $5.00 |" in parts["Cost by tenant"]
    assert parts["Worst traces"].count("30.00 s") == 5
    assert "- timeout: 25 errors, e.g. " in parts["Worst traces"]
    assert "- cost: $" in parts["What carried the changes"]
    assert "- latency: 1.00 s to" in parts["What carried the changes"]
    assert "large" in parts["What carried the changes"]


def test_slack_gets_its_own_markup(prometheus: str, traces: str) -> None:
    """Titles in bold, tables in fixed width, and nothing that Slack reads as markup or a mention."""
    with Loopback() as chat:
        chat.play(json_reply({"ok": True}))
        assert run(prometheus, "--traces", traces, "--until", UNTIL, "--to", "slack", address=f"{chat.url}/x") == ""
        [request] = chat.requests
    text = json.loads(request.body)["text"]
    assert text.startswith("*LLM service review: 2026-11-23 00:53 to 2026-11-30 00:53 UTC*")
    assert "acme|&lt;b&gt;  $25.00" in text
    assert "<b>" not in text
    assert text.count("```") % 2 == 0


def test_a_webhook_gets_markdown(prometheus: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Title and page as JSON; a webhook that fails is asked three times, and named without its secrets."""
    monkeypatch.setattr(alert_handlers, "FIRST_PAUSE_S", 0.001)
    with Loopback() as hook:
        hook.play(Reply(503), json_reply({}))
        run(prometheus, "--until", UNTIL, "--to", "webhook", "--address", f"{hook.url}/hook")
        body = json.loads(hook.requests[1].body)
        assert body["title"] == "LLM service review: 2026-11-23 00:53 to 2026-11-30 00:53 UTC"
        assert body["markdown"].startswith(f"# {body['title']}")
        hook.play(Reply(500), Reply(500), Reply(500))
        arguments = ["report", prometheus, "--to", "webhook", "--address", f"{hook.url}/hook?token=s3cret"]
        done = CliRunner().invoke(group(), arguments)
    assert done.exit_code != 0
    assert "webhook could not be reached" in done.output
    assert "s3cret" not in done.output


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--to", "slack"], "--address"),
        (["--to", "file"], "--output"),
        (["--to", "slack", "--address", "ftp://x"], "--address"),
    ],
)
def test_what_is_missing_is_named(arguments: list[str], named: str, prometheus: str) -> None:
    """A target without an address is refused before anything is asked."""
    done = CliRunner().invoke(group(), ["report", prometheus, *arguments], env={"TRISIGNAL_REPORT_ADDRESS": None})
    assert done.exit_code != 0
    assert named in done.output


@pytest.mark.parametrize("given", ["foo", "/var/lib/store", "ftp://x/y", "localhost:9090", "http://"])
def test_what_is_not_an_address_is_named_as_it_was_given(given: str, tmp_path: Path) -> None:
    """One line names the argument, its value and what may stand there, before the traces are read."""
    done = CliRunner().invoke(group(), ["report", given, "--traces", str(tmp_path / "none")])
    assert done.exit_code == 2
    [line] = done.output.splitlines()
    assert f"PROMETHEUS_URL={given!r}" in line
    assert "http://localhost:9090" in line
    assert "--traces" in line
    assert "/api/v1" not in line


def test_a_long_page_is_cut_between_lines() -> None:
    """Slack takes a limited text: no table is left open."""
    rows = "\n".join(f"| tenant {number} | {number} |" for number in range(6000))
    text = slack_text(f"# Title\n\n| tenant | cost |\n| --- | ---: |\n{rows}\n")
    assert len(text) <= MOST_SLACK + 20
    assert text.endswith("```\n… (cut)")
