"""Batch jobs as clients see them: job objects and files of results, in the answers of GET requests."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from trisignal import _guard
from trisignal.clients._provider import Place
from trisignal.engine import batch_jobs, state
from trisignal.engine.batch_jobs import JobPlace, Results
from trisignal.formats import batches, text, view
from trisignal.streams.decoders import BodyDecoder, inflater
from trisignal.streams.tap import tap

_PIECE_BYTES = 1 << 20
_PATH = re.compile(
    r"/?(?:batches|batch/jobs)(?:/(?P<job>[^/?]+)(?P<results>/results)?)?/?(?:\?.*)?$"
    r"|/?files/(?P<file>[^/?]+)/content(?:\?.*)?$"
)


def where(place: Place) -> JobPlace:
    """Who runs a job, by where its requests go."""
    return JobPlace(place.provider, place.host, place.port)


class _JobBody:
    """A job object that is read as a stream of bytes."""

    def __init__(self, decoder: BodyDecoder, done: Callable[[Any], None]) -> None:
        self._decoder = decoder
        self._done = done

    def exhausted(self) -> None:
        """All of it was read."""
        try:
            self._done(self._decoder.body())
        except Exception as error:
            _guard.contain("batches.body", error)

    def failed(self, error: BaseException) -> None:
        """Nothing to read."""

    def closed(self) -> None:
        """Nothing more to read."""


def see(place: Callable[[], Place], method: str, url: str, body: Any, response: Any) -> None:
    """Look at an answer before the client parses it; never raises.

    Args:
        place: JobPlace the request went.
        method: HTTP method.
        url: Path or absolute URL of the request.
        body: Its JSON body.
        response: An httpx-like response, whose body may not have been read yet.
    """
    try:
        if state.is_off() or not 200 <= response.status_code < 300:
            return
        match = _PATH.search(url)
        if match is None:
            return
        if method.lower() == "post":
            if match["job"] is None and match["file"] is None:
                _whole(response, lambda given: _created(where(place()), given, body))
        elif match["results"] or match["file"]:
            name = match["file"] or match["job"]
            job_id = match["job"] if match["results"] else ""
            _feed(response, batch_jobs.ledger().results(where(place()), name, job_id or ""))
        elif match["job"]:
            _whole(response, lambda given: _retrieved(where(place()), given))
    except Exception as error:
        _guard.contain("batches.see", error)


def retrieved(place: Callable[[], Place], given: Any) -> None:
    """Note a job object that a client has parsed already; never raises."""
    try:
        if not state.is_off():
            _retrieved(where(place()), given)
    except Exception as error:
        _guard.contain("batches.retrieved", error)


def downloaded(place: Callable[[], Place], arguments: Mapping[str, Any], data: Any) -> None:
    """Look at a file that a client has downloaded; never raises.

    Args:
        place: JobPlace the request went.
        arguments: Those of the client's method: ``file``, and ``destination`` where it was written to one.
        data: The file, unless it was written.
    """
    try:
        file = arguments.get("file")
        name = text(file) or text(view(file).get("name"))
        target = arguments.get("destination")
        if state.is_off() or not name:
            return
        results = batch_jobs.ledger().results(where(place()), name if "/" in name else f"files/{name}")
        if isinstance(data, bytes):
            results.feed(data)
        elif isinstance(target, (str, os.PathLike)):
            with open(target, "rb") as written:
                for piece in iter(partial(written.read, _PIECE_BYTES), b""):
                    results.feed(piece)
        else:
            return
        results.exhausted()
    except Exception as error:
        _guard.contain("batches.downloaded", error)


def _retrieved(at: JobPlace, given: Any) -> None:
    job = batches.read_job(given)
    if job is not None:
        batch_jobs.ledger().retrieved(at, job)


def _created(at: JobPlace, given: Any, body: Any) -> None:
    """Note which model the requests of a new job are for, where all are for one."""
    requests = view(body).get("requests") if isinstance(body, dict) else None
    models = {text(view(view(request).get("params")).get("model")) for request in requests or ()}
    batch_jobs.ledger().created(at, batches.read_job(given), models.pop() if len(models) == 1 else "")


def _whole(response: Any, done: Callable[[Any], None]) -> None:
    if response.is_closed:
        done(json.loads(response.content))
        return
    inflate = inflater(response.headers.get("content-encoding", "").lower())
    if inflate is not None:
        decoder = BodyDecoder(inflate)
        tap(response, _JobBody(decoder, done), decoder.feed)  # type: ignore[arg-type]  # as much of a fold as it needs


def _feed(response: Any, results: Results) -> None:
    if response.is_closed:
        results.feed(response.content)
        results.exhausted()
        return
    inflate = inflater(response.headers.get("content-encoding", "").lower())
    if inflate is not None:
        read = inflate
        tap(response, results, lambda data: results.feed(read(data)))  # type: ignore[arg-type]  # as above
