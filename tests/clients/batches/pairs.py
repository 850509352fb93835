"""Two processes that do the same at the same time."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any


def counted_by_two(count: Callable[[str, str, Any], None], url: str, store: Path) -> tuple[float, ...]:
    """Sums of what two forked processes have counted between them.

    Args:
        count: Takes the provider's address, the store's folder, and the queue for what it has counted.
        url: Address of the provider.
        store: Folder of the store that both share.
    """
    forks = multiprocessing.get_context("fork")
    counted = forks.Queue()
    running = [forks.Process(target=count, args=(url, str(store), counted)) for _ in range(2)]
    for process in running:
        process.start()
    results = [counted.get(timeout=120) for _ in running]
    for process in running:
        process.join(120)
    return tuple(map(sum, zip(*results, strict=True)))
