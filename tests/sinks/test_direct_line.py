"""Lines that are written without a record: the same bytes, and only where nobody would see the record."""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sinks.calls import ended
from thinning import examples

from trisignal.call import OUTCOMES, Call, Draft
from trisignal.export.log_file import LogFile
from trisignal.export.log_stream import LogStream
from trisignal.logs import ContextFilter, JsonFormatter
from trisignal.sinks._direct_line import DirectLine
from trisignal.sinks.json_log import JsonLogSink

_TEXT = st.text(st.characters(), max_size=12)
_NAMES = st.one_of(_TEXT, st.sampled_from(["name", "message", "level", "_hidden", "service.name", "llm_outcome", "a"]))
_VALUES = st.one_of(
    _TEXT, st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.lists(_TEXT, max_size=2).map(tuple),
    st.just("null"),
)  # fmt: skip


class Log:
    """A logger of its own with one handler, as setup() puts it up, and a sink on it."""

    def __init__(self, handler: logging.Handler, *, direct: bool) -> None:
        self.handler = handler
        handler.setFormatter(JsonFormatter(redactor=str, static_fields={"service.name": "chat"}))
        handler.addFilter(ContextFilter())
        self.logger = logging.Logger("trisignal.calls", logging.INFO)
        self.logger.addHandler(handler)
        self.sink = JsonLogSink(self.logger, 1.0, "chat")
        self.sink.own = handler
        self.written = 0
        if direct:
            self._line = DirectLine(self.logger, handler)
            self.sink.direct = self._write

    def _write(self, level: int, message: str, fields: Any) -> bool:
        done = self._line.write(level, message, fields)
        self.written += done
        return done

    def close(self, call: Call) -> None:
        """Log a call."""
        self.sink.close(Draft(call.operation), call)


def in_memory(*, direct: bool = True, kind: type[logging.StreamHandler[io.StringIO]] = logging.StreamHandler) -> Log:
    """A log that goes to a text in memory."""
    return Log(kind(io.StringIO()), direct=direct)


def text_of(log: Log) -> str:
    """What was written there."""
    stream: io.StringIO = log.handler.stream  # type: ignore[attr-defined]  # of a StreamHandler
    return stream.getvalue()


def untimed(lines: str) -> list[str]:
    """Lines without their times."""
    return [line.partition('","level"')[2] for line in lines.splitlines()]


@given(
    st.dictionaries(_NAMES, _VALUES, max_size=4),
    st.dictionaries(_NAMES, _VALUES, max_size=4),
    st.dictionaries(_NAMES, _TEXT, max_size=3),
    st.sampled_from(OUTCOMES),
)
@settings(max_examples=examples(300), deadline=None)
def test_a_direct_line_is_what_a_record_would_be(opening: Any, closing: Any, bound: Any, outcome: Any) -> None:
    """Whatever a call holds, its line has the same bytes with a record and without one."""
    call = ended(opening=opening, closing=closing, bound=bound, outcome=outcome)
    by_record, directly = in_memory(direct=False), in_memory()
    for log in (by_record, directly):
        log.close(call)
    assert untimed(text_of(directly)) == untimed(text_of(by_record)) != []


def test_ordinary_calls_are_written_directly() -> None:
    """A usual call needs no record."""
    log = in_memory()
    log.close(ended())
    log.close(ended(outcome="error", error_kind="server"))
    assert log.written == 2
    assert text_of(log).count("\n") == 2


def test_a_number_that_json_has_not_is_left_out() -> None:
    """Infinity and NaN are on no line."""
    log = in_memory()
    log.close(ended(closing={"low": math.nan, "high": math.inf, "real": 0.5}))
    assert '"real":0.5' in text_of(log)
    assert "low" not in text_of(log)
    assert "high" not in text_of(log)


@pytest.mark.parametrize("kind", [LogFile, logging.FileHandler])
def test_files_get_the_same_lines(tmp_path: Path, kind: Callable[[str], logging.Handler]) -> None:
    """The handlers of log files write what their records would be."""
    lines = []
    for direct in (False, True):
        path = tmp_path / str(direct)
        log = Log(kind(str(path)), direct=direct)
        log.close(ended())
        log.handler.close()
        log.close(ended())  # a closed file is opened again, or not, as its class has it
        log.handler.close()
        lines.append(untimed(path.read_text(encoding="utf-8")))
        assert log.written >= direct
    assert lines[0] == lines[1] != []


def test_standard_error_gets_the_same_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A stream is looked up at each line."""
    log = Log(LogStream("stderr"), direct=True)
    log.close(ended())
    assert log.written == 1
    assert '"llm_outcome":"ok"' in capsys.readouterr().err


class Seen(logging.Filter):
    """Notes the records that it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def filter(self, record: logging.LogRecord) -> bool:
        """Note a record."""
        self.records.append(record)
        return True


def _filter_on_logger(log: Log, seen: Seen, _: pytest.MonkeyPatch) -> None:
    log.logger.addFilter(seen)


def _filter_on_handler(log: Log, seen: Seen, _: pytest.MonkeyPatch) -> None:
    log.handler.addFilter(seen)


def _handler_above(log: Log, seen: Seen, _: pytest.MonkeyPatch) -> None:
    handler = logging.Handler()
    handler.addFilter(seen)
    handler.emit = lambda record: None  # type: ignore[method-assign]  # the filter has noted it
    log.logger.parent = logging.Logger("root")
    log.logger.parent.addHandler(handler)


def _record_factory(log: Log, seen: Seen, patch: pytest.MonkeyPatch) -> None:
    def make(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = logging.LogRecord(*args, **kwargs)
        seen.records.append(record)
        return record

    patch.setattr(logging, "_logRecordFactory", make)


def _replaced_method(log: Log, seen: Seen, patch: pytest.MonkeyPatch) -> None:
    def call(logger: logging.Logger, record: logging.LogRecord) -> None:
        seen.records.append(record)
        original(logger, record)

    original = logging.Logger.callHandlers
    patch.setattr(logging.Logger, "callHandlers", call)


def _replaced_emit(log: Log, seen: Seen, _: pytest.MonkeyPatch) -> None:
    original = log.handler.emit

    def emit(record: logging.LogRecord) -> None:
        seen.records.append(record)
        original(record)

    log.handler.emit = emit  # type: ignore[method-assign]


def _own_formatter(log: Log, seen: Seen, _: pytest.MonkeyPatch) -> None:
    class Formatter(JsonFormatter):
        def format(self, record: logging.LogRecord) -> str:
            seen.records.append(record)
            return super().format(record)

    log.handler.setFormatter(Formatter())


@pytest.mark.parametrize(
    "look",
    [
        _filter_on_logger, _filter_on_handler, _handler_above, _record_factory, _replaced_method, _replaced_emit,
        _own_formatter,
    ],
)  # fmt: skip
def test_whoever_looks_at_records_sees_those_of_calls(
    look: Callable[[Log, Seen, pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Filters, other handlers and formatters, record factories and replaced methods get a record, and the line is written."""
    log, seen = in_memory(), Seen()
    log.close(ended())
    look(log, seen, monkeypatch)
    log.close(ended())
    assert log.written == 1
    assert len(seen.records) == 1
    assert seen.records[0].__dict__["llm_outcome"] == "ok"
    assert text_of(log).count("\n") == 2


class OwnHandler(logging.StreamHandler[io.StringIO]):
    """A handler of the application's own class."""

    levels: list[int]

    def emit(self, record: logging.LogRecord) -> None:
        """Note the level, and write."""
        self.levels = [*getattr(self, "levels", ()), record.levelno]
        super().emit(record)


def test_a_handler_of_another_class_gets_records() -> None:
    """What a class of the application's does with a record is not known."""
    log = in_memory(kind=OwnHandler)
    log.close(ended())
    assert log.written == 0
    assert log.handler.levels == [logging.INFO]  # type: ignore[attr-defined]


def test_options_of_the_formatter_are_honoured() -> None:
    """A formatter that renames fields or lists attributes of records gets them."""
    log = in_memory()
    log.handler.setFormatter(JsonFormatter("%(levelno)s", rename_fields={"levelname": "severity"}))
    log.close(ended())
    assert '"severity":"INFO"' in text_of(log)
    assert '"levelno":20' in text_of(log)


def test_a_stream_that_cannot_be_written_is_the_handlers_to_handle(monkeypatch: pytest.MonkeyPatch) -> None:
    """The handler is given the record whose line could not be written, once."""
    handled: list[logging.LogRecord] = []
    monkeypatch.setattr(logging.Handler, "handleError", lambda handler, record: handled.append(record))
    log = in_memory()
    log.handler.stream.close()  # type: ignore[attr-defined]
    log.close(ended())
    [record] = handled
    assert record.__dict__["llm_outcome"] == "ok"
