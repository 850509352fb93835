"""Models in this process: their packages are too large for a test, so stand-ins have their classes and signatures.

Where transformers and sentence-transformers are installed, `test_real_models` runs tiny models with them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import trisignal
from trisignal.clients.sdks.methods import without_folder
from trisignal.semconv import serving
from trisignal.testing import Seen, capture


class Array(list[Any]):
    """As much of an array as is looked at."""

    shape = (2, 384)


class SentenceTransformer:
    """Embeds."""

    model_card_data = SimpleNamespace(base_model="sentence-transformers/all-MiniLM-L6-v2", model_id=None)

    def encode(
        self, inputs: Any, prompt_name: str | None = None, truncate_dim: int | None = None, **kwargs: Any
    ) -> Any:
        """The vectors."""
        return Array()

    def encode_query(self, inputs: Any) -> Any:
        """Embeds, by the other method."""
        return self.encode(inputs)


class CrossEncoder:
    """Ranks."""

    model_card_data = SimpleNamespace(base_model="cross-encoder/ms-marco-MiniLM-L6-v2", model_id=None)

    def predict(self, inputs: Any, **kwargs: Any) -> Any:
        """The scores."""
        return [0.5]

    def rank(self, query: str, documents: Any) -> Any:
        """Ranks, by the other method."""
        return self.predict([(query, document) for document in documents])


class Pipeline:
    """A pipeline of transformers."""

    task = "text-generation"
    model = SimpleNamespace(name_or_path="Qwen/Qwen3-0.6B", config=None)

    def __call__(self, inputs: Any, *args: Any, num_workers: int | None = None, **kwargs: Any) -> Any:
        """Run it."""
        if inputs == "fail":
            raise ValueError("?")
        return [{"generated_text": "yes"}]


class TextGenerationPipeline(Pipeline):
    """One that has its own way of being called."""

    def __call__(self, text_inputs: Any, **kwargs: Any) -> Any:
        """Run it."""
        return super().__call__(text_inputs, **kwargs)


class Llama:
    """llama-cpp-python's model."""

    model_path = "/models/private/qwen3.gguf"

    def create_completion(self, prompt: Any, temperature: float = 0.8, stream: bool = False) -> Any:
        """A completion, or its chunks."""
        head = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": self.model_path}
        if stream:
            texts = (("y", None), ("es", None), ("", "stop"))
            return ({**head, "choices": [{"index": 0, "text": text, "finish_reason": end}]} for text, end in texts)
        usage = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
        return {**head, "choices": [{"index": 0, "text": "yes", "finish_reason": "stop"}], "usage": usage}

    def create_chat_completion(self, messages: Any, temperature: float = 0.2, stream: bool = False) -> Any:
        """A chat, by the other method."""
        made = self.create_completion("?", temperature, stream)
        if stream:
            return (self._chunk(chunk) for chunk in made)
        message = {"role": "assistant", "content": "yes"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return {**made, "object": "chat.completion", "choices": [choice]}

    @staticmethod
    def _chunk(chunk: Any) -> Any:
        choice = chunk["choices"][0]
        choice = {"index": 0, "delta": {"content": choice["text"]}, "finish_reason": choice["finish_reason"]}
        return {**chunk, "object": "chat.completion.chunk", "choices": [choice]}


class LLM:
    """vLLM's model."""

    model_config = SimpleNamespace(model="Qwen/Qwen3-0.6B")
    metrics: Any = None

    def generate(self, prompts: Any, sampling_params: Any = None) -> Any:
        """Completions of all prompts."""
        completion = SimpleNamespace(token_ids=[1, 2, 3], finish_reason="stop")
        output = SimpleNamespace(
            prompt_token_ids=[1] * 10, num_cached_tokens=4, outputs=[completion], metrics=self.metrics
        )  # fmt: skip
        return [output for _ in prompts]

    def chat(self, messages: Any, sampling_params: Any = None) -> Any:
        """A chat, by the other method."""
        return self.generate([messages], sampling_params)


MODULES: dict[str, dict[str, Any]] = {
    "sentence_transformers": {"SentenceTransformer": SentenceTransformer, "CrossEncoder": CrossEncoder},
    "transformers": {},
    "transformers.pipelines": {},
    "transformers.pipelines.base": {"Pipeline": Pipeline},
    "llama_cpp": {},
    "llama_cpp.llama": {"Llama": Llama},
    "vllm": {},
    "vllm.entrypoints": {},
    "vllm.entrypoints.llm": {"LLM": LLM},
}


@pytest.fixture(name="seen")
def _seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Seen]:
    """What is emitted, with the stand-ins imported."""
    for name, content in MODULES.items():
        module = ModuleType(name)
        vars(module).update(content, __path__=[])
        monkeypatch.setitem(sys.modules, name, module)
    with capture() as seen:
        trisignal.instrument("sentence-transformers", "transformers", "llama-cpp-python", "vllm")
        yield seen
        trisignal.uninstrument()
        assert seen.value("trisignal_internal_errors_total") == 0


def facts(seen: Seen) -> dict[str, Any]:
    """Attributes of the only span."""
    return dict(seen.span.attributes or {})


def test_sentence_transformers(seen: Seen) -> None:
    """Embeddings have model and dimension; a method that is made of another one is one call."""
    SentenceTransformer().encode_query(["?"])
    assert seen.span.name == "embeddings sentence-transformers/all-MiniLM-L6-v2"
    assert facts(seen)["gen_ai.embeddings.dimension.count"] == 384
    assert facts(seen)["gen_ai.provider.name"] == "sentence_transformers"
    seen.clear()
    CrossEncoder().rank("?", ["a", "b"])
    assert seen.span.name == "rerank cross-encoder/ms-marco-MiniLM-L6-v2"


@pytest.mark.parametrize(
    ("inputs", "operation"), [("Once", "text_completion"), ([{"role": "user", "content": "?"}], "chat")]
)
def test_pipelines(seen: Seen, inputs: Any, operation: str) -> None:
    """What a pipeline does follows from its task and from what it is called with."""
    assert TextGenerationPipeline()(inputs) == [{"generated_text": "yes"}]
    assert seen.span.name == f"{operation} Qwen/Qwen3-0.6B"


def test_a_pipeline_that_fails(seen: Seen) -> None:
    """Its exception is the application's."""
    with pytest.raises(ValueError, match=r"\?"):
        Pipeline()("fail")
    assert seen.value("llm_requests_total", llm_outcome="error") == 1


@pytest.mark.parametrize("stream", [False, True])
def test_llama_cpp(seen: Seen, stream: bool) -> None:
    """Chats are not counted again as the completions that they are made of; the model's path stays here."""
    reply = Llama().create_chat_completion([{"role": "user", "content": "?"}], temperature=0.2, stream=stream)
    if stream:
        assert len(list(reply)) == 3
    assert seen.span.name == "chat qwen3.gguf"
    assert facts(seen)["gen_ai.response.model"] == "qwen3.gguf"
    assert facts(seen)["gen_ai.request.temperature"] == 0.2
    assert facts(seen).get("gen_ai.usage.input_tokens") == (None if stream else 7)
    assert facts(seen)["gen_ai.response.finish_reasons"] == ("stop",)


def test_vllm(seen: Seen) -> None:
    """A call has the tokens of all its prompts."""
    LLM().generate(["a", "b"])
    LLM().chat([{"role": "user", "content": "?"}])
    first, second = (dict(span.attributes or {}) for span in seen.spans)
    tokens = [first[f"gen_ai.usage.{name}"] for name in ("input_tokens", "output_tokens", "cache_read.input_tokens")]
    assert tokens == [20, 6, 8]
    assert second["gen_ai.operation.name"] == "chat"
    assert seen.value("llm_requests_total") == 2


V0 = SimpleNamespace(time_in_queue=0.25, first_scheduled_time=100.5, first_token_time=101.0, last_token_time=103.0)
V1 = SimpleNamespace(
    arrival_time=1.8e9, queued_ts=50.0, scheduled_ts=50.25, first_token_ts=50.75, last_token_ts=52.75
)  # fmt: skip


@pytest.mark.parametrize("metrics", [V0, V1], ids=["V0", "V1"])
def test_times_of_vllm_in_process(seen: Seen, monkeypatch: pytest.MonkeyPatch, metrics: Any) -> None:
    """Of a single prompt they are the call's, without a network; prompts that run together have none of their own."""
    monkeypatch.setattr(LLM, "metrics", metrics)
    LLM().generate(["a"])
    LLM().generate(["a", "b"])
    alone, together = ({**call.closing} for call in seen.calls)
    assert {name: alone.get(name) for name in serving.SERVING_ATTRIBUTES if name in alone} == {
        serving.QUEUE_S: 0.25, serving.PREFILL_S: 0.5, serving.DECODE_S: 2.0,
    }  # fmt: skip
    assert not serving.SERVING_ATTRIBUTES.keys() & together.keys()


def test_times_that_vllm_has_not_got_are_none(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that was aborted before its first token has no prefill and no decode."""
    monkeypatch.setattr(LLM, "metrics", SimpleNamespace(queued_ts=50.0, scheduled_ts=50.25, first_token_ts=0.0))
    LLM().generate(["a"])
    assert serving.SERVING_ATTRIBUTES.keys() & seen.calls[0].closing.keys() == {serving.QUEUE_S}


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B"),
        ("gpt2", "gpt2"),
        ("", ""),
        ("/home/anna/models/tiny", "tiny"),
        ("/home/anna/models/tiny/", "tiny"),
        ("./tiny", "tiny"),
        ("~/models/tiny.gguf", "tiny.gguf"),
        ("models/anna/tiny", "tiny"),
        ("C:\\models\\tiny", "tiny"),
    ],
)
def test_names_of_models_have_no_folder(given: str, shown: str) -> None:
    """A name of the Hub stays; a path says where the file lies on this machine, and its last part is enough."""
    assert without_folder(given) == shown
