"""Faults of servers and networks, for any client: the good replies of a kit, broken in every way we know.

A kit's shapes ``create`` and ``stream-read`` say what a good reply looks like; from their bytes each fault is
made, so that nothing here knows a protocol. `check_fault` runs bare and instrumented: the application sees the
same, and the operator gets one span, one log line and one count that agree with what the application saw.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from contract.shapes import ClientKit, Expected, Mode, Seen, Shape, check_same, run
from loopback import Reply
from opentelemetry.trace import StatusCode

import trisignal
from trisignal import testing
from trisignal.call import ERROR_KINDS

Of = Literal["create", "stream-read"]
_SHORT_S = 0.3
"""Timeout of clients that meet a silent server."""
_PATIENT_S = 1.0
"""The same where something has to arrive before."""
_LONG = 10_000
"""No fact of a call is that long."""
_HTML = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
_ANY = frozenset(ERROR_KINDS)
_CUT = frozenset({"connection", "server", "other"})
_GATEWAY = frozenset({"server", "other"})
_UNREADABLE = frozenset({"connection", "server", "other", "invalid_request"})
_STATUSES = {
    400: "invalid_request",
    401: "auth",
    403: "auth",
    404: "invalid_request",
    408: "timeout",
    409: "invalid_request",
    413: "invalid_request",
    418: "invalid_request",
    422: "invalid_request",
    429: "rate_limit",
    500: "server",
    501: "server",
    502: "server",
    503: "overloaded",
    504: "timeout",
    529: "overloaded",
    599: "server",
}


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong.

    Args:
        name: Name in the list of tests, and in a kit's rules.
        of: The shape that meets it.
        replies: What the server answers, in order.
        outcome: What the call must end as; None where that is the client's choice.
        kinds: Error kinds that describe it, should the client raise.
        tokens: Whether the reply's usage reached the client: all of it, none of it, or maybe a part.
        retried: Error kinds of the attempts before the last.
        timeout_s: The client's timeout in seconds.
    """

    name: str
    of: Of
    replies: tuple[Reply, ...]
    outcome: Literal["ok", "error"] | None = None
    kinds: frozenset[str] = _UNREADABLE
    tokens: Literal["all", "none", "part"] = "part"
    retried: tuple[str, ...] = ()
    timeout_s: float = 60.0


def faults(kit: ClientKit) -> list[Fault]:
    """Return the faults that apply to a client."""
    found = [
        fault
        for make in (_statuses, _retries, _bodies, _encodings, _odd_values, _connections, _streams, _stream_ends)
        for fault in make(kit)
    ]
    rules = kit.faults
    lacks = {name.removesuffix("-sync").removesuffix("-async") for name in rules.lacks}
    unknown = {*lacks, *rules.replies, *rules.kinds, *rules.changes} - {fault.name for fault in found}
    assert not unknown, f"{kit.name} has rules for faults that do not exist: {sorted(unknown)}"
    return [
        replace(
            fault,
            replies=rules.replies.get(fault.name, fault.replies),
            kinds=rules.kinds.get(fault.name, fault.kinds),
            retried=fault.retried if rules.counts_retries else (),
            **rules.changes.get(fault.name, {}),
        )
        for fault in found
        if fault.name not in rules.lacks
    ]


# --- making them -------------------------------------------------------------------------------------------


def _shape(kit: ClientKit, name: str) -> Shape:
    return next(shape for shape in kit.shapes if shape.name == name)


def _whole(kit: ClientKit) -> tuple[Reply, bytes]:
    """The good reply of ``create`` and its body."""
    [reply] = _shape(kit, "create").replies
    assert isinstance(reply.body, bytes)
    return reply, reply.body


def _events(kit: ClientKit) -> tuple[Reply, list[bytes]]:
    """The good reply of ``stream-read`` and its events, one per item."""
    [reply] = _shape(kit, "stream-read").replies
    assert not isinstance(reply.body, bytes)
    return reply, list(reply.body)


def _failure(kit: ClientKit) -> bytes:
    """An error body as this vendor writes them."""
    refusals = [shape.replies[0].body for shape in kit.shapes if shape.name == "client-error"]
    body = refusals[0] if refusals else b'{"error": {"message": "It failed.", "type": "failed"}}'
    assert isinstance(body, bytes)
    return body


def _statuses(kit: ClientKit) -> Iterator[Fault]:
    told: dict[str, Any] = {"outcome": "error", "tokens": "none"}
    failure = _failure(kit)
    for status, kind in _STATUSES.items():
        # A body may tell more than the status does: whose words win is tested elsewhere.
        reply = Reply(status, body=b'{"error": {"message": "It failed.", "type": "failed"}}')
        yield Fault(f"status-{status}", "create", (reply,), kinds=frozenset({kind}), **told)
        yield Fault(f"status-{status}-on-stream", "stream-read", (reply,), kinds=frozenset({kind}), **told)
    for name, body, content_type in (
        ("html", _HTML, "text/html"),
        ("empty", b"", "application/json"),
        ("malformed", failure[: len(failure) // 2], "application/json"),
        ("list", b"[1, 2]", "application/json"),
        ("null", b"null", "application/json"),
        ("text", b'"failed"', "application/json"),
        ("nulls", b'{"error": null, "message": null, "code": null, "type": null}', "application/json"),
        ("numbers", b'{"error": 1, "message": 2, "code": 3, "type": 4, "status": 5}', "application/json"),
        ("lists", b'{"error": [{"code": {}}], "message": [], "code": ["a"], "type": {}}', "application/json"),
        ("no-utf-8", b'{"error": {"message": "\xff\xfe", "code": "\xc3"}}', "application/json"),
    ):
        reply = Reply(502, {"Content-Type": content_type}, body)
        # Some clients break on such bodies before they come to the status.
        yield Fault(f"gateway-{name}", "create", (reply,), kinds=_GATEWAY, **told)
        yield Fault(f"gateway-{name}-on-stream", "stream-read", (reply,), kinds=_GATEWAY, **told)
    cut = Reply(500, {"Content-Type": "application/json"}, failure, drop=True)
    yield Fault("status-body-cut", "create", (cut,), kinds=_CUT, **told)


def _retries(kit: ClientKit) -> Iterator[Fault]:
    if "retried" in kit.lacks:
        return
    soon = dict(kit.faults.retry_headers)
    good, _ = _whole(kit)
    stream, _ = _events(kit)
    body = _failure(kit)
    limited = Reply(429, soon, body)
    kinds = frozenset({"rate_limit"})
    yield Fault("limited-for-good", "create", (limited, limited), "error", kinds, "none", ("rate_limit",))
    yield Fault("limited-once", "create", (limited, good), "ok", kinds, "all", ("rate_limit",))
    yield Fault("limited-once-on-stream", "stream-read", (limited, stream), "ok", kinds, "all", ("rate_limit",))
    for status in (500, 502, 503, 529):
        kind = _STATUSES[status]
        broken = Reply(status, soon, b'{"error": {"message": "It failed.", "type": "failed"}}')
        yield Fault(f"status-{status}-once", "create", (broken, good), "ok", _ANY, "all", (kind,))
        yield Fault(f"status-{status}-twice", "create", (broken, broken), "error", frozenset({kind}), "none", (kind,))
    for name, value in (("never", "soon"), ("far", "86400"), ("past", "-5"), ("date", "Thu, 01 Jan 1970 00:00:00 GMT")):
        asked = Reply(429, {"retry-after": value, "x-should-retry": "false"}, body)
        yield Fault(f"retry-after-{name}", "create", (asked,), "error", kinds, "none")


def _bodies(kit: ClientKit) -> Iterator[Fault]:
    good, body = _whole(kit)
    for name, wrong in (
        ("empty", b""),
        ("blank", b" \n"),
        ("cut", body[: len(body) // 2]),
        ("no-json", b"it works!"),
        ("trailing", body + b"garbage"),
        ("null", b"null"),
        ("list", b"[]"),
        ("number", b"42"),
        ("text", b'"it works"'),
        ("object", b"{}"),
        ("failure", _failure(kit)),
        ("nan", b'{"model": NaN, "usage": Infinity}'),
        ("deep", b'{"choices": ' + b"[" * 400 + b"]" * 400 + b"}"),
    ):
        yield Fault(f"body-{name}", "create", (replace(good, body=wrong),), tokens="none")
    yield Fault("body-marked", "create", (replace(good, body=b"\xef\xbb\xbf" + body),))
    yield Fault("body-no-utf-8", "create", (replace(good, body=body.replace(b"a", b"\xff", 1)),))
    yield Fault("body-no-utf-8-in-values", "create", (replace(good, body=body.replace(b"e", b"\xc3\xa9\xff")),))
    for kind in ("text/html", "text/plain", "application/octet-stream", "application/json; charset=utf-16", "nonsense"):
        typed = replace(good, headers={**good.headers, "Content-Type": kind})
        yield Fault(f"typed-{kind.partition(';')[0].replace('/', '-')}", "create", (typed,))
    page = Reply(headers={"Content-Type": "text/html"}, body=_HTML)
    yield Fault("page", "create", (page,), tokens="none")
    yield Fault("no-content", "create", (Reply(204),), tokens="none")
    yield Fault("created", "create", (replace(good, status=201),), tokens="all")
    moved = Reply(307, {"Location": "/elsewhere", "Content-Length": "0"})
    yield Fault("redirected", "create", (moved, good))
    yield Fault("redirected-nowhere", "create", (Reply(302),), tokens="none")
    yield Fault("redirected-badly", "create", (Reply(307, {"Location": "http://["}),), tokens="none")
    yield Fault("not-modified", "create", (Reply(304),), tokens="none")


def _encodings(kit: ClientKit) -> Iterator[Fault]:
    good, body = _whole(kit)
    stream, events = _events(kit)
    for coding, press in (("gzip", gzip.compress), ("deflate", zlib.compress)):
        pressed = {**good.headers, "Content-Encoding": coding}
        yield Fault(f"{coding}", "create", (replace(good, headers=pressed, body=press(body)),))
        cut = press(body)[: len(press(body)) // 2]
        yield Fault(f"{coding}-cut", "create", (replace(good, headers=pressed, body=cut),), tokens="none")
        yield Fault(f"{coding}-not-really", "create", (replace(good, headers=pressed),), tokens="none")
        headers = {**stream.headers, "Content-Encoding": coding}
        chunks = _pressed(events, 31 if coding == "gzip" else 15)
        yield Fault(f"{coding}-on-stream", "stream-read", (replace(stream, headers=headers, body=chunks),))
        # Apart from each other: what comes in one read with the spoilt bytes is lost with them.
        spoilt = replace(stream, headers=headers, body=[*chunks[:2], b"\x00\xff" * 8, chunks[-1]], apart=True)
        yield Fault(f"{coding}-spoilt-on-stream", "stream-read", (spoilt,))
    unknown = {**good.headers, "Content-Encoding": "x-nothing"}
    yield Fault("unknown-coding", "create", (replace(good, headers=unknown),))


def _pressed(chunks: Sequence[bytes], window: int) -> list[bytes]:
    """Chunks compressed as one body that can be read chunk by chunk."""
    press = zlib.compressobj(wbits=window)
    made = [press.compress(chunk) + press.flush(zlib.Z_SYNC_FLUSH) for chunk in chunks]
    return [*made[:-1], made[-1] + press.flush()]


def _odd_values(kit: ClientKit) -> Iterator[Fault]:
    """Every value of the right name has the wrong type."""
    good, body = _whole(kit)
    stream, events = _events(kit)
    for name, value in (
        ("null", None),
        ("negative", -1),
        ("fraction", 0.5),
        ("huge", 10**400),
        ("text", "odd"),
        ("list", ["odd"]),
        ("object", {"odd": None}),
        ("flag", True),
        ("surrogate", "\ud800"),
    ):
        wrong = json.dumps(_leaves(json.loads(body), value)).encode()
        yield Fault(f"leaves-{name}", "create", (replace(good, body=wrong),))
        shallow = json.dumps(dict.fromkeys(json.loads(body), value)).encode()
        yield Fault(f"values-{name}", "create", (replace(good, body=shallow),), tokens="none")
        for depth, change in (("leaves", _leaves), ("values", lambda data, value: dict.fromkeys(data, value))):
            changed = [_in_event(kit, event, change, value) for event in events]
            yield Fault(f"{depth}-{name}-on-stream", "stream-read", (replace(stream, body=changed),))


def _leaves(data: Any, value: Any) -> Any:
    if isinstance(data, dict):
        return {key: _leaves(item, value) for key, item in data.items()}
    return [_leaves(item, value) for item in data] if isinstance(data, list) else value


def _in_event(kit: ClientKit, event: bytes, change: Callable[[Any, Any], Any], value: Any) -> bytes:
    """The event with its JSON object changed; as it is where it has none."""
    start, end = event.find(b"{"), event.rfind(b"}") + 1
    try:
        data = json.loads(event[start:end])
    except ValueError:
        return event
    return _repaired(kit, event[:start] + json.dumps(change(data, value)).encode() + event[end:])


def _repaired(kit: ClientKit, event: bytes) -> bytes:
    return kit.faults.repair(event) if kit.faults.repair is not None else event


def _connections(kit: ClientKit) -> Iterator[Fault]:
    good, body = _whole(kit)
    stream, events = _events(kit)
    lost: dict[str, Any] = {"outcome": "error", "kinds": _CUT, "tokens": "none"}
    late: dict[str, Any] = {"outcome": "error", "kinds": frozenset({"timeout"}), "timeout_s": _SHORT_S}
    nothing = Reply(drop=True)
    of: Of
    for of, suffix in (("create", ""), ("stream-read", "-on-stream")):
        yield Fault(f"dropped{suffix}", of, (nothing,), **lost)
        yield Fault(f"no-http{suffix}", of, (Reply(raw=b"SSH-2.0-OpenSSH_9.6\r\n\r\n"),), **lost)
        yield Fault(f"head-cut{suffix}", of, (Reply(raw=b"HTTP/1.1 200 OK\r\nContent-Ty"),), **lost)
        yield Fault(f"head-too-long{suffix}", of, (_headed(good, 300_000),), **{**lost, "outcome": None})
    yield Fault("body-dropped", "create", (replace(good, drop=True),), **{**lost, "outcome": None})
    yield Fault("wrong-length", "create", (replace(good, headers={"Content-Length": "7"}),), kinds=_CUT, tokens="none")
    yield Fault("long-head", "create", (_headed(good, 40_000),), kinds=_CUT)
    odd = Reply(headers={**good.headers, "x-request-id": "caf\xe9 \xff\x01", "x-ratelimit-remaining-tokens": "many"})
    yield Fault("odd-headers", "create", (replace(odd, body=body),), kinds=_CUT)
    yield Fault("slow", "create", (Reply(hang=True),), tokens="none", **late)
    yield Fault("slow-on-stream", "stream-read", (Reply(hang=True),), tokens="none", **late)
    yield Fault(
        "slow-chunks",
        "stream-read",
        (replace(stream, body=events[:1], hang=True),),
        **{**late, "timeout_s": _PATIENT_S},
    )


def _headed(reply: Reply, length: int) -> Reply:
    return replace(reply, headers={**reply.headers, "x-request-id": "r" * length})


def _streams(kit: ClientKit) -> Iterator[Fault]:
    """The stream is not a stream, or one of its events is spoilt."""
    good, _ = _whole(kit)
    stream, events = _events(kit)
    yield Fault("no-stream", "stream-read", (good,))
    yield Fault("page-on-stream", "stream-read", (Reply(headers={"Content-Type": "text/html"}, body=_HTML),))
    yield Fault("no-content-on-stream", "stream-read", (Reply(204),), tokens="none")
    yield Fault("stream-for-create", "create", (stream,))
    yield Fault("empty-stream", "stream-read", (replace(stream, body=[]),), tokens="none")
    yield Fault("no-bytes-on-stream", "stream-read", (replace(stream, body=b""),), tokens="none")
    for kind in ("text/plain", "application/json", "application/octet-stream"):
        typed = replace(stream, headers={**stream.headers, "Content-Type": kind})
        yield Fault(f"typed-{kind.replace('/', '-')}-on-stream", "stream-read", (typed,))
    yield Fault("one-chunk", "stream-read", (replace(stream, body=[b"".join(events)]),))
    small = [b"".join(events)[i : i + 7] for i in range(0, len(b"".join(events)), 7)]
    yield Fault("small-chunks", "stream-read", (replace(stream, body=small),))
    for name, spoilt in (
        ("cut", _cut_event(events[1])),
        ("no-utf-8", events[1].replace(b"e", b"\xff")),
        ("null", _with(kit, events[1], b"null")),
        ("number", _with(kit, events[1], b"42")),
        ("list", _with(kit, events[1], b"[]")),
        ("text", _with(kit, events[1], b'"odd"')),
        ("object", _with(kit, events[1], b"{}")),
        ("blank", _with(kit, events[1], b"")),
    ):
        # Apart from each other: some clients lose all that comes in one read with an event that they break on.
        replies = (replace(stream, body=[events[0], spoilt, *events[2:]], apart=True),)
        yield Fault(f"event-{name}", "stream-read", replies)
        yield Fault(f"event-{name}-first", "stream-read", (replace(stream, body=[spoilt, *events], apart=True),))
    again = replace(stream, body=[*events[:2], *events])
    yield Fault("events-twice", "stream-read", (again,))
    yield Fault("events-reversed", "stream-read", (replace(stream, body=events[::-1]),))


def _with(kit: ClientKit, event: bytes, data: bytes) -> bytes:
    start, end = event.find(b"{"), event.rfind(b"}") + 1
    return _repaired(kit, event[:start] + data + event[end:])


def _cut_event(event: bytes) -> bytes:
    """Half an event, ended like a whole one."""
    kept = event.rstrip(b"\r\n")
    return kept[: len(kept) // 2] + event[len(kept) :]


def _stream_ends(kit: ClientKit) -> Iterator[Fault]:
    """The stream ends before it is over."""
    stream, events = _events(kit)
    half = events[: len(events) // 2]
    yield Fault("stream-cut-between-events", "stream-read", (replace(stream, body=half),))
    within = [*half, events[len(half)][: len(events[len(half)]) // 2]]
    yield Fault("stream-cut-within-event", "stream-read", (replace(stream, body=within),))
    yield Fault("stream-dropped-between-events", "stream-read", (replace(stream, body=half, drop=True),), kinds=_CUT)
    yield Fault("stream-dropped-within-event", "stream-read", (replace(stream, body=within, drop=True),), kinds=_CUT)
    flat = replace(stream, headers={"Content-Type": "text/event-stream", **stream.headers}, body=b"".join(half))
    yield Fault("stream-dropped-before-length", "stream-read", (replace(flat, drop=True),), kinds=_CUT)
    opened = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    first = b"%x\r\n%s\r\n" % (len(events[0]), events[0])
    yield Fault("stream-dropped-within-chunk", "stream-read", (Reply(raw=opened + first + b"ff\r\ndata"),), kinds=_CUT)
    yield Fault("stream-spoilt-chunk-size", "stream-read", (Reply(raw=opened + first + b"zz\r\n"),), kinds=_CUT)
    unended = replace(stream, body=events[:-1])
    yield Fault("stream-without-last-event", "stream-read", (unended,))
    yield Fault("stream-dropped-after-last-event", "stream-read", (replace(stream, drop=True),), kinds=_CUT)


_INCOMPLETE = ("empty-stream", "no-bytes-on-stream", "stream-cut-between-events", "stream-cut-within-event")
"""Faults that leave no finish event: where the client raises nothing, the call is an error all the same."""
_WHOLE = ("one-chunk", "small-chunks", "events-twice")
"""Faults that leave the stream whole."""


# --- checking them -----------------------------------------------------------------------------------------


def check_fault(kit: ClientKit, fault: Fault, mode: Mode, *, capture_content: bool) -> None:
    """Assert that a fault reaches the application unchanged and the operator once."""
    shape = replace(
        _shape(kit, fault.of),
        replies=fault.replies,
        # Whatever a client retries of its own accord, the last reply is for good.
        max_retries=len(fault.retried),
        timeout_s=fault.timeout_s,
    )
    bare = run(kit, shape, mode)
    with testing.capture(capture_content=capture_content) as seen:
        trisignal.instrument(kit.name)
        try:
            instrumented = run(kit, shape, mode)
        finally:
            trisignal.uninstrument()
        check_same(kit, bare, instrumented)
        assert fault.outcome in (None, "error" if bare.trail.raised else "ok")
        _check_signals(kit, fault, shape.expected, bare.trail.raised, seen)


def _is_cut(fault: Fault, raised: bool, log: Mapping[str, Any]) -> bool:
    """Return whether a stream that the client took for whole lacks its finish event."""
    cut = log.get("error.type") == "incomplete_stream"
    assert not cut or (fault.of == "stream-read" and fault.name not in _WHOLE)
    assert cut or raised or fault.name not in _INCOMPLETE
    return cut


def _check_signals(kit: ClientKit, fault: Fault, expected: Expected, raised: bool, seen: Seen) -> None:
    [span], [log] = seen.spans, seen.logs
    cut = _is_cut(fault, raised, log)
    raised = raised or cut
    outcome = "error" if raised else "ok"
    labels = {
        "gen_ai_operation_name": expected.operation,
        "gen_ai_provider_name": kit.provider,
        "gen_ai_request_model": expected.model,
    }
    counted = {
        "requests": seen.value("llm_requests_total"),
        "requests of this outcome": seen.value("llm_requests_total", **labels, llm_outcome=outcome),
        "durations": seen.value("gen_ai_client_operation_duration_seconds_count"),
        "errors": seen.value("llm_errors_total"),
        "retries": seen.value("llm_retries_total"),
        "still active": seen.value("llm_active_requests"),
        "internal errors": seen.value("trisignal_internal_errors_total"),
    }
    assert counted == {
        "requests": 1,
        "requests of this outcome": 1,
        "durations": 1,
        "errors": int(raised),
        "retries": len(fault.retried),
        "still active": 0,
        "internal errors": 0,
    }
    attributes = dict(span.attributes or {})
    assert log["llm_outcome"] == outcome
    assert attributes.get("llm.outcome", "ok") == outcome
    assert span.status.status_code is (StatusCode.ERROR if raised else StatusCode.UNSET)
    assert ("error.type" in attributes) == raised
    assert log.get("llm_error_kind") in (("server",) if cut else fault.kinds if raised else (None,))
    assert all(len(value) < _LONG for value in (*attributes.values(), *log.values()) if isinstance(value, str))
    for kind in fault.retried:
        assert seen.value("llm_retries_total", **labels, llm_error_kind=kind) == fault.retried.count(kind)
    attempts = [event.attributes or {} for event in span.events if event.name == "llm.retry"]
    assert [attempt["llm.error_kind"] for attempt in attempts] == list(fault.retried)
    assert [attempt["llm.retry.number"] for attempt in attempts] == list(range(1, len(attempts) + 1))
    assert seen.value("llm_retry_lost_seconds_count", **labels) == bool(attempts)
    assert ("llm.retries.lost_s" in log) == bool(attempts)
    if attempts:
        waited_s = sum(cast(float, attempt["llm.retry.wait_s"]) for attempt in attempts)
        assert 0 <= waited_s <= log["llm.retries.lost_s"] <= log["duration_s"]
        assert attributes["llm.retries.lost_s"] == log["llm.retries.lost_s"]
    _check_tokens(fault, expected, raised, attributes, seen)


def _check_tokens(fault: Fault, expected: Expected, raised: bool, attributes: dict[str, Any], seen: Seen) -> None:
    for side, tokens in (("input", expected.input_tokens), ("output", expected.output_tokens)):
        told = attributes.get(f"gen_ai.usage.{side}_tokens")
        points = seen.value("gen_ai_client_token_usage_count", gen_ai_token_type=side)
        assert points == (told is not None)
        if fault.tokens == "none":
            assert told is None
        elif fault.tokens == "all":
            assert told == tokens
