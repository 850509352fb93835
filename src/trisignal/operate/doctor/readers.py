"""Whether rules and dashboards ask a page for metrics and labels that it has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from trisignal import semconv as names
from trisignal.errors import ConfigError, MissingExtraError
from trisignal.operate import rule_files
from trisignal.operate.doctor.engines import ENGINES
from trisignal.operate.doctor.findings import Finding
from trisignal.operate.objectives import RulesPlan
from trisignal.operate.queries import SHORT, label
from trisignal.operate.rules import Record
from trisignal.operate.scrape import Scrape

CHECK = "rules"
_SUFFIXES = ("_bucket", "_sum", "_count", "_created")
_MODEL = label(SHORT["model"])
_OTHER_MODELS = ("model", "model_name", "llm_model", "model_id")
_OF_SERVERS = tuple(engine.prefix for engine in ENGINES)
"""Metrics of model servers, which are on pages of their own."""
_FROM_OUTSIDE = frozenset({"job", "namespace", "cluster", "pod", "instance", "le", "quantile", "__name__"})
"""Labels that Prometheus or the format adds."""

_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"|' + r"'(?:[^'\\]|\\.)*'")
_NAME = re.compile(r"(?<![\w:$.])([a-zA-Z_:][\w:]*)\s*(\(|\{[^{}]*\})?")
_MATCHER = re.compile(r"([a-zA-Z_]\w*)\s*(?:=~|!~|!=|=)")
_GROUPING = re.compile(r"\b(by|without|on|ignoring|group_left|group_right)\b\s*(\([^()]*\))?")
_WORDS = frozenset({"and", "or", "unless", "bool", "offset", "inf", "nan", "atan2", "start", "end"})


class ReadPages(NamedTuple):
    """One metric in a query."""

    metric: str
    labels: frozenset[str]
    """Labels that it is selected by."""


def asked(query: str) -> list[ReadPages]:
    """The metrics that a query selects; what Grafana fills in (``$name``) is passed over.

    Args:
        query: PromQL.
    """
    bare = _GROUPING.sub(" ", _TEXT.sub('""', re.sub(r"(?m)#.*$", "", query)))
    bare = re.sub(r"\[[^\]]*\]", "", re.sub(r"\$\{[^}]*\}|\$\w+", "", bare))
    found = []
    for name, follows in _NAME.findall(bare):
        if follows != "(" and name.lower() not in _WORDS:  # else it is a function or an operator
            found.append(ReadPages(name, frozenset(_MATCHER.findall(follows))))
    return found


def of_plan(plan: RulesPlan) -> list[str]:
    """Queries of the rules that `trisignal rules` writes."""
    return [rule.expr for group in rule_files.groups(plan) for rule in group.rules]


def recorded(plan: RulesPlan) -> frozenset[str]:
    """Series that these rules record."""
    return frozenset(
        rule.record for group in rule_files.groups(plan) for rule in group.rules if isinstance(rule, Record)
    )


def of_file(path: str) -> list[str]:
    """Queries of a Grafana dashboard (JSON) or a rule file (YAML).

    Raises:
        ConfigError: It cannot be read.
        MissingExtraError: YAML needs a package that is not installed.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("--queries", path, f"a file that can be read ({type(error).__name__})") from None
    try:
        return list(_expressions(json.loads(text)))
    except ValueError:
        if path.endswith(".json"):
            raise ConfigError("--queries", path, "JSON, or a rule file in YAML") from None
    try:
        import yaml
    except ImportError:
        raise MissingExtraError("a rule file in YAML", "yaml") from None
    try:
        return [query for document in yaml.safe_load_all(text) for query in _expressions(document)]
    except yaml.YAMLError:
        raise ConfigError("--queries", path, "a dashboard in JSON or a rule file in YAML") from None


def _expressions(node: Any) -> Iterator[str]:
    """Every text called ``expr``, however deep."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "expr" and isinstance(value, str):
                yield value
            else:
                yield from _expressions(value)
    elif isinstance(node, list):
        for value in node:
            yield from _expressions(value)


def check(page: Scrape, queries: Iterable[str], series: frozenset[str], source: str) -> Iterator[Finding]:
    """Compare what queries ask for with what a page has.

    Args:
        page: The page.
        queries: PromQL.
        series: Recorded series, which no page has.
        source: What the queries are from.
    """
    wanted: dict[str, set[str]] = {}
    for one in (one for query in queries for one in asked(query)):
        if one.metric.startswith(_OF_SERVERS):
            continue
        if ":" not in one.metric and one.metric != "ALERTS":
            wanted.setdefault(_base(one.metric), set()).update(one.labels)
        elif one.metric.startswith("llm:") and one.metric not in series:
            yield Finding(CHECK, "warning", f"{source} read {one.metric}, which the rules do not record",
                          "write the rules again with trisignal rules")  # fmt: skip
    known = {page.prefix + metric.prometheus_name: metric for metric in names.profile(page.profile).values()}
    missing = sorted(name for name in wanted if name not in page.families and name not in known)
    for name in missing:
        yield _missing(name, page, known, source)
    wrong = list(_labels(page, wanted, known, source))
    yield from wrong
    waiting = sorted(name for name in wanted if name in known and not _has_samples(page, name))
    there = len(wanted) - len(missing)
    if there and not missing and not wrong:
        yield Finding(CHECK, "ok", f"{source}: all {there} metrics that they read are of this page")
    if waiting:
        shown = ", ".join(waiting[:5]) + (" …" if len(waiting) > 5 else "")
        yield Finding(CHECK, "info", f"{source}: {len(waiting)} of the metrics have no series yet: {shown}",
                      "nothing, if such calls were not made yet")  # fmt: skip


def _base(name: str) -> str:
    return next((name.removesuffix(suffix) for suffix in _SUFFIXES if name.endswith(suffix)), name)


def _has_samples(page: Scrape, name: str) -> bool:
    return any(name + suffix in page.samples for suffix in ("", "_count"))


def _missing(name: str, page: Scrape, known: Iterable[str], source: str) -> Finding:
    said = f"{source} read {name}, which the page has not"
    for profile in names.PROFILES:
        if profile != page.profile:
            theirs = {page.prefix + metric.prometheus_name for metric in names.profile(profile).values()}
            if name in theirs:
                return Finding(CHECK, "error", f"{said}: it is of profile {profile}, the page is of {page.profile}",
                               f"make them with --profile {page.profile}")  # fmt: skip
    ours = {name.removeprefix(page.prefix): name for name in known}
    for end, full in ours.items():
        if name.endswith(end) and name != full:
            return Finding(CHECK, "error", f"{said}: there it is {full}", f"set metric_prefix to {page.prefix!r} there")
    close = get_close_matches(name, [*page.families, *known], n=1, cutoff=0.8)
    if name.startswith(("llm_", "gen_ai_", "trisignal_")):
        return Finding(CHECK, "error", said, f"did you mean {close[0]}?" if close else "correct the name")
    return Finding(CHECK, "info", said, f"did you mean {close[0]}?" if close else "nothing, if another target has it")


def _labels(
    page: Scrape, wanted: dict[str, set[str]], known: dict[str, names.Metric], source: str
) -> Iterator[Finding]:
    for name, used in sorted(wanted.items()):
        if name not in known:
            continue
        has = {label(attribute) for attribute in known[name].labels} | _FROM_OUTSIDE | _seen(page, name)
        if not _has_samples(page, name) and known[name].dimensioned:
            continue  # its dimensions are not to be seen yet
        for one in sorted(used - has):
            likely = _MODEL if one in _OTHER_MODELS else next(iter(get_close_matches(one, has, n=1)), "")
            do = f"use {likely}" if likely else f"use one of {', '.join(sorted(has - _FROM_OUTSIDE))}"
            said = f"{source} select {name} by {one}, a label that it has not"
            yield Finding(CHECK, "error" if likely else "warning", said, do)


def _seen(page: Scrape, name: str) -> set[str]:
    return {key for suffix in ("", "_count") for series in page.samples.get(name + suffix, []) for key in series.labels}


def foreign(page: Scrape) -> Iterator[Finding]:
    """Metrics of others on the page that call the model by another label."""
    ours = tuple(page.prefix + start for start in ("llm_", "gen_ai_", "trisignal_"))
    found: dict[str, str] = {}
    for name, samples in page.samples.items():
        if not name.startswith(ours) and samples:
            for other in _OTHER_MODELS:
                if other in samples[0].labels:
                    found.setdefault(other, name)
    for other, name in sorted(found.items()):
        yield Finding(CHECK, "info", f"{name} calls the model {other}, our metrics call it {_MODEL}",
                      f'join them by label_replace(…, "{_MODEL}", "$1", "{other}", "(.*)")')  # fmt: skip
