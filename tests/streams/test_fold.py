"""How chunks reach the fold of a stream."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from trisignal.call import Draft
from trisignal.engine import lifecycle
from trisignal.formats.openai_chat import CHAT
from trisignal.streams.fold import Fold, aiterate, iterate
from trisignal.testing import Seen

WORD = {"id": "1", "model": "m", "choices": [{"index": 0, "delta": {"content": " word"}}]}
LAST = {**WORD, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
USAGE = {**WORD, "choices": [], "usage": {"prompt_tokens": 21, "completion_tokens": 9}}
LINES = [json.dumps(chunk).encode() for chunk in (WORD, WORD, WORD, LAST, USAGE)]


class Lines(Fold):
    """Makes an event of each line."""

    __slots__ = ()

    def step(self, chunk: Any) -> None:
        """Take a line."""
        super().step(json.loads(chunk))


def opened() -> Lines:
    """The fold of an open call."""
    draft = Draft("chat", provider="acme", request_model="m")
    lifecycle.open_call(draft)
    return Lines(draft, CHAT, keep_content=False)


async def later(lines: list[bytes]) -> AsyncIterator[bytes]:
    """The same lines, asynchronously."""
    for line in lines:
        yield line


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_fold_with_steps_of_its_own_takes_every_chunk(kind: str, seen: Seen) -> None:
    """To the end of the stream it makes events of chunks that the format itself cannot read."""
    if kind == "sync":
        stream: Iterator[bytes] = iterate(iter(LINES), opened())
        assert list(stream) == LINES
    else:
        assert [line async for line in aiterate(later(LINES), opened())] == LINES
    [call] = seen.calls
    assert (call.usage.input, call.usage.output, call.outcome) == (21, 9, "ok")
    assert (seen.spans[-1].attributes or {})["gen_ai.response.finish_reasons"] == ("stop",)
