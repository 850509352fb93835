"""Batch jobs: their requests, tokens and cost, counted once, whoever polls how often and in whatever order.

A job is seen when it is retrieved, its requests one by one when its results are read. Tokens, model and outcome come
from the results. A job that has ended waits `PATIENCE_S` for them: what was not read by then is counted as far as the
job itself reports it. Requests are counted without latency: that of a job says nothing about a call.
"""

from __future__ import annotations

import json
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

from opentelemetry.trace import get_current_span

from trisignal import _context, _guard
from trisignal import semconv as names
from trisignal.call import Draft, Outcome
from trisignal.engine import lifecycle, state
from trisignal.engine.batch_accounts import Account as Account
from trisignal.engine.batch_accounts import JobPlace as JobPlace
from trisignal.engine.batch_accounts import added, count_errors, emit, new_draft
from trisignal.formats import batches, view
from trisignal.formats.batches import BatchLine, Job
from trisignal.policy.charge import describe, summed
from trisignal.semconv import batch

PATIENCE_S = 60.0
"""Seconds between the retrieval of a job that has ended and the moment when nobody is expected to read its results."""
MOST_JOBS = 4096
"""Jobs that are remembered."""
MOST_KEYS = 1_000_000
"""Results of jobs that are not complete yet, of which it is known that they were counted."""
TIER = "batch"
_LATE = ("expired", "timeout_exceeded")
_UNKNOWN = "_OTHER"
"""``error.type`` of failed requests whose results nobody has read."""


class Ledger:
    """All jobs that this process has seen."""

    def __init__(self) -> None:
        self._accounts: OrderedDict[tuple[str, str], Account] = OrderedDict()
        self._waiting: deque[tuple[float, Account]] = deque()
        self._lock = threading.RLock()
        self._models: OrderedDict[tuple[str, str], str] = OrderedDict()
        """Models of jobs that were created here, for those who do not repeat it."""
        self.clock: Callable[[], float] = time.monotonic

    def after_fork(self) -> None:
        """What waits is the parent's to count."""
        self._lock = threading.RLock()
        self._waiting.clear()

    def created(self, where: JobPlace, job: Job | None, model: str) -> None:
        """Remember the model of a job that has just been created."""
        if job is not None and job.id and (model or job.model):
            with self._lock:
                self._models[where.provider, job.id] = model or job.model
                if len(self._models) > MOST_JOBS:
                    self._models.popitem(last=False)

    def retrieved(self, where: JobPlace, job: Job) -> None:
        """Note a job as its vendor reports it; one that has ended is counted once.

        Args:
            where: Who runs it.
            job: The job.
        """
        with self._lock:
            self.settle()
            if job.outcome is None or not job.id:
                return
            account = self._account(where, job.id, job.files)
            if account.job is not None:
                return
            if not job.model:
                job = job._replace(model=self._models.get((where.provider, job.id), ""))
            account.job = job
            for file in job.files:
                self._accounts[where.provider, file] = account
            if job.results is not None:
                self._count_all(account, job.results)
            elif job.model:
                self._count_requests(account)
            if not job.files and (job.results is not None or not job.succeeded):
                self._record(account)
            else:
                self._waiting.append((self.clock() + PATIENCE_S, account))

    def _count_all(self, account: Account, results: tuple[Any, ...]) -> None:
        reading = Results(self, account, account.name)
        for position, result in enumerate(results):
            reading.take(result, position)
        reading.exhausted()

    def results(self, where: JobPlace, name: str, job_id: str = "", part: str = "", model: str = "") -> Results:
        """What takes the results of a job as they are read.

        Args:
            where: Who runs it.
            name: Id of the file with results, or of the job where there is none.
            job_id: Id of the job, where known.
            part: One of several files that the results of the job are in, where only the job has an id.
            model: The model that was asked for; "" where the job or the replies have to say so.
        """
        with self._lock:
            account = self._account(where, job_id or name, (name,))
            reader = get_current_span().get_span_context()
            if reader.is_valid and len(account.readers) < 8 and reader not in account.readers:
                account.readers.append(reader)
            account.asked = model or account.asked
            return Results(self, account, name, part)

    def _account(self, where: JobPlace, name: str, files: tuple[str, ...]) -> Account:
        for known in (name, *files):
            account = self._accounts.get((where.provider, known))
            if account is not None:
                account.name = name if known != name and account.job is None else account.name
                self._accounts[where.provider, name] = account
                return account
        account = self._accounts[where.provider, name] = Account(where, name)
        while len(self._accounts) > MOST_JOBS:
            self._accounts.popitem(last=False)
        return account

    # --- counting --------------------------------------------------------------------

    def line(self, account: Account, file: str, key: object, line: BatchLine) -> None:
        """Count one result, unless it was counted before."""
        with self._lock:
            number = hash((file, key))
            if number in account.keys or file in account.complete or not account.claims(f"results {file}"):
                return
            if len(account.keys) < MOST_KEYS:
                account.keys.add(number)
            draft = self._draft(account, line)
            mine = account.claims(f"requests {file}")
            known = account.credit[draft.outcome or "ok"]
            if known:
                account.credit[draft.outcome or "ok"] -= 1
            call = emit(draft, "spent" if known or not mine else "line")
            if call is None:
                return
            if known and call.error_kind is not None:
                # The request has been counted, its error has not.
                if account.errors:
                    account.errors -= 1
                else:
                    count_errors(call, call.error_kind, call.error_type)
            account.outcomes[call.outcome] += 1
            if call.response_model:
                account.models[call.request_model] += 1
            account.operation = call.operation
            if call.usage is not None:
                account.usage = call.usage if account.usage is None else added(account.usage, call.usage)
                account.unpriced = account.unpriced or call.unpriced
            if call.cost is not None:
                account.cost = call.cost if account.cost is None else summed(account.cost, call.cost)

    def _draft(self, account: Account, line: BatchLine) -> Draft:
        job = account.job
        operation, format = batches.format_of(
            line.body, "" if job is None else job.endpoint, account.model, line.request
        )
        if line.body is None and job is None:
            operation = account.operation
        draft = new_draft(account, operation)
        if line.body is not None:
            format.read_response(draft, view(line.body))
        draft.tier = TIER
        asked = account.asked or ("" if job is None else job.model)
        draft.request_model = asked or draft.response_model or account.model
        if line.outcome != "ok" or draft.outcome is None:
            draft.outcome, draft.error_type, draft.error_kind = line.outcome, line.error_type, line.error_kind
        return draft

    def _count_requests(self, account: Account) -> None:
        """Count requests by what the job reports of them; their tokens come with the results."""
        job = account.job
        assert job is not None
        read = account.outcomes
        counts: tuple[tuple[Outcome, int], ...] = (
            ("ok", job.succeeded), ("error", job.failed), ("cancelled", job.cancelled),
        )  # fmt: skip
        for outcome, reported in counts:
            more = reported - read[outcome] - account.credit[outcome]
            # Who counts the requests of a file is asked by its name: another process may not know the job.
            files = job.files or (job.id,)
            if more <= 0 or not account.claims(f"requests {files[-1 if outcome == 'error' else 0]}"):
                continue
            draft = new_draft(account, batches.format_of(None, job.endpoint)[0])
            draft.request_model, draft.outcome, draft.pending = account.model, outcome, True
            call = emit(draft, "line", more)
            if call is not None:
                account.credit[outcome] += more

    def _count_stated(self, account: Account) -> None:
        """Count the tokens that a job states whose results nobody has read."""
        job = account.job
        if job is None or job.usage is None or not job.model or account.outcomes or account.complete:
            return
        # Other processes may read them later.
        claimed = [account.claims(f"results {name}") for name in job.files or (job.id,)]
        if not all(claimed):
            return
        draft = new_draft(account, batches.format_of(None, job.endpoint)[0])
        draft.request_model = draft.response_model = job.model
        draft.usage, draft.tier, draft.outcome = job.usage, TIER, "ok"
        account.complete.update(job.files or (job.id,))
        call = emit(draft, "spent")
        if call is not None:
            account.usage, account.cost = call.usage, call.cost

    # --- the end ---------------------------------------------------------------------

    def read(self, account: Account, file: str, part: str = "") -> None:
        """All results in a file, or in a part of them, have been read."""
        with self._lock:
            if part and (account.job is None or sum(account.outcomes.values()) < account.job.total):
                return  # there may be other parts
            account.complete.add(file)
            account.keys.clear()
            main = file if account.job is None or not account.job.files else account.job.files[0]
            if file == main:
                self._record(account)

    def settle(self, everything: bool = False) -> None:
        """Record the jobs whose results nobody has read for `PATIENCE_S`.

        Args:
            everything: Do not wait for that: this is a flush, or the end.
        """
        with self._lock:
            now = self.clock()
            while self._waiting and (everything or self._waiting[0][0] <= now):
                account = self._waiting.popleft()[1]
                try:
                    token = _context.bound.set(account.bound)
                    try:
                        self._give_up(account)
                    finally:
                        _context.bound.reset(token)
                except Exception as error:
                    _guard.contain("batch_jobs.settle", error)

    def _give_up(self, account: Account) -> None:
        job = account.job
        assert job is not None
        self._count_requests(account)
        self._count_stated(account)
        failed = account.credit["error"]
        if failed:
            account.errors += failed
            draft = new_draft(account, batches.format_of(None, job.endpoint)[0])
            draft.request_model = account.model
            call = emit(draft, "spent")
            if call is not None:
                count_errors(call, "other", _UNKNOWN, failed)
        self._record(account)

    def _record(self, account: Account) -> None:
        """The span and the log line of the whole job, once."""
        job = account.job
        if account.recorded or not account.claims(f"job {account.name}"):
            account.recorded = True
            return
        account.recorded = True
        read = account.outcomes
        draft = new_draft(account, names.BATCH_JOB)
        draft.request_model = account.model
        succeeded, failed, cancelled = read["ok"], read["error"], read["cancelled"]
        total = succeeded + failed + cancelled
        start_unix_s = end_unix_s = state.STATE.unix_ns() / 1e9
        if job is not None:
            succeeded, failed = max(job.succeeded, succeeded), max(job.failed, failed)
            cancelled = max(job.cancelled, cancelled)
            total = max(job.total, succeeded + failed + cancelled)
            end_unix_s = job.finished_unix_s or end_unix_s
            start_unix_s = min(job.created_unix_s or end_unix_s, end_unix_s)
            draft.fields[batch.BATCH_ID], draft.fields[batch.BATCH_STATE] = job.id, job.state
        facts = ((batch.BATCH_REQUESTS, total), (batch.BATCH_SUCCEEDED, succeeded), (batch.BATCH_FAILED, failed))
        draft.fields.update(facts)
        if cancelled:
            draft.fields[batch.BATCH_CANCELLED] = cancelled
        if total and not account.outcomes:
            draft.fields[batch.BATCH_UNREAD] = True
        if account.unpriced:
            draft.fields[names.UNPRICED_REASON] = account.unpriced
        draft.usage, draft.total_cost = account.usage, account.cost
        describe(draft, draft.fields, "ok")
        draft.outcome = "ok" if job is None or job.outcome is None else job.outcome
        if draft.outcome == "ok" and total and not succeeded:
            draft.outcome = "error" if failed else "cancelled"
        if draft.outcome == "error":
            draft.error_type = job.state if job is not None and job.outcome == "error" else "all_requests_failed"
            draft.error_kind = "timeout" if draft.error_type in _LATE else "other"
        duration_ns = round(max(end_unix_s - start_unix_s, 0.0) * 1e9)
        lifecycle.record_past(draft, round(start_unix_s * 1e9), duration_ns, account.readers)


class Results:
    """Takes the results of one file, as parsed objects or as bytes; a tap's end may be given to it."""

    def __init__(self, ledger: Ledger, account: Account, file: str, part: str = "") -> None:
        self._part = part
        self._ledger = ledger
        self._account = account
        self._file = file
        self._rest: list[bytes] = []
        self._position = 0
        self._closed = False

    def feed(self, data: bytes) -> None:
        """Take bytes of the file, uncompressed; never raises."""
        if self._closed:
            return
        try:
            *lines, rest = data.split(b"\n")
            for line in lines:
                if self._rest:
                    line = b"".join((*self._rest, line))
                    self._rest = []
                self._parse(line)
            if rest:
                self._rest.append(rest)
        except Exception as error:
            _guard.contain("batch_jobs.results", error)

    def _parse(self, line: bytes) -> None:
        if self._closed or not line.strip():
            return
        try:
            result = json.loads(line)
        except ValueError:
            result = None
        if not self._position and not batches.is_result(result):
            # Another file: what was trained with, or the requests of a batch.
            self._closed = True
            return
        self.take(result, self._position)

    def take(self, result: Any, position: int) -> None:
        """Take one result; never raises.

        Args:
            result: The vendor's object, or decoded JSON.
            position: Its place, for those without a key.
        """
        self._position = position + 1
        try:
            if result is not None and not state.is_off():
                line = batches.read_line(result)
                key: object = line.key or position
                self._ledger.line(self._account, self._file, (self._part, key) if self._part else key, line)
        except Exception as error:
            _guard.contain("batch_jobs.line", error)

    def exhausted(self) -> None:
        """The end of the file has been read."""
        if self._rest:
            rest, self._rest = b"".join(self._rest), []
            self._parse(rest)
        if not self._closed:
            self._closed = True
            try:
                self._ledger.read(self._account, self._file, self._part)
            except Exception as error:
                _guard.contain("batch_jobs.read", error)

    def failed(self, error: BaseException) -> None:
        """Reading has failed: whoever reads again brings the rest."""

    def closed(self) -> None:
        """Nobody reads on."""


def ledger() -> Ledger:
    """The jobs of this process."""
    if state.STATE.jobs is None:
        state.STATE.jobs = Ledger()
    known: Ledger = state.STATE.jobs
    return known
