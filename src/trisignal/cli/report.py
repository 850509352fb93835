"""``trisignal report``: the weekly review of the objectives, as Markdown, written or sent."""

from __future__ import annotations

import time
from datetime import datetime, timezone

import click

from trisignal.errors import ConfigError, shown
from trisignal.operate import markdown, objectives, report, report_sending, scrape, traces_review
from trisignal.operate.report_sending import Target

ADDRESS = "TRISIGNAL_REPORT_ADDRESS"


@click.command(name="report", short_help="Write the weekly review of objectives, cost and errors as Markdown.")
@click.argument("prometheus_url")
@click.option("--config", "path", default="", metavar="FILE", help="Plan of your rules, as for trisignal rules.")
@click.option("--profile", type=click.Choice(["1.41", "2026-10"]), help="Metric profile, instead of the file's.")
@click.option("--until", metavar="TIME", help="End of the week, e.g. 2026-11-20 or 2026-11-20T08:00 (UTC); now.")
@click.option("--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="Sent with each query.")
@click.option("--traces", metavar="SOURCE", help="Store or backend: adds tenants, worst traces, causes.")
@click.option("--to", type=click.Choice(report_sending.TARGETS), help="Where to send it; --output when omitted.")
@click.option("--address", envvar=ADDRESS, metavar="URL", help=f"Of the webhook; better in {ADDRESS}.")
@click.option("--output", "-o", default="-", metavar="FILE", help="Where to write; standard output when omitted.")
def command(
    prometheus_url: str, path: str, profile: str | None, until: str | None, headers: tuple[str, ...],
    traces: str | None, to: Target | None, address: str | None, output: str,
) -> None:  # fmt: skip
    """Review seven days out of the Prometheus at PROMETHEUS_URL, and compare them with the seven before.

    Only the application's own metrics are needed, not the recorded series; alerts are listed if the
    Prometheus evaluates the rules of trisignal rules.
    """
    if to == "file" and output == "-":
        raise ConfigError("--output", output, "a file, with --to file")
    if to in ("slack", "webhook") and not address:
        raise ConfigError("--address", address, f"the URL of the webhook, or the variable {ADDRESS}")
    plan = objectives.load(path)
    if profile is not None:
        plan = plan.model_copy(update={"metric_profile": profile})
    end_s = _end(until)
    prometheus = report.Prometheus(prometheus_url, scrape.header(headers))
    more = [] if traces is None else list(traces_review.sections(traces_review.traces_review(traces, end_s)))
    written = markdown.page(report.review(prometheus, plan, end_s), more)
    if to in ("slack", "webhook"):
        assert address is not None
        try:
            report_sending.send_report(written, to, address)
        except OSError as error:
            raise click.ClickException(f"{to} could not be reached: {shown(str(error))}") from None
    if output != "-":
        report_sending.send_report(written, "file", output)
    elif to is None:
        click.echo(written, nl=False)


def _end(until: str | None) -> float:
    if until is None:
        return time.time()
    try:
        parsed = datetime.fromisoformat(until)
    except ValueError:
        raise ConfigError("--until", until, "a day or a time such as 2026-11-20T08:00") from None
    return (parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=timezone.utc)).timestamp()
