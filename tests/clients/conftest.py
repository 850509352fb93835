"""What most tests of clients need: a provider without replies, and what is emitted with an SDK patched."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from loopback import Loopback

import trisignal
from trisignal.testing import Seen, capture


@pytest.fixture(name="server")
def _server() -> Iterator[Loopback]:
    """The provider."""
    with Loopback() as server:
        yield server


@pytest.fixture(name="seen")
def _seen(request: pytest.FixtureRequest) -> Iterator[Seen]:
    """What is emitted with the SDKs patched that the marker names; no error of ours, and no call left open."""
    marker = request.node.get_closest_marker("instruments")
    with capture(**(marker.kwargs if marker else {})) as seen:
        if marker:
            trisignal.instrument(*marker.args)
        yield seen
        assert seen.value("trisignal_internal_errors_total") == 0
        assert seen.value("llm_active_requests") == 0
        trisignal.uninstrument()
