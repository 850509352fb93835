"""``trisignal rules``: what it writes, and what it says of wrong input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

testing = pytest.importorskip("click.testing")
pytest.importorskip("rich")
yaml = pytest.importorskip("yaml")

from trisignal import cli  # noqa: E402 - needs the extra


def run(*arguments: str) -> Any:
    """Run the command in this process."""
    return testing.CliRunner().invoke(cli.group(), ["rules", *arguments])


def rules(text: str) -> list[dict[str, Any]]:
    """All rules of a plain file."""
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]


def test_it_prints_a_rule_file() -> None:
    """Without options: recorded series and alerts of the default plan on standard output."""
    done = run()
    assert done.exit_code == 0
    names = {rule.get("record") or rule["alert"] for rule in rules(done.stdout)}
    assert {"llm:availability:ratio", "llm:latency:p95", "llm:cost:hourly_usd", "LlmAvailabilityBudgetPage"} <= names


def test_it_writes_a_file_and_says_how_much(tmp_path: Path) -> None:
    """With ``--output`` the file has the rules, and one line on stderr counts them."""
    file = tmp_path / "rules.yml"
    done = run("--output", str(file))
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == f"{file}: {len(rules(file.read_text()))} rules\n"


def test_operator_objects_carry_the_labels() -> None:
    """A PrometheusRule with the same rules and a ServiceMonitor, named and labelled as given."""
    labels = ("--label", "release=prometheus", "--label", "app.kubernetes.io/part-of=shop")
    done = run("--format", "prometheus-operator", "--name", "chat-api", *labels)
    rule, monitor = yaml.safe_load_all(done.stdout)
    assert [rule["kind"], monitor["kind"]] == ["PrometheusRule", "ServiceMonitor"]
    for entity in (rule, monitor):
        assert entity["metadata"]["name"] == "chat-api"
        assert entity["metadata"]["labels"]["release"] == "prometheus"
        assert entity["metadata"]["labels"]["app.kubernetes.io/part-of"] == "shop"
    assert rule["spec"]["groups"] == yaml.safe_load(run(*labels[:2]).stdout)["groups"]
    assert monitor["spec"]["selector"]["matchLabels"] == {"app.kubernetes.io/name": "chat-api"}


def test_labels_reach_every_alert() -> None:
    """``--label`` is on each alert of a rule file, and on no recorded series."""
    for rule in rules(run("--label", "team=ml").stdout):
        assert rule.get("labels", {}).get("team") == ("ml" if "alert" in rule else None)


def test_a_plan_changes_the_rules(tmp_path: Path) -> None:
    """Objectives that are null have no rules; dimensions are labels; the option beats the file's profile."""
    plan = tmp_path / "plan.json"
    evaluations = {"faithfulness": {}}
    given = {"dimensions": ["tenant"], "objectives": {"quality": None}, "evaluations": evaluations}
    plan.write_text(json.dumps({**given, "metric_profile": "1.41"}))
    written = rules(run("--config", str(plan), "--profile", "2026-10").stdout)
    alerts = {rule["alert"]: rule for rule in written if "alert" in rule}
    assert "LlmQualityBudgetPage" not in alerts
    assert "LlmTenantCohortDrop" in alerts
    assert any("gen_ai_client_inference_duration_seconds" in rule["expr"] for rule in written)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
        (["--label", "release"], "KEY=VALUE"),
        (["--label", "app.kubernetes.io/part-of=x"], "is not a label name"),
        (["--label", "severity=page"], "set by the rules"),
        (["--profile", "1.0"], "1.41"),
        (["--output", "no/such/folder/rules.yml"], "a file that can be written"),
        (["--config", "{folder}/wrong.json"], "objectives.availability.target"),
    ],
)
def test_wrong_input_is_one_line(arguments: list[str], said: str, tmp_path: Path) -> None:
    """What is wrong is named with what is allowed, in one line; the exit code is 2."""
    (tmp_path / "wrong.json").write_text(json.dumps({"objectives": {"availability": {"target": 99.9}}}))
    done = run(*(argument.format(folder=tmp_path) for argument in arguments))
    assert done.exit_code == 2
    assert done.stdout == ""
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
