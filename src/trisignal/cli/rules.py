"""``trisignal rules``: alert and SLO rules for Prometheus, made for the metrics of this library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from trisignal.errors import ConfigError, MissingExtraError
from trisignal.operate import objectives, rule_files


@click.command(name="rules", short_help="Write alert and SLO rules for Prometheus.")
@click.option("--config", "path", default="", metavar="FILE", help="Objectives and thresholds (YAML or JSON).")
@click.option(
    "--format",
    "form",
    type=click.Choice(["prometheus", "prometheus-operator"]),
    default="prometheus",
    show_default=True,
    help="A rule file, or PrometheusRule and ServiceMonitor objects.",
)
@click.option("--profile", type=click.Choice(["1.41", "2026-10"]), help="Metric profile, instead of the file's.")
@click.option("--name", default="trisignal", show_default=True, help="Name of the operator's objects.")
@click.option(
    "--label", "labels", multiple=True, metavar="KEY=VALUE", help="Label of every alert, and of the operator's objects."
)
@click.option("--output", "-o", default="-", metavar="FILE", help="Where to write; standard output when omitted.")
def command(path: str, form: str, profile: str | None, name: str, labels: tuple[str, ...], output: str) -> None:
    """Write recording rules, SLO burn-rate alerts and symptom alerts.

    Check the result with: promtool check rules FILE
    """
    plan = objectives.load(path)
    if profile is not None:
        plan = plan.model_copy(update={"metric_profile": profile})
    labelled = dict(_pair(label) for label in labels)
    # Kubernetes has labels that Prometheus cannot have, such as app.kubernetes.io/part-of: those are the objects' only.
    ours = {k: v for k, v in labelled.items() if form == "prometheus" or not ("/" in k or "." in k or "-" in k)}
    plan = rule_files.labelled(plan, ours)
    if form == "prometheus":
        documents: list[Any] = [rule_files.plain(plan)]
    else:
        documents = rule_files.operator(plan, name, labelled)
    written = _yaml(documents)
    if output == "-":
        click.echo(written, nl=False)
        return
    try:
        Path(output).write_text(written, encoding="utf-8")
    except OSError as error:
        raise ConfigError("--output", output, f"a file that can be written ({error.strerror})") from None
    count = sum(len(group.rules) for group in rule_files.groups(plan))
    click.echo(f"{output}: {count} rules", err=True)


def _pair(label: str) -> tuple[str, str]:
    key, equals, value = label.partition("=")
    if not key or not equals:
        raise ConfigError("--label", label, "KEY=VALUE")
    return key, value


def _yaml(documents: list[Any]) -> str:
    try:
        import yaml
    except ImportError:
        raise MissingExtraError("trisignal rules", "yaml") from None

    class Readable(yaml.SafeDumper):
        """Writes long texts as blocks, and never an alias."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    def text(dumper: Any, data: str) -> Any:
        return dumper.represent_scalar("tag:yaml.org,2002:str", data, style="|" if "\n" in data else None)

    Readable.add_representer(str, text)
    # Every loader reads JSON's own objects, so what is dumped is plain.
    plain = json.loads(json.dumps(documents))
    return str(yaml.dump_all(plain, Dumper=Readable, sort_keys=False, width=100_000, explicit_start=len(plain) > 1))
