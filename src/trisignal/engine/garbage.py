"""The garbage collector's part in starting up."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collections() -> Iterator[None]:
    """Put collections off while many objects are built that stay.

    Modules and tables are not garbage, yet building them makes the collector walk through all that the host has loaded:
    tens of milliseconds beside a large SDK. A host that has switched it off keeps it off.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
