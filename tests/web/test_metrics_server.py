"""The metrics page in many processes, and its own server."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import textwrap
import threading
import urllib.error
import urllib.request
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

# By name: the package may hold a function of the module's name.
page = importlib.import_module("trisignal.web.metrics_page")

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
parse_openmetrics: Any = openmetrics.text_string_to_metric_families


@pytest.fixture
def registry() -> CollectorRegistry:
    """A registry with a counter."""
    made = CollectorRegistry()
    Counter("shop_orders", "Orders", registry=made).inc(3)
    return made


def samples(text: str, parse: Any = parse_text) -> dict[tuple[str, str], float]:
    """Values by sample name and bucket bound."""
    return {(s.name, s.labels.get("le", "")): s.value for family in parse(text) for s in family.samples}


WORKERS = """
    import os, sys
    from prometheus_client import Counter, Gauge, Histogram

    orders = Counter("orders", "x", ["kind"])
    latency = Histogram("latency_seconds", "x", buckets=(0.1, 1.0))
    waiting = Gauge("waiting", "x", multiprocess_mode="sum")

    children = []
    for number in (1, 2, 3):
        child = os.fork()
        if child == 0:
            orders.labels("a").inc(number)
            latency.observe(0.05)
            latency.observe(0.5 * number)
            waiting.set(number)
            os._exit(0)
        children.append(child)
    for child in children:
        assert os.waitpid(child, 0)[1] == 0
    orders.labels("a").inc(10)

    from importlib import import_module
    from urllib.request import urlopen
    page = import_module("trisignal.web.metrics_page")
    server = page.serve_metrics()
    for _ in range(2):
        text = urlopen(server.url, timeout=60).read().decode()
    server.close()
    sys.stdout.write(text)
"""


@pytest.mark.parametrize("variable", ["PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"])
def test_forked_workers_are_added_up(tmp_path: Path, variable: str) -> None:
    """In multiprocess mode one process's page shows the sums over all, the ended ones included."""
    script = tmp_path / "workers.py"
    script.write_text(textwrap.dedent(WORKERS))
    files = tmp_path / "files"
    files.mkdir()
    environ = {**os.environ, variable: str(files), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", script], env=environ, capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    found = samples(done.stdout)
    assert found["orders_total", ""] == 16
    assert found["latency_seconds_bucket", "0.1"] == 3
    assert found["latency_seconds_bucket", "1.0"] == 5
    assert found["latency_seconds_count", ""] == 6
    assert found["waiting", ""] == 6


def test_the_server_serves_the_page_and_stops(registry: CollectorRegistry) -> None:
    """The server listens on loopback, answers from a daemon thread, and closes more than once quietly."""
    server = page.serve_metrics(registry=registry)
    try:
        assert server.url == f"http://127.0.0.1:{server.port}/metrics"
        threads = [t for t in threading.enumerate() if t.name == "trisignal-metrics"]
        assert [t.daemon for t in threads] == [True]
        request = urllib.request.Request(server.url, headers={"Accept": OPENMETRICS})
        with urllib.request.urlopen(request, timeout=60) as response:
            assert samples(response.read().decode(), parse_openmetrics)["shop_orders_total", ""] == 3
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(server.url, data=b"x", timeout=60)
        refused.value.close()
        assert refused.value.code == 405
    finally:
        server.close()
    server.close()
    threads[0].join(60)
    assert not threads[0].is_alive()
    with pytest.raises(OSError):
        HTTPConnection("127.0.0.1", server.port, timeout=5).connect()


def test_the_server_answers_while_another_client_is_silent(
    registry: CollectorRegistry, capfd: pytest.CaptureFixture[str]
) -> None:
    """A connection that says nothing, or goes away, holds nobody up and prints nothing."""
    server = page.serve_metrics(registry=registry)
    silent = HTTPConnection("127.0.0.1", server.port, timeout=60)
    silent.connect()
    try:
        with urllib.request.urlopen(server.url, timeout=60) as response:
            assert response.status == 200
    finally:
        silent.close()
        server.close()
    assert capfd.readouterr() == ("", "")


def test_a_port_in_use_is_an_error_of_the_caller(registry: CollectorRegistry) -> None:
    """Asking for a port that is taken raises OSError and starts nothing."""
    server = page.serve_metrics(registry=registry)
    try:
        with pytest.raises(OSError):
            page.serve_metrics(server.port, registry=registry)
    finally:
        server.close()
    assert not [t for t in threading.enumerate() if t.name == "trisignal-metrics"]


FORKING = """
    import os
    from importlib import import_module
    from urllib.request import urlopen
    page = import_module("trisignal.web.metrics_page")
    server = page.serve_metrics()
    ready, done = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.write(ready[1], b"x")
        os.read(done[0], 1)
        server.close()
        os._exit(0)
    os.read(ready[0], 1)
    assert urlopen(server.url, timeout=60).status == 200
    port = server.port
    server.close()
    # The child lives, and must not keep the port.
    again = page.serve_metrics(port)
    assert urlopen(again.url, timeout=60).status == 200
    again.close()
    os.write(done[1], b"x")
    assert os.waitpid(child, 0)[1] == 0
"""


def test_a_forked_child_does_not_keep_the_port(tmp_path: Path) -> None:
    """After a fork only the parent serves; the child holds no socket, and closing there is harmless."""
    script = tmp_path / "forking.py"
    script.write_text(textwrap.dedent(FORKING))
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", script], env=environ, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_importing_the_module_loads_nothing_heavy() -> None:
    """prometheus_client, asyncio and HTTP servers are imported when they are needed, not before."""
    # The package itself may import more: the module and what it needs are loaded on their own.
    code = (
        "import sys, types; p = types.ModuleType('trisignal'); p.__path__ = [sys.argv[1]]; "
        "sys.modules['trisignal'] = p; import trisignal.web.metrics_page; "
        "print([m for m in ('prometheus_client', 'asyncio', 'http.server', 'wsgiref') if m in sys.modules])"
    )
    package = Path(page.__file__ or "").parents[1]
    done = subprocess.run([sys.executable, "-c", code, package], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("[]\n", "")
