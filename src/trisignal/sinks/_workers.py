"""Which processes of a multiprocess directory were killed, so that their gauges do not stay.

Each process of ours holds a lock on a file of its own beside prometheus_client's. The system releases it however the
process ends, SIGKILL included, and whatever becomes of its process id: the server needs no hook, and
containers that share a directory may share ids. A process that ends by itself gives its lock up: what it put into a
queue and took out of it was put and taken, and no call of it is in flight.

The open files are module state, as the locks belong to the process.
"""

from __future__ import annotations

import atexit
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows: gauges of dead processes stay, as without us
    fcntl = None  # type: ignore[assignment]  # checked before each use

_PREFIX, _SUFFIX = "trisignal_", ".lock"
_held: dict[Path, int] = {}
"""Lock file to open descriptor. To close any descriptor of such a file would release its lock."""


class Membership:
    """This process's lock in the multiprocess directory."""

    __slots__ = ("known",)

    def __init__(self) -> None:
        self.known = False
        """The process has its lock, or cannot have one."""

    def enter(self, gauge: Any) -> None:
        """Take the lock.

        Args:
            gauge: A gauge of prometheus_client without labels: its file is named after directory and process.
        """
        self.known = True
        if fcntl is None:
            return
        with suppress(AttributeError, OSError, ValueError):
            gauge._value.get()  # after a fork this opens the files of the new process
            file = Path(gauge._value._file._fname)
            path = file.with_name(f"{_PREFIX}{file.stem.rpartition('_')[2]}{_SUFFIX}")
            if path not in _held:
                _held[path] = _locked(path)
                _leave_at_exit()

    def after_fork(self) -> None:
        """A forked child inherits the files and none of the locks."""
        self.known = False
        for descriptor in _held.values():
            with suppress(OSError):
                os.close(descriptor)
        _held.clear()


def _leave() -> None:
    while _held:
        path, descriptor = _held.popitem()
        with suppress(OSError):
            path.unlink(missing_ok=True)
            os.close(descriptor)


def _leave_at_exit() -> None:
    atexit.unregister(_leave)
    atexit.register(_leave)
    # Processes of multiprocessing end without what atexit has; they forget the parent's finalizers, too.
    processes = sys.modules.get("multiprocessing.util")
    if processes is not None:
        processes.Finalize(None, _leave, exitpriority=50)


def _locked(path: Path) -> int:
    """Descriptor of a new file that has its lock before anybody can see it by its name."""
    hidden = path.with_suffix(f".{os.getpid()}.new")
    descriptor = os.open(hidden, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        hidden.rename(path)
    except BaseException:
        os.close(descriptor)
        hidden.unlink(missing_ok=True)
        raise
    return descriptor


def bury_dead(directory: str) -> int:
    """Remove the live gauges of processes that were killed.

    Args:
        directory: That of ``PROMETHEUS_MULTIPROC_DIR``.

    Returns:
        Number of dead processes. Those that never used trisignal are not known, and left alone.
    """
    if fcntl is None:
        return 0
    dead = 0
    for path in Path(directory).glob(f"{_PREFIX}*{_SUFFIX}"):
        if path not in _held:
            with suppress(OSError):
                dead += _bury(path)
    return dead


def _bury(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDWR)
    try:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        if os.fstat(descriptor).st_ino != path.stat().st_ino:
            return False  # another process of the same name has taken its place
        process = path.name[len(_PREFIX) : -len(_SUFFIX)]
        for file in path.parent.glob("gauge_live*.db"):
            if file.stem.rpartition("_")[2] == process:
                file.unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        return True
    finally:
        os.close(descriptor)
