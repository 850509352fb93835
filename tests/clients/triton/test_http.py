"""What only Triton's HTTP clients do."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from clients.triton.shapes import ANSWER, KIT, MODEL, REFUSED, WHOLE, client, create, tensors
from contract.shapes import MODES, Mode, check_same, run
from loopback import Loopback, Reply, json_reply
from opentelemetry.trace import StatusCode
from tritonclient import http as plain
from tritonclient.utils import InferenceServerException
from waiting import LIMIT_S

import trisignal
from trisignal import testing

pytestmark = pytest.mark.instruments("triton")


_BODY = bytes(WHOLE.body)  # type: ignore[arg-type]
FAULTS: dict[str, tuple[Reply, float]] = {
    "429": (Reply(429, {"retry-after": "1"}, b'{"error": "slow down"}'), 10.0),
    "500": (Reply(500, body=b'{"error": "it failed"}'), 10.0),
    "503-html": (Reply(503, {"Content-Type": "text/html"}, b"<html></html>"), 10.0),
    "400-empty": (Reply(400), 10.0),
    "400-list": (Reply(400, body=b"[]"), 10.0),
    "empty": (replace(WHOLE, body=b""), 10.0),
    "malformed": (replace(WHOLE, body=_BODY[:20]), 10.0),
    "list": (replace(WHOLE, body=b"[]"), 10.0),
    "odd": (json_reply({"id": 7, "model_name": ["x"], "outputs": None}), 10.0),
    "cut": (replace(WHOLE, drop=True), 10.0),
    "dropped": (Reply(drop=True), 10.0),
    "no-http": (Reply(raw=b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), 10.0),
    "typed-html": (replace(WHOLE, headers={"Content-Type": "text/html"}), 10.0),
    "no-content": (Reply(204), 10.0),
    "slow": (Reply(hang=True), 0.3),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", FAULTS)
def test_faults(name: str, mode: Mode) -> None:
    """The application sees what it would see without us, the operator one call that ended the same way."""
    reply, timeout_s = FAULTS[name]
    # Some versions send again what was not answered.
    shape = replace(KIT.shapes[0], replies=(reply,) * 3, timeout_s=timeout_s)
    bare = run(KIT, shape, mode)
    with testing.capture() as seen:
        trisignal.instrument("triton")
        instrumented = run(KIT, shape, mode)
        trisignal.uninstrument()
        check_same(KIT, bare, instrumented)
        [span], [_] = seen.spans, seen.logs
        assert (span.status.status_code is StatusCode.ERROR) == bare.trail.raised
        assert seen.value("llm_requests_total", llm_outcome="error" if bare.trail.raised else "ok") == 1
        assert seen.value("llm_active_requests") == 0
        assert seen.value("trisignal_internal_errors_total") == 0


def test_a_greenlet_is_one_call(seen: testing.Seen) -> None:
    """``async_infer`` ends with its reply, whether or not the application has asked for it yet."""
    with Loopback() as server, client(server.url) as made:
        asked = threading.Event()
        server.handle(lambda request: WHOLE if asked.wait(LIMIT_S) else Reply(500))
        handle = made.async_infer(MODEL, tensors(plain))
        assert seen.spans == []
        asked.set()
        assert handle.get_result().get_response() == ANSWER
        [span] = seen.spans
    assert span.name == f"request {MODEL}"
    assert (span.attributes or {})["server.port"] == server.port
    assert seen.value("llm_requests_total", llm_outcome="ok") == 1


def test_a_greenlet_that_is_done_before_we_look(seen: testing.Seen) -> None:
    """A reply that comes at once ends the call at once."""
    with Loopback() as server, client(server.url) as made:
        server.play(WHOLE)
        handle = made.async_infer(MODEL, tensors(plain))
        handle.get_result()
        assert len(seen.spans) == 1


@pytest.mark.parametrize(("reply", "kind"), [(REFUSED, "invalid_request"), (Reply(drop=True), None)])
def test_a_greenlet_that_fails(seen: testing.Seen, reply: Reply, kind: str | None) -> None:
    """A refusal, or a lost connection, is the error that the application gets from the handle."""
    with Loopback() as server, client(server.url) as made:
        asked = threading.Event()
        server.handle(lambda request: reply if asked.wait(LIMIT_S) else Reply(500))
        handle = made.async_infer(MODEL, tensors(plain))
        asked.set()
        with pytest.raises(Exception):
            handle.get_result()
        [span] = seen.spans
    assert span.status.status_code is StatusCode.ERROR
    assert kind in (None, (span.attributes or {})["llm.error_kind"])


def test_a_greenlet_that_is_killed(seen: testing.Seen) -> None:
    """What the application kills was cancelled, and is not an error."""
    with Loopback() as server, client(server.url) as made:
        server.play(Reply(hang=True))
        made.async_infer(MODEL, tensors(plain))
        made._pool.kill()
    assert seen.value("llm_requests_total", llm_outcome="cancelled") == 1
    assert seen.value("llm_errors_total") == 0


def test_an_error_that_cannot_be_printed(seen: testing.Seen) -> None:
    """Servers may tell an error in more than a text, which the client's exception cannot show."""
    with Loopback() as server, client(server.url) as made:
        server.play(json_reply({"error": {"code": 8}}, status=503))
        with pytest.raises(InferenceServerException):
            create(made)
    assert (seen.span.attributes or {})["error.type"] == "503"
    assert seen.value("llm_errors_total", llm_error_kind="overloaded") == 1


def test_trace_context_is_sent_where_it_is_asked_for() -> None:
    """Requests carry ``traceparent`` with the setting on, and only then; the application's headers stay as they are."""
    for wanted in (False, True):
        with testing.capture(propagate_trace_context=wanted) as seen, Loopback() as server:
            trisignal.instrument("triton")
            server.play(WHOLE, WHOLE)
            own = {"x-own": "1"}
            with client(server.url) as made:
                create(made)
                made.infer(MODEL, tensors(plain), headers=own)
            trisignal.uninstrument()
            sent = [request.header("traceparent") for request in server.requests]
            ids = [f"{span.get_span_context().span_id:016x}" for span in seen.spans]  # type: ignore[union-attr]
            assert [head and head.split("-")[2] for head in sent] == (ids if wanted else [None, None])
            assert server.requests[1].header("x-own") == "1"
            assert "traceparent" not in own


def test_the_provider_may_be_named() -> None:
    """Who runs the server is told by its host, where the settings name it."""
    with Loopback() as server, testing.capture(provider_hosts={"127.0.0.1": "ours"}) as seen:
        trisignal.instrument("triton")
        server.play(WHOLE)
        with client(server.url) as made:
            create(made)
        trisignal.uninstrument()
        assert (seen.span.attributes or {})["gen_ai.provider.name"] == "ours"
