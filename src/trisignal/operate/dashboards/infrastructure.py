"""What it runs on: our metrics beside those of GPUs, model servers and pods, and telemetry's own health.

The names of others are those of their documentation: NVIDIA's DCGM exporter, vLLM (engine V1),
SGLang, Text Generation Inference, Triton, llama.cpp, kube-state-metrics and cAdvisor.
"""

from __future__ import annotations

from trisignal import semconv as names
from trisignal.operate.dashboards import server_side
from trisignal.operate.dashboards.pages import DashboardPage, Expr, Panel, PanelRow, Variable
from trisignal.operate.dashboards.selection import NAMED, RATE, Selection, legend

MODEL = names.REQUEST_MODEL
PODS = 'namespace=~"$namespace"'
_GPU = "GPU {{gpu}} {{Hostname}}"
_MIB = 1024 * 1024


def page(chosen: Selection) -> DashboardPage:
    """The dashboard."""
    rows = (
        PanelRow("Served and waiting", _ours(chosen)),
        PanelRow("Model servers (vLLM, SGLang, TGI, Triton, llama.cpp)", _servers(chosen)),
        PanelRow("Server side: queue, prefill, decode", server_side.panels(chosen)),
        PanelRow("GPUs (DCGM exporter)", _gpus()),
        PanelRow("Pods (kube-state-metrics, cAdvisor)", _pods()),
        PanelRow("Autoscalers (kube-state-metrics)", _scalers()),
        PanelRow("Telemetry itself", _telemetry(chosen)),
    )
    namespace = Variable("namespace", "Namespace", "kube_pod_info", "namespace")
    return DashboardPage("infrastructure", "LLM infrastructure", "Is it the machine?", rows, (namespace,))


def _theirs(*queries: tuple[str, str]) -> tuple[Expr, ...]:
    return tuple(Expr(expr, shown, foreign=True) for expr, shown in queries)


def _vllm(name: str) -> str:
    # Late versions of prometheus_client write the colon as _ to scrapers that ask for OpenMetrics 1.0.
    return f'{{__name__=~"vllm[:_]{name}"}}'


def _p95(buckets: str, by: str) -> str:
    return f"histogram_quantile(0.95, sum by ({by}, le) (rate({buckets}[{RATE}])))"


def _ours(chosen: Selection) -> tuple[Panel, ...]:
    served = chosen.sum("server_duration", MODEL, suffix="_count")
    waiting = (
        Expr(chosen.gauge("active", MODEL, matcher=NAMED, within="avg"), legend(MODEL)),
        Expr(chosen.gauge("queue_depth", "queue", within="max"), "queue {{queue}}"),
    )
    return (
        Panel("In flight and queued", "lines", "short", waiting, "On the side of the application.", 6),
        Panel("Served requests", "stack", "reqps", (Expr(served, legend(MODEL)),),
              "By `ServerMiddleware`, where this application is the server.", 6),
        Panel("Served: p95 to first token", "lines", "s",
              (Expr(chosen.quantile(0.95, "server_first_token", MODEL), legend(MODEL)),), width=6),
        Panel("Served: p95 per output token", "lines", "s",
              (Expr(chosen.quantile(0.95, "server_per_token", MODEL), legend(MODEL)),), width=6),
        Panel("Served: p95 in the queue", "lines", "s",
              (Expr(chosen.quantile(0.95, "server_queue_time", MODEL), legend(MODEL)),),
              "Where the server reports it with `set_serving`.", 12),
        Panel("Served: requests per batch", "lines", "short",
              (Expr(chosen.mean("server_batch_size", MODEL), legend(MODEL)),),
              "Mean over requests, where the server reports it.", 12),
    )  # fmt: skip


def _servers(chosen: Selection) -> tuple[Panel, ...]:
    queued = _p95(_vllm("request_queue_time_seconds_bucket"), "model_name")
    first = (
        Expr(chosen.quantile(0.95, "first_token", MODEL), f"client {legend(MODEL)}"),
        *_theirs((_p95(_vllm("time_to_first_token_seconds_bucket"), "model_name"), "vLLM {{model_name}}"),
                 (queued, "vLLM {{model_name}}, of that queued")),
    )  # fmt: skip
    running = _theirs(
        (f"sum by (model_name) ({_vllm('num_requests_running')})", "vLLM {{model_name}}"),
        ('sum by (model_name) ({__name__=~"sglang[:_]num_running_reqs"})', "SGLang {{model_name}}"),
        ("sum by (instance) (tgi_batch_current_size)", "TGI {{instance}}"),
        ('sum by (instance) ({__name__=~"llamacpp[:_]requests_processing"})', "llama.cpp {{instance}}"),
    )
    waiting = _theirs(
        (f"sum by (model_name) ({_vllm('num_requests_waiting')})", "vLLM {{model_name}}"),
        ('sum by (model_name) ({__name__=~"sglang[:_]num_queue_reqs"})', "SGLang {{model_name}}"),
        ("sum by (instance) (tgi_queue_size)", "TGI {{instance}}"),
        ("sum by (model) (nv_inference_pending_request_count)", "Triton {{model}}"),
        ('sum by (instance) ({__name__=~"llamacpp[:_]requests_deferred"})', "llama.cpp {{instance}}"),
    )
    triton = (f"sum by (model) (rate(nv_inference_queue_duration_us[{RATE}])) / 1e6 / "
              f"(sum by (model) (rate(nv_inference_request_success[{RATE}])) > 0)")  # fmt: skip
    preempted = f"sum by (model_name) (rate({_vllm('num_preemptions_total')}[{RATE}]))"
    return (
        Panel("Time to first token: client and server", "lines", "s", first,
              "What the client sees and the server does not, is network and gateway.", 12),
        Panel("Requests running", "lines", "short", running, "In the batch right now.", 6),
        Panel("Requests waiting", "lines", "short", waiting, "Queued in the server.", 6),
        Panel("KV cache in use", "lines", "percentunit",
              _theirs((f"max by (model_name) ({_vllm('kv_cache_usage_perc')})", "vLLM {{model_name}}")),
              "A full cache makes requests wait or be preempted.", top=1),
        Panel("Preemptions", "lines", "cps",
              _theirs((preempted, "vLLM {{model_name}}"))),
        Panel("Time in the server's queue", "lines", "s", _theirs(
            (queued, "vLLM p95 {{model_name}}"),
            (_p95("tgi_request_queue_duration_bucket", "instance"), "TGI p95 {{instance}}"),
            (triton, "Triton average {{model}}"))),
    )  # fmt: skip


def _gpus() -> tuple[Panel, ...]:
    used, free = (f"sum by (Hostname, gpu) (DCGM_FI_DEV_FB_{which})" for which in ("USED", "FREE"))
    return (
        Panel("GPU utilization", "lines", "percent",
              _theirs(("avg by (Hostname, gpu) (DCGM_FI_DEV_GPU_UTIL)", _GPU)), width=6, top=100),
        Panel("GPU memory", "lines", "percentunit", _theirs((f"{used} / ({used} + {free})", _GPU)), width=6, top=1),
        Panel("GPU power", "lines", "watt", _theirs(("sum by (Hostname, gpu) (DCGM_FI_DEV_POWER_USAGE)", _GPU)),
              width=6),
        Panel("GPU temperature", "lines", "celsius",
              _theirs(("max by (Hostname, gpu) (DCGM_FI_DEV_GPU_TEMP)", _GPU)), width=6),
    )  # fmt: skip


def _pods() -> tuple[Panel, ...]:
    own = f'{PODS},container!=""'
    cpu = f"sum by (pod) (rate(container_cpu_usage_seconds_total{{{own}}}[{RATE}]))"
    memory = f"sum by (pod) (container_memory_working_set_bytes{{{own}}})"
    restarts = f"sum by (pod) (increase(kube_pod_container_status_restarts_total{{{PODS}}}[1h])) > 0"
    return (
        Panel("CPU by pod", "lines", "short", _theirs((cpu, "{{pod}}")), "Cores.", 6),
        Panel("Memory by pod", "lines", "bytes", _theirs((memory, "{{pod}}")), width=6),
        Panel("Restarts per hour", "lines", "short", _theirs((restarts, "{{pod}}")), width=6),
        Panel("Pods by phase", "stack", "short",
              _theirs((f"sum by (phase) (kube_pod_status_phase{{{PODS}}}) > 0", "{{phase}}")), width=6),
    )  # fmt: skip


def _scalers() -> tuple[Panel, ...]:
    def of(what: str) -> str:
        return f"max by (horizontalpodautoscaler) (kube_horizontalpodautoscaler_{what}{{{PODS}}})"

    name = "{{horizontalpodautoscaler}}"
    now = _theirs((of("status_current_replicas"), f"{name} now"), (of("status_desired_replicas"), f"{name} wanted"))
    full = f"{of('status_desired_replicas')} / {of('spec_max_replicas')}"
    return (
        Panel("Replicas", "lines", "short", now, "What is wanted and not there waits for nodes, or for GPUs.", 12),
        Panel("Of the most replicas", "lines", "percentunit", _theirs((full, name)),
              "At 1 the autoscaler cannot add any: more calls wait.", 12, ((0.9, "orange"), (1, "red")), top=1),
    )  # fmt: skip


def _telemetry(chosen: Selection) -> tuple[Panel, ...]:
    def count(title: str, key: str, description: str, colour: str = "red") -> Panel:
        limits = ((1, colour),) if colour else ()
        return Panel(title, "stat", "short", (Expr(chosen.grown(key), or_zero=True),), description, 4, limits)

    age = f"time() - max({chosen.series('price_table_timestamp')})"
    days = chosen.plan.thresholds.price_table_days
    return (
        count("Own errors", "internal_errors", "Errors of trisignal, contained: some facts of some calls are missing."),
        count("Label overflow", "label_overflow", "Label sets that became `_OTHER`, each once.", "orange"),
        count("Dropped", "dropped", "Telemetry that was lost; its label `queue` says where."),
        count("Redacted", "redactions", "Texts that the redactor replaced.", ""),
        count("Redaction failed", "redaction_failures", "Contents dropped as the redactor raised."),
        Panel("Age of the prices", "stat", "s", (Expr(age),), "Of the price table.", 4, ((days * 86400, "orange"),)),
    )  # fmt: skip
