"""Files that appear under their name when they are whole, so that who is killed while writing leaves no half one."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def whole_file(path: str) -> Iterator[str]:
    """A path to write to, whose file takes the place of another when the block ends without an exception.

    Args:
        path: The file that is wanted. What was there stays until then, and for good if the block fails. A pipe or a
            device is written to as it is.

    Yields:
        An empty file in the same folder, for its owner only unless the file that it replaces was for others too.

    Raises:
        OSError: The file cannot be written.
    """
    target = os.path.realpath(path)
    try:
        replaced = os.stat(target)
    except FileNotFoundError:
        replaced = None
    if replaced is not None and not stat.S_ISREG(replaced.st_mode):
        yield path
        return
    if replaced is not None and not os.access(target, os.W_OK):
        raise PermissionError(13, "Permission denied", path)
    folder, name = os.path.split(target)
    descriptor, beside = tempfile.mkstemp(prefix=f".{name[:100]}.", suffix=".partial", dir=folder)
    os.close(descriptor)
    try:
        if replaced is not None:
            shutil.copymode(target, beside)
        yield beside
        with open(beside, "rb") as written:
            os.fsync(written.fileno())
        os.replace(beside, target)
    except BaseException:
        _remove(beside)
        raise


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
