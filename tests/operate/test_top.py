"""Rates between two scrapes of a real page, in both metric profiles."""

from __future__ import annotations

import math
import socket
from collections.abc import Iterator

import pytest
from operate.serving import served
from prometheus_client.openmetrics.exposition import generate_latest

import trisignal
from trisignal.assembly import telemetry
from trisignal.errors import ConfigError
from trisignal.operate import scrape, top
from trisignal.operate.scrape import Scrape, Unreachable, quantile, read
from trisignal.testing import FakeClock, Seen, capture
from trisignal.web.metrics_page import serve_metrics


def calls(clock: FakeClock, model: str, seconds: float, count: int, error: bool = False) -> None:
    """Some streamed calls of one kind."""
    for _ in range(count):
        try:
            with trisignal.llm(provider="openai", model=model) as call:
                clock.advance(seconds / 2)
                call.mark_first_token()
                clock.advance(seconds / 2)
                if error:
                    raise TimeoutError
                call.set_usage(input_tokens=1000, output_tokens=100)
        except TimeoutError:
            pass


def page(seen: Seen, at_s: float) -> Scrape:
    """The metrics as they are, scraped at a time of ours."""
    answer = scrape.Answer(200, scrape.OPENMETRICS, None, generate_latest(seen.registry))
    found = scrape.parse(answer)
    found.at_s = at_s
    return found


@pytest.fixture(params=["1.41", "2026-10"])
def seen(request: pytest.FixtureRequest) -> Iterator[Seen]:
    """A captured setup in each profile, with a prefix."""
    with capture(clock=FakeClock(), metric_profile=request.param, metric_prefix="shop_") as found:
        yield found


def test_rates_are_of_the_time_between(seen: Seen) -> None:
    """What was before the first scrape does not count; every figure is per model."""
    clock = seen.clock
    assert clock is not None
    calls(clock, "gpt-4o", 100.0, 50)
    before = page(seen, 0.0)
    calls(clock, "gpt-4o", 1.0, 15)
    calls(clock, "gpt-4o", 1.0, 5, error=True)
    calls(clock, "no-such-model", 4.0, 10)
    first, second = top.rates(before, page(seen, 10.0))
    assert (first.model, first.provider, first.requests_per_s, first.error_ratio) == ("gpt-4o", "openai", 2.0, 0.25)
    assert (first.input_tokens_per_s, first.output_tokens_per_s) == (1500.0, 150.0)
    assert first.p50_s is not None
    assert first.p95_s is not None
    assert 0.64 < first.p50_s <= first.p95_s <= 1.28
    assert first.first_token_p50_s is not None
    assert 0.32 < first.first_token_p50_s <= 0.64
    # 2.50 USD per million in, 10.00 out: 15 calls in 10 s, so 360 times as many an hour.
    assert math.isclose(first.usd_per_hour, 15 * (1000 * 2.5 + 100 * 10) / 1e6 * 360)
    assert (second.model, second.requests_per_s, second.error_ratio, second.usd_per_hour) == ("no-such-model", 1, 0, 0)


def test_calls_in_flight_are_those_of_the_later_scrape(seen: Seen) -> None:
    """An open call is told before it has ended, with no rate and no ratio."""
    before = page(seen, 0.0)
    with trisignal.llm(provider="openai", model="gpt-4o"):
        [row] = top.rates(before, page(seen, 1.0))
    assert (row.in_flight, row.requests_per_s, row.error_ratio, row.p50_s) == (1.0, 0.0, None, None)


def test_a_restart_is_no_negative_rate(seen: Seen) -> None:
    """Counters that fell started over: all of their value is new."""
    clock = seen.clock
    assert clock is not None
    calls(clock, "gpt-4o", 1.0, 2)
    few = page(seen, 10.0)
    calls(clock, "gpt-4o", 1.0, 8)
    many = page(seen, 0.0)
    [row] = top.rates(many, few)
    assert row.requests_per_s == 0.2
    assert row.output_tokens_per_s == 20.0


def test_nothing_moves_between_equal_pages(seen: Seen) -> None:
    """No traffic is not an error and no division by zero, not even at the same moment."""
    clock = seen.clock
    assert clock is not None
    calls(clock, "gpt-4o", 1.0, 2)
    [row] = top.rates(page(seen, 5.0), page(seen, 5.0))
    assert (row.requests_per_s, row.error_ratio, row.p95_s, row.usd_per_hour) == (0.0, None, None, 0.0)


def test_a_real_endpoint_is_read(seen: Seen) -> None:
    """Over HTTP, with profile and prefix told from the page."""
    trisignal_calls = 3
    clock = seen.clock
    assert clock is not None
    calls(clock, "gpt-4o", 1.0, trisignal_calls)
    server = serve_metrics(registry=seen.registry)
    try:
        found = read(server.url)
    finally:
        server.close()
    assert (found.ours, found.prefix, found.total("requests")) == (True, "shop_", trisignal_calls)
    assert found.profile == telemetry.CURRENT.telemetry.settings.metric_profile  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("q", "buckets", "value"),
    [
        (0.5, {}, None),
        (0.5, {1.0: 0.0, math.inf: 0.0}, None),
        (0.5, {1.0: 10.0, math.inf: 10.0}, 0.5),
        (0.95, {1.0: 0.0, 2.0: 100.0, math.inf: 100.0}, 1.95),
        (0.99, {1.0: 50.0, math.inf: 100.0}, 1.0),
    ],
)
def test_quantiles_are_prometheus_s(q: float, buckets: dict[float, float], value: float | None) -> None:
    """Linear within a bucket; over the last bound it is that bound; nothing of nothing."""
    assert quantile(q, buckets) == (None if value is None else pytest.approx(value))


def test_what_is_no_page_is_told() -> None:
    """A refused connection, an error page, HTML and a wrong address each have one line."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(Unreachable, match="refused"):
        read(f"http://127.0.0.1:{port}/metrics")
    with served("no", status=500) as server, pytest.raises(Unreachable, match="answered 500"):
        read(server.url)
    with (
        served("<html><body>{</body></html>", "text/html") as server,
        pytest.raises(Unreachable, match="not a metrics page"),
    ):
        read(server.url)
    for wrong in ("ftp://x/metrics", "localhost:8000", "file:///etc/passwd"):
        with pytest.raises(ConfigError, match="an address such as"):
            read(wrong)


def test_headers_are_sent_to_the_first_server_only() -> None:
    """A redirection elsewhere does not carry the secret along."""
    assert scrape.header(["Authorization: Bearer a:b"]) == {"Authorization": "Bearer a:b"}
    with pytest.raises(ConfigError, match="Name: value"):
        scrape.header(["nonsense"])
    with served("# EOF\n") as other, served("", status=302) as server:
        server.location = other.url
        read(server.url, {"Authorization": "secret"})
    assert server.asked[0][2]["Authorization"] == "secret"
    assert "Authorization" not in other.asked[0][2]


def test_a_post_is_not_redirected() -> None:
    """It would become a GET, and the page behind it would pass for an answer."""
    with served("# EOF\n") as other, served("", status=302) as server:
        server.location = other.url
        answer = scrape.fetch(server.url, {"Authorization": "secret"}, body=b"x")
    assert answer.status == 302
    assert other.asked == []
