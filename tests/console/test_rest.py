"""REST, checked against the document that it publishes."""

from __future__ import annotations

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

import trisignal
from trisignal.console import openapi, rest

schema = schemathesis.openapi.from_dict(openapi.document())


@pytest.fixture
def console(url: str) -> str:
    """The address of the console."""
    return url


@schema.parametrize()
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_answers_are_as_the_document_says(case: schemathesis.Case, console: str) -> None:
    """Whatever parameters are sent, the answer has a status and a form that the document names."""
    answer = case.call(base_url=console, timeout=60)
    checks = [status_code_conformance, content_type_conformance, response_schema_conformance]
    case.validate_response(answer, checks=checks, excluded_checks=[negative_data_rejection])


def test_the_document_is_complete(http: httpx.Client) -> None:
    """Every endpoint and every parameter is described, and the published document is the tested one."""
    published = http.get("/openapi.json").json()
    assert published == openapi.document()
    assert set(published["paths"]) == {endpoint.path for endpoint in rest.ENDPOINTS}
    for path in published["paths"].values():
        for operation in path.values():
            assert operation["summary"]
            assert all(parameter["description"] for parameter in operation["parameters"])


def test_pages_of_rows_do_not_overlap(http: httpx.Client) -> None:
    """Following next_page brings every call once."""
    seen: list[str] = []
    page: int | None = 1
    while page is not None:
        answer = http.get("/v1/calls", params={"limit": 50, "page": page}).json()
        seen += [row["span_id"] for row in answer["rows"]]
        page = answer["next_page"]
    assert len(seen) == len(set(seen)) == 240


def test_numbers_agree_with_the_analyser(http: httpx.Client, folder: object) -> None:
    """REST says what the analyser says."""
    with trisignal.TraceAnalyzer(str(folder)) as analyzer:
        [total] = analyzer.totals(since="24h").groups
    [shown] = http.get("/v1/metrics", params={"by": "service"}).json()["groups"]
    assert (shown["spans"], shown["errors"]) == (total.spans, total.errors) == (240, 6)
    assert shown["cost_usd"] == pytest.approx(total.cost_usd)
    page = http.get("/v1/metrics/prometheus").text
    lines = [line for line in page.splitlines() if line.startswith("trisignal_store_calls{")]
    assert sum(float(line.rpartition(" ")[2]) for line in lines) == 240


WRONG = {
    "/v1/traces?order=speed": ("order=", "start, duration, cost"),
    "/v1/traces/zz": ("there is no trace", "zz"),
    "/v1/calls?modle=gpt": ("modle=", "model"),
    "/v1/cost?by=team": ("by=", "tenant"),
    "/v1/errors?limit=0": ("limit=", "a whole number from 1 to 1000"),
    "/v1/quality?threshold=2": ("threshold=", "a number from 0 to 1"),
    "/v1/compare?measure=speed": ("measure=", "latency"),
    "/v1/metrics?step_s=soon": ("step_s=", "a whole number from 1 to 604800"),
    "/v1/metrics?source=metrics": ("source=", "spans; metrics where the console has --metrics URL"),
    "/v1/metrics/prometheus?since=soon": ("since=", "15m, 1h or 7d"),
    "/v1/alerts?since=2026-13-01": ("since=", "15m, 1h or 7d"),
    "/v1/logs?model=gpt": ("model=", "since, until, limit, request_id"),
    "/live/calls?of=everything": ("of=", "calls, requests, spans"),
}
"""One wrong request for each path, and what the refusal names."""


@pytest.mark.parametrize("path", WRONG)
def test_refusals_name_the_parameter_and_what_is_allowed(http: httpx.Client, path: str) -> None:
    """A wrong value, and a parameter that there is not, are refused: a misspelt filter would answer with everything."""
    answer = http.get(path)
    assert answer.status_code == (404 if path == "/v1/traces/zz" else 400)
    for wanted in WRONG[path]:
        assert wanted in answer.json()["error"]


def test_each_path_has_a_wrong_request() -> None:
    """No path is left out of the test above, but for /health, which takes nothing."""
    paths = {path.partition("?")[0].replace("/zz", "/{trace_id}") for path in WRONG}
    assert {endpoint.path for endpoint in rest.ENDPOINTS} - paths == {"/health"}


def test_a_source_that_fails_is_said(http: httpx.Client) -> None:
    """An unknown trace is 404; health says what the source holds."""
    answer = http.get("/v1/traces/" + "f" * 32)
    assert (answer.status_code, list(answer.json())) == (404, ["error"])
    assert http.get("/health").json()["spans"] > 1000
