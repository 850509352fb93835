"""One call, one count: real frameworks, clients and other instrumentations at once, each in an environment of its own.

``make coexistence`` (or ``nox -s coexistence``) makes the environments and runs these tests; without them they are skipped.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ENVIRONMENTS = os.environ.get("TRISIGNAL_ENVIRONMENTS", "")
HERE = Path(__file__).parent


class Scenario(NamedTuple):
    """One script, and what its report must tell beyond the counts."""

    name: str
    environment: str
    """Folder of its environment; "" for the one that runs the tests."""
    agents: int = 0
    tools: int = 0
    conversation: bool = False
    """Whether the model calls of the agent carry the framework's conversation id."""


SCENARIOS = (
    Scenario("enclosed", "", agents=1, conversation=True),
    Scenario("openllmetry", "openllmetry"),
    Scenario("openinference", "openinference"),
    Scenario("official", "official"),
    Scenario("anthropic_native", "anthropic"),
    Scenario("langchain", "langchain", agents=1, tools=1, conversation=True),
    Scenario("llama_index", "llama_index", agents=1, tools=1),
    Scenario("openai_agents", "openai_agents", agents=2, tools=2, conversation=True),
    Scenario("pydantic_ai", "pydantic_ai", agents=2, tools=2, conversation=True),
    Scenario("litellm", "litellm"),
    Scenario("mcp_tool", "openai_agents", agents=1, tools=1),
)


def report_of(scenario: Scenario) -> dict[str, Any]:
    """Run a scenario in its environment."""
    python = Path(sys.executable)
    if scenario.environment:
        if not ENVIRONMENTS:
            pytest.skip("needs the environments of make coexistence (TRISIGNAL_ENVIRONMENTS)")
        python = Path(ENVIRONMENTS) / scenario.environment / "bin" / "python"
    here = {"PYTHONPATH": os.pathsep.join([str(HERE.parents[1] / "src"), str(HERE.parent)])}
    done = subprocess.run(
        [str(python), "-m", f"coexistence.scenarios.{scenario.name}"],
        env={**os.environ, **here, "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    [line] = [line for line in done.stdout.splitlines() if line.startswith("REPORT ")]
    report: dict[str, Any] = json.loads(line[7:])
    return report


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_each_call_is_counted_once(scenario: Scenario) -> None:
    """Calls and tokens counted are those that the provider answered; agents and tools stand around them."""
    report = report_of(scenario)
    sent = report["sent"]
    assert sent["calls"] == report["calls"]
    assert report["counted"] == sent
    assert report["all_requests"] == sent["calls"]
    assert report["retries"] == report["failures_sent"]
    assert (report["usage_missing"], report["internal_errors"], report["active"]) == (0, 0, 0)
    assert report["cost_usd"] > 0
    assert (report["agents"], report["tools"]) == (scenario.agents, scenario.tools)
    failed = [span for span in report["spans"] if span["scope"] == "trisignal" and "error.type" in span]
    assert failed == [], "every call succeeded, so nothing around one has failed"
    with_tokens = [span for span in report["spans"] if "gen_ai.usage.input_tokens" in span]
    assert len(with_tokens) == sent["calls"], "the exported trace adds up"
    _check_agents(report["spans"], scenario)


def _check_agents(spans: list[dict[str, Any]], scenario: Scenario) -> None:
    """Model calls inside of an agent are in its trace, and know the agent and its conversation.

    A framework's own span around a client's call carries that call.
    """
    by_id = {span["id"]: span for span in spans}
    calls = [
        span for span in spans if span.get("gen_ai.operation.name") == "chat" and "gen_ai.usage.input_tokens" in span
    ]
    inside = 0
    for call in calls:
        around = by_id.get(call["parent"])
        while around is not None and around.get("gen_ai.operation.name") != "invoke_agent":
            around = by_id.get(around["parent"])
        if around is None:
            continue
        inside += 1
        assert call["trace"] == around["trace"]
        assert call.get("gen_ai.agent.name") == "planner"
        assert ("gen_ai.conversation.id" in call) == scenario.conversation
    assert (inside > 0) == (scenario.agents > 0)
