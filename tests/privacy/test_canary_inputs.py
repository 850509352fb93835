"""Canaries input by input: a leak names the input it came from."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import openai
import pytest
from loopback import Loopback, Reply, json_reply, sse
from privacy.leaving import ALL, MARKS, SECRETS, TEXT, WORD, leaving

import trisignal

HEADER = ";".join((SECRETS["email"], SECRETS["card"], SECRETS["api_key"]))
"""Secrets that fit into a header."""
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-mini",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14},
}


def ask(server: Loopback, reply: Reply, *, messages: Any = ({"role": "user", "content": "hi"},), **more: Any) -> Any:
    """One chat call to the loopback server."""
    server.play(reply)
    with openai.OpenAI(base_url=server.url + "/v1", api_key="x", max_retries=0) as client:
        made = client.chat.completions.create(model=more.pop("model", "gpt-4o-mini"), messages=list(messages), **more)
        return list(made) if more.get("stream") else made


def said(message: dict[str, Any]) -> Reply:
    """A completion with this message."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}
    return json_reply({**ANSWER, "choices": [choice]})


def streamed(*deltas: dict[str, Any]) -> Reply:
    """A stream of these deltas, with usage at its end."""
    head = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-mini"}
    chunks = [{**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    return Reply(
        200, {"content-type": "text/event-stream"}, sse(*chunks, {**head, "choices": [], "usage": ANSWER["usage"]})
    )


def halves(text: str, at: int) -> tuple[str, str]:
    """A text in two parts."""
    return text[:at], text[at:]


def prompt(server: Loopback) -> None:
    ask(server, json_reply(ANSWER), messages=[{"role": "user", "content": TEXT}])


def system_text(server: Loopback) -> None:
    ask(server, json_reply(ANSWER), messages=[{"role": "system", "content": TEXT}])


def tool_result_message(server: Loopback) -> None:
    ask(server, json_reply(ANSWER), messages=[{"role": "tool", "tool_call_id": "call_1", "content": TEXT}])


def answer(server: Loopback) -> None:
    ask(server, said({"content": TEXT}))


def models_tool_call(server: Loopback) -> None:
    function = {"name": "f", "arguments": json.dumps({"a": TEXT})}
    ask(server, said({"content": None, "tool_calls": [{"id": "call_1", "type": "function", "function": function}]}))


def answer_in_chunks(server: Loopback) -> None:
    for at in (5, len(ALL) // 2, len(ALL) - 30):
        first, second = halves(TEXT, at)
        ask(server, streamed({"role": "assistant", "content": first}, {"content": second}), stream=True)


def tool_call_in_chunks(server: Loopback) -> None:
    first, second = halves(json.dumps({"a": TEXT}), 20)
    opened = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": first}}
    deltas = {"tool_calls": [opened]}, {"tool_calls": [{"index": 0, "function": {"arguments": second}}]}
    ask(server, streamed(*deltas), stream=True)


def vendors_error(server: Loopback) -> None:
    body = {"error": {"message": TEXT, "type": "invalid_request_error", "code": SECRETS["email"], "param": ALL}}
    with pytest.raises(openai.BadRequestError) as raised:
        ask(server, json_reply(body, status=400))
    assert WORD in str(raised.value)


def decorated_tool(server: Loopback) -> None:
    @trisignal.tool("t")
    def tool(argument: str, *, other: str) -> dict[str, str]:
        return {"found": TEXT}

    tool(TEXT, other=TEXT)


def retrieval(server: Loopback) -> None:
    @trisignal.retrieval("index")
    def search(query: str) -> list[dict[str, str]]:
        return [{"id": "d1", "content": TEXT}]

    search(TEXT)


def exception_in_a_decorator(server: Loopback) -> None:
    @trisignal.tool("t")
    def tool() -> None:
        raise KeyError(TEXT)

    with pytest.raises(KeyError):
        tool()


def exception_in_a_block(server: Loopback) -> None:
    for block in (
        trisignal.llm(provider="p", model="m"),
        trisignal.agent("a"),
        trisignal.workflow("w"),
        trisignal.stage("s"),
    ):
        with pytest.raises(ValueError), block:
            try:
                raise OSError(TEXT)
            except OSError as cause:
                raise ValueError(TEXT) from cause


def explanation(server: Loopback) -> None:
    with trisignal.llm(provider="p", model="m"):
        trisignal.evaluate("e", 0.1, explanation=TEXT)


def comment(server: Loopback) -> None:
    with trisignal.llm(provider="p", model="m") as call:
        pass
    trisignal.feedback(-1, comment=TEXT, ref=call.ref)


CONTENT = (
    prompt, system_text, tool_result_message, answer, models_tool_call, answer_in_chunks, tool_call_in_chunks,
    vendors_error, decorated_tool, retrieval, exception_in_a_decorator, exception_in_a_block, explanation, comment,
)  # fmt: skip
"""Inputs that hold what people and models say."""


def model(server: Loopback) -> None:
    ask(server, json_reply({**ANSWER, "model": ALL, "id": ALL, "system_fingerprint": ALL}), model=ALL)


def request_parameters(server: Loopback) -> None:
    ask(server, json_reply(ANSWER), stop=[ALL], user=ALL, extra_headers={"x-request-id": HEADER, "x-note": HEADER})


def response_header(server: Loopback) -> None:
    headers = {"content-type": "application/json", "x-request-id": HEADER, "openai-organization": HEADER}
    ask(server, json_reply(ANSWER, headers=headers))
    with pytest.raises(openai.RateLimitError):
        ask(server, json_reply({"error": {"message": "no"}}, status=429, headers=headers))


def request_header(server: Loopback) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        with trisignal.llm(provider="p", model="m"):
            return []

    trisignal.WsgiRequestIdMiddleware(app)({"HTTP_X_REQUEST_ID": HEADER}, lambda *_: None)


def attribute(server: Loopback) -> None:
    with trisignal.llm(provider="p", model="m"):
        call = trisignal.current_call()
        call.set_attribute("note", ALL)
        call.set_attribute("notes", [ALL, ALL])
        call.set_attribute("object", {"deep": [ALL]})
        call.set_attribute(ALL, 1)


def bound_values(server: Loopback) -> None:
    bound = dict.fromkeys(
        ("request_id", "conversation_id", "user_id", "agent_name", "prompt_name", "prompt_version", "tenant", "other"),
        ALL,
    )
    with trisignal.context(**bound):
        ask(server, json_reply(ANSWER))
        trisignal.evaluate("e", 0.9)
        trisignal.feedback(1)


def carried_values(server: Loopback) -> None:
    with trisignal.context(tenant=ALL, user_id=ALL):
        carrier = trisignal.inject()
    with trisignal.continue_from(carrier), trisignal.llm(provider="p", model="m"):
        pass


def names(server: Loopback) -> None:
    trisignal.cache(ALL).hit()
    trisignal.cache(ALL).miss()
    queue = trisignal.queue(ALL)
    with queue.get(queue.put()):
        pass
    with trisignal.workflow(ALL), trisignal.agent(ALL, description=ALL), trisignal.stage(ALL):
        trisignal.tool(ALL)(int)()
        trisignal.retrieval(ALL)(list)()
        with trisignal.llm(provider=ALL, model=ALL):
            pass
        with pytest.raises(ValueError), trisignal.embeddings(provider=ALL, model=ALL):
            raise ValueError


def verdicts(server: Loopback) -> None:
    with trisignal.llm(provider="p", model="m"):
        trisignal.evaluate(ALL, 0.1, label=ALL)
    trisignal.evaluate(ALL, 0.9, label=ALL, ref={"model": ALL, "response_id": ALL, "prompt_name": ALL})


def limits(server: Loopback) -> None:
    for action in ("warn", "raise"):
        with trisignal.Budget(tokens=1, name=f"{ALL} {action}", action=action):  # type: ignore[arg-type]  # a word
            with trisignal.llm(provider="p", model="m") as call:
                call.set_usage(input_tokens=9, output_tokens=5)
            with suppress(trisignal.BudgetExceeded), trisignal.llm(provider="p", model="m"):
                pass
    with pytest.raises(trisignal.GuardExceeded), trisignal.guard(calls=1, name=ALL):
        for _ in range(2):
            trisignal.llm(provider="p", model="m")(int)()


METADATA = (
    model, request_parameters, response_header, request_header, attribute, bound_values, carried_values, names, verdicts,
    limits,
)  # fmt: skip
"""Inputs that name things: redacted, but told whatever the content setting."""

Plant = Callable[[Loopback], None]


def run(plant: Plant, server: Loopback) -> None:
    """Plant with the OpenAI client instrumented."""
    trisignal.instrument("openai")
    try:
        plant(server)
    finally:
        trisignal.uninstrument()


@pytest.mark.parametrize("content", ["no_content", "span_only", "event_only", "span_and_event"])
@pytest.mark.parametrize("plant", CONTENT + METADATA, ids=lambda plant: plant.__name__)
def test_no_secret_of_an_input_leaves(plant: Plant, content: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Whichever input holds them and whatever is captured, secrets are in no byte of any output."""
    with Loopback() as server, leaving(capture_content=content) as out:
        run(plant, server)
        assert any(len(data) > 100 for data in out.sent().values())
        assert out.leaks(*MARKS) == {}
    printed = "".join(capfd.readouterr())
    assert not [mark for mark in MARKS if mark in printed]


@pytest.mark.parametrize("plant", CONTENT, ids=lambda plant: plant.__name__)
def test_content_stays_at_home_unless_asked_for(plant: Plant, capfd: pytest.CaptureFixture[str]) -> None:
    """With content off a text that no detector knows is in no byte of any output."""
    with Loopback() as server, leaving() as out:
        run(plant, server)
        assert out.leaks(WORD) == {}
    assert WORD not in "".join(capfd.readouterr())


@pytest.mark.parametrize("plant", CONTENT + METADATA, ids=lambda plant: plant.__name__)
def test_every_input_is_told_where_nothing_is_redacted(plant: Plant) -> None:
    """Without detectors, content and secrets do leave: their absence above means something."""
    with Loopback() as server, leaving(capture_content="span_and_event", redact=[]) as out:
        run(plant, server)
        found = {mark for marks in out.leaks(*MARKS, WORD).values() for mark in marks}
    header = plant in (request_header, response_header)
    assert found >= set(HEADER.split(";") if header else MARKS)
    assert (WORD in found) == (plant in CONTENT)


def test_exemplars_are_among_the_outputs() -> None:
    """The exposition that is searched holds exemplars."""
    with Loopback() as server, leaving() as out:
        run(prompt, server)
        assert b"# {" in out.sent()["openmetrics"]


@pytest.mark.parametrize("plant", CONTENT, ids=lambda plant: plant.__name__)
def test_a_redactor_that_raises_fails_closed(plant: Plant) -> None:
    """Content that the redactor refused is in no output, the refusal is counted, and the application goes on."""

    def broken(text: str) -> str:
        if WORD in text:
            raise RuntimeError(text)
        return text

    with Loopback() as server, leaving(strict=False, capture_content="span_and_event", redactor=broken) as out:
        run(plant, server)
        assert out.leaks(WORD, *MARKS) == {}
        assert out.seen.value("llm_redaction_failures_total") > 0


def test_what_failed_closed_keeps_its_metadata() -> None:
    """Model and tokens of a call whose content was refused are told."""

    def broken(text: str) -> str:
        if WORD in text:
            raise RuntimeError(text)
        return text

    with Loopback() as server, leaving(strict=False, capture_content="span_only", redactor=broken) as out:
        run(prompt, server)
        (span,) = out.exporter.get_finished_spans()
        told = dict(span.attributes or {})
    assert told["gen_ai.request.model"] == "gpt-4o-mini"
    assert (told["gen_ai.usage.input_tokens"], told["gen_ai.usage.output_tokens"]) == (9, 5)
    assert "gen_ai.input.messages" not in told


@pytest.mark.parametrize("detector", SECRETS)
def test_a_hit_is_counted_under_its_detector(detector: str) -> None:
    """Each detector has a series, which moves when it finds something."""
    with leaving() as out:
        with trisignal.llm(provider="p", model="m") as call:
            call.set_attribute("note", SECRETS[detector])
        assert out.seen.value("llm_redactions_total", detector=detector) == 1
        assert out.seen.value("llm_redactions_total") == 1


def test_the_address_of_the_server_is_told() -> None:
    """Where the server answers is exempt: operations would be blind without it."""
    with Loopback() as server, leaving() as out:
        run(prompt, server)
        (span,) = out.exporter.get_finished_spans()
        assert (span.attributes or {})["server.address"] == "127.0.0.1"


@pytest.mark.parametrize("way", ["context", "carrier"])
def test_names_of_bound_values_are_redacted(way: str) -> None:
    """Names of bound values come from callers and from carriers, so they are redacted like the values."""
    with leaving() as out:
        carrier = {"x-trisignal-context": json.dumps({ALL: "v"})}
        with trisignal.context(**{ALL: "v"}) if way == "context" else trisignal.continue_from(carrier):
            with trisignal.llm(provider="p", model="m"):
                pass
        assert out.leaks(*MARKS) == {}
