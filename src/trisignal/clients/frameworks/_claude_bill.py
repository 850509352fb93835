"""The sums of a Claude agent's run: its result's ``modelUsage`` and total, split over the replies that were seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from trisignal.call import Bill, Usage
from trisignal.clients.frameworks._claude_run import ClaudeRun, ClaudeTurn
from trisignal.formats import amount, count, text, view
from trisignal.formats.anthropic_messages import usage as message_usage

_LEAST_USD = 1e-9
"""Less than that is what rounding leaves."""


class BillSums(NamedTuple):
    """What a result reports of one model."""

    usage: Usage
    cost_usd: float | None


def sums(result: Mapping[str, Any]) -> dict[str, BillSums]:
    """Sums by model; empty where the CLI does not report them.

    Args:
        result: The result message.
    """
    found: dict[str, BillSums] = {}
    reported = result.get("modelUsage")
    for key, value in reported.items() if isinstance(reported, dict) else ():
        counts = view(value)
        fresh, output = count(counts.get("inputTokens")), count(counts.get("outputTokens"))
        read, write = count(counts.get("cacheReadInputTokens")), count(counts.get("cacheCreationInputTokens"))
        usage = Usage((fresh or 0) + (read or 0) + (write or 0), output or 0, read, write)
        model = text(counts.get("canonicalModel")) or plain(key)
        cost_usd = amount(counts.get("costUSD"))
        known = found.get(model)
        if known is not None:
            usage = _plus(known.usage, usage)
            cost_usd = None if cost_usd is None or known.cost_usd is None else cost_usd + known.cost_usd
        found[model] = BillSums(usage, cost_usd)
    return found


def plain(model: str) -> str:
    """A model's name without the context length that the CLI adds to it."""
    return model.partition("[")[0]


def since(now: dict[str, BillSums], before: dict[str, BillSums], run: ClaudeRun) -> dict[str, BillSums]:
    """What a run added to sums that go on over the runs of one session, if these do.

    Args:
        now: Sums of its result.
        before: Sums of the result before it.
        run: The run, whose replies say how much input there was.
    """
    if not before or any(
        _less(now.get(model, BillSums(Usage(), 0.0)).usage, kept.usage) for model, kept in before.items()
    ):
        return now
    added = {model: _minus(sums, before.get(model)) for model, sums in now.items()}
    seen = sum((turn.usage.input or 0) for turn in run.turns.values() if turn.usage is not None)

    def off(taken: dict[str, BillSums]) -> int:
        return abs(sum(sums.usage.input or 0 for sums in taken.values()) - seen)

    return added if off(added) < off(now) else now


def settle(run: ClaudeRun, by_model: dict[str, BillSums], result: Mapping[str, Any], cost_usd: float | None) -> None:
    """Complete the tokens of the replies, and split the cost over them.

    Args:
        run: The run, before its end.
        by_model: What it took, by model.
        result: Its result message.
        cost_usd: What it cost in all.
    """
    for turn in run.turns.values():
        turn.model = plain(turn.model)
    stated = message_usage(result.get("usage"))
    if not by_model and stated is not None and stated.total:
        main = [turn.model for turn in run.turns.values() if not turn.thread]
        by_model = {main[0] if main else plain(run.draft.request_model): BillSums(stated, None)}
    rest_usd = cost_usd
    for model, reported in by_model.items():
        turns = [turn for turn in run.turns.values() if turn.model == model and not turn.refused]
        unseen = _complete(turns, reported.usage)
        share_usd = reported.cost_usd
        if share_usd is not None and rest_usd is not None:
            rest_usd -= share_usd
        if turns:
            _split(turns, share_usd)
        if not turns or unseen.total:
            bill = Bill(share_usd) if share_usd and not turns else None if not turns else Bill(0.0)
            if unseen.total or bill is not None:
                run.unseen.append((model, unseen, bill))
    if rest_usd is not None and rest_usd > _LEAST_USD:
        _spread(run, rest_usd)


def _spread(run: ClaudeRun, rest_usd: float) -> None:
    """Put what no model was billed for on the replies, else on the tokens that no reply explains."""
    answered = [turn for turn in run.turns.values() if not turn.refused]
    turns = [turn for turn in answered if turn.bill is None] or answered
    if turns:
        billed = [0.0 if turn.bill is None else turn.bill.total_usd for turn in turns]
        _split(turns, rest_usd + sum(billed))
    elif run.unseen:
        model, usage, bill = run.unseen[0]
        run.unseen[0] = model, usage, Bill(rest_usd + (0.0 if bill is None else bill.total_usd))
    else:
        run.unseen.append((plain(run.draft.request_model), Usage(), Bill(rest_usd)))


def _complete(turns: list[ClaudeTurn], reported: Usage) -> Usage:
    """Give the output that is still missing to the last reply without a final count; returns what no reply explains."""
    seen = Usage(0, 0, 0, 0)
    for turn in turns:
        seen = _plus(seen, turn.usage or Usage())
    left = [max((whole or 0) - (part or 0), 0) for whole, part in zip(reported[:4], seen[:4], strict=True)]
    last = next((turn for turn in reversed(turns) if not turn.settled), None)
    if last is not None:
        usage = last.usage or Usage()
        last.usage = usage._replace(output=(usage.output or 0) + left[1])
        left[1] = 0
    return Usage(*left)


def _split(turns: list[ClaudeTurn], cost_usd: float | None) -> None:
    """Split a stated cost over replies, by their tokens."""
    whole = sum(turn.weight for turn in turns)
    for turn in turns if cost_usd else ():
        turn.bill = Bill(cost_usd * turn.weight / whole) if cost_usd else None


def _plus(one: Usage, other: Usage) -> Usage:
    return Usage(*[(a or 0) + (b or 0) for a, b in zip(one[:4], other[:4], strict=True)])


def _less(one: Usage, other: Usage) -> bool:
    return any((a or 0) < (b or 0) for a, b in zip(one[:4], other[:4], strict=True))


def _minus(one: BillSums, other: BillSums | None) -> BillSums:
    if other is None:
        return one
    usage = Usage(*[(a or 0) - (b or 0) for a, b in zip(one.usage[:4], other.usage[:4], strict=True)])
    known = one.cost_usd is not None and other.cost_usd is not None
    return BillSums(usage, max((one.cost_usd or 0.0) - (other.cost_usd or 0.0), 0.0) if known else None)
