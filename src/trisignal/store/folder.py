"""The folder of a store: one file per day, kept by age and by size; private to its owner."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any, NamedTuple

DAY_S = 86_400
_NAME = re.compile(r"(\d{4}-\d{2}-\d{2})(?:\.(\d+))?\.db")
TEXTS = "-text"
_SIDE = ("", "-wal", "-shm", TEXTS)
"""What belongs to one database: the file, its write-ahead log, the log's index, the index of its texts."""
LOCK = "lock"
DAMAGED = "damaged"
LARGEST_PART = 1 / 8
"""Share of the whole limit at which a day gets a further file, so that what is deleted is never much at once."""


class DayFile(NamedTuple):
    """One file of a store."""

    name: str
    path: str
    day: str
    """UTC day in which it was begun, e.g. ``2026-11-30``."""
    part: int
    """1, and up where a day has several files."""

    def size_bytes(self) -> int:
        """Bytes on disk, the write-ahead log and the index of texts included; 0 when it is gone."""
        return sum(_size(self.path + side) for side in ("", "-wal", TEXTS))


class Folder:
    """Names, modes and life of the files of one store.

    Args:
        path: The folder; made when it is missing.
    """

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)
        self._foreign: set[str] = set()

    def make(self) -> None:
        """Make the folder, for its owner only.

        Raises:
            OSError: It cannot be made, or cannot be written to.
        """
        os.makedirs(self.path, mode=0o700, exist_ok=True)
        if not os.access(self.path, os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied", self.path)

    def files(self) -> list[DayFile]:
        """All day files, oldest first; none where the folder is missing."""
        files = []
        try:
            listed = os.listdir(self.path)
        except OSError:
            return []
        for name in listed:
            match = _NAME.fullmatch(name)
            if match is not None:
                files.append(DayFile(name, os.path.join(self.path, name), match[1], int(match[2] or 1)))
        return sorted(files, key=lambda file: (file.day, file.part))

    def damaged(self) -> list[str]:
        """Names of the files that were set aside."""
        try:
            return sorted(name for name in os.listdir(self.path) if f".{DAMAGED}-" in name and name.endswith(".db"))
        except OSError:
            return []

    def avoid(self, file: DayFile) -> None:
        """Leave a file of another program alone: the day gets a further one."""
        self._foreign.add(file.path)

    def size_bytes(self) -> int:
        """Bytes of all day files."""
        return sum(file.size_bytes() for file in self.files())

    def current(self, unix_s: float, max_bytes: int) -> DayFile:
        """The file that a span is written to now; made when it is missing.

        Args:
            unix_s: The time.
            max_bytes: Limit of the whole store.

        Raises:
            OSError: It cannot be made.
        """
        day = datetime.fromtimestamp(unix_s, timezone.utc).strftime("%Y-%m-%d")
        today = [file for file in self.files() if file.day == day]
        part = today[-1].part if today else 1
        if today and (today[-1].size_bytes() > max_bytes * LARGEST_PART or today[-1].path in self._foreign):
            part += 1
        name = f"{day}.db" if part == 1 else f"{day}.{part}.db"
        file = DayFile(name, os.path.join(self.path, name), day, part)
        if not os.path.exists(file.path):
            self.create(file.path)
        return file

    def create(self, path: str) -> None:
        """Make an empty file, for its owner only, unless another process has made it by now.

        Raises:
            OSError: It cannot be made.
        """
        self.make()
        with self.locked():
            if os.path.exists(path):
                return
            # A log that a deleted database left behind would be replayed into the new one.
            for side in _SIDE[1:]:
                _unlink(path + side)
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))

    def set_aside(self, path: str) -> str:
        """Rename a damaged file, so that a new one takes its place; its new name, "" when it is gone."""
        name = os.path.basename(path)
        with self.locked():
            number = len(self.damaged()) + 1
            while os.path.exists(aside := f"{path[:-3]}.{DAMAGED}-{number}.db"):
                number += 1
            try:
                os.rename(path, aside)
            except FileNotFoundError:
                return ""
            for side in _SIDE[1:]:
                try:
                    os.rename(path + side, aside + side)
                except FileNotFoundError:
                    pass
        return name if not aside else os.path.basename(aside)

    def expired(self, unix_s: float, days: int, max_bytes: int) -> list[DayFile]:
        """What is too old or too much, oldest first; the newest file always stays.

        Args:
            unix_s: The time.
            days: Days that are kept, the current one included.
            max_bytes: Limit of the whole store.
        """
        files = self.files()
        oldest = datetime.fromtimestamp(unix_s - (days - 1) * DAY_S, timezone.utc).strftime("%Y-%m-%d")
        sizes = {file: file.size_bytes() for file in files}
        total = sum(sizes.values())
        expired = []
        for file in files[:-1]:
            if file.day >= oldest and total <= max_bytes:
                break
            total -= sizes[file]
            expired.append(file)
        return expired

    def forget_texts(self, file: DayFile) -> None:
        """Delete the index of a file's texts."""
        _unlink(file.path + TEXTS)

    def delete(self, file: DayFile) -> None:
        """Delete a file with all that belongs to it."""
        for side in _SIDE:
            _unlink(file.path + side)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder against other processes while files are made or renamed.

        Where the system has no file locks, a short race is left: two processes that begin a day at once.
        """
        descriptor = os.open(os.path.join(self.path, LOCK), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            _lock(descriptor)
            yield
        finally:
            os.close(descriptor)


def _lock(descriptor: int) -> None:
    if sys.platform == "win32":
        return
    import fcntl

    deadline = time.monotonic() + 5
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            # A process that was stopped while it held the lock must not stop this one.
            if time.monotonic() > deadline:
                raise TimeoutError("the folder is locked by another process") from None
            time.sleep(0.01)


def identity(path: str) -> tuple[int, int] | None:
    """Device and number of a file, None when it is gone: a file of the same name may be another one."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def describe(error: BaseException) -> str:
    """What went wrong, in a few words, without a path: paths may name people."""
    reason: Any = getattr(error, "strerror", None)
    return str(reason or error)
