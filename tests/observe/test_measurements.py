"""Queues, caches, evaluations, feedback and the summary."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from measured import MEASURED
from observed import current

import trisignal
from trisignal.errors import ConfigError
from trisignal.testing import FakeClock, Seen, capture

SOURCE = str(Path(trisignal.__file__).parents[1])
REPLY = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "gpt-4o-2024-08-06",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100},
}


# --- queues ------------------------------------------------------------------------------------------


def test_a_queue_tells_depth_and_wait() -> None:
    """The depth goes up and down, and the wait is the time between the two."""
    clock = FakeClock(step_s=0)
    with capture(clock=clock) as seen:
        queue = trisignal.queue("jobs")
        first, second = queue.put(), queue.put({"mine": "kept"})
        assert second["mine"] == "kept"
        assert seen.value("llm_queue_depth", queue="jobs") == 2
        clock.advance(1.5)
        with queue.get(first):
            pass
        assert seen.value("llm_queue_depth", queue="jobs") == 1
        assert seen.value("llm_queue_wait_seconds_sum", queue="jobs") == pytest.approx(1.5)
        with queue.get(second):
            pass
        assert seen.value("llm_queue_depth", queue="jobs") == 0
        assert seen.value("llm_queue_wait_seconds_count", queue="jobs") == 2


CONSUMER = """
import json, sys
import trisignal
from trisignal.testing import capture
with capture() as seen:
    with trisignal.queue("jobs").get(json.load(sys.stdin)):
        with trisignal.llm(model="m"):
            pass
        told = [trisignal.request_id(), trisignal.current_call().ref]
    [call], [line] = seen.calls, seen.logs
    waits = seen.value("llm_queue_wait_seconds_count")
    print(json.dumps([*told, call.trace_id, seen.span.parent.span_id, line, waits]))
"""


def test_a_carrier_crosses_processes_as_json(seen: Seen) -> None:
    """A consumer in another process continues the producer's trace, request id and bound values."""
    with trisignal.context(request_id="r-1", tenant="acme"), trisignal.workflow("w") as call:
        carrier = json.dumps(trisignal.queue("jobs").put())
    environ = {**MEASURED, "PYTHONPATH": SOURCE, "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-c", CONSUMER], input=carrier, env=environ, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    request_id, ref, trace_id, parent, line, waits = json.loads(done.stdout)
    assert (request_id, ref, waits) == ("r-1", {}, 1)
    assert (trace_id, f"{parent:016x}") == (call.trace_id, call.ref["span_id"])
    assert (line["request_id"], line["tenant"], line["trace_id"]) == ("r-1", "acme", call.trace_id)


def test_the_consumers_own_context_comes_back(seen: Seen) -> None:
    """After the block the consumer has its own values and spans again, also when the work failed."""
    queue = trisignal.queue("jobs")
    with trisignal.context(request_id="producer"):
        carrier = queue.put()
    with trisignal.context(request_id="consumer"), trisignal.workflow("w") as call:
        with pytest.raises(ZeroDivisionError), queue.get(carrier):
            assert trisignal.request_id() == "producer"
            raise ZeroDivisionError
        assert trisignal.request_id() == "consumer"
        assert current() == (call.ref["span_id"],) * 2


ODD = st.none() | st.text() | st.integers() | st.floats() | st.binary() | st.lists(st.text())


@settings(max_examples=50)
@given(mark=ODD | st.sampled_from(["9" * 400, "-" + "9" * 400, "1e9", "nan", "0x1", " 5 ", "9" * 5000]))
def test_a_hostile_carrier_disturbs_nobody(mark: Any) -> None:
    """Whatever stands for the time of enqueuing, the item is worked on, and no nonsense is measured."""
    with capture() as seen:
        ran = []
        with trisignal.queue("jobs").get({"x-trisignal-enqueued-ns": mark}):
            ran.append(1)
        assert ran == [1]
        assert math.isfinite(seen.value("llm_queue_wait_seconds_sum"))


@pytest.mark.parametrize("carrier", [{}, {"x-trisignal-enqueued-ns": ""}, {"x-trisignal-enqueued-ns": "9" * 19}])
def test_an_unknown_wait_is_not_measured(seen: Seen, carrier: dict[str, str]) -> None:
    """Without a usable time, or one in the future, there is no wait: unknown is not zero."""
    with trisignal.queue("jobs").get(carrier):
        pass
    assert seen.value("llm_queue_wait_seconds_count") == 0
    assert seen.value("llm_queue_depth", queue="jobs") == -1


# --- caches ------------------------------------------------------------------------------------------


def test_a_cache_tells_hits_and_misses(seen: Seen) -> None:
    """Every look-up is counted by cache and result."""
    answers, vectors = trisignal.cache("answers"), trisignal.cache("vectors")
    answers.hit()
    answers.hit()
    answers.miss()
    vectors.record(True)
    vectors.record(False)
    found = {
        (name, result): seen.value("llm_cache_requests_total", cache=name, result=result)
        for name in ("answers", "vectors")
        for result in ("hit", "miss")
    }
    assert found == {
        ("answers", "hit"): 2,
        ("answers", "miss"): 1,
        ("vectors", "hit"): 1,
        ("vectors", "miss"): 1,
    }


# --- verdicts ----------------------------------------------------------------------------------------


def test_an_evaluation_of_the_current_call(seen: Seen) -> None:
    """Without a reference the current call is judged; a bad score is an event on its span."""
    with trisignal.llm(model="m"):
        trisignal.evaluate("faithfulness", 0.25, label="poor", explanation="private")
        trisignal.evaluate("faithfulness", 0.75)
    found = {"evaluation": "faithfulness", "gen_ai_request_model": "m"}
    assert seen.value("llm_quality_score_count", **found) == 2
    assert seen.value("llm_quality_score_sum", **found) == 1
    [event] = seen.span.events
    assert (event.name, dict(event.attributes or {})) == (
        "gen_ai.evaluation.result",
        {
            "gen_ai.evaluation.name": "faithfulness",
            "gen_ai.evaluation.score.value": 0.25,
            "gen_ai.evaluation.score.label": "poor",
        },
    )


def test_an_evaluation_of_which_low_scores_are_good(seen: Seen) -> None:
    """Its series say so, and on the span stands the score that is bad: the high one."""
    with trisignal.llm(model="m"):
        trisignal.evaluate("toxicity", 0.02, higher_is_better=False)
        trisignal.evaluate("toxicity", 0.9, higher_is_better=False)
        trisignal.evaluate("faithfulness", 0.9)
    assert seen.value("llm_quality_score_count", evaluation="toxicity", better="lower") == 2
    assert seen.value("llm_quality_score_count", evaluation="faithfulness", better="higher") == 1
    [event] = seen.span.events
    assert (event.attributes or {})["gen_ai.evaluation.score.value"] == 0.9
    with pytest.raises(ConfigError, match=r"higher_is_better='no'.*allowed: True, False"):
        trisignal.evaluate("toxicity", 0.1, higher_is_better="no")  # type: ignore[arg-type]


def test_a_verdict_in_a_later_request(seen: Seen) -> None:
    """A reference that went through JSON names model and prompt, whatever call is current by then."""
    with trisignal.context(prompt_name="greet", prompt_version="3"), trisignal.llm(model="m") as call:
        ref = json.loads(json.dumps(call.ref))
    with trisignal.llm(model="other"), trisignal.context(prompt_name="other"):
        trisignal.evaluate("faithfulness", 0.25, ref=ref)
        trisignal.feedback(+1, ref=ref)
    labels = {"gen_ai_request_model": "m", "gen_ai_prompt_name": "greet", "gen_ai_prompt_version": "3"}
    assert seen.value("llm_quality_score_count", **labels) == 1
    assert seen.value("llm_feedback_total", rating="positive", **labels) == 1
    assert [span.events for span in seen.spans] == [(), ()]


def test_a_verdict_without_any_call(seen: Seen) -> None:
    """Outside of calls and without a reference a verdict is counted all the same."""
    trisignal.evaluate("faithfulness", 1)
    trisignal.feedback(False)
    assert seen.value("llm_quality_score_count", evaluation="faithfulness", gen_ai_request_model="") == 1
    assert seen.value("llm_feedback_total", rating="negative") == 1


RATINGS: list[tuple[Any, str]] = [
    (1, "positive"),
    (0, "neutral"),
    (-1, "negative"),
    (True, "positive"),
    (False, "negative"),
]


@pytest.mark.parametrize(("rating", "word"), RATINGS)
def test_ratings_have_words(seen: Seen, rating: Any, word: str) -> None:
    """Numbers and booleans become one of three words."""
    trisignal.feedback(rating)
    assert seen.value("llm_feedback_total") == seen.value("llm_feedback_total", rating=word) == 1


@pytest.mark.parametrize("rating", [2, -2, 0.5, "good", None])
def test_other_ratings_are_refused(rating: Any) -> None:
    """A rating that is none is an error of the caller, whether trisignal is set up or not."""
    with pytest.raises(ConfigError, match=r"rating=.*allowed: 1, 0, -1, True, False"):
        trisignal.feedback(rating)


@pytest.mark.parametrize("score", [-0.01, 1.01, math.nan, math.inf, 100])
def test_other_scores_are_refused(score: float) -> None:
    """A score outside of 0 to 1 is an error of the caller, whether trisignal is set up or not."""
    with pytest.raises(ConfigError, match=r"score=.*allowed: a number from 0 to 1"):
        trisignal.evaluate("faithfulness", score)


@settings(max_examples=50)
@given(ref=st.dictionaries(st.sampled_from(["model", "prompt_name", "trace_id", "span_id"]) | st.text(), ODD))
def test_a_hostile_reference_disturbs_nobody(ref: Any) -> None:
    """A reference comes from outside: nothing in it can raise, nor make labels of other types."""
    with capture() as seen:
        trisignal.evaluate("faithfulness", 0.1, ref=ref)
        trisignal.feedback(1, ref=ref)
        assert seen.value("llm_quality_score_count") == seen.value("llm_feedback_total") == 1


def test_names_and_labels_are_redacted(seen: Seen) -> None:
    """Whatever a caller puts into names is redacted before it becomes a label."""
    mail = "ann@example.com"
    trisignal.queue(mail).put()
    trisignal.cache(mail).hit()
    trisignal.evaluate(mail, 0.1, label=mail, ref={"model": mail, "prompt_name": mail})
    trisignal.feedback(1, ref={"prompt_version": mail})
    found = [sample.labels for family in seen.registry.collect() for sample in family.samples]
    assert mail not in str(found)
    assert "[REDACTED:email]" in str(found)


def test_nothing_is_measured_while_off() -> None:
    """Not set up or suppressed: nothing is recorded, and carriers still carry."""
    with trisignal.context(request_id="r-1"):
        assert trisignal.queue("jobs").put()["x-request-id"] == "r-1"
    with capture() as seen, trisignal.suppress():
        with trisignal.queue("jobs").get(trisignal.queue("jobs").put()):
            pass
        trisignal.cache("answers").hit()
        trisignal.evaluate("faithfulness", 0.1)
        trisignal.feedback(1)
        ours = [s for family in seen.registry.collect() for s in family.samples if s.name.startswith("llm_")]
        assert ours == []


# --- the summary -------------------------------------------------------------------------------------


def test_the_summary_adds_up() -> None:
    """Totals, error rate, cost and quantiles of the process, and of each model, the dearest first."""
    clock = FakeClock(step_s=0)

    @trisignal.llm(provider="openai", model="gpt-4o")
    def answer(seconds: float, error: BaseException | None = None) -> Any:
        clock.advance(seconds)
        if error is not None:
            raise error
        return REPLY

    with capture(clock=clock) as seen:
        for seconds in (1, 2, 3):
            answer(seconds)
        for error in (ValueError(), KeyboardInterrupt()):
            with pytest.raises(type(error)):
                answer(10, error)
        with trisignal.llm(provider="own", model="unpriced") as call:
            call.set_usage(input_tokens=5)
        with trisignal.tool("no model call"):
            pass
        total = trisignal.summary().total
        assert (total.calls, total.ok, total.error, total.cancelled, total.abandoned) == (6, 4, 1, 1, 0)
        assert (total.input_tokens, total.output_tokens) == (3005, 300)
        assert (total.error_rate, total.unpriced, total.usage_missing) == (1 / 6, 1, 0)
        assert total.cost_usd == pytest.approx(seen.value("llm_cost_usd_total"))
        dearest, other = trisignal.summary().models
        assert (dearest.operation, dearest.provider, dearest.request_model) == ("chat", "openai", "gpt-4o")
        assert (dearest.totals.calls, other.totals.calls) == (5, 1)
        assert dearest.totals.p50_s == pytest.approx(3, rel=0.05)
        assert dearest.totals.p99_s == pytest.approx(10, rel=0.05)


def test_the_summary_of_nothing() -> None:
    """Without setup, and before the first call, there are no totals and no invented quantiles."""
    for _ in range(2):
        total = trisignal.summary().total
        assert (total.calls, total.error_rate, total.p50_s, total.cost_usd) == (0, None, None, 0)
        assert trisignal.summary().models == ()
        trisignal.llm(lambda: None)()


def test_scores_and_ratings_carry_the_configured_dimensions() -> None:
    """They belong to the call that is judged, also when the verdict comes later, in another context."""
    with capture(metric_dimensions=["tenant"]) as seen:
        with trisignal.context(tenant="acme"), trisignal.llm(provider="openai", model="gpt-4o") as call:
            trisignal.evaluate("faithfulness", 0.9)
            ref = call.ref
        with trisignal.context(tenant="judges"):
            trisignal.evaluate("faithfulness", 0.4, ref=ref)
            trisignal.feedback(1, ref=ref)
            trisignal.evaluate("style", 0.4, ref={"model": "gpt-4o"})
        assert seen.value("llm_quality_score_count", evaluation="faithfulness", tenant="acme") == 2
        assert seen.value("llm_feedback_total", rating="positive", tenant="acme") == 1
        assert seen.value("llm_quality_score_count", evaluation="style", tenant="judges") == 1
