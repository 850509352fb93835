"""Settings of single alerts in the plan: switch, severity, hold, labels and threshold, everywhere or where labels match."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from operate.scenes import Series, Stage, growing
from operate.test_rules import needs_promtool, promtool

from trisignal.errors import ConfigError
from trisignal.operate import objectives, rule_files
from trisignal.operate.rules import Rule

MINUTES = 40
OFF_UNTIL_GIVEN = {"LlmBudgetBurn", "LlmCacheHitRatioLow"}


def alerts(values: dict[str, Any]) -> dict[str, list[Rule]]:
    """The alerts of a plan by name."""
    found: dict[str, list[Rule]] = {}
    for group in rule_files.groups(objectives.of(values)):
        for rule in group.rules:
            if isinstance(rule, Rule):
                found.setdefault(rule.alert, []).append(rule)
    return found


def firing(values: dict[str, Any], alert: str, series: list[Series], expected: Iterable[str], folder: Path) -> None:
    """Let promtool check which series of an alert fire.

    Args:
        values: The plan.
        alert: Name of the alert.
        series: What is scraped.
        expected: Labels of the firing alerts, as promtool writes them.
        folder: For its files.
    """
    rules, tests = folder / "rules.json", folder / "tests.json"
    rules.write_text(json.dumps(rule_files.plain(objectives.of(values))))
    labels = "job, model, provider, severity, team"
    expr = f'count by ({labels}) (ALERTS{{alertname="{alert}", alertstate="firing"}})'
    asked = {
        "expr": expr,
        "eval_time": f"{MINUTES}m",
        "exp_samples": [{"labels": one, "value": 1} for one in expected],
    }
    one = {
        "interval": "1m",
        "input_series": [{"series": name, "values": text} for name, text in series],
        "promql_expr_test": [asked],
    }
    order = [group["name"] for group in rule_files.plain(objectives.of(values))["groups"]]
    tests.write_text(
        json.dumps({"rule_files": [str(rules)], "group_eval_order": order, "evaluation_interval": "1m", "tests": [one]})
    )
    promtool("test", "rules", str(tests))


def failing(job: str, model: str = "gpt-4o", share: float = 0.2) -> list[Series]:
    """Calls of a service, of which a share fails."""
    stage = Stage(objectives.RulesPlan())
    ok, error = growing(100 * (1 - share), 60), growing(100 * share, 60)
    return stage.requests(ok, error, job=job, gen_ai_request_model=model)


@needs_promtool
def test_two_services_alert_each_for_itself(tmp_path: Path) -> None:
    """Of two services behind one Prometheus that use the same model, the failing one alerts, and says which it is."""
    expected = ['{job="shop", model="gpt-4o", provider="openai", severity="critical"}']
    for alert in ("LlmErrorRatioHigh", "LlmAvailabilityBudgetPage"):
        firing({}, alert, [*failing("shop"), *failing("desk", share=0)], expected, tmp_path)


@needs_promtool
def test_overrides_hold_for_the_series_that_match(tmp_path: Path) -> None:
    """The first override that matches decides threshold, severity, labels and switch; the rest keeps the default."""
    overrides = [
        {"match": {"job": "batch", "model": "gpt-4o-mini"}, "enabled": False},
        {"match": {"job": "batch"}, "threshold": 0.3},
        {"match": {"job": ["desk", 'it\'s "q"']}, "severity": "warning", "labels": {"team": "desk"}},
    ]
    plan = {"alerts": {"LlmErrorRatioHigh": {"overrides": overrides, "labels": {"team": "ml"}}}}
    series = [
        *failing("shop"),
        *failing("batch", "gpt-4o-mini", 0.9),
        *failing("batch", "gpt-4o", 0.2),
        *failing("batch", "o3", 0.4),
        *failing("desk"),
    ]
    rest = 'provider="openai", severity="critical", team="ml"}'
    expected = [
        f'{{job="shop", model="gpt-4o", {rest}',
        f'{{job="batch", model="o3", {rest}',
        '{job="desk", model="gpt-4o", provider="openai", severity="warning", team="desk"}',
    ]
    firing(plan, "LlmErrorRatioHigh", series, expected, tmp_path)


@needs_promtool
def test_promtool_and_vmalert_take_a_plan_with_everything(tmp_path: Path) -> None:
    """promtool finds no mistake, not even of style, and vmalert's own parser takes it, where it is installed."""
    plan = {
        "dimensions": ["tenant"],
        "evaluations": {"faithfulness": {}, "toxicity": {"higher_is_better": False}},
        "thresholds": {"budget_usd_per_day": 10, "cache_hit_ratio": 0.2},
        "quantiles": [0.5, 0.999],
        "objectives": {"availability": {"target": 0.99, "leave_out": ["content_filter", "context_length"]}},
        "alerts": {name: {"overrides": [{"match": {"job": "batch"}, "threshold": 0.3}]} for name in alerts({})},
    }
    file = tmp_path / "rules.json"
    file.write_text(json.dumps(rule_files.plain(objectives.of(plan))))
    promtool("check", "rules", "--lint=all", "--lint-fatal", str(file))
    if vmalert := shutil.which("vmalert"):
        command = [vmalert, "-dryRun", f"-rule={file}", "-datasource.url=http://127.0.0.1:1"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr[-2000:]


@needs_promtool
def test_an_objective_may_be_lower_for_one_model(tmp_path: Path) -> None:
    """The threshold of an alert on an objective is the promised share, for the series that match."""
    overrides = [{"match": {"model": "free-tier"}, "threshold": 0.5}]
    plan = {"alerts": {"LlmAvailabilityBudgetPage": {"overrides": overrides}}}
    series = [*failing("shop", "free-tier"), *failing("shop")]
    expected = ['{job="shop", model="gpt-4o", provider="openai", severity="critical"}']
    firing(plan, "LlmAvailabilityBudgetPage", series, expected, tmp_path)


@needs_promtool
@pytest.mark.parametrize("leave_out", [[], ["invalid_request", "context_length"]])
def test_what_callers_cause_can_be_left_out_of_availability(leave_out: list[str], tmp_path: Path) -> None:
    """Refused and too long requests are not failures where the plan says so, and failures otherwise."""
    stage = Stage(objectives.RulesPlan())
    wrong = stage.series("errors", growing(10, 60), llm_error_kind="invalid_request")
    long = stage.series("errors", growing(10, 60), llm_error_kind="other", error_type="context_length_exceeded")
    plan = {"objectives": {"availability": {"target": 0.999, "leave_out": leave_out}}}
    page = '{job="shop", model="gpt-4o", provider="openai", severity="critical"}'
    series = [*failing("shop"), *((name.replace("chat-api", "shop"), text) for name, text in (wrong, long))]
    firing(plan, "LlmAvailabilityBudgetPage", series, [] if leave_out else [page], tmp_path)


@pytest.mark.parametrize("alert", sorted(set(alerts({})) | OFF_UNTIL_GIVEN))
def test_every_alert_can_be_switched_off_and_changed(alert: str) -> None:
    """Each alert takes severity, hold, labels and threshold, and goes when it is switched off."""
    given = {"severity": "info", "for": "77m", "labels": {"team": "ml"}, "threshold": 0.42}
    for one in alerts({"alerts": {alert: given}})[alert]:
        assert (one.severity, one.hold, one.labels["team"]) == ("info", "77m", "ml")
    assert alert not in alerts({"alerts": {alert: {"enabled": False}}})


def test_what_needs_a_number_is_off_without_it() -> None:
    """Budgets and hit ratios that nobody gave alert nobody; nor does an evaluation that is not named."""
    default = set(alerts({}))
    assert not default & (OFF_UNTIL_GIVEN | {"LlmQualityLow", "LlmQualityBudgetPage"})
    assert set(alerts({"alerts": {name: {"threshold": 0.5} for name in OFF_UNTIL_GIVEN}})) >= OFF_UNTIL_GIVEN
    assert {"LlmQualityLow", "LlmQualityBudgetPage"} <= set(alerts({"evaluations": {"toxicity": {}}}))


@needs_promtool
@pytest.mark.parametrize("said_by", ["plan", "scores"])
@pytest.mark.parametrize("alert", ["LlmQualityLow", "LlmQualityBudgetPage"])
def test_an_evaluation_has_a_direction(alert: str, said_by: str, tmp_path: Path) -> None:
    """Where a low score is good, low scores are silent and high ones alert; others alert only if the plan names them."""
    labelled = {"match": {"model": "rude"}, "severity": "warning" if alert == "LlmQualityLow" else "critical"}
    plan = {
        "evaluations": {
            "toxicity": {"higher_is_better": False} if said_by == "plan" else {},
            "helpfulness": {"limit": 0.5},
        },
        "alerts": {alert: {"overrides": [labelled]}},
    }
    stage = Stage(objectives.RulesPlan())
    bare = {"gen_ai_operation_name": "", "gen_ai_provider_name": ""}

    def scored(evaluation: str, score: float, model: str) -> list[Series]:
        bounds = (0.2, 0.5, 0.8, 1.0)
        counts = {str(bound): 10.0 if score <= bound else 0.0 for bound in bounds}
        labels = {**bare, "gen_ai_request_model": model, "evaluation": evaluation}
        if said_by == "scores":
            labels["better"] = "lower" if evaluation == "toxicity" else "higher"
        return stage.histogram("quality_score", 60, counts, 10 * score, **labels)

    series = [
        *scored("toxicity", 0.02, "kind"),
        *scored("toxicity", 0.9, "rude"),
        *scored("helpfulness", 0.4, "lazy"),
        *scored("helpfulness", 0.7, "keen"),
        *scored("brevity", 0.1, "chatty"),
    ]
    severity = "warning" if alert == "LlmQualityLow" else "critical"
    expected = [f'{{job="chat-api", model="{model}", severity="{severity}"}}' for model in ("rude", "lazy")]
    firing(plan, alert, series, expected, tmp_path)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"alerts": {"LlmErrorsRatioHigh": {}}}, "did you mean LlmErrorRatioHigh?"),
        ({"alerts": {"LlmErrorRatioHigh": {"tresh": 1}}}, "alerts.LlmErrorRatioHigh.tresh"),
        ({"alerts": {"LlmErrorRatioHigh": {"for": "10 minutes"}}}, "not a duration"),
        ({"alerts": {"LlmErrorRatioHigh": {"severity": "page"}}}, "'critical', 'warning' or 'info'"),
        ({"alerts": {"LlmErrorRatioHigh": {"labels": {"app.io/x": "1"}}}}, "is not a label name"),
        ({"labels": {"severity": "page"}}, "set by the rules"),
        ({"alerts": {"LlmQueueDeep": {"overrides": [{"match": {"model": "x"}}]}}}, "labels of this alert: job"),
        ({"alerts": {"LlmQueueDeep": {"overrides": [{"match": {}}]}}}, "overrides.0.match"),
        ({"source_labels": ["model"]}, "cannot name a service"),
        ({"evaluations": {"toxicity": {"limit": 0.33}}}, "not a bucket bound"),
        ({"objectives": {"availability": {"target": 0.9, "leave_out": ["server"]}}}, "'invalid_request'"),
    ],
)
def test_wrong_settings_are_named(values: dict[str, Any], said: str) -> None:
    """The error names the setting and what is allowed."""
    with pytest.raises(ConfigError) as raised:
        rule_files.groups(objectives.of(values))
    assert said in str(raised.value)


def test_every_alert_links_to_its_dashboard() -> None:
    """`dashboard_url` names a dashboard that exists, and chooses the alert's service and model."""
    pytest.importorskip("grafana_foundation_sdk")
    from trisignal.operate import dashboards

    plan = objectives.of({"dashboard_base_url": "https://grafana.example/", "dimensions": ["tenant"]})
    uids = {page.uid for page in dashboards.pages(plan)}
    for group in rule_files.plain(plan)["groups"]:
        for rule in group["rules"]:
            if "alert" in rule:
                url = rule["annotations"]["dashboard_url"]
                assert url.removeprefix("https://grafana.example/d/").partition("?")[0] in uids
                assert "{{ with $labels.job }}&var-service={{ . | urlquery }}{{ end }}" in url
