"""Metrics pages of model servers: whether they answer, say how long requests wait, and name models as callers do."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from trisignal import semconv as names
from trisignal.operate.doctor.findings import Finding
from trisignal.operate.queries import label
from trisignal.operate.scrape import Scrape, Unreachable, fetch, parse

CHECK = "engines"
_REQUESTED, _PROVIDER = label(names.REQUEST_MODEL), label(names.PROVIDER)
_MOST_NAMED = 5


class Engine(NamedTuple):
    """What is to be known of a model server's page."""

    name: str
    prefix: str
    model_label: str
    """Label with the model's name; "" where no series has one."""
    queue: tuple[tuple[str, ...], ...]
    """What says how much waits and how long: of each group one name is enough. Colons are underscores here."""
    remedy: str
    rename: str
    """How the name on its series is set."""


ENGINES = (
    Engine("vLLM", "vllm_", "model_name",
           (("vllm_num_requests_waiting",), ("vllm_request_queue_time_seconds_count",)),
           "start it without --disable-log-stats, or update it", "--served-model-name"),
    Engine("SGLang", "sglang_", "model_name",
           (("sglang_num_queue_reqs",), ("sglang_queue_time_seconds_count", "sglang_avg_request_queue_latency")),
           "start it with --enable-metrics, or update it", "--served-model-name"),
    Engine("Triton", "nv_inference_", "model",
           (("nv_inference_pending_request_count",),
            ("nv_inference_queue_duration_us", "nv_inference_queue_duration_us_total")),
           "start it with --allow-metrics=true, or update it", "the name of its folder in the repository of models"),
    Engine("TGI", "tgi_", "",
           (("tgi_queue_size",), ("tgi_request_queue_duration_count",)),
           "send it a request, or update it", ""),
    Engine("llama.cpp", "llamacpp_", "", (("llamacpp_requests_deferred",),), "update it", ""),
)  # fmt: skip


class EnginePage(NamedTuple):
    """A page that could be read."""

    url: str
    engine: Engine
    models: frozenset[str]


def check(urls: Sequence[str], pages: Sequence[Scrape], timeout_s: float) -> Iterator[Finding]:
    """Look at each page, then at the models that the application's own page has calls of.

    Args:
        urls: Metrics pages of model servers.
        pages: The application's page, where one could be read.
        timeout_s: Longest wait for each server, in seconds.
    """
    read: list[EnginePage] = []
    for url in urls:
        for one in _page(url, timeout_s):
            if isinstance(one, EnginePage):
                read.append(one)
            else:
                yield one
    if read:
        yield from _joined(read, _asked(pages)) if pages else [
            Finding(CHECK, "info", "the names of models were not compared with those that the application asks for",
                    "add --url with its metrics page")
        ]  # fmt: skip


def _page(url: str, timeout_s: float) -> Iterator[Finding | EnginePage]:
    try:
        # The text format: engines' counters lack the ending that OpenMetrics wants.
        answer = fetch(url, {"Accept": "text/plain;version=0.0.4"}, timeout_s=timeout_s)
        if answer.status != 200:
            raise Unreachable(url, f"it answered {answer.status}")
        samples = parse(answer).samples
    except Unreachable as error:
        yield Finding(CHECK, "error", f"the model server's page cannot be read: {error}",
                      "correct the address; SGLang needs --enable-metrics, llama.cpp --metrics")  # fmt: skip
        return
    except Exception as error:  # the parsers raise whatever a broken line leads to
        yield Finding(
            CHECK, "error", f"{url} is not a valid page ({type(error).__name__}: {error})", "is it a metrics page?"
        )
        return
    families = {name.replace(":", "_"): series for name, series in samples.items()}
    engine = next((one for one in ENGINES if any(name.startswith(one.prefix) for name in families)), None)
    if engine is None:
        known = ", ".join(one.name for one in ENGINES)
        yield Finding(CHECK, "warning", f"{url} has no metric of a model server that is known here",
                      f"known are {known}; Ollama has no page of its own")  # fmt: skip
        return
    held = [one.labels for name, series in families.items() if name.startswith(engine.prefix) for one in series]
    models = frozenset(labels[engine.model_label] for labels in held if labels.get(engine.model_label))
    yield Finding(CHECK, "ok", f"{url} is a page of {engine.name}" + (f": {_listed(models)}" if models else ""))
    missing = [group[0] for group in engine.queue if not any(name in families for name in group)]
    if missing:
        yield Finding(CHECK, "warning", f"{url} does not say what waits there: {', '.join(missing)} is absent",
                      engine.remedy)  # fmt: skip
    if not engine.model_label:
        yield Finding(CHECK, "info", f"series of {engine.name} name no model: nothing joins them with those of callers",
                      "give its targets a label in the scrape configuration, e.g. model_name")  # fmt: skip
    yield EnginePage(url, engine, models)


def _asked(pages: Iterable[Scrape]) -> dict[str, set[str]]:
    """Models that the application has asked for, with the providers."""
    asked: dict[str, set[str]] = {}
    for page in pages:
        for series in page.series("requests"):
            if model := series.labels.get(_REQUESTED):
                asked.setdefault(model, set()).add(series.labels.get(_PROVIDER, ""))
    return asked


def _joined(read: Sequence[EnginePage], asked: dict[str, set[str]]) -> Iterator[Finding]:
    served = frozenset(model for page in read for model in page.models)
    for page in read:
        if not page.models:
            continue
        common = page.models & asked.keys()
        if common:
            yield Finding(CHECK, "ok", f"callers name models as {page.engine.name} does: {_listed(common)}")
            continue
        meant = {(mine, theirs) for mine in asked.keys() - served for theirs in page.models if _alike(mine, theirs)}
        said = f"{page.url} serves {_listed(page.models)}, which the application asks for under no such name"
        if meant:
            mine, theirs = min(meant)
            yield Finding(CHECK, "warning", f"{said}: {theirs} is asked for as {mine}, and queries cannot join them",
                          f"set {page.engine.rename} of {page.engine.name} to {mine}, or ask for {theirs}")  # fmt: skip
        else:
            others = _listed(asked.keys() - served) or "no model yet"
            yield Finding(CHECK, "warning", f"{said}: it asks for {others}",
                          f"if one of them is meant, set {page.engine.rename} of {page.engine.name} to it")  # fmt: skip


def _alike(one: str, other: str) -> bool:
    """Whether two names may be of one model: the last part of a path, without what people write differently."""
    plain = [re.sub(r"[^a-z0-9]", "", name.rstrip("/").rpartition("/")[2].lower()) for name in (one, other)]
    return plain[0] == plain[1] != ""


def _listed(models: Iterable[str]) -> str:
    known = sorted(models)
    more = f" and {len(known) - _MOST_NAMED} more" if len(known) > _MOST_NAMED else ""
    return ", ".join(known[:_MOST_NAMED]) + more
