"""A metrics page with the names and labels that other programs document, and made-up values.

Stands in for the DCGM exporter, vLLM, SGLang, Text Generation Inference, Triton, llama.cpp, kube-state-metrics and
cAdvisor.
It prints its address, and runs until it is ended.
"""

from __future__ import annotations

import math
import random
import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

REGISTRY = CollectorRegistry()
GPU = ("gpu", "UUID", "device", "modelName", "Hostname")
POD = ("namespace", "pod", "container")
MODEL = ("model_name", "engine")
CHANCE = random.Random(3)


def gauge(name: str, labels: tuple[str, ...]) -> Gauge:
    """A gauge; also stands for counters that do not end in ``_total``."""
    return Gauge(name, name, labels, registry=REGISTRY)


def counter(name: str, labels: tuple[str, ...]) -> Counter:
    """A counter."""
    return Counter(name, name, labels, registry=REGISTRY)


def histogram(name: str, labels: tuple[str, ...]) -> Histogram:
    """A histogram."""
    return Histogram(name, name, labels, registry=REGISTRY)


GPUS = {
    name: gauge(f"DCGM_FI_DEV_{name}", GPU) for name in ("GPU_UTIL", "FB_USED", "FB_FREE", "POWER_USAGE", "GPU_TEMP")
}
VLLM = {name: gauge(f"vllm:{name}", MODEL) for name in ("num_requests_running", "num_requests_waiting")}
KV_CACHE = gauge("vllm:kv_cache_usage_perc", MODEL)
PREEMPTIONS = counter("vllm:num_preemptions", MODEL)
USUAL_S = {
    "time_to_first_token": 0.2, "request_queue_time": 0.05, "request_prefill_time": 0.15, "request_decode_time": 1.2,
    "e2e_request_latency": 1.4,
}  # fmt: skip
VLLM_TIMES = {name: histogram(f"vllm:{name}_seconds", MODEL) for name in USUAL_S}
SGLANG_TIMES = {
    name: histogram(f"sglang:{name}_seconds", ("model_name", "tp_rank"))
    for name in ("time_to_first_token", "e2e_request_latency")
}
LLAMA_CPP = {name: counter(f"llamacpp:{name}_seconds", ()) for name in ("prompt", "tokens_predicted")}
LLAMA_SLOTS = {name: gauge(f"llamacpp:requests_{name}", ()) for name in ("processing", "deferred")}
SGLANG = {name: gauge(f"sglang:num_{name}_reqs", ("model_name", "tp_rank")) for name in ("running", "queue")}
TGI = {name: gauge(f"tgi_{name}", ()) for name in ("queue_size", "batch_current_size")}
TGI_TIMES = {name: histogram(f"tgi_request_{name}_duration", ()) for name in ("queue", "inference")}
TRITON = {
    name: gauge(f"nv_inference_{name}", ("model", "version"))
    for name in ("pending_request_count", "queue_duration_us", "compute_infer_duration_us", "request_success")
}
CPU, MEMORY = counter("container_cpu_usage_seconds", POD), gauge("container_memory_working_set_bytes", POD)
RESTARTS = counter("kube_pod_container_status_restarts", (*POD, "uid"))
PHASES = gauge("kube_pod_status_phase", ("namespace", "pod", "phase", "uid"))
SCALERS = {
    name: gauge(f"kube_horizontalpodautoscaler_{name}", ("namespace", "horizontalpodautoscaler"))
    for name in ("spec_max_replicas", "status_current_replicas", "status_desired_replicas")
}
INFO = gauge("kube_pod_info", ("namespace", "pod", "node"))


def tick(seconds: float) -> None:
    """One step of time."""
    busy = 0.6 + 0.3 * math.sin(seconds / 20)
    for name, replicas in (("spec_max", 6), ("status_current", 3), ("status_desired", 3 + (busy > 0.8))):
        SCALERS[f"{name}_replicas"].labels("shop", "chat-api").set(replicas)
    for number in ("0", "1"):
        where = (number, f"GPU-{number}", f"nvidia{number}", "NVIDIA L4", "node-1")
        load = min(1.0, busy + CHANCE.uniform(-0.08, 0.08) + 0.08 * int(number))
        values = {"GPU_UTIL": load * 100, "FB_USED": 9000 + 9000 * load, "POWER_USAGE": 30 + 40 * load}
        values |= {"FB_FREE": 22_000 - values["FB_USED"], "GPU_TEMP": 40 + 30 * busy}
        for name, value in values.items():
            GPUS[name].labels(*where).set(value)
    model = ("qwen3-8b", "0")
    VLLM["num_requests_running"].labels(*model).set(round(12 * busy))
    VLLM["num_requests_waiting"].labels(*model).set(max(0, round(20 * (busy - 0.7))))
    KV_CACHE.labels(*model).set(busy)
    PREEMPTIONS.labels(*model).inc(CHANCE.random() < busy / 4)
    for name, usual_s in USUAL_S.items():
        for _ in range(5):
            VLLM_TIMES[name].labels(*model).observe(usual_s * busy * CHANCE.lognormvariate(0, 0.5))
    for name, times in SGLANG_TIMES.items():
        times.labels("qwen3-32b", "0").observe(USUAL_S[name] * busy * CHANCE.lognormvariate(0, 0.5))
    LLAMA_CPP["prompt"].inc(0.1 * busy)
    LLAMA_CPP["tokens_predicted"].inc(0.3 * busy)
    for name, most in (("processing", 4), ("deferred", 2)):
        LLAMA_SLOTS[name].set(round(most * busy))
    for name, most in (("running", 16), ("queue", 5)):
        SGLANG[name].labels("qwen3-32b", "0").set(round(most * busy))
    TGI["queue_size"].set(round(4 * busy))
    TGI["batch_current_size"].set(round(8 * busy))
    for name, usual_s in (("queue", 0.08), ("inference", 0.9)):
        TGI_TIMES[name].observe(usual_s * busy * CHANCE.lognormvariate(0, 0.5))
    TRITON["pending_request_count"].labels("reranker", "1").set(round(3 * busy))
    TRITON["queue_duration_us"].labels("reranker", "1").inc(40_000 * busy)
    TRITON["compute_infer_duration_us"].labels("reranker", "1").inc(90_000 * busy)
    TRITON["request_success"].labels("reranker", "1").inc(4)
    for number in range(2):
        pod = f"chat-api-{number}"
        CPU.labels("chat", pod, "app").inc(busy * CHANCE.uniform(0.2, 0.5))
        MEMORY.labels("chat", pod, "app").set((300 + 60 * busy + 40 * number) * 2**20)
        RESTARTS.labels("chat", pod, "app", pod).inc(number == 1 and int(seconds * 2) % 400 == 28)
        INFO.labels("chat", pod, "node-1").set(1)
        for phase in ("Running", "Pending"):
            PHASES.labels("chat", pod, phase, pod).set(phase == "Running")


def main() -> None:
    """Serve the page."""
    server, _ = start_http_server(0, "127.0.0.1", REGISTRY)
    print(f"http://127.0.0.1:{server.server_port}/metrics", flush=True)
    began = time.monotonic()
    while True:
        tick(time.monotonic() - began)
        time.sleep(0.5)


if __name__ == "__main__":
    main()
