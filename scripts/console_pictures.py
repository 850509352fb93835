"""Draw the console's pages, light and dark, for the documentation.

    PYTHONPATH=src:tests python scripts/console_pictures.py docs/images [--only rag realtime]

Records two hours of made-up traffic with trisignal itself, serves the console over it, and takes
pictures in Chromium; so it does of one run of ``examples/rag.py``, and of one turn of a realtime session that a
server on this machine plays. Needs Debian's chromium and the dependency group ``test``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
from clients import realtime_events as events
from console.conftest import served
from console.traffic import assistant
from playwright.sync_api import sync_playwright
from realtime_server import RealtimeServer, Sent

import trisignal
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
TRACE_HEIGHTS = {"rag": 640, "realtime": 700}
ROOT = Path(__file__).parents[1]
STEP_S = 0.12
"""Between two events of the realtime session."""


class Paced(list[Any]):
    """What a server plays, with a pause before each event."""

    def __iter__(self) -> Iterator[Any]:
        for step in super().__iter__():
            time.sleep(STEP_S)
            yield step


def rag(store: Path) -> None:
    """Run the example."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OPENAI_API_KEY": ""}
    subprocess.run([sys.executable, str(ROOT / "examples" / "rag.py"), str(store)], env=environ, check=True)


def realtime(store: Path) -> None:
    """One turn of a session: the user speaks, the model asks a tool, and says what it has found."""
    play = [events.SESSION, events.SPEECH_STARTED, events.SPEECH_STOPPED, events.created()]
    play += [*events.tool_call(), events.done(), Sent(), Sent(), events.created("resp_2"), events.audio("resp_2")]
    play += [events.said("Sun in Bern.", "resp_2"), events.audio("resp_2"), events.done("resp_2")]
    with RealtimeServer(Paced(play)) as server, trisignal.setup(service_name="voice", store=str(store)):
        trisignal.instrument("openai")
        client = openai.OpenAI(api_key="none", websocket_base_url=f"{server.url}/v1".replace("http", "ws", 1))
        with client.realtime.connect(model="gpt-realtime") as connection:
            for event in connection:
                if event.type == "response.done" and event.response.id == "resp_1":
                    time.sleep(STEP_S)
                    connection.send(events.tool_result())
                    connection.send(events.CREATE)
                elif event.type == "response.done":
                    break
        trisignal.uninstrument()


TRACES: dict[str, tuple[Callable[[Path], None], str]] = {
    "rag": (rag, "invoke_workflow answer a question"),
    "realtime": (realtime, "realtime_turn gpt-realtime"),
}
"""Picture to what records a trace, and the name of its first span."""


def traces(folder: Path, names: list[str]) -> None:
    """Write ``trace-NAME.png`` and ``trace-NAME-dark.png``."""
    for name in names:
        record, root = TRACES[name]
        with tempfile.TemporaryDirectory() as scratch:
            store = Path(scratch) / "store"
            record(store)
            with served(store) as url, sync_playwright() as driver:
                rows = httpx.get(f"{url}/v1/traces", params={"limit": 20}, timeout=60).json()["rows"]
                ids = {row["trace_id"] for row in rows}
                trees = {one: httpx.get(f"{url}/v1/traces/{one}", timeout=60).json()["roots"] for one in ids}
                trace = next(one for one, roots in trees.items() if roots[0]["span"]["name"] == root)
                browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
                for scheme, ending in (("light", ""), ("dark", "-dark")):
                    page = browser.new_page(
                        base_url=url,
                        viewport={"width": 1280, "height": TRACE_HEIGHTS[name]},
                        color_scheme=scheme,  # type: ignore[arg-type]  # one of its literals
                    )
                    page.goto(f"/traces/{trace}")
                    page.screenshot(path=str(folder / f"trace-{name}{ending}.png"))
                    page.close()
                    print(f"trace-{name}{ending}.png")
                browser.close()


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
    parser.add_argument("--only", nargs="+", choices=list(TRACES), help="pictures of these traces alone")
    asked = parser.parse_args()
    traces(asked.folder, asked.only or list(TRACES))
    sys.exit(0 if asked.only else main(asked.folder))
