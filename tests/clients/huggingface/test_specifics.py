"""What only huggingface_hub's inference clients do."""

from __future__ import annotations

import importlib
import json
from typing import Any

import huggingface_hub
import pytest
from clients.huggingface.shapes import GENERATE, GENERATE_STREAM, KIT, MODEL
from huggingface_hub.inference._providers._common import RequestParameters
from loopback import Loopback, Reply, json_reply, sse

import trisignal
from trisignal import testing


def _told(asked: RequestParameters, *replies: Reply, **kwargs: Any) -> Any:
    """Attributes of the one span of a prepared request."""
    with Loopback() as server, testing.capture(provider_hosts=kwargs.pop("hosts", {})) as seen:
        trisignal.instrument("huggingface_hub")
        server.play(*replies)
        asked.url = asked.url.replace("LOOPBACK", server.url)
        with huggingface_hub.InferenceClient(api_key="none") as client:
            client._inner_post(asked, **kwargs)
        assert seen.value("trisignal_internal_errors_total") == 0
        [span] = seen.spans
        return span.attributes


def _asked(task: str, body: Any, model: str | None = MODEL, data: bytes | None = None) -> RequestParameters:
    return RequestParameters("LOOPBACK/v1/x", task, model, body, data, {})


def test_user_names_who_answers() -> None:
    """An endpoint of one's own has the name that the setting gives it."""
    body = {"model": MODEL, "messages": []}
    told = _told(_asked("conversational", body), json_reply({}), hosts={"127.0.0.1": "tgi"})
    assert told["gen_ai.provider.name"] == "tgi"


@pytest.mark.parametrize(
    ("url", "provider"),
    [
        ("https://router.huggingface.co/together/v1/chat/completions", "huggingface"),
        ("https://api.together.xyz/v1/chat/completions", "together"),
        ("https://my.endpoints.huggingface.cloud/v1/chat/completions", "huggingface"),
        ("https://tgi.example.org/v1/chat/completions", "huggingface"),
    ],
)
def test_who_bills_is_told_by_the_address(url: str, provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Hub bills what goes through its router, a provider what goes to it with its own key."""
    module = importlib.import_module("huggingface_hub.inference._client")

    class Session:
        def stream(self, *args: Any, **kwargs: Any) -> Any:
            raise TimeoutError

    monkeypatch.setattr(module, "get_session", Session)
    with testing.capture() as seen, huggingface_hub.InferenceClient(api_key="none") as client:
        trisignal.instrument("huggingface_hub")
        asked = RequestParameters(url, "conversational", MODEL, {"model": MODEL, "messages": []}, None, {})
        with pytest.raises((huggingface_hub.errors.InferenceTimeoutError, TimeoutError)):
            client._inner_post(asked)
        told: Any = seen.spans[0].attributes
        assert (told["gen_ai.provider.name"], told["llm.error_kind"]) == (provider, "timeout")


def test_prompts_of_other_providers_are_read_in_their_protocol() -> None:
    """Text generation at a provider that speaks OpenAI's completions tells that reply's tokens."""
    usage = {"prompt_tokens": 4, "completion_tokens": 2}
    reply = {"object": "text_completion", "choices": [{"text": "Yes.", "finish_reason": "length"}], "usage": usage}
    told = _told(_asked("text-generation", {"prompt": "Really?", "model": MODEL}), json_reply(reply))
    assert told["gen_ai.operation.name"] == "text_completion"
    assert told["gen_ai.usage.input_tokens"] == 4
    assert told["gen_ai.response.finish_reasons"] == ("length",)


def test_embeddings_without_counts_stay_unknown() -> None:
    """Features come as bare numbers: the call is told, its tokens are not."""
    told = _told(_asked("feature-extraction", {"inputs": "Lisbon"}), json_reply([[0.25, 0.5]]))
    assert told["gen_ai.operation.name"] == "embeddings"
    assert told["gen_ai.request.model"] == MODEL
    assert "gen_ai.usage.input_tokens" not in told


@pytest.mark.parametrize(
    ("task", "operation"), [("text-to-image", "image_generation"), ("summarization", "request"), ("unknown", "request")]
)
def test_other_tasks_are_timed(task: str, operation: str) -> None:
    """A task that the conventions have no operation for is one call all the same; its bytes are not read."""
    told = _told(_asked(task, None, data=b"{"), Reply(body=b"\x89PNG", headers={"content-type": "image/png"}))
    assert told["gen_ai.operation.name"] == operation


@pytest.mark.parametrize("body", [b"", b"not json", b"[]", b"[1]", b"{"])
def test_unreadable_replies_are_the_applications_to_find(body: bytes) -> None:
    """A body that is not a reply gives no facts and no error of ours."""
    told = _told(_asked("text-generation", {"inputs": "x"}), Reply(body=body))
    assert "gen_ai.usage.output_tokens" not in told


def test_numbers_in_lists_are_good_where_the_client_takes_them() -> None:
    """Log probabilities with their bytes look odd, but the client reads them: the call is ok."""
    token = {"token": "Yes", "logprob": -0.1, "bytes": [89, 101, 115], "top_logprobs": []}
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Yes"}}
    reply = {"id": "1", "model": MODEL, "choices": [{**choice, "logprobs": {"content": [token]}}]}
    with Loopback() as server, testing.capture() as seen, KIT.client(server.url, 0, 5.0) as client:
        trisignal.instrument("huggingface_hub")
        server.play(json_reply(reply))
        client.chat_completion([{"role": "user", "content": "Really?"}], logprobs=True)
        assert seen.value("llm_requests_total", llm_outcome="ok") == 1


@pytest.mark.parametrize(("kind", "type_"), [("overloaded", "overloaded"), ("invalid_request", "invalid_request")])
def test_error_in_a_stream_has_its_kind(kind: str, type_: str) -> None:
    """The type that TGI tells beside the text of an error decides its kind."""
    with Loopback() as server, testing.capture() as seen, KIT.client(server.url, 0, 5.0) as client:
        trisignal.instrument("huggingface_hub")
        server.play(Reply(body=sse({"error": "Model is overloaded", "error_type": type_}, done=False)))
        with pytest.raises(Exception, match="overloaded"):
            list(GENERATE_STREAM.start(client))
        assert seen.value("llm_errors_total", llm_error_kind=kind) == 1


def test_stream_ends_with_its_last_mark() -> None:
    """The client stops reading at ``[DONE]``: the call ends there, not when the stream is collected."""
    with Loopback() as server, testing.capture() as seen, KIT.client(server.url, 0, 5.0) as client:
        trisignal.instrument("huggingface_hub")
        chunk = {"id": "1", "model": MODEL, "choices": [{"index": 0, "delta": {"content": "Yes"}}]}
        server.play(Reply(body=sse(chunk)))
        made = client.chat_completion([{"role": "user", "content": "Really?"}], stream=True)
        kept = list(made)
        assert len(kept) == 1
        assert seen.value("llm_requests_total", llm_outcome="ok") == 1


@pytest.mark.parametrize("shape", [GENERATE, GENERATE_STREAM], ids=lambda shape: shape.name)
def test_content_has_the_conventions_structure(shape: Any) -> None:
    """Prompt and text become messages, streamed or not."""
    with Loopback() as server, testing.capture(capture_content="span_only") as seen:
        trisignal.instrument("huggingface_hub")
        server.play(*shape.replies)
        with KIT.client(server.url, 0, 5.0) as client:
            result = shape.start(client)
            if shape is GENERATE_STREAM:
                list(result)
        told: Any = seen.spans[0].attributes
        [asked], [said] = (json.loads(told[f"gen_ai.{way}.messages"]) for way in ("input", "output"))
        assert asked == {"role": "user", "parts": [{"type": "text", "content": "Plan a trip."}]}
        assert said["parts"] == [{"type": "text", "content": "Three days."}]


def test_trace_context_is_sent_where_it_is_asked_for() -> None:
    """Requests carry ``traceparent`` with the setting on."""
    with Loopback() as server, testing.capture(propagate_trace_context=True) as seen:
        trisignal.instrument("huggingface_hub")
        server.play(*GENERATE.replies)
        with KIT.client(server.url, 0, 5.0) as client:
            GENERATE.start(client)
        span: Any = seen.spans[0].get_span_context()
        assert (server.requests[0].header("traceparent") or "").split("-")[2] == f"{span.span_id:016x}"
