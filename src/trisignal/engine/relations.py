"""What calls inside of each other have to do with each other: who counts, and who belongs to whom."""

from __future__ import annotations

from trisignal import semconv as names
from trisignal.call import Draft
from trisignal.engine import adoption, nesting
from trisignal.engine.state import NESTING


def inherit(draft: Draft, parent: nesting.Outer) -> None:
    """Take over the agent and the conversation that a call belongs to."""
    if not draft.agent:
        draft.agent = parent.name if parent.operation == names.INVOKE_AGENT else parent.agent
    if not draft.conversation_id:
        draft.conversation_id = parent.conversation_id


def relate(draft: Draft, parent: nesting.Outer) -> None:
    """Link a call with what it begins in."""
    draft.parent = parent
    inherit(draft, parent)
    operation = draft.operation
    if NESTING.spans:
        if type(parent) is nesting.OpenSpan:
            adoption.adopt(draft, parent)  # pyright: ignore[reportArgumentType]
        nesting.began(draft)
        if operation != names.STAGE:
            nesting.entered(draft)
    if operation in names.INFERENCE or operation == names.EMBEDDINGS:
        _relate_inference(draft, parent)


def _relate_inference(draft: Draft, parent: nesting.Outer) -> None:
    """Law 2: tokens and cost belong to the innermost call of a client, else to the served one."""
    operation = draft.operation
    outer = nesting.own(parent)
    while outer is not None:
        same = outer.operation == operation or (outer.operation in names.INFERENCE and operation in names.INFERENCE)
        if same and draft.role == "server":
            draft.counted = False
            if outer.role == "server":
                # One request is served once: the outer call measures it, this one is a step of it.
                draft.role, draft.kind = "client", "internal"
            return
        if same:
            outer.encloses_call = True
        if outer.role == "server":
            # Who asked this server, in the same process, has made a call of its own.
            return
        outer = nesting.own(outer.parent)


def account(draft: Draft) -> None:
    """Add what happened in a call to the agent and the workflow around it."""
    if draft.operation != names.STAGE:
        inference = draft.operation in names.INFERENCE and draft.counted and not draft.encloses_call
        if inference or draft.operation == names.EXECUTE_TOOL:
            nesting.credit(draft.parent, int(inference), int(not inference))
        if NESTING.watchers:
            nesting.left(draft)
        return
    around = outer = nesting.own(draft.parent)
    while outer is not None and outer.operation == names.STAGE:
        outer = nesting.own(outer.parent)
    if outer is not None:
        stages = outer.stages if outer.stages is not None else {}
        outer.stages = stages
        seconds = (draft.end_ns - draft.start_ns) * 1e-9
        stages[draft.name] = stages.get(draft.name, 0.0) + seconds
        if around is outer:
            # A stage inside of a stage is part of the outer one's time already.
            outer.stages_total_s += seconds
