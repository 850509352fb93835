"""All settings: one table, one loader; explicit argument > environment > file > default.

Each setting has the environment variable ``TRISIGNAL_<NAME>`` in upper case; a few also
read a standard ``OTEL_*`` variable, named in `STANDARD_VARIABLES`. An empty variable
counts as unset. The environment is read once, in `load`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from trisignal.errors import ConfigError, MissingExtraError
from trisignal.semconv import PROFILES, profile

PREFIX = "TRISIGNAL_"
FILE_VARIABLE = "TRISIGNAL_CONFIG"
STANDARD_VARIABLES = {
    "service_name": "OTEL_SERVICE_NAME",
    "capture_content": "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT",
    "disabled": "OTEL_SDK_DISABLED",
}
"""Settings that a standard variable sets too; ours wins where both are set."""

DETECTORS = ("email", "phone", "card", "iban", "us_ssn", "ip", "api_key", "jwt", "private_key")

_TABLES = (profile(name) for name in PROFILES)
TAKEN_LABELS = frozenset(
    label.replace(".", "_") for table in _TABLES for metric in table.values() for label in metric.labels
) | {"le", "quantile", "request_id", "conversation_id", "user_id"}
"""No dimension may be called so: labels that metrics have already, and ids, which have no bound."""

CaptureContent = Literal["no_content", "span_only", "event_only", "span_and_event"]


class Settings(BaseModel):
    """What may be set. The field descriptions are the reference documentation."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    service_name: str = Field(default="", description="`service.name` of the resource that setup() builds.")
    disabled: bool = Field(default=False, description="Do nothing at all: calls pass through untouched.")
    capture_content: CaptureContent = Field(
        default="no_content",
        description="Where message content goes, after redaction: `no_content`, `span_only`, `event_only`, "
        "`span_and_event`; `true` means `span_only` and `false` `no_content`.",
    )
    content_field_bytes: int = Field(default=16384, ge=256, description="Byte budget of one content attribute.")
    content_span_bytes: int = Field(default=65536, ge=512, description="Byte budget of all content of one span.")
    redact: tuple[str, ...] = Field(
        default=DETECTORS, description="Built-in detectors in use, comma-separated in a variable; empty: none."
    )
    redact_patterns: dict[str, str] = Field(
        default={}, description="Own detectors: name to regular expression (JSON object in a variable)."
    )
    metric_profile: Literal["1.41", "2026-10"] = Field(
        default="1.41", description="Names of the conventions' metrics: `1.41` (released) or `2026-10` (snapshot)."
    )
    metric_prefix: str = Field(
        default="", pattern=r"^([a-zA-Z_][a-zA-Z0-9_]*)?$", description="Put before every Prometheus metric name."
    )
    metric_dimensions: tuple[str, ...] = Field(
        default=(), description="Names of `context(...)` values that become metric labels, e.g. `tenant`."
    )
    slo_thresholds: tuple[float, ...] = Field(
        default=(), description="Further bucket bounds of the latency histograms, in seconds."
    )
    max_label_sets: int = Field(default=200, ge=1, description="Label sets per metric; more collapse into `_OTHER`.")
    max_series: int = Field(default=10000, ge=100, description="Prometheus series per process, over all metrics.")
    exemplars: bool = Field(default=True, description="Attach trace and span ids of sampled spans to histograms.")
    trace_sample_ratio: float = Field(
        default=1.0, ge=0, le=1, description="Share of traces kept by the provider that setup() builds; by trace id."
    )
    log_sample_ratio: float = Field(
        default=1.0, ge=0, le=1, description="Share of success log lines, by trace id; failures are always logged."
    )
    logs: str = Field(
        default="", description="`stderr`, `root` (format the whole application), or a file path; empty: no handler."
    )
    prices_file: str = Field(default="", description="Price overrides, YAML or JSON.")
    live_prices: bool = Field(
        default=False, description="Use the installed genai-prices package (extra `live-prices`)."
    )
    propagate_trace_context: bool = Field(
        default=False, description="Send W3C trace context (never baggage) with outgoing model calls."
    )
    inject_stream_usage: bool = Field(
        default=False,
        description="Ask OpenAI-compatible chat streams for usage (adds `stream_options` to the request).",
    )
    provider_hosts: dict[str, str] = Field(
        default={}, description="Own hosts: `host` or `host:port` to provider id (JSON object in a variable)."
    )
    bridge: bool = Field(
        default=True,
        description="Finished GenAI spans of other instrumentations become metrics, cost and log lines, too.",
    )
    event_score_threshold: float = Field(
        default=0.5, ge=0, le=1, description="Evaluations under this score also become an event on the span."
    )
    store: str = Field(
        default="", description="Folder of the trace store, e.g. `trisignal-store`; empty: nothing is stored."
    )
    store_days: int = Field(default=7, ge=1, le=3650, description="Days that the store keeps, today included.")
    store_mb: int = Field(
        default=2048, ge=16, description="Megabytes that the store keeps; the oldest files are deleted first."
    )
    store_logs: bool = Field(
        default=False, description="Store log records of WARNING and above, too, where they belong to a trace."
    )

    @field_validator("capture_content", mode="before")
    @classmethod
    def _content_words(cls, value: object) -> object:
        if isinstance(value, str):
            value = value.strip().lower()
            value = {"true": True, "1": True, "false": False, "0": False}.get(value, value)
        if isinstance(value, bool):
            return "span_only" if value else "no_content"
        return value

    @field_validator("redact", "metric_dimensions", "slo_thresholds", mode="before")
    @classmethod
    def _comma_separated(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return tuple(value) if isinstance(value, (list, set, frozenset)) else value

    @field_validator("redact_patterns", "provider_hosts", mode="before")
    @classmethod
    def _json_object(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except ValueError:
            raise ValueError("a JSON object of names and texts") from None

    @field_validator("redact")
    @classmethod
    def _known_detectors(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in DETECTORS:
                raise ValueError("one or more of " + ", ".join(DETECTORS))
        return value

    @field_validator("slo_thresholds")
    @classmethod
    def _seconds(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not all(isfinite(bound) and bound > 0 for bound in value):
            raise ValueError("finite numbers of seconds above 0")
        return value

    @field_validator("metric_dimensions")
    @classmethod
    def _label_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not name.isidentifier() or name.startswith("__"):
                raise ValueError("names of letters, digits and underscores, e.g. tenant,region")
            if name in TAKEN_LABELS:
                raise ValueError("names other than the labels " + ", ".join(sorted(TAKEN_LABELS)))
        return value

    @property
    def content_on_spans(self) -> bool:
        """Message content goes to span attributes."""
        return self.capture_content in ("span_only", "span_and_event")

    @property
    def content_in_events(self) -> bool:
        """Message content goes to log events."""
        return self.capture_content in ("event_only", "span_and_event")


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
    names = Settings.model_fields
    values: dict[str, object] = {}
    sources = dict.fromkeys(names, "default")
    spelled: dict[str, str] = {}

    def take(found: Mapping[str, object], source: str, spelling: Mapping[str, str]) -> None:
        for name, value in found.items():
            if name not in names:
                raise ConfigError(spelling.get(name, name), value, "a setting of: " + ", ".join(names), source)
            values[name], sources[name] = value, source
            spelled[name] = spelling.get(name, name)

    path = environ.get(FILE_VARIABLE, "")
    if path:
        take(_read_file(path), "file", {})
    from_environment, spelling = _from_environment(environ)
    take(from_environment, "environment", spelling)
    take({k: v for k, v in (explicit or {}).items() if v is not None}, "argument", {})
    try:
        return Loaded(Settings.model_validate(values), sources)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "settings"
        raise ConfigError(
            spelled.get(name, name), values.get(name), _allowed(name, first), sources.get(name, "argument")
        ) from None


def _from_environment(environ: Mapping[str, str]) -> tuple[dict[str, object], dict[str, str]]:
    values: dict[str, object] = {}
    spelling: dict[str, str] = {}
    for name in Settings.model_fields:
        for variable in (STANDARD_VARIABLES.get(name), PREFIX + name.upper()):
            if variable and environ.get(variable, "").strip():
                values[name], spelling[name] = environ[variable], variable
        if spelling.get(name) == "OTEL_SDK_DISABLED":
            # By its specification anything but "true" is false.
            values[name] = environ["OTEL_SDK_DISABLED"].strip().lower() == "true"
    return values, spelling


def _allowed(name: str, error: Any) -> str:
    context = error.get("ctx") or {}
    if "expected" in context:
        words = str(context["expected"])
        return words + ", true, false" if name == "capture_content" else words
    if error["type"] == "value_error":
        return str(context.get("error", error["msg"]))
    return str(error["msg"])


def _read_file(path: str) -> Mapping[str, object]:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(FILE_VARIABLE, path, f"a readable file ({error.strerror})", "environment") from None
    except UnicodeDecodeError:
        wanted = f"a valid {Path(path).suffix.lower()[1:]} file (it is no UTF-8 text)"
        raise ConfigError(FILE_VARIABLE, path, wanted, "environment") from None
    suffix = Path(path).suffix.lower()
    try:
        loaded = _parse(text, suffix)
    except ValueError as error:
        raise ConfigError(FILE_VARIABLE, path, f"a valid {suffix[1:]} file ({error})", "environment") from None
    if not isinstance(loaded, dict):
        raise ConfigError(FILE_VARIABLE, path, "a file that holds one table of settings", "environment")
    return loaded


def _parse(text: str, suffix: str) -> object:
    if suffix == ".json":
        return json.loads(text)
    if suffix == ".toml":
        try:
            import tomllib  # type: ignore[import-not-found,unused-ignore]  # new in Python 3.11
        except ImportError:  # Python 3.10
            raise ValueError("TOML needs Python 3.11; use JSON or YAML") from None
        return tomllib.loads(text)
    if suffix in (".yaml", ".yml"):
        try:
            import yaml
        except ImportError:
            raise MissingExtraError("a YAML settings file", "yaml") from None
        try:
            return yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError(str(error)) from None
    raise ValueError("the name must end in .json, .toml, .yaml or .yml")
