"""A real Redis of a test's own, on a socket in a folder."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType

import pytest
from waiting import until


class RedisServer:
    """A server that can be stopped and started again; it keeps what it holds in a file.

    Args:
        folder: Where its data lies.
    """

    def __init__(self, folder: Path) -> None:
        program = shutil.which("redis-server")
        if program is None:
            pytest.skip("redis-server is not installed")
        pytest.importorskip("redis")
        self._program = program
        self._folder = folder
        # Paths of sockets have to be short.
        self._short = tempfile.mkdtemp(prefix="ts-")
        self.socket = f"{self._short}/redis.sock"
        self.url = f"unix://{self.socket}?socket_timeout=30&socket_connect_timeout=30"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        import redis

        arguments = ["--port", "0", "--unixsocket", self.socket, "--dir", str(self._folder)]
        arguments += ["--appendonly", "yes", "--appendfsync", "always", "--loglevel", "warning"]
        self._process = subprocess.Popen([self._program, *arguments], stdout=subprocess.DEVNULL)

        def answers() -> bool:
            with redis.Redis(unix_socket_path=self.socket) as client:
                try:
                    return bool(client.ping())
                except redis.RedisError:
                    return False

        until(answers, "Redis")

    def stop(self) -> None:
        """Kill it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> RedisServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self._short, ignore_errors=True)
