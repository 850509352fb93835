"""TraceQL metrics on 127.0.0.1: a stand-in that evaluates the part of the language that is sent, and refuses the rest."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from analysis.backend_servers import Answer, Asked, ns, pairs, sent, tempo

from trisignal.analysis.rows import SpanRow

_QUERY = re.compile(r"\{ (?P<where>.*) \} \| (?P<function>\w+)\((?P<of>[^)]*)\)( by \((?P<by>.*)\))?")
_TEST = re.compile(
    r'(?P<field>[\w.]+|span\."[^"]+") (?P<how>=|!=|!~|>=) (?P<value>nil|error|server|\d+ns|"(?:[^"\\]|\\.)*")'
)


def tempo_with_metrics(rows: Sequence[SpanRow]) -> Answer:
    """A Tempo with the instant metrics of its newer versions."""
    search = tempo(rows)

    def answer(path: str, asked: Asked, body: bytes) -> Any:
        if path != "/api/metrics/query":
            return search(path, asked, body)
        match = _QUERY.fullmatch(asked["q"])
        if match is None:
            return 400
        since, until = int(asked["start"]), int(asked["end"])
        found = [row for row in rows if since <= ns(row.start_unix_s) < until and _holds(row, match["where"])]
        by = [one.strip() for one in (match["by"] or "").split(",") if one.strip()]
        groups: dict[tuple[Any, ...], list[SpanRow]] = {}
        for row in found:
            groups.setdefault(tuple(_value(row, name) for name in by), []).append(row)
        series = []
        for key, members in groups.items():
            values = [1.0] * len(members) if match["function"] == "count_over_time" else _numbers(members, match["of"])
            labels = {name: "nil" if value is None else value for name, value in zip(by, key)}
            given = labels or {"__name__": match["function"]}
            # What is 0 is left out of an answer.
            series.append({"labels": pairs(given), "promLabels": "", **({"value": sum(values)} if sum(values) else {})})
        return {"series": series, "metrics": {}}

    return answer


def _value(row: SpanRow, name: str) -> Any:
    facts = {
        "resource.service.name": row.service,
        "name": row.name,
        "kind": "client",
        "status": "error" if row.outcome == "error" else "unset",
        "duration": row.duration_s,
    }
    return facts[name] if name in facts else sent(row).get(name.removeprefix("span.").strip('"'))


def _numbers(rows: Sequence[SpanRow], name: str) -> list[float]:
    return [float(value) for row in rows if (value := _value(row, name)) is not None]


def _holds(row: SpanRow, where: str) -> bool:
    def test(match: re.Match[str]) -> str:
        value, given = _value(row, match["field"]), match["value"]
        tests: dict[str, Callable[[], bool]] = {
            "=": lambda: value == (None if given == "nil" else given.strip('"')),
            "!=": lambda: value != (None if given == "nil" else given.strip('"')),
            "!~": lambda: re.fullmatch(given.strip('"'), str(value)) is None,
            ">=": lambda: float(value) * 1e9 >= float(given.removesuffix("ns")),
        }
        return str(tests[match["how"]]())

    plain = _TEST.sub(test, where).replace("&&", "and").replace("||", "or")
    assert re.fullmatch(r"(?:True|False|and|or|[() ])+", plain), plain
    return bool(eval(plain))  # True, False, and, or and parentheses
