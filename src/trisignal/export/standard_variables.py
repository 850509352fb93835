"""The standard ``OTEL_*`` variables: what each does here, and what it may be.

They are set for whole fleets, by people who do not know which library reads them. So none of them ever stops an
application: a value that cannot be used is warned of, and counts as not set.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from trisignal import _context, _guard
from trisignal.config import values

SIGNALS = ("TRACES", "METRICS", "LOGS")
PROTOCOLS = ("grpc", "http/protobuf")
_LONGEST = 1e9
"""Durations from here on are mistakes, in milliseconds as in seconds."""
_SAMPLERS = (
    "always_on", "always_off", "traceidratio", "parentbased_always_on", "parentbased_always_off",
    "parentbased_traceidratio",
)  # fmt: skip


class StandardVariable(NamedTuple):
    """One standard variable."""

    name: str
    read: Callable[[Any], Any] | None
    """Raises `values.Wrong` for what cannot be used; None where anything can."""
    meaning: str


class Malformed(NamedTuple):
    """A variable with a value that cannot be used."""

    name: str
    value: str
    allowed: str

    def __str__(self) -> str:
        return f"{self.name}={self.value!r} cannot be used and counts as not set; allowed: {self.allowed}"


def known(group: str) -> tuple[str, ...]:
    """Names of the entry points of a group.

    Args:
        group: One of OpenTelemetry's, e.g. ``opentelemetry_propagator``.
    """
    from importlib.metadata import entry_points

    return tuple(sorted({point.name for point in entry_points(group=group)}))


def _true_or_false(value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise values.Wrong("true, false")
    return value.lower() == "true"


def _duration(value: str, unit: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = -1
    if not 0 < number < _LONGEST:
        raise values.Wrong(f"a number of {unit} above 0")
    return number


def _milliseconds(value: str) -> float:
    return _duration(value, "milliseconds")


def _timeout(value: str) -> float:
    return _duration(value, "seconds")


def _words(value: str, *allowed: str) -> str:
    if value.lower() not in allowed:
        raise values.Wrong(", ".join(allowed))
    return value.lower()


def _pairs(value: str) -> None:
    for pair in filter(None, (part.strip() for part in value.split(","))):
        key, equals, _ = pair.partition("=")
        if not equals or not key.strip():
            raise values.Wrong("pairs with commas between them, e.g. team=search,tier=gold")


def _url(value: str) -> None:
    allowed = "an address, e.g. http://localhost:4318 or localhost:4317"
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        good = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good or any(c.isspace() for c in value):
        raise values.Wrong(allowed)


def _file(value: str) -> None:
    if not os.path.isfile(value) or not os.access(value, os.R_OK):
        raise values.Wrong("a file that can be read")


def _listed(value: str, group: str, *more: str) -> None:
    allowed = dict.fromkeys((*known(group), *more))
    if any(part.strip() and part.strip() not in allowed for part in value.split(",")):
        raise values.Wrong(", ".join(allowed))


def _sampler(value: str) -> None:
    if value.lower() not in _SAMPLERS:
        _listed(value, "opentelemetry_traces_sampler", *_SAMPLERS)


def _sampler_argument(value: str) -> None:
    if "ratio" in os.environ.get("OTEL_TRACES_SAMPLER", "").lower():
        values.share(value)


def _otlp() -> Iterator[StandardVariable]:
    parts: tuple[tuple[str, Callable[[Any], Any] | None, str], ...] = (
        ("ENDPOINT", _url, "Where {whose} are sent."),
        ("PROTOCOL", _protocol, "`grpc` (default) or `http/protobuf`."),
        ("HEADERS", None, "Headers that are sent with {whose}."),
        ("TIMEOUT", _timeout, "Seconds that one export may take."),
        ("COMPRESSION", _compression, "`gzip`, `deflate` or `none`."),
        ("CERTIFICATE", _file, "Certificate that the collector's is checked with."),
        ("CLIENT_KEY", _file, "Key of a client certificate."),
        ("CLIENT_CERTIFICATE", _file, "Client certificate."),
        ("INSECURE", _true_or_false, "gRPC without TLS."),
    )
    for end, read, meaning in parts:
        yield StandardVariable(f"OTEL_EXPORTER_OTLP_{end}", read, meaning.format(whose="traces, metrics and logs"))
    for signal in SIGNALS:
        for end, read, meaning in parts:
            name = f"OTEL_EXPORTER_OTLP_{signal}_{end}"
            yield StandardVariable(name, read, f"{meaning.format(whose=signal.lower())} For {signal.lower()} only.")


def _protocol(value: str) -> str:
    return _words(value, *PROTOCOLS)


def _compression(value: str) -> str:
    return _words(value, "gzip", "deflate", "none")


def _batches() -> Iterator[StandardVariable]:
    for start, what in (("OTEL_BSP", "spans"), ("OTEL_BLRP", "log events")):
        yield StandardVariable(f"{start}_SCHEDULE_DELAY", _milliseconds, f"Milliseconds between two exports of {what}.")
        yield StandardVariable(
            f"{start}_EXPORT_TIMEOUT", _milliseconds, f"Milliseconds that an export of {what} may take."
        )
        yield StandardVariable(
            f"{start}_MAX_QUEUE_SIZE", values.whole(1), f"Number of {what} that wait; more are dropped."
        )
        yield StandardVariable(
            f"{start}_MAX_EXPORT_BATCH_SIZE", partial(_batch, start), f"Number of {what} in one export."
        )


def _batch(start: str, value: str) -> int:
    size = int(values.whole(1)(value))
    try:
        most = int(values.whole(1)(os.environ.get(f"{start}_MAX_QUEUE_SIZE") or 2048))
    except values.Wrong:
        most = 2048
    if size > most:
        raise values.Wrong(f"a whole number from 1 to {start}_MAX_QUEUE_SIZE ({most})")
    return size


def _limits() -> Iterator[StandardVariable]:
    for whose in ("ATTRIBUTE", "SPAN_ATTRIBUTE", "LOGRECORD_ATTRIBUTE"):
        what = {"ATTRIBUTE": "spans and log events", "SPAN_ATTRIBUTE": "spans"}.get(whose, "log events")
        yield StandardVariable(f"OTEL_{whose}_COUNT_LIMIT", values.whole(0), f"Most attributes of {what}.")
        yield StandardVariable(f"OTEL_{whose}_VALUE_LENGTH_LIMIT", values.whole(0), f"Longest attribute of {what}.")
    for whose, what in (
        ("SPAN_EVENT", "events of a span"), ("SPAN_LINK", "links of a span"),
        ("EVENT_ATTRIBUTE", "attributes of an event"), ("LINK_ATTRIBUTE", "attributes of a link"),
    ):  # fmt: skip
        yield StandardVariable(f"OTEL_{whose}_COUNT_LIMIT", values.whole(0), f"Most {what}.")


VARIABLES: tuple[StandardVariable, ...] = (
    StandardVariable("OTEL_SDK_DISABLED", _true_or_false, "`true`: do nothing at all, as the setting `disabled`."),
    StandardVariable("OTEL_SERVICE_NAME", None, "`service.name` of the resource, as the setting `service_name`."),
    StandardVariable("OTEL_RESOURCE_ATTRIBUTES", _pairs, "Attributes of the resource that setup() builds."),
    StandardVariable(
        "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS",
        partial(_listed, group="opentelemetry_resource_detector"),
        "Detectors that add to the resource.",
    ),
    StandardVariable(
        "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", None, "Where content goes, as `capture_content`."
    ),
    StandardVariable(
        "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS",
        None,
        "Clients that `instrument()` leaves alone, by our name, the package's, `trisignal` or `*` for all.",
    ),
    StandardVariable(
        "OTEL_PROPAGATORS",
        None,  # each is tried by itself
        "What `inject()` writes and `continue_from()` reads; vendors get W3C trace context only.",
    ),
    StandardVariable(
        "OTEL_TRACES_EXPORTER", None, "Where spans go: `otlp`, `console`, `none`, or names of entry points."
    ),
    StandardVariable(
        "OTEL_METRICS_EXPORTER",
        None,
        "The same for pushed metrics; `prometheus` means the page, which has all of them.",
    ),
    StandardVariable("OTEL_LOGS_EXPORTER", None, "The same for the conventions' log events."),
    *_otlp(),
    StandardVariable(
        "OTEL_TRACES_SAMPLER", _sampler, "Sampler of the provider that setup() builds, if `trace_sample_ratio` is 1."
    ),
    StandardVariable("OTEL_TRACES_SAMPLER_ARG", _sampler_argument, "Its argument, e.g. a share from 0 to 1."),
    *_batches(),
    StandardVariable("OTEL_METRIC_EXPORT_INTERVAL", _milliseconds, "Milliseconds between two exports of metrics."),
    StandardVariable("OTEL_METRIC_EXPORT_TIMEOUT", _milliseconds, "Milliseconds that an export of metrics may take."),
    StandardVariable(
        "OTEL_METRICS_EXEMPLAR_FILTER",
        lambda value: _words(value, "trace_based", "always_on", "always_off"),
        "Which pushed measurements have exemplars.",
    ),
    StandardVariable(
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
        lambda value: _words(value, "cumulative", "delta", "lowmemory"),
        "Temporality of pushed metrics.",
    ),
    StandardVariable(
        "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
        lambda value: _words(value, "explicit_bucket_histogram", "base2_exponential_bucket_histogram"),
        "Form of pushed histograms.",
    ),
    *_limits(),
    StandardVariable(
        "OTEL_PYTHON_TRACER_PROVIDER",
        partial(_listed, group="opentelemetry_tracer_provider"),
        "Global tracer provider of the host: it is used, and not replaced.",
    ),
    StandardVariable(
        "OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", _true_or_false, "Metrics of the SDK about itself; not ours."
    ),
)
"""Every standard variable that has an effect here, through us or through the SDK."""


def malformed() -> list[Malformed]:
    """Variables of this environment with values that cannot be used."""
    wrong = []
    for variable in VARIABLES:
        text = os.environ.get(variable.name, "").strip()
        if text and variable.read is not None:
            try:
                variable.read(text)
            except values.Wrong as error:
                wrong.append(Malformed(variable.name, text, str(error)))
    return wrong


@contextmanager
def usable() -> Iterator[None]:
    """Hide what cannot be used while the SDK builds things, which would raise; it is warned of.

    The SDK reads the environment itself and takes no arguments in its place, so that there is no other way. Outside
    of `setup()` the environment is as it was.
    """
    hidden = malformed()
    for one in hidden:
        _guard.warn(str(one), contained=True)
    _context.load_propagators()
    saved = {one.name: os.environ.pop(one.name) for one in hidden if one.name in os.environ}
    try:
        yield
    finally:
        os.environ.update(saved)
