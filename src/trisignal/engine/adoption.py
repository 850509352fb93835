"""Which call of ours is recorded on a span of another instrumentation, in place of one of its own."""

from __future__ import annotations

from weakref import ref

from trisignal.call import Draft
from trisignal.engine import vocabularies as words
from trisignal.engine.nesting import OpenSpan


def adopt(draft: Draft, node: OpenSpan) -> None:
    """Record a call of a client on the span right around it, where that stands for this very call.

    A second call inside (the framework tries again) gets a span of its own.

    Args:
        draft: What begins. A reader that may hand on to another client names its draft, and adopts nothing.
        node: The innermost open span around it.
    """
    family = words.family_of(draft.operation, "")
    if not draft.leaf or draft.name or not family or node.adopter is not None or family in node.encloses:
        return
    if node.family_as(node.operation) == family and not node.scope.startswith(words.HALF_SCOPES):
        node.adopter = ref(draft)
        draft.native = node
