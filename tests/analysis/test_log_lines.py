"""The call log as a source."""

from __future__ import annotations

from pathlib import Path

import pytest

import trisignal
from trisignal import testing
from trisignal.analysis.analyzer import TraceAnalyzer
from trisignal.analysis.log_lines import log_source
from trisignal.errors import SourceError


def test_the_log_answers_as_the_store_does(tmp_path: Path) -> None:
    """Calls that were both logged and stored are the same in both, trees included."""
    with testing.capture(store=str(tmp_path / "store")) as seen:
        for number in range(20):
            with trisignal.context(request_id=f"r-{number}", tenant="acme"), trisignal.workflow("answer"):
                with trisignal.tool("search"):
                    pass
                with trisignal.llm(provider="openai", model="gpt-4o") as active:
                    active.set_usage(input_tokens=100 + number, output_tokens=number)
        assert seen.telemetry.force_flush()
        text = seen.log_text
    path = tmp_path / "calls.jsonl"
    path.write_text(text + "no json\n[1]\n", encoding="utf-8")
    with TraceAnalyzer(tmp_path / "store") as stored, TraceAnalyzer(log_source(path)) as logged:
        for by in ("model", "tenant", "operation"):
            one, other = (analyzer.cost(by).groups for analyzer in (stored, logged))
            assert [(g.key, g.spans, g.input_tokens, g.output_tokens) for g in one] == [
                (g.key, g.spans, g.input_tokens, g.output_tokens) for g in other
            ]
            assert [g.cost_usd for g in one] == pytest.approx([g.cost_usd for g in other])
        row = stored.find(request_id="r-3").spans[0]
        # A log has milliseconds only, so the order of neighbours may differ.
        trees = [
            {(depth, node.span.span_id, node.span.name) for depth, node in analyzer.trace(row.trace_id).nodes()}
            for analyzer in (stored, logged)
        ]
        assert trees[0] == trees[1]
        assert "2 lines are not JSON objects" in logged.holding().notes


def test_a_log_that_cannot_be_read(tmp_path: Path) -> None:
    """A missing file is refused with its reason."""
    with pytest.raises(SourceError, match="No such file"):
        log_source(tmp_path / "missing.jsonl")
