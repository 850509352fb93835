"""What a scraped page says: whether it is valid and complete, and what it counts that it should not."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from trisignal import semconv as names
from trisignal.operate.doctor import machine
from trisignal.operate.doctor.findings import Finding, Level
from trisignal.operate.queries import label
from trisignal.operate.scrape import ACCEPT, OPENMETRICS, Answer, Scrape, Unreachable, fetch, parse

CHECK = "metrics"
CARDINALITY = "cardinality"
_MODEL = label(names.REQUEST_MODEL)
_NEARLY = 0.8
_MANY_SAMPLES = 50_000


def check(url: str, headers: Mapping[str, str], max_label_sets: int, timeout_s: float) -> Iterator[Finding | Scrape]:
    """Look at a page; it comes last, where it can be read and has metrics of ours.

    Args:
        url: Where it is.
        headers: Sent with the request.
        max_label_sets: Limit per metric, as set here.
        timeout_s: How long to wait for it, in seconds.
    """
    began = time.monotonic()
    try:
        answer = fetch(url, {"Accept": ACCEPT, **headers}, timeout_s=timeout_s)
    except Unreachable as error:
        yield Finding(CHECK, "error", str(error), "start the application, or correct the address")
        return
    took_s = time.monotonic() - began
    yield from machine.clock(urlsplit(url).netloc.rpartition("@")[2], answer.ahead_s)
    if answer.status != 200:
        first = answer.body[:200].decode("utf-8", "replace").strip().partition("\n")[0]
        path = urlsplit(url).path or "/"
        yield Finding(CHECK, "error", f"{url} answered {answer.status}: {first}",
                      f"route {path} to trisignal.metrics_app(), or call serve_metrics()")  # fmt: skip
        return
    try:
        page = parse(answer)
    except Exception as error:  # their parsers raise whatever a broken line leads to
        why = f"{answer.content_type or 'no content type'}; {type(error).__name__}: {error}"
        yield Finding(CHECK, "error", f"{url} is not a valid page ({why})",
                      "find the library that writes this line: Prometheus refuses the whole page")  # fmt: skip
        return
    yield _form(url, answer, page, took_s)
    if not page.ours:
        yield Finding(CHECK, "error", "the page has no metric of trisignal",
                      "is setup() called in that process, and with the registry that this page shows?")  # fmt: skip
        return
    yield from _content(page, max_label_sets)
    yield page


def _form(url: str, answer: Answer, page: Scrape, took_s: float) -> Finding:
    size = f"{page.count()} samples in {took_s:.2f} s"
    if answer.content_type.startswith(OPENMETRICS):
        return Finding(CHECK, "ok", f"{url} is valid OpenMetrics: {size}")
    return Finding(CHECK, "info", f"{url} is valid, but only in the text format, without exemplars: {size}",
                   "serve trisignal.metrics_app(), which speaks OpenMetrics")  # fmt: skip


def _content(page: Scrape, max_label_sets: int) -> Iterator[Finding]:
    prefix = f", prefix {page.prefix}" if page.prefix else ""
    yield Finding(CHECK, "ok", f"metrics of trisignal are there: profile {page.profile}{prefix}")
    if not page.total("requests"):
        yield Finding(CHECK, "warning", "no model call has ended in this process yet",
                      "make one; if you have, is trisignal.instrument() called before it?")  # fmt: skip
    yield from _size(page, max_label_sets)
    yield from _counted(page)
    made_s = page.total("price_table_timestamp")
    if made_s:
        days = int((time.time() - made_s) // machine.DAY_S)
        yield machine.age(days, f"the price table in use there is of {time.strftime('%Y-%m-%d', time.gmtime(made_s))}")


def _size(page: Scrape, max_label_sets: int) -> Iterator[Finding]:
    sets: dict[str, int] = {}
    for metric in names.profile(page.profile).values():
        name = page.prefix + metric.prometheus_name
        found = page.samples.get(f"{name}_count" if metric.instrument == "histogram" else name, [])
        sets[name] = len(found)
    largest = max(sets, key=lambda name: sets[name])
    said = f"{sum(sets.values())} label sets of ours in {page.count()} samples; most: {sets[largest]} of {largest}"
    if sets[largest] >= _NEARLY * max_label_sets and not page.total("label_overflow"):
        yield Finding(CARDINALITY, "warning", f"{said}; the limit is {max_label_sets}, {_pairs(page)}",
                      _remedy(page, largest))  # fmt: skip
    else:
        yield Finding(CARDINALITY, "ok", said)
    if page.count() > _MANY_SAMPLES:
        name, most = max(((name, len(found)) for name, found in page.samples.items()), key=lambda pair: pair[1])
        yield Finding(CARDINALITY, "warning", f"{page.count()} samples on one page, {most} of {name}",
                      "drop labels with many values: Prometheus keeps a series for each")  # fmt: skip
    shown = {metric.name: page.prefix + metric.prometheus_name for metric in names.profile(page.profile).values()}
    for series in page.series("label_overflow"):
        if series.value:
            name = series.labels.get("metric", "?")
            yield Finding(
                CARDINALITY, "warning", f"{series.value:g} label sets of {name} overflowed: they are under _OTHER",
                _remedy(page, shown.get(name, name)),
            )  # fmt: skip


def _pairs(page: Scrape) -> str:
    """What the limit means for models: each has a label set per outcome."""
    known = {
        tuple(sorted((k, v) for k, v in one.labels.items() if k != label(names.OUTCOME)))
        for one in page.series("requests")
    }
    return f"{_SETS_OF_A_MODEL} for each model with its provider and dimensions, of which there are {len(known)}"


def _remedy(page: Scrape, name: str) -> str:
    """What to do about a metric with too many label sets: it depends on the label that has most values."""
    values: dict[str, set[str]] = {}
    for one in page.samples.get(name) or page.samples.get(f"{name}_count", []):
        for key, value in one.labels.items():
            values.setdefault(key, set()).add(value)
    standard = {label(one) for metric in names.profile(page.profile).values() for one in metric.labels}
    widest = max(values, key=lambda key: len(values[key]), default="")
    if not widest:
        return "raise max_label_sets"
    count = f"{widest} has {len(values[widest])} values there"
    if widest not in standard:
        return f"drop the metric dimension {widest}, or give it fewer values ({count})"
    if widest == _MODEL:
        return f"raise max_label_sets to {_SETS_OF_A_MODEL} for each model that you use, and some more ({count})"
    return f"give {widest} fewer values, or raise max_label_sets ({count})"


_SETS_OF_A_MODEL = 4
"""One per outcome, of the metric of requests, which decides for all."""


_COUNTED: tuple[tuple[str, Level, str, str, str], ...] = (
    ("redaction_failures", "error", "detector", "contents were dropped, as the redactor failed",
     "repair the redactor: what it cannot read is not sent"),
    ("unpriced", "warning", _MODEL, "calls with usage have no price",
     "give the prices in prices_file; `trisignal prices show MODEL` shows what is known"),
    ("usage_missing", "warning", _MODEL, "successful calls without reported token usage",
     "ask streams for it: stream_options={'include_usage': True}, or inject_stream_usage"),
    ("internal_errors", "warning", "site", "errors of trisignal's own were contained",
     "set the logger 'trisignal' to DEBUG and report what it says; the application was not disturbed"),
    ("dropped", "warning", "queue", "items of telemetry were dropped",
     "is the exporter reachable, and as fast as the load?"),
)  # fmt: skip
_TITLES = {"unpriced": "every call with usage has a price", "usage_missing": "every successful call has token usage"}


def _counted(page: Scrape) -> Iterator[Finding]:
    for key, level, by, said, do in _COUNTED:
        found: Counter[str] = Counter()
        for series in page.series(key):
            found[series.labels.get(by, "")] += int(series.value)
        named = [(whose or "(unknown)", count) for whose, count in found.most_common(5) if count]
        if named:
            listed = ", ".join(f"{whose} {count}" for whose, count in named)
            yield Finding(CHECK, level, f"{sum(found.values())} {said}: {listed}", do)
        elif key in _TITLES and page.total("requests"):
            yield Finding(CHECK, "ok", _TITLES[key])
