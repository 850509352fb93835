"""Runbooks: they name metrics that exist, and their queries lead to the cause that was planted.

Needs ``promtool``, which comes with Prometheus (Debian: ``apt-get install prometheus``).
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from operate import causes
from operate.test_rules import needs_promtool

from trisignal import semconv as names
from trisignal.operate import objectives, rule_files
from trisignal.operate.rules import Record, Rule


def _anchors() -> dict[str, str]:
    """The anchor of each alert's runbook."""
    rules = [rule for group in rule_files.groups(causes.PLAN) for rule in group.rules if isinstance(rule, Rule)]
    return {rule.alert: rule_files.anchor(rule) for rule in rules}


def test_queries_are_about_metrics_that_exist() -> None:
    """Each metric and each recorded series that a query reads is one of ours."""
    metrics = {metric.prometheus_name for metric in names.profile("1.41").values()}
    plan = objectives.of({"dimensions": ["tenant"], "evaluations": {"faithfulness": {}}})
    recorded = {rule.record for group in rule_files.groups(plan) for rule in group.rules if isinstance(rule, Record)}
    labels = {name.replace(".", "_") for metric in names.profile("1.41").values() for name in metric.labels}
    for anchor, queries in causes.runbooks().items():
        for query in queries:
            for name in re.findall(r"\b(?:llm|gen_ai|trisignal)[:_][\w:]+", query):
                known = re.sub(r"_(bucket|count|sum)$", "", name) in metrics or name in metrics | recorded | labels
                assert known, f"{anchor}: {name}"


def test_queries_keep_the_service() -> None:
    """Whoever reads them sees of which service an answer is, and can add dimensions after it."""
    for anchor, queries in causes.runbooks().items():
        for query in queries:
            for by in re.findall(r"by \(([^)]*)\)", query):
                assert "job" in by.split(", "), f"{anchor}: {query}"


BATCHES = [causes.CAUSES[start : start + 6] for start in range(0, len(causes.CAUSES), 6)]
"""promtool's tests load few samples at a time."""


@needs_promtool
@pytest.mark.timeout(600)
@pytest.mark.parametrize("chosen", BATCHES, ids=lambda chosen: chosen[0].alert)
def test_queries_lead_to_the_planted_cause(chosen: tuple[causes.Cause, ...], tmp_path: Path) -> None:
    """The alert fires for the service that has the cause, and the first series of its runbook's query names it."""
    runbooks, anchors = causes.runbooks(), _anchors()
    firing = 'ALERTS{alertstate="firing"}'
    asked = [causes.widened(query) for cause in chosen for query in runbooks[anchors[cause.alert]]]
    rules = causes.rules([*asked, *(cause.alert for cause in chosen)])
    answers = causes.world(chosen).answers(tmp_path, rules, [firing, *asked], causes.ASKED)
    fired = {(labels["alertname"], labels.get("job")) for labels, _ in answers[firing]}
    lost = []
    for cause in chosen:
        if cause.fires and (cause.alert, causes.job_of(cause)) not in fired:
            lost.append(f"{cause.what}: {cause.alert} does not fire")
        rows = list(causes.leads(cause, answers, runbooks[anchors[cause.alert]]))
        if not any(cause.named.items() <= row.lead.items() for row in rows):
            lost.append(f"{cause.what}: {rows or 'no query answers'}")
    assert lost == []
