"""Pages, as a browser without scripts receives them."""

from __future__ import annotations

import csv
import io
import json
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from analysis.backend_servers import Server
from console.conftest import served
from console.traffic import HOSTILE, recording
from store.filled import call, hexadecimal, item, store

import trisignal
from trisignal import semconv as names
from trisignal.analysis.rows import SpanRow
from trisignal.console import waterfall
from trisignal.console.asked import read as asked_of
from trisignal.watch.alert_handlers import Alert
from trisignal.watch.alert_history import FILE, History

ALL = ("/", "/calls", "/cost", "/quality", "/errors", "/alerts", "/compare", "/api")


@pytest.mark.parametrize("path", ALL)
def test_every_page_answers(http: httpx.Client, path: str) -> None:
    """Each page of the navigation is HTML with a title, and links to all others."""
    answer = http.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert re.search(r"<title>\w+ · trisignal</title>", answer.text)
    for other in ALL[:-1]:
        assert f'href="{other}?' in answer.text


@pytest.mark.parametrize("path", ALL[:-1])
def test_an_empty_store_is_no_error(tmp_path: Path, path: str) -> None:
    """Before anything is recorded every page says so."""
    with recording(tmp_path / "store"):
        pass
    with served(tmp_path / "store") as url:
        answer = httpx.get(url + path, timeout=60)
    assert answer.status_code == 200
    assert re.search(r"[Nn]othing|no call|No call|No score|none firing", answer.text)


def test_text_from_outside_is_never_markup(http: httpx.Client) -> None:
    """A name that holds a script is shown as text on every page that shows it."""
    rows = http.get("/v1/traces", params={"limit": 1000}).json()["rows"]
    [hostile] = [row for row in rows if "alert" in row["entity"]]
    shown = [
        http.get(f"/traces/{hostile['trace_id']}"),
        http.get("/calls", params={"of": "requests", "request_id": hostile["request_id"]}),
        http.get("/calls", params={"text": HOSTILE, "tenant": HOSTILE}),
        http.get("/calls", params={"since": HOSTILE}),
        http.get("/calls", params={HOSTILE: "1", "context.x": HOSTILE}),
    ]
    assert "&lt;script&gt;" in shown[0].text
    for answer in shown:
        assert "<script>alert" not in answer.text
        assert "\x1b" not in answer.text


def test_calls_are_filtered_and_sorted(http: httpx.Client) -> None:
    """Filters in the address choose rows, headings sort them, and both survive following a link."""
    page = http.get("/calls", params={"since": "6h", "model": "gpt-4.1-mini", "order": "duration"}).text
    names = re.findall(r"</i>(chat [^<]+)</a>", page)
    assert set(names) == {"chat gpt-4.1-mini"}
    durations = [
        float(text) for text in re.findall(r'<td class="n">([\d.]+) s</td>\s+<td class="n roomy">0.30 s', page)
    ]
    assert durations == sorted(durations, reverse=True)
    assert len(durations) > 5
    assert "model=gpt-4.1-mini" in page


@pytest.mark.parametrize(
    ("query", "allowed"),
    [
        ("since=yesterday", "an age such as"),
        ("order=color", "duration"),
        ("page=0", "a whole number from 1"),
        ("page=²", "a whole number from 1"),
        ("of=everything", "requests"),
        ("since=1h&until=2h", "before"),
        (f"text={'x' * 600}", "at most 512 characters"),
    ],
)
def test_a_wrong_parameter_is_named(http: httpx.Client, query: str, allowed: str) -> None:
    """The answer is 400 and says what is allowed, on pages and in REST."""
    for path in ("/calls", "/v1/calls"):
        answer = http.get(f"{path}?{query}")
        assert answer.status_code == 400
        assert allowed in answer.text


def test_a_trace_shows_its_tree_and_one_span(http: httpx.Client) -> None:
    """Children are indented below parents, with self times, and the chosen span is shown in full."""
    row = http.get("/v1/calls", params={"limit": 1, "outcome": "ok"}).json()["rows"][0]
    page = http.get(f"/traces/{row['trace_id']}", params={"span": row["span_id"]}).text
    depths = re.findall(r'<td class="d(\d+)">', page)
    assert depths == ["0", "1", "2", "1", "2", "2"]
    assert f"<dt>span id</dt><dd>{row['span_id']}</dd>" in page
    assert "faithfulness" in page
    unknown = http.get("/traces/" + "0" * 32)
    assert unknown.status_code == 404


def test_the_planted_change_is_named(http: httpx.Client) -> None:
    """The overview says which tenant carries the longer prompts."""
    for path in ("/", "/compare?measure=tokens"):
        page = http.get(path).text
        changed = page[page.index("What changed?") :]
        assert "tenant acme" in changed[:700]


def test_no_change_without_calls_to_compare_with(http: httpx.Client) -> None:
    """A window without calls has no latency: the difference to it is not shown as a change."""
    page = http.get("/compare", params={"since": "3h", "before_since": "30d", "before_until": "29d"}).text
    assert "There is nothing to compare" in page
    assert "+" not in page[page.index("<h1>") : page.index("</h1>")]


def test_cost_as_a_file(http: httpx.Client) -> None:
    """The CSV file has a row per group, and what adds up to the page's total."""
    answer = http.get("/cost", params={"since": "6h", "by": "tenant,model", "format": "csv"})
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert {row["tenant"] for row in rows} == {"acme", "globex", "initech"}
    total = http.get("/v1/cost", params={"since": "6h"}).json()["total"]["cost_usd"]
    assert sum(float(row["cost_usd"]) for row in rows) == pytest.approx(total)
    assert "BilledCost" in http.get("/cost", params={"format": "focus"}).text


def test_new_calls_are_followed(folder: Path, url: str, tmp_path: Path) -> None:
    """The live tail sends a call that ends while it is watched, once."""
    store = tmp_path / "store"
    with recording(store):
        pass
    with served(store) as address, httpx.stream("GET", f"{address}/live/calls", timeout=60) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        assert next(line for line in lines if line.startswith(":")) == ": live"
        with recording(store), trisignal.llm(provider="openai", model="gpt-4.1-mini"):
            pass
        data = next(line for line in lines if line.startswith("data: "))
        assert json.loads(data.removeprefix("data: "))["model"] == "gpt-4.1-mini"


def test_alerts_are_shown_with_what_carried_them(folder: Path) -> None:
    """An active alert stands above those that have ended, each with its explanation, traces and comparison."""
    store = str(folder)
    now = time.time()
    history = History(store)
    begun = Alert(
        "error_rate", "firing", "error_rate", "", 0.4, 0.1, 50, 900.0, now - 60, None, "tenant acme 97%", ("a" * 32,)
    )
    history.keep(begun)
    history.keep(begun._replace(rule="<b>old</b>", status="resolved", started_unix_s=now - 900, ended_unix_s=now - 600))
    with served(folder, history=history) as url:
        page = httpx.get(f"{url}/alerts", timeout=60).text
        rows = httpx.get(f"{url}/v1/alerts", timeout=60).json()["alerts"]
    (folder / FILE).unlink()
    assert "1 firing" in page
    assert "tenant acme 97%" in page
    assert f'href="/traces/{"a" * 32}"' in page
    assert "&lt;b&gt;old" in page
    assert [row["status"] for row in rows] == ["firing", "resolved"]


def test_captured_messages_are_shown(tmp_path: Path) -> None:
    """A trace shows the messages of its call by role, cut ones and markup as text."""
    said = json.dumps([{"role": "user", "parts": [{"type": "text", "content": "Where is <b>it</b>?"}]}])
    facts = {
        names.INPUT_MESSAGES: said,
        names.OUTPUT_MESSAGES: '[{"role": "assist',
        names.SYSTEM_INSTRUCTIONS: "Be kind.",
    }
    span = SpanRow("a" * 32, "b" * 16, "", "chat x", 1.0, 1.0, attributes=facts)
    assert waterfall.messages_of(span) == [
        ("system", "Be kind."), ("user", "Where is <b>it</b>?"), ("", '[{"role": "assist')
    ]  # fmt: skip
    tool = json.dumps([{"role": "assistant", "parts": [{"type": "tool_call", "name": "look"}, None]}, 5])
    odd = replace(span, attributes={names.OUTPUT_MESSAGES: tool, names.INPUT_MESSAGES: "5"})
    assert waterfall.messages_of(odd) == [("", "5"), ("assistant", '{"type": "tool_call", "name": "look"}'), ("", "5")]
    facts_ = {"content": {names.INPUT_MESSAGES: said}}
    store(tmp_path, [item(call(1, time.time() - 60, **facts_))])
    with served(tmp_path) as url:
        page = httpx.get(f"{url}/traces/{hexadecimal(2, 32)}", timeout=60).text
    assert "Messages of" in page
    assert "Where is &lt;b&gt;it&lt;/b&gt;?" in page


def test_metrics_stand_beside_the_spans(folder: Path) -> None:
    """With metrics the overview says how many calls there were, and which part of them the spans are."""
    asked: list[str] = []

    def answer(path: str, given: dict[str, str], _: bytes) -> Any:
        asked.append(given["query"])
        series = {"metric": {"llm_outcome": "ok", "gen_ai_request_model": "small"}, "value": [1, "480"]}
        found = [series] if "llm_requests_total" in asked[-1] and "model" in asked[-1].partition(")")[0] else []
        if "sum by (llm_outcome)" in asked[-1]:
            found = [{**series, "metric": {"llm_outcome": "ok"}}]
        return {"status": "success", "data": {"result": found}}

    with Server(answer).running() as prometheus:
        with served(folder, metrics=f"prometheus+http://{prometheus.place}") as url:
            page = httpx.get(f"{url}/?since=6h", timeout=60).text
            shown = httpx.get(f"{url}/v1/metrics?source=metrics&by=model", timeout=60).json()
    assert "480 calls, 0 % failing" in page
    assert "The spans below are 50 % of them." in page
    assert shown["groups"][0]["spans"] == 480
    with served(folder, metrics="prometheus+http://127.0.0.1:1") as url:
        answered = httpx.get(f"{url}/?since=6h", timeout=60)
    assert answered.status_code == 200
    assert "no answer" in answered.text


def test_a_step_that_has_just_begun_is_no_drop() -> None:
    """Rates of the first and the last step are those of the seconds that the window has of them."""
    query = asked_of({"since": "1796000030", "until": "1796003631"})
    assert query.step_s == 120
    assert query.covered_s(1796000040.0) == 120
    assert query.covered_s(1795999920.0) == 120 - 110 + 14
    assert query.covered_s(1796003520.0) == 111
