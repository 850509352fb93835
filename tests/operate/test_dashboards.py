"""Dashboards: every query is PromQL over names that exist, and has data on a real Prometheus."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

promql: Any = pytest.importorskip("promql_parser")
pytest.importorskip("grafana_foundation_sdk")
testing = pytest.importorskip("click.testing")
pytest.importorskip("rich")

from operate.stand import PROMETHEUS, Stand, running  # noqa: E402 - all of it is about the extras

import trisignal  # noqa: E402
from trisignal import cli  # noqa: E402
from trisignal import semconv as names  # noqa: E402
from trisignal.operate import dashboards, objectives, rule_files  # noqa: E402
from trisignal.operate.dashboards import grafana  # noqa: E402
from trisignal.operate.dashboards.pages import DashboardPage, Expr, Panel  # noqa: E402
from trisignal.operate.rules import Record  # noqa: E402
from trisignal.testing import capture  # noqa: E402

PROFILES = ("1.41", "2026-10")
DATA_S = 900.0
"""How long the load may take until every panel has data; 20 s are enough where a processor is free."""
FOREIGN = {
    "DCGM_FI_DEV_FB_FREE", "DCGM_FI_DEV_FB_USED", "DCGM_FI_DEV_GPU_TEMP", "DCGM_FI_DEV_GPU_UTIL",
    "DCGM_FI_DEV_POWER_USAGE",
    "vllm[:_]kv_cache_usage_perc", "vllm[:_]num_preemptions_total", "vllm[:_]num_requests_running",
    "vllm[:_]num_requests_waiting", "vllm[:_]request_queue_time_seconds_bucket", "vllm[:_]time_to_first_token_seconds_bucket",
    "tgi_batch_current_size", "tgi_queue_size", "tgi_request_queue_duration_bucket",
    *(f"vllm[:_]{family}_seconds_{part}" for part in ("sum", "count") for family in (
        "request_queue_time", "request_prefill_time", "request_decode_time", "e2e_request_latency")),
    *(f"sglang[:_]{family}_seconds_{part}" for part in ("sum", "count")
      for family in ("time_to_first_token", "e2e_request_latency")),
    *(f"tgi_request_{family}_duration_{part}" for part in ("sum", "count") for family in ("queue", "inference")),
    "llamacpp[:_]prompt_seconds_total", "llamacpp[:_]tokens_predicted_seconds_total", "llamacpp[:_]requests_deferred",
    "llamacpp[:_]requests_processing", "sglang[:_]num_running_reqs", "sglang[:_]num_queue_reqs",
    "nv_inference_compute_infer_duration_us",
    "nv_inference_pending_request_count", "nv_inference_queue_duration_us", "nv_inference_request_success",
    "container_cpu_usage_seconds_total", "container_memory_working_set_bytes",
    "kube_horizontalpodautoscaler_spec_max_replicas", "kube_horizontalpodautoscaler_status_current_replicas",
    "kube_horizontalpodautoscaler_status_desired_replicas",
    "kube_pod_container_status_restarts_total", "kube_pod_info", "kube_pod_status_phase",
}  # fmt: skip
"""Metrics of other programs, as their documentation names them."""
OF_PROMETHEUS = {"ALERTS", "process_start_time_seconds"}
TIMES = {"$__rate_interval": "30s", "$__range": "60s", "$__interval": "2s"}
VARIABLE = re.compile(r"\$(\w+)")
LABEL = re.compile(r"\{\{(\w+)\}\}")
VALUES = re.compile(r"label_values\((.*), (\w+)\)")


def plan_of(profile: str, *dimensions: str) -> objectives.RulesPlan:
    """The defaults of a profile."""
    return objectives.of({"metric_profile": profile, "dimensions": dimensions})


def filled(expr: str, **chosen: str) -> str:
    """A query as Grafana sends it: variables are replaced, by all values where none is chosen."""
    for name, value in TIMES.items():
        expr = expr.replace(name, value)
    return VARIABLE.sub(lambda match: chosen.get(match[1], ".*"), expr)


def rendered(plan: objectives.RulesPlan) -> dict[str, dict[str, Any]]:
    """All dashboards as JSON, by their ids."""
    variables = dashboards.Selection(plan).variables()
    return {page.uid: grafana.render(page, variables) for page in dashboards.pages(plan)}


def flat(told: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The panels of a dashboard, headings of rows aside."""
    return (panel for panel in told["panels"] if panel["type"] != "row")


def sent(told: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Every PromQL that a dashboard sends, and where it stands."""
    for panel in flat(told):
        for target in panel.get("targets", ()) if panel["datasource"]["type"] == "prometheus" else ():
            yield f"{told['uid']}: {panel['title']}", target["expr"]
    for mark in told["annotations"]["list"]:
        if "expr" in mark:
            yield f"{told['uid']}: {mark['name']}", mark["expr"]
    for variable in told["templating"]["list"]:
        if variable["type"] == "query":
            match = VALUES.fullmatch(variable["query"]["query"])
            assert match is not None
            yield f"{told['uid']}: ${variable['name']}", match[1]


def in_promql(panel: Panel) -> Iterator[Expr]:
    """A panel's queries of metrics."""
    return (query for query in panel.queries if query.language == "promql")


def metrics_of(expr: str) -> set[str]:
    """Names of the metrics that a query selects."""
    found: set[str] = set()

    def visit(node: Any) -> bool:
        if type(node).__name__ == "MatrixSelector":
            node = node.vector_selector
        if type(node).__name__ == "VectorSelector":
            found.add(node.name)
        return True

    promql.walk(promql.parse(filled(expr)), pre_visit=visit)
    return (found - {None}) | set(re.findall(r'__name__=~"([^"]+)"', expr))


def known(plan: objectives.RulesPlan) -> set[str]:
    """All names that a query may ask for."""
    ours: set[str] = set()
    for metric in names.profile(plan.metric_profile).values():
        parts = ("_bucket", "_count", "_sum") if metric.instrument == "histogram" else ("",)
        ours.update(plan.metric_prefix + metric.prometheus_name + part for part in parts)
    recorded = {rule.record for group in rule_files.groups(plan) for rule in group.rules if isinstance(rule, Record)}
    return ours | recorded | FOREIGN | OF_PROMETHEUS


@pytest.mark.parametrize("profile", PROFILES)
def test_every_query_parses_and_names_metrics_that_exist(profile: str) -> None:
    """With and without dimensions and prefix, all is PromQL over our table, our rules, or a listed foreign metric."""
    wide = plan_of(profile, "tenant", "feature_flag").model_copy(update={"metric_prefix": "shop_"})
    for plan in (plan_of(profile), wide):
        for told in rendered(plan).values():
            for where, expr in sent(told):
                found = metrics_of(expr)
                assert found, where
                assert found <= known(plan), where


@pytest.mark.parametrize("profile", PROFILES)
def test_queries_take_the_choice_of_every_variable_that_their_metric_has(profile: str) -> None:
    """A panel over a metric of ours narrows with service, provider, model and dimension where the metric has them."""
    plan = plan_of(profile, "tenant")
    by_name = {metric.prometheus_name: metric for metric in names.profile(profile).values()}
    for told in rendered(plan).values():
        for where, expr in sent(told):
            for name, matchers in re.findall(r"(\w+)\{([^}]*)\}", expr):
                metric = by_name.get(name) or by_name.get(re.sub("_(bucket|count|sum)$", "", name))
                if metric is None or ": $" in where:  # a variable narrows by those before it
                    continue
                wanted = {"$service"}
                wanted |= {"$model"} if names.REQUEST_MODEL in metric.labels else set()
                wanted |= {"$provider"} if names.PROVIDER in metric.labels else set()
                wanted |= {"$tenant"} if metric.dimensioned else set()
                assert set(re.findall(r"\$\w+", matchers)) == wanted, where


@pytest.mark.parametrize("profile", PROFILES)
def test_panels_only_ask_for_the_rules_where_they_say_so(profile: str) -> None:
    """A dashboard works without our rules, panels about objectives and alerts aside."""
    for page in dashboards.pages(plan_of(profile, "tenant")):
        for panel in page.panels:
            text = " ".join(query.expr for query in panel.queries)
            assert panel.rules == bool(re.search(r"\bllm:|\bALERTS", text)), panel.title
            assert len(panel.columns) == (len(panel.queries) if panel.kind == "table" else 0), panel.title


@pytest.mark.parametrize("profile", PROFILES)
def test_queries_of_other_programs_say_so(profile: str) -> None:
    """A query is either about our metrics, or marked as about those of another program."""
    for page in dashboards.pages(plan_of(profile)):
        for panel in page.panels:
            for query in in_promql(panel):
                assert query.foreign == (metrics_of(query.expr) <= FOREIGN), panel.title
                assert query.foreign == bool(metrics_of(query.expr) & FOREIGN), panel.title


@pytest.mark.parametrize("profile", PROFILES)
def test_json_is_a_dashboard_that_grafana_can_lay_out(profile: str) -> None:
    """Ids are unique, panels fill the grid without overlap, and each names its data source and its unit."""
    made = rendered(plan_of(profile, "tenant"))
    assert len(made) == 10
    for uid, told in made.items():
        assert told["uid"] == uid
        assert {"title", "schemaVersion", "time", "templating"} <= set(told)
        ids = [panel["id"] for panel in told["panels"]]
        assert len(ids) == len(set(ids))
        taken: set[tuple[int, int]] = set()
        for panel in told["panels"]:
            at = panel["gridPos"]
            cells = set(itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])))
            assert at["x"] + at["w"] <= 24
            assert not cells & taken, panel["title"]
            taken |= cells
        for panel in flat(told):
            kinds = {"prometheus": "${datasource}", "loki": "${logs}", "tempo": "${traces}"}
            assert panel["datasource"]["uid"] == kinds[panel["datasource"]["type"]]
            assert panel["fieldConfig"]["defaults"]["unit"]
            assert panel["title"]
        assert json.loads(json.dumps(told)) == told


@pytest.mark.parametrize("profile", PROFILES)
def test_legends_show_labels_that_the_query_keeps(profile: str) -> None:
    """A legend without its label would name all lines alike."""
    for page in dashboards.pages(plan_of(profile, "tenant")):
        for panel in page.panels:
            for query in panel.queries:
                kept = " ".join(re.findall(r"by \(([^)]*)\)", query.expr))
                assert set(LABEL.findall(query.legend)) <= set(re.split(r"[ ,]+", kept)), panel.title
                assert {label for label, _ in panel.titles} <= set(re.split(r"[ ,]+", kept)), panel.title


def test_queries_of_logs_and_traces_name_what_a_call_leaves() -> None:
    """Fields of log lines and attributes of spans are those that a failed call with usage has."""
    with capture() as seen:
        with contextlib.suppress(TimeoutError), trisignal.llm(provider="openai", model="gpt-4o") as call:
            call.set_usage(input_tokens=1, output_tokens=1)
            raise TimeoutError
    fields = {name.replace(".", "_") for line in seen.logs for name in line} | {"service_name"}
    attributes = {str(name) for span in seen.spans for name in span.attributes or ()}
    asked_for: list[str] = []
    for page in dashboards.pages(plan_of("1.41")):
        for panel in page.panels:
            for query in panel.queries:
                if query.language == "logql":
                    named = re.findall(r"\| (\w+) ?=~", query.expr) + re.findall(r"unwrap (\w+)", query.expr)
                    asked_for += named
                    assert set(named) <= fields, panel.title
                    assert {label for label, _ in panel.titles} <= fields, panel.title
                elif query.language == "traceql":
                    named = re.findall(r"span\.([\w.]+)", query.expr)
                    asked_for += named
                    assert set(named) <= attributes, panel.title
    assert len(asked_for) > 5


def test_variables_links_and_marks() -> None:
    """Each dashboard lets choose sources, service, model, provider and dimension, and leads to traces and logs."""
    for told in rendered(plan_of("1.41", "tenant")).values():
        chosen = [variable["name"] for variable in told["templating"]["list"]]
        assert chosen[:3] == ["datasource", "traces", "logs"]
        assert {"service", "provider", "model", "tenant", "trace_id"} <= set(chosen)
        assert [mark["name"] for mark in told["annotations"]["list"]] == ["Alerts", "Process starts", "Deploys"]
        urls = [link["url"] for link in told["links"] if link["type"] == "link"]
        assert sum("${trace_id}" in url for url in urls) == 2
        assert all("${__from}" in url for url in urls)


def test_command_writes_the_files(tmp_path: Path) -> None:
    """``trisignal dashboards`` writes a file per dashboard, of the profile and the dimensions that are asked for."""
    config = tmp_path / "plan.json"
    config.write_text('{"dimensions": ["tenant"]}')
    arguments = ["dashboards", "--config", str(config), "--profile", "2026-10", "-o", str(tmp_path / "new" / "out")]
    done = testing.CliRunner().invoke(cli.group(), arguments, prog_name="trisignal")
    assert (done.exit_code, done.stdout) == (0, "")
    files = {path.stem: json.loads(path.read_text()) for path in (tmp_path / "new" / "out").iterdir()}
    assert files == rendered(plan_of("2026-10", "tenant"))


def test_command_tells_of_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """A file in the folder's place is one line and exit code 2."""
    (tmp_path / "taken").write_text("")
    done = testing.CliRunner().invoke(cli.group(), ["dashboards", "-o", str(tmp_path / "taken")])
    assert done.exit_code == 2
    assert done.stderr.startswith("trisignal: ")
    assert "--output" in done.stderr


def test_command_tells_which_extra_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Grafana's SDK the command says what to install, and writes nothing."""
    monkeypatch.delitem(sys.modules, "trisignal.operate.dashboards.grafana")
    monkeypatch.delattr(dashboards, "grafana")
    monkeypatch.setitem(sys.modules, "grafana_foundation_sdk.builders", None)
    done = testing.CliRunner().invoke(cli.group(), ["dashboards", "-o", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert "pip install 'trisignal[dashboards]'" in done.stderr
    assert not (tmp_path / "out").exists()


# --- on a real Prometheus ------------------------------------------------------------


def empty(stand: Stand, wanted: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The queries that have no data yet."""
    return [(where, expr) for where, expr in wanted if not stand.vector(expr)]


def asked(pages: list[DashboardPage]) -> list[tuple[str, str]]:
    """All queries, without what stands in for no data."""
    return [
        (f"{page.uid}: {panel.title}", filled(query.expr))
        for page in pages
        for panel in page.panels
        for query in in_promql(panel)
        if not query.later
    ]


def await_data(stand: Stand, wanted: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """What stays without data; each query has to have some only once."""
    deadline = time.time() + DATA_S
    while (wanted := empty(stand, wanted)) and time.time() < deadline:
        time.sleep(2)
    return wanted


@pytest.mark.timeout(DATA_S + 300)
@pytest.mark.skipif(PROMETHEUS is None, reason="Prometheus is not installed")
@pytest.mark.parametrize("profile", PROFILES)
def test_every_panel_has_data_under_load(profile: str, tmp_path: Path) -> None:
    """Scraped from an application under load, no query is empty, and choices and exemplars work.

    Metrics of other programs come from a page that stands in for them, with the labels that they document.
    """
    pytest.importorskip("openai")
    pytest.importorskip("httpx")
    plan = plan_of(profile, "tenant")
    pages = dashboards.pages(plan)
    with running(plan, tmp_path) as stand:
        assert await_data(stand, asked(pages)) == []
        for told in rendered(plan).values():
            for where, expr in sent(told):
                stand.vector(filled(expr))  # Prometheus takes it, data or not
                if "$service" in expr and "process_start" in expr:
                    assert stand.vector(filled(expr)), where
        check_variables(stand, plan)
        check_choice(stand, pages)
        check_exemplars(stand, pages)


def check_variables(stand: Stand, plan: objectives.RulesPlan) -> None:
    """Every variable has values to choose from."""
    for variable in dashboards.Selection(plan).variables():
        found = stand.ask(f"label/{variable.label}/values", **{"match[]": filled(variable.series)})
        assert [value for value in found if value], variable.name


def check_choice(stand: Stand, pages: list[DashboardPage]) -> None:
    """A chosen model is the only one shown."""
    [panel] = [panel for panel in pages[0].panels if panel.title == "Calls by model"]
    [query] = panel.queries
    label = LABEL.findall(query.legend)[0]
    assert len({labels[label] for labels, _ in stand.vector(filled(query.expr))}) > 2
    shown = stand.vector(filled(query.expr, model="gpt-4o|gpt-4o-mini", provider="openai", tenant="acme"))
    assert shown
    assert {labels[label] for labels, _ in shown} <= {"gpt-4o", "gpt-4o-mini"}
    assert stand.vector(filled(query.expr, service="another")) == []


def check_exemplars(stand: Stand, pages: list[DashboardPage]) -> None:
    """Dots on the latency panel carry the id of a trace."""
    [panel] = [panel for page in pages for panel in page.panels if panel.title == "Latency"]
    query: Expr = panel.queries[0]
    found = stand.ask("query_exemplars", query=filled(query.expr), start=stand.began, end=time.time() + 1)
    ids = [exemplar["labels"]["trace_id"] for series in found for exemplar in series["exemplars"]]
    assert ids
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in ids)
