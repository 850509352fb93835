"""The relabelling that the page on cardinality recommends, as Prometheus applies it to what it scrapes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import yaml

PAGE = Path(__file__).parents[1] / "docs" / "explanation" / "cardinality.md"


@cache
def drops() -> list[tuple[list[str], re.Pattern[str]]]:
    """Labels whose values are joined, and what drops a series if it matches all of that."""
    block = re.search(r"## Fewer series.*?```yaml[^\n]*\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    [scrape] = yaml.safe_load(block[1])["scrape_configs"]
    rules = scrape["metric_relabel_configs"]
    assert {rule["action"] for rule in rules} == {"drop"}
    return [(rule["source_labels"], re.compile(rule["regex"])) for rule in rules]


def dropped(labels: Mapping[str, str]) -> bool:
    """Whether Prometheus keeps no such series.

    Args:
        labels: Those of the series, ``__name__`` included.
    """
    return any(regex.fullmatch(";".join(labels.get(name, "") for name in names)) for names, regex in drops())
