"""A /metrics endpoint, read over HTTP and parsed by prometheus_client."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import IO, Any, NamedTuple
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from trisignal import semconv as names
from trisignal.errors import ConfigError, TrisignalError, shown
from trisignal.web.metrics_page import PROCESS_HEADER

OPENMETRICS = "application/openmetrics-text"
ACCEPT = f"{OPENMETRICS};version=1.0.0,text/plain;version=0.0.4;q=0.5"
TIMEOUT_S = 10.0
MOST_BYTES = 64 * 1024 * 1024
_INFINITY = float("inf")


class Unreachable(TrisignalError):
    """An address did not give what was asked of it.

    Args:
        url: The address.
        why: What happened instead.
    """

    def __init__(self, url: str, why: str) -> None:
        super().__init__(f"{shown(url)}: {shown(why)}")
        self.url = url
        self.why = why


class Answer(NamedTuple):
    """What a server said, errors included."""

    status: int
    content_type: str
    ahead_s: float | None
    """Seconds that the server's clock is ahead of ours; None when it sent no time. Whole seconds count."""
    body: bytes
    process: str = ""
    """What tells the answering process from others that show pages of their own; "" where it is not known."""


class _SecretStays(HTTPRedirectHandler):
    """Follows a redirection of a GET without the headers that were meant for the first server; of a POST none."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:  # fmt: skip
        """The next request, if there is to be one."""
        if req.data is not None:
            return None  # it would become a GET, whose answer is another one
        made = super().redirect_request(req, fp, code, msg, headers, newurl)
        if made is not None and urlsplit(made.full_url)[:2] != urlsplit(req.full_url)[:2]:
            made.headers = {k: v for k, v in made.headers.items() if k.lower() in ("accept", "user-agent")}
        return made


def check_address(
    url: str, setting: str = "URL", allowed: str = "an address such as http://localhost:8000/metrics"
) -> None:
    """Refuse what is not an address of HTTP.

    Args:
        url: What was given.
        setting: What it was given for.
        allowed: What may be given, in words.

    Raises:
        ConfigError: It is not one.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError(setting, url, allowed)


def fetch(
    url: str,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Answer:
    """Ask a server.

    Args:
        url: An http or https address.
        headers: Sent with the request.
        body: Makes it a POST.
        timeout_s: Longest wait for the connection and for each part of the reply, in seconds.

    Raises:
        ConfigError: It is not an address of that kind.
        Unreachable: There was no answer.
    """
    check_address(url)
    try:
        request = Request(url, data=body, headers={"User-Agent": "trisignal", **(headers or {})})
        try:
            with build_opener(_SecretStays).open(request, timeout=timeout_s) as reply:
                return _answer(reply.status, reply.headers, reply.read(MOST_BYTES))
        except HTTPError as error:
            with error:
                return _answer(error.code, error.headers, error.read(MOST_BYTES))
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise Unreachable(url, str(getattr(reason, "strerror", None) or reason or type(error).__name__)) from None


def _answer(status: int, headers: Any, body: bytes) -> Answer:
    ahead: float | None = None
    try:
        ahead = parsedate_to_datetime(headers["Date"]).timestamp() - time.time()
    except (TypeError, ValueError, IndexError):
        pass
    return Answer(status, headers.get("Content-Type") or "", ahead, body, headers.get(PROCESS_HEADER) or "")


class Scraped(NamedTuple):
    """One sample."""

    name: str
    labels: dict[str, str]
    value: float


class Scrape:
    """What a scrape brought.

    Attributes:
        at_s: When it was read, in seconds of a clock that never steps.
        families: Names that the page declares, as samples carry them (counters with ``_total``), to their types.
        samples: Sample name to samples.
        prefix: Put before our metric names in this page.
        profile: Metric profile that it was written in.
    """

    def __init__(self, families: Iterable[Any], at_s: float) -> None:
        self.at_s = at_s
        self.families: dict[str, str] = {}
        self.samples: dict[str, list[Scraped]] = {}
        for family in families:
            counter = family.type == "counter" and not family.name.endswith("_total")
            self.families[f"{family.name}_total" if counter else family.name] = family.type
            for sample in family.samples:
                self.samples.setdefault(sample.name, []).append(Scraped(sample.name, sample.labels, sample.value))
        self.prefix, self.profile = self._spelling()

    def _spelling(self) -> tuple[str, str]:
        # A multiprocess page declares only what has samples, so any of the names that both profiles have will do.
        shared = [metric.prometheus_name for metric in names.profile(names.PROFILES[0]).values()]
        candidates = {
            family[: -len(name)] for family in self.families for name in shared
            if name.startswith(("llm_", "trisignal_")) and family.endswith(name)
        }  # fmt: skip
        prefix = min(candidates, key=len, default="")
        for profile in names.PROFILES:
            own = names.profile(profile)["inference_duration"].prometheus_name
            if prefix + own in self.families and own != "gen_ai_client_operation_duration_seconds":
                return prefix, profile
        return prefix, names.PROFILES[0]

    @property
    def ours(self) -> bool:
        """Whether any metric of this library is there."""
        table = names.profile(self.profile).values()
        return any(self.prefix + metric.prometheus_name in self.families for metric in table)

    def name(self, key: str) -> str:
        """Name of one of our metrics in this page, by its key in `semconv`; "" if the profile has none."""
        metric = names.profile(self.profile).get(key)
        return "" if metric is None else self.prefix + metric.prometheus_name

    def series(self, key: str, suffix: str = "") -> list[Scraped]:
        """Samples of one of our metrics."""
        return self.samples.get(self.name(key) + suffix, [])

    def total(self, key: str) -> float:
        """Sum of one of our counters or gauges."""
        return sum(series.value for series in self.series(key))

    def count(self) -> int:
        """Samples of all metrics."""
        return sum(map(len, self.samples.values()))


def parse(answer: Answer) -> Scrape:
    """Parse a page in the format that its content type names.

    Raises:
        ValueError: It breaks the rules of its format.
    """
    # Both parsers take milliseconds to import.
    if answer.content_type.startswith(OPENMETRICS):
        from prometheus_client.openmetrics.parser import text_string_to_metric_families as of_openmetrics

        families: Iterable[Any] = of_openmetrics(answer.body.decode())  # type: ignore[no-untyped-call]
    else:
        from prometheus_client.parser import text_string_to_metric_families as of_text

        families = of_text(answer.body.decode())  # type: ignore[no-untyped-call,unused-ignore]
    return Scrape(families, time.monotonic())


def read(url: str, headers: Mapping[str, str] | None = None, timeout_s: float = TIMEOUT_S) -> Scrape:
    """Fetch and parse a metrics page.

    Raises:
        Unreachable: There was no page, or it cannot be parsed.
    """
    answer = fetch(url, {"Accept": ACCEPT, **(headers or {})}, timeout_s=timeout_s)
    if answer.status != 200:
        raise Unreachable(url, f"it answered {answer.status}")
    try:
        return parse(answer)
    except Exception as error:  # their parsers raise whatever a broken line leads to
        raise Unreachable(url, f"it is not a metrics page ({type(error).__name__}: {error})") from None


def quantile(q: float, buckets: Mapping[float, float]) -> float | None:
    """A quantile out of a histogram, by Prometheus's ``histogram_quantile``.

    Args:
        q: 0 to 1.
        buckets: Upper bound to cumulative count.

    Returns:
        The estimate, in the histogram's unit; None without observations.
    """
    bounds = sorted(buckets)
    if not bounds or buckets[bounds[-1]] <= 0:
        return None
    rank = q * buckets[bounds[-1]]
    lower, below = 0.0, 0.0
    for bound in bounds:
        count = buckets[bound]
        if count >= rank and count > below:
            if bound == _INFINITY:
                return lower
            return lower + (bound - lower) * (rank - below) / (count - below)
        lower, below = bound, count
    return lower


def header(words: Iterable[str]) -> dict[str, str]:
    """Headers as they are given on a command line, ``Name: value``.

    Raises:
        ConfigError: There is no colon.
    """
    found = {}
    for word in words:
        name, colon, value = word.partition(":")
        if not colon or not name.strip():
            # Not quoted: without its colon it may be nothing but a secret.
            raise ConfigError("--header", f"({len(word)} characters)", "'Name: value'")
        found[name.strip()] = value.strip()
    return found
