"""Pushing the metrics of a batch job to a Pushgateway, which keeps them for Prometheus to scrape."""

from __future__ import annotations

import atexit
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from trisignal import semconv as names
from trisignal.assembly.telemetry import running
from trisignal.config.checks import SECONDS, http_url, positive
from trisignal.errors import ConfigError
from trisignal.web import metrics_page

logger = logging.getLogger("trisignal.push")

_LABEL = re.compile(r"(?!__)[A-Za-z_][A-Za-z0-9_]*")
"""Names of labels: https://prometheus.io/docs/concepts/data_model/#metric-names-and-labels"""


def push(
    gateway_url: str,
    *,
    job: str,
    grouping: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = 10.0,
) -> bool:
    """Push trisignal's metrics now, in place of all that was pushed under the same job and grouping.

    Abandoned streams are settled first. With ``PROMETHEUS_MULTIPROC_DIR`` the metrics of all
    processes are pushed, the application's own included. A failure is logged and never raised.

    Args:
        gateway_url: Address of the Pushgateway, with ``http`` or ``https``.
        job: Label ``job`` of everything pushed.
        grouping: Further labels of everything pushed, e.g. ``{"instance": "nightly-eu"}``. What
            differs between runs does not belong here: the gateway forgets nothing.
        headers: Headers to send, e.g. ``Authorization``; they appear nowhere else.
        timeout_s: Longest wait for the connection and for each read, in seconds.

    Returns:
        Whether the gateway took the metrics.

    Raises:
        ConfigError: An argument has a wrong value.
    """
    return _prepared(gateway_url, job, grouping, headers, timeout_s)()


@contextmanager
def pushing(
    gateway_url: str,
    *,
    job: str,
    grouping: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = 10.0,
) -> Iterator[None]:
    """Run a block and push when it ends, also when it raises; arguments as for `push`."""
    send = _prepared(gateway_url, job, grouping, headers, timeout_s)
    try:
        yield
    finally:
        send()


def push_at_exit(
    gateway_url: str,
    *,
    job: str,
    grouping: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = 10.0,
) -> None:
    """Push when the interpreter exits; arguments as for `push`.

    Not when a signal ends the process, and not in forked children: they would replace what the
    parent pushes.
    """
    send, pid = _prepared(gateway_url, job, grouping, headers, timeout_s), os.getpid()

    def at_exit() -> None:
        if os.getpid() == pid:
            send()

    atexit.register(at_exit)


def _prepared(
    gateway_url: str,
    job: str,
    grouping: Mapping[str, str] | None,
    headers: Mapping[str, str] | None,
    timeout_s: float,
) -> Callable[[], bool]:
    """What pushes, its arguments having been checked."""
    gateway_url, timeout_s = http_url("gateway_url", gateway_url), positive("timeout_s", timeout_s, SECONDS)
    if not isinstance(job, str) or not job:
        raise ConfigError("job", job, "a name")
    for label, value in (grouping or {}).items():
        if not isinstance(label, str) or not _LABEL.fullmatch(label) or label == "job":
            raise ConfigError("grouping", label, "names of labels, other than job: letters, digits and _")
        if not isinstance(value, str):
            raise ConfigError(f"grouping[{label!r}]", value, "a text")
    key, added = dict(grouping or {}), list((headers or {}).items())
    return lambda: _send(gateway_url, job, key, added, timeout_s)


def _send(gateway_url: str, job: str, grouping: dict[str, str], added: list[tuple[str, str]], timeout_s: float) -> bool:
    from prometheus_client.exposition import default_handler, push_to_gateway

    telemetry = running()
    if telemetry is None or telemetry.registry is None:
        logger.warning("job %s: nothing is set up, so there is nothing to push", job)
        return False

    def handler(**request: Any) -> Callable[[], None]:
        return default_handler(**{**request, "headers": [*request["headers"], *added]})

    settings = telemetry.settings
    # What else is in the registry, e.g. the process's memory, says nothing once the job has ended.
    ours = names.sample_names(names.profile(settings.metric_profile), settings.metric_prefix)
    try:
        registry: Any = metrics_page.settled(telemetry.registry)
        if registry is telemetry.registry:
            registry = registry.restricted_registry(ours)
        push_to_gateway(gateway_url, job, registry, grouping, timeout_s, handler)
    except Exception as error:
        # Only the type: its text may hold the address, with a password in it.
        logger.warning("job %s: the metrics were not pushed: %s", job, type(error).__name__)
        return False
    return True
