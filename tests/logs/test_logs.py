"""Ids and bound context on log records, and the JSON form of records."""

from __future__ import annotations

import asyncio
import io
import logging
import logging.config
import logging.handlers
import pickle
import queue
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest
import structlog
from log_records import one, some_record
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from trisignal._context import bound, context
from trisignal.logs import (
    COMPLETE,
    ContextFilter,
    JsonFormatter,
    structlog_processor,
    structlog_redactor,
)

TRACER = TracerProvider().get_tracer("tests")
IDS = {"trace_id", "span_id", "trace_flags"}


class Log:
    """A real logger with one handler, and the lines it wrote."""

    def __init__(self, formatter: logging.Formatter, name: str = "tests.app") -> None:
        self.stream = io.StringIO()
        self.handler = logging.StreamHandler(self.stream)
        self.handler.setFormatter(formatter)
        self.logger = logging.getLogger(name)
        self.logger.propagate = False
        self.logger.setLevel(logging.DEBUG)
        self.logger.addHandler(self.handler)

    @property
    def lines(self) -> list[str]:
        """Lines written so far."""
        return self.stream.getvalue().split("\n")[:-1]

    @property
    def records(self) -> list[dict[str, Any]]:
        """Lines written so far, each read by a strict JSON parser."""
        return [orjson.loads(line) for line in self.lines]


@pytest.fixture
def make_log() -> Iterator[Callable[..., Log]]:
    """Makes loggers, and takes their handlers off after the test."""
    made: list[Log] = []

    def make(formatter: logging.Formatter | None = None, name: str = "tests.app") -> Log:
        made.append(Log(formatter or JsonFormatter(), name))
        return made[-1]

    yield make
    for log in made:
        log.logger.removeHandler(log.handler)
        log.logger.propagate = True
    assert dict(bound.get()) == {}


def ids_of_current_span() -> dict[str, str]:
    """The ids that a record inside the current span must carry."""
    span = trace.get_current_span().get_span_context()
    return {
        "trace_id": format(span.trace_id, "032x"),
        "span_id": format(span.span_id, "016x"),
        "trace_flags": format(span.trace_flags, "02x"),
    }


def test_records_inside_a_span_carry_its_ids(make_log: Any) -> None:
    """Trace id, span id and flags are those of the current span, in hexadecimal digits."""
    log = make_log()
    with TRACER.start_as_current_span("request"):
        expected = ids_of_current_span()
        log.logger.info("inside")
    log.logger.info("outside")
    inside, outside = log.records
    assert {key: inside[key] for key in IDS} == expected
    assert re.fullmatch(r"[0-9a-f]{32} [0-9a-f]{16} [0-9a-f]{2}", " ".join(expected.values()))
    assert not IDS & outside.keys()


def test_records_carry_request_id_and_bound_context(make_log: Any) -> None:
    """Request id, conversation, user and dimensions are on every record inside the block."""
    log = make_log()
    with context(request_id="r1", conversation_id="c1", user_id="u1", tenant="acme"):
        log.logger.info("inside")
    log.logger.info("outside")
    inside, outside = log.records
    assert {k: v for k, v in inside.items() if k not in outside} == {
        "request_id": "r1",
        "conversation_id": "c1",
        "user.id": "u1",
        "tenant": "acme",
    }


def test_ids_of_the_record_win_over_those_of_the_moment() -> None:
    """A record that brings its own trace, span and request id is not touched by the current ones."""
    own = {"trace_id": "a" * 32, "span_id": "b" * 16, "trace_flags": "01", "request_id": "mine"}
    record = some_record(**own)
    with TRACER.start_as_current_span("other"), context(request_id="other", tenant="other"):
        formatted = one(record)
        assert ContextFilter().filter(record)
    assert {key: formatted[key] for key in own} == own
    assert "tenant" not in formatted  # bound to another request
    assert "tenant" not in record.__dict__


def test_own_trace_id_is_never_mixed_with_the_current_span() -> None:
    """A record with a trace id but no span id gets no span id of another trace."""
    with TRACER.start_as_current_span("other"):
        formatted = one(some_record(trace_id="a" * 32))
    assert formatted["trace_id"] == "a" * 32
    assert "span_id" not in formatted
    assert "trace_flags" not in formatted


def test_a_complete_record_is_left_as_it_is() -> None:
    """The marker attribute keeps the context of the moment off a record, and is not shown."""
    with TRACER.start_as_current_span("other"), context(request_id="other"):
        formatted = one(some_record(**{COMPLETE: True}))
    assert set(formatted) == {"timestamp", "level", "logger", "message"}


def test_a_filter_with_bound_names_of_record_attributes_does_not_break_records(make_log: Any) -> None:
    """A bound value named like a record attribute never replaces that attribute."""
    log = make_log(logging.Formatter("%(levelname)s %(name)s %(message)s"))
    log.handler.addFilter(ContextFilter())
    with context(name="n", levelname="l", message="m", args="a", exc_info="e"):
        log.logger.info("hello %s", "you")
    assert log.lines == ["INFO tests.app hello you"]


def test_a_filter_serves_formatters_of_the_standard_library(make_log: Any) -> None:
    """With the filter on the handler a format string may name ids; outside its default is used."""
    form = logging.Formatter("%(message)s %(trace_id)s %(request_id)s", defaults={"trace_id": "-", "request_id": "-"})
    log = make_log(form)
    log.handler.addFilter(ContextFilter())
    with TRACER.start_as_current_span("request"), context(request_id="r1"):
        trace_id = ids_of_current_span()["trace_id"]
        log.logger.info("inside")
    log.logger.info("outside")
    assert log.lines == [f"inside {trace_id} r1", "outside - -"]


def test_a_filter_on_the_handler_sees_records_of_child_loggers(make_log: Any) -> None:
    """Records of child loggers carry the ids too."""
    log = make_log(logging.Formatter("%(name)s %(request_id)s"))
    log.handler.addFilter(ContextFilter())
    with context(request_id="r1"):
        logging.getLogger("tests.app.deep.child").warning("x")
    assert log.lines == ["tests.app.deep.child r1"]


def test_a_filter_limits_by_logger_name_like_any_filter(make_log: Any) -> None:
    """Given a name, the filter passes records of that logger and its children only."""
    log = make_log(logging.Formatter("%(name)s"))
    log.handler.addFilter(ContextFilter("tests.app.kept"))
    logging.getLogger("tests.app.kept").warning("x")
    logging.getLogger("tests.app.other").warning("x")
    assert log.lines == ["tests.app.kept"]


@pytest.mark.parametrize("with_filter", [True, False])
def test_records_through_a_queue_never_get_the_context_of_the_listener(make_log: Any, with_filter: bool) -> None:
    """Formatted in another thread, a record has the context of its origin or none at all."""
    log = make_log(name="tests.listener")
    waiting: queue.Queue[Any] = queue.Queue()
    sender = logging.handlers.QueueHandler(waiting)
    if with_filter:
        sender.addFilter(ContextFilter())
    source = logging.getLogger("tests.source")
    source.addHandler(sender)
    try:
        with context(request_id="origin"):
            source.warning("hello")

        def listen() -> None:
            with context(request_id="listener"), TRACER.start_as_current_span("listener"):
                log.handler.handle(waiting.get(timeout=60))

        thread = threading.Thread(target=listen)
        thread.start()
        thread.join(10)
    finally:
        source.removeHandler(sender)
    (record,) = log.records
    assert record.get("request_id") == ("origin" if with_filter else None)
    assert "trace_id" not in record


def test_records_of_another_process_do_not_get_the_context_of_this_one() -> None:
    """A record unpickled from a socket keeps what it brought and gets nothing added."""
    sent = some_record(process=1, tenant="theirs")
    received = logging.makeLogRecord(pickle.loads(pickle.dumps(sent.__dict__)))
    with context(request_id="here"):
        formatted = one(received)
    assert formatted["tenant"] == "theirs"
    assert "request_id" not in formatted


def test_threads_log_their_own_context(make_log: Any) -> None:
    """Concurrent threads share a handler, and each record has the ids of its own thread."""
    log = make_log()
    start = threading.Barrier(8, timeout=60)

    def work(name: str) -> None:
        start.wait()
        for _ in range(50):
            with context(request_id=name), TRACER.start_as_current_span(name):
                log.logger.info("x", extra={"expected": {**ids_of_current_span(), "request_id": name}})

    threads = [threading.Thread(target=work, args=(f"r{i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(log.records) == 400
    assert all({k: r[k] for k in r["expected"]} == r["expected"] for r in log.records)


def test_tasks_log_their_own_context(make_log: Any) -> None:
    """Interleaved tasks on one thread each log their own request id and span."""
    log = make_log()

    async def work(name: str) -> None:
        with context(request_id=name), TRACER.start_as_current_span(name):
            for _ in range(5):
                log.logger.info("x", extra={"expected": {**ids_of_current_span(), "request_id": name}})
                await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(*(work(f"r{i}") for i in range(10)))

    asyncio.run(main())
    assert len({r["request_id"] for r in log.records}) == 10
    assert all({k: r[k] for k in r["expected"]} == r["expected"] for r in log.records)


def test_logging_can_be_configured_from_a_dictionary(capsys: pytest.CaptureFixture[str]) -> None:
    """`logging.config.dictConfig` makes formatter and filter by their names."""
    before = logging.getLogger("tests.configured")
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"json": {"()": "trisignal.logs.JsonFormatter", "static_fields": {"service": "chat"}}},
            "filters": {"context": {"()": "trisignal.logs.ContextFilter"}},
            "handlers": {
                "out": {
                    "class": "logging.StreamHandler",
                    "stream": "ext://sys.stdout",
                    "formatter": "json",
                    "filters": ["context"],
                }
            },
            "loggers": {"tests.configured": {"handlers": ["out"], "level": "INFO", "propagate": False}},
        }
    )
    try:
        with context(request_id="r1"):
            before.info("hello")
    finally:
        before.handlers.clear()
        before.propagate = True
    record = orjson.loads(capsys.readouterr().out)
    assert (record["service"], record["request_id"]) == ("chat", "r1")


@pytest.fixture
def _structlog_defaults() -> Iterator[None]:
    yield
    structlog.reset_defaults()


@pytest.mark.usefixtures("_structlog_defaults")
def test_structlog_events_carry_the_same_fields() -> None:
    """The processor adds ids and bound context, and keeps what the event has."""
    written: list[Any] = []

    def last(logger: Any, method_name: str, event_dict: Any) -> Any:
        written.append(dict(event_dict))
        raise structlog.DropEvent

    structlog.configure(processors=[structlog_processor, last])
    log = structlog.get_logger()
    with TRACER.start_as_current_span("request"), context(request_id="r1", tenant="acme"):
        expected = ids_of_current_span()
        log.info("inside", tenant="own")
    log.info("outside")
    assert written == [
        {"event": "inside", "tenant": "own", "request_id": "r1", **expected},
        {"event": "outside"},
    ]


@pytest.mark.usefixtures("_structlog_defaults")
def test_structlog_over_standard_logging_gives_the_same_line(make_log: Any) -> None:
    """structlog rendering to the standard library ends in the same JSON as the application's own."""
    log = make_log()
    structlog.configure(
        processors=[structlog_processor, structlog.stdlib.render_to_log_kwargs],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    with TRACER.start_as_current_span("request"), context(request_id="r1"):
        expected = ids_of_current_span()
        structlog.get_logger("tests.app").info("hello", model="gpt-4o")
    (record,) = log.records
    assert record["message"] == "hello"
    assert record["model"] == "gpt-4o"
    assert {k: record[k] for k in (*IDS, "request_id")} == {**expected, "request_id": "r1"}


@pytest.mark.usefixtures("_structlog_defaults")
def test_structlog_events_are_redacted() -> None:
    """Messages, tracebacks, names and values of fields pass the redactor, however deep; ids stay."""
    written: list[Any] = []

    def last(logger: Any, method_name: str, event_dict: Any) -> Any:
        written.append(dict(event_dict))
        raise structlog.DropEvent

    redactor = structlog_redactor(lambda text: text.replace("secret", "***"))
    structlog.configure(processors=[structlog_processor, structlog.processors.format_exc_info, redactor, last])
    log = structlog.get_logger()
    with TRACER.start_as_current_span("request"), context(tenant="secret inc"):
        expected = ids_of_current_span()
        try:
            raise ValueError("secret")
        except ValueError:
            log.exception("a secret", message="secret", deep=[{"secret": ["secret", 7]}], secret=1.5)
    (event,) = written
    assert "secret" not in repr(event)
    assert expected.items() <= event.items()
    assert (event["deep"], event["***"], event["event"]) == ([{"***": ["***", 7]}], 1.5, "a ***")


@pytest.mark.usefixtures("_structlog_defaults")
def test_structlog_redactor_fails_closed() -> None:
    """Where the redactor raises, no text is shown and the event goes on."""
    events: list[Any] = []

    def broken(text: str) -> str:
        raise RuntimeError(text)

    def last(logger: Any, method_name: str, event_dict: Any) -> Any:
        events.append(dict(event_dict))
        raise structlog.DropEvent

    structlog.configure(processors=[structlog_redactor(broken), last])
    structlog.get_logger().info("a secret", order=7)
    assert events == [{"event": "[redaction failed]", "[redaction failed]": 7}]
