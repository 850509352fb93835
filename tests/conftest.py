"""Every test starts from nothing: no settings in the environment, no setup(), no complaint unnoticed."""

from __future__ import annotations

import gc
import logging
import os
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import Phase, settings
from opentelemetry import context as otel_context
from opentelemetry import trace
from prometheus_client import CollectorRegistry

# What tests share asserts too: before it is imported it is prepared to say what the values were.
TESTS = Path(__file__).parent
_SHARED = {path.stem for path in TESTS.iterdir() if not path.stem.startswith(("test_", "conftest", "_", "."))}
gc.disable()  # until everything is collected: hardly anything is garbage, and each pass looks through all of it
pytest.register_assert_rewrite(*sorted(_SHARED - {"typing"}))

from slow import LEFT_OUT, SLOW  # noqa: E402 - it comes after the line above

from trisignal import _context, testing  # noqa: E402 - it comes after the line above

# Example after example is fast, but the first one imports what the library loads late.
settings.register_profile("trisignal", deadline=None)
# A parallel run is to end in time and to say the same each time; run alone, a test tries other examples.
settings.register_profile(
    "parallel", deadline=None, derandomize=True, phases=(Phase.explicit, Phase.generate), print_blob=True
)
settings.register_profile("fast", settings.get_profile("parallel"), max_examples=10)
settings.load_profile("parallel" if "PYTEST_XDIST_WORKER" in os.environ else "trisignal")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.addoption("--fast", action="store_true", help="leave out what takes long, and say so at the end")


def pytest_configure(config: pytest.Config) -> None:
    """Try fewer examples in a fast run."""
    if config.getoption("--fast"):
        settings.load_profile("fast")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave slow files out before they are imported."""
    if config.getoption("--fast") and collection_path.is_relative_to(TESTS):
        return True if collection_path.relative_to(TESTS).as_posix() in SLOW else None
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave slow tests out."""
    if config.getoption("--fast"):
        items[:] = [item for item in items if not any(item.get_closest_marker(name) for name in LEFT_OUT)]


def pytest_collection_finish() -> None:
    """Keep what is loaded by now from being looked through whenever a test asks for garbage to be collected."""
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what a fast run has left out."""
    if config.getoption("--fast"):
        terminalreporter.section("left out by --fast; `make test-all` runs everything")
        for place, what in SLOW.items():
            terminalreporter.write_line(f"tests/{place}: {what}")
        terminalreporter.write_line(f"single tests with the marker {', '.join(LEFT_OUT)} (pytest -m slow)")


PREFIXES = ("TRISIGNAL_", "OTEL_", "PROMETHEUS_")


@pytest.fixture(scope="session", autouse=True)
def _nothing_configured_for_all() -> Iterator[None]:
    """Nor what is set up once for many tests; variables of the tests themselves have been read by now."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.upper().startswith(PREFIXES):
                patch.delenv(name)
        yield


@pytest.fixture(autouse=True)
def _nothing_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the machine that runs the tests configures them."""
    for name in os.environ:
        if name.upper().startswith(PREFIXES):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session", autouse=True)
def _no_authorities() -> Iterator[None]:
    """Nothing here is encrypted, and clients load certificate authorities, which takes most of many tests' time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl.SSLContext, "load_verify_locations", lambda *args, **kwargs: None)
        patch.setattr(ssl.SSLContext, "set_default_verify_paths", lambda *args, **kwargs: None)
        yield


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    """What a test set up is undone, and contexts are detached where they were attached.

    OpenTelemetry only logs a context that is detached in another one, so it is heard here.
    """
    heard = _Heard(logging.ERROR)
    logger = logging.getLogger("opentelemetry.context")
    logger.addHandler(heard)
    token = otel_context.attach(otel_context.Context())
    yield
    testing.reset()
    otel_context.detach(token)
    logger.removeHandler(heard)
    assert not heard.texts


@pytest.fixture(name="seen")
def _seen() -> Iterator[testing.Seen]:
    """What the test emits; errors of our own are raised."""
    with testing.capture() as seen:
        yield seen


@pytest.fixture
def registry() -> CollectorRegistry:
    """A registry of the test's own."""
    return CollectorRegistry()


@pytest.fixture
def nothing_bound() -> Iterator[None]:
    """The test ends with nothing bound and no current span."""
    yield
    assert dict(_context.bound.get()) == {}
    assert not trace.get_current_span().get_span_context().is_valid


class _Heard(logging.Handler):
    """Keeps what is logged."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the text of a record."""
        self.texts.append(record.getMessage())
