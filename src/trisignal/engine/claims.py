"""Which process counts what several of them may see: the first that asks.

Processes share a small database in the folder of the trace store, or in that of prometheus_client's multiprocess mode.
Where there is neither, each process counts for itself.
"""

from __future__ import annotations

import os
import time

from trisignal import _guard
from trisignal.engine.state import STATE

FILE = "counted-jobs.sqlite"
"""Its name does not end like those of the databases beside it, which others look for."""
KEPT_S = 90 * 86_400
"""Seconds for which a claim is remembered: results of batch jobs are kept for a month by the vendors."""
_BUSY_S = 5.0
_MULTIPROCESS = ("PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir")


def _folder() -> str:
    found = STATE.settings.store or next((os.environ[name] for name in _MULTIPROCESS if os.environ.get(name)), "")
    return found if found and os.path.isdir(found) else ""


def claim(key: str) -> bool:
    """Whether this process is the first to count something; always true where processes share nothing.

    Args:
        key: What is counted.
    """
    folder = _folder()
    if not folder:
        return True
    import sqlite3

    path = os.path.join(folder, FILE)
    try:
        db = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
    except sqlite3.Error as error:
        _guard.contain("claims", error)
        return True
    try:
        db.execute("create table if not exists claim (key text primary key, at real not null) without rowid")
        now = time.time()
        db.execute("delete from claim where at < ?", (now - KEPT_S,))
        return db.execute("insert or ignore into claim values (?, ?)", (key, now)).rowcount == 1
    except sqlite3.Error as error:
        _guard.contain("claims", error)
        return True
    finally:
        db.close()
