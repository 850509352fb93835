"""The exported trace adds up: of the spans that stand for one model call, one carries its tokens and its cost.

Frameworks write the tokens of a call on their own span around the client's, and their sum on the span of the agent;
a backend that adds up would show three times what was used. As a span ends, before any exporter sees it, what is
reported twice is taken off: sums move to names that no backend adds up, and copies go. The SDK offers no way to do
that, so the span's own store is written to; where it has another form, the span stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trisignal import semconv as names
from trisignal.call import Call
from trisignal.engine import nesting
from trisignal.engine import vocabularies as words

PREFIX = "gen_ai.usage."
SUM_PREFIX = "gen_ai.aggregated_usage."
"""Where sums go: the name that pydantic-ai and Logfire use for them."""
_COSTS = (names.USAGE_COST, *names.COST_ATTRIBUTES.values(), *names.PROPOSED_COST.values(), *words.COSTS)
_AMOUNTS = frozenset(
    {*(name for kind in words.USAGE.values() for name in kind), *words.TOTAL, *words.RAW_USAGE, *_COSTS}
)
_ADDED = (*_COSTS, names.COST_SOURCE, names.UNPRICED_REASON, names.AGENT_NAME, names.CONVERSATION_ID)
"""What a span of another instrumentation gets that it has not."""
_PARTS = (names.USAGE_CACHE_READ, names.USAGE_CACHE_WRITE, names.USAGE_REASONING)
"""Also these, where its tokens have the conventions' names, and their parts a vendor's."""


def settle(span: Any, node: nesting.OpenSpan, call: Call | None) -> None:
    """Correct the span of a model call, as it ends.

    Args:
        span: It, or what the SDK hands on of it.
        node: What is known of it.
        call: The call that has been counted by this span; None where another one counts it.
    """
    if node.facts is not None:
        _restore(span, node, node.facts)
    elif call is None:
        _change(span, _amounts(span), {})
    else:
        held = span.attributes or {}
        facts = {**call.opening, **call.closing}
        wanted = (*_ADDED, *_PARTS) if names.USAGE_INPUT in held else _ADDED
        _change(span, (), {name: facts[name] for name in wanted if name in facts and name not in held})


def move(span: Any) -> None:
    """Rename the sums on an agent, a workflow or another step around or beside model calls, as it ends.

    Args:
        span: It, or what the SDK hands on of it.
    """
    held: Mapping[str, Any] = span.attributes or {}
    amounts = _amounts(span)
    if amounts:
        moved = {SUM_PREFIX + name[len(PREFIX) :]: held[name] for name in amounts if name.startswith(PREFIX)}
        _change(span, amounts, moved)


def around_calls(node: nesting.OpenSpan) -> bool:
    """Whether calls to models began inside a span, or inside the one right around it."""
    outer = node.parent
    families = node.encloses | outer.encloses if isinstance(outer, nesting.OpenSpan) else node.encloses
    return any(" " not in family for family in families)  # those of agents, tools and workflows have a name in them


def _amounts(span: Any) -> list[str]:
    return [name for name in span.attributes or () if name in _AMOUNTS or name.startswith(PREFIX)]


def _restore(span: Any, node: nesting.OpenSpan, facts: Mapping[str, Any]) -> None:
    """What the client's call has written wins over what the framework wrote later, from wherever it took that."""
    held: Mapping[str, Any] = span.attributes or {}
    gone: list[str] = []
    added = dict(facts)
    if names.USAGE_INPUT in facts or names.USAGE_OUTPUT in facts or names.ERROR_TYPE in facts:
        for kind in words.USAGE.values():
            right = facts.get(kind[0])
            wrong = [name for name in kind if name in held and held[name] != right]
            gone += wrong if right is None else ()
            added |= dict.fromkeys(wrong, right) if right is not None else {}
        if names.USAGE_INPUT in facts:
            total = facts[names.USAGE_INPUT] + facts.get(names.USAGE_OUTPUT, 0)
            added |= {name: total for name in words.TOTAL if name in held}
    if names.ERROR_TYPE in facts and span.status.status_code.name != "ERROR":
        # The framework has tried again inside of its span: the calls that followed have spans of their own.
        for name in (names.ERROR_TYPE, names.ERROR_KIND, names.OUTCOME):
            added.pop(name, None)
            gone.append(name)
    _change(span, gone, added)


def _change(span: Any, gone: Any, added: Mapping[str, Any]) -> None:
    store = getattr(getattr(span, "_attributes", None), "_dict", None)
    if isinstance(store, dict):
        for name in gone:
            store.pop(name, None)
        store.update(added)
