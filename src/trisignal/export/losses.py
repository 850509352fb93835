"""What of our telemetry was lost on its way out: counted, said once, and never the application's problem."""

from __future__ import annotations

from typing import Any

from trisignal import _guard
from trisignal.engine import state


def lost(queue: str, items: int = 1) -> None:
    """Count items that will reach nobody.

    Args:
        queue: Where they were lost: ``traces``, ``logs``, ``log_file`` or ``call_log``.
        items: How many.
    """
    try:
        for meter in state.STATE.meters:
            meter.count("dropped", (queue,), items)
    except Exception as error:
        _guard.contain("delivery.count", error)


def watched(exporter: Any, queue: str) -> Any:
    """Count what an exporter of our own making could not deliver.

    Args:
        exporter: Exporter of spans or of log records.
        queue: As for `lost`.

    Returns:
        The same exporter.
    """
    export = exporter.export

    def counting(batch: Any) -> Any:
        try:
            result = export(batch)
        except BaseException:
            lost(queue, len(batch))
            raise
        if result.name != "SUCCESS":
            lost(queue, len(batch))
        return result

    exporter.export = counting
    return exporter


def bounded(processor: Any, queue: str) -> Any:
    """Count what a batch processor drops as its queue is full.

    The SDK counts them with its own meters only, and those only where an experimental variable is set.

    Args:
        processor: Batch processor of spans or of log records, of our own making.
        queue: As for `lost`.

    Returns:
        The same processor.
    """
    batch = getattr(processor, "_batch_processor", None)
    waiting, emit = getattr(batch, "_queue", None), getattr(batch, "emit", None)
    if batch is None or waiting is None or emit is None:
        return processor  # an SDK with other insides: failed exports are counted still

    def counting(item: Any) -> None:
        if len(waiting) == waiting.maxlen:
            lost(queue)
        emit(item)

    batch.emit = counting
    return processor
