"""The JSON form of log records."""

from __future__ import annotations

import dataclasses
import enum
import io
import json
import logging
import re
import sys
from datetime import datetime, timedelta, timezone
from typing import Any, NoReturn

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from log_records import one, some_record
from opentelemetry.sdk.trace import TracerProvider

from trisignal import _guard
from trisignal._context import context
from trisignal.logs import JsonFormatter
from trisignal.logs.values import REDACTION_FAILED
from trisignal.semconv import RECORD_CLEAN

TRACER = TracerProvider().get_tracer("tests")


class Log:
    """A logger with one handler, and the lines it wrote."""

    def __init__(self, formatter: logging.Formatter | None = None) -> None:
        self.stream = io.StringIO()
        handler = logging.StreamHandler(self.stream)
        handler.setFormatter(formatter or JsonFormatter())
        self.logger = logging.Logger("tests.app")
        self.logger.addHandler(handler)

    @property
    def lines(self) -> list[str]:
        """Lines written so far."""
        return self.stream.getvalue().split("\n")[:-1]

    @property
    def records(self) -> list[dict[str, Any]]:
        """Lines written so far, each read by a strict JSON parser."""
        return [orjson.loads(line) for line in self.lines]


@pytest.fixture(params=["orjson", "json"])
def encoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Formatters made in the test encode with orjson, then without."""
    if request.param == "json":
        monkeypatch.setitem(sys.modules, "orjson", None)
    return str(request.param)


class Unprintable:
    """A value whose text cannot be had."""

    def __str__(self) -> NoReturn:
        raise RuntimeError("no text")

    __repr__ = __str__


def test_a_plain_record_has_time_level_logger_and_message_only(encoder: str) -> None:
    """Outside of traces and bound context no further key is invented."""
    log = Log()
    log.logger.warning("disk %s at %d %%", "sda", 93)
    (record,) = log.records
    assert list(record) == ["timestamp", "level", "logger", "message"]
    assert record["level"] == "WARNING"
    assert record["logger"] == "tests.app"
    assert record["message"] == "disk sda at 93 %"


def test_timestamps_are_rfc_3339_in_utc_with_milliseconds() -> None:
    """The creation time of the record is told like this."""
    assert one(some_record(created=1795230245.678))["timestamp"] == "2026-11-21T03:04:05.678Z"


@given(st.integers(1, 4 * 10**12), st.sampled_from([0, 1, 499, 500, 999]), st.integers(0, 3000))
def test_timestamps_agree_with_datetime(unix_ms: int, microseconds: int, later_ms: int) -> None:
    """Any two moments formatted by one formatter are told as they were, cut to the millisecond."""
    formatter = JsonFormatter()
    for milliseconds in (unix_ms, unix_ms + later_ms):
        moment = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(0, 0, microseconds, milliseconds)
        text = one(some_record(created=moment.timestamp()), formatter)["timestamp"]
        assert text == moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def test_extras_come_as_they_are(encoder: str) -> None:
    """Extras keep names with dots, types and nesting; private ones are left out."""
    extra = {
        "gen_ai.request.model": "gpt-4o",
        "n": 3,
        "x": 0.5,
        "ok": True,
        "none": None,
        "list": [1, {"a": "b"}],
    }
    log = Log()
    log.logger.info("call", extra={**extra, "_private": 1})
    (record,) = log.records
    assert {k: record[k] for k in extra} == extra
    assert "_private" not in record


def test_names_that_collide_are_moved_not_lost(encoder: str) -> None:
    """Extras and bound values with names of the record's own keys appear under longer ones."""
    log = Log()
    with context(name="n", level="l", msg="m"):
        log.logger.info("hello", extra={"level": 5, "timestamp": "then", "exception": "e", "logger": "g"})
    (record,) = log.records
    assert record["level"] == "INFO"
    assert record["logger"] == "tests.app"
    assert record["message"] == "hello"
    assert {k: v for k, v in record.items() if "." in k} == {
        "context.name": "n",
        "context.level": "l",
        "context.msg": "m",
        "extra.level": 5,
        "extra.timestamp": "then",
        "extra.exception": "e",
        "extra.logger": "g",
    }


def test_exception_text_is_told_and_redacted(encoder: str) -> None:
    """Traceback and message pass through the redactor; nothing of the secret is left."""
    log = Log(JsonFormatter(redactor=lambda text: text.replace("sk-secret", "[key]")))
    try:
        raise ValueError("bad key sk-secret\nsecond line")
    except ValueError as error:
        log.logger.exception("failed with %s", error, stack_info=True, extra={"error": error})
    (line,) = log.lines
    assert "sk-secret" not in line
    record = orjson.loads(line)
    assert record["message"].startswith("failed with bad key [key]")
    assert record["exception"].startswith("Traceback (most recent call last):")
    assert record["exception"].endswith("ValueError: bad key [key]\nsecond line")
    assert record["error"] == "ValueError: bad key [key]\nsecond line"
    assert record["stack"].startswith("Stack (most recent call last):")


def test_a_redactor_that_raises_drops_the_text_and_keeps_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail closed: metadata is told, the text is not, and the failure is counted."""
    monkeypatch.setattr(_guard.STATE, "strict", False)
    monkeypatch.setattr(_guard.STATE, "listener", None)
    _guard.STATE.counts.pop("logs.redactor", None)

    def broken(text: str) -> str:
        raise RuntimeError("no")

    log = Log(JsonFormatter(redactor=broken))
    try:
        raise ValueError("sk-secret")
    except ValueError:
        log.logger.exception("sk-secret", extra={"kept": 1})
    (line,) = log.lines
    record = orjson.loads(line)
    assert "sk-secret" not in line
    assert record["message"] == record["exception"] == REDACTION_FAILED
    assert record["level"] == "ERROR"
    assert record[REDACTION_FAILED] == 1, "a name that could not be redacted is dropped, its number stays"
    assert _guard.STATE.counts["logs.redactor"] == 4  # message, exception, name of the logger, name of the extra


def test_exc_info_without_an_exception_adds_nothing() -> None:
    """``exc_info=True`` outside of an except block does not invent an exception."""
    log = Log()
    log.logger.error("x", exc_info=True)
    assert "exception" not in log.records[0]


def test_formatting_leaves_the_record_as_it_was() -> None:
    """Other handlers see the same record: no attribute is set, no unredacted text is cached."""
    record = some_record(extra=1)
    before = dict(record.__dict__)
    with context(request_id="r1"):
        JsonFormatter().format(record)
    assert record.__dict__ == before


class Colour(enum.Enum):
    """An enumeration with plain values."""

    RED = "red"


@dataclasses.dataclass
class Point:
    """A value object."""

    x: int


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({1, 1}, "{1}"),
        (b"raw", "b'raw'"),
        (Point(3), "Point(x=3)"),
        (Colour.RED, "red"),
        (datetime(2026, 11, 21, 3, 4, 5, tzinfo=timezone.utc), "2026-11-21T03:04:05+00:00"),
        (float("nan"), None),
        ([float("-inf"), 1], [None, 1]),
        ({2: "two", None: "none"}, {"2": "two", "None": "none"}),
        ("\ud83d lone", "\ufffd lone"),
        (2**70, 2**70),
        (Unprintable(), "<unprintable Unprintable>"),
        ([Unprintable()], ["<unprintable Unprintable>"]),
    ],
)
def test_values_that_json_has_no_form_for(encoder: str, value: object, expected: object) -> None:
    """Whatever an extra holds has a defined form, the same with and without orjson."""
    line = JsonFormatter().format(some_record(value=value, after=1))
    loaded = json.loads(line)
    if isinstance(value, dict) and encoder == "json":
        expected = {"2": "two", "null": "none"}  # the standard library has a form of its own for such keys
    assert loaded["value"] == expected
    assert loaded["after"] == 1
    assert line.encode()


def test_a_value_that_holds_itself_is_told_once(encoder: str) -> None:
    """Cycles end, and the line is valid."""
    cycle: dict[str, Any] = {"a": 1}
    cycle["self"] = cycle
    assert one(some_record(value=cycle))["value"]["a"] == 1


def test_a_value_nested_too_deep_is_told_in_part(encoder: str) -> None:
    """Depth beyond any encoder's limit costs that value its form, not the record its line."""
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    record = json.loads(JsonFormatter().format(some_record(value=deep, after=1)))
    assert record["after"] == 1
    while deep:  # freed in one go it would exhaust the stack
        deep = deep.pop()


def test_numbers_too_long_to_print_do_not_cost_the_line(encoder: str) -> None:
    """A number that Python refuses to print is told in hexadecimal digits."""
    assert one(some_record(value=16**5000))["value"] == hex(16**5000)


def test_keys_that_are_no_text_become_text(encoder: str) -> None:
    """Extras under numbers are told under their text."""
    record = some_record(before=1)
    record.__dict__.update({7: "seven", "level": "moved"})  # type: ignore[dict-item]  # what a caller may do
    formatted = one(record)
    assert formatted["7"] == "seven"
    assert formatted["extra.level"] == "moved"
    assert formatted["before"] == 1


EXTRAS = st.dictionaries(
    st.text(max_size=12),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3)
            | st.frozensets(st.integers(), max_size=2)
        ),
        max_leaves=6,
    ),
    max_size=5,
)


@given(st.text(), EXTRAS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_record_is_one_line_that_a_strict_parser_reads(
    encoder: str, message: str, extras: dict[str, Any]
) -> None:
    """Any message and extras, lone surrogates and line ends of any kind among them, give one line."""
    record = some_record(**{k: v for k, v in extras.items() if k not in some_record().__dict__})
    record.msg = message
    line = JsonFormatter().format(record)
    assert len(line.splitlines()) == 1
    text = re.sub("[\ud800-\udfff]", "\ufffd", message)
    assert orjson.loads(line)["message"] == text


def test_line_ends_of_every_kind_stay_inside_the_line(encoder: str) -> None:
    """What any reader may take for the end of a line is escaped, and comes back."""
    ends = "a\nb\rc\x0bd\x0ce\x1cf\x1dg\x1eh\x85i\u2028j\u2029k"
    line = JsonFormatter().format(some_record(extra=ends))
    assert len(line.splitlines()) == 1
    assert orjson.loads(line)["extra"] == ends


def test_arguments_that_do_not_fit_the_message_are_still_told() -> None:
    """A mistake in a logging call loses nothing: template and arguments are both in the line."""
    log = Log()
    log.logger.info("only %d", "text")
    log.logger.info("none", Unprintable())
    assert [r["message"] for r in log.records] == ["only %d ('text',)", "none <unprintable tuple>"]


def test_a_mapping_as_message_becomes_fields() -> None:
    """``logger.info({...})`` tells its entries as fields and its ``message`` as message."""
    log = Log()
    log.logger.info({"message": "hello", "n": 1, "level": "moved"})
    (record,) = log.records
    assert (record["message"], record["n"], record["level"]) == ("hello", 1, "INFO")
    assert record["extra.level"] == "moved"


def test_records_made_by_hand_are_formatted() -> None:
    """Records that no logger made, or that lost their times and threads, do not fail."""
    assert one(logging.makeLogRecord({"msg": "x", "levelname": "INFO"}))["message"] == "x"
    assert one(some_record(thread=None, process=None))["message"] == "hello"


def test_options_of_the_base_are_honoured() -> None:
    """Renaming, static fields, defaults, prefix, listed attributes and arrays work together."""
    formatter = JsonFormatter(
        "%(asctime)s %(levelname)s %(lineno)d %(message)s %(absent)s",
        "%Y",
        prefix="@cee:",
        rename_fields={"levelname": "severity", "message": "@message", "trace_id": "traceId"},
        static_fields={"service": "chat", "n": "static"},
        defaults={"zone": "eu"},
        reserved_attrs=["secret", *logging.LogRecord("", 0, "", 0, "", (), None).__dict__],
        timestamp="@timestamp",
        exc_info_as_array=True,
        json_default=lambda value: "custom",
    )
    log = Log(formatter)
    try:
        raise ValueError("x")
    except ValueError:
        with TRACER.start_as_current_span("request"):
            log.logger.exception("hello", extra={"n": 1, "secret": 2, "odd": object()})
    assert log.lines[0].startswith("@cee:{")
    record = orjson.loads(log.lines[0].removeprefix("@cee:"))
    assert re.fullmatch(r"\d{4}-.*Z", record["@timestamp"])
    assert re.fullmatch(r"\d{4}", record["asctime"])
    assert isinstance(record["lineno"], int)
    assert (record["severity"], record["@message"]) == ("ERROR", "hello")
    assert (record["service"], record["zone"], record["n"], record["odd"]) == ("chat", "eu", 1, "custom")
    assert record["exception"][-1] == "ValueError: x"
    assert len(record["traceId"]) == 32
    assert not {"secret", "absent", "level", "message", "timestamp", "trace_id"} & record.keys()


def test_renamed_fields_that_are_missing_are_null_only_when_asked() -> None:
    """``rename_fields_keep_missing`` adds nulls, and nothing else does."""
    names = {"trace_id": "traceId"}
    assert "traceId" not in one(some_record(), JsonFormatter(rename_fields=names))
    kept = JsonFormatter(rename_fields=names, rename_fields_keep_missing=True)
    assert one(some_record(), kept)["traceId"] is None


def test_subclasses_may_process_the_fields() -> None:
    """`process_log_record` of a subclass has the last word on the fields."""

    class Mine(JsonFormatter):
        def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
            return {"only": log_data["message"]}

    assert one(some_record(), Mine()) == {"only": "hello"}


def test_a_call_record_costs_few_function_calls() -> None:
    """A record of one model call is formatted in fewer than 40 function calls, C functions included."""
    extras = {f"gen_ai.field.{n}": n for n in range(25)}
    own = {"trace_id": "a" * 32, "span_id": "b" * 16, "trace_flags": "01", "request_id": "r1"}
    record = some_record(**extras, **own, **{RECORD_CLEAN: True})
    formatter = JsonFormatter(redactor=str)
    calls = 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    with TRACER.start_as_current_span("request"), context(request_id="r1", tenant="acme"):
        formatter.format(record)
        before = sys.getprofile()
        sys.setprofile(count)
        try:
            formatter.format(record)
        finally:
            sys.setprofile(before)
    assert calls < 40
