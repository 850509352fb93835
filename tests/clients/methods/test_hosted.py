"""Vendors whose SDKs are read at their public methods, against a loopback server."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from loopback import Loopback, Reply, json_reply

import trisignal
from trisignal.testing import Seen


def facts(seen: Seen) -> dict[str, Any]:
    """Attributes of the only span."""
    return dict(seen.span.attributes or {})


# --- Voyage ---------------------------------------------------------------------------

VECTORS = {
    "object": "list", "model": "voyage-3.5", "usage": {"total_tokens": 1_000_000},
    "data": [{"object": "embedding", "index": 0, "embedding": [0.25, 0.5]}],
}  # fmt: skip
RANKS = {
    "object": "list", "model": "rerank-2.5", "usage": {"total_tokens": 30},
    "data": [{"index": 0, "relevance_score": 0.5}],
}  # fmt: skip


@pytest.mark.parametrize("asynchronous", [False, True])
def test_voyage_embeds(seen: Seen, server: Loopback, asynchronous: bool) -> None:
    """Tokens, model and cost; attempts that failed before are retries of one call."""
    voyageai: Any = pytest.importorskip("voyageai")
    trisignal.instrument("voyageai")
    server.play(json_reply({"detail": "busy"}, status=503), json_reply(VECTORS))
    cls = voyageai.AsyncClient if asynchronous else voyageai.Client
    client = cls(api_key="pa-none", base_url=server.url, max_retries=2)
    result = client.embed(["?"], model="voyage-3.5")
    vectors = asyncio.run(_result(result)) if asynchronous else result
    assert vectors.embeddings == [[0.25, 0.5]]
    attributes = facts(seen)
    assert seen.span.name == "embeddings voyage-3.5"
    assert attributes["gen_ai.provider.name"] == "voyageai"
    assert attributes["gen_ai.usage.input_tokens"] == 1_000_000
    assert attributes["gen_ai.embeddings.dimension.count"] == 2
    assert attributes["llm.retries"] == 1
    assert attributes["server.port"] == server.port
    assert attributes["llm.cost.total_usd"] == pytest.approx(0.06)


async def _result(awaited: Any) -> Any:
    return await awaited


def test_voyage_reranks(seen: Seen, server: Loopback) -> None:
    """Reranking has the tokens of query and documents; a refusal is an error of its kind."""
    voyageai: Any = pytest.importorskip("voyageai")
    trisignal.instrument("voyageai")
    client = voyageai.Client(api_key="pa-none", base_url=server.url)
    server.play(json_reply(RANKS), json_reply({"detail": "no"}, status=401))
    client.rerank("?", ["a"], model="rerank-2.5")
    with pytest.raises(voyageai.error.AuthenticationError):
        client.rerank("?", ["a"], model="rerank-2.5")
    assert seen.value("llm_requests_total", gen_ai_operation_name="rerank", llm_outcome="ok") == 1
    assert seen.value("llm_errors_total", gen_ai_operation_name="rerank", llm_error_kind="auth") == 1
    assert seen.value("gen_ai_client_token_usage_sum") == 30


# --- Jina, which has no client --------------------------------------------------------

SHOWN = Path(__file__).parents[3] / "docs" / "how-to" / "other-clients.md"


def test_jina_by_http(seen: Seen, server: Loopback) -> None:
    """The code that the documentation shows counts embeddings and ranks, with their tokens and the rank's cost."""
    pytest.importorskip("httpx")
    [code] = [block for block in SHOWN.read_text("utf-8").split("```python\n") if "api.jina.ai" in block]
    program: dict[str, Any] = {}
    exec(code.partition("```")[0].replace("https://api.jina.ai", server.url), program)
    usage = {"total_tokens": 1000, "prompt_tokens": 1000}
    vectors = [{"object": "embedding", "index": 0, "embedding": [0.25, 0.5]}]
    ranks = [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.1}]
    server.play(
        json_reply({"model": "jina-embeddings-v3", "object": "list", "usage": usage, "data": vectors}),
        json_reply({"model": "jina-reranker-v3.5", "object": "list", "usage": usage, "results": ranks}),
        json_reply({"detail": "slow down"}, status=429),
    )
    assert program["embed"](["?"]) == [[0.25, 0.5]]
    assert program["rank"]("?", ["a", "b"]) == [1, 0]
    with pytest.raises(Exception, match="429"):
        program["rank"]("?", ["a"])
    embedded, ranked, refused = (dict(span.attributes or {}) for span in seen.spans)
    assert embedded["gen_ai.usage.input_tokens"] == ranked["gen_ai.usage.input_tokens"] == 1000
    assert embedded["gen_ai.embeddings.dimension.count"] == 2
    assert ranked["gen_ai.usage.cost"] == pytest.approx(1000 * 0.05 / 1e6)
    assert (refused["error.type"], refused["gen_ai.provider.name"]) == ("httpx.HTTPStatusError", "jina")
    assert seen.value("llm_errors_total", llm_error_kind="rate_limit") == 1


# --- speech ---------------------------------------------------------------------------

AUDIO = Reply(headers={"Content-Type": "audio/mpeg"}, body=[b"12", b"34"])


@pytest.mark.parametrize("method", ["convert", "stream"])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_elevenlabs_speaks(seen: Seen, server: Loopback, method: str, asynchronous: bool) -> None:
    """Speech is priced by its characters; the call lasts until the audio has been read."""
    client_module: Any = pytest.importorskip("elevenlabs.client")
    trisignal.instrument("elevenlabs")
    server.play(AUDIO)
    cls = client_module.AsyncElevenLabs if asynchronous else client_module.ElevenLabs
    client = cls(api_key="none", base_url=server.url)
    speak = getattr(client.text_to_speech, method)
    pieces = speak(voice_id="v", text="x" * 1000, model_id="eleven_v3")
    assert seen.spans == []
    audio = asyncio.run(_joined(pieces)) if asynchronous else b"".join(pieces)
    assert audio == b"1234"
    attributes = facts(seen)
    assert seen.span.name == "speech eleven_v3"
    assert attributes["gen_ai.provider.name"] == "elevenlabs"
    assert attributes["llm.cost.total_usd"] == pytest.approx(0.08)
    assert (attributes.get("llm.time_to_first_token_s") is not None) == (method == "stream")


async def _joined(pieces: Any) -> bytes:
    return b"".join([piece async for piece in pieces])


def test_elevenlabs_hears(seen: Seen, server: Loopback) -> None:
    """A transcription is priced by its seconds."""
    client_module: Any = pytest.importorskip("elevenlabs.client")
    trisignal.instrument("elevenlabs")
    words = [{"text": "yes", "type": "word", "start": 0.5, "end": 3600.0, "logprob": 0.0}]
    server.play(json_reply({"language_code": "en", "language_probability": 1.0, "text": "yes", "words": words}))
    client_module.ElevenLabs(api_key="none", base_url=server.url).speech_to_text.convert(
        model_id="scribe_v1", file=b"1"
    )
    assert facts(seen)["llm.usage.audio_s"] == 3600
    assert facts(seen)["llm.cost.total_usd"] == pytest.approx(0.22, rel=0.01)


def test_elevenlabs_refuses(seen: Seen, server: Loopback) -> None:
    """A refusal costs nothing, and is the application's exception."""
    client_module: Any = pytest.importorskip("elevenlabs.client")
    trisignal.instrument("elevenlabs")
    server.play(json_reply({"detail": "?"}, status=429))
    client = client_module.ElevenLabs(api_key="none", base_url=server.url)
    with pytest.raises(Exception, match="429"):
        next(client.text_to_speech.convert(voice_id="v", text="x", request_options={"max_retries": 0}))
    assert seen.value("llm_errors_total", llm_error_kind="rate_limit") == 1
    assert "llm.cost.total_usd" not in facts(seen)


def test_deepgram(seen: Seen, server: Loopback) -> None:
    """Transcriptions have seconds, speech has characters."""
    deepgram: Any = pytest.importorskip("deepgram")
    trisignal.instrument("deepgram-sdk")
    environment = deepgram.environment.DeepgramClientEnvironment(
        base=server.url, production=server.url, agent=server.url, agent_rest=server.url
    )
    client = deepgram.DeepgramClient(api_key="none", environment=environment)
    metadata = {
        "transaction_key": "t", "request_id": "r-1", "sha256": "s", "created": "2026-11-01T00:00:00Z", "duration": 60.0,
        "channels": 1, "models": ["u"], "model_info": {"u": {"name": "general", "version": "1", "arch": "nova-3"}},
    }  # fmt: skip
    server.play(json_reply({"metadata": metadata, "results": {"channels": []}}), AUDIO)
    client.listen.v1.media.transcribe_url(url="http://127.0.0.1/a.wav", model="nova-3")
    assert b"".join(client.speak.v1.audio.generate(text="x" * 100, model="aura-2-thalia-en")) == b"1234"
    heard, spoken = (dict(span.attributes or {}) for span in seen.spans)
    assert heard["llm.usage.audio_s"] == 60
    assert heard["gen_ai.response.id"] == "r-1"
    assert heard["llm.cost.total_usd"] > 0
    assert spoken["gen_ai.operation.name"] == "speech"
    assert spoken["gen_ai.request.model"] == "aura-2-thalia-en"


def test_assemblyai(seen: Seen, server: Loopback) -> None:
    """A transcription is one call, however often its state is asked for."""
    aai: Any = pytest.importorskip("assemblyai")
    trisignal.instrument("assemblyai")
    job = {"id": "t-1", "status": "processing", "audio_url": "http://127.0.0.1/a.wav", "speech_model": "best"}
    done = {**job, "status": "completed", "text": "yes", "words": [], "audio_duration": 60}
    server.play(json_reply(job), json_reply(job), json_reply(done))
    settings = aai.Settings(api_key="none", base_url=server.url, polling_interval=0.1)
    transcriber = aai.Transcriber(client=aai.Client(settings=settings))
    config = aai.TranscriptionConfig(speech_model=aai.SpeechModel.best)
    assert transcriber.transcribe("http://127.0.0.1/a.wav", config).text == "yes"
    assert seen.span.name == "transcription best"
    assert facts(seen)["llm.usage.audio_s"] == 60
    assert facts(seen)["gen_ai.response.id"] == "t-1"


# --- Replicate ------------------------------------------------------------------------


@pytest.mark.parametrize("asynchronous", [False, True])
def test_replicate(seen: Seen, server: Loopback, asynchronous: bool) -> None:
    """A run is one call, with the tokens that its last report has."""
    replicate: Any = pytest.importorskip("replicate")
    trisignal.instrument("replicate")
    metrics = {"input_token_count": 12, "output_token_count": 3, "predict_time": 0.5}
    prediction = {
        "id": "p-1", "model": "meta/llama-3-8b", "version": "v", "status": "succeeded", "input": {}, "output": "yes",
        "logs": "", "error": None, "metrics": metrics, "created_at": "", "started_at": "", "completed_at": "", "urls": {},
    }  # fmt: skip
    server.play(json_reply(prediction, status=201))
    client = replicate.Client(api_token="none", base_url=server.url)
    if asynchronous:
        output = asyncio.run(client.async_run("meta/llama-3-8b", input={"prompt": "?"}))
    else:
        output = client.run("meta/llama-3-8b", input={"prompt": "?"})
    assert output == "yes"
    assert seen.span.name == "request meta/llama-3-8b"
    assert facts(seen)["gen_ai.usage.output_tokens"] == 3
    assert facts(seen)["gen_ai.response.id"] == "p-1"
