"""What must hold of one run of a framework: each fault is one sentence."""

from __future__ import annotations

from collections import Counter
from typing import Any

INFERENCE = ("chat", "generate_content", "text_completion", "embeddings")
CACHED = ("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_read_input_tokens")
Run = dict[str, Any]


def faults(run: Run) -> list[str]:
    """Everything that is wrong with a run.

    Args:
        run: Report of one scenario, see ``matrix.program``.
    """
    return [*_counts(run), *_sums(run), *_tree(run), *_end(run)]


def _counts(run: Run) -> list[str]:
    sent, counted = run["sent"], run["counted"]
    made = sent["calls"] + sent["embeddings"]
    pairs = (
        ("calls", made + sent["refused"], counted["calls"]),
        ("ok", made, counted["ok"]),
        ("failed", sent["refused"], counted["failed"]),
        ("input tokens", sent["input"], counted["input"]),
        ("output tokens", sent["output"], counted["output"]),
    )
    found = [f"{name}: {seen:g} of {wanted:g}" for name, wanted, seen in pairs if seen != wanted]
    tools = len(run["expected"]["tools"])
    if counted["tools"] != tools:
        found.append(f"tools: {counted['tools']:g} of {tools} in the metrics")
    if abs(sent["cost_usd"] - counted["cost_usd"]) > 1e-12:
        found.append(f"cost: {counted['cost_usd']:.9f} of {sent['cost_usd']:.9f} USD")
    return found


def _sums(run: Run) -> list[str]:
    """The exported trace adds up: one span per model call carries its tokens and its cost."""
    sent, spans = run["sent"], run["spans"]
    made = sent["calls"] + sent["embeddings"] - sent["silent"]
    with_usage = [span for span in spans if span["usage"]]
    with_cost = [span for span in spans if "gen_ai.usage.cost" in span]
    found = []
    if len(with_usage) != made:
        found.append(f"{len(with_usage)} spans have tokens for {made} calls")
    if len(with_cost) != made:
        found.append(f"{len(with_cost)} spans have a cost for {made} calls")
    total = sum(span.get("gen_ai.usage.input_tokens", 0) for span in with_usage)
    if total != sent["input"]:
        found.append(f"the trace has {total} input tokens of {sent['input']}")
    cached = sum(next((span[name] for name in CACHED if name in span), 0) for span in with_usage)
    if cached != sent["cached"]:
        found.append(f"the trace has {cached} cached tokens of {sent['cached']}")
    return found


def _tree(run: Run) -> list[str]:
    spans, expected = run["spans"], run["expected"]
    by_id = {span["id"]: span for span in spans}
    found = []
    traces = {span["trace"] for span in spans if span.get("gen_ai.operation.name") not in (None, "create_agent")}
    if expected["agents"] and len(traces) > 1:
        found.append(f"{len(traces)} traces")
    for operation, key, wanted in (
        ("invoke_agent", "agent", expected["agents"]),
        ("execute_tool", "tool", expected["tools"]),
    ):
        seen = Counter(
            str(span.get(f"gen_ai.{key}.name") or span["name"])
            for span in spans
            if span.get("gen_ai.operation.name") == operation and not _served(span, by_id)
        )
        if seen != Counter(wanted):
            found.append(f"{key}s: {sorted(seen.elements())} instead of {sorted(wanted)}")
    if expected["agents"]:
        for span in spans:
            kind = span.get("gen_ai.operation.name")
            if kind in (*INFERENCE, "execute_tool") and not _inside(span, by_id):
                found.append(f"{span['name']} is outside of every agent")
            elif kind in INFERENCE[:-1] and span["usage"] and span.get("gen_ai.agent.name") not in expected["agents"]:
                found.append(f"{span['name']} names agent {span.get('gen_ai.agent.name')!r}")
    return sorted(set(found), key=found.index)


def _served(span: dict[str, Any], by_id: dict[str, dict[str, Any]]) -> bool:
    """Whether a span is the server's side of a tool, inside of the span of who calls it."""
    name, around = span.get("gen_ai.tool.name"), by_id.get(span["parent"])
    while around is not None and name:
        if str(around.get("gen_ai.tool.name", "")).endswith(f"__{name}"):
            return True
        around = by_id.get(around["parent"])
    return False


def _inside(span: dict[str, Any], by_id: dict[str, dict[str, Any]]) -> bool:
    around = by_id.get(span["parent"])
    while around is not None and around.get("gen_ai.operation.name") != "invoke_agent":
        around = by_id.get(around["parent"])
    return around is not None


def _end(run: Run) -> list[str]:
    counted, fails = run["counted"], run["expected"]["fails"]
    found = [f"{name} is {counted[name]:g}" for name in ("internal_errors", "unpriced") if counted[name]]
    if counted["usage_missing"] != run["sent"]["silent"]:
        found.append(f"usage is missing of {counted['usage_missing']:g} calls instead of {run['sent']['silent']}")
    if run["active"]:
        found.append(f"{run['active']:g} calls are still open")
    if run["raised"] and not fails:
        found.append(f"raised: {run['raised']}")
    if fails and not run["sent"]["refused"] and not run["expected"]["tool"]:
        found.append("nothing was refused")
    failed = [span for span in run["spans"] if span["status"] == "ERROR" or "error.type" in span]
    if failed and not fails:
        found.append(f"{failed[0]['name']} has failed")
    agents = [span for span in run["spans"] if span.get("gen_ai.operation.name") == "invoke_agent"]
    if fails and run["raised"] and any(span not in failed for span in agents):
        found.append("the agent raised, and its span says nothing of it")
    return found


def path_of(runs: list[Run]) -> dict[str, str]:
    """By which path model calls, agents and tools are seen.

    Args:
        runs: Reports of all scenarios of a framework.
    """
    seen: dict[str, set[str]] = {"model": set(), "agent": set(), "tool": set()}
    for run in runs:
        for span in run["spans"]:
            kind = span.get("gen_ai.operation.name")
            own = span["scope"] == "trisignal"
            if kind in INFERENCE and span["usage"]:
                seen["model"].add("client" if own else "client, on the native span")
            elif kind == "invoke_agent":
                seen["agent"].add("framework row" if own else "native span")
            elif kind == "execute_tool":
                seen["tool"].add("framework row" if own else "native span")
    return {key: "; ".join(sorted(paths)) or "-" for key, paths in seen.items()}
