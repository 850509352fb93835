"""``trisignal report``: the weekly review of the objectives, as Markdown."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from pathlib import Path

import click

from trisignal.errors import ConfigError
from trisignal.operate import markdown, objectives, report, scrape


@click.command(name="report", short_help="Write the weekly review of objectives, cost and errors as Markdown.")
@click.argument("prometheus_url")
@click.option("--config", "path", default="", metavar="FILE", help="Plan of your rules, as for trisignal rules.")
@click.option("--profile", type=click.Choice(["1.41", "2026-10"]), help="Metric profile, instead of the file's.")
@click.option("--until", metavar="TIME", help="End of the week, e.g. 2026-11-20 or 2026-11-20T08:00 (UTC); now.")
@click.option("--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="Sent with each query.")
@click.option("--output", "-o", default="-", metavar="FILE", help="Where to write; standard output when omitted.")
def command(
    prometheus_url: str, path: str, profile: str | None, until: str | None, headers: tuple[str, ...], output: str
) -> None:  # fmt: skip
    """Review seven days out of the Prometheus at PROMETHEUS_URL, and compare them with the seven before.

    Only the application's own metrics are needed, not the recorded series; alerts are listed if the
    Prometheus evaluates the rules of trisignal rules.
    """
    plan = objectives.load(path)
    if profile is not None:
        plan = plan.model_copy(update={"metric_profile": profile})
    prometheus = report.Prometheus(prometheus_url, scrape.header(headers))
    written = markdown.page(report.review(prometheus, plan, _end(until)))
    if output == "-":
        click.echo(written, nl=False)
        return
    try:
        Path(output).write_text(written, encoding="utf-8")
    except OSError as error:
        raise ConfigError("--output", output, f"a file that can be written ({error.strerror})") from None


def _end(until: str | None) -> float:
    if until is None:
        return time.time()
    try:
        parsed = datetime.fromisoformat(until)
    except ValueError:
        raise ConfigError("--until", until, "a day or a time such as 2026-11-20T08:00") from None
    return (parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=timezone.utc)).timestamp()
