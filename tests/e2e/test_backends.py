"""What backends that read the conventions make of the spans: the right tokens, and their own idea of the cost.

``nox -s backends`` makes an environment for each and runs these; without them they are skipped.
"""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from e2e.load import Provider, one_call
from e2e.servers import Server, Uvicorn, clean_environ, free_port, get, wait_for
from matrix.environments import PROGRAMS
from prometheus_client.parser import text_string_to_metric_families

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(400)]

FOLDER = os.environ.get("TRISIGNAL_BACKENDS", "")
FRAMEWORKS = os.environ.get("TRISIGNAL_FRAMEWORKS", "")
START_S = 240.0
PHOENIX_UNPRICED = ("xai",)
"""Frameworks that call models of which Phoenix has no price."""
CALLS = (("gpt-4o", "plain"), ("gpt-4o", "stream"), ("gpt-4o-mini", "plain"), ("gpt-4.1", "retried"))
FAST = {"OTEL_BSP_SCHEDULE_DELAY": "100", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}


def installed(name: str, program: str) -> str:
    """Path of a backend's program in its environment."""
    found = Path(FOLDER) / name / "bin" / program
    return str(found) if FOLDER and found.exists() else pytest.skip(f"needs {name} (nox -s backends)")


class Phoenix(Server):
    """PyPI's ``arize-phoenix``, started with ``phoenix serve``; takes OTLP over HTTP at its own port."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        settings = {"HOST": "127.0.0.1", "PORT": str(port), "GRPC_PORT": str(free_port()), "WORKING_DIR": str(folder)}
        environ = clean_environ(**{f"PHOENIX_{name}": value for name, value in settings.items()})
        del environ["PYTHONPATH"]
        command = [installed("phoenix", "phoenix"), "serve"]
        super().__init__(folder, command, lambda: get(self.url + "/healthz"), environ, START_S)


class Mlflow(Server):
    """PyPI's ``mlflow``, started with ``mlflow server`` on SQLite; takes OTLP over HTTP."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = [installed("mlflow", "mlflow"), "server", "--host", "127.0.0.1", "--port", str(port)]
        command += ["--backend-store-uri", "sqlite:///mlflow.db", "--workers", "1"]
        environ = clean_environ(PATH=os.pathsep.join([str(Path(command[0]).parent), os.environ["PATH"]]))
        del environ["PYTHONPATH"]
        super().__init__(folder, command, lambda: get(self.url + "/health"), environ, START_S)


def post(url: str, **body: object) -> Any:
    """The answer to a JSON request."""
    data = json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        return json.load(reply)


def total(address: str, name: str, **labels: str) -> float:
    """Sum of the samples of a name on the application's page."""
    return sum(
        one.value
        for family in text_string_to_metric_families(get(f"http://{address}/metrics"))
        for one in family.samples
        if one.name == name and labels.items() <= one.labels.items()
    )


def figures(address: str) -> tuple[float, float]:
    """Make the calls; tokens and US dollars that trisignal has counted for them."""
    for model, kind in CALLS:
        assert one_call(address, model, kind)["outcome"] == "ok"
    return total(address, "gen_ai_client_token_usage_sum"), total(address, "llm_cost_usd_total")


class Ran(NamedTuple):
    """What the model server says of a framework whose spans went to a backend."""

    tokens: int
    cost_usd: float
    spans: int
    embedded: int
    """Tokens of embeddings among them."""


def ran(name: str, backend: str) -> Ran:
    """Run a framework."""
    python = Path(FRAMEWORKS) / (PROGRAMS[name].environment or name) / "bin" / "python"
    if not FRAMEWORKS or not python.exists():
        pytest.skip("needs the environments of make frameworks (TRISIGNAL_FRAMEWORKS)")
    root = Path(__file__).parents[2]
    place = {"MATRIX_BACKEND": backend, "OTEL_RESOURCE_ATTRIBUTES": f"openinference.project.name={name}"}
    done = subprocess.run(
        [str(python), "-m", "matrix.program", name, "ours"],
        env=clean_environ(PYTHONPATH=f"{root / 'src'}{os.pathsep}{root / 'tests'}", **place),
        capture_output=True,
        text=True,
        timeout=300,
    )
    [line] = [line for line in done.stdout.splitlines() if line.startswith("REPORT ")]
    runs = json.loads(line[7:])["scenarios"].values()
    sent, spans = [one["sent"] for one in runs], [span for one in runs for span in one["spans"]]
    embeddings = [span for span in spans if span.get("gen_ai.operation.name") == "embeddings"]
    return Ran(
        sum(one["input"] + one["output"] for one in sent),
        sum(one["cost_usd"] for one in sent),
        len(spans),
        sum(span.get("gen_ai.usage.input_tokens", 0) for span in embeddings),
    )


@pytest.fixture(name="phoenix", scope="module")
def _phoenix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Phoenix]:
    """One server for all frameworks."""
    with Phoenix(tmp_path_factory.mktemp("phoenix")) as phoenix:
        yield phoenix


@pytest.fixture(name="mlflow", scope="module")
def _mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mlflow]:
    """One server for all frameworks."""
    with Mlflow(tmp_path_factory.mktemp("mlflow")) as mlflow:
        yield mlflow


@pytest.mark.parametrize("name", PROGRAMS)
def test_phoenix_adds_up_what_a_framework_used(phoenix: Phoenix, name: str) -> None:
    """The project's total is what the model server sent, no multiple of it; and so is the cost by Phoenix's own prices.

    It counts no tokens of embeddings, and none of models that it has no price for.
    """
    if name in PHOENIX_UNPRICED:
        pytest.skip("Phoenix has no price for its model")
    asked = "{projects{edges{node{name recordCount tokenCountTotal costSummary{total{cost}}}}}}"
    one = ran(name, phoenix.url)
    priced = not one.embedded

    def project() -> dict[str, Any] | None:
        edges = post(phoenix.url + "/graphql", query=asked)["data"]["projects"]["edges"]
        found = next((edge["node"] for edge in edges if edge["node"]["name"] == name), None)
        if found is None or found["recordCount"] < one.spans:
            return None
        return found if not priced or found["costSummary"]["total"]["cost"] else None

    seen = wait_for(project, "a project with all spans and their cost", 60)
    assert seen["tokenCountTotal"] == one.tokens - one.embedded
    if priced:
        assert seen["costSummary"]["total"]["cost"] == pytest.approx(one.cost_usd)


@pytest.mark.parametrize("name", PROGRAMS)
def test_mlflow_adds_up_what_a_framework_used(mlflow: Mlflow, name: str) -> None:
    """The same in the totals of MLflow's traces, which have no tokens of embeddings either."""
    experiment = post(mlflow.url + "/api/2.0/mlflow/experiments/create", name=name)["experiment_id"]
    one = ran(name, f"{mlflow.url}#{experiment}")
    tokens = one.tokens - one.embedded
    where = [{"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment}}]

    def counted() -> int | None:
        path = "/api/3.0/mlflow/traces/search"
        found = post(mlflow.url + path, locations=where, max_results=100).get("traces", [])
        used = [trace.get("trace_metadata", {}).get("mlflow.trace.tokenUsage", "{}") for trace in found]
        total = sum(json.loads(one).get("total_tokens", 0) for one in used)
        return total if total >= tokens else None

    assert wait_for(counted, "all tokens", 60) == tokens


def test_phoenix_shows_tokens_and_cost(tmp_path: Path) -> None:
    """Phoenix counts the same calls and tokens, and its own prices come to the same sum."""
    asked = "{projects{edges{node{name recordCount tokenCountTotal costSummary{total{cost}}}}}}"
    with Phoenix(tmp_path / "phoenix") as phoenix, Provider() as provider:
        sent = {"OTEL_EXPORTER_OTLP_ENDPOINT": phoenix.url, **FAST}
        with Uvicorn(tmp_path / "app", **provider.variables, **sent) as app:
            tokens, cost_usd = figures(app.address)

            def project() -> dict[str, Any] | None:
                edges = post(phoenix.url + "/graphql", query=asked)["data"]["projects"]["edges"]
                found = [edge["node"] for edge in edges if edge["node"]["recordCount"] == len(CALLS)]
                return found[0] if found and found[0]["costSummary"]["total"]["cost"] else None

            seen = wait_for(project, "a project with all calls and their cost", 60)
    assert seen["tokenCountTotal"] == tokens == 28 * len(CALLS)
    assert seen["costSummary"]["total"]["cost"] == pytest.approx(cost_usd)


def test_mlflow_shows_tokens_and_cost(tmp_path: Path) -> None:
    """MLflow has one trace per call, and its tokens and costs come to the same sums."""
    with Mlflow(tmp_path / "mlflow") as mlflow, Provider() as provider:
        experiment = post(mlflow.url + "/api/2.0/mlflow/experiments/create", name="e2e")["experiment_id"]
        sent = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": mlflow.url,
            "OTEL_EXPORTER_OTLP_HEADERS": f"x-mlflow-experiment-id={experiment}",
            **FAST,
        }
        where = [{"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment}}]
        with Uvicorn(tmp_path / "app", **provider.variables, **sent) as app:
            tokens, cost_usd = figures(app.address)

            def traces() -> list[dict[str, Any]] | None:
                path = "/api/3.0/mlflow/traces/search"
                found = post(mlflow.url + path, locations=where, max_results=10).get("traces", [])
                told = [trace["trace_metadata"] for trace in found]
                return told if len(told) == len(CALLS) and all("mlflow.trace.cost" in one for one in told) else None

            seen = wait_for(traces, "all traces with their cost", 60)
    counted = [json.loads(one["mlflow.trace.tokenUsage"]) for one in seen]
    priced = [json.loads(one["mlflow.trace.cost"]) for one in seen]
    assert sum(one["total_tokens"] for one in counted) == tokens == 28 * len(CALLS)
    assert sum(one["total_cost"] for one in priced) == pytest.approx(cost_usd)
