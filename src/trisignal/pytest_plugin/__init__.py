"""For pytest: the calls of a test, assertions on them, and what a run costs.

``trisignal_calls`` is a fixture, ``--llm-report`` and ``--llm-max-usd`` are options, ``llm_max_usd`` is a marker. Where
none of them is used nothing is loaded and nothing is patched.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from trisignal.pytest_plugin.recorded_calls import CallMeter, CallsBill, RecordedCalls

_PROPERTY = "trisignal"
"""Name under which the bill of a test travels with its report, also from the workers of pytest-xdist."""
_MARKER = "llm_max_usd"
_meter = pytest.StashKey["CallMeter"]()
_bills = pytest.StashKey[dict[str, "CallsBill"]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("trisignal", "calls of models")
    group.addoption(
        "--llm-report", action="store_true", help="print how many model calls each test made, and what they cost"
    )
    group.addoption(
        "--llm-max-usd", type=_dollars, metavar="USD", help="fail, and stop, once the model calls of the run cost more"
    )


def _dollars(text: str) -> float:
    amount = float(text)
    if not 0 <= amount < float("inf"):
        raise ValueError(text)
    return amount


def pytest_configure(config: pytest.Config) -> None:
    """Add the marker, and begin to count where that is asked for."""
    config.addinivalue_line("markers", f"{_MARKER}(usd): the test fails if its model calls cost more")
    config.stash[_bills] = {}


def _counts(config: pytest.Config) -> bool:
    return bool(config.getoption("--llm-report")) or config.getoption("--llm-max-usd") is not None


def _meter_of(item: pytest.Item) -> CallMeter | None:
    """What counts the calls of this test; None where nobody asks."""
    config = item.config
    if not _counts(config) and item.get_closest_marker(_MARKER) is None:
        return None
    if _meter not in config.stash:
        from trisignal.pytest_plugin.recorded_calls import CallMeter

        config.stash[_meter] = CallMeter()
    return config.stash[_meter]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """Count the calls of one test, its fixtures included."""
    meter = _meter_of(item)
    if meter is not None:
        meter.begin()
    try:
        return (yield)
    finally:
        if meter is not None:
            meter.end()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Fail a test whose calls cost more than its marker allows."""
    meter = _meter_of(item)
    if meter is not None:
        meter.watch()  # fixtures may have called setup() or reset()
    result = yield
    marker = item.get_closest_marker(_MARKER)
    if marker is not None and meter is not None:
        limit = float(marker.args[0] if marker.args else marker.kwargs["usd"])
        if meter.bill.usd > limit:
            pytest.fail(
                f"the model calls of this test cost {meter.bill.usd:.6g} USD; it may cost {limit:.6g}", pytrace=False
            )
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let the bill travel with the last report of a test."""
    report = yield
    meter = item.config.stash.get(_meter, None)
    if meter is not None and report.when == "teardown" and _counts(item.config):
        report.user_properties.append((_PROPERTY, list(meter.bill)))
    return report


class _Total:
    """Adds up the bills of all tests, those of workers too."""

    def __init__(self, session: pytest.Session) -> None:
        self._session = session
        self._config = session.config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add a test's bill, and stop where the limit is exceeded."""
        if report.when != "teardown":
            return
        for name, value in report.user_properties:
            if name == _PROPERTY:
                from trisignal.pytest_plugin.recorded_calls import CallsBill

                bills = self._config.stash[_bills]
                bills[report.nodeid] = bills.get(report.nodeid, CallsBill()).plus(CallsBill(*value))  # type: ignore[misc]
        if exceeded(self._config):
            self._session.shouldfail = exceeded(self._config)


def exceeded(config: pytest.Config) -> str:
    """What is to be said of the limit; "" where it is kept."""
    limit = config.getoption("--llm-max-usd")
    spent = sum(bill.usd for bill in config.stash[_bills].values())
    if limit is None or spent <= limit:
        return ""
    return f"model calls cost {spent:.6g} USD; --llm-max-usd allows {limit:.6g}"


def pytest_sessionstart(session: pytest.Session) -> None:
    """Add up what tests report."""
    if _counts(session.config):
        session.config.pluginmanager.register(_Total(session), "trisignal-total")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run where the limit was exceeded by its last test."""
    meter = session.config.stash.get(_meter, None)
    if meter is not None:
        meter.close()
    if _counts(session.config) and exceeded(session.config) and session.exitstatus in (0, pytest.ExitCode.OK):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the bill."""
    if not _counts(config):
        return
    bills = config.stash[_bills]
    if config.getoption("--llm-report"):
        from trisignal.pytest_plugin.recorded_calls import bill_lines

        terminalreporter.section("model calls")
        for line in bill_lines(bills):
            terminalreporter.write_line(line)
    problem = exceeded(config)
    if problem:
        terminalreporter.write_line(problem, red=True)


@pytest.fixture
def trisignal_calls() -> Iterator[RecordedCalls]:
    """The calls that a test makes: of decorated functions, and of every installed client that trisignal knows."""
    from trisignal.pytest_plugin.recorded_calls import recorded

    with recorded() as calls:
        yield calls
