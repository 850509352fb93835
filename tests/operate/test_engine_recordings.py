"""Recording rules over model servers' own metrics, by promtool: one label for the model, and what is left for the network."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from trisignal.operate import objectives, rule_files

pytestmark = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
PROFILES = ("1.41", "2026-10")
MODEL = "Qwen/Qwen3-0.6B"
DURATION = {"1.41": "gen_ai_client_operation_duration_seconds", "2026-10": "gen_ai_client_inference_duration_seconds"}


def rising(series: str, per_minute: float) -> dict[str, str]:
    """A counter that grows evenly."""
    return {"series": series, "values": f"0+{per_minute}x20"}


def mean(family: str, labels: str, seconds: float) -> list[dict[str, str]]:
    """Sum and count of a histogram: ten requests a minute of so many seconds each."""
    return [rising(f"{family}_sum{{{labels}}}", seconds * 10), rising(f"{family}_count{{{labels}}}", 10)]


def judge(
    profile: str, tmp_path: Path, series: list[dict[str, str]], wanted: dict[str, list[tuple[str, float]]]
) -> None:
    """Run the group alone over a quarter of an hour; promtool's complaint is the failure."""
    plan = objectives.of({"metric_profile": profile})
    file = rule_files.plain(plan)
    file["groups"] = [group for group in file["groups"] if group["name"] == "llm-engines"]
    (tmp_path / "rules.json").write_text(json.dumps(file))
    tests: dict[str, Any] = {
        "rule_files": [str(tmp_path / "rules.json")],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": series,
                "promql_expr_test": [
                    {
                        "expr": f"round({name}, 0.0001)",
                        "eval_time": "15m",
                        "exp_samples": [{"labels": f"{{{labels}}}", "value": value} for labels, value in samples],
                    }
                    for name, samples in wanted.items()
                ],
            }
        ],
    }
    (tmp_path / "tests.json").write_text(json.dumps(tests))
    done = subprocess.run(
        ["promtool", "test", "rules", str(tmp_path / "tests.json")], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


def engine(name: str, more: str = "") -> str:
    """Labels of a recorded series."""
    return f'engine="{name}",{more}model="{MODEL}"'


@pytest.mark.parametrize("mark", [":", "_"])
@pytest.mark.parametrize("profile", PROFILES)
def test_parts_of_vllm_and_what_is_left(profile: str, mark: str, tmp_path: Path) -> None:
    """Engines of one model are put together; the client's mean less the server's is the network, by service."""
    series = []
    for number in ("0", "1"):
        labels = f'engine="{number}",model_name="{MODEL}",job="vllm",namespace="serving",cluster="a"'
        for name, seconds in (
            ("request_queue_time", 0.25),
            ("request_prefill_time", 0.5),
            ("request_decode_time", 1.0 + int(number)),
            ("e2e_request_latency", 2.0),
        ):
            series += mean(f"vllm{mark}{name}_seconds", labels, seconds)
        series.append({"series": f"vllm{mark}num_requests_waiting{{{labels}}}", "values": "3x20"})
    called = f'gen_ai_operation_name="chat",gen_ai_request_model="{MODEL}",gen_ai_provider_name="vllm"'
    where = 'job="chat-api",namespace="shop",cluster="a"'
    series += mean(DURATION[profile], f'{called},llm_outcome="ok",{where}', 2.25)
    series += mean(DURATION[profile], f'{called},llm_outcome="error",{where}', 60)
    place = 'cluster="a",namespace="serving",'
    judge(
        profile,
        tmp_path,
        series,
        {
            "llm:engine_queue:mean5m": [(engine("vllm", place), 0.25)],
            "llm:engine_prefill:mean5m": [(engine("vllm", place), 0.5)],
            "llm:engine_decode:mean5m": [(engine("vllm", place), 1.5)],
            "llm:engine_total:mean5m": [(engine("vllm", place), 2.0)],
            "llm:engine_waiting:requests": [(engine("vllm", place), 6)],
            "llm:engine_network:mean5m": [(f'{where},model="{MODEL}",provider="vllm"', 0.25)],
        },
    )


@pytest.mark.parametrize("late", [False, True])
def test_parts_of_sglang(late: bool, tmp_path: Path) -> None:
    """Its first token holds queue and prefill; how long requests wait is an average, or a histogram in late releases."""
    labels = f'engine_type="unified",model_name="{MODEL}",tp_rank="0"'
    series = mean("sglang:time_to_first_token_seconds", labels, 0.75)
    series += mean("sglang:e2e_request_latency_seconds", labels, 2.0)
    if late:
        series += mean("sglang:queue_time_seconds", labels, 0.25)
    else:
        series.append({"series": f"sglang:avg_request_queue_latency{{{labels}}}", "values": "0.25x20"})
    series.append({"series": f"sglang:num_queue_reqs{{{labels}}}", "values": "4x20"})
    wanted = {"queue:mean5m": 0.25, "prefill:mean5m": 0.5, "decode:mean5m": 1.25, "total:mean5m": 2.0}
    wanted["waiting:requests"] = 4
    judge("1.41", tmp_path, series, {f"llm:engine_{name}": [(engine("sglang"), s)] for name, s in wanted.items()})


def test_parts_of_triton(tmp_path: Path) -> None:
    """Sums of microseconds become seconds per request; a model without requests has no mean."""
    labels, idle = f'model="{MODEL}",version="1"', 'model="idle",version="1"'
    series = [rising(f"nv_inference_request_success{{{labels}}}", 10)]
    for part, seconds in (("queue", 0.25), ("compute_infer", 0.5), ("request", 1.0)):
        series.append(rising(f"nv_inference_{part}_duration_us{{{labels}}}", seconds * 1e7))
        series.append(rising(f"nv_inference_{part}_duration_us{{{idle}}}", 0))
    series.append(rising(f"nv_inference_request_success{{{idle}}}", 0))
    wanted = {"queue": 0.25, "inference": 0.5, "total": 1.0}
    judge(
        "1.41", tmp_path, series, {f"llm:engine_{name}:mean5m": [(engine("triton"), s)] for name, s in wanted.items()}
    )


def test_nothing_is_recorded_without_servers(tmp_path: Path) -> None:
    """Who serves no model has no series of it, and no network left over."""
    called = f'gen_ai_operation_name="chat",gen_ai_request_model="{MODEL}",gen_ai_provider_name="openai"'
    series = mean(DURATION["1.41"], f'{called},llm_outcome="ok",job="chat-api"', 2.25)
    judge("1.41", tmp_path, series, {'{__name__=~"llm:engine_.*"}': []})
