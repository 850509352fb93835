"""Alerts of a store, active and past, in a small file beside its days."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

from trisignal.errors import SourceError
from trisignal.watch.alert_handlers import Alert

FILE = "alerts.db"
LOCK = "alerts.lock"
KEEP_S = 90 * 86_400
"""Seconds after its end that an alert is kept."""
BUSY_S = 5.0
_COLUMNS = (
    "rule", "grp", "signal", "value", "threshold", "samples", "window_s", "started", "ended", "explanation", "examples",
)  # fmt: skip
_CREATE = """
CREATE TABLE IF NOT EXISTS alert (
  rule TEXT NOT NULL, grp TEXT NOT NULL, signal TEXT NOT NULL, value REAL, threshold REAL, samples INTEGER,
  window_s REAL, started REAL NOT NULL, ended REAL, explanation TEXT, examples TEXT, UNIQUE (rule, grp, started)
)
"""


class History:
    """The alerts of one store folder.

    Args:
        folder: The store's folder.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._path = os.path.join(folder, FILE)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self._path, timeout=BUSY_S, isolation_level=None)) as db:
                if os.name == "posix":
                    os.chmod(self._path, 0o600)
                db.execute(_CREATE)
                yield db
        except (sqlite3.Error, OSError) as error:
            raise SourceError(self._path, f"the history of alerts cannot be used ({type(error).__name__})") from None

    def keep(self, alert: Alert) -> None:
        """Write an alert as it is now: begun, or ended."""
        values = (
            alert.rule,
            alert.group,
            alert.signal,
            alert.value,
            alert.limit,
            alert.samples,
            alert.window_s,
            alert.started_unix_s,
            alert.ended_unix_s,
            alert.explanation,
            json.dumps(alert.examples),
        )
        marks = ", ".join("?" * len(_COLUMNS))
        with self._open() as db:
            db.execute(f"INSERT OR REPLACE INTO alert ({', '.join(_COLUMNS)}) VALUES ({marks})", values)
            db.execute("DELETE FROM alert WHERE ended < ?", (time.time() - KEEP_S,))

    def alerts(self, since_unix_s: float = 0.0, limit: int = 500) -> list[Alert]:
        """Active alerts, and those that ended since a moment; newest first, none where nothing was kept.

        Raises:
            SourceError: The file cannot be read.
        """
        if not os.path.exists(self._path):
            return []
        columns = ", ".join(_COLUMNS)
        with self._open() as db:
            rows = db.execute(
                f"SELECT {columns} FROM alert WHERE ended IS NULL OR ended >= ? ORDER BY started DESC LIMIT ?",
                (since_unix_s, limit),
            ).fetchall()
        return [_alert(*row) for row in rows]

    @contextmanager
    def only_one(self) -> Iterator[bool]:
        """Whether this process is the one that evaluates the store's alerts; kept until the block ends."""
        try:
            import fcntl
        except ImportError:  # Windows: each process evaluates for itself
            yield True
            return
        handle = os.open(os.path.join(self._folder, LOCK), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                yield False
                return
            yield True
        finally:
            os.close(handle)


def _alert(
    rule: str,
    group: str,
    signal: str,
    value: float,
    limit: float,
    samples: int,
    window_s: float,
    started: float,
    ended: float | None,
    explanation: str,
    examples: str,
) -> Alert:
    status = "firing" if ended is None else "resolved"
    ids = tuple(json.loads(examples))
    return Alert(rule, status, signal, group, value, limit, samples, window_s, started, ended, explanation, ids)  # type: ignore[arg-type]  # one of the literals
