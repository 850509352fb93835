"""What only cerebras' client does."""

from __future__ import annotations

import pytest
from cerebras.cloud.sdk import AsyncCerebras, Cerebras
from loopback import Loopback, Recorded, Reply

import trisignal
from trisignal import testing


@pytest.mark.parametrize("cls", [Cerebras, AsyncCerebras])
def test_warming_a_connection_is_no_call(cls: type[Cerebras | AsyncCerebras]) -> None:
    """The request that the client's constructor sends to open a connection is recorded nowhere."""

    def answer(request: Recorded) -> Reply:
        return Reply(body=b'""')

    with Loopback() as server, testing.capture() as seen:
        trisignal.instrument("cerebras")
        server.handle(answer)
        cls(api_key="none", base_url=server.url)
        assert [request.path for request in server.requests] == ["/v1/tcp_warming"]
        assert (seen.spans, seen.logs) == ([], [])
        assert seen.value("llm_requests_total") == 0
