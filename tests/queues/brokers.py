"""Real brokers on this machine: NATS, and the one of librdkafka, which speaks Kafka's protocol."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from waiting import until


def free_port() -> int:
    """A port that nobody uses."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def nats_server() -> Iterator[str]:
    """URL of a running NATS server with JetStream."""
    program = shutil.which("nats-server")
    if program is None:
        pytest.skip("nats-server is not installed")
    folder = tempfile.mkdtemp(prefix="ts-nats-")
    port = free_port()
    process = subprocess.Popen(
        [program, "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", folder], stderr=subprocess.DEVNULL
    )
    try:
        until(lambda: _answers(port), "NATS")
        yield f"nats://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as one:
            return one.recv(4) == b"INFO"
    except OSError:
        return False


_RABBITMQ = "/usr/lib/rabbitmq/bin/rabbitmq-server"


@contextmanager
def rabbitmq_server() -> Iterator[str]:
    """URL of a running RabbitMQ (Debian's package), whose node is nobody else's."""
    if not Path(_RABBITMQ).exists():
        pytest.skip("rabbitmq-server is not installed")
    folder = tempfile.mkdtemp(prefix="ts-rabbit-")
    port = free_port()
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": folder,
        "RABBITMQ_NODENAME": f"trisignal{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_MNESIA_BASE": folder,
        "RABBITMQ_LOG_BASE": folder,
        "RABBITMQ_PID_FILE": f"{folder}/pid",
        "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/plugins",
        "ERL_EPMD_PORT": str(free_port()),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
    }
    # Erlang's port mapper: ours, as the server would leave a daemon behind.
    mapper = subprocess.Popen(["epmd"], env=environ)
    with open(f"{folder}/out", "w") as out:
        process = subprocess.Popen([_RABBITMQ], env=environ, cwd=folder, stdout=out, stderr=out, start_new_session=True)
    try:
        until(lambda: _accepts(port, process), "RabbitMQ")
        yield f"amqp://guest:guest@127.0.0.1:{port}//"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        mapper.kill()
        mapper.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _accepts(port: int, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "RabbitMQ has ended"
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as one:
            one.sendall(b"AMQP\x00\x00\x09\x01")
            return bool(one.recv(1))
    except OSError:
        return False


@contextmanager
def kafka_broker() -> Iterator[str]:
    """Address of librdkafka's own broker: real sockets and record batches, nothing kept on disk."""
    kafka: Any = pytest.importorskip("confluent_kafka")
    # It lives as long as this client of it.
    holder = kafka.Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "ignored"})
    [broker] = holder.list_topics(timeout=60).brokers.values()
    yield f"{broker.host}:{broker.port}"
    del holder
