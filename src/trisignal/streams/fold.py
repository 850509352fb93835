"""One fold for every stream: timing per chunk, facts from notable chunks, one end.

A stream may end exhausted, closed, failed, cancelled or dropped; whichever comes first ends
the call. `iterate` and `aiterate` yield parsed chunks; `tap` watches the bytes below them,
sees closes, and decodes the bytes itself where nobody parses them into chunks.
"""

from __future__ import annotations

import gc
import sys
import threading
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, ClassVar
from weakref import ref

from trisignal import _guard
from trisignal import semconv as names
from trisignal.call import ChunkTimes, Draft
from trisignal.engine import lifecycle
from trisignal.engine.state import STATE, inside, open_calls, unsettled
from trisignal.formats import ANSWER, NOTABLE, TOKEN, Format, StreamState, view
from trisignal.outcomes import INCOMPLETE_STREAM, classify, classify_event

_BOUNDS_NS = tuple(round(bound * 1e9) for bound in names.SECONDS)
_EDGES_NS = (-1, *_BOUNDS_NS, 1 << 62)
"""A bucket's gaps are over the edge at its own place, and at most the next one."""
_MOST_HEADLESS = 8
"""Chunks without the reply's id and model after which no more are asked for them."""

_collecting = 0
"""Ident of the thread inside the garbage collector, else 0: of this process, whatever setup() does."""


def _on_gc(phase: str, info: dict[str, int]) -> None:
    global _collecting
    _collecting = threading.get_ident() if phase == "start" else 0


def _always(chunk: Any) -> bool:
    return True


class Fold:
    """State of one stream; its size is fixed while content is off.

    Args:
        draft: The open call.
        format: How chunks are written.
        keep_content: The text of the chunks is kept.
        timed: The chunks are those of a stream; else they are parts of one body.
        choose: Tells the format from the first chunk.
        finishes: The provider ends its streams with an event of their own, and every chunk is given to this fold;
            by default where the format has such an event.
    """

    __slots__ = (
        "__weakref__", "_choose", "_every", "_finishes", "_format", "_headless", "_keep", "_look", "_wanted",
        "before_end", "clock", "draft", "ends", "held", "state", "steady", "times",
    )  # fmt: skip

    _steps_itself: ClassVar[bool] = False
    """Chunks are not what the format reads: `step` makes events of each of them, to the stream's end."""

    def __init_subclass__(cls) -> None:
        cls._steps_itself = cls.step is not Fold.step

    def __init__(
        self,
        draft: Draft,
        format: Format,
        *,
        keep_content: bool,
        timed: bool = True,
        choose: Callable[[Any], Format] | None = None,
        finishes: bool | None = None,
    ) -> None:
        if _on_gc not in gc.callbacks:
            gc.callbacks.append(_on_gc)
        self.draft = draft
        self._format = format
        self._choose = choose
        self._finishes = (format.finishes and timed and choose is None) if finishes is None else finishes
        self._look = format.look
        self.ends = format.ends or _always
        self.steady = False
        """First token and answer have come and no content is kept: only chunks that `ends` picks out matter now."""
        self.held = False
        """The call has not returned yet: this may be a try that the client gives up."""
        self._keep = keep_content
        self._every = keep_content
        """The format takes every chunk, also one without a fact to keep."""
        self._headless = 0
        self._wanted = TOKEN | ANSWER | NOTABLE
        self.clock = STATE.perf_ns
        self.times = ChunkTimes(len(_BOUNDS_NS) + 1)
        self.state = StreamState(keep_content)
        self.before_end: Callable[[], None] | None = None
        """Called once before the call is closed, to read what only the end shows."""
        if timed:
            draft.chunk_times = self.times
            draft.stream_state = self.state
        # From here on the call ends with its stream: whoever frees both frees them in any order.
        draft.freed = None
        open_calls[id(draft)] = ref(self)

    def step(self, chunk: Any) -> None:
        """Take one chunk: the hot path, less than half a microsecond."""
        try:
            now = self.clock()
            times = self.times
            last = times.last_ns
            times.last_ns = now
            if last:
                times.intervals[bisect_left(_BOUNDS_NS, now - last)] += 1
                news = self._look(chunk) & self._wanted
                if not news and not self._every:
                    return
            else:
                times.first_chunk_ns = now
                if self._choose is not None:
                    self._format = self._choose(chunk)
                    self._look = self._format.look
                news = self._look(chunk) | NOTABLE
            self._news(chunk, news, now)
        except Exception as error:
            _guard.contain("stream.step", error)

    def note(self, chunk: Any) -> None:
        """Take a chunk that `ends` has picked out, once the stream is steady."""
        try:
            times, now = self.times, self.clock()
            times.intervals[bisect_left(_BOUNDS_NS, now - times.last_ns)] += 1
            times.last_ns = now
            self._format.fold(self.draft, self.state, view(chunk))
        except Exception as error:
            _guard.contain("stream.step", error)

    def _news(self, chunk: Any, news: int, now: int) -> None:
        times = self.times
        if news & TOKEN and not times.first_token_ns:
            times.first_token_ns = now
            self._wanted &= ~TOKEN
        if news & ANSWER and not times.first_answer_ns:
            times.first_answer_ns = now
            self._wanted &= ~ANSWER
        if news & NOTABLE or self._every:
            self._format.fold(self.draft, self.state, view(chunk))
        if not self._keep:
            # Some hosts send a first chunk of their own, without the reply's id and model.
            self._headless += 1
            self._every = not self.draft.response_id and self._headless < _MOST_HEADLESS
        same = self._choose is None and self.ends is not _always and not self._steps_itself
        self.steady = self._wanted == NOTABLE and not self._every and same

    def leave(self) -> None:
        """Have no more to do with the call: a retry's response replaces this one."""
        self.draft.freed = lifecycle.freed
        self.draft = Draft("")
        self.draft.ended = True

    @property
    def ended(self) -> bool:
        """Whether the call is over."""
        return self.draft.ended

    def exhausted(self) -> None:
        """The stream was read to its end."""
        self._settle(None, exhausted=True)

    def failed(self, error: BaseException) -> None:
        """Reading the stream raised."""
        self._settle(error)

    def closed(self) -> None:
        """The stream was closed, by the application or by the garbage collector."""
        if self.draft.ended or self.held:
            return
        thread = threading.get_ident()
        if _collecting == thread or thread in inside:
            unsettled.append(self.abandon)
            return
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, (Exception, GeneratorExit)):
            self._settle(error)
        else:
            self.abandon()

    def __del__(self) -> None:
        # The stream was freed unread or half read. This may run inside the garbage collector,
        # inside any lock: it must only leave a note.
        # One that was interrupted while it began has no draft yet, or one that ends by itself.
        draft: Draft | None = getattr(self, "draft", None)
        if draft is not None and not draft.ended and draft.freed is None:
            unsettled.append(self.abandon)

    def abandon(self) -> None:
        """The application has left the stream, maybe after its finish chunk."""
        state = self.state
        if self.held:
            # Nobody has got the stream: the call was interrupted on its way.
            lifecycle.close_call(self.draft, GeneratorExit())
            return
        self._settle(None if state.finished or state.error is not None else GeneratorExit())

    def _settle(self, error: BaseException | None, *, exhausted: bool = False) -> None:
        draft = self.draft
        if draft.ended or self.held:
            return
        try:
            state = self.state
            if self.before_end is not None:
                self.before_end()
            if error is not None:
                if isinstance(error, Exception):
                    draft.error = error
                draft.outcome, draft.error_type, draft.error_kind = classify(error)
            if state.error is not None and draft.outcome in (None, "error"):
                draft.outcome, draft.error_type, draft.error_kind = classify_event(state.error)
            if exhausted and draft.outcome is None and not state.finished and (self._finishes or state.expected):
                draft.outcome, draft.error_type, draft.error_kind = "error", INCOMPLETE_STREAM, "server"
            draft.outcome = draft.outcome or "ok"
            self._format.end(draft, state)
        except Exception as failure:
            _guard.contain("stream.settle", failure)
        lifecycle.close_call(draft)


def iterate(inner: Iterator[Any], fold: Fold, *, owned: bool = True) -> Iterator[Any]:
    """Yield the chunks of a stream as they are, giving each to the fold.

    Args:
        inner: The chunks.
        fold: Gets each, and the end.
        owned: Nobody else holds the inner generator: it is to end when this one does. One that a stream
            holds is closed by whoever closes that stream, or is collected together with this one.

    The loop keeps to local names: with its asynchronous twin it is the hot path of streams.
    """
    ends, times, gaps, clock = fold.ends, fold.times, fold.times.intervals, fold.clock
    steady, last, bucket, over, most = False, 0, 0, 0, -1
    try:
        for chunk in inner:
            if not steady:
                fold.step(chunk)
                steady, last = fold.steady, times.last_ns
            elif ends(chunk):
                fold.note(chunk)
                last = times.last_ns
            else:
                now = times.last_ns = clock()
                last = now - last
                if not over < last <= most:
                    bucket = bisect_left(_BOUNDS_NS, last)
                    over, most = _EDGES_NS[bucket : bucket + 2]
                gaps[bucket] += 1
                last = now
            yield chunk
    except BaseException as error:
        _left(fold, error)
        close = getattr(inner, "close", None)
        if close is not None and (owned or not isinstance(error, GeneratorExit)):
            close()
        raise
    fold.exhausted()


def _left(fold: Fold, error: BaseException) -> None:
    if isinstance(error, GeneratorExit):
        fold.closed()
    else:
        fold.failed(error)


async def aiterate(inner: AsyncIterator[Any], fold: Fold, *, owned: bool = True) -> AsyncIterator[Any]:
    """The same for an asynchronous stream."""
    ends, times, gaps, clock = fold.ends, fold.times, fold.times.intervals, fold.clock
    steady, last, bucket, over, most = False, 0, 0, 0, -1
    try:
        async for chunk in inner:
            if not steady:
                fold.step(chunk)
                steady, last = fold.steady, times.last_ns
            elif ends(chunk):
                fold.note(chunk)
                last = times.last_ns
            else:
                now = times.last_ns = clock()
                last = now - last
                if not over < last <= most:
                    bucket = bisect_left(_BOUNDS_NS, last)
                    over, most = _EDGES_NS[bucket : bucket + 2]
                gaps[bucket] += 1
                last = now
            yield chunk
    except BaseException as error:
        # A loop that ends cancels what it still had to close: that arrives at the ``yield``, in no further frame.
        place = error.__traceback__
        if isinstance(error, (Exception, GeneratorExit)) or place is None or place.tb_next is not None:
            _left(fold, error)
        else:
            fold.abandon()
        close = getattr(inner, "aclose", None)
        if close is not None and (owned or not isinstance(error, GeneratorExit)):
            await close()
        raise
    fold.exhausted()
