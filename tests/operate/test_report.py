"""The weekly review against a real Prometheus that holds a made-up fortnight."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator

import pytest
from operate.serving import served

from trisignal.operate import markdown, report
from trisignal.operate.objectives import RulesPlan
from trisignal.operate.report import Kept, Prometheus, Review, review
from trisignal.operate.scrape import Unreachable

HOUR_S, DAY_S, WEEK_S = 3600, 86_400, 7 * 86_400
END_S = (int(time.time()) // HOUR_S - 1) * HOUR_S
START_S = END_S - 2 * WEEK_S - HOUR_S
DURATION = {"1.41": "gen_ai_client_operation_duration_seconds", "2026-10": "gen_ai_client_inference_duration_seconds"}


def fortnight() -> str:
    """100 calls an hour of each of two models; in the last week one call in 50 to gpt-4o fails, and cost doubles."""
    lines: dict[str, list[str]] = {}

    def put(family: str, suffix: str, labels: str, value: float, at_s: int) -> None:
        kind = "histogram" if "duration" in family else "gauge" if family == "ALERTS" else "counter"
        lines.setdefault(f"# TYPE {family} {kind}", []).append(f"{family}{suffix}{{{labels}}} {value} {at_s}")

    for model in ("gpt-4o", "gpt-4o-mini"):
        told = f'gen_ai_operation_name="chat",gen_ai_provider_name="openai",gen_ai_request_model="{model}"'
        errors = cost = 0.0
        for hours, at_s in enumerate(range(START_S, END_S + 1, HOUR_S)):
            late = at_s > END_S - WEEK_S
            errors += 2 if late and model == "gpt-4o" else 0
            cost += 2 if late else 1
            good = hours * 100 - errors
            put("llm_requests", "_total", f'{told},llm_outcome="ok"', good, at_s)
            put("llm_requests", "_total", f'{told},llm_outcome="error"', errors, at_s)
            if errors:
                put("llm_errors", "_total", f'{told},llm_error_kind="rate_limit",error_type="429"', errors, at_s)
            put("llm_cost_usd", "_total", f'{told},llm_cost_bucket="input"', cost, at_s)
            for name in DURATION.values():
                for bound, part in (("5.0", 0.98), ("10.24", 1), ("+Inf", 1)):
                    put(name, "_bucket", f'{told},llm_outcome="ok",le="{bound}"', good * part, at_s)
                put(name, "_count", f'{told},llm_outcome="ok"', good, at_s)
                put(name, "_sum", f'{told},llm_outcome="ok"', good * 1.5, at_s)
    for began in (END_S - 3 * DAY_S, END_S - DAY_S):
        for at_s in range(began, began + 601, 60):
            put("ALERTS", "", 'alertname="LlmErrorRatioHigh",alertstate="firing",severity="critical"', 1, at_s)
    return "\n".join(line for head, of in lines.items() for line in (head, *of)) + "\n# EOF\n"


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus on loopback with that fortnight."""
    if shutil.which("prometheus") is None or shutil.which("promtool") is None:
        pytest.skip("needs prometheus and promtool")
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "data.om").write_text(fortnight())
    (folder / "prometheus.yml").write_text("scrape_configs: []\n")
    subprocess.run(
        ["promtool", "tsdb", "create-blocks-from", "openmetrics", "data.om", "data"],
        cwd=folder, check=True, capture_output=True, timeout=200,
    )  # fmt: skip
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            ["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data",
             "--storage.tsdb.retention.time=10y", f"--web.listen-address=127.0.0.1:{port}"],
            cwd=folder, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        made = Prometheus(f"http://127.0.0.1:{port}/")
        for _ in range(600):
            try:
                made.vector("vector(1)", END_S)
                break
            except Unreachable:
                time.sleep(0.1)
        yield made
    finally:
        server.kill()
        server.wait(20)


@pytest.fixture(scope="module")
def reviewed(prometheus: Prometheus) -> Review:
    """The review of the last week with the default plan."""
    return review(prometheus, RulesPlan(), END_S)


@pytest.mark.slow
def test_objectives_are_those_of_the_data(reviewed: Review) -> None:
    """One call in 100 failed this week: ten times the budget; none did the week before."""
    told = {one.slo.name: one for one in reviewed.objectives}
    availability = told["availability"]
    assert availability.week.events == pytest.approx(2 * 100 * 168, rel=0.01)
    assert availability.week.attained == pytest.approx(0.99, abs=0.0003)
    assert availability.week.burn == pytest.approx(10, rel=0.03)
    assert availability.week.left == pytest.approx(-9, rel=0.03)
    assert availability.day.burn == pytest.approx(10, rel=0.05)
    assert availability.before.attained == 1.0
    [missed] = availability.missed
    assert missed.labels["model"] == "gpt-4o"
    assert missed.burn == pytest.approx(20, rel=0.03)
    assert told["chat_latency"].week.attained == pytest.approx(0.98, abs=0.001)
    assert told["rate_limit"].week.attained == pytest.approx(0.99, abs=0.0005)


def test_both_profiles_are_reviewed(prometheus: Prometheus, reviewed: Review) -> None:
    """The latency objective of the other profile has the same figure."""
    other = review(prometheus, RulesPlan(metric_profile="2026-10"), END_S)
    one, two = ({o.slo.name: o.week for o in found.objectives}["chat_latency"] for found in (reviewed, other))
    assert one.events > 0
    assert two.attained == pytest.approx(one.attained)


def test_cost_errors_and_changes(reviewed: Review) -> None:
    """Cost doubled against last week; errors are by kind, and new."""
    [(labels, now, before), _] = reviewed.costs
    assert labels.keys() == {"model", "provider"}
    assert (now, before) == (pytest.approx(336, rel=0.02), pytest.approx(168, rel=0.02))
    [(labels, now, before)] = reviewed.errors
    assert (labels["llm_error_kind"], before) == ("rate_limit", 0.0)
    assert now == pytest.approx(336, rel=0.02)
    changes = {one.title: one for one in reviewed.changes}
    assert changes["Error ratio"].now == pytest.approx(0.01, abs=0.0003)
    assert changes["Error ratio"].before == 0.0
    assert changes["Tokens"].now is None


def test_alerts_are_counted_by_their_starts(reviewed: Review) -> None:
    """Two spells of one alert are two times, and the minutes are those in which it fired."""
    [fired] = reviewed.fired
    assert (fired.alert, fired.severity, fired.times) == ("LlmErrorRatioHigh", "critical", 2)
    assert 20 <= fired.minutes <= 35  # five minutes of look-back each, as nothing marks the end


def test_the_page_says_so(reviewed: Review) -> None:
    """The Markdown has each part, and tables whose rows fit their heads."""
    text = markdown.page(reviewed)
    assert "objectives were kept, not availability, rate_limit." in text
    assert "| gpt-4o | openai | $" in text
    assert "+100%" in text
    assert "| LlmErrorRatioHigh | critical | 2 |" in text
    for block in text.split("\n\n"):
        rows = [line for line in block.splitlines() if line.startswith("|")]
        assert len({row.count("|") for row in rows}) <= 1


def test_a_week_without_traffic(prometheus: Prometheus) -> None:
    """No division by zero: every figure is a dash, and the page says that nothing was seen."""
    empty = review(prometheus, RulesPlan(), END_S - 60 * DAY_S)
    assert [one.week.attained for one in empty.objectives] == [None] * len(empty.objectives)
    text = markdown.page(empty)
    assert "No call to a model was seen" in text
    assert "nan" not in text.lower()
    assert "inf" not in text.lower()


def test_the_first_week(prometheus: Prometheus) -> None:
    """With nothing before it, the comparison is left out and nothing fails."""
    text = markdown.page(review(prometheus, RulesPlan(), END_S - WEEK_S))
    assert "| Calls | " in text
    assert "new" in text or "–" in text


@pytest.mark.parametrize(
    ("events", "bad", "attained", "burn", "left"),
    [(0, 0, None, None, None), (100, 0, 1.0, 0.0, 1.0), (100, 100, 0.0, 10.0, -9.0)],
)
def test_budgets(events: float, bad: float, attained: float | None, burn: float | None, left: float | None) -> None:
    """Nothing kept is nothing known; all bad is ten budgets of a tenth."""
    kept = Kept({}, events, bad, 0.9)
    for got, wanted in ((kept.attained, attained), (kept.burn, burn), (kept.left, left)):
        assert got == (None if wanted is None else pytest.approx(wanted))


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (400, json.dumps({"status": "error", "error": "parse error"}), "parse error"),
        (200, "<html>", "this is not Prometheus"),
        (404, "nothing", "this is not Prometheus: it answered 404"),
        (200, json.dumps([1]), "this is not Prometheus"),
    ],
)
def test_what_is_no_prometheus(status: int, body: str, said: str) -> None:
    """A refused query and another server are one line each."""
    with served(body, status=status) as server, pytest.raises(Unreachable, match=said):
        report.Prometheus(server.url).vector("up", END_S)
