"""The doctor on pages of model servers: reachable, with queues, and with the names of models that callers use."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from operate.serving import served
from prometheus_client.openmetrics.exposition import generate_latest

import trisignal
from trisignal.operate.doctor import engines
from trisignal.operate.doctor.findings import Finding
from trisignal.operate.scrape import OPENMETRICS, Answer, Scrape, parse
from trisignal.testing import capture

TEXT = "text/plain; version=0.0.4"
VLLM = """# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="Qwen/Qwen3-8B"} 0.0
# TYPE vllm:request_queue_time_seconds histogram
vllm:request_queue_time_seconds_bucket{engine="0",le="+Inf",model_name="Qwen/Qwen3-8B"} 10.0
vllm:request_queue_time_seconds_count{engine="0",model_name="Qwen/Qwen3-8B"} 10.0
vllm:request_queue_time_seconds_sum{engine="0",model_name="Qwen/Qwen3-8B"} 1.0
# TYPE process_cpu_seconds_total counter
process_cpu_seconds_total 1.0
"""


def application(*models: str) -> Scrape:
    """The page of an application that has asked for some models."""
    with capture() as seen:
        for model in models:
            with trisignal.llm(provider="vllm", model=model) as call:
                call.set_usage(input_tokens=1, output_tokens=1)
        return parse(Answer(200, OPENMETRICS, None, generate_latest(seen.registry)))


def look(text: str, *pages: Scrape, **more: Any) -> list[Finding]:
    """What is found on one page."""
    with served(text, **{"content_type": TEXT, **more}) as server:
        return list(engines.check([server.url], pages, 5.0))


def said(found: list[Finding], level: str) -> str:
    """All that findings of a level say, and what to do."""
    return " ".join(f"{one.said} → {one.do}" for one in found if one.level == level)


def test_names_that_join_are_fine() -> None:
    """A page with queues and the callers' model leaves nothing to do, in both spellings of its metrics."""
    for text in (VLLM, VLLM.replace("vllm:", "vllm_")):
        found = look(text, application("Qwen/Qwen3-8B", "gpt-4o"))
        assert {one.level for one in found} == {"ok"}
        assert "callers name models as vLLM does: Qwen/Qwen3-8B" in said(found, "ok")


def test_names_that_do_not_join_are_named_with_the_remedy() -> None:
    """The model that is meant is found though it is written differently."""
    warned = said(look(VLLM, application("qwen3-8b", "gpt-4o")), "warning")
    assert "Qwen/Qwen3-8B is asked for as qwen3-8b" in warned
    assert "set --served-model-name of vLLM to qwen3-8b" in warned
    warned = said(look(VLLM, application("llama-3")), "warning")
    assert "it asks for llama-3" in warned
    assert "no model yet" in said(look(VLLM, application()), "warning")


def test_without_the_applications_page_names_are_not_compared() -> None:
    """That is said, and is not a warning."""
    found = look(VLLM)
    assert "add --url" in said(found, "info")
    assert said(found, "warning") == ""


@pytest.mark.parametrize(
    ("gone", "name"),
    [("num_requests_waiting", "vllm_num_requests_waiting"), ("queue_time", "vllm_request_queue_time_seconds_count")],
)
def test_missing_queues_are_a_warning(gone: str, name: str) -> None:
    """What does not say how much waits, or how long, is named."""
    text = "\n".join(line for line in VLLM.splitlines() if gone not in line) + "\n"
    warned = said(look(text), "warning")
    assert f"{name} is absent" in warned
    assert "--disable-log-stats" in warned


@pytest.mark.parametrize(
    ("text", "more", "level", "words"),
    [
        ("", {"status": 404}, "error", "it answered 404"),
        ("{ no metrics", {}, "error", "not a valid page"),
        ("up 1\n", {}, "warning", "no metric of a model server"),
        ("tgi_queue_size 0\ntgi_request_queue_duration_count 1\n", {}, "info", "TGI name no model"),
        ("llamacpp:requests_deferred 3\n", {}, "info", "llama.cpp name no model"),
        ('sglang:num_queue_reqs{model_name="m"} 1\n', {}, "warning", "sglang_queue_time_seconds_count is absent"),
        ('sglang:num_queue_reqs{model_name="m"} 1\nsglang:avg_request_queue_latency{model_name="m"} 1\n', {}, "ok", "SGLang: m"),
        ('nv_inference_pending_request_count{model="m"} 1\nnv_inference_queue_duration_us{model="m"} 1\n', {}, "ok", "Triton: m"),
    ],
)  # fmt: skip
def test_other_pages(text: str, more: dict[str, Any], level: str, words: str) -> None:
    """Each engine is known by its metrics, and for whatever else answers it is said what to do."""
    found = look(text, **more)
    assert words in said(found, level)
    assert all(one.do for one in found if one.level in ("warning", "error"))


def test_a_page_that_is_not_there() -> None:
    """Nobody listens: one error, with the switches that some servers need."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    [found] = engines.check([f"http://127.0.0.1:{port}/metrics"], (), 2.0)
    assert (found.level, found.check) == ("error", "engines")
    assert "--enable-metrics" in found.do


MORE = Path(os.environ.get("TRISIGNAL_CORPUS", "")).parent / "corpus-more" / "engine-metrics"


@pytest.mark.skipif(not MORE.is_dir(), reason="no recorded pages at TRISIGNAL_CORPUS")
def test_recorded_pages_are_known() -> None:
    """Every recorded page of a model server is recognised, with the models that it serves."""
    seen = {}
    for file in sorted(MORE.glob("*exposition*.json")):
        data = json.loads(file.read_text())["data"]
        for text in [data["exposition"]] if "exposition" in data else []:
            found = look(text if text.endswith("\n") else text + "\n")
            seen[file.name] = [one.said.partition(" is a page of ")[2] for one in found if one.level == "ok"]
    assert {shown[0].partition(":")[0] for shown in seen.values() if shown} >= {"vLLM", "SGLang", "TGI", "Triton"}
    assert [name for name, shown in seen.items() if not shown] == ["dcgm-exporter.exposition.json"]


def test_the_command_takes_addresses() -> None:
    """``--engine`` is looked at beside the application's page; what is not an address is refused at once."""
    testing = pytest.importorskip("click.testing")
    pytest.importorskip("rich")
    from trisignal.cli.doctor import command

    with served(VLLM, content_type=TEXT) as engine:
        result = testing.CliRunner().invoke(command, ["--json", "--engine", engine.url])
    found = [json.loads(line) for line in result.output.splitlines()]
    assert any(one["check"] == "engines" and "vLLM: Qwen/Qwen3-8B" in one["said"] for one in found)
    refused = testing.CliRunner().invoke(command, ["--engine", "gpu:8000"])
    assert refused.exit_code == 2
