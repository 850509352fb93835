"""All settings: one table, one loader; explicit argument > environment > file > default.

Each setting has the environment variable ``TRISIGNAL_<NAME>`` in upper case; a few also
read a standard ``OTEL_*`` variable, named in `STANDARD_VARIABLES`. An empty variable
counts as unset. The environment is read once, in `load`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, NamedTuple

from trisignal.config import values
from trisignal.config.files import FILE_VARIABLE, read_file
from trisignal.config.values import DETECTORS, LOG_TARGETS, OPTIONAL_DETECTORS, TAKEN_LABELS, Reader
from trisignal.errors import ConfigError
from trisignal.semconv import PROFILES

__all__ = [
    "DESCRIPTIONS", "DETECTORS", "FILE_VARIABLE", "LOG_TARGETS", "OPTIONAL_DETECTORS", "OTHER_VARIABLES", "PREFIX",
    "STANDARD_VARIABLES", "TAKEN_LABELS", "CaptureContent", "Loaded", "Settings", "load", "unknown_variables",
]  # fmt: skip

PREFIX = "TRISIGNAL_"
STANDARD_VARIABLES = {
    "service_name": "OTEL_SERVICE_NAME",
    "capture_content": "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT",
    "disabled": "OTEL_SDK_DISABLED",
}
"""Settings that a standard variable sets too; ours wins where both are set."""
OTHER_VARIABLES = {
    FILE_VARIABLE: "File of settings: `.json`, `.toml` (Python 3.11), `.yaml` (extra `yaml`).",
    "TRISIGNAL_METRICS_PORT": "Loopback port of the metrics page that `trisignal run` and "
    "`opentelemetry-instrument` serve; unset: none.",
    "TRISIGNAL_REPORT_ADDRESS": "Where `trisignal report --to slack` or `--to webhook` posts: such addresses are "
    "secrets, and arguments of commands are seen by other users.",
    "TRISIGNAL_AUTO": "Set by `trisignal run`: Python processes below it start trisignal.",
    "TRISIGNAL_METRICS_SERVING": "Set by `trisignal run`: address of the page that a process above serves.",
    "TRISIGNAL_METRICS_DIRECTORY": "Set by `trisignal run`: the multiprocess directory that it made.",
}
"""Variables of ours that are not settings."""

SERIES_PER_LABEL_SET = 50
"""Room for the label sets of a model: four of its requests, and some 180 series in all if it streams, too."""

CaptureContent = Literal["no_content", "span_only", "event_only", "span_and_event"]


def _setting(default: Any, read: Reader, description: str) -> Any:
    more = {"read": read, "description": description}
    return field(default_factory=dict, metadata=more) if default == {} else field(default=default, metadata=more)


# The methods that a dataclass writes and compiles for so many fields take three milliseconds of every start.
@dataclass(frozen=True, init=False, repr=False, eq=False)
class Settings:
    """What may be set. The descriptions are the reference documentation."""

    service_name: str = _setting("", values.text, "`service.name` of the resource that setup() builds.")
    disabled: bool = _setting(False, values.switch, "Do nothing at all: calls pass through untouched.")
    set_global: bool = _setting(
        True,
        values.switch,
        "A tracer provider that setup() builds becomes the global one, where the host has set none.",
    )
    capture_content: CaptureContent = _setting(
        "no_content",
        values.content,
        "Where message content goes, after redaction: `no_content`, `span_only`, `event_only`, "
        "`span_and_event`; `true` means `span_only` and `false` `no_content`.",
    )
    content_field_bytes: int = _setting(16384, values.whole(256), "Byte budget of one content attribute.")
    content_span_bytes: int = _setting(65536, values.whole(512), "Byte budget of all content of one span.")
    redact: tuple[str, ...] = _setting(
        DETECTORS,
        values.detectors,
        "Built-in detectors in use, comma-separated in a variable; `default` stands for all but `national_phone`; "
        "empty: none.",
    )
    redact_patterns: dict[str, str] = _setting(
        {},
        values.mapping('{"badge": "B-[0-9]+"}'),
        "Own detectors: name to regular expression (JSON object in a variable).",
    )
    mask_keys: tuple[str, ...] = _setting(
        (),
        values.keys,
        "Keys, or paths of keys, whose values are masked in structured content, attributes and log fields, "
        "e.g. `card,*.ssn`.",
    )
    redactor_timeout_s: float = _setting(
        1.0, values.duration, "Seconds that `redactor` may take for one text; what takes longer is dropped."
    )
    metric_profile: Literal["1.41", "2026-10"] = _setting(
        "1.41",
        values.one_of(*PROFILES),
        "Names of the conventions' metrics: `1.41` (released) or `2026-10` (snapshot).",
    )
    metric_prefix: str = _setting("", values.prefix, "Put before every Prometheus metric name.")
    metric_dimensions: tuple[str, ...] = _setting(
        (), values.labels, "Names of `context(...)` values that become metric labels, e.g. `tenant`."
    )
    slo_thresholds: tuple[float, ...] = _setting(
        (), values.seconds, "Further bucket bounds of the latency histograms, in seconds."
    )
    max_label_sets: int = _setting(
        200,
        values.whole(1),
        "Label sets per metric, 4 for each model with its provider and dimensions; more collapse into `_OTHER`.",
    )
    max_series: int = _setting(
        SERIES_PER_LABEL_SET * 200,
        values.whole(100),
        "Prometheus series per process, over all metrics; rises with `max_label_sets`, 50 for each, unless it is set.",
    )
    exemplars: bool = _setting(True, values.switch, "Attach trace and span ids of sampled spans to histograms.")
    trace_sample_ratio: float = _setting(
        1.0, values.share, "Share of traces kept by the provider that setup() builds; by trace id."
    )
    tail_sampling: bool = _setting(
        False,
        values.switch,
        "Keep whole traces for what happened in them, in the provider that setup() builds; `trace_sample_ratio` is the "
        "share of the others.",
    )
    tail_wait_s: float = _setting(
        5.0, values.duration, "Seconds that an ended trace waits for a score or a late span that speaks for it."
    )
    tail_dear_usd: float = _setting(1.0, values.dollars, "US dollars from which on a trace is kept as dear.")
    tail_max_traces: int = _setting(5000, values.whole(1), "Traces that tail sampling may hold.")
    tail_max_spans: int = _setting(50_000, values.whole(1), "Spans that tail sampling may hold.")
    tail_max_mb: int = _setting(64, values.whole(1), "Megabytes that tail sampling may hold, roughly.")
    tail_max_s: float = _setting(300.0, values.duration, "Seconds that tail sampling waits for a trace to end.")
    log_sample_ratio: float = _setting(
        1.0, values.share, "Share of success log lines, by trace id; failures are always logged."
    )
    logs: str = _setting(
        "",
        values.log_target,
        "`stderr` or `stdout` (JSON lines), `console` (lines for people, on stderr), `root` (format the whole "
        "application), `emf` (JSON lines on stdout, of which CloudWatch makes metrics), or a file path; empty: no "
        "handler.",
    )
    emf_namespace: str = _setting("trisignal", values.text, "CloudWatch's namespace of the metrics of `logs=emf`.")
    prices_file: str = _setting("", values.path, "Price overrides, YAML or JSON.")
    live_prices: bool = _setting(False, values.switch, "Use the installed genai-prices package (extra `live-prices`).")
    propagate_trace_context: bool = _setting(
        False, values.switch, "Send W3C trace context (never baggage) with outgoing model calls."
    )
    inject_stream_usage: bool = _setting(
        False, values.switch, "Ask OpenAI-compatible chat streams for usage (adds `stream_options` to the request)."
    )
    provider_hosts: dict[str, str] = _setting(
        {},
        values.hosts,
        "Own hosts: `host` or `host:port` to provider id (JSON object in a variable). Requests to them carry W3C trace "
        "context and the request id, unless they are a vendor's API.",
    )
    bridge: bool = _setting(
        True, values.switch, "Finished GenAI spans of other instrumentations become metrics, cost and log lines, too."
    )
    event_score_threshold: float = _setting(
        0.5, values.share, "Evaluations worse than this score also become an event on the span."
    )
    store: str = _setting(
        "", values.path, "Folder of the trace store, e.g. `trisignal-store`; empty: nothing is stored."
    )
    store_days: int = _setting(7, values.whole(1, 3650), "Days that the store keeps, today included.")
    store_mb: int = _setting(
        2048, values.whole(16), "Megabytes that the store keeps; the oldest files are deleted first."
    )
    store_logs: bool = _setting(
        False, values.switch, "Store log records of WARNING and above, too, where they belong to a trace."
    )

    def __init__(self, **given: Any) -> None:
        unknown = given.keys() - _READERS.keys()
        if unknown:
            raise TypeError(f"no settings: {', '.join(sorted(unknown))}")
        vars(self).update({one.name: getattr(self, one.name, {}) for one in fields(self)} | given)

    def __eq__(self, other: object) -> bool:
        return vars(self) == vars(other) if isinstance(other, Settings) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"

    @property
    def content_on_spans(self) -> bool:
        """Message content goes to span attributes."""
        return self.capture_content in ("span_only", "span_and_event")

    @property
    def content_in_events(self) -> bool:
        """Message content goes to log events."""
        return self.capture_content in ("event_only", "span_and_event")


_READERS: dict[str, Reader] = {one.name: one.metadata["read"] for one in fields(Settings)}
DESCRIPTIONS: dict[str, str] = {one.name: one.metadata["description"] for one in fields(Settings)}
"""Every setting, with what it does."""


class Loaded(NamedTuple):
    """Settings in force, and where each came from."""

    settings: Settings
    sources: dict[str, str]
    """Setting name to ``argument``, ``environment``, ``file`` or ``default``."""


def load(explicit: Mapping[str, object] | None = None, environ: Mapping[str, str] | None = None) -> Loaded:
    """Gather the settings.

    Args:
        explicit: Arguments of `setup()`; ``None`` values count as not given.
        environ: Environment to read; the process's own when omitted.

    Raises:
        ConfigError: A setting is unknown or has a value that cannot be used.
    """
    environ = os.environ if environ is None else environ
    chosen: dict[str, object] = {}
    sources = dict.fromkeys(_READERS, "default")
    spelled: dict[str, str] = {}

    def take(given: Mapping[str, object], source: str, spelling: Mapping[str, str]) -> None:
        for name, value in given.items():
            if name not in _READERS:
                raise ConfigError(name, value, _suggested(name), source)
            chosen[name], sources[name] = value, source
            spelled[name] = spelling.get(name, name)

    path = environ.get(FILE_VARIABLE, "")
    if path:
        take(read_file(path), "file", {})
    from_environment, spelling = _from_environment(environ)
    take(from_environment, "environment", spelling)
    take({k: v for k, v in (explicit or {}).items() if v is not None}, "argument", {})
    read: dict[str, Any] = {}
    for name, value in chosen.items():
        try:
            read[name] = _READERS[name](value)
        except values.Wrong as wrong:
            raise ConfigError(spelled[name], value, str(wrong), sources[name]) from None
    if "max_series" not in read and "max_label_sets" in read:
        read["max_series"] = max(Settings.max_series, SERIES_PER_LABEL_SET * read["max_label_sets"])
    return Loaded(Settings(**read), sources)


def _suggested(name: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(str(name).lower(), _READERS, n=1)
    return (f"{close[0]}; " if close else "") + "a setting of: " + ", ".join(_READERS)


def unknown_variables(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Set variables that look like ours and are none, each with the one that was probably meant, or "".

    Args:
        environ: Environment to read; the process's own when omitted.
    """
    from difflib import get_close_matches

    known = {PREFIX + name.upper() for name in _READERS} | set(OTHER_VARIABLES)
    unknown: dict[str, str] = {}
    for name in sorted(os.environ if environ is None else environ):
        upper = name.upper()
        if name in known or not upper.startswith("TRI"):
            continue
        ours = upper.startswith(PREFIX)
        close = get_close_matches(upper, known, n=1, cutoff=0.75 if ours else 0.9)
        if ours or close:
            unknown[name] = close[0] if close else ""
    return unknown


def _from_environment(environ: Mapping[str, str]) -> tuple[dict[str, object], dict[str, str]]:
    chosen: dict[str, object] = {}
    spelling: dict[str, str] = {}
    for name in _READERS:
        for variable in (STANDARD_VARIABLES.get(name), PREFIX + name.upper()):
            if variable and environ.get(variable, "").strip():
                chosen[name], spelling[name] = environ[variable], variable
        if spelling.get(name) == "OTEL_SDK_DISABLED":
            # By its specification anything but "true" is false.
            chosen[name] = environ["OTEL_SDK_DISABLED"].strip().lower() == "true"
    return chosen, spelling
