"""Runs of Claude agents, from their messages alone: spans, tokens and cost."""

from __future__ import annotations

from typing import Any

import pytest
from clients.claude_agent_sdk.messages import INIT, MODEL, delegated, reply, result, returned, said, sums, uses

import trisignal
from trisignal.clients.frameworks.claude_agent_sdk import Session
from trisignal.testing import Seen


def play(*messages: dict[str, Any], session: Session | None = None) -> Session:
    """Have a session take messages."""
    session = session or Session()
    for message in messages:
        session.take(message)
    return session


def tree(seen: Seen) -> set[tuple[str, str]]:
    """Names of spans with those of their parents."""
    names = {span.context.span_id: span.name for span in seen.spans}
    return {(span.name, names.get(span.parent.span_id, "") if span.parent else "") for span in seen.spans}


def tokens(seen: Seen, side: str, **labels: str) -> float:
    """Counted tokens."""
    return seen.value("gen_ai_client_token_usage_sum", gen_ai_token_type=side, **labels)


def test_a_run_is_one_trace(seen: Seen) -> None:
    """Agent, replies, tools and sub-agents are nested as they ran; what repeats an id is one reply."""
    with trisignal.workflow("job"):
        play(*delegated())
    assert tree(seen) == {
        ("invoke_workflow job", ""),
        ("invoke_agent claude", "invoke_workflow job"),
        (f"chat {MODEL}", "invoke_agent claude"),
        ("execute_tool Agent", "invoke_agent claude"),
        ("invoke_agent Explore", "execute_tool Agent"),
        (f"chat {MODEL}", "invoke_agent Explore"),
        ("execute_tool Bash", "invoke_agent Explore"),
    }
    assert len({span.context.trace_id for span in seen.spans}) == 1
    chats = [span for span in seen.spans if span.name.startswith("chat")]
    assert {(span.attributes or {})["gen_ai.agent.name"] for span in chats} == {"claude", "Explore"}
    assert len(chats) == seen.value("llm_requests_total") == 4
    outcomes = {span.name: (span.attributes or {}).get("llm.outcome", "ok") for span in seen.spans}
    assert outcomes["execute_tool Bash"] == "error"
    assert outcomes["execute_tool Agent"] == outcomes["invoke_agent claude"] == "ok"
    assert seen.value("gen_ai_invoke_agent_inference_calls_sum", gen_ai_agent_name="Explore") == 2


def test_tokens_and_cost_are_those_of_the_result(seen: Seen) -> None:
    """Sums by model, sub-agents and helper models included, and the total cost are what the CLI reports."""
    play(*delegated())
    assert tokens(seen, "input", gen_ai_request_model=MODEL) == 4 * 1110
    assert tokens(seen, "output", gen_ai_request_model=MODEL) == 373
    assert tokens(seen, "input", gen_ai_request_model="claude-haiku-4-5-20251001") == 511
    assert seen.value("llm_cost_usd_total") == pytest.approx(0.05)
    assert seen.value("llm_cost_usd_total", gen_ai_request_model=MODEL) == pytest.approx(0.04)
    chats = [dict(span.attributes or {}) for span in seen.spans if span.name.startswith("chat")]
    assert sum(chat["gen_ai.usage.output_tokens"] for chat in chats) == 373
    assert {chat["llm.cost.source"] for chat in chats} == {"provider"}
    agent = next(dict(span.attributes or {}) for span in seen.spans if span.name == "invoke_agent claude")
    assert agent["llm.run.cost_usd"] == 0.05
    assert agent["llm.usage.other_models.output_tokens"] == 14
    assert "gen_ai.usage.output_tokens" not in agent


@pytest.mark.parametrize(
    ("end", "outcome", "error_type", "kind"),
    [
        ({}, "ok", "", ""),
        ({"stop_reason": "max_tokens"}, "ok", "", ""),
        ({"is_error": True, "api_error_status": 529}, "error", "api_error", "overloaded"),
        ({"subtype": "error_during_execution"}, "error", "error_during_execution", "other"),
        ({"subtype": "error_max_turns", "is_error": True}, "error", "error_max_turns", "other"),
        ({"subtype": "error_during_execution", "terminal_reason": "aborted_streaming"}, "cancelled", "", ""),
    ],
)
def test_outcomes(seen: Seen, end: dict[str, Any], outcome: str, error_type: str, kind: str) -> None:
    """Subtype and flag of the result decide together, as neither does alone."""
    play(INIT, reply("m1", said("42")), result(**end))
    line = next(line for line in seen.logs if line["gen_ai.operation.name"] == "invoke_agent")
    assert (line["llm_outcome"], line.get("error.type", ""), line.get("llm_error_kind", "")) == (
        outcome,
        error_type,
        kind,
    )


def test_a_budget_stop_without_replies(seen: Seen) -> None:
    """Tokens that only the sums by model have are counted; usage is zero then, and says nothing."""
    model = {"inputTokens": 2, "outputTokens": 964, "cacheReadInputTokens": 18_774, "cacheCreationInputTokens": 4380}
    usage = {"input_tokens": 0, "output_tokens": 0}
    play(INIT, result(0.0779, subtype="error_max_budget_usd", usage=usage, modelUsage={"claude-opus-5[1m]": model}))
    assert tokens(seen, "output", gen_ai_request_model="claude-opus-5") == 964
    assert seen.value("llm_cost_usd_total") == pytest.approx(0.0779)


def test_an_old_cli_without_sums_by_model(seen: Seen) -> None:
    """Usage and total of the result serve then."""
    usage = {
        "input_tokens": 337,
        "cache_creation_input_tokens": 33_704,
        "cache_read_input_tokens": 286_445,
        "output_tokens": 4075,
    }
    play(INIT, reply("m1", said("I look.")), result(0.21, usage=usage))
    assert tokens(seen, "input") == 337 + 33_704 + 286_445
    assert tokens(seen, "output") == 4075
    assert seen.value("llm_cost_usd_total") == pytest.approx(0.21)


def test_partial_messages(seen: Seen) -> None:
    """They have the true output of each reply, and its first token."""

    def event(**fields: Any) -> dict[str, Any]:
        return {"type": "stream_event", "event": fields, "parent_tool_use_id": None, "session_id": "s-1"}

    play(
        INIT,
        event(type="message_start", message={"id": "m1"}),
        event(type="content_block_delta", delta={"type": "text_delta", "text": "4"}),
        reply("m1", uses("t1", "Read")),
        event(type="message_delta", delta={"stop_reason": "tool_use"}, usage={"output_tokens": 120}),
        returned("t1"),
        event(type="message_start", message={"id": "m2"}),
        reply("m2", said("42")),
        event(type="message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 30}),
        result(modelUsage={MODEL: sums(2, 150, 0.05)}),
    )
    chats = [dict(span.attributes or {}) for span in seen.spans if span.name.startswith("chat")]
    assert [chat["gen_ai.usage.output_tokens"] for chat in chats] == [120, 30]
    assert [chat["gen_ai.response.finish_reasons"] for chat in chats] == [("tool_use",), ("end_turn",)]
    assert seen.value("llm_time_to_first_token_seconds_count") == 1


def test_sums_that_go_on_over_runs(seen: Seen) -> None:
    """A session's later result may hold the earlier runs, too: each is counted once."""
    session = play(INIT, reply("m1", said("1")), result(0.01, modelUsage={MODEL: sums(1, 20, 0.01)}))
    play(INIT, reply("m2", said("2")), result(0.03, modelUsage={MODEL: sums(2, 50, 0.03)}), session=session)
    assert tokens(seen, "output") == 50
    assert tokens(seen, "input") == 2 * 1110
    assert seen.value("llm_cost_usd_total") == pytest.approx(0.03)


def test_sums_that_begin_anew(seen: Seen) -> None:
    """And may not."""
    session = play(INIT, reply("m1", said("1")), result(0.01, modelUsage={MODEL: sums(1, 20, 0.01)}))
    play(INIT, reply("m2", said("2")), result(0.02, modelUsage={MODEL: sums(1, 30, 0.02)}), session=session)
    assert tokens(seen, "output") == 50
    assert seen.value("llm_cost_usd_total") == pytest.approx(0.03)


def test_a_process_that_dies(seen: Seen) -> None:
    """What was seen is recorded: the agent failed, its tools were left."""
    session = play(INIT, reply("m1", uses("t1", "Bash")))
    session.end(RuntimeError("exit code 1"))
    outcomes = {span.name: (span.attributes or {}).get("llm.outcome", "ok") for span in seen.spans}
    assert outcomes == {"invoke_agent claude": "error", "execute_tool Bash": "error", f"chat {MODEL}": "error"}
    assert tokens(seen, "input") == 1110


@pytest.mark.parametrize(
    ("reason", "kind"),
    [("rate_limit", "rate_limit"), ("authentication_failed", "auth"), ("server_error", "server"), ("unknown", "other")],
)
def test_a_reply_that_the_cli_writes_in_place_of_one_that_failed(seen: Seen, reason: str, kind: str) -> None:
    """It is a failed call of the requested model, which took no tokens and gets no part of the cost."""
    failed = reply("x1", said("API Error"))
    failed["message"] |= {"model": "<synthetic>", "usage": {"input_tokens": 0, "output_tokens": 0}}
    failed["error"] = reason
    end = result(0.01, is_error=True, modelUsage={MODEL: sums(1, 20, 0.01)})
    play(INIT, reply("m1", said("1")), failed, end)
    assert seen.value("llm_requests_total", gen_ai_request_model=MODEL) == seen.value("llm_requests_total") == 2
    assert seen.value("llm_errors_total", llm_error_kind=kind, error_type=reason) == 1
    assert seen.value("llm_usage_missing_total") == 0
    chats = [dict(span.attributes or {}) for span in seen.spans if span.name.startswith("chat")]
    assert [chat.get("gen_ai.usage.cost") for chat in chats] == [0.01, None]


def test_a_text_of_the_clis_own(seen: Seen) -> None:
    """Without a reason it stands for no call of a model."""
    own = reply("x1", said("No response requested."))
    own["message"]["model"] = "<synthetic>"
    play(INIT, reply("m1", said("1")), own, result(0.01, modelUsage={MODEL: sums(1, 20, 0.01)}))
    assert seen.value("llm_requests_total") == 1


@pytest.mark.parametrize(
    "message", [{}, {"type": "system", "subtype": "new"}, {"type": "rate_limit_event"}, {"type": "user"}]
)
def test_messages_that_are_not_known(seen: Seen, message: dict[str, Any]) -> None:
    """They begin nothing, and disturb nothing."""
    session = play(message)
    assert session.run is None
    play(INIT, message, reply("m1", said("1")), message, result(), session=session)
    assert seen.value("llm_requests_total") == 1
