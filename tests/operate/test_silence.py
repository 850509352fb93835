"""What looks like a fault to a rule and is none, beside one that is: nights, gaps in scrapes, restarts, what is new.

Needs ``promtool``, which comes with Prometheus (Debian: ``apt-get install prometheus``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from operate.scenes import DAY, HOUR, QUARTER, Scene, Series, Stage, growing, then
from operate.test_rules import needed, needs_promtool, plan_of, promtool, unit_test

PLAN = plan_of("1.41")
STAGE = Stage(PLAN)
BARE = {"gen_ai_operation_name": "", "gen_ai_provider_name": "", "model": ""}
PAGE = "LlmAvailabilityBudgetPage"


def traffic() -> Iterator[tuple[str, str, Scene]]:
    """Nights, and calls that fail or end when there is no past to compare them with."""
    step, half = 5, 12 * HOUR // 5
    quiet = STAGE.requests(
        f"0+10x{half} {10 * half}x{half} {10 * half}+10x{half} {20 * half}x{half}", growing(0, 4 * half)
    )
    stops = STAGE.requests(f"0+10x{2 * half} {20 * half}x{2 * half}", growing(0, 4 * half))
    yield "a night without calls in the first week", "LlmTrafficStopped", Scene(stops, quiet, 40 * HOUR, step)

    def begins(failing: int) -> list[Series]:
        bad = "0 " + " ".join(str(min(n * failing, 3 if failing < 100 else n * failing)) for n in range(1, 60))
        return STAGE.requests(growing(100 - min(failing, 100) + 0, 60), bad)

    yield "three failures among the first calls", PAGE, Scene(begins(100), begins(1), 4)
    restarted = STAGE.requests("0+100x300 0+100x60", "0+0.01x300 0+0.01x60")
    fails = STAGE.requests("0+100x300 0+50x60", "0+0.01x300 0+50x60")
    yield "counters that begin again at a restart", PAGE, Scene(fails, restarted, 320)
    one, other = (STAGE.requests(values, growing(0, 300), instance=name)
                  for name, values in (("a", growing(100, 300)), ("b", "0+100x200 _x100")))  # fmt: skip
    none = STAGE.requests(then((100, 200), (0, 100)), growing(0, 300), instance="a")
    yield "one worker of two that is gone", "LlmTrafficStopped", Scene(none, [*one, *other], 280)


def capacity() -> Iterator[tuple[str, str, Scene]]:
    """Queues in which nobody measures waits, and a cache of few calls."""
    stands = [STAGE.series("queue_depth", "40x60", queue="jobs", **BARE)]
    moves = [STAGE.series("queue_depth", " ".join(str(40 + 10 * (n % 3)) for n in range(60)), queue="jobs", **BARE)]
    yield "a queue that is taken from, with unmeasured waits", "LlmQueueStuck", Scene(stands, moves, 50)

    def cached(calls_per_min: float) -> list[Series]:
        parts = (("hit", 80, 0), ("miss", 20, 100))
        tokens = [STAGE.series("prompt_cache", then((before, DAY), (after, 180)), result=result)
                  for result, before, after in parts]  # fmt: skip
        return [*tokens, *STAGE.requests(then((10, DAY), (calls_per_min, 180)), growing(0, DAY + 180))]

    yield "a prompt cache that few calls ask", "LlmPromptCacheFell", Scene(cached(10), cached(0.1), DAY + 160)


def money() -> Iterator[tuple[str, str, Scene]]:
    """A tenant that is new, and a day's money that is spent."""
    bucket, week = {"llm_cost_bucket": "output"}, 7 * DAY // QUARTER

    def cost(values: str, model: str, tenant: str) -> Series:
        return STAGE.series("cost", values, model=model, tenant=tenant, **bucket)

    old = cost(growing(1, week + 8), "gpt-4o", "acme")
    new = [cost(f"_x{week} 0+10x8", model, "globex") for model in ("gpt-9", "gpt-4o")]
    yield (
        "a new tenant of a known model",
        "LlmNewModelCosts",
        Scene([old, new[0]], [old, new[1]], 7 * DAY + 105, QUARTER),
    )
    spends = [STAGE.series("cost", growing(1, DAY + 60), **bucket)]
    has_spent = [STAGE.series("cost", then((1, 600), (0, DAY - 540)), **bucket)]
    yield "money that was spent hours ago", "LlmBudgetBurn", Scene(spends, has_spent, DAY)


def scores_and_losses() -> Iterator[tuple[str, str, Scene]]:
    """A prompt with few scores, and counters that come back after a gap."""
    prompt = {"gen_ai_prompt_name": "support", "gen_ai_prompt_version": "7", "evaluation": "faithfulness"}
    none = {"gen_ai_operation_name": "", "gen_ai_provider_name": "", "gen_ai_request_model": ""}
    before, after = 3 * DAY // QUARTER, 12 * HOUR // QUARTER

    def scored(later: float) -> list[Series]:
        count = STAGE.series("quality_score", then((10, before), (later, after)), "_count", **prompt, **none)
        return [count, STAGE.series("quality_score", then((9, before), (later * 0.6, after)), "_sum", **prompt, **none)]

    yield (
        "few scores of a prompt",
        "LlmPromptQualityDrift",
        Scene(scored(10), scored(0.2), 3 * DAY + 11 * HOUR, QUARTER),
    )
    for alert, key, name in (("LlmRedactionFailures", "redaction_failures", "detector"),
                             ("LlmTelemetryErrors", "internal_errors", "site")):  # fmt: skip
        gap, appears = (
            [STAGE.series(key, values, **BARE, **{name: "x"})] for values in ("7x60 _x30 7x60", "_x90 7x60")
        )
        yield "an old count after a gap in scrapes", alert, Scene(appears, gap, 95)


CASES = [*traffic(), *capacity(), *money(), *scores_and_losses()]


@needs_promtool
@pytest.mark.parametrize(("_what", "alert", "scene"), CASES, ids=[f"{alert}: {what}" for what, alert, _ in CASES])
def test_what_only_looks_like_a_fault_is_none(_what: str, alert: str, scene: Scene, tmp_path: Path) -> None:
    """The alert fires under the fault, and under what looks like it there is silence."""
    file = needed(PLAN, alert)
    (tmp_path / "rules.json").write_text(json.dumps(file))
    content = {
        "rule_files": [str(tmp_path / "rules.json")],
        "group_eval_order": [group["name"] for group in file["groups"]],
        "evaluation_interval": f"{scene.step}m",
        "tests": [
            unit_test("fires", alert, scene.fires, scene, 1),
            unit_test("silent", alert, scene.silent, scene, 0),
        ],
    }
    (tmp_path / "tests.json").write_text(json.dumps(content))
    promtool("test", "rules", str(tmp_path / "tests.json"))
