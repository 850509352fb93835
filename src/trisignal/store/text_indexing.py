"""Keeps the indexes of texts up to date, by hand or after searches."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator

from trisignal import _guard
from trisignal.store import schema, text_index
from trisignal.store.folder import DayFile, Folder, describe

FAILURES = (sqlite3.Error, OSError, schema.Newer, schema.Foreign)


def index_texts(folder: Folder) -> tuple[int, list[str]]:
    """Bring the indexes of all files up to date.

    Returns:
        Spans that were read, and what could not be indexed.
    """
    spans, problems = 0, []
    for file in folder.files():
        try:
            spans += sum(text_index.update(file))
        except FAILURES as error:
            problems.append(f"{file.name}: {describe(error)}")
    return spans, problems


class Indexing:
    """A thread that indexes while somebody searches, for half of the time at most; it ends when all is indexed.

    Args:
        folder: The store.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False

    def start(self) -> None:
        """Begin, unless it runs already."""
        with self._lock:
            if self._closed or (self._thread is not None and self._thread.is_alive()):
                return
            self._thread = threading.Thread(target=self._run, name="trisignal-text-index", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """End the thread after its next step."""
        with self._lock:
            self._closed = True
            thread = self._thread
        if thread is not None:
            thread.join(10)

    def _run(self) -> None:
        for file in reversed(self._folder.files()):
            try:
                self._index(file)
            except FAILURES as error:
                _guard.logger.debug("the texts of %s could not be indexed: %s", file.name, describe(error))

    def _index(self, file: DayFile) -> None:
        steps: Iterator[int] = text_index.update(file)
        begun = time.monotonic()
        for _ in steps:
            if self._closed:
                return
            # Pages are answered by the same process.
            time.sleep(time.monotonic() - begun)
            begun = time.monotonic()
