"""Results of batch jobs that no client reads: from a bucket, a table or a disk."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from trisignal import _guard
from trisignal.engine import batch_jobs, state
from trisignal.engine.batch_jobs import JobPlace, Results

_PIECE_BYTES = 1 << 20


def batch_results(
    results: str | os.PathLike[str] | Iterable[str | bytes | Mapping[str, Any]],
    *,
    provider: str,
    job_id: str,
    model: str = "",
    part: str = "",
) -> None:
    """Count the requests of a vendor's batch job by its results, wherever they were read.

    Clients that are instrumented do this themselves for the results that they fetch. Each request counts once, however
    often its result is given, and whether the job itself was retrieved before, after or never. Not for results of any
    other kind: what is not a line of a batch job is left out.

    Args:
        results: Path of a file with a JSON object per line, or such lines, as text, bytes or decoded.
        provider: Who ran the job, as on its spans: ``gcp.vertex_ai``, ``aws.bedrock``, ``openai`` …
        job_id: The vendor's id of the job, as the client reports it; the last part of the ARN for Bedrock.
        model: The model that was asked for; by default that of the job, where it was retrieved, or of the replies.
        part: Name of the file, where a job has several.
    """
    if state.is_off():
        return
    try:
        reading = batch_jobs.ledger().results(JobPlace(provider, "", 0), job_id, part=part, model=model)
        if isinstance(results, (str, os.PathLike)):
            _read(reading, results)
        else:
            for position, line in enumerate(results):
                if isinstance(line, Mapping):
                    reading.take(line, position)
                else:
                    reading.feed((line.encode() if isinstance(line, str) else line).rstrip(b"\r\n") + b"\n")
        reading.exhausted()
    except Exception as error:
        _guard.contain("batch_results", error)


def _read(reading: Results, path: str | os.PathLike[str]) -> None:
    with open(path, "rb") as file:
        while piece := file.read(_PIECE_BYTES):
            reading.feed(piece)
