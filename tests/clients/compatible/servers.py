"""Replies of servers that speak OpenAI's chat protocol, each in its own manner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from loopback import Reply, json_reply, sse

MODEL = "qwen3-8b"
_ID = "chatcmpl-0c0ffee1"
INPUT, OUTPUT = 12, 5
USAGE = {"prompt_tokens": INPUT, "completion_tokens": OUTPUT, "total_tokens": INPUT + OUTPUT}


def chunk(delta: Mapping[str, Any] | None, finish: str | None = None, **more: object) -> dict[str, Any]:
    """One chunk; without a delta it has no choices."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
    return {
        "id": _ID,
        "object": "chat.completion.chunk",
        "created": 1760000000,
        "model": MODEL,
        "choices": choices,
        **more,
    }


def whole(message: Mapping[str, Any], **more: object) -> Reply:
    """A complete reply."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "logprobs": None, "finish_reason": "stop"}
    reply = {"id": _ID, "object": "chat.completion", "created": 1760000000, "model": MODEL, "choices": [choice]}
    return json_reply({**reply, "usage": USAGE, **more})


@dataclass(frozen=True)
class Server:
    """One kind of server.

    Args:
        name: Short name of the server.
        whole: Its reply to a plain call.
        streamed: Its reply to a streamed call that asks for usage.
    """

    name: str
    whole: Reply
    streamed: Reply


def _running(given: int) -> dict[str, Any]:
    return {"usage": {"prompt_tokens": INPUT, "completion_tokens": given, "total_tokens": INPUT + given}}


_TIMINGS = {"prompt_n": 1, "prompt_ms": 30.1, "predicted_n": 5, "predicted_ms": 120.5, "predicted_per_second": 41.5}
_STATS = {"tokens_per_second": 51.4, "time_to_first_token": 0.11, "generation_time": 0.95, "stop_reason": "eosFound"}

SERVERS = (
    Server(
        "vllm",
        whole({"content": "Yes.", "reasoning_content": "Hm.", "tool_calls": []}, prompt_logprobs=None),
        Reply(
            body=sse(
                chunk({"role": "assistant", "content": ""}),
                chunk({"reasoning_content": "Hm."}),
                chunk({"content": "Yes."}),
                chunk({"content": ""}, "stop", stop_reason=None),
                chunk(None, usage=USAGE),
            )
        ),
    ),
    Server(
        "vllm with continuous_usage_stats",
        whole({"content": "Yes."}, kv_transfer_params=None),
        Reply(
            body=sse(
                chunk({"role": "assistant", "content": ""}, **_running(0)),
                chunk({"content": "Ye"}, **_running(2)),
                chunk({"content": "s."}, **_running(4)),
                chunk({"content": ""}, "stop", **_running(OUTPUT)),
                chunk(None, **_running(OUTPUT)),
            )
        ),
    ),
    Server(
        "tgi",
        whole({"content": "Yes."}, system_fingerprint="3.3.4-native"),
        Reply(
            body=sse(
                chunk({"role": "assistant", "content": "Yes"}, usage=None),
                chunk({"role": "assistant", "content": "."}, "stop", usage=None),
                chunk(None, usage=USAGE),
            )
        ),
    ),
    Server(
        "llama.cpp",
        whole({"content": "Yes."}, timings=_TIMINGS),
        Reply(
            body=sse(
                chunk({"role": "assistant", "content": None}),
                chunk({"content": "Yes."}),
                chunk({}, "stop"),
                chunk(None, usage=USAGE, timings=_TIMINGS),
            )
        ),
    ),
    Server(
        "lm_studio",
        whole({"content": "Yes."}, stats=_STATS, system_fingerprint=MODEL),
        Reply(
            body=sse(
                chunk({"role": "assistant", "content": "Yes."}, system_fingerprint=MODEL),
                chunk({}, "stop", system_fingerprint=MODEL, stats=_STATS),
                chunk(None, usage=USAGE, system_fingerprint=MODEL),
            )
        ),
    ),
)
