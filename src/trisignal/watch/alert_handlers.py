"""Where alerts go: the log, a webhook, Slack and what takes its format. Called on threads of their own."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from time import sleep
from typing import Any, Literal, NamedTuple

from trisignal.config.checks import SECONDS, http_url, positive
from trisignal.web.requests import send

logger = logging.getLogger("trisignal.alerts")

TRIES = 3
FIRST_PAUSE_S = 1.0
"""Before the second try, in seconds; twice that before the third."""


class Alert(NamedTuple):
    """A rule begins or ceases to hold."""

    rule: str
    status: Literal["firing", "resolved"]
    signal: str
    group: str
    """Model, provider, cache or evaluation that it is about; "" for the whole process."""
    value: float
    """Value of the signal now."""
    limit: float
    samples: int
    """Samples in the window."""
    window_s: float
    started_unix_s: float
    """When it began to hold, as Unix time in seconds."""
    ended_unix_s: float | None
    """When it ceased to; None while it holds."""
    explanation: str = ""
    """What carries the change, from `TraceAnalyzer.compare`; only of alerts over a store."""
    examples: tuple[str, ...] = ()
    """Trace ids that show it."""

    @property
    def text(self) -> str:
        """One line for people."""
        about = f" of {self.group}" if self.group else ""
        why = f": {self.explanation}" if self.explanation else ""
        return (
            f"{self.status.upper()} {self.rule}: {self.signal}{about} is {self.value:.4g}, the limit is "
            f"{self.limit:.4g} ({self.samples} samples in {self.window_s:g} s){why}"
        )


Handler = Callable[[Alert], object]


def alert_to_log(alert: Alert) -> None:
    """Write an alert to the logger ``trisignal.alerts``: WARNING when it fires, INFO when it is resolved."""
    logger.log(logging.WARNING if alert.status == "firing" else logging.INFO, "%s", alert.text)


def alert_to_webhook(url: str, *, headers: Mapping[str, str] | None = None, timeout_s: float = 10.0) -> Handler:
    """A handler that posts each alert as JSON: the fields of `Alert`, ``text``, and times in ISO 8601 too.

    Args:
        url: Address, with ``http`` or ``https``.
        headers: Headers to send, e.g. ``Authorization``; they appear nowhere else.
        timeout_s: Longest wait for the connection and for each read, in seconds; a post is tried three times.

    Raises:
        ConfigError: The address or the timeout is wrong.
    """
    return _poster(url, headers, timeout_s, _plain)


def alert_to_slack(url: str, *, timeout_s: float = 10.0) -> Handler:
    """A handler for incoming webhooks of Slack, and of chats that take its format.

    Args:
        url: Address of the incoming webhook.
        timeout_s: Longest wait for the connection and for each read, in seconds; a post is tried three times.

    Raises:
        ConfigError: The address or the timeout is wrong.
    """
    return _poster(url, None, timeout_s, _slack)


def _plain(alert: Alert) -> dict[str, Any]:
    def iso(unix_s: float | None) -> str | None:
        return None if unix_s is None else datetime.fromtimestamp(unix_s, timezone.utc).isoformat(timespec="seconds")

    fields = {**alert._asdict(), "text": alert.text}
    return {**fields, "started_at": iso(alert.started_unix_s), "ended_at": iso(alert.ended_unix_s)}


def _slack(alert: Alert) -> dict[str, Any]:
    # Slack reads these three as markup: https://docs.slack.dev/messaging/formatting-message-text
    text = alert.text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return {"text": text}


def _poster(
    url: str, headers: Mapping[str, str] | None, timeout_s: float, body_of: Callable[[Alert], dict[str, Any]]
) -> Handler:
    post = poster(url, headers, timeout_s)
    return lambda alert: post(body_of(alert))


def poster(url: str, headers: Mapping[str, str] | None, timeout_s: float) -> Callable[[Mapping[str, Any]], None]:
    """A function that posts JSON, with three tries; redirects are not followed.

    Args:
        url: Address, with ``http`` or ``https``.
        headers: Headers to send.
        timeout_s: Longest wait for the connection and for each read, in seconds.

    Raises:
        ConfigError: The address or the timeout is wrong.
    """
    url, timeout_s = http_url("url", url), positive("timeout_s", timeout_s, SECONDS)
    sent = {"Content-Type": "application/json", **(headers or {})}

    def post(body: Mapping[str, Any]) -> None:
        # Loads much that a process without alerts can spare.
        from urllib.error import HTTPError
        from urllib.request import Request

        data = json.dumps(body).encode()
        pause_s = FIRST_PAUSE_S
        for left in reversed(range(TRIES)):
            try:
                with send(Request(url, data=data, headers=sent, method="POST"), timeout_s) as reply:
                    reply.read(1)
                return
            except OSError as error:
                moved = isinstance(error, HTTPError) and 300 <= error.code < 400
                if moved or not left:
                    raise
            sleep(pause_s)
            pause_s *= 2

    return post
