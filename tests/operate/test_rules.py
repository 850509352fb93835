"""Rules, judged by Prometheus' own tool: every alert fires when it should and is silent when it should be.

Needs ``promtool``, which comes with Prometheus (Debian: ``apt-get install prometheus``).
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from operate.scenes import Scene, Series, all_scenes

from trisignal.operate import objectives, rule_files
from trisignal.operate.rules import Record, Rule

PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
PROFILES = ("1.41", "2026-10")


def plan_of(profile: str) -> objectives.RulesPlan:
    """The plan that is tested: the defaults, with one dimension, two evaluations, and what is off without a number."""
    return objectives.of(
        {
            "metric_profile": profile,
            "dimensions": ["tenant"],
            "evaluations": {"faithfulness": {}, "toxicity": {"higher_is_better": False}},
            "thresholds": {"budget_usd_per_day": 100, "cache_hit_ratio": 0.3},
        }
    )


def promtool(*arguments: str) -> None:
    """Run it; its complaint is the failure."""
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


def alerts_of(plan: objectives.RulesPlan) -> dict[str, Rule]:
    """All alerts by name."""
    return {rule.alert: rule for group in rule_files.groups(plan) for rule in group.rules if isinstance(rule, Rule)}


def needed(plan: objectives.RulesPlan, alert: str) -> dict[str, Any]:
    """The rule file with nothing in it but an alert and the series that it is made of."""
    records = [rule for group in rule_files.groups(plan) for rule in group.rules if isinstance(rule, Record)]
    wanted: list[Record] = []
    text = alerts_of(plan)[alert].expr
    while more := [record for record in records if record not in wanted and _is_read(record, text)]:
        wanted += more
        text += " ".join(record.expr for record in more)
    names = {(record.record, record.labels.get("slo")) for record in wanted}
    file = rule_files.plain(plan)
    for group in file["groups"]:
        group["rules"] = [
            rule
            for rule in group["rules"]
            if rule.get("alert") == alert or (rule.get("record"), rule.get("labels", {}).get("slo")) in names
        ]
    file["groups"] = [group for group in file["groups"] if group["rules"]]
    return file


def _is_read(record: Record, text: str) -> bool:
    """Whether an expression reads a recorded series: by its name, unless it asks for another objective's."""
    slo = record.labels.get("slo", "")
    return re.search(rf'{record.record}(?![\w:])(?!{{slo="(?!{slo}"))', text) is not None


def unit_test(name: str, alert: str, series: list[Series], scene: Scene, firing: int) -> dict[str, Any]:
    """One of promtool's tests: how many alerts of a name fire."""
    return {
        "name": name,
        "interval": f"{scene.step}m",
        "input_series": [{"series": selector, "values": values} for selector, values in series],
        "promql_expr_test": [
            {
                "expr": f'count(ALERTS{{alertname="{alert}", alertstate="firing"}})',
                "eval_time": f"{scene.minutes}m",
                "exp_samples": [{"labels": "{}", "value": firing}] if firing else [],
            }
        ],
    }


@needs_promtool
@pytest.mark.parametrize("profile", PROFILES)
def test_rules_are_valid(profile: str, tmp_path: Path) -> None:
    """promtool accepts the file in both profiles, with and without dimensions."""
    for number, plan in enumerate((plan_of(profile), objectives.of({"metric_profile": profile}))):
        file = tmp_path / f"{number}.json"
        file.write_text(json.dumps(rule_files.plain(plan)))
        promtool("check", "rules", str(file))


def test_no_group_is_larger_than_mimir_takes() -> None:
    """However many dimensions and quantiles a plan has: 20 rules in a group, in their order, under names of their own."""
    dimensions = [f"dimension_{number}" for number in range(12)]
    plan = objectives.of(
        {"dimensions": dimensions, "evaluations": {"faithfulness": {}}, "quantiles": [0.5, 0.9, 0.999]}
    )
    groups = rule_files.groups(plan)
    assert max(len(group.rules) for group in groups) == 20
    assert len({group.name for group in groups}) == len(groups) <= 70
    recorded = [rule.record for group in groups for rule in group.rules if isinstance(rule, Record)]
    assert recorded.index("llm:cost:hourly_usd") < recorded.index("llm:cohort_cost:hourly_usd")


@pytest.mark.parametrize("profile", PROFILES)
def test_every_alert_has_a_scene(profile: str) -> None:
    """No alert goes untested, and no scene is about an alert that is gone."""
    plan = plan_of(profile)
    assert set(all_scenes(plan)) == set(alerts_of(plan))


@needs_promtool
@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("alert", sorted(alerts_of(plan_of("1.41"))))
def test_alert_fires_when_it_should_and_only_then(alert: str, profile: str, tmp_path: Path) -> None:
    """Under one scene the alert fires, under a like one without the trouble it does not."""
    plan = plan_of(profile)
    scene: Scene = all_scenes(plan)[alert]
    rules = tmp_path / "rules.json"
    file = needed(plan, alert)
    rules.write_text(json.dumps(file))
    tests = {
        "rule_files": [str(rules)],
        # promtool takes groups in any order, and where steps are long an older value is out of sight.
        "group_eval_order": [group["name"] for group in file["groups"]],
        "evaluation_interval": f"{scene.step}m",
        "tests": [
            unit_test("fires", alert, scene.fires, scene, 1),
            unit_test("silent", alert, scene.silent, scene, 0),
            unit_test("no traffic", alert, [], scene, 1 if alert == "LlmNoData" else 0),
        ],
    }
    unit_tests = tmp_path / "tests.json"
    unit_tests.write_text(json.dumps(tests))
    promtool("test", "rules", str(unit_tests))


@pytest.mark.parametrize("profile", PROFILES)
def test_every_alert_tells_what_to_do(profile: str) -> None:
    """Each alert has a severity, a text with its value, and a runbook."""
    plan = plan_of(profile)
    runbooks = (Path(__file__).parents[2] / "docs" / "runbooks.md").read_text(encoding="utf-8")
    for name, alert in alerts_of(plan).items():
        assert f"{{#{rule_files.anchor(alert)}}}" in runbooks
        assert alert.severity in ("critical", "warning", "info")
        assert alert.summary
        assert "$value" in alert.description or name in ("LlmNoData",)


def test_a_runbook_is_found_for_any_dimension() -> None:
    """Alerts on cohorts lead to one runbook, whatever the dimension is called."""
    alerts = alerts_of(objectives.of({"dimensions": ["team", "prompt_family"]}))
    anchors = {rule_files.anchor(alerts[name]) for name in ("LlmTeamCohortDrop", "LlmPromptFamilyCohortDrop")}
    assert anchors == {"llm-cohort-drop"}


@pytest.mark.parametrize("profile", PROFILES)
def test_recorded_series_carry_short_labels(profile: str) -> None:
    """Recorded series are named llm:…, and show no label of the conventions that has a short form."""
    for group in rule_files.groups(plan_of(profile)):
        for rule in group.rules:
            if isinstance(rule, Record):
                assert rule.record.startswith("llm:")
                assert "by (gen_ai_request_model" not in rule.expr
