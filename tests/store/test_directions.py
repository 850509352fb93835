"""Scores of which a low one is good, and files of before the store knew that."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

import trisignal
from trisignal import testing
from trisignal.store import schema

HARMLESS, HARMFUL = 0.02, 0.9


def scored(folder: Path, toxicity: float, faithfulness: float) -> str:
    """One call with two scores; its trace."""
    with testing.capture(store=str(folder)) as seen:
        with trisignal.llm(provider="openai", model="gpt-4o") as call:
            ref = call.ref
        trisignal.evaluate("toxicity", toxicity, ref=ref, higher_is_better=False)
        trisignal.evaluate("faithfulness", faithfulness, ref=ref)
        assert seen.telemetry.force_flush()
    return ref["trace_id"]


def test_the_worst_is_found_whichever_way_is_good(tmp_path: Path) -> None:
    """A harmful answer comes before a middling one, a harmless one is not a low score, and the scores stay as recorded."""
    good, middling, bad = (
        scored(tmp_path, HARMLESS, 0.95),
        scored(tmp_path, HARMLESS, 0.4),
        scored(tmp_path, HARMFUL, 0.95),
    )
    with trisignal.TraceAnalyzer(tmp_path) as analyzer:
        found = analyzer.lowest_quality(threshold=0.5)
        groups = analyzer.quality("model", threshold=0.5).groups
        quality = {row.trace_id: row.quality for row in analyzer.spans().rows}
    assert [(one.score.trace_id, one.score.evaluation, one.score.score) for one in found.items] == [
        (bad, "toxicity", HARMFUL),
        (middling, "faithfulness", 0.4),
    ]
    assert quality == {bad: pytest.approx(1 - HARMFUL), middling: 0.4, good: 0.95}
    assert [(group.judged, group.below, group.examples) for group in groups] == [(6, 2, (bad, middling))]


def test_a_file_of_before_is_read_and_brought_up_to_date(tmp_path: Path) -> None:
    """Readers take its scores as high ones being good; the next writer adds the column and loses nothing."""
    before = scored(tmp_path, HARMFUL, 0.7)
    for path in tmp_path.glob("*.db"):
        with sqlite3.connect(path) as db:
            if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'score'").fetchone():
                db.execute("ALTER TABLE score DROP COLUMN lower")
                db.execute(f"PRAGMA user_version = {schema.WITHOUT_DIRECTION}")
        db.close()
    with trisignal.TraceAnalyzer(tmp_path) as analyzer:
        assert [
            (one.score.trace_id, one.score.score, one.score.higher_is_better) for one in analyzer.lowest_quality().items
        ] == [
            (before, 0.7, True),
            (before, HARMFUL, True),
        ]
    after = scored(tmp_path, HARMFUL, 0.7)
    with trisignal.TraceAnalyzer(tmp_path) as analyzer:
        found = analyzer.lowest_quality().items
    assert [(one.score.trace_id, one.score.evaluation) for one in found] == [
        (after, "toxicity"),
        (after, "faithfulness"),
        (before, "faithfulness"),
        (before, "toxicity"),
    ]
