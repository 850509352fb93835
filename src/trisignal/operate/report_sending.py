"""Sends a review: to a file, to a webhook, to Slack and to chats that take its format."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from trisignal.config.checks import http_url
from trisignal.errors import ConfigError
from trisignal.watch.alert_handlers import poster

Target = Literal["file", "slack", "webhook"]
TARGETS: tuple[str, ...] = get_args(Target)
MOST_SLACK = 38_000
"""Characters of a message: Slack cuts at 40,000."""
_ESCAPED = re.compile(r"\\([\\`*\[\]<>#|~!&$@_:.\-+=])")
_RULE = re.compile(r"^\|[\s:|-]+\|$")
_CUT = "\n… (cut)"


def send_report(page: str, to: Target, address: str, headers: Mapping[str, str] | None = None) -> None:
    """Send a page.

    Args:
        page: The review as Markdown.
        to: Where to.
        address: Path of the file, or URL of the webhook.
        headers: Sent to a webhook.

    Raises:
        ConfigError: The address cannot be used.
        OSError: It could not be delivered, after three tries.
    """
    if to == "file":
        try:
            Path(address).write_text(page, encoding="utf-8")
        except OSError as error:
            raise ConfigError("--output", address, f"a file that can be written ({error.strerror})") from None
        return
    body: dict[str, Any] = {"text": slack_text(page)}
    if to == "webhook":
        title = page.partition("\n")[0].lstrip("# ")
        body = {"title": title, "markdown": page}
    poster(http_url("--address", address), headers if to == "webhook" else None, 30.0)(body)


def slack_text(page: str) -> str:
    """Markdown as Slack's own markup: titles in bold, tables in columns of fixed width.

    Args:
        page: The review as Markdown; what came from outside is escaped in it.
    """
    lines: list[str] = []
    table: list[list[str]] = []
    for line in [*page.splitlines(), ""]:
        if line.startswith("|"):
            if not _RULE.match(line):
                table.append([_plain(cell.strip()) for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
            continue
        if table:
            lines += ["```", *_columns(table), "```"]
            table = []
        title = re.match(r"#+ (.*)", line)
        lines.append(f"*{_plain(title[1])}*" if title else _plain(line))
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
    if len(text) <= MOST_SLACK:
        return text
    cut = text[: text.rindex("\n", 0, MOST_SLACK)]
    return cut + ("\n```" if cut.count("```") % 2 else "") + _CUT


def _plain(text: str) -> str:
    """A text without Markdown's escapes, and with those of Slack: nothing from outside is markup or a mention."""
    text = _ESCAPED.sub(r"\1", text).replace("`", "'")
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _columns(table: list[list[str]]) -> list[str]:
    widths = [max(len(row[at]) if at < len(row) else 0 for row in table) for at in range(max(map(len, table)))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in table]
