"""Write the generated tables of README, CONTRIBUTING and docs, between ``<!-- table: NAME -->`` and ``<!-- end -->``.

Every row comes from the code or from running it. ``--check`` changes nothing and exits with 1
when a table is out of date.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, fields
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from prometheus_client import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

import trisignal
from trisignal import config, providers, testing
from trisignal import semconv as names
from trisignal.call import ERROR_KINDS, OUTCOMES
from trisignal.cli import COMMANDS
from trisignal.cli._demo_provider import BUSY, SCENE, TOO_LONG, DemoProvider
from trisignal.clients import REGISTRY
from trisignal.export.standard_variables import VARIABLES
from trisignal.outcomes import kind_of_status
from trisignal.policy.redact import PatternRedactor
from trisignal.semconv import batch, limits, realtime, search, serving

ROOT = Path(__file__).parents[1]
_TABLE = re.compile(r"(<!-- table: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)

OUTCOME_MEANING = {
    "ok": ("The call returned, or its stream was read to the finish chunk.", "unset", "INFO"),
    "error": (
        "The call raised, or its stream carried an error or lacks its finish event.",
        "`ERROR`",
        "ERROR, or WARNING",
    ),
    "cancelled": ("The task was cancelled, or the process was interrupted.", "unset", "WARNING"),
    "abandoned": (
        "The stream was dropped or closed before its finish chunk, or at exit.",
        "unset",
        "WARNING",
    ),
}
KIND_MEANING = {
    "rate_limit": "too many requests, quota used up",
    "timeout": "the client or the provider gave up waiting",
    "auth": "key or permission missing",
    "invalid_request": "the provider refused the request as it is",
    "content_filter": "refused for its content",
    "overloaded": "the provider has no capacity now",
    "server": "the provider failed",
    "connection": "no connection, or it broke",
    "other": "none of the above, or unknown",
}
ATTRIBUTE_MEANING = {
    names.OUTCOME: "`error`, `cancelled` or `abandoned`; on spans its absence means `ok`",
    names.ERROR_KIND: "vendor-neutral kind of the error",
    names.PARTIAL: "true: the token counts go up to where the call ended early",
    names.REQUEST_ID: "request id of your application",
    names.VENDOR_REQUEST_ID: "request id that the provider returned",
    names.USER_ID: "`user_id` of `trisignal.context`",
    names.RETRIES: "retries inside the client",
    names.RETRIES_LOST_S: "seconds from the first attempt to the begin of the last one, where there were retries",
    names.TIME_TO_FIRST_TOKEN_S: "seconds to the first token of any kind",
    names.TIME_TO_FIRST_ANSWER_S: "seconds to the first visible text or tool call",
    names.DIMENSION_PREFIX + "*": "further values of `trisignal.context`",
    serving.QUEUE_S: "seconds that the request waited in the model server, as it reports them",
    serving.PREFILL_S: "seconds of its prefill",
    serving.DECODE_S: "seconds of its decoding",
    serving.LOAD_S: "seconds of loading the model",
    serving.TOTAL_S: "seconds that the server reports in all, or the sum of its parts",
    serving.INFERENCE_S: "prefill and decode together, where the server reports no more",
    serving.BATCH_SIZE: "requests that the server worked on together, as it reports",
    serving.WAITING: "requests that waited in the server when this one came, as it reports",
    serving.NETWORK_S: "duration without earlier attempts and what the server reports: network, proxies, the client",
    limits.KIND: "`budget` or `guard` that refused a call; on the event `llm.refused` only, as the following",
    limits.NAME: "name of the budget or the guard",
    limits.KEY: "name of the bound value that it is kept by",
    limits.VALUE: "that value",
    limits.RESOURCE: "`usd`, `tokens`, `calls`, `tool_calls`, `seconds`, `depth`, `repeats`, or `unavailable`",
    limits.REPEATED: "what came again and again",
    limits.USED: "how much was used",
    limits.LIMIT: "how much there was",
    names.STAGE_NAME: "name of a stage",
    names.STAGE_PREFIX + "*": "milliseconds per stage, as `llm.stage.<name>_ms`",
    names.STAGES_TOTAL_MS: "milliseconds of all stages",
    names.CONTENT_CUT_BYTES: "bytes of content that were cut to stay within the budgets",
    names.CONTENT_DROPPED: "why content is missing: `span_budget`, `redaction_failed`",
    names.COST_ATTRIBUTES["input"]: "US dollars for the prompt",
    names.COST_ATTRIBUTES["output"]: "US dollars for the reply",
    names.COST_ATTRIBUTES["total"]: "US dollars for the call",
    names.USAGE_COST: "the same, under the name that several backends read",
    names.COST_SOURCE: "who says so: `provider` (its bill), `table` (the shipped or live prices), `user` (yours)",
    names.UNPRICED_REASON: "why there is no cost: `model`, `modality`, `tier` or `unit` has no price",
    names.PROPOSED_COST["amount"]: "the cost under the name proposed for the conventions, in profile `2026-10`",
    names.PROPOSED_COST["currency"]: "`USD`, in profile `2026-10`",
    names.PROPOSED_COST["source"]: "`provider` or `local`, in profile `2026-10`",
    names.RUN_COST: "US dollars of an agent's whole run, as its SDK reports them: a sum of what its calls have",
    names.RUN_TURNS: "turns of an agent's run, as its SDK reports them",
    batch.BATCH_ID: "the vendor's id of a batch job",
    batch.BATCH_STATE: "state of a batch job, as its vendor reports it",
    batch.BATCH_REQUESTS: "requests in a batch job",
    batch.BATCH_SUCCEEDED: "those that succeeded",
    batch.BATCH_FAILED: "those that failed or expired",
    batch.BATCH_CANCELLED: "those that were cancelled",
    batch.BATCH_UNREAD: "true: nobody has read the results, the numbers are those that the job states itself",
    names.USAGE_PAGES: "pages that were read, where those are billed instead of tokens",
    names.USAGE_AUDIO_S: "seconds of audio, where those are billed instead of tokens",
    names.USAGE_INPUT_VIDEO: "input tokens that are video",
    names.USAGE_OUTPUT_VIDEO: "output tokens that are video",
    names.USAGE_CACHE_READ_VIDEO: "cached input tokens that are video",
    names.OTHER_MODELS_INPUT: "input tokens of models that the provider consulted, which the totals leave out",
    names.OTHER_MODELS_OUTPUT: "output tokens of models that the provider consulted, which the totals leave out",
    names.SERVER_TOOL_PREFIX + "*": "calls of a tool that the provider ran, as `llm.server_tools.<tool>`",
    names.REALTIME_SESSION_ID: "session that a response, a turn or a tool call of a realtime connection belongs to",
    names.DRAFT[
        names.REALTIME_SESSION_ID
    ]: "the same under the name of a draft of the conventions, in profile `2026-10`",
    realtime.SESSION_TURNS: "turns of a realtime session",
    realtime.SESSION_RESPONSES: "responses of a realtime session",
    realtime.SESSION_INTERRUPTIONS: "responses of a realtime session that were cut off",
    realtime.SESSION_ERRORS: "errors that the provider reported in a realtime session",
    realtime.SESSION_RECONNECTS: "connections that continued a realtime session",
    names.TIME_TO_FIRST_AUDIO_S: "seconds from the end of the user's speech, else from the request, to the first audio",
    realtime.USAGE_OUTPUT_AUDIO_S: "seconds of audio that the response has, where the provider counts them",
    realtime.USAGE_BILLABLE_AUDIO_S: "seconds of audio that the provider bills, where it reports them",
    search.RESULTS: "results of a retrieval",
    search.QUERIES: "queries of a retrieval, where they are not one",
    search.EMPTY: "queries of a retrieval that found nothing",
    search.BEST_SCORE: "score of the best result",
    search.WORST_SCORE: "score of the last result that came back",
    search.SCORE_KIND: "`similarity` (more is better) or `distance` (less is better)",
    search.FILTERED: "true: the retrieval had a filter",
    search.VECTORS: "vectors that were put into a store",
    names.AGENT_NAME: "on model calls too: the agent that makes them",
    names.ANTHROPIC_REQUEST_ID: "request id that Anthropic returned",
    names.ANTHROPIC_ORGANIZATION_ID: "organization that the API key belongs to",
    names.ANTHROPIC_WORKSPACE_ID: "workspace that the API key belongs to",
    names.ANTHROPIC_BETA: "requested beta features",
    names.ANTHROPIC_REQUEST_SERVICE_TIER: "requested service tier",
    names.ANTHROPIC_RESPONSE_SERVICE_TIER: "service tier that was used",
    names.ANTHROPIC_THINKING_TYPE: "requested thinking mode",
    names.ANTHROPIC_THINKING_BUDGET: "token budget for thinking",
    names.ANTHROPIC_STOP_REASON: "Anthropic's own stop reason",
    names.ANTHROPIC_CACHE_WRITE_5M: "cache writes kept for five minutes",
    names.ANTHROPIC_CACHE_WRITE_1H: "cache writes kept for an hour",
    names.ANTHROPIC_COMPACTION_INPUT: "input tokens of compactions, which the totals leave out",
    names.ANTHROPIC_COMPACTION_OUTPUT: "output tokens of compactions, which the totals leave out",
    names.ANTHROPIC_COUNTED_TOKENS: "result of a `count_tokens` call",
    names.ANTHROPIC_BATCH_ID: "the batch that a call is about",
    names.ANTHROPIC_BATCH_REQUESTS: "requests in a batch that is created",
}
# Put together from parts, so that no scanner takes these for real secrets.
SAMPLES = {
    "email": "write to ann@example.com",
    "phone": "call +1 415 555 0132",
    "card": "card 4111 1111 1111 1111",
    "iban": "to DE89 3704 0044 0532 0130 00",
    "us_ssn": "ssn 219-09-9999",
    "ip": "from 203.0.113.7",
    "api_key": "key sk-" + "proj-" + "Zq3" * 16,
    "jwt": "sent " + ".".join(("eyJhbGciOiJIUzI1NiJ9", "eyJzdWIiOiIxMjM0NTY3ODkwIn0", "dGVzdHNpZ25hdHVyZQ")),
    "national_phone": "call 030 901820",
    "private_key": "-----BEGIN " + "PRIVATE KEY-----\nMIIE\n-----END " + "PRIVATE KEY-----",
}


def table(head: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def _label(name: str) -> str:
    return f"`{name.replace('.', '_')}`"


def _labels(metric: names.Metric) -> str:
    for short, group in (("C", names.COMMON), ("R", names.R)):
        if metric.labels[: len(group)] == group:
            return ", ".join([short, *map(_label, metric.labels[len(group) :])])
    return ", ".join(map(_label, metric.labels)) or "none"


def _type(metric: names.Metric) -> str:
    return "gauge" if metric.instrument == "updowncounter" else metric.instrument


def _metrics_of(profile: str) -> list[names.Metric]:
    return list(dict.fromkeys(names.profile(profile).values()))


def metrics() -> str:
    """The metrics of the default profile, in short."""
    rows = ((f"`{m.prometheus_name}`", _type(m), _labels(m), m.help) for m in _metrics_of("1.41"))
    return table(("metric", "type", "labels", "meaning"), rows)


def metrics_full() -> str:
    """The metrics of the default profile with OpenTelemetry name, unit and how processes are merged."""

    def row(m: names.Metric) -> Sequence[str]:
        merged = f", merged `{m.multiprocess}`" if _type(m) == "gauge" else ""
        both = f"`{m.prometheus_name}`<br>`{m.name}`"
        return both, f"{m.instrument}{merged}, `{m.unit}`", _labels(m), m.help

    head = ("Prometheus and OpenTelemetry name", "instrument, unit", "labels", "meaning")
    return table(head, map(row, _metrics_of("1.41")))


def profiles() -> str:
    """What profile ``2026-10`` has instead."""
    released = {m.name for m in _metrics_of("1.41")}
    snapshot = [m for m in _metrics_of("2026-10") if m.name not in released]
    rows = ((f"`{m.prometheus_name}`", _type(m), _labels(m), m.help) for m in snapshot)
    return table(("metric", "type", "labels", "meaning"), rows)


def bounds() -> str:
    """Bucket bounds of each histogram."""
    by_bounds: dict[str, list[str]] = {}
    for metric in _metrics_of("1.41"):
        if metric.instrument == "histogram":
            edges = ", ".join(f"{edge:g}" if edge < 1e6 else f"{edge:.0f}" for edge in metric.bounds)
            by_bounds.setdefault(edges, []).append(f"`{metric.prometheus_name}`")
    rows = ((", ".join(found), edges) for edges, found in by_bounds.items())
    return table(("histograms", "bounds"), rows)


_FIELDS = {field.name: field for field in fields(config.Settings)}


def settings() -> str:
    """The settings."""

    def row(name: str) -> Sequence[str]:
        field = _FIELDS[name]
        default: Any = field.default if field.default is not MISSING else ""
        if isinstance(default, tuple):
            default = "all detectors" if default == config.DETECTORS else ", ".join(default)
        elif isinstance(default, bool):
            default = str(default).lower()
        shown = f"`{default}`" if default not in ("", {}, "all detectors") else str(default or "")
        standard = config.STANDARD_VARIABLES.get(name)
        variable = f"`{config.PREFIX}{name.upper()}`" + (f" or `{standard}`" if standard else "")
        return f"`{name}`", variable, shown, config.DESCRIPTIONS[name]

    return table(("argument", "variable", "default", "meaning"), map(row, _FIELDS))


def standard_variables() -> str:
    """The standard variables, and ours that are not settings."""
    rows = [(f"`{one.name}`", one.meaning) for one in VARIABLES]
    rows += [(f"`{name}`", meaning) for name, meaning in config.OTHER_VARIABLES.items()]
    return table(("variable", "does"), iter(rows))


def clients() -> str:
    """The clients that are instrumented."""
    rows = ((f"`{row.name}`", f"`{row.module}` {row.versions}") for row in REGISTRY)
    return table(("name", "package and versions"), rows)


def commands() -> str:
    """The subcommands."""
    loaded = ((name, import_module(module).command) for name, module in sorted(COMMANDS.items()))
    return table(("command", "does"), ((f"`trisignal {n}`", c.get_short_help_str(100)) for n, c in loaded))


def outcomes() -> str:
    """How a call may end."""
    rows = ((f"`{outcome}`", *OUTCOME_MEANING[outcome]) for outcome in OUTCOMES)
    return table(("outcome", "when", "span status", "log level"), rows)


def error_kinds() -> str:
    """The vendor-neutral kinds of errors and the HTTP statuses that mean them."""

    def statuses(kind: str) -> str:
        found = [code for code in range(400, 600) if kind_of_status(code) == kind]
        usual = {"invalid_request": "all other 4xx", "server": "all other 5xx"}
        return usual.get(kind) or ", ".join(map(str, found)) or "-"

    rows = ((f"`{kind}`", statuses(kind), KIND_MEANING[kind]) for kind in ERROR_KINDS)
    return table(("kind", "HTTP status", "meaning"), rows)


def attributes() -> str:
    """Attributes of the conventions that trisignal sets."""
    found = [
        value
        for key, value in vars(names).items()
        if key.isupper() and isinstance(value, str) and "." in value and "/" not in value
    ]
    events = {names.EVENT_DETAILS, names.EVENT_EXCEPTION, names.EVENT_EVALUATION}
    own = {name.rstrip("*") for name in names.EXTENSION_ATTRIBUTES} | {names.LABEL_COST_BUCKET}
    return "".join(f"- `{name}`\n" for name in sorted(set(found) - events - own))


def own_attributes() -> str:
    """Attributes beyond the conventions."""
    rows = ((f"`{name}`", kind, ATTRIBUTE_MEANING[name]) for name, kind in names.EXTENSION_ATTRIBUTES.items())
    return table(("attribute", "type", "meaning"), rows)


def detectors() -> str:
    """The built-in detectors, each run on a sample, with what they match in recorded traffic."""
    redact = PatternRedactor((*config.DETECTORS, *config.OPTIONAL_DETECTORS), {}, lambda detector, hits: None)
    counted = json.loads((ROOT / "scripts" / "detector_counts.json").read_text(encoding="utf-8"))

    def row(name: str) -> Sequence[str]:
        given = SAMPLES[name]
        shown = given if len(given) < 48 else given[:24] + "…" + given[-8:]
        right, wrong = counted["matches"][name]
        return f"`{name}`", f"`{_one_line(shown)}`", f"`{_one_line(redact(given))}`", str(right), str(wrong)

    columns = ("detector", "text", "what leaves", "right matches", "wrong matches")
    found = table(columns, map(row, (*config.DETECTORS, *config.OPTIONAL_DETECTORS)))
    return found + (
        f"\nThe last two columns count matches in {counted['recordings']} recorded exchanges with providers "
        f"({counted['texts']:,} texts, {counted['characters'] / 1e6:.1f} million characters); "
        "`scripts/detector_counts.py` counts them. `national_phone` is off unless it is named.\n"
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())


def hosts() -> str:
    """Host suffixes that name a provider."""
    by_provider: dict[str, list[str]] = {}
    for suffix, provider in providers._BY_SUFFIX.items():
        by_provider.setdefault(provider, []).append(f"`{suffix}`")
    for port, provider in providers._BY_LOCAL_PORT.items():
        by_provider.setdefault(provider, []).append(f"port {port} on this machine")
    rows = ((f"`{provider}`", ", ".join(found)) for provider, found in by_provider.items())
    return table(("`gen_ai.provider.name`", "hosts"), rows)


def log_line() -> str:
    """A call's log line, as it is written."""
    clock = testing.FakeClock(step_s=0.25)
    with testing.capture(clock=clock, fake_ids=True) as seen:
        model_call = trisignal.llm(provider="openai", model="gpt-4o")
        with trisignal.context(request_id="req-7", tenant="acme"), model_call as call:
            call.set_usage(input_tokens=812, output_tokens=64)
        line = {**seen.logs[0], "timestamp": "2026-11-20T09:30:00.125Z"}
    return f"```json\n{json.dumps(line, indent=2)}\n```\n"


SHOWN_SPAN = (
    "gen_ai.operation.name",
    "gen_ai.provider.name",
    "gen_ai.request.model",
    "llm.request_id",
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.output_tokens",
    "llm.cost.total_usd",
)
SHOWN_LOG = (
    "level",
    "logger",
    "message",
    "gen_ai.provider.name",
    "gen_ai.request.model",
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.output_tokens",
    "cost_usd",
    "trace_id",
    "request_id",
)
SHOWN_METRICS = (
    "llm_requests_total",
    "llm_cost_usd_total",
    "gen_ai_client_token_usage_sum",
    "gen_ai_client_operation_duration_seconds_bucket",
)
TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
"""Ids of the W3C's example, in place of the fake ones, which are all zeros."""


def three_signals() -> str:
    """One call as span, metrics and log line, each cut to what they share."""
    with testing.capture(clock=testing.FakeClock(step_s=0.84), fake_ids=True) as seen:
        model_call = trisignal.llm(provider="openai", model="gpt-4o")
        with trisignal.context(request_id="req-7"), model_call as call:
            call.set_usage(input_tokens=812, output_tokens=64)
        attributes, log = dict(seen.span.attributes or {}), seen.logs[0]
        page = generate_openmetrics(seen.registry).decode().splitlines()
    span = [f"{seen.span.name}", f"  trace_id: {TRACE_ID}", f"  span_id:  {SPAN_ID}"]
    span += [f"  {name}: {attributes[name]}" for name in SHOWN_SPAN]
    line = json.dumps({name: TRACE_ID if name == "trace_id" else log[name] for name in SHOWN_LOG}, indent=2)
    cards = (
        ("Span", "OpenTelemetry, GenAI conventions", "text", "\n".join(span)),
        ("Metrics", "Prometheus, on your own `/metrics`", "text", "\n".join(_shown_samples(page))),
        ("Log line", "JSON, through `logging`", "json", line),
    )
    parts = [
        f"<div markdown>\n**{name}** {origin}\n\n```{language}\n{text}\n```\n</div>\n"
        for name, origin, language, text in cards
    ]
    return '<div class="signals" markdown>\n' + "".join(parts) + "</div>\n"


def _shown_samples(page: list[str]) -> Iterator[str]:
    """The samples of the metrics on show that are not zero, with a few of their labels."""
    for metric in SHOWN_METRICS:
        lines = [line for line in page if line.startswith(metric + "{") and float(_sample_value(line)) > 0]
        for line in lines[:1] if metric.endswith("_bucket") else lines:
            labels = re.findall(r'(?:llm_outcome|llm_cost_bucket|gen_ai_token_type|le)="[^"]*"', line)
            yield f"{metric}{{\n  …,{','.join(labels)}}} {_sample_value(line)}"
            if " # " in line:
                yield f'  # {{trace_id="{TRACE_ID}"}}'


def _sample_value(line: str) -> str:
    return line.split("} ")[1].split(" ")[0]


def series() -> str:
    """Prometheus series of one model, counted on the page after real calls."""
    import openai

    def plain(client: Any, **more: Any) -> Any:
        question = [{"role": "user", "content": "Where is order 1042?"}]
        return client.chat.completions.create(model="gpt-4o", messages=question, **more)

    def streamed(client: Any) -> None:
        for _ in plain(client, stream=True, stream_options={"include_usage": True}):
            pass

    def refused(client: Any) -> None:
        try:
            plain(client, extra_headers={SCENE: TOO_LONG})
        except openai.BadRequestError:
            return

    steps: tuple[tuple[str, Callable[[Any], object]], ...] = (
        ("nothing yet", lambda client: None),
        ("a plain call", plain),
        ("and a streamed call with usage", streamed),
        ("and a call that failed", refused),
        ("and a call that was retried", lambda client: plain(client, extra_headers={SCENE: BUSY})),
    )
    fewer = _module("relabelling")
    rows: list[tuple[str, ...]] = []
    with DemoProvider() as provider, testing.capture() as seen:
        trisignal.instrument("openai")
        try:
            client = openai.OpenAI(base_url=provider.base_url, api_key="demo")
            for what, step in steps:
                step(client)
                page = generate_latest(seen.registry).decode().splitlines()
                found = [line for line in page if not line.startswith("#")]
                samples = (one for family in seen.registry.collect() for one in family.samples)
                kept = [one for one in samples if not fewer.dropped({"__name__": one.name, **one.labels})]
                rows.append((what, str(len(found)), str(len(kept))))
        finally:
            trisignal.uninstrument("openai")
    return table(("after", "series on the page", "kept with fewer series"), iter(rows))


def _module(name: str) -> ModuleType:
    """A module of the tests."""
    spec = spec_from_file_location(name, ROOT / "tests" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def layers() -> str:
    """Modules and folders from the bottom up, as the test of the architecture has them."""
    module = _module("test_architecture")
    rows = []
    for name, purpose in module.LAYERS:
        place = "__init__" if name == "." else f"{name}/" if (module.PACKAGE / name).is_dir() else name
        rows.append((f"`{place}`", purpose))
    return table(("module or folder", "holds"), iter(rows))


TABLES: dict[str, Callable[[], str]] = {
    "metrics": metrics,
    "metrics-full": metrics_full,
    "profiles": profiles,
    "bounds": bounds,
    "settings": settings,
    "standard-variables": standard_variables,
    "clients": clients,
    "commands": commands,
    "outcomes": outcomes,
    "error-kinds": error_kinds,
    "attributes": attributes,
    "own-attributes": own_attributes,
    "detectors": detectors,
    "hosts": hosts,
    "log-line": log_line,
    "three-signals": three_signals,
    "series": series,
    "layers": layers,
}


def pages() -> list[Path]:
    """README, CONTRIBUTING and every page of the documentation."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def render(text: str, rendered: dict[str, str]) -> str:
    """A page with its tables as they should be.

    Args:
        text: The page.
        rendered: Tables by name; missing ones are rendered and kept here.
    """

    def put(match: re.Match[str]) -> str:
        name = match[2]
        if name not in rendered:
            rendered[name] = TABLES[name]()
        return f"{match[1]}\n{rendered[name]}\n{match[3]}"

    return _TABLE.sub(put, text)


def main(arguments: Sequence[str]) -> int:
    """Write the tables, or check them; returns the exit code."""
    rendered: dict[str, str] = {}
    stale = []
    for page in pages():
        text = page.read_text(encoding="utf-8")
        wanted = render(text, rendered)
        if wanted != text:
            stale.append(page.relative_to(ROOT).as_posix())
            if "--check" not in arguments:
                page.write_text(wanted, encoding="utf-8")
    for name in stale:
        print(f"{name}: {'out of date' if '--check' in arguments else 'written'}")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
