"""What looks like a fault to a rule and is none, beside one that is: nights, gaps in scrapes, restarts, what is new.

Needs ``promtool``, which comes with Prometheus (Debian: ``apt-get install prometheus``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from operate.scenes import DAY, HOUR, QUARTER, Scene, Series, Stage, growing, then
from operate.test_rules import needed, needs_promtool, plan_of, promtool, unit_test

PLAN = plan_of("1.41")
STAGE = Stage(PLAN)
BARE = {"gen_ai_operation_name": "", "gen_ai_provider_name": "", "model": ""}
PAGE = "LlmAvailabilityBudgetPage"


def paced(*stretches: tuple[float, float]) -> str:
    """A counter that grows by so many a step for so many hours, at one pace after the other; a step is 5 minutes."""
    parts, total = [], 0.0
    for per_step, hours in stretches:
        steps = int(hours * HOUR / STEP)
        parts.append(f"{total:g}+{per_step:g}x{steps - 1}")
        total += per_step * steps
    return " ".join(parts)


STEP = 5
DAY_AND_NIGHT = ((50, 12), (0, 12))
WEEK = (*DAY_AND_NIGHT * 2, (0, 48), *DAY_AND_NIGHT * 3)
"""It begins on a Thursday, as the time of Unix does."""


def rests() -> Iterator[tuple[str, Scene]]:
    """Services without calls: some have stopped, and some rest."""

    def scene(fires: tuple[tuple[float, float], ...], silent: tuple[tuple[float, float], ...], hours: float) -> Scene:
        one, other = (STAGE.requests(paced(*given, (0, 24)), "0x3000") for given in (fires, silent))
        return Scene(one, other, int(hours * HOUR), STEP)

    def all_day(given: float) -> tuple[tuple[float, float], ...]:
        return ((50, given),)

    fading = tuple((pace, 1.0) for pace in (40, 25, 12, 6, 3, 1))
    yield "a first evening", scene(all_day(4), (*all_day(3), *fading), 12)
    yield "a first night after a day's work", scene(all_day(4), DAY_AND_NIGHT[:1], 16)
    yield "a night, when there is a yesterday", scene(all_day(24), DAY_AND_NIGHT, 40)
    yield "a first Saturday", scene((*DAY_AND_NIGHT * 2, (50, 6)), DAY_AND_NIGHT * 2, 2 * 24 + 8)
    yield "a second Saturday", scene(DAY_AND_NIGHT * 9, (*WEEK, *DAY_AND_NIGHT * 2), 9 * 24 + 6)
    hourly = ((50, 0.25), (0, 0.75))
    yield "a batch every hour", scene((*hourly * 30, (0, 4)), hourly * 40, 33.75)
    yield "the first run of a batch", scene(all_day(1), ((0, 1), (50, 1)), 5)
    two_hours = ((0, 3), (50, 2), (0, 19))
    yield "a batch every night", scene((*two_hours, (0, 24)), two_hours * 2, 24 + 4.5)
    # Clocks are set back: everybody comes an hour later.
    yield "an hour that is moved", scene(WEEK, (*WEEK, (0, 1), (50, 2)), 7 * 24 + 1.9)


def moves() -> Iterator[tuple[str, Scene]]:
    """A provider that is called no more because another one is."""

    def two(one: tuple[tuple[float, float], ...], other: tuple[tuple[float, float], ...]) -> list[Series]:
        series = STAGE.requests(paced(*one, (0, 24)), "0x3000")
        return series + STAGE.requests(paced(*other, (0, 24)), "0x3000", gen_ai_provider_name="anthropic")

    # Days after the move the other provider's own yesterday has all the calls.
    yield (
        "calls that move to another provider",
        Scene(
            two(((50, 9 * 24),), ((25, 11 * 24),)),
            two(((50, 9 * 24),), ((5, 9 * 24), (55, 48))),
            (9 * 24 + 30) * HOUR,
            STEP,
        ),
    )


def traffic() -> Iterator[tuple[str, str, Scene]]:
    """Nights, and calls that fail or end when there is no past to compare them with."""
    yield from ((what, "LlmTrafficStopped", scene) for what, scene in (*rests(), *moves()))
    vanished = "0+50x36 _x200"
    yield (
        "a process that ends",
        "LlmTrafficStopped",
        Scene(STAGE.requests("0+50x36 1800x200", "0x236"), STAGE.requests(vanished, "0x36 _x200"), 8 * HOUR, STEP),
    )

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
LONGEST = 5 * DAY // STEP
"""Evaluations; what takes more is for the night."""


def cases() -> Iterator[Any]:
    """All scenes, with the marks of those that take long."""
    for what, alert, scene in CASES:
        long = scene.minutes // scene.step > LONGEST
        yield pytest.param(alert, scene, id=f"{alert}: {what}", marks=[pytest.mark.nightly] if long else [])


@needs_promtool
@pytest.mark.parametrize(("alert", "scene"), cases())
def test_what_only_looks_like_a_fault_is_none(alert: str, scene: Scene, tmp_path: Path) -> None:
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
