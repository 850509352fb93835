"""Draw the console's pages, light and dark, for the documentation.

    PYTHONPATH=src:tests python scripts/console_pictures.py docs/images

Records two hours of made-up traffic with trisignal itself, serves the console over it, and takes
pictures in Chromium. Needs Debian's chromium and the dependency group ``test``.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

import httpx
from console.conftest import served
from console.traffic import assistant
from playwright.sync_api import sync_playwright

from trisignal import TraceAnalyzer
from trisignal.watch.alert_handlers import Alert
from trisignal.watch.alert_history import History

PAGES = {
    "overview": ("/", 860),
    "calls": ("/calls", 800),
    "cost": ("/cost?by=tenant&then=model", 800),
    "quality": ("/quality", 900),
    "errors": ("/errors", 700),
    "alerts": ("/alerts", 420),
    "compare": ("/compare", 900),
    "trace": ("/traces/{trace}", 720),
}
"""Name to path and height."""


def main(folder: Path) -> int:
    """Write ``console-PAGE.png`` and ``console-PAGE-dark.png`` for each page; returns the exit code."""
    chromium = shutil.which("chromium")
    if chromium is None:
        print("chromium is not installed: apt-get install chromium", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as scratch:
        store = Path(scratch) / "store"
        assistant(store, requests=1500)
        with served(store, history=_alerts(store)) as url, sync_playwright() as driver:
            rows = httpx.get(f"{url}/v1/traces", params={"limit": 20, "order": "duration"}, timeout=60).json()["rows"]
            trace = next(row["trace_id"] for row in rows if row["outcome"] == "ok" and "script" not in row["entity"])
            browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            for scheme, ending in (("light", ""), ("dark", "-dark")):
                for name, (path, height) in PAGES.items():
                    page = browser.new_page(
                        base_url=url,
                        viewport={"width": 1280, "height": height},
                        color_scheme=scheme,  # type: ignore[arg-type]  # one of its literals
                    )
                    page.goto(path.format(trace=trace))
                    page.screenshot(path=str(folder / f"console-{name}{ending}.png"))
                    page.close()
                    print(f"console-{name}{ending}.png")
            browser.close()
    return 0


def _alerts(store: Path) -> History:
    """One alert that is firing and one that has ended, with what carried them."""
    history, now = History(str(store)), time.time()
    with TraceAnalyzer(store) as analyzer:
        failed = [row.trace_id for row in analyzer.spans(outcome="error", limit=6).rows]
        found = analyzer.compare(measure="tokens")
    dearer = ", ".join(f"{one.dimension} {one.value} {one.share:.0%}" for one in found.causes[:2])
    spent = Alert("cost_spike", "firing", "cost_spike", "", 3.4, 3, 640, 600.0, now - 420, None, dearer, ())
    history.keep(spent._replace(examples=found.causes[0].examples))
    ended = spent._replace(
        rule="error_rate", signal="error_rate", group="anthropic", value=0.13, limit=0.1, samples=120, window_s=300.0,
        started_unix_s=now - 5400, explanation="error kind timeout 91%", examples=tuple(failed[:3]),
    )  # fmt: skip
    history.keep(ended)
    history.keep(ended._replace(status="resolved", ended_unix_s=now - 4100))
    return history


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    sys.exit(main(parser.parse_args().folder))
