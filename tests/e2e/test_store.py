"""Four workers of a FastAPI application write one store, and it is read while they write."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from e2e.load import Load, Provider
from e2e.servers import Gunicorn, wait_equal, wait_for

from trisignal import TraceAnalyzer

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def test_four_workers_share_a_store(tmp_path: Path) -> None:
    """Every question is answered while all workers write; in the end the store has each call once, as it ended."""
    folder = tmp_path / "store"
    with Provider() as provider:
        settings = {"TRISIGNAL_STORE": str(folder), **provider.variables}
        with Gunicorn(tmp_path / "app", "uvicorn.workers.UvicornWorker", **settings) as app, Load(app.address) as load:
            wait_for(lambda: len(load.processes) == 4 and folder.is_dir(), "calls of all workers")
            with TraceAnalyzer(folder) as analyzer:

                def asked() -> int:
                    held = analyzer.spans(limit=5).rows
                    if held:
                        assert analyzer.trace(held[0].trace_id).calls >= 1
                    answers = (analyzer.totals(quantiles=True), analyzer.cost("model"), analyzer.errors())
                    assert not any(one.coverage.partial for one in answers)
                    return sum(one.spans for one in answers[0].groups)

                seen = [asked()]
                wait_for(lambda: seen.append(asked()) or len({*seen}) > 5, "a store that grows")  # type: ignore[func-returns-value]
                assert seen == sorted(seen), "calls do not vanish"
                load.stop()
                made = provider.counts()
                wait_equal(lambda: asked(), made.total())
                rows = analyzer.spans(limit=100_000).rows
        printed = app.printed()
    assert Counter((row.model, row.outcome) for row in rows) == made
    assert len({(row.trace_id, row.span_id) for row in rows}) == made.total()
    assert "Traceback" not in printed
