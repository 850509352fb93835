"""What `deploy` has: the chart with real Helm, the manifests by the schemas of Kubernetes, the mixin by promtool."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).parents[2]
_SPEC = importlib.util.spec_from_file_location("deploy_files", ROOT / "scripts" / "deploy_files.py")
assert _SPEC is not None
assert _SPEC.loader is not None
deploy_files = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(deploy_files)
DEPLOY = ROOT / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
OPERATOR = {"PodMonitor", "ServiceMonitor", "PrometheusRule"}
VARIANTS: dict[str, tuple[str, ...]] = {
    "defaults": (),
    "no gateway, with a key": ("gateway.enabled=false", "backend.authorizationSecret=tempo"),
    "services": ("scrape.by=services", "scrape.namespaces={a,b}"),
    "where pods run": (
        "gateway.traces=5000000",
        "gateway.tolerations[0].operator=Exists",
        "gateway.nodeSelector.pool=llm",
        "agent.tolerations=null",
        "image.pullSecrets={one,other}",
        "podLabels.team=llm",
    ),
    "one gateway with a key": ("gateway.replicas=1", "backend.authorizationSecret=tempo", "scrape.by=none"),
    "nothing": ("agent.enabled=false", "gateway.enabled=false", "rules.enabled=false", "dashboards.enabled=false"),
}

needs_helm = pytest.mark.skipif(deploy_files.helm() is None, reason="Helm is not installed (group test)")


def objects(text: str) -> list[dict[str, Any]]:
    """The objects of a file of manifests."""
    return [one for one in yaml.safe_load_all(text) if one]


def valid(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Objects, each checked by the schemas of Kubernetes, unknown keys included; the operator's have none there."""
    for one in found:
        if one["kind"] not in OPERATOR:
            kubernetes_validate.validate(one, "1.30", strict=True)
    return found


def pods(found: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Kind of each workload, and its pods."""
    for one in found:
        if "template" in one.get("spec", {}):
            yield one["kind"], one["spec"]["template"]


def collectors(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Configurations of collectors."""
    maps = (one["data"] for one in found if one["kind"] == "ConfigMap")
    return [yaml.safe_load(data["collector.yaml"]) for data in maps if "collector.yaml" in data]


@pytest.mark.parametrize("file", MANIFESTS, ids=lambda file: file.stem)
def test_kubernetes_takes_the_manifests(file: Path) -> None:
    """Each object is valid by the schemas of Kubernetes."""
    assert valid(objects(file.read_text(encoding="utf-8")))


@needs_helm
@pytest.mark.parametrize("values", VARIANTS.values(), ids=list(VARIANTS))
def test_the_chart_becomes_valid_objects(values: tuple[str, ...]) -> None:
    """Whatever is left out, the objects are valid, and each collector uses what it defines."""
    found = valid(objects(deploy_files.template(*values)))
    for config in collectors(found):
        service = config["service"]
        assert set(service["extensions"]) == set(config["extensions"])
        for kind in ("receivers", "processors", "exporters"):
            used = {name for pipeline in service["pipelines"].values() for name in pipeline[kind]}
            assert used == set(config[kind]), kind
    assert "e+" not in json.dumps([config["processors"] for config in collectors(found)])
    accounts = {one["metadata"]["name"] for one in found if one["kind"] == "ServiceAccount"}
    assert {template["spec"]["serviceAccountName"] for _, template in pods(found)} == accounts


@needs_helm
@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("agent.hostPort=80", "hostPort"),
        ("gateway.keepPercent=101", "keepPercent"),
        ("scrape.by=everything", "scrape.by"),
        ("gatway.enabled=false", "gatway"),
        ("backend.endpoint=tempo:4318", "endpoint"),
    ],
)
def test_wrong_values_are_refused(value: str, named: str) -> None:
    """The message names the value."""
    with pytest.raises(subprocess.CalledProcessError) as refused:
        deploy_files.template(value)
    assert named in refused.value.stderr


@needs_helm
def test_helm_finds_nothing_wrong() -> None:
    """`helm lint` passes, warnings included."""
    program = deploy_files.helm()
    assert program is not None
    done = subprocess.run([program, "lint", "--strict", str(deploy_files.CHART)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_pods_are_locked_down_and_looked_after() -> None:
    """No pod runs as root or may write to its image; each has probes, a memory limit, and drops all capabilities."""
    found = [one for file in MANIFESTS for one in objects(file.read_text(encoding="utf-8"))]
    seen = dict(pods(found))
    assert set(seen) == {"DaemonSet", "Deployment"}
    for _, template in pods(found):
        assert template["spec"]["securityContext"]["runAsNonRoot"]
        for container in template["spec"]["containers"]:
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"]
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert not security["allowPrivilegeEscalation"]
            assert {"startupProbe", "livenessProbe", "readinessProbe"} <= set(container)
            assert container["resources"]["limits"]["memory"]
            assert container["resources"]["requests"]["cpu"]


def test_the_agent_may_do_what_it_is_configured_for() -> None:
    """Rights cover pods and owners for `k8sattributes`, and endpoints for the resolver; it sees its own node only."""
    found = objects((DEPLOY / "kubernetes" / "collector.yaml").read_text(encoding="utf-8"))
    rights = {
        (group, resource)
        for one in found
        if one["kind"] in ("ClusterRole", "Role")
        for rule in one["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        if {"get", "list", "watch"} <= set(rule["verbs"])
    }
    assert {("", "pods"), ("", "namespaces"), ("apps", "replicasets"), ("discovery.k8s.io", "endpointslices")} <= rights
    [agent] = [config for config in collectors(found) if "k8sattributes" in config["processors"]]
    variable = agent["processors"]["k8sattributes"]["filter"]["node_from_env_var"]
    [daemon] = [template for kind, template in pods(found) if kind == "DaemonSet"]
    [container] = daemon["spec"]["containers"]
    assert {"name": variable, "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}} in container["env"]
    assert container["ports"][0]["hostPort"] == 4317


def test_everything_finds_what_it_names() -> None:
    """Services and monitors select pods that are there, by ports that these have; the resolver names the Service."""
    found = [one for file in MANIFESTS for one in objects(file.read_text(encoding="utf-8"))]
    labelled = [
        (template["metadata"]["labels"], {port["name"] for port in template["spec"]["containers"][0]["ports"]})
        for _, template in pods(found)
    ]

    def ports_of(selector: dict[str, str]) -> set[str]:
        chosen = [ports for labels, ports in labelled if selector.items() <= labels.items()]
        assert len(chosen) == 1, selector
        return chosen[0]

    services = {one["metadata"]["name"]: one for one in found if one["kind"] == "Service"}
    for service in services.values():
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports_of(service["spec"]["selector"])
    [monitor] = [one["spec"] for one in found if one["kind"] == "PodMonitor"]
    assert monitor["podMetricsEndpoints"][0]["port"] in ports_of(monitor["selector"]["matchLabels"])
    [agent] = [config for config in collectors(found) if "loadbalancing" in config["exporters"]]
    name, _, namespace = agent["exporters"]["loadbalancing"]["resolver"]["k8s"]["service"].partition(".")
    assert services[name]["metadata"]["namespace"] == namespace


def test_the_application_shares_metrics_and_addresses_its_node() -> None:
    """Workers of a pod have one directory in memory, and spans go to the host port of the agent."""
    found = objects((DEPLOY / "kubernetes" / "app.yaml").read_text(encoding="utf-8"))
    [(_, template)] = pods(found)
    [container] = template["spec"]["containers"]
    given = {one["name"]: one.get("value", "") for one in container["env"]}
    mounts = {one["mountPath"]: one["name"] for one in container["volumeMounts"]}
    volumes = {one["name"]: one for one in template["spec"]["volumes"]}
    assert volumes[mounts[given["PROMETHEUS_MULTIPROC_DIR"]]]["emptyDir"]["medium"] == "Memory"
    assert given["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://$(NODE_IP):4317"


def shown(dashboard: str) -> list[tuple[str, list[str]]]:
    """Panels of a dashboard with their queries; the rest is as the version of Grafana's SDK writes it."""
    panels = json.loads(dashboard)["panels"]
    return [(panel["title"], [target.get("expr", "") for target in panel.get("targets", ())]) for panel in panels]


def test_the_mixin_is_what_the_commands_write() -> None:
    """Rules and dashboards in `deploy/mixin` are those of this version: `python scripts/deploy_files.py`."""
    pytest.importorskip("grafana_foundation_sdk", reason="Grafana's SDK needs Python 3.11")
    for path, text in deploy_files.mixin().items():
        there = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            assert shown(there) == shown(text), path.name
        else:
            assert yaml.safe_load(there) == yaml.safe_load(text), path.name


@needs_helm
def test_the_manifests_are_what_the_chart_becomes() -> None:
    """The plain files are those of this version: `python scripts/deploy_files.py`."""
    for path, text in deploy_files.kubernetes().items():
        assert objects(path.read_text(encoding="utf-8")) == objects(text), path.name


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_prometheus_takes_the_rules_of_the_mixin_and_of_the_operator(tmp_path: Path) -> None:
    """promtool finds nothing wrong, in the object for the operator neither."""
    [rules] = [
        one["spec"]
        for one in objects((DEPLOY / "kubernetes" / "monitoring.yaml").read_text(encoding="utf-8"))
        if one["kind"] == "PrometheusRule"
    ]
    assert rules == yaml.safe_load((DEPLOY / "mixin" / "rules.yaml").read_text(encoding="utf-8"))
    (tmp_path / "rules.yaml").write_text(json.dumps(rules))
    done = subprocess.run(["promtool", "check", "rules", "rules.yaml"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_dashboard_is_a_config_map() -> None:
    """Grafana's sidecar finds each by its label, and none is larger than Kubernetes takes."""
    found = objects((DEPLOY / "kubernetes" / "dashboards.yaml").read_text(encoding="utf-8"))
    loaded = {name: json.loads(text) for one in found for name, text in one["data"].items()}
    files = {
        path.name: json.loads(path.read_text(encoding="utf-8")) for path in (DEPLOY / "mixin/dashboards").iterdir()
    }
    assert loaded == files
    assert all(one["metadata"]["labels"]["grafana_dashboard"] == "1" for one in found)
    assert all(len(text) < 1 << 20 for one in found for text in one["data"].values())
