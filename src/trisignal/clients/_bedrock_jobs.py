"""Batch jobs of Amazon Bedrock: the job from its control plane, the results from the bucket that they are in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from trisignal import _guard
from trisignal.clients._batches import retrieved
from trisignal.clients._patch import Wrapper
from trisignal.clients._provider import Args, Kwargs, Place, place_of
from trisignal.clients.sdks.botocore import mark
from trisignal.engine import batch_jobs, state
from trisignal.engine.batch_jobs import JobPlace, Results
from trisignal.formats import text

_PROVIDER = "aws.bedrock"
_CONTROL, _STORAGE = "bedrock", "s3"
_JOB, _FILE = "GetModelInvocationJob", "GetObject"
_RESULTS = re.compile(r"(?:^|.*/)(?P<job>[^/]+)/[^/]+\.jsonl\.out$")
"""Bedrock writes the results of a job into a folder with its id, under the names of its input files."""


class _JobFile:
    """The body of a file with results, as the application reads it."""

    __slots__ = ("_left", "_results", "below")

    def __init__(self, results: Results, left: Any) -> None:
        self._results = results
        self._left = left if isinstance(left, int) else None
        self.below = False
        """The bytes are seen below the body."""

    def read(self, data: bytes, last: bool) -> None:
        """Take bytes of it."""
        self._results.feed(data)
        if self._left is not None:
            self._left -= len(data)
        if last or not data or self._left == 0:
            self._results.exhausted()

    def failed(self, error: BaseException) -> None:
        """Whoever reads again brings the rest."""

    def closed(self) -> None:
        """Nobody reads on."""


def _asks(client: Any, args: Args) -> bool:
    service: str = client._service_model.service_name
    return (service == _CONTROL and args[0] == _JOB) or (service == _STORAGE and args[0] == _FILE)


def _see(client: Any, args: Args, answer: Any) -> None:
    """Look at an answer; never raises."""
    try:
        if state.is_off() or not isinstance(answer, Mapping):
            return
        if args[0] == _JOB:
            retrieved(lambda: _place(client), dict(answer))
            return
        asked = args[1]
        found = _RESULTS.match(text(asked.get("Key")))
        if found is None or asked.get("Range"):
            return
        where = JobPlace(_PROVIDER, "", 0)
        part = f"{text(asked.get('Bucket'))}/{found[0]}"
        results = batch_jobs.ledger().results(where, found["job"], part=part)
        mark(answer.get("Body"), _JobFile(results, answer.get("ContentLength")))
    except Exception as error:
        _guard.contain("bedrock.jobs", error)


def _place(client: Any) -> Place:
    return place_of(client.meta.endpoint_url, _PROVIDER)


def jobs_seen(call: Wrapper) -> Wrapper:
    """Around the wrapper of every operation: look at the answers of those that concern batch jobs.

    Args:
        call: Wrapper of the others.
    """

    def seen(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
        if not _asks(instance, args):
            return call(wrapped, instance, args, kwargs)
        answer = wrapped(*args, **kwargs)
        _see(instance, args, answer)
        return answer

    return seen


def ajobs_seen(call: Wrapper) -> Wrapper:
    """The asynchronous twin.

    Args:
        call: Wrapper of the others.
    """

    async def seen(wrapped: Any, instance: Any, args: Args, kwargs: Kwargs) -> Any:
        if not _asks(instance, args):
            return await call(wrapped, instance, args, kwargs)
        answer = await wrapped(*args, **kwargs)
        _see(instance, args, answer)
        return answer

    return seen
