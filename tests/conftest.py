"""Every test starts from nothing: no settings in the environment, no setup(), no complaint unnoticed."""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Iterator

import pytest
from hypothesis import Phase, settings
from opentelemetry import context as otel_context

# What tests share asserts too: before it is imported it is prepared to say what the values were.
pytest.register_assert_rewrite(
    "bridge", "clients", "coexistence", "conformance", "contract", "corpus", "e2e", "loopback", "observed", "operate",
    "privacy", "sinks",
)  # fmt: skip

from trisignal import testing  # noqa: E402 - it comes after the line above

# Example after example is fast, but the first one imports what the library loads late.
settings.register_profile("trisignal", deadline=None)
# A parallel run is to end in time and to say the same each time; run alone, a test tries other examples.
settings.register_profile(
    "parallel", deadline=None, derandomize=True, phases=(Phase.explicit, Phase.generate), print_blob=True
)
settings.load_profile("parallel" if "PYTEST_XDIST_WORKER" in os.environ else "trisignal")

PREFIXES = ("TRISIGNAL_", "OTEL_", "PROMETHEUS_")


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


class _Heard(logging.Handler):
    """Keeps what is logged."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the text of a record."""
        self.texts.append(record.getMessage())
