"""What is known and counted of one batch job, and how its requests reach the sinks that count."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from opentelemetry.trace import SpanContext

from trisignal import _context, _guard
from trisignal import semconv as names
from trisignal.call import Call, Cost, Draft, Outcome, UnpricedReason, Usage
from trisignal.engine import claims, meters, state
from trisignal.formats.batches import Job


class JobPlace(NamedTuple):
    """Who runs a job."""

    provider: str
    host: str
    port: int


class Account:
    """What is known and counted of one job."""

    __slots__ = (
        "asked", "bound", "complete", "cost", "credit", "errors", "job", "keys", "mine", "models", "name", "operation",
        "outcomes", "readers", "recorded", "unpriced", "usage", "where",
    )  # fmt: skip

    def __init__(self, where: JobPlace, name: str) -> None:
        self.where = where
        self.name = name
        """Id of the job; of the file with results where the job is not known."""
        self.job: Job | None = None
        self.mine: dict[str, bool] = {}
        """What other processes may count, too, and whether it is counted here."""
        self.keys: set[int] = set()
        """Hashes of the results counted so far."""
        self.complete: set[str] = set()
        """Files that were read to their end."""
        self.credit: Counter[Outcome] = Counter()
        """Requests that were counted when the job was retrieved, before their results were read."""
        self.errors = 0
        """Failed requests among them whose errors were counted as unknown."""
        self.outcomes: Counter[Outcome] = Counter()
        """Results read, by outcome."""
        self.models: Counter[str] = Counter()
        self.asked = ""
        """The model that was asked for, where whoever reads the results says so."""
        self.operation = names.CHAT
        self.usage: Usage | None = None
        self.cost: Cost | None = None
        self.unpriced: UnpricedReason | None = None
        self.readers: list[SpanContext] = []
        self.bound: Mapping[str, str] = _context.bound.get()
        self.recorded = False

    def claims(self, what: str) -> bool:
        """Whether this process counts a part of the job."""
        if what not in self.mine:
            self.mine[what] = claims.claim(f"{self.where.provider} {what}")
        return self.mine[what]

    @property
    def model(self) -> str:
        """The model of most requests."""
        if self.asked:
            return self.asked
        if self.job is not None and self.job.model:
            return self.job.model
        return self.models.most_common(1)[0][0] if self.models else ""


def new_draft(account: Account, operation: str) -> Draft:
    """A draft of a request of a job, or of the job itself."""
    draft = Draft(operation)
    draft.provider, draft.server_address, draft.server_port = account.where
    job = account.job
    created_s = 0.0 if job is None else job.created_unix_s
    draft.start_unix_ns = round(created_s * 1e9) or state.STATE.unix_ns()
    return draft


def count_errors(call: Call, kind: str, error_type: str, times: int = 1) -> None:
    """Count errors of requests that were counted before."""
    labels = (call.operation, call.provider, call.request_model, kind, error_type, *call.dimensions)
    meters.count("errors", labels, times)


def emit(draft: Draft, kind: Literal["line", "spent"], times: int = 1) -> Call | None:
    """Give a request, or so many equal ones, to the sinks that count."""
    policy = state.STATE.policy
    if policy is None:
        return None
    policy.admit(draft)
    draft.ended, draft.start_ns, draft.end_ns = True, 1, 1
    call = policy.finish(draft)._replace(batch=kind)
    if kind == "spent" and call.usage is None and call.cost is None:
        return call
    for site, close in state.STATE.lines:
        try:
            for _ in range(times):
                close(draft, call)
        except Exception as error:
            _guard.contain(site, error)
    return call


def added(one: Usage, other: Usage) -> Usage:
    """Both as one."""
    pairs = zip(one, other, strict=True)
    sums: list[Any] = [b if a is None else a if b is None else a + b for a, b in pairs]
    return Usage(*sums)
