"""The trace store: whether it can be written, what it holds, and how near it is to its limits."""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from trisignal import config
from trisignal.assembly.telemetry import running
from trisignal.errors import ConfigError
from trisignal.operate.doctor.findings import Finding
from trisignal.operate.doctor.settings import not_writable
from trisignal.store import keeping
from trisignal.store.folder import DAY_S, Folder

CHECK = "store"
NETWORKED = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "gpfs", "beegfs", "ncpfs",
     "fuse.sshfs", "fuse.s3fs", "fuse.gcsfuse", "fuse.rclone", "fuse.glusterfs", "fuse.juicefs", "virtiofs"}
)  # fmt: skip
"""File systems on which SQLite's write-ahead log does not work, or not for several machines."""
MOUNTS = Path("/proc/mounts")
_FULL = 0.9
_MIB = 1 << 20


def check() -> Iterator[Finding]:
    """What holds for the store that the settings name; nothing where none is configured."""
    telemetry = running()
    try:
        settings = config.load().settings if telemetry is None else telemetry.settings
    except ConfigError:  # reported by another check
        return
    if settings.store:
        yield from _folder(Folder(settings.store), settings)


def _folder(folder: Folder, settings: config.Settings) -> Iterator[Finding]:
    path = folder.path
    if why := not_writable(Path(path), folder=True):
        yield Finding(CHECK, "error", f"{path} cannot be written ({why}): rows are dropped, and counted",
                      "give it to the application's user, or set store to another folder")  # fmt: skip
    if not os.path.isdir(path):
        if not why:
            yield Finding(CHECK, "info", f"{path} does not exist yet", "setup() makes it")
        return
    mode = stat.S_IMODE(os.stat(path).st_mode)
    if os.name != "nt" and mode & 0o077:
        yield Finding(CHECK, "warning", f"{path} is open to other users (mode {mode:04o})", f"chmod 700 {path}")
    kind = file_system(path)
    if kind in NETWORKED:
        yield Finding(CHECK, "error", f"{path} is on a network file system ({kind}): SQLite cannot lock files there",
                      "set store to a folder on a local disk")  # fmt: skip
    yield from _contents(folder, settings)


def _contents(folder: Folder, settings: config.Settings) -> Iterator[Finding]:
    files = keeping.info(folder)
    size, limit = sum(file.size_bytes for file in files), settings.store_mb * _MIB
    held = [file for file in files if file.spans is not None]
    spans = sum(file.spans or 0 for file in held)
    starts = [file.last_unix_s for file in held if file.last_unix_s is not None]
    age_s = time.time() - max(starts) if starts else None
    last = "no span yet" if age_s is None else f"the last one {_age(age_s)} ago"
    yield Finding(CHECK, "ok", f"{folder.path}: {spans:,} spans in {len(held)} files, {size / _MIB:,.1f} MiB, {last}")
    if size > _FULL * limit:
        days = len({file.name[:10] for file in held})
        yield Finding(CHECK, "info", f"the store is at its limit of {settings.store_mb} MiB and holds {days} of the "
                      f"{settings.store_days} days that are wanted", "raise store_mb to keep more")  # fmt: skip
    for file in files:
        if file.spans is None:
            yield Finding(CHECK, "warning", f"{file.name}: {file.problem}",
                          "its spans are not in answers; delete it when it is of no use")  # fmt: skip
    free = shutil.disk_usage(folder.path).free
    if free < limit - size:
        yield Finding(CHECK, "warning", f"the disk has {free / _MIB:,.0f} MiB left, and the store may grow by "
                      f"{(limit - size) / _MIB:,.0f}", "lower store_mb, or make room")  # fmt: skip


def file_system(path: str) -> str:
    """Type of the file system that a path is on, e.g. ``ext4``; "" where the system does not say."""
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    best = ("", "")
    real = os.path.realpath(path)
    for line in lines:
        words = line.split(" ")
        if len(words) < 3:
            continue
        point = words[1].replace("\\040", " ")
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best[0]):
            best = (point, words[2])
    return best[1]


def _age(seconds: float) -> str:
    if seconds < 120:
        return f"{max(0, seconds):.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 2 * DAY_S else f"{seconds / DAY_S:.0f} days"
