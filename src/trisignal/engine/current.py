"""Which call is the current one: entering and leaving blocks, in whatever order and context."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry.trace import INVALID_SPAN, get_current_span, set_span_in_context

from trisignal import _context
from trisignal.call import Draft

Activation = tuple["Token[Draft | None]", Any, Any]


def activate(draft: Draft) -> Activation:
    """Make a call the current one, its span the current span; undo with `deactivate`, or with `restore`."""
    around = _context.around()
    draft.around = _context.current.get(), around
    token = _context.current.set(draft)
    span = draft.span
    if span is None or draft.hidden:
        return token, None, None
    context = _context.with_span(span, around)
    return token, context, _context.attach(context)


def deactivate(tokens: Activation) -> None:
    """Undo `activate`; in another context, where nothing was activated, nothing is done."""
    token, context, attached = tokens
    # Detaching in another context than the one attached in makes OpenTelemetry log an error.
    try:
        if attached is not None and _context.around() is context:
            _context.detach(attached)
        _context.current.reset(token)
    except (ValueError, RuntimeError):  # another context, or done before
        return


@contextmanager
def apart(draft: Draft) -> Iterator[None]:
    """What begins inside belongs to a call, and starts a trace of its own all the same.

    Args:
        draft: The call.
    """
    token = _context.current.set(draft)
    attached = otel_context.attach(set_span_in_context(INVALID_SPAN))
    try:
        yield
    finally:
        otel_context.detach(attached)
        _context.current.reset(token)


def restore(draft: Draft, tokens: Activation | None) -> None:
    """Undo an activation that may have been interrupted at any point: then it has no tokens, or was undone before."""
    if tokens is not None:
        deactivate(tokens)
    if draft.around is not None and _context.current.get() is draft:
        outer, context = draft.around
        _context.current.set(outer)
        if draft.span is not None and get_current_span() is draft.span:
            _context.attach(context)


class Entry:
    """One entered block; the blocks of a context form a stack that survives odd exits."""

    __slots__ = ("around", "context", "draft", "frame", "outer")

    def __init__(self, draft: Draft | None, frame: int) -> None:
        self.draft = draft
        self.frame = frame
        """Id of the frame that entered: a ``with`` statement leaves in the same one."""
        self.outer = _context.current.get()
        """What was current before: restored at the end."""
        self.around = _context.around()
        self.context = self.around
        if draft is not None:
            draft.around = self.outer, self.around
            _context.current.set(draft)
            if draft.span is not None:
                self.context = _context.with_span(draft.span, self.around)
                _context.attach(self.context)


def cancel(draft: Draft, elsewhere: list[Entry]) -> None:
    """Undo the entry of a block that was interrupted at any point.

    Args:
        draft: Its call.
        elsewhere: The owner's open blocks.
    """
    restore(draft, None)
    elsewhere[:] = [entry for entry in elsewhere if entry.draft is not draft]
    _entered.set(tuple(pair for pair in _entered.get() if pair[1].draft is not draft))


Stack = tuple[tuple[object, Entry], ...]


_entered: ContextVar[Stack] = ContextVar("trisignal_entered", default=())


def enter(owner: object, draft: Draft | None, elsewhere: list[Entry], frame: int) -> None:
    """Enter a block.

    Args:
        owner: Whose block it is.
        draft: Its open call, if anything is recorded.
        elsewhere: The owner's open blocks, for those that are left in another context.
    """
    entry = Entry(draft, frame)
    elsewhere.append(entry)
    _entered.set((*_entered.get(), (owner, entry)))


def leave(owner: object, elsewhere: list[Entry], frame: int) -> Draft | None:
    """Leave the block that a frame entered, in whatever order and context that happens.

    Returns:
        The draft of the block; None when nothing was recorded in it.
    """
    stack = _entered.get()
    mine = [entry for entry in elsewhere if entry.frame == frame]
    # An ExitStack enters and leaves in frames of its own: then it is the innermost one.
    mine = mine or [entry for other, entry in stack if other is owner and entry in elsewhere] or elsewhere
    if not mine:
        return None
    entry = mine[-1]
    try:
        elsewhere.remove(entry)
        at = next((i for i, (_, e) in enumerate(stack) if e is entry), -1)
        if at < 0:
            return entry.draft
        _entered.set(stack[:at] + stack[at + 1 :])
        if at + 1 < len(stack):
            # Blocks overlap: the one entered after this one is to restore what was around this one.
            above = stack[at + 1][1]
            above.outer, above.around = entry.outer, entry.around
        elif entry.draft is not None:
            _context.current.set(entry.outer)
            if _context.around() is entry.context:
                _context.attach(entry.around)
        return entry.draft
    except BaseException:
        if entry.draft is not None:
            cancel(entry.draft, elsewhere)
        raise
