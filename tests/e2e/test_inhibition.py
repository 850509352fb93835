"""Alertmanager with the routing example: of the alerts that one cause raises, one is sent to the pager."""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml
from e2e.servers import ROOT, Alertmanager, get, wait_for
from loopback import Loopback, Recorded, Reply, json_reply

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

ONE = {"job": "shop", "provider": "openai", "model": "gpt-4o"}
CAUSES: dict[str, tuple[list[tuple[str, str, dict[str, str]]], set[str]]] = {
    "an outage": (
        [
            ("LlmAvailabilityBudgetPage", "critical", ONE),
            ("LlmErrorRatioHigh", "critical", ONE),
            ("LlmRateLimitBudgetPage", "critical", ONE),
            ("LlmChatLatencyBudgetPage", "critical", ONE),
            ("LlmProviderDown", "critical", {"job": "shop", "provider": "openai"}),
            ("LlmProviderProbeFails", "critical", {"job": "shop", "provider": "openai"}),
            ("LlmLatencyP95High", "warning", ONE),
        ],
        {"LlmAvailabilityBudgetPage"},
    ),
    "slowness": (
        [
            ("LlmChatLatencyBudgetPage", "critical", ONE),
            ("LlmFirstTokenBudgetPage", "critical", ONE),
            ("LlmLatencyP95High", "warning", ONE),
            ("LlmLatencyP99High", "warning", ONE),
        ],
        {"LlmChatLatencyBudgetPage"},
    ),
    "two services": (
        [
            ("LlmAvailabilityBudgetPage", "critical", ONE),
            ("LlmErrorRatioHigh", "critical", {**ONE, "job": "desk"}),
        ],
        {"LlmAvailabilityBudgetPage", "LlmErrorRatioHigh"},
    ),
    "a stuck queue": (
        [
            ("LlmQueueStuck", "critical", {"job": "shop", "queue": "jobs"}),
            ("LlmQueueDeep", "warning", {"job": "shop", "queue": "jobs"}),
        ],
        {"LlmQueueStuck"},
    ),
}
"""What fires, and what of it is sent."""


@pytest.mark.parametrize("cause", CAUSES)
def test_one_cause_is_one_page(cause: str, tmp_path: Path) -> None:
    """What follows from a cause is held back, as Alertmanager itself says of each alert."""
    firing, sent = CAUSES[cause]
    messages: list[dict[str, Any]] = []
    with Loopback() as webhook:

        def arrived(request: Recorded) -> Reply:
            messages.append(request.json())
            return json_reply({})

        webhook.handle(arrived)
        text = (ROOT / "examples" / "alertmanager.yml").read_text(encoding="utf-8")
        config = yaml.safe_load(re.sub(r"http://(\w+)\.example/\S*?(?=\")", rf"{webhook.url}/\1", text))
        config["route"].update(group_wait="2s", group_interval="2s")
        with Alertmanager(tmp_path / "alertmanager", config) as manager:
            url = f"http://{manager.address}/api/v2/alerts"
            body = [{"labels": {"alertname": name, "severity": how, **labels}} for name, how, labels in firing]
            headers = {"Content-Type": "application/json"}
            request = urllib.request.Request(url, json.dumps(body).encode(), headers)
            urllib.request.urlopen(request, timeout=60).close()

            def states() -> dict[str, str]:
                return {one["labels"]["alertname"]: one["status"]["state"] for one in json.loads(get(url))}

            wait_for(lambda: "unprocessed" not in states().values() and len(states()) == len(firing), "all alerts")
            wait_for(lambda: sent <= {one["labels"]["alertname"] for m in messages for one in m["alerts"]}, "pages")
            active = {name for name, state in states().items() if state == "active"}
    assert active == sent
    assert {one["labels"]["alertname"] for message in messages for one in message["alerts"]} == sent
