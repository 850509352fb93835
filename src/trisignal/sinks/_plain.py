"""Texts from anywhere, made harmless for terminals."""

from __future__ import annotations


def plain(text: str) -> str:
    """A text with everything that a terminal might interpret replaced.

    Args:
        text: From anywhere.
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in text)
