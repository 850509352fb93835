"""The openai client against servers of other makers: tokens, finish, and who is named."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from clients.compatible.servers import INPUT, MODEL, OUTPUT, SERVERS, USAGE, Server, chunk
from loopback import Loopback, Reply, sse

import trisignal
from trisignal import providers, testing

_ASKED: Any = {"model": MODEL, "messages": [{"role": "user", "content": "Really?"}]}
_STREAM: Any = {**_ASKED, "stream": True, "stream_options": {"include_usage": True}}


def _client(server: Loopback) -> openai.OpenAI:
    return openai.OpenAI(api_key="none", base_url=f"{server.url}/v1", max_retries=0)


def _tokens(seen: testing.Seen) -> tuple[object, object]:
    [span] = seen.spans
    told = span.attributes or {}
    return told.get("gen_ai.usage.input_tokens"), told.get("gen_ai.usage.output_tokens")


@pytest.mark.parametrize("server", SERVERS, ids=lambda server: server.name)
@pytest.mark.parametrize("streamed", [False, True])
def test_tokens_are_those_that_the_server_told(server: Server, streamed: bool) -> None:
    """Usage is read once, wherever the server puts it, and what it adds of its own disturbs nothing."""
    with Loopback() as loopback, testing.capture() as seen, _client(loopback) as client:
        trisignal.instrument("openai")
        loopback.play(server.streamed if streamed else server.whole)
        if streamed:
            list(client.chat.completions.create(**_STREAM))
        else:
            client.chat.completions.create(**_ASKED)
        assert _tokens(seen) == (INPUT, OUTPUT)
        told = seen.spans[0].attributes or {}
        assert told["gen_ai.response.finish_reasons"] == ("stop",)
        assert seen.value("gen_ai_client_token_usage_sum", gen_ai_token_type="output") == OUTPUT
        assert seen.value("trisignal_internal_errors_total") == 0
        # Nothing is taken from a server's own measurements.
        assert not [name for name in told if "timings" in name or "stats" in name]


def test_continuous_usage_is_kept_when_a_stream_is_left() -> None:
    """With usage on every chunk, a stream that is dropped tells the tokens that came until then."""

    def counted(given: int) -> dict[str, Any]:
        return {"usage": {"prompt_tokens": INPUT, "completion_tokens": given, "total_tokens": INPUT + given}}

    chunks = [chunk({"content": "a"}, **counted(number)) for number in range(1, 9)]
    with Loopback() as loopback, testing.capture() as seen, _client(loopback) as client:
        trisignal.instrument("openai")
        loopback.play(Reply(body=sse(*chunks)))
        with client.chat.completions.create(**_STREAM) as stream:
            for _ in range(5):
                next(stream)
        assert _tokens(seen) == (INPUT, 5)
        assert seen.value("llm_requests_total", llm_outcome="abandoned") == 1


def test_reasoning_is_a_token_and_no_answer() -> None:
    """The first thought ends the wait for a token; the wait for an answer goes on until visible text comes."""
    reply = Reply(
        body=sse(
            chunk({"role": "assistant", "content": ""}),
            chunk({"reasoning_content": "Hm."}),
            chunk({"content": "Yes."}),
            chunk({}, "stop"),
            chunk(None, usage=USAGE),
        ),
        gap_s=0.1,
        apart=True,
    )
    with Loopback() as loopback, testing.capture() as seen, _client(loopback) as client:
        trisignal.instrument("openai")
        loopback.play(reply)
        list(client.chat.completions.create(**_STREAM))
        token = seen.value("llm_time_to_first_token_seconds_sum")
        answer = seen.value("llm_time_to_first_answer_seconds_sum")
        assert answer - token > 0.05


def test_usage_that_was_not_asked_for_is_missing() -> None:
    """A stream without usage has no tokens, and is counted as such."""
    with Loopback() as loopback, testing.capture() as seen, _client(loopback) as client:
        trisignal.instrument("openai")
        loopback.play(Reply(body=sse(chunk({"content": "Yes."}), chunk({}, "stop"))))
        list(client.chat.completions.create(**_ASKED, stream=True))
        assert _tokens(seen) == (None, None)
        assert seen.value("llm_usage_missing_total") == 1


@pytest.mark.parametrize(
    ("named", "provider"), [({}, "openai"), ({"127.0.0.1": "vllm"}, "vllm"), ({"127.0.0.1:PORT": "tgi"}, "tgi")]
)
def test_user_names_who_answers(named: dict[str, str], provider: str) -> None:
    """A host that nobody knows counts as the protocol that it speaks, unless the user names it."""
    with Loopback() as loopback:
        hosts = {host.replace("PORT", str(loopback.port)): name for host, name in named.items()}
        with testing.capture(provider_hosts=hosts) as seen, _client(loopback) as client:
            trisignal.instrument("openai")
            loopback.play(SERVERS[0].whole)
            client.chat.completions.create(**_ASKED)
            assert (seen.spans[0].attributes or {})["gen_ai.provider.name"] == provider


@pytest.mark.parametrize(
    ("port", "provider"), [(11434, "ollama"), (1234, "lm_studio"), (8000, "openai"), (8080, "openai")]
)
def test_default_ports_of_this_machine_name_their_server(port: int, provider: str) -> None:
    """Ports that one server alone uses name it; those that many use do not."""
    assert providers.by_host("localhost", port, {}, "openai") == provider


def test_users_name_wins_over_a_default_port() -> None:
    """Whoever runs another server on a known port can say so."""
    assert providers.by_host("localhost", 11434, {"localhost:11434": "vllm"}, "openai") == "vllm"
