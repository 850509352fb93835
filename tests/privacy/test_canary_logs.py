"""Canaries in the application's own log records."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable
from pathlib import PurePosixPath

import pytest
from privacy.leaving import ALL, MARKS, WORD

import trisignal
from trisignal.testing import capture

LOG = logging.getLogger("shop")


def in_the_message() -> None:
    LOG.warning(f"said {ALL}")


def in_the_arguments() -> None:
    LOG.warning("said %s and %r", ALL, {"deep": [ALL]})


def in_a_message_that_is_no_text() -> None:
    LOG.warning(ValueError(ALL))


def in_the_exception() -> None:
    try:
        try:
            raise KeyError(ALL)
        except KeyError as cause:
            raise ValueError(ALL) from cause
    except ValueError:
        LOG.exception("failed")


def in_an_exception_as_extra() -> None:
    LOG.warning("x", extra={"error": ValueError(ALL)})


REDACTED = (
    in_the_message, in_the_arguments, in_a_message_that_is_no_text, in_the_exception, in_an_exception_as_extra,
)  # fmt: skip


def in_an_extra() -> None:
    LOG.warning("x", extra={"who": ALL})


def in_a_nested_extra() -> None:
    LOG.warning("x", extra={"order": {"who": [ALL]}})


def in_an_object_as_extra() -> None:
    LOG.warning("x", extra={"path": PurePosixPath(ALL)})


def in_the_name_of_an_extra() -> None:
    LOG.warning("x", extra={ALL: 1})


def in_an_entry_of_a_mapping() -> None:
    LOG.warning({"message": "x", "who": ALL})


def in_bound_values() -> None:
    with trisignal.context(user_id=ALL, tenant=ALL):
        LOG.warning("x")


def in_the_name_of_the_logger() -> None:
    logging.getLogger(f"shop.{ALL}").warning("x")


FIELDS = (
    in_an_extra, in_a_nested_extra, in_an_object_as_extra, in_the_name_of_an_extra, in_an_entry_of_a_mapping,
    in_bound_values, in_the_name_of_the_logger,
)  # fmt: skip


@pytest.mark.parametrize(
    "say",
    [*REDACTED, *FIELDS],
    ids=lambda say: say.__name__,
)
def test_application_lines_are_redacted(say: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``logs="root"`` no secret is in a line of the application, wherever in the record it stood."""
    printed = io.StringIO()
    monkeypatch.setattr("sys.stderr", printed)
    with capture(logs="root"):
        say()
    line = printed.getvalue()
    assert json.loads(line)["level"] in ("WARNING", "ERROR")
    assert not [mark for mark in MARKS if mark in line]


def test_contained_errors_do_not_quote(caplog: pytest.LogCaptureFixture) -> None:
    """What the library logs of an error of its own, at any level, holds neither secret nor prompt."""

    class Failing:
        name = "failing"

        def open(self, draft: object) -> None:
            raise RuntimeError(f"{ALL} {WORD}")

        def close(self, draft: object, call: object) -> None:
            raise RuntimeError(f"{ALL} {WORD}")

    from trisignal.assembly import telemetry

    caplog.set_level(logging.DEBUG)
    with capture(strict=False):
        telemetry.add_sink(Failing())
        with trisignal.llm(provider="p", model="m"):
            pass
    assert "contained an internal error" in caplog.text
    told = caplog.text + "".join(str(vars(record)) for record in caplog.records)
    assert not [mark for mark in (*MARKS, WORD) if mark in told]


def test_a_broken_redactor_blanks_application_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail closed: where the redactor raises the line is told without its text."""

    def broken(text: str) -> str:
        raise RuntimeError(text)

    printed = io.StringIO()
    monkeypatch.setattr("sys.stderr", printed)
    with capture(logs="root", redactor=broken, strict=False):
        LOG.warning("said %s", WORD)
    assert WORD not in printed.getvalue()
    assert '"level":"WARNING"' in printed.getvalue()


@pytest.mark.parametrize("name", ["trace_id", "span_id", "trace_flags"])
def test_an_extra_named_like_an_id_is_redacted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An application may use these names for what it likes: only hexadecimal ids pass unread."""
    printed = io.StringIO()
    monkeypatch.setattr("sys.stderr", printed)
    with capture(logs="root"):
        LOG.warning("x", extra={name: ALL})
    assert not [mark for mark in MARKS if mark in printed.getvalue()]
