"""Requests of every client that can be pointed at a server of one's own: what they carry there, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from loopback import Loopback, json_reply

import trisignal
from trisignal import providers
from trisignal.testing import capture

CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "qwen3-8b",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
}
MESSAGES = [{"role": "user", "content": "?"}]


def _openai(url: str) -> Any:
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=f"{url}/v1", api_key="k") as client:
        client.chat.completions.create(model="qwen3-8b", messages=MESSAGES)


def _anthropic(url: str) -> Any:
    anthropic = pytest.importorskip("anthropic")
    with anthropic.Anthropic(base_url=url, api_key="k", max_retries=0) as client:
        client.messages.create(model="qwen3-8b", max_tokens=5, messages=MESSAGES)


def _ollama(url: str) -> Any:
    pytest.importorskip("ollama").Client(host=url).chat(model="qwen3:8b", messages=MESSAGES)


def _mistral(url: str) -> Any:
    mistral: Any = pytest.importorskip("mistralai.client")
    with mistral.Mistral(api_key="k", server_url=url) as client:
        client.chat.complete(model="qwen3-8b", messages=MESSAGES)


def _huggingface(url: str) -> Any:
    hub = pytest.importorskip("huggingface_hub")
    hub.InferenceClient(base_url=url, api_key="k").chat_completion(model="tgi", messages=MESSAGES)


def _triton(url: str) -> Any:
    http: Any = pytest.importorskip("tritonclient.http")
    client = http.InferenceServerClient(url.removeprefix("http://"))
    client.infer("llama", [])
    client.close()


OLLAMA = {"model": "qwen3:8b", "message": {"role": "assistant", "content": "Yes."}, "done": True}
TRITON = {"model_name": "llama", "model_version": "1", "outputs": []}
CLAUDE = {"id": "msg_1", "type": "message", "role": "assistant", "model": "qwen3-8b", "stop_reason": "end_turn",
          "content": [{"type": "text", "text": "Yes."}], "usage": {"input_tokens": 1, "output_tokens": 1}}  # fmt: skip
CLIENTS: dict[str, tuple[str, Callable[[str], Any], Any]] = {
    "openai": ("openai", _openai, CHAT),
    "anthropic": ("anthropic", _anthropic, CLAUDE),
    "ollama": ("ollama", _ollama, OLLAMA),
    "mistral": ("mistral", _mistral, CHAT),
    "huggingface_hub": ("huggingface_hub", _huggingface, CHAT),
    "triton": ("triton", _triton, TRITON),
}


def carried(server: Loopback) -> dict[str, str]:
    """Headers of the only request, by name in lower case."""
    [sent] = server.requests
    return {name.lower(): value for name, value in dict(sent.headers).items()}


@pytest.mark.parametrize("name", CLIENTS)
@pytest.mark.parametrize("named", ["host", "host and port", "capitals", "not"])
def test_what_requests_carry(name: str, named: str) -> None:
    """Named hosts get the call's trace and the request id, others nothing; none gets baggage or other bound values."""
    instrumented, ask, body = CLIENTS[name]
    with Loopback() as server:
        port = server.port
        hosts = {"host": "127.0.0.1", "host and port": f"127.0.0.1:{port}", "capitals": f"LOCALHOST:{port}"}
        url = server.url.replace("127.0.0.1", "localhost") if named == "capitals" else server.url
        with capture(provider_hosts={hosts[named]: "vllm"} if named in hosts else {}) as seen:
            trisignal.instrument(instrumented)
            server.play(json_reply(body))
            with trisignal.context(request_id="order-7", user_id="ann", tenant="acme"):
                ask(url)
            context: Any = seen.span.get_span_context()
        headers = carried(server)
    assert "acme" not in str(headers)
    assert "ann" not in headers.values()
    assert "baggage" not in headers
    if named == "not":
        assert not {"traceparent", "x-request-id"} & set(headers)
    else:
        assert headers["traceparent"].split("-")[1:3] == [f"{context.trace_id:032x}", f"{context.span_id:016x}"]
        assert headers["x-request-id"] == "order-7"


def test_the_applications_own_headers_win() -> None:
    """A request id that the caller gives by hand stays."""
    openai = pytest.importorskip("openai")
    with Loopback() as server, capture(provider_hosts={"127.0.0.1": "vllm"}):
        trisignal.instrument("openai")
        server.play(json_reply(CHAT))
        with trisignal.context(request_id="order-7"), openai.OpenAI(base_url=f"{server.url}/v1", api_key="k") as client:
            client.chat.completions.create(
                model="m", messages=MESSAGES, extra_headers={"x-request-id": "by hand"}
            )  # fmt: skip
        assert carried(server)["x-request-id"] == "by hand"


@pytest.mark.parametrize(
    ("host", "vendor"),
    [
        ("api.openai.com", True),
        ("API.OpenAI.com.", True),
        ("bedrock-runtime.eu-west-1.amazonaws.com", True),
        ("runtime.sagemaker.eu-west-1.amazonaws.com", True),
        ("llm-12.eu-west-1.elb.amazonaws.com", False),
        ("x1.eu-west-1.aws.endpoints.huggingface.cloud", False),
        ("router.huggingface.co", True),
        ("gpu-1.corp.example", False),
        ("localhost", False),
        ("10.0.0.7", False),
    ],
)
def test_a_vendors_host_is_nobodys_own(host: str, vendor: bool) -> None:
    """No setting makes a vendor's API one's own; machines and endpoints that vendors rent out may be."""
    assert providers.is_vendor(host) is vendor


def test_a_vendors_host_gets_no_request_id_though_it_is_named() -> None:
    """The setting then names the provider only."""
    openai: Any = pytest.importorskip("openai")
    httpx = pytest.importorskip("httpx")
    sent: list[Any] = []

    def answer(request: Any) -> Any:
        sent.append(request)
        return httpx.Response(200, json=CHAT)

    with capture(provider_hosts={"api.openai.com": "proxy"}) as seen, trisignal.context(request_id="order-7"):
        trisignal.instrument("openai")
        transport = httpx.Client(transport=httpx.MockTransport(answer))
        openai.OpenAI(api_key="k", http_client=transport).chat.completions.create(model="m", messages=MESSAGES)
    assert (seen.span.attributes or {})["gen_ai.provider.name"] == "proxy"
    assert not {"traceparent", "x-request-id"} & set(sent[0].headers)
