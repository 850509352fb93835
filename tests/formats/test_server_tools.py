"""Tools that providers run: calls by tool, and uses in the unit of their fee, in every vendor's format."""

from __future__ import annotations

from typing import Any

import pytest

from trisignal.call import Draft
from trisignal.formats import Format, StreamState
from trisignal.formats.anthropic_messages import MESSAGES
from trisignal.formats.bedrock_converse import CONVERSE
from trisignal.formats.gemini import GENERATE_CONTENT
from trisignal.formats.openai_chat import CHAT
from trisignal.formats.openai_responses import RESPONSES


def read(format: Format, reply: dict[str, Any]) -> tuple[Any, Any]:
    draft = Draft("chat")
    format.read_response(draft, reply)
    return draft.server_tools, draft.tool_uses


def folded(format: Format, *events: dict[str, Any]) -> tuple[Any, Any]:
    draft, state = Draft("chat"), StreamState(keep_content=False)
    for event in events:
        if format.look(event) & 4:
            format.fold(draft, state, event)
    format.end(draft, state)
    return draft.server_tools, draft.tool_uses


def response(*items: dict[str, Any], tools: Any = (), **usage: Any) -> dict[str, Any]:
    counts = {"input_tokens": 1, "output_tokens": 1, **usage}
    return {"object": "response", "status": "completed", "output": list(items), "tools": list(tools), "usage": counts}


def search(action: str = "search", **more: Any) -> dict[str, Any]:
    return {"type": "web_search_call", "status": "completed", "action": {"type": action}, **more}


def python(container: str) -> dict[str, Any]:
    return {"type": "code_interpreter_call", "status": "completed", "container_id": container}


@pytest.mark.parametrize(
    ("reply", "calls", "uses"),
    [
        (response(search(), search(), search()), {"web_search": 3}, {"web_search": 3}),
        (response(search(), search("open_page"), search("find_in_page")), {"web_search": 3}, {"web_search": 1}),
        (response(search(status="failed")), {"web_search": 1}, None),
        (response(search(), tools=[{"type": "web_search_preview"}]), {"web_search": 1}, {"web_search_preview": 1}),
        (response(python("a"), python("a"), python("b")), {"code_interpreter": 3}, {"container": 2}),
        (response({"type": "file_search_call", "status": "completed"}), {"file_search": 1}, {"file_search": 1}),
        (response({"type": "image_generation_call"}), {"image_generation": 1}, {"image_generation": 1}),
        (response({"type": "mcp_call"}, {"type": "mcp_list_tools"}), {"mcp": 1}, None),
        (response({"type": "function_call"}, {"type": "computer_call"}), None, None),
        (
            response(server_side_tool_usage_details={"x_search_calls": 8, "web_search_calls": 0}),
            {"x_search": 8},
            {"x_search": 8},
        ),
    ],
)
def test_responses(reply: dict[str, Any], calls: Any, uses: Any) -> None:
    """Items of a response: a fee for searches, not for opened pages; one for each container; none for failed calls."""
    assert read(RESPONSES, reply) == (calls, uses)


@pytest.mark.parametrize(
    ("content", "usage", "calls", "uses"),
    [
        (
            [],
            {"server_tool_use": {"web_search_requests": 3, "web_fetch_requests": 0}},
            {"web_search": 3},
            {"web_search": 3},
        ),
        ([], {"server_tool_use": {"web_fetch_requests": 2}}, {"web_fetch": 2}, None),
        ([{"type": "server_tool_use", "name": "bash_code_execution"}] * 2, {}, {"code_execution": 2}, None),
        ([{"type": "mcp_tool_use", "name": "echo"}], {}, {"mcp": 1}, None),
        ([{"type": "tool_use", "name": "mine"}], {"server_tool_use": None}, None, None),
    ],
)
def test_messages(content: Any, usage: Any, calls: Any, uses: Any) -> None:
    """Anthropic counts searches in the usage, and has a block for each other call."""
    reply = {"content": content, "usage": {"input_tokens": 1, "output_tokens": 1, **usage}}
    assert read(MESSAGES, reply) == (calls, uses)
    block = [{"type": "content_block_start", "index": i, "content_block": part} for i, part in enumerate(content)]
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1, **usage}}
    assert folded(MESSAGES, *block, end) == (calls, uses)


def test_grounding() -> None:
    """Gemini: each query counts, and the prompt once; maps, files, pages and code are tools of their own."""
    grounding = {"webSearchQueries": ["a", "b"], "groundingChunks": [{"maps": {"uri": "x"}}]}
    parts = {"parts": [{"executableCode": {"code": "1"}}, {"codeExecutionResult": {}}, {"text": "x"}]}
    pages = {"urlMetadata": [{"retrievedUrl": "x"}]}
    candidate = {"content": parts, "groundingMetadata": grounding, "urlContextMetadata": pages}
    calls, uses = read(GENERATE_CONTENT, {"candidates": [candidate]})
    assert calls == {"code_execution": 1, "web_search": 2, "google_maps": 1, "url_context": 1}
    assert uses == {"web_search": 2, "google_maps": 1, "grounded_prompt": 1}
    again = {"candidates": [{"groundingMetadata": grounding}]}
    assert folded(GENERATE_CONTENT, again, again)[0] == {"web_search": 2, "google_maps": 1}
    files = {"candidates": [{"groundingMetadata": {"groundingChunks": [{"retrievedContext": {"text": "x"}}]}}]}
    assert read(GENERATE_CONTENT, files) == ({"file_search": 1}, None)


@pytest.mark.parametrize(
    ("message", "usage", "calls"),
    [
        ({"executed_tools": [{"type": "search"}, {"type": "visit"}]}, {}, {"web_search": 1, "visit_website": 1}),
        ({}, {"server_tool_use": {"web_search_requests": 2}}, {"web_search": 2}),
        ({}, {"num_search_queries": 18}, {"web_search": 18}),
        ({}, {"connectors": {"web_search": 1}}, {"web_search": 1}),
        ({}, {"server_side_tools_used": ["SERVER_SIDE_TOOL_WEB_SEARCH"] * 2}, {"web_search": 2}),
    ],
)
def test_chat(message: Any, usage: Any, calls: Any) -> None:
    """Groq lists what was executed; OpenRouter, Perplexity, Mistral and xAI count in the usage."""
    counts = {"prompt_tokens": 1, "completion_tokens": 1, **usage}
    assert read(CHAT, {"choices": [{"message": message}], "usage": counts}) == (calls, calls)


def test_converse() -> None:
    """Bedrock marks what it ran itself."""
    used = {"toolUse": {"name": "nova_grounding", "type": "server_tool_use", "toolUseId": "1"}}
    own = {"toolUse": {"name": "mine", "toolUseId": "2"}}
    reply = {"output": {"message": {"content": [used, own]}}, "stopReason": "end_turn"}
    assert read(CONVERSE, reply) == ({"web_search": 1}, {"web_search": 1})


def test_iterations_are_priced_by_model() -> None:
    """Requests inside a message have a model of their own; the totals leave advisors out."""
    inner = [
        {"type": "message", "input_tokens": 1000, "output_tokens": 30},
        {"type": "advisor_message", "model": "other", "input_tokens": 2000, "output_tokens": 800},
    ]
    draft = Draft("chat", provider="anthropic")
    usage = {"input_tokens": 1000, "output_tokens": 30, "iterations": inner}
    MESSAGES.read_response(draft, {"model": "first", "usage": usage})
    assert [(model, part.input, part.output) for model, part in draft.by_model] == [
        ("first", 1000, 30),
        ("other", 2000, 800),
    ]
    assert draft.usage is not None
    assert (draft.usage.input, draft.usage.output) == (1000, 30)


def test_a_breakdown_is_priced_by_model() -> None:
    """Groq's compound systems name the model of each request inside."""
    parts = [{"model": name, "usage": {"prompt_tokens": 10, "completion_tokens": 1}} for name in ("a", "b")]
    draft = Draft("chat", provider="groq")
    reply = {
        "choices": [],
        "usage": {"prompt_tokens": 20, "completion_tokens": 2},
        "usage_breakdown": {"models": parts},
    }
    CHAT.read_response(draft, reply)
    assert [model for model, _ in draft.by_model] == ["a", "b"]
