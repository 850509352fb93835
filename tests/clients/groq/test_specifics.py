"""What only groq's client and server do."""

from __future__ import annotations

from typing import Any

import groq
import pytest
from clients.groq.shapes import CHAT, KIT, RAISES_IN_STREAMS
from contract.shapes import MODES, Mode, check
from contract.ways import ReadAll
from loopback import Loopback, Reply, sse

import trisignal
from trisignal import testing

needs_errors = pytest.mark.skipif(not RAISES_IN_STREAMS, reason="this version raises no error of a stream")


@pytest.mark.parametrize("mode", MODES)
def test_usage_in_an_own_field_is_told(mode: Mode) -> None:
    """The tokens that groq puts below ``x_groq`` of the last chunk are the call's tokens."""
    check(KIT, CHAT.streamed("stream-read", ReadAll()), mode)


@needs_errors
@pytest.mark.parametrize("mode", MODES)
def test_named_error_event_fails_the_call(mode: Mode) -> None:
    """An event of the name ``error`` ends the call with the vendor's own code and the kind it stands for."""
    failure = {"event:": "error", "error": {"message": "No tool.", "type": "invalid_request_error", "code": "no_tool"}}
    reply = Reply(body=sse(*CHAT.chunks_before_an_error(), failure, done=False))
    shape = CHAT.streamed(
        "error-in-stream",
        ReadAll(),
        reply,
        outcome="error",
        error_kind="invalid_request",
        input_tokens=None,
        output_tokens=None,
        finish_reasons=None,
    )
    check(KIT, shape, mode)


@needs_errors
def test_raw_stream_that_fails_ends_at_once() -> None:
    """A failed stream behind a raw response is told although the client leaves its response open."""
    failure = {"event:": "error", "error": {"message": "No tool.", "type": "invalid_request_error", "code": "no_tool"}}
    kept: list[Any] = []
    with Loopback() as server, testing.capture() as seen, KIT.client(server.url, 0, 5.0) as client:
        trisignal.instrument("groq")
        server.play(Reply(body=sse(*CHAT.chunks_before_an_error(), failure, done=False)))
        stream = client.chat.completions.with_raw_response.create(
            model=CHAT.model, messages=[{"role": "user", "content": "Hello"}], stream=True
        ).parse()
        with pytest.raises(groq.APIError) as caught:
            kept.extend(stream)
        assert seen.value("llm_requests_total", llm_outcome="error") == 1
        kept += [stream, caught]
