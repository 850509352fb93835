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
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any

from trisignal import _guard

if TYPE_CHECKING:
    from prometheus_client import Metric

try:
    import fcntl
except ImportError:  # Windows: gauges of dead processes stay, as without us
    fcntl = None  # type: ignore[assignment]  # checked before each use

_STILL_STARTING_S = 60.0
"""A process gives a new file its size at once; an empty file this old is nobody's."""
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
                remove_empty(file.parent)
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
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # pyright: ignore[reportOptionalMemberAccess]
        hidden.rename(path)
    except BaseException:
        os.close(descriptor)
        hidden.unlink(missing_ok=True)
        raise
    return descriptor


class Files:
    """The files of all processes as a collector; those that cannot be read are left out.

    A process that is killed between making a file and giving it its size leaves an empty one, on
    which `MultiProcessCollector` fails.

    Args:
        directory: That of ``PROMETHEUS_MULTIPROC_DIR``.
    """

    def __init__(self, directory: str) -> None:
        self._directory = Path(directory)

    def collect(self) -> Iterable[Metric]:
        """The sums over all files."""
        files = [str(file) for file in self._directory.glob("*.db") if _size(file)]
        try:
            return _merged(files)
        except Exception:
            # One is broken, or has gone in the meantime.
            return _merged([file for file in files if _is_readable(file)])


def _merged(files: list[str]) -> Iterable[Metric]:
    from prometheus_client.multiprocess import MultiProcessCollector

    merged: Iterable[Metric] = MultiProcessCollector.merge(files, accumulate=True)  # type: ignore[no-untyped-call]
    return merged


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _is_readable(file: str) -> bool:
    from prometheus_client.mmap_dict import MmapedDict

    try:
        for _ in MmapedDict.read_all_values_from_file(file):  # type: ignore[no-untyped-call]  # theirs has no types
            pass
    except Exception as error:
        _guard.logger.warning("metrics of %s cannot be read and are left out: %s", file, type(error).__name__)
        return False
    return True


def remove_empty(directory: Path) -> None:
    """Remove what killed processes have left empty, for pages that are not ours.

    Args:
        directory: That of ``PROMETHEUS_MULTIPROC_DIR``.
    """
    before_s = time() - _STILL_STARTING_S
    for file in directory.glob("*.db"):
        with suppress(OSError):
            found = file.stat()
            if not found.st_size and found.st_mtime < before_s:
                file.unlink()


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
    remove_empty(Path(directory))
    for path in Path(directory).glob(f"{_PREFIX}*{_SUFFIX}"):
        if path not in _held:
            with suppress(OSError):
                dead += _bury(path)
    return dead


def _bury(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDWR)
    try:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # pyright: ignore[reportOptionalMemberAccess]
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
