"""Two hours of made-up traffic, in the second of which one thing is different."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from store.filled import NOW_S, call, hexadecimal, item, judged

from trisignal.call import Cost, Usage

HOUR_S = 3600.0
BEFORE, AFTER = (NOW_S - 2 * HOUR_S, NOW_S - HOUR_S), (NOW_S - HOUR_S, NOW_S)
MODELS = {"small": ("openai", 1.0), "large": ("openai", 8.0), "sonnet": ("anthropic", 5.0)}
"""Model to its provider, and its price in millionths of a dollar per token."""
TENANTS = ("acme", "bolt", "core", "dune", "echo")
KINDS = ("rate_limit", "timeout", "server")


@dataclass
class Request:
    """One request before it is stored; a plant changes it."""

    tenant: str
    model: str
    version: str
    input: int
    output: int
    cached: float
    call_s: float
    first_s: float
    stages: dict[str, float]
    tool_s: float
    error: str = ""
    tool_fails: bool = False
    quality: float = 0.8
    copies: int = 1
    chosen: random.Random = field(default_factory=random.Random)


Plant = Callable[[Request], None]


def traffic(requests: int, plant: Plant | None, seed: int) -> Iterator[Any]:
    """Items of both hours, the later one with the plant."""
    chosen = random.Random(seed)
    number = 0
    for late in (False, True):
        for _ in range(requests):
            request = _request(chosen)
            if late and plant is not None:
                plant(request)
            for _ in range(request.copies):
                start_s = (AFTER if late else BEFORE)[0] + chosen.random() * HOUR_S * 0.99
                yield from _items(request, number, start_s)
                number += 1


def _request(chosen: random.Random) -> Request:
    def vary(value: float) -> float:
        return value * chosen.lognormvariate(0, 0.25)

    return Request(
        tenant=chosen.choice(TENANTS),
        model=chosen.choice(tuple(MODELS)),
        version=chosen.choice(("1", "2", "3")),
        input=round(vary(2000)),
        output=round(vary(300)),
        cached=0.6,
        call_s=vary(1.0),
        first_s=vary(0.3),
        stages={"retrieve": vary(0.2), "rerank": vary(0.1), "render": vary(0.05)},
        tool_s=vary(0.15),
        error=chosen.choice(KINDS) if chosen.random() < 0.03 else "",
        quality=min(1.0, vary(0.75)),
        chosen=chosen,
    )


def _items(request: Request, number: int, start_s: float) -> Iterator[Any]:
    trace = hexadecimal(number + 1, 32)
    root = 16 * number + 1
    bound = {"tenant": request.tenant, "prompt_version": request.version, "prompt_name": "answer"}
    at_s = start_s
    shared = {"trace_id": trace, "bound": bound, "usage": None, "cost": None, "model_call": False, "provider": ""}

    def span(offset: int, duration_s: float, **facts: Any) -> Any:
        nonlocal at_s
        made = call(
            number, at_s, **{**shared, "span_id": hexadecimal(root + offset, 16), "duration_s": duration_s, **facts}
        )
        at_s += duration_s
        return made

    for offset, (name, took_s) in enumerate(request.stages.items(), 1):
        yield item(
            span(offset, took_s, operation="stage", name=name, request_model="", span_name=f"stage {name}"), root
        )
    failed = {"outcome": "error", "error_type": "ToolError", "error_kind": "other"}
    tool = {"operation": "execute_tool", "name": "search", "request_model": "", "span_name": "execute_tool search"}
    yield item(span(6, request.tool_s, **tool, **(failed if request.tool_fails else {})), root)
    model_call = span(7, request.call_s, **_call_facts(request))
    yield item(model_call, root)
    whole: dict[str, Any] = {
        "operation": "invoke_workflow",
        "name": "answer",
        "request_model": "",
        "span_name": "answer",
    }
    if request.error or request.tool_fails:
        whole |= {
            "outcome": "error",
            "error_type": request.error or "ToolError",
            "error_kind": request.error or "other",
        }
    facts = {**shared, "span_id": hexadecimal(root, 16), **whole}
    yield item(call(number, start_s, duration_s=at_s - start_s + 0.01, **facts))
    if not request.error:
        yield judged("faithfulness", request.quality, model_call)


def _call_facts(request: Request) -> dict[str, Any]:
    provider, price = MODELS[request.model]
    cached = round(request.input * request.cached)
    fresh_usd, cached_usd = (request.input - cached) * price * 1e-6, cached * price * 1e-7
    output_usd = request.output * price * 4e-6
    parts = (("input", fresh_usd), ("cache_read", cached_usd), ("output", output_usd))
    failed = {"outcome": "error", "error_kind": request.error, "error_type": request.error} if request.error else {}
    return {
        "operation": "chat",
        "model_call": True,
        "provider": provider,
        "request_model": request.model,
        "span_name": f"chat {request.model}",
        "usage": Usage(request.input, request.output, cached),
        "cost": Cost(fresh_usd + cached_usd, output_usd, fresh_usd + cached_usd + output_usd, parts),
        "first_token_s": request.first_s,
        **failed,
    }


# --- plants --------------------------------------------------------------------------


def _when(test: Callable[[Request], bool], **changes: Callable[[Request], Any]) -> Plant:
    def plant(request: Request) -> None:
        if test(request):
            for name, change in changes.items():
                setattr(request, name, change(request))

    return plant


def _stage(name: str, factor: float) -> Plant:
    def plant(request: Request) -> None:
        request.stages[name] *= factor

    return plant


def _always(_: Request) -> bool:
    return True


def _fails(test: Callable[[Request], bool], kind: Callable[[Request], str], ratio: float) -> Plant:
    return _when(lambda r: test(r) and r.chosen.random() < ratio, error=kind)


PLANTS: dict[str, tuple[Plant, str, str, str]] = {
    "a model answers more slowly": (
        _when(lambda r: r.model == "large", call_s=lambda r: r.call_s * 2), "latency", "model", "large"),
    "a provider answers more slowly": (
        _when(lambda r: MODELS[r.model][0] == "openai", call_s=lambda r: r.call_s * 1.6), "latency", "provider", "openai"),
    "first tokens of a model come late": (
        _when(lambda r: r.model == "sonnet", first_s=lambda r: r.first_s * 3), "first_token", "model", "sonnet"),
    "a tenant's prompts are twice as long": (
        _when(lambda r: r.tenant == "bolt", input=lambda r: r.input * 2), "tokens", "tenant", "bolt"),
    "a prompt version makes answers longer": (
        _when(lambda r: r.version == "3", output=lambda r: r.output * 6), "tokens", "prompt_version", "3"),
    "nothing is read from the cache any more": (_when(_always, cached=lambda r: 0.0), "cost", "part", "cache savings"),
    "more calls go to a dear model": (
        _when(lambda r: r.chosen.random() < 0.5, model=lambda r: "large"), "cost", "model", "large"),
    "a prompt version is worse": (
        _when(lambda r: r.version == "2", quality=lambda r: r.quality * 0.4), "quality", "prompt_version", "2"),
    "a tenant's answers are worse": (
        _when(lambda r: r.tenant == "echo", quality=lambda r: r.quality * 0.3), "quality", "tenant", "echo"),
    "a stage is slow": (_stage("retrieve", 5), "request_latency", "stage", "retrieve"),
    "another stage is slow": (_stage("rerank", 8), "request_latency", "stage", "rerank"),
    "a tool is slow": (_when(_always, tool_s=lambda r: r.tool_s * 6), "request_latency", "tool", "search"),
    "calls are refused for their rate": (
        _fails(_always, lambda r: "rate_limit", 0.2), "error_rate", "error_kind", "rate_limit"),
    "calls time out": (_fails(_always, lambda r: "timeout", 0.15), "error_rate", "error_kind", "timeout"),
    "a provider fails in every way": (
        _fails(lambda r: r.model == "sonnet", lambda r: r.chosen.choice(KINDS), 0.4), "error_rate", "provider", "anthropic"),
    "a tenant's calls fail in every way": (
        _fails(lambda r: r.tenant == "core", lambda r: r.chosen.choice(KINDS), 0.5), "error_rate", "tenant", "core"),
    "a tool fails": (_when(lambda r: r.chosen.random() < 0.3, tool_fails=lambda r: True), "request_error_rate", "tool", "search"),
    "a tenant calls three times as often": (
        _when(lambda r: r.tenant == "dune", copies=lambda r: 3), "calls", "tenant", "dune"),
}  # fmt: skip
"""What is different, the measure that shows it, and the group that carries it."""
