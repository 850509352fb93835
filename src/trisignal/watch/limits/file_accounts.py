"""Accounts in one SQLite file, for the processes of one machine."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trisignal.watch.limits.accounts import KEEP_S, Demand, Ruling, Unavailable, adjust, admit, read, stamp_of
from trisignal.watch.limits.periods import Period

FILE = "limits.sqlite"
"""Name of the file in the folder."""
WAIT_S = 0.5
"""How long a call waits for another process that is writing."""
_SWEEP_S = 600.0

_SCHEMA = """
create table if not exists accounts (
    account text not null, stamp integer not null, fields text not null, expires_s real not null,
    primary key (account, stamp)
) without rowid
"""


class FileAccounts:
    """Accounts in a folder on a disk of this machine.

    Args:
        folder: The folder; it is created.
        name: Of the limit: accounts of different limits share the file.
        per: Period that accounts start over with; None for accounts that last.
        forget_after_s: Seconds after which an account without a period, that nobody uses, is forgotten.
        wait_s: Seconds to wait for other processes.
        now_s: Unix time in seconds.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        per: Period | None,
        *,
        forget_after_s: float = KEEP_S,
        wait_s: float = WAIT_S,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._path = folder / FILE
        self._name = name
        self._per: Period | None = per
        self._forget_after_s = forget_after_s
        self._wait_s = wait_s
        self._now_s = now_s
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._swept_s = 0.0

    def _connect(self) -> sqlite3.Connection:
        if self._connection is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(
                self._path, timeout=self._wait_s, isolation_level=None, check_same_thread=False
            )
            try:
                connection.execute("pragma journal_mode = wal")
                # A machine that loses power may forget the last calls; a process that is killed forgets none.
                connection.execute("pragma synchronous = normal")
                connection.execute(_SCHEMA)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
            # A guard is not closed by anything: with the function that it decorates it is freed.
            self._closing = weakref.finalize(self, connection.close)
            self._closing.atexit = False
        return self._connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                connection = self._connect()
                connection.execute("begin immediate")
                try:
                    yield connection
                    connection.execute("commit")
                except BaseException:
                    connection.execute("rollback")
                    raise
            except (sqlite3.Error, OSError) as error:
                raise Unavailable(f"{type(error).__name__}: {error}") from error

    def _read(self, connection: sqlite3.Connection, account: str, stamp: int) -> dict[str, Any]:
        row = connection.execute(
            "select fields from accounts where account = ? and stamp = ?", (self._key(account), stamp)
        ).fetchone()
        fields: dict[str, Any] = json.loads(row[0]) if row else {}
        return fields

    def _write(self, connection: sqlite3.Connection, account: str, stamp: int, fields: Any, expires_s: float) -> None:
        connection.execute(
            "insert or replace into accounts values (?, ?, ?, ?)",
            (self._key(account), stamp, json.dumps(fields), expires_s),
        )

    def _key(self, account: str) -> str:
        return f"{self._name}\n{account}"

    def _expires_s(self, stamp: int, now_s: float) -> float:
        if self._per is None:
            return now_s + self._forget_after_s
        return stamp_of(self._per, stamp)[1] + KEEP_S

    def reserve(self, account: str, ask: Demand) -> Ruling:
        """See `Accounts`."""
        now_s = self._now_s()
        stamp, ends_s = stamp_of(self._per, now_s)
        with self._transaction() as connection:
            self._sweep(connection, now_s)
            fields = self._read(connection, account, stamp)
            over, used, reserved = admit(fields, ask, now_s)
            if over is None:
                self._write(connection, account, stamp, fields, self._expires_s(stamp, now_s))
        return Ruling(over, used, reserved, stamp, ends_s)

    def settle(
        self, account: str, stamp: int, changes: Mapping[str, float], used: Mapping[str, float] | None
    ) -> Mapping[str, float] | None:
        """See `Accounts`."""
        with self._transaction() as connection:
            fields = self._read(connection, account, stamp)
            after = adjust(fields, changes, used)
            self._write(connection, account, stamp, fields, self._expires_s(stamp, self._now_s()))
        return after

    def used(self, account: str, resources: tuple[str, ...]) -> Mapping[str, float]:
        """See `Accounts`."""
        now_s = self._now_s()
        with self._transaction() as connection:
            return read(self._read(connection, account, stamp_of(self._per, now_s)[0]), resources, now_s)

    def _sweep(self, connection: sqlite3.Connection, now_s: float) -> None:
        if now_s - self._swept_s >= _SWEEP_S:
            self._swept_s = now_s
            connection.execute("delete from accounts where expires_s < ?", (now_s,))

    def after_fork(self) -> None:
        """SQLite's connections must not be used, nor closed, by a child."""
        self._lock = threading.RLock()
        if self._connection is not None:
            self._closing.detach()
            _parents.append(self._connection)
            self._connection = None

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._connection is not None:
                self._closing()
                self._connection = None


_parents: list[sqlite3.Connection] = []
"""Connections of the process that this one was forked from: closing them here would release the parent's locks."""
