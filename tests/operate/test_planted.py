"""Planted faults in virtual time: each raises its alerts in time and one page, and nothing else does.

Needs ``promtool``, which comes with Prometheus (Debian: ``apt-get install prometheus``).
"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from operate import outages, planted, week
from operate.test_rules import needs_promtool
from operate.virtual import Firing


@needs_promtool
@pytest.mark.timeout(1800)
def test_faults_raise_what_they_should(tmp_path: Path) -> None:
    """Each in time, as long as it lasts, with the pages that are due, and nothing in a service without a fault."""
    firings = planted.world().firing(tmp_path)
    rows = [row for fault in planted.FAULTS for row in planted.judge(fault, firings)]
    assert [row for row in rows if not row.right] == []
    assert [one for one in firings if one.labels.get("job") == "calm"] == []


@needs_promtool
@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_a_quiet_day_pages_nobody(tmp_path: Path) -> None:
    """With 6, 60 and 600 calls an hour and failures here and there nothing is critical in a day."""
    judged = week.firing(24, tmp_path)
    assert sum(one.failed for one in judged) > 20
    assert [one.pages for one in judged] == [0] * len(judged)


@needs_promtool
@pytest.mark.timeout(1800)
def test_an_outage_is_one_page_and_ends_with_it(tmp_path: Path) -> None:
    """However long it is, whatever part of the calls fails, and how many there are: no page is missing or comes after."""
    some = [one for one in outages.few() if one.rate in (60, 600)][::2]
    judged = outages.judged(some, tmp_path)
    assert [one for one in judged if one.wrong] == []
    assert sum(len(one.pages) for one in judged) >= 3


@needs_promtool
@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_outages_of_every_size(tmp_path: Path) -> None:
    """The same for few and for many calls, and for outages that happen twice."""
    assert [one for one in outages.judged(outages.few(), tmp_path) if one.wrong] == []


def test_inhibition_has_no_circle() -> None:
    """No chain of the routing example's rules leads from an alert back to itself, which would silence both."""
    config = yaml.safe_load((planted.ROOT / "examples" / "alertmanager.yml").read_text(encoding="utf-8"))
    every = [Firing(name, labels, 0, 1, 1, 1) for name, labels in planted.alert_labels(planted.PLAN)]
    silences: dict[str, set[str]] = {}
    for rule in config["inhibit_rules"]:
        sources = [one for one in every if planted.matches(rule["source_matchers"], one)]
        targets = [one for one in every if planted.matches(rule["target_matchers"], one)]
        assert sources, rule
        assert targets, rule
        for source in sources:
            silences.setdefault(source.name, set()).update(target.name for target in targets)
    for name in silences:
        reached, ahead = set(), set(silences[name])
        while ahead:
            one = ahead.pop()
            reached.add(one)
            ahead |= silences.get(one, set()) - reached
        assert name not in reached, name
