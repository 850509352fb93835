"""What the pages show of other tools' configuration and queries is well formed, and names what exists.

A block's title says what it is for: ``prometheus.yml`` goes to promtool,
``collector….yaml`` is checked for parts that are used but not defined, and so on.
Needs promtool and amtool (Debian: ``apt-get install prometheus prometheus-alertmanager``).
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import hcl2
import promql_parser
import pytest
import yaml
from test_docs import FENCE, PAGES, ROOT

import trisignal
from trisignal import semconv, testing
from trisignal.operate import objectives, rule_files
from trisignal.operate.rules import Record

TITLE = re.compile(r'title="([^"]+)"')
OURS = re.compile(r"\b(?:gen_ai|llm|trisignal)_\w+")
SUFFIXES = ("", "_total", "_bucket", "_sum", "_count", "_created")
COMPOSE = ROOT / "examples" / "compose"


def titled(wanted: str) -> list[Any]:
    """Blocks whose title matches, by page and line."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in FENCE.finditer(text):
            title = TITLE.search(match[0].splitlines()[match[0].startswith("<!--")])
            if title is not None and re.fullmatch(wanted, title[1]):
                place = f"{page.name}:{text.count(chr(10), 0, match.start())}"
                found.append(pytest.param(_unindented(match), id=place))
    assert found, f"no block is called {wanted}"
    return found


def in_language(language: str) -> list[Any]:
    """Blocks in a language, by page and line."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in FENCE.finditer(text):
            if match["language"] == language:
                place = f"{page.name}:{text.count(chr(10), 0, match.start())}"
                found.append(pytest.param(_unindented(match), id=place))
    return found


def _unindented(match: re.Match[str]) -> str:
    indent = len(match["indent"])
    return "".join(line[indent:] if line.strip() else line for line in match["code"].splitlines(True))


def queries(code: str) -> list[str]:
    """The queries of a block: a blank line or a comment ends one."""
    parts = re.split(r"\n\s*\n|^#.*$", code, flags=re.MULTILINE)
    found: list[str] = []
    for part in filter(None, map(str.strip, parts)):
        found += _parsed(part)
    return found


def _parsed(part: str) -> list[str]:
    # Lines below one comment may be one query, or one query each.
    try:
        promql_parser.parse(part)
    except ValueError:
        lines = part.splitlines()
        if len(lines) == 1:
            raise
        return [query for line in lines for query in _parsed(line)]
    return [part]


def known_names() -> set[str]:
    """Every metric and label of both profiles as Prometheus shows it, and every recorded series."""
    found = set()
    for profile in ("1.41", "2026-10"):
        for metric in semconv.profile(profile).values():
            found |= {metric.prometheus_name.removesuffix("_total") + suffix for suffix in SUFFIXES}
            found |= {label.replace(".", "_") for label in metric.labels}
        plan = objectives.of({"metric_profile": profile})
        for group in rule_files.groups(plan):
            found |= {rule.record for rule in group.rules if isinstance(rule, Record)}
    return found


@pytest.mark.parametrize("code", in_language("promql"))
def test_queries_can_be_parsed_and_name_metrics_that_exist(code: str) -> None:
    """Prometheus would take the query, and each of our names in it is a metric or a label of ours."""
    known = known_names()
    for query in queries(code):
        promql_parser.parse(query)
        wrong = [name for name in OURS.findall(query) if name not in known]
        assert wrong == [], query


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
@pytest.mark.parametrize("code", titled(r"prometheus\.yml"))
def test_prometheus_takes_the_configuration(code: str, tmp_path: Path) -> None:
    """promtool finds nothing wrong, with rules as ``trisignal rules`` writes them."""
    # Debian's build leaves Kubernetes discovery out; what matters is what is done with its labels.
    (tmp_path / "prometheus.yml").write_text(re.sub(r"kubernetes_sd_configs: .+", "static_configs: []", code))
    (tmp_path / "rules.yml").write_text(json.dumps(rule_files.plain(objectives.of({}))))
    done = subprocess.run(
        ["promtool", "check", "config", "--syntax-only", "prometheus.yml"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_prometheus_takes_the_compose_configuration(tmp_path: Path) -> None:
    """The file that Docker Compose mounts is valid beside the rules that it mounts."""
    shutil.copy(COMPOSE / "prometheus.yml", tmp_path)
    shutil.copy(ROOT / "deploy" / "mixin" / "rules.yaml", tmp_path / "rules.yml")
    done = subprocess.run(
        ["promtool", "check", "config", "prometheus.yml"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("amtool") is None, reason="amtool is not installed")
@pytest.mark.parametrize(("severity", "receiver"), [("critical", "pager"), ("warning", "chat"), ("info", "list")])
def test_alerts_are_routed_by_severity(severity: str, receiver: str) -> None:
    """amtool takes the example, and sends each severity where the page says."""
    file = str(ROOT / "examples" / "alertmanager.yml")
    subprocess.run(["amtool", "check-config", file], check=True, capture_output=True)
    done = subprocess.run(
        ["amtool", "config", "routes", "test", f"--config.file={file}", f"severity={severity}"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == [receiver]


@pytest.mark.parametrize(
    "code", [*titled(r"collector.*\.yaml"), pytest.param((COMPOSE / "collector.yaml").read_text(), id="compose")]
)
def test_a_collector_uses_what_it_defines(code: str) -> None:
    """Every part of a pipeline is defined, and every part that is defined is in a pipeline."""
    told = yaml.safe_load(code)
    for kind in ("receivers", "processors", "exporters"):
        used = {name for pipeline in told["service"]["pipelines"].values() for name in pipeline.get(kind, [])}
        assert used == set(told.get(kind, {})), kind
    for pipeline in told["service"]["pipelines"].values():
        order = pipeline.get("processors", [])
        assert "memory_limiter" not in order or order[0] == "memory_limiter"
        assert "batch" not in order or order[-1] == "batch"


@pytest.mark.parametrize("code", titled(r"config\.alloy"))
def test_alloy_components_are_connected(code: str) -> None:
    """The file has Alloy's syntax, and every component that another one names is there."""
    # HCL has no dots in the names of blocks; otherwise the syntax is the same.
    hcl2.loads(re.sub(r"^ *[\w.]+(?= .*\{$)", lambda name: name[0].replace(".", "_"), code, flags=re.MULTILINE))
    defined = {f"{kind}.{name}" for kind, name in re.findall(r'^([\w.]+) "(\w+)" \{', code, re.MULTILINE)}
    named = set(re.findall(r"(?:=\s*\[?)((?:local|loki)\.[\w.]+)\.(?:targets|receiver)", code))
    assert named <= defined
    assert named


def log_fields() -> set[str]:
    """Names on a log line, with underscores for dots, as Loki and ``replace_dots`` make them."""
    with testing.capture(metric_dimensions=["tenant"]) as seen:
        with trisignal.context(tenant="acme", request_id="req-1"):
            with trisignal.llm(provider="openai", model="gpt-4o") as call:
                call.set_usage(input_tokens=1, output_tokens=1)
            with contextlib.suppress(TimeoutError), trisignal.llm(provider="openai", model="gpt-4o"):
                raise TimeoutError
    return {name.replace(".", "_") for line in seen.logs for name in line} | {"service"}


@pytest.mark.parametrize("code", in_language("logql"))
def test_logql_names_fields_of_the_line(code: str) -> None:
    """Brackets close, a stream selector comes first, and each field is one that a line has."""
    known = log_fields()
    for query in filter(None, map(str.strip, re.split(r"^#.*$", code, flags=re.MULTILINE))):
        for opening, closing in ("()", "{}", "[]"):
            assert query.count(opening) == query.count(closing), query
        assert '{service="chat-api"} | json' in query
        named = re.findall(r"\| (\w+) =|unwrap (\w+)|by \((\w+)\)", query)
        assert {name for three in named for name in three if name} <= known, query


@pytest.mark.parametrize("code", [*titled(r"POST .+"), *titled("index template")])
def test_elasticsearch_names_fields_of_the_line(code: str) -> None:
    """Each field of a query or a mapping is one that a line has."""
    known, told = log_fields(), json.loads(code)
    text = json.dumps(told)
    fields = set(re.findall(r'"field": "(\w+)"', text)) | set(re.findall(r'"(?:term|range)": \{"(\w+)"', text))
    fields |= set(told.get("template", {}).get("mappings", {}).get("properties", {}))
    assert fields
    assert fields <= known


@pytest.mark.parametrize("code", titled(r"fluent-bit\.yaml"))
def test_fluent_bit_outputs_match_an_input(code: str) -> None:
    """The parser that is named is defined, and each output matches a tag."""
    told = yaml.safe_load(code)
    parsers = {parser["name"] for parser in told["parsers"]}
    inputs, outputs = told["pipeline"]["inputs"], told["pipeline"]["outputs"]
    assert {one["parser"] for one in inputs} <= parsers
    assert {one["match"] for one in outputs} == {one["tag"] for one in inputs}


def test_compose_mounts_what_is_there() -> None:
    """Each file that a container mounts is in the checkout, where no container writes."""
    told = yaml.safe_load((COMPOSE / "compose.yaml").read_text(encoding="utf-8"))
    written: set[str] = set()
    for name, service in told["services"].items():
        for volume in service.get("volumes", []):
            source, target, *mode = volume.split(":")
            assert source in told["volumes"] or (COMPOSE / source).exists(), f"{name}: {source}"
            written |= {source} if not mode else set()
            assert mode in ([], ["ro"])
            assert target.startswith("/")
        assert set(service.get("depends_on", [])) <= set(told["services"])
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert written <= set(told["volumes"]), "nothing is written into the checkout"
    build = told["services"]["app"]["build"]
    assert (COMPOSE / build["context"] / build["dockerfile"]).exists()
    copied = re.findall(r"^COPY (.+) \S+$", (COMPOSE / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    assert all((COMPOSE / build["context"] / source).exists() for line in copied for source in line.split())


@pytest.mark.parametrize("file", sorted(COMPOSE.rglob("*.y*ml")), ids=lambda path: path.name)
def test_compose_files_are_yaml(file: Path) -> None:
    """Every configuration file of the example can be read."""
    assert yaml.safe_load(file.read_text(encoding="utf-8"))
