"""Puts the trace store beside the other sinks; loaded only when a store is configured."""

from __future__ import annotations

import logging
from functools import partial

from trisignal.assembly.telemetry import Telemetry
from trisignal.errors import ConfigError
from trisignal.export.losses import lost
from trisignal.export.redaction_gate import Resources, redacted
from trisignal.logs import ContextFilter, JsonFormatter
from trisignal.policy import Policy
from trisignal.store.folder import Folder, describe
from trisignal.store.log_handler import StoreLogHandler
from trisignal.store.processor import StoreSpanProcessor
from trisignal.store.sink import StoreSink
from trisignal.store.writer import EXIT_S, Writer


def add_store(telemetry: Telemetry, policy: Policy) -> StoreSink:
    """The sink of the store that the settings name; what belongs to it is undone by shutdown.

    Raises:
        ConfigError: The folder cannot be made, or not be written to.
    """
    settings = telemetry.settings
    folder = Folder(settings.store)
    try:
        folder.make()
    except OSError as error:
        allowed = f"a folder that can be made and written to ({describe(error)})"
        raise ConfigError("store", settings.store, allowed, telemetry.sources.get("store", "argument")) from None
    resources = Resources(policy)
    writer = Writer(
        folder,
        days=settings.store_days,
        max_bytes=settings.store_mb << 20,
        service=telemetry.service,
        lost=partial(lost, "store"),
        clean=lambda span: redacted(span, policy, resources),
    )
    telemetry.flushes.append(writer.flush)
    telemetry.undo.append(lambda: writer.close(EXIT_S))
    telemetry.add_processor(StoreSpanProcessor(writer))
    if settings.store_logs:
        _add_logs(telemetry, writer)
    return StoreSink(writer)


def _add_logs(telemetry: Telemetry, writer: Writer) -> None:
    handler = StoreLogHandler(writer)
    handler.setFormatter(JsonFormatter(redactor=telemetry.redactor))
    handler.addFilter(ContextFilter())
    root = logging.getLogger()
    root.addHandler(handler)
    telemetry.undo.append(lambda: root.removeHandler(handler))
