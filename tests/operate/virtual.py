"""Virtual time: what the whole rule file does over hours of made-up traffic, asked of promtool.

Every alert's first and last moment of firing comes from one query over the recorded ``ALERTS`` at the end.
"""

from __future__ import annotations

import json
import re
import subprocess
from bisect import bisect_left
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from trisignal import semconv as names
from trisignal.operate import rule_files
from trisignal.operate.objectives import RulesPlan
from trisignal.operate.queries import Queries

Over = Callable[[float], float]
"""A figure over time, in minutes from the start."""
Answer = tuple[dict[str, str], float]
"""Labels and value of one series."""
_SAMPLE = re.compile(r"\{((?:[^}\"]|\"(?:[^\"\\]|\\.)*\")*)\} ([-+.\dEe]+)")
_COMPLAINT = re.compile(r'expr: ("(?:[^"\\]|\\.)*").*?\n.*?\n\s*got: ?(.*)')
_TIMED = re.compile(r"time: ([\dywdhms]+), *\n.*?\n\s*got: ?(.*)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


SPAN_BITS = 40
"""Scrapes in one answer about pages."""
SPAN_STEPS = 80
"""promtool answers about so many evaluations at a time."""


class Firing(NamedTuple):
    """One alert that fired."""

    name: str
    labels: dict[str, str]
    first_s: float
    last_s: float
    evaluations: int
    """In how many evaluations it fired."""
    times: int
    """How often it began to."""


def during(start: float, end: float, inside: float, outside: float = 0.0) -> Over:
    """One figure in a window of minutes, another around it."""
    return lambda minute: inside if start <= minute < end else outside


def always(value: float) -> Over:
    """A figure that does not change."""
    return lambda _: value


class World:
    """Series of some services over some hours.

    Args:
        plan: Names of the metrics.
        minutes: How long.
        step_s: Seconds from one scrape to the next.
    """

    def __init__(self, plan: RulesPlan, minutes: float, step_s: int = 15) -> None:
        self.plan = plan
        self.minutes = minutes
        self.step_s = step_s
        self.moments = [step * step_s / 60 for step in range(int(minutes * 60 / step_s) + 1)]
        self._queries = Queries(plan)
        self._table = names.profile(plan.metric_profile)
        self.series: dict[str, list[float]] = {}
        """Values by selector."""

    def counter(self, key: str, per_minute: Over, suffix: str = "", /, **labels: str) -> None:
        """A counter of whole events that grows at some pace; the same series may be added to again."""
        increments = [per_minute(minute) * self.step_s / 60 for minute in self.moments[1:]]
        self.grown(key, increments, suffix, **labels)

    def grown(self, key: str, increments: list[float], suffix: str = "", /, **labels: str) -> None:
        """A counter with given increments, one a step."""
        values = self.series.setdefault(self._name(key, suffix, labels), [0.0] * len(self.moments))
        total = 0.0
        for step, increment in enumerate(increments, 1):
            total += increment
            values[step] += total

    def gauge(self, key: str, value: Over, /, **labels: str) -> None:
        """A gauge."""
        self.series[self._name(key, "", labels)] = [value(minute) for minute in self.moments]

    def histogram(self, key: str, per_minute: Over, value: Over, /, **labels: str) -> None:
        """A histogram of observations that are all alike at any one time."""
        metric = self._table[key]
        increments = [per_minute(minute) * self.step_s / 60 for minute in self.moments[1:]]
        at = [bisect_left(metric.bounds, value(minute)) for minute in self.moments[1:]]
        for place, bound in enumerate((*metric.bounds, float("inf"))):
            le = "+Inf" if bound == float("inf") else str(float(bound))
            under = [n if index <= place else 0.0 for n, index in zip(increments, at, strict=True)]
            self.grown(key, under, "_bucket", le=le, **labels)
        self.grown(key, increments, "_count", **labels)
        sums = [n * value(minute) for n, minute in zip(increments, self.moments[1:], strict=True)]
        self.grown(key, sums, "_sum", **labels)

    def calls(
        self,
        per_minute: Over,
        *,
        failing: Over = always(0),
        kind: str = "server",
        seconds: Over = always(1),
        first_token_s: Over = always(0.3),
        cost_usd: Over = always(0.001),
        job: str = "chat-api",
        provider: str = "openai",
        model: str = "gpt-4o",
        operation: str = "chat",
    ) -> None:
        """Calls of one service to one model, with everything that they leave behind.

        Args:
            per_minute: Calls a minute.
            failing: Share of them that fails.
            kind: Kind of these failures.
            seconds: Duration of those that succeed.
            first_token_s: Time to their first token.
            cost_usd: Cost of one that succeeds.
            job: The service.
            provider: Provider.
            model: Model.
            operation: Operation.
        """
        labels = {"gen_ai_operation_name": operation, "gen_ai_provider_name": provider, "gen_ai_request_model": model}
        labels["job"] = job

        def good(minute: float) -> float:
            return per_minute(minute) * (1 - failing(minute))

        def bad(minute: float) -> float:
            return per_minute(minute) * failing(minute)

        self.counter("requests", good, llm_outcome="ok", **labels)
        self.counter("requests", bad, llm_outcome="error", **labels)
        if any(map(failing, self.moments)):
            self.counter("errors", bad, llm_error_kind=kind, error_type=kind, **labels)
        self.histogram("inference_duration", good, seconds, llm_outcome="ok", **labels)
        if operation == "chat":
            self.histogram("first_token", good, first_token_s, **labels)
            self.histogram("request_cost", good, cost_usd, **labels)
            self.counter("cost", lambda m: good(m) * cost_usd(m), llm_cost_bucket="output", **labels)

    def _name(self, key: str, suffix: str, labels: dict[str, str]) -> str:
        every = {"job": "chat-api", **labels}
        inside = ", ".join(f'{name}="{value}"' for name, value in sorted(every.items()) if value)
        return f"{self._queries.name(key, suffix)}{{{inside}}}"

    def firing(self, folder: Path, rules: dict[str, Any] | None = None) -> list[Firing]:
        """Evaluate the plan's rules over all of it, at each scrape.

        Args:
            folder: For promtool's files.
            rules: Another rule file's content.

        Returns:
            Every alert that fired, in order of time.
        """
        rules = rule_files.plain(self.plan) if rules is None else rules
        asked = [
            (expr, end_s)
            for end_s in range(SPAN_STEPS * self.step_s, int(self.moments[-1] * 60) + 1, SPAN_STEPS * self.step_s)
            for expr in self._asked().values()
        ]
        output = self._run(folder, rules, asked)
        return _read(output, self._asked()) if output else []  # nothing fired, as was "expected"

    def moments_of_pages(self, folder: Path, rules: dict[str, Any]) -> list[tuple[dict[str, str], list[int]]]:
        """Evaluate rules over all of it, and say of each critical alert at which scrapes it fired.

        Args:
            folder: For promtool's files.
            rules: A rule file's content.

        Returns:
            Labels of each alert, and the numbers of the scrapes, in order.
        """
        # One bit for each scrape of a span: exact, as floats have 53 of them.
        firing = 'ALERTS{alertstate="firing",severity="critical"}'
        bits = f"2 ^ ((timestamp({firing}) / {self.step_s}) % {SPAN_BITS})"
        query = f"sum_over_time(({bits})[{(SPAN_BITS - 1) * self.step_s}s:{self.step_s}s])"
        ends = range(SPAN_BITS - 1, len(self.moments), SPAN_BITS)
        output = self._run(folder, rules, [(query, end * self.step_s) for end in ends])
        assert "err:" not in output, output[-3000:]
        found: dict[tuple[tuple[str, str], ...], list[int]] = {}
        for end, answer in _TIMED.findall(output):
            first = int(_seconds(end)) // self.step_s - SPAN_BITS + 1
            for labels, value in _SAMPLE.findall(answer.replace('\\"', '"')):
                at = [first + bit for bit in range(SPAN_BITS) if int(float(value)) >> bit & 1]
                found.setdefault(tuple(_LABEL.findall(labels)), []).extend(at)
        return [(dict(labels), sorted(at)) for labels, at in found.items()]

    def answers(
        self, folder: Path, rules: dict[str, Any], queries: Iterable[str], minute: float
    ) -> dict[str, list[Answer]]:
        """Evaluate rules up to a moment, and ask.

        Args:
            folder: For promtool's files.
            rules: A rule file's content.
            queries: PromQL; each is asked once.
            minute: When.

        Returns:
            Labels and value of each series of each query's answer.
        """
        asked = list(dict.fromkeys(queries))
        found: dict[str, list[Answer]] = {query: [] for query in asked}
        output = self._run(folder, rules, [(query, int(minute * 60)) for query in asked])
        assert "err:" not in output, output[-3000:]
        for text, answer in _COMPLAINT.findall(output):
            parts = _SAMPLE.findall(answer)
            found[json.loads(text)] = [({k: json.loads(f'"{v}"') for k, v in _LABEL.findall(labels)}, float(value))
                                       for labels, value in parts]  # fmt: skip
        return found

    def _run(self, folder: Path, rules: dict[str, Any], asked: list[tuple[str, int]]) -> str:
        """What promtool complains of, if nothing is expected of each query at its second; "" if nothing came."""
        (folder / "rules.json").write_text(json.dumps(rules))
        queries = [{"expr": expr, "eval_time": f"{second}s", "exp_samples": []} for expr, second in asked]
        series = [{"series": name, "values": _text(values)} for name, values in self.series.items()]
        one = {
            "interval": f"{self.step_s}s",
            "input_series": series,
            "promql_expr_test": queries,
        }
        content = {
            "rule_files": [str(folder / "rules.json")],
            "evaluation_interval": f"{self.step_s}s",
            "group_eval_order": [group["name"] for group in rules["groups"]],
            "tests": [one],
        }
        (folder / "tests.json").write_text(json.dumps(content))
        command = ["promtool", "test", "rules", str(folder / "tests.json")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=3600)
        return "" if done.returncode == 0 else done.stdout + done.stderr

    def _asked(self) -> dict[str, str]:
        """What is asked of the alerts at the end of each span: first and last moment, evaluations, beginnings."""
        window = f"[{(SPAN_STEPS - 1) * self.step_s}s:{self.step_s}s]"
        seen, before = 'ALERTS{alertstate="firing"}', f'ALERTS{{alertstate="firing"}} offset {self.step_s}s'
        times = {over: f"{over}_over_time(timestamp({seen}){window})" for over in ("min", "max", "count")}
        return {**times, "begun": f"count_over_time(({seen} unless {before}){window})"}


def _seconds(duration: str) -> int:
    """Prometheus writes 119 minutes as 1h59m."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
    return sum(int(count) * units[unit] for count, unit in re.findall(r"(\d+)([smhdw])", duration))


def _text(values: list[float]) -> str:
    """Values in promtool's notation, runs of equal steps put together."""
    parts: list[str] = []
    place = 0
    while place < len(values):
        step = round(values[place + 1] - values[place], 9) if place + 1 < len(values) else 0.0
        end = place
        while end + 1 < len(values) and abs(values[end + 1] - values[end] - step) < 1e-9:
            end += 1
        parts.append(f"{values[place]:.10g}{'-' if step < 0 else '+'}{abs(step):.10g}x{end - place}")
        place = end + 1
    return " ".join(parts)


def _read(output: str, asked: dict[str, str]) -> list[Firing]:
    found: dict[tuple[tuple[str, str], ...], dict[str, list[float]]] = {}
    what = ""
    for line in output.splitlines():
        if "expr:" in line:
            expr = line.partition('expr: "')[2].replace('\\"', '"')
            what = next((name for name, text in asked.items() if expr.startswith(text)), "")
            if not what or "err:" in line:
                raise AssertionError(line)
        elif "got:" in line:
            text = line.partition("got:")[2].strip().replace('\\"', '"')
            for labels, value in _SAMPLE.findall(text):
                spans = found.setdefault(tuple(sorted(_LABEL.findall(labels))), {name: [] for name in asked})
                spans[what].append(float(value))
    if not found:
        raise AssertionError(output[-3000:])
    firing = []
    for labels, spans in found.items():
        named = dict(labels)
        name = named.pop("alertname")
        times = int(sum(spans["count"])), int(sum(spans["begun"]))
        firing.append(Firing(name, named, min(spans["min"]), max(spans["max"]), *times))
    return sorted(firing, key=lambda one: (one.first_s, one.name))
