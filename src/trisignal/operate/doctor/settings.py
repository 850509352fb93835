"""Settings in force with their source, and what of them deserves a second look."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from trisignal import config
from trisignal.assembly.telemetry import running
from trisignal.errors import ConfigError, TrisignalError
from trisignal.operate.doctor.findings import Finding
from trisignal.policy.price_file import FilePrices

CHECK = "settings"


def check() -> Iterator[Finding]:
    """Every setting that is not the default, then what to doubt."""
    yield from _misspelt()
    telemetry = running()
    try:
        loaded = config.load() if telemetry is None else config.Loaded(telemetry.settings, telemetry.sources)
    except ConfigError as error:
        yield Finding(CHECK, "error", str(error), "correct it: setup() raises the same")
        return
    changed = {name: source for name, source in loaded.sources.items() if source != "default"}
    for name, source in changed.items():
        yield Finding(CHECK, "ok", f"{name} = {getattr(loaded.settings, name)!r} (from {source})")
    yield Finding(CHECK, "ok", f"{len(loaded.sources) - len(changed)} settings have their default")
    yield from _doubts(loaded.settings)


def _misspelt() -> Iterator[Finding]:
    for name, meant in config.unknown_variables().items():
        do = f"did you mean {meant}?" if meant else "unset it, or look it up in the reference of settings"
        yield Finding(CHECK, "warning", f"the variable {name} is not known and has no effect", do)


def not_writable(place: Path, *, folder: bool = False) -> str:
    """Why a file, or a folder, cannot be written, without making it; "" where it can.

    Args:
        place: Where it is or will be.
        folder: It is to be a folder, in which files are made.
    """
    place = place.absolute()
    try:
        if place.exists() and place.is_dir() != folder:
            return "it is a file" if folder else "it is a folder"
        if place.exists() and not folder:
            return "" if os.access(place, os.W_OK) else "permission denied"
        within = next(parent for parent in (place, *place.parents) if parent.exists())
        with tempfile.TemporaryFile(dir=within):
            return ""
    except OSError as error:
        return error.strerror or str(error)


def _log_path(path: str) -> Finding:
    why = not_writable(Path(path))
    if not why:
        return Finding(CHECK, "ok", f"the log file {path} can be written")
    return Finding(CHECK, "error", f"the log file {path} cannot be written ({why})",
                   "give it to the application's user, or set another path: setup() raises the same")  # fmt: skip


def _doubts(settings: config.Settings) -> Iterator[Finding]:
    if settings.logs and settings.logs not in config.LOG_TARGETS:
        yield _log_path(settings.logs)
    if settings.log_sample_ratio == 0:
        yield Finding(CHECK, "info", "log_sample_ratio is 0: only calls that failed have a line in the log",
                      "raise it to have lines of the others, too")  # fmt: skip
    if settings.disabled:
        yield Finding(CHECK, "error", "trisignal is disabled: no call is recorded",
                      "unset TRISIGNAL_DISABLED and OTEL_SDK_DISABLED")  # fmt: skip
    captured = settings.content_on_spans or settings.content_in_events
    if captured and not settings.redact and not settings.redact_patterns:
        yield Finding(CHECK, "warning", "content is captured and no detector redacts it",
                      "set redact or redact_patterns, unless setup() has a redactor of your own")  # fmt: skip
    elif captured:
        detectors = ", ".join((*settings.redact, *settings.redact_patterns))
        yield Finding(CHECK, "info", f"content is captured ({settings.capture_content}), redacted by {detectors}")
    if settings.prices_file:
        yield _price_file(settings.prices_file)
    if not settings.service_name and "service.name" not in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        if running() is not None:
            yield Finding(CHECK, "warning", "the service has no name: its spans are those of unknown_service",
                          "set OTEL_SERVICE_NAME")  # fmt: skip
        else:
            yield Finding(CHECK, "info", "no variable names the service: without setup(service_name=...) its spans are "
                          "those of unknown_service", "set OTEL_SERVICE_NAME, or look with --app")  # fmt: skip


def _price_file(path: str) -> Finding:
    try:
        prices = FilePrices(path)
    except TrisignalError as error:
        return Finding(CHECK, "error", str(error), "correct it: setup() raises the same")
    return Finding(CHECK, "ok", f"{path}: {prices.models} models, no mistake")
