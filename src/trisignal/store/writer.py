"""The writer's thread: from a bounded queue, in short transactions, into the file of the day.

Callers only append to the queue. Whatever goes wrong beyond it is counted and logged once, and never reaches them.
"""

from __future__ import annotations

import atexit
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from trisignal import _guard
from trisignal.store import upkeep
from trisignal.store.folder import DayFile, Folder, describe
from trisignal.store.forking import Pause
from trisignal.store.intake import Intake
from trisignal.store.schema import Foreign, Newer
from trisignal.store.transaction import Batch, CallItem, OpenFile

MOST_WAITING = 10_000
"""Items in the queue; what comes beyond is dropped."""
MOST_WAITING_BYTES = 64 << 20
"""Content in the queue, roughly."""
MOST_ROWS = 5_000
"""Items of one transaction, a quarter of a second: under load a long one writes each page of an index less often, and
fewer groups of sums."""
GATHER_S = 0.25
"""How long a transaction waits for more."""
LOCKED_TRIES = 2
"""Attempts, of five seconds each, to get the lock of a file."""
EXIT_S = 5.0
"""Longest wait for what is queued at the end of the process."""
UPKEEP_S = 30.0
"""Seconds between two looks at age, size and waiting scores."""


class Flush:
    """Marks a place in the queue; set when all before it has been written or dropped."""

    __slots__ = ("done", "stop")

    def __init__(self, *, stop: bool = False) -> None:
        self.done = threading.Event()
        self.stop = stop


class Writer:
    """Writes what is offered to it. One per process; a forked child gets a clean one by `after_fork`.

    Args:
        folder: Where to.
        days: Days that are kept.
        max_bytes: Bytes that are kept.
        service: Name of the service.
        lost: Counts dropped items.
        clean: Redacts a span of another instrumentation.
    """

    def __init__(
        self,
        folder: Folder,
        *,
        days: int,
        max_bytes: int,
        service: str,
        lost: Callable[[int], None],
        clean: Callable[[Any], Any],
    ) -> None:
        self.folder = folder
        self._days = days
        self._max_bytes = max_bytes
        self._service = service
        self._lost = lost
        self._clean = clean
        self._start_clean()

    def _start_clean(self) -> None:
        self._queue: deque[Any] = deque()
        self._bytes = 0
        self._asleep = False
        self._thread: threading.Thread | None = None
        self._closed = False
        self._urgent = False
        # A lock that is held means silence; releasing it is the bell. Unlike a condition it runs no Python code, so
        # a finalizer in the middle of it cannot wait for itself.
        self._bell = threading.Lock()
        self._bell.acquire()
        self._starting = threading.Lock()
        self._working = threading.Lock()
        self._pause = Pause()
        self._intake = Intake(self._clean)
        self._file: OpenFile | None = None
        self._checked_s = float("-inf")
        self._kept_s = float("-inf")
        self._failing = False

    # --- callers' side ---------------------------------------------------------------

    def offer(self, item: Any, weight: int = 0) -> None:
        """Queue an item; drop it when the queue is full.

        Args:
            item: One of the items of `transaction`.
            weight: Bytes of content in it.
        """
        if len(self._queue) >= MOST_WAITING or self._bytes > MOST_WAITING_BYTES:
            self._lost(1)
            return
        self._bytes += weight
        self._queue.append(item)
        if self._asleep:
            self._ring()
        elif self._thread is None:
            self._start()

    def offer_quietly(self, item: Any) -> None:
        """Queue an item that is not worth a thread: spans of traces that may hold no call."""
        if self._thread is None and len(self._queue) >= MOST_WAITING // 2:
            return
        if len(self._queue) >= MOST_WAITING:
            self._lost(1)
            return
        self._queue.append(item)
        if self._asleep and len(self._queue) > MOST_ROWS:
            self._ring()

    def flush(self, timeout_s: float) -> bool:
        """Write what is queued.

        Args:
            timeout_s: Longest wait, in seconds.

        Returns:
            Whether all of it was written or dropped in time.
        """
        if self._thread is None or not self._thread.is_alive():
            self._drain_here()
            return True
        mark = Flush()
        self._queue.append(mark)
        self._urgent = True
        self._ring()
        return mark.done.wait(timeout_s)

    def close(self, timeout_s: float) -> None:
        """Write what is queued, and end the thread."""
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self._at_exit)
        thread = self._thread
        if thread is None or not thread.is_alive():
            self._drain_here()
            return
        mark = Flush(stop=True)
        self._queue.append(mark)
        self._urgent = True
        self._ring()
        mark.done.wait(timeout_s)
        thread.join(max(0.1, timeout_s / 10))

    def after_fork(self) -> None:
        """The child writes by a thread and a connection of its own; the parent's are left alone."""
        if self._file is not None:
            upkeep.abandon(self._file.db)
        closed = self._closed
        self._start_clean()
        self._closed = closed

    def _ring(self) -> None:
        self._asleep = False
        try:
            self._bell.release()
        except RuntimeError:
            pass  # it rings already

    def _start(self) -> None:
        if self._closed or not self._starting.acquire(blocking=False):
            return
        try:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="trisignal-store", daemon=True)
                thread.start()
                self._thread = thread
                atexit.register(self._at_exit)
        except RuntimeError:
            # The interpreter is about to end and starts no threads: written by the flush at the end.
            atexit.unregister(self._at_exit)
        finally:
            self._starting.release()

    def _at_exit(self) -> None:
        self.flush(EXIT_S)

    # --- the thread's side -----------------------------------------------------------

    def _run(self) -> None:
        while True:
            try:
                if self._turn():
                    return
            except Exception as error:
                _guard.contain("store.writer", error)

    def _turn(self) -> bool:
        """Wait for items and write them; True at the end."""
        if not self._queue:
            self._asleep = True
            if not self._queue:
                self._bell.acquire(timeout=UPKEEP_S)
            self._asleep = False
        if self._queue and not self._urgent:
            self._bell.acquire(timeout=GATHER_S)
        with self._working:
            return self._work()

    def _drain_here(self) -> None:
        with self._working:
            self._work()
            if self._file is not None:
                self._close_file()

    def _work(self) -> bool:
        """Write all that is queued."""
        while True:
            batch, mark = self._take()
            if batch:
                with self._pause:
                    self._store_or_drop(batch)
            if mark is not None:
                self._urgent = False
                self._keep_up()
                if mark.stop:
                    self._close_file()
                mark.done.set()
                if mark.stop:
                    return True
            if not self._queue:
                break
        self._keep_up()
        return False

    def _take(self) -> tuple[Batch, Flush | None]:
        batch = Batch()
        queue = self._queue
        for _ in range(MOST_ROWS):
            if not queue:
                break
            item = queue.popleft()
            if isinstance(item, Flush):
                return batch, item
            try:
                self._intake.sort(item, batch)
            except Exception as error:
                self._lost(1)
                _guard.logger.debug("an item could not be stored: %s", type(error).__name__)
        if not queue:
            self._bytes = 0
        return batch, None

    def _store_or_drop(self, batch: Batch) -> None:
        try:
            self._store(batch)
        except Exception as error:
            # E.g. a damaged file that cannot be renamed either. Whoever waits for a flush must not wait for ever.
            self._dropped(len(batch), error)

    def _store(self, batch: Batch) -> None:
        for _ in range(LOCKED_TRIES):
            try:
                self._current().write(batch)
            except sqlite3.OperationalError as error:
                if upkeep.is_overflow(error):
                    return self._one_by_one(batch)
                if not upkeep.is_damage(error):
                    self._close_file()
                    if upkeep.is_locked(error):
                        continue
                    return self._dropped(len(batch), error)
                self._set_aside(error)
            except (sqlite3.InterfaceError, sqlite3.ProgrammingError, sqlite3.DataError, sqlite3.IntegrityError):
                return self._one_by_one(batch)
            except sqlite3.DatabaseError as error:
                self._set_aside(error)
            except Foreign:
                self.folder.avoid(self._wanted())
            except (Newer, OSError) as error:
                self._close_file()
                return self._dropped(len(batch), error)
            except Exception:
                return self._one_by_one(batch)
            else:
                self._failing = False
                return None
        return self._dropped(len(batch), TimeoutError("it stays locked, or damaged"))

    def _one_by_one(self, batch: Batch) -> None:
        """One item cannot be written: find out which, and write the others."""
        singles: list[tuple[str, Any]] = [(kind, item) for kind in Batch.__slots__ for item in getattr(batch, kind)]
        for kind, item in singles:
            single = Batch()
            getattr(single, kind).append(item)
            try:
                self._current().write(single)
            except Exception as error:
                self._lost(1)
                _guard.logger.debug("a row could not be stored: %s", type(error).__name__)

    def _dropped(self, items: int, error: BaseException) -> None:
        self._lost(items)
        if not self._failing:
            self._failing = True
            _guard.logger.warning(
                "the store cannot be written (%s): its rows are dropped, and counted", describe(error)
            )

    def _set_aside(self, error: BaseException) -> None:
        file = self._file.file if self._file is not None else self._wanted()
        self._close_file()
        aside = self.folder.set_aside(file.path)
        self._checked_s = float("-inf")
        _guard.logger.warning("%s of the store is damaged (%s): set aside as %s", file.name, describe(error), aside)
        self._lost(1)

    # --- files -----------------------------------------------------------------------

    def _wanted(self) -> DayFile:
        return self.folder.current(time.time(), self._max_bytes)

    def _current(self) -> OpenFile:
        """The open file of the day."""
        file = self._file
        now = time.monotonic()
        if file is not None and file.is_current() and now - self._checked_s < 1.0:
            return file
        wanted = self._wanted()
        self._checked_s = now
        if file is not None and (file.file.path != wanted.path or not file.is_current()):
            self._close_file()
        if self._file is None:
            self._file = OpenFile(wanted, self._service)
        return self._file

    def _close_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except sqlite3.Error:
                pass  # what it held is committed or lost already

    def _keep_up(self) -> None:
        """What is to be done now and then: the log cut, late scores matched, old files deleted."""
        with self._pause:
            file = self._file
            if file is not None:
                with _noted("upkeep of the store failed"):
                    upkeep.checkpoint(file)
                    if file.waiting:
                        file.waiting = upkeep.match_scores(file.db, file.file, self.folder)
            now = time.monotonic()
            if now - self._kept_s < UPKEEP_S:
                return
            self._kept_s = now
            if file is not None:
                file.waiting = True
                with _noted("late scores of the store could not be matched"):
                    upkeep.match_earlier(file.file, self.folder)
            with _noted("old files of the store could not be deleted"):
                upkeep.retain(self.folder, self._days, self._max_bytes)


@contextmanager
def _noted(what: str) -> Iterator[None]:
    """What fails here costs no row, and is tried again."""
    try:
        yield
    except (sqlite3.Error, OSError, Newer, Foreign) as error:
        _guard.logger.debug("%s: %s", what, type(error).__name__)


def queued(item: CallItem) -> int:
    """Bytes of content of a call."""
    content = item.call.content
    return sum(map(len, content.values())) if content else 0
