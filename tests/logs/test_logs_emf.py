"""Call lines in CloudWatch's Embedded Metric Format."""

from __future__ import annotations

import io
import json
import logging
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import trisignal
from trisignal.errors import ConfigError
from trisignal.logs import EmfFormatter

TARGET = {"type": "object", "required": ["Name"], "properties": {
    "Name": {"type": "string", "minLength": 1, "maxLength": 1024},
    "Unit": {"enum": ["Seconds", "Count", "None"]},
}}  # fmt: skip
SCHEMA = {
    "type": "object", "required": ["_aws"], "properties": {"_aws": {
        "type": "object", "required": ["Timestamp", "CloudWatchMetrics"], "properties": {
            "Timestamp": {"type": "integer", "minimum": 1},
            "CloudWatchMetrics": {"type": "array", "minItems": 1, "items": {
                "type": "object", "required": ["Namespace", "Dimensions", "Metrics"], "properties": {
                    "Namespace": {"type": "string", "minLength": 1, "maxLength": 1024},
                    "Dimensions": {"type": "array", "minItems": 1, "items": {
                        "type": "array", "maxItems": 30, "items": {"type": "string", "minLength": 1, "maxLength": 250},
                    }},
                    "Metrics": {"type": "array", "maxItems": 100, "items": TARGET},
                },
            }},
        },
    }},
}  # fmt: skip
"""What the specification of the format asks for, in our words."""


def valid(line: dict[str, Any]) -> dict[str, Any]:
    """The line's directive, after all that the specification asks for: members that are named exist, with their types."""
    jsonschema.validate(line, SCHEMA)
    [directive] = line["_aws"]["CloudWatchMetrics"]
    for names in directive["Dimensions"]:
        assert all(isinstance(line[name], str) and 0 < len(line[name]) <= 1024 for name in names)
    assert all(isinstance(line[one["Name"]], (int, float)) for one in directive["Metrics"])
    return directive


def test_lines_of_calls_are_metrics(capsys: pytest.CaptureFixture[str]) -> None:
    """Duration, tokens and cost by model, outcome and the dimensions of metrics; nothing else changes."""
    with trisignal.setup(service_name="answer", logs="emf", emf_namespace="Answers", metric_dimensions=("tenant",)):
        with trisignal.context(tenant="acme"), trisignal.llm(provider="openai", model="gpt-4o") as call:
            call.set_usage(input_tokens=1000, output_tokens=100)
        with pytest.raises(ValueError), trisignal.tool("search"):
            raise ValueError("no")
    model, tool = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    directive = valid(model)
    assert directive["Namespace"] == "Answers"
    assert directive["Dimensions"] == [
        ["gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model", "llm_outcome", "tenant"]
    ]
    assert {one["Name"]: one["Unit"] for one in directive["Metrics"]} == {
        "duration_s": "Seconds",
        "gen_ai.usage.input_tokens": "Count",
        "gen_ai.usage.output_tokens": "Count",
        "cost_usd": "None",
    }
    assert (model["cost_usd"], model["gen_ai.usage.input_tokens"]) == (0.0035, 1000)
    assert valid(tool)["Dimensions"] == [["gen_ai.operation.name", "llm_outcome"]]
    assert tool["llm_outcome"] == "error"


def lines_of(formatter: logging.Formatter, *records: dict[str, Any]) -> list[dict[str, Any]]:
    """What a formatter makes of lines with these members."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(formatter)
    for fields in records:
        record = logging.makeLogRecord({"msg": "x", "levelname": "INFO", "name": "n", **fields})
        handler.handle(record)
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_sets_of_dimensions_are_bounded() -> None:
    """Each is a metric that is paid for: further ones count without dimensions, and known ones go on."""
    formatter = EmfFormatter(namespace="n", most=2)
    models = [{"llm_outcome": "ok", "duration_s": 1.0, "gen_ai.request.model": f"m{n}"} for n in (0, 1, 2, 3, 0)]
    found = [valid(line)["Dimensions"] for line in lines_of(formatter, *models)]
    named = [["gen_ai.request.model", "llm_outcome"]]
    assert found == [named, named, [[]], [[]], named]


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["gen_ai.request.model", "tenant", "gen_ai.provider.name"]), st.text()))
def test_any_value_makes_a_valid_line(bound: dict[str, str]) -> None:
    """CloudWatch drops the metrics of a line that names what it does not take."""
    formatter = EmfFormatter(namespace="n", dimensions=("tenant",))
    [line] = lines_of(formatter, {"llm_outcome": "ok", "duration_s": 1.0, **bound})
    valid(line)


def test_other_lines_stay_as_they_are() -> None:
    """A log line of the application is not a metric."""
    [line] = lines_of(EmfFormatter(namespace="n"), {"order": 7})
    assert "_aws" not in line


def test_sampled_lines_cannot_be_metrics() -> None:
    """They would count a part of the calls: refused at set-up."""
    with pytest.raises(ConfigError, match=r"log_sample_ratio=0\.5 .*logs='emf'"):
        trisignal.setup(logs="emf", log_sample_ratio=0.5)
