"""What only openai's package has: its module-level client, its other endpoints, its websockets, Azure."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from typing import Any

import openai
import pytest
from contract.openai_shapes import OPENAI
from contract.stainless import Sdk, attempt, once, twice
from loopback import Reply, json_reply

import trisignal
from trisignal import testing

SDK = Sdk(OPENAI)


def test_module_level_client_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """``openai.chat.completions`` works without a client of one's own, and is counted."""

    def app(url: str) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(openai, "api_key", "sk-loopback")
            patch.setattr(openai, "base_url", f"{url}/v1/")
            openai._reset_client()
            result = openai.chat.completions.create(**SDK.arguments())
            return type(result), isinstance(openai.completions._client, openai.OpenAI)

    try:
        assert len(twice(SDK, app, SDK.reply()).spans) == 1
    finally:
        openai._reset_client()


_ADMINISTRATION: dict[str, Callable[[Any], Any]] = {
    "models": lambda client: client.models.list(),
    "model": lambda client: client.models.retrieve("gpt-4o"),
    "files": lambda client: client.files.list(),
    "file": lambda client: client.files.content("file-1"),
    "batches": lambda client: client.batches.create(
        completion_window="24h", endpoint="/v1/chat/completions", input_file_id="file-1"
    ),
    "fine-tuning": lambda client: client.fine_tuning.jobs.create(model="gpt-4o-mini", training_file="file-1"),
    "stored": lambda client: client.chat.completions.list(),
    "assistants": lambda client: client.beta.assistants.create(model="gpt-4o"),
    "threads": lambda client: client.beta.threads.create(),
    "runs": lambda client: client.beta.threads.runs.create("thread_1", assistant_id="asst_1", model="gpt-4o"),
    "vector-stores": lambda client: client.vector_stores.create(name="docs"),
    "tokens": lambda client: client.responses.input_tokens.count(model="gpt-4o", input="Hello"),
    "deletion": lambda client: client.responses.delete("resp_1"),
    "realtime": lambda client: client.realtime.client_secrets.create(session={"type": "realtime", "model": "gpt-4o"}),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", _ADMINISTRATION)
def test_administration_is_left_alone(name: str) -> None:
    """Requests that call no model answer as they do without us and are not recorded."""

    def app(url: str) -> Any:
        with SDK.client(url) as client:
            result = attempt(lambda: _ADMINISTRATION[name](client))
            return type(result), repr(result).partition(" at ")[0]

    seen = twice(SDK, app, Reply(body=b'{"id": "x", "model": "gpt-4o", "usage": {"prompt_tokens": 5}}'))
    assert seen.spans == []
    assert seen.value("llm_requests_total") == 0


def test_websockets_are_untouched() -> None:
    """Connecting a realtime session goes through the same functions as without us."""

    def look() -> list[Any]:
        client = SDK.client()
        found = [holder.realtime.connect for holder in (client, client.beta) if hasattr(holder, "realtime")]
        client.close()
        if not found:
            pytest.skip("this version has none")
        return [(method.__func__, inspect.signature(method)) for method in found]

    bare = look()
    with testing.capture():
        trisignal.instrument("openai")
        assert look() == bare


def test_azure_paths_are_sent_unchanged() -> None:
    """Azure's client rewrites its paths to deployments as without us, and is told by its own name."""

    def app(url: str) -> Any:
        with openai.AzureOpenAI(api_key="k", azure_endpoint=url, api_version="2024-10-21", max_retries=0) as client:
            return type(SDK.create(client)), repr(client.base_url).replace(url, "")

    [span] = twice(SDK, app, SDK.reply()).spans
    assert (span.attributes or {})["gen_ai.provider.name"] == "azure.ai.openai"


def test_pages_iterate_as_they_do() -> None:
    """A list that fetches its pages by itself is one of the SDK's, page by page, unrecorded."""
    pages = [
        {"object": "list", "data": [{"id": f"job-{n}", "object": "fine_tuning.job"}], "has_more": n < 2}
        for n in range(3)
    ]
    # Early versions go on until a page is empty.
    pages.append({"object": "list", "data": [], "has_more": False})

    def app(url: str) -> Any:
        with SDK.client(url) as client:
            page = client.fine_tuning.jobs.list(limit=1)
            return type(page), [item.id for item in page]

    assert twice(SDK, app, *map(json_reply, pages)).spans == []


def test_bodies_are_sent_byte_by_byte() -> None:
    """The JSON that is sent is that of the SDK, with keys in its order and nothing added."""
    _, [bare] = once(lambda url: SDK.stream(SDK.client(url)).close(), SDK.reply("stream-read"))
    seen = twice(SDK, lambda url: SDK.stream(SDK.client(url)).close(), SDK.reply("stream-read"))
    assert json.loads(bare.body) == {**SDK.arguments("stream-read")}
    assert len(seen.spans) == 1
