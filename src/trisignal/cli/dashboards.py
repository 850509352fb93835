"""``trisignal dashboards``: dashboards for Grafana, made for the metrics of this library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from trisignal.errors import ConfigError, MissingExtraError
from trisignal.operate import dashboards, objectives
from trisignal.operate.objectives import RulesPlan


@click.command(name="dashboards", short_help="Write dashboards for Grafana.")
@click.option("--config", "path", default="", metavar="FILE", help="Objectives and dimensions (YAML or JSON).")
@click.option("--profile", type=click.Choice(["1.41", "2026-10"]), help="Metric profile, instead of the file's.")
@click.option("--output", "-o", required=True, metavar="DIR", help="Folder to write to; created if it is missing.")
def command(path: str, profile: str | None, output: str) -> None:
    """Write one JSON file per dashboard, to be imported or provisioned.

    The file of --config is that of `trisignal rules`: its metric profile, prefix and dimensions,
    and the limits that are drawn.
    """
    plan = objectives.load(path)
    if profile is not None:
        plan = plan.model_copy(update={"metric_profile": profile})
    made = _rendered(plan)
    folder = Path(output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in made.items():
            (folder / f"{name}.json").write_text(json.dumps(text, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError("--output", output, f"a folder that can be written to ({error.strerror})") from None
    click.echo(f"{output}: {len(made)} dashboards", err=True)


def _rendered(plan: RulesPlan) -> dict[str, dict[str, Any]]:
    try:
        from trisignal.operate.dashboards import grafana
    except ImportError:
        raise MissingExtraError("trisignal dashboards (Python 3.11 or later)", "dashboards") from None
    variables = dashboards.Selection(plan).variables()
    return {page.uid: grafana.render(page, variables) for page in dashboards.pages(plan)}
