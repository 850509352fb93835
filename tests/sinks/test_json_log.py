"""The log record of a call: its level, its fields, and when there is none."""

from __future__ import annotations

import io
import json
import logging
import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sinks.calls import SPAN, TRACE, ended

from trisignal import semconv as names
from trisignal.call import ERROR_KINDS, OUTCOMES, Call, Cost, Draft, Usage
from trisignal.sinks.json_log import JsonLogSink

OWN = frozenset(vars(logging.makeLogRecord({})))


class Kept(logging.Handler):
    """A handler that keeps the records it is given."""

    def __init__(self, level: int = logging.NOTSET) -> None:
        super().__init__(level)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        self.records.append(record)


@pytest.fixture(name="logger")
def _logger() -> logging.Logger:
    """A logger outside of the host's tree, deaf as the library leaves it: nothing but a NullHandler."""
    logger = logging.Logger("test.calls", logging.INFO)
    logger.parent = logging.Logger("test")
    logger.addHandler(logging.NullHandler())
    return logger


@pytest.fixture(name="kept")
def _kept(logger: logging.Logger) -> Kept:
    """The records that the logger's handler got."""
    handler = Kept()
    logger.addHandler(handler)
    return handler


def log(logger: logging.Logger, *calls: Call, ratio: float = 1.0) -> None:
    """Close calls on a sink of the logger."""
    sink = JsonLogSink(logger, ratio)
    for call in calls:
        sink.close(Draft(call.operation), call)


def extras(record: logging.LogRecord) -> dict[str, Any]:
    """What a record holds beyond what every record has."""
    return {
        name: value for name, value in vars(record).items() if name not in OWN and not name.startswith("_trisignal")
    }


def test_a_record_tells_the_facts_of_the_span(logger: logging.Logger, kept: Kept) -> None:
    """Everything that was on the span is on the record, under the same names."""
    log(logger, ended(usage=None, cost=None))
    [record] = kept.records
    assert extras(record) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.usage.input_tokens": 10,
        "duration_s": 0.6,
        "llm_outcome": "ok",
        "trace_id": TRACE,
        "span_id": SPAN,
        "trace_flags": "01",
    }


def test_the_message_is_readable(logger: logging.Logger, kept: Kept) -> None:
    """Without a formatter the record is one sentence: what, how it ended, how long it took."""
    log(logger, ended(span_name="chat 100%s"))
    [record] = kept.records
    assert record.getMessage() == "chat 100%s ok 0.600s"
    assert (record.name, record.levelno) == (logger.name, logging.INFO)


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("kind", ERROR_KINDS)
def test_the_level_tells_how_bad_it_is(logger: logging.Logger, kept: Kept, outcome: str, kind: str) -> None:
    """Errors are ERROR; rate limits, cancelled and abandoned calls WARNING; success INFO."""
    log(logger, ended(outcome=outcome, error_kind=kind if outcome == "error" else None))
    expected = {"ok": "INFO", "error": "WARNING" if kind == "rate_limit" else "ERROR"}
    assert kept.records[0].levelname == expected.get(outcome, "WARNING")


@pytest.mark.parametrize(("usage", "total"), [(Usage(10, 4), 14), (Usage(10), 10), (Usage(output=0), 0)])
def test_known_totals_are_told(logger: logging.Logger, kept: Kept, usage: Usage, total: int) -> None:
    """Total tokens and cost are fields of their own; one known side is enough."""
    log(logger, ended(usage=usage, cost=Cost(0.1, 0.2, 0.3, ())))
    fields = extras(kept.records[0])
    assert (fields["total_tokens"], fields["cost_usd"]) == (total, 0.3)


@pytest.mark.parametrize("usage", [None, Usage()])
def test_unknown_totals_are_absent(logger: logging.Logger, kept: Kept, usage: Usage | None) -> None:
    """What was not told is not a zero on the line."""
    log(logger, ended(usage=usage, cost=None))
    assert not {"total_tokens", "cost_usd"} & extras(kept.records[0]).keys()


def test_an_error_tells_kind_and_message(logger: logging.Logger, kept: Kept) -> None:
    """A failed call has its kind, and its text where policy let it through."""
    log(logger, ended(outcome="error", error_kind="timeout", error_message="too slow"))
    fields = extras(kept.records[0])
    assert (fields["llm_outcome"], fields["llm_error_kind"]) == ("error", "timeout")
    assert fields["error_message"] == "too slow"


def test_without_error_text_the_field_is_absent(logger: logging.Logger, kept: Kept) -> None:
    """An empty error message is not a field."""
    log(logger, ended(outcome="error", error_kind="timeout"))
    assert "error_message" not in extras(kept.records[0])


@pytest.mark.parametrize("trace_id", ["", "0" * 32])
def test_without_a_trace_there_are_no_ids(logger: logging.Logger, kept: Kept, trace_id: str) -> None:
    """An absent or invalid span leaves no ids that would point nowhere."""
    log(logger, ended(trace_id=trace_id, span_id=""))
    assert not {"trace_id", "span_id", "trace_flags"} & extras(kept.records[0]).keys()


def test_trace_flags_tell_that_a_span_was_not_sampled(logger: logging.Logger, kept: Kept) -> None:
    """The flags are the hexadecimal ones of W3C trace context."""
    log(logger, ended(sampled=False))
    assert extras(kept.records[0])["trace_flags"] == "00"


def test_bound_context_is_on_the_record(logger: logging.Logger, kept: Kept) -> None:
    """Request id and other bound values appear under their own names."""
    log(logger, ended(bound={"request_id": "r1", "tenant": "acme"}))
    fields = extras(kept.records[0])
    assert (fields["request_id"], fields["tenant"]) == ("r1", "acme")


@pytest.mark.parametrize("key", ["name", "msg", "args", "module", "message", "asctime", "taskName", "exc_info"])
def test_bound_context_never_replaces_what_records_have(logger: logging.Logger, kept: Kept, key: str) -> None:
    """A bound value named like an attribute of log records gets a prefix."""
    log(logger, ended(bound={key: "mine"}))
    [record] = kept.records
    assert vars(record)["llm_" + key] == "mine"
    assert (record.getMessage(), record.name) == ("chat small ok 0.600s", logger.name)


def test_bound_context_never_replaces_facts_of_the_call(logger: logging.Logger, kept: Kept) -> None:
    """A bound value named like a field of ours gets a prefix."""
    log(logger, ended(bound={"duration_s": "mine", "trace_id": "mine"}))
    fields = extras(kept.records[0])
    assert (fields["duration_s"], fields["llm_duration_s"]) == (0.6, "mine")
    assert (fields["trace_id"], fields["llm_trace_id"]) == (TRACE, "mine")


@pytest.mark.parametrize("part", ["opening", "closing"])
def test_attributes_never_replace_what_records_have(logger: logging.Logger, kept: Kept, part: str) -> None:
    """An attribute set by hand with a reserved name gets a prefix too."""
    log(logger, ended(**{part: {"args": "mine", "levelname": "mine"}}))
    fields = extras(kept.records[0])
    assert (fields["llm_args"], fields["llm_levelname"]) == ("mine", "mine")
    assert kept.records[0].getMessage() == "chat small ok 0.600s"


def test_stages_have_no_record(logger: logging.Logger, kept: Kept) -> None:
    """A stage is told on the line of the call around it."""
    log(logger, ended(operation="stage"))
    assert kept.records == []


@pytest.mark.parametrize("operation", ["execute_tool", "invoke_agent", "invoke_workflow", "retrieval"])
def test_all_other_operations_have_one(logger: logging.Logger, kept: Kept, operation: str) -> None:
    """Tools, agents, workflows and retrievals are logged like model calls."""
    log(logger, ended(operation=operation, span_name=operation))
    assert [record.getMessage() for record in kept.records] == [f"{operation} ok 0.600s"]


@pytest.mark.parametrize(("level", "told"), [(logging.DEBUG, True), (logging.INFO, False)])
def test_content_needs_debug(logger: logging.Logger, kept: Kept, level: int, told: bool) -> None:
    """Captured content is on the record only while the logger is enabled for DEBUG."""
    logger.setLevel(level)
    log(logger, ended(content={names.INPUT_MESSAGES: "[]"}))
    [record] = kept.records
    assert (names.INPUT_MESSAGES in extras(record), record.levelno) == (told, logging.INFO)


def test_success_is_sampled_by_trace_and_failure_is_not(logger: logging.Logger, kept: Kept) -> None:
    """At ratio 0 only the failures are left."""
    log(logger, *[ended(outcome=outcome) for outcome in OUTCOMES], ratio=0.0)
    assert [extras(record)["llm_outcome"] for record in kept.records] == ["error", "cancelled", "abandoned"]


def test_lines_of_one_trace_are_kept_or_dropped_together(logger: logging.Logger, kept: Kept) -> None:
    """The trace id alone decides: its low half below the ratio is kept, above it is not."""
    low, high = "f" * 16 + "1" * 16, "1" * 16 + "f" * 16
    log(logger, *[ended(trace_id=trace_id) for trace_id in (low, high, low, high)], ratio=0.5)
    assert [extras(record)["trace_id"] for record in kept.records] == [low, low]


def refuse(*_: object) -> None:
    """A record factory that must not be called."""
    raise AssertionError


def test_a_deaf_logger_builds_nothing(logger: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing but NullHandlers up to the root no record is made."""
    monkeypatch.setattr(logging, "getLogRecordFactory", lambda: refuse)
    log(logger, ended())
    logger.addHandler(Kept())
    with pytest.raises(AssertionError):
        log(logger, ended())


@pytest.mark.parametrize("at_the_logger", [True, False])
def test_levels_stop_a_record_early(
    logger: logging.Logger, monkeypatch: pytest.MonkeyPatch, at_the_logger: bool
) -> None:
    """A record that the logger or all of its handlers would turn down is not made."""
    monkeypatch.setattr(logging, "getLogRecordFactory", lambda: refuse)
    logger.addHandler(Kept(logging.NOTSET if at_the_logger else logging.ERROR))
    logger.setLevel(logging.ERROR if at_the_logger else logging.INFO)
    log(logger, ended())
    with pytest.raises(AssertionError):
        log(logger, ended(outcome="error"))


def test_handlers_above_are_heard(logger: logging.Logger) -> None:
    """A handler of a parent gets the record, unless propagation is off."""
    above = Kept()
    assert logger.parent is not None
    logger.parent.addHandler(above)
    log(logger, ended())
    logger.propagate = False
    log(logger, ended())
    assert len(above.records) == 1


def test_filters_of_the_logger_apply(logger: logging.Logger, kept: Kept) -> None:
    """The host's filters see the finished record and may drop it."""
    seen: list[Any] = []

    def drop(record: logging.LogRecord) -> bool:
        seen.append(vars(record)["duration_s"])
        return False

    logger.addFilter(drop)
    log(logger, ended())
    assert (seen, kept.records) == ([0.6], [])


def test_the_record_factory_of_the_host_is_used(logger: logging.Logger, kept: Kept) -> None:
    """A factory set by the host makes our records too."""
    before = logging.getLogRecordFactory()

    def factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = before(*args, **kwargs)
        vars(record)["host_field"] = "here"
        return record

    logging.setLogRecordFactory(factory)
    try:
        log(logger, ended())
    finally:
        logging.setLogRecordFactory(before)
    assert extras(kept.records[0])["host_field"] == "here"


NAMES = st.text(max_size=8)
VALUES = st.one_of(
    st.text(max_size=8), st.booleans(), st.integers(), st.floats(), st.lists(st.text(max_size=4)).map(tuple)
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.text(max_size=8), VALUES), st.dictionaries(st.text(max_size=8), st.text(max_size=8)))
def test_every_record_is_valid_json(logger: logging.Logger, facts: dict[str, Any], bound: dict[str, str]) -> None:
    """Whatever was set or bound, the extras are strict JSON and lose nothing but non-numbers."""
    handler = Kept()
    logger.addHandler(handler)
    try:
        log(logger, ended(opening={}, closing=facts, bound=bound))
    finally:
        logger.removeHandler(handler)
    line = json.loads(json.dumps(extras(handler.records[0]), allow_nan=False))
    for name, value in facts.items():
        if not (isinstance(value, float) and not math.isfinite(value)):
            assert name in line or "llm_" + name in line
    for name, value in bound.items():
        assert value in (line.get(name), line.get("llm_" + name))


def test_stdlib_formatting_works(logger: logging.Logger) -> None:
    """A plain formatter can print the record, dotted fields and all."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s %(duration_s)s %(filename)s|"))
    logger.addHandler(handler)
    log(logger, ended())
    assert stream.getvalue() == "INFO chat small ok 0.600s 0.6 |\n"


def test_what_logging_disable_keeps_back_is_counted(logger: logging.Logger, kept: Kept) -> None:
    """A line that was asked for and is kept back by the host is not a line that was never asked for."""
    logger.manager = logging.Manager(logging.RootLogger(logging.WARNING))
    sink, lines = JsonLogSink(logger, 1.0), []
    sink.own, sink.silenced = kept, lambda: lines.append(1)
    call = ended()
    logger.manager.disable = logging.INFO
    sink.close(Draft(call.operation), call)
    assert (kept.records, lines) == ([], [1])
    logger.manager.disable = logging.NOTSET
    logger._cache.clear()  # type: ignore[attr-defined]  # as `logging.disable` does
    sink.close(Draft(call.operation), call)
    assert (len(kept.records), lines) == (1, [1])


def test_lines_that_were_disabled_before_are_not_missed(logger: logging.Logger, kept: Kept) -> None:
    """Whoever has switched logging off before setup() has asked for no lines: none is counted as lost."""
    logger.manager = logging.Manager(logging.RootLogger(logging.WARNING))
    logger.manager.disable = logging.CRITICAL
    sink, lines = JsonLogSink(logger, 1.0), []
    sink.own, sink.silenced = kept, lambda: lines.append(1)
    call = ended()
    sink.close(Draft(call.operation), call)
    assert (kept.records, lines) == ([], [])
