"""A console over a store with real traffic, served over real sockets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from console.traffic import assistant

from trisignal.analysis.analyzer import TraceAnalyzer
from trisignal.console.app import console_app

Serve = Callable[..., Any]


@contextmanager
def served(folder: Path, *, metrics: str = "", **options: Any) -> Iterator[str]:
    """The address of a console."""
    listening = socket.create_server(("127.0.0.1", 0))
    app = console_app(TraceAnalyzer(folder, metrics=metrics), **options)
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    # The socket listens already: a request waits until the server takes it.
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join(60)
    listening.close()


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two hours of traffic."""
    made = tmp_path_factory.mktemp("console") / "store"
    assistant(made)
    return made


@pytest.fixture(scope="session")
def url(folder: Path) -> Iterator[str]:
    """Address of a console over the store."""
    with served(folder) as address:
        yield address


@pytest.fixture
def http(url: str) -> Iterator[httpx.Client]:
    """A client of the console."""
    with httpx.Client(base_url=url, timeout=60) as client:
        yield client
