"""The console in a real browser: by mouse, by keyboard, narrow, dark, and checked with axe."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from console.conftest import served
from console.traffic import recording

import trisignal

playwright = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no chromium is installed")

PAGES = ("/", "/calls", "/cost", "/quality", "/errors", "/alerts", "/compare", "/api", "/calls?page=0")
WAIT_MS = 60_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium."""
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def page(browser: Any, url: str) -> Iterator[Any]:
    """A fresh page; what its console complains of fails the test."""
    context = browser.new_context(base_url=url, viewport={"width": 1280, "height": 800})
    context.set_default_timeout(WAIT_MS)
    made = context.new_page()
    complaints: list[str] = []
    made.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    made.on("pageerror", lambda error: complaints.append(str(error)))
    yield made
    context.close()
    assert [text for text in complaints if "400" not in text] == []


def test_from_the_overview_to_a_span(page: Any) -> None:
    """Open, follow the slowest request to its trace, and choose another span there."""
    page.goto("/")
    assert page.title() == "Overview · trisignal"
    assert page.locator("svg.chart").count() == 3
    page.locator("table.rows tbody tr a").first.click()
    page.wait_for_url("**/traces/*")
    page.get_by_role("link", name="handbook").click()
    page.wait_for_url("**?span=*")
    assert page.locator(".two > div").last.locator("dl").first.get_by_text("retrieval", exact=True).count() == 1
    assert page.locator("tr.chosen").count() == 1


def test_filter_and_sort(page: Any) -> None:
    """Choosing a value filters at once; a heading sorts, and turns the order when it is used again."""
    page.goto("/calls?since=6h")
    page.locator("select[name=model]").select_option("gpt-4.1-mini")
    page.wait_for_url(re.compile("model=gpt-4.1-mini"))
    assert "claude" not in page.locator("#calls tbody").inner_text()
    page.get_by_role("link", name="duration").click()
    page.wait_for_url(re.compile("order=duration"))
    first = page.locator("#calls tbody tr").first.inner_text()
    page.get_by_role("link", name="duration").click()
    page.wait_for_url(re.compile("direction=asc"))
    assert page.locator("#calls tbody tr").first.inner_text() != first
    assert "model=gpt-4.1-mini" in page.url


def test_compare_two_windows(page: Any) -> None:
    """The comparison names the planted cause, and leads to its calls."""
    page.goto("/")
    page.get_by_role("link", name="All parts").click()
    page.wait_for_url(re.compile("/compare"))
    page.locator("select[name=measure]").select_option("tokens")
    page.wait_for_url(re.compile("measure=tokens"))
    page.locator("section.why a").first.click()
    page.wait_for_url(re.compile("tenant=acme"))


def test_by_keyboard_only(page: Any) -> None:
    """Search, rows and pages are reached without a mouse."""
    page.goto("/calls?since=6h")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.name") == "text"
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**/traces/*")
    page.keyboard.press("g")
    page.keyboard.press("m")
    page.wait_for_url("**/cost*")


def test_live_calls_come_by_themselves(browser: Any, tmp_path: Path) -> None:
    """With the live tail on, a call that ends is put on top."""
    store = tmp_path / "store"
    with recording(store):
        pass
    with served(store) as url:
        page = browser.new_page()
        page.set_default_timeout(WAIT_MS)
        page.goto(f"{url}/calls")
        with page.expect_response("**/live/calls*"):
            page.get_by_role("button", name="Live").click()
        with recording(store), trisignal.llm(provider="openai", model="<b>live</b>"):
            pass
        page.locator("tr.fresh").wait_for()
        assert "<b>live</b>" in page.locator("tr.fresh").inner_text()
        page.close()


@pytest.mark.parametrize("path", PAGES)
def test_nothing_runs_over_at_390_pixels(page: Any, path: str) -> None:
    """On a telephone only tables scroll, never the page."""
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(path)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", [*PAGES, "trace"])
def test_axe_finds_nothing_serious(page: Any, path: str, scheme: str, http: Any) -> None:
    """Contrast, names, roles and order are right, light and dark."""
    if path == "trace":
        path = "/traces/" + http.get("/v1/calls", params={"limit": 1}).json()["rows"][0]["trace_id"]
    page.emulate_media(color_scheme=scheme)
    page.goto(path)
    found = axe.Axe().run(page).response["violations"]
    assert [
        (one["id"], one["nodes"][0]["html"][:120]) for one in found if one["impact"] in ("serious", "critical")
    ] == []
