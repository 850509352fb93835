"""Calls that a test has made: assertions, and what they cost."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry

from trisignal import clients, testing
from trisignal import semconv as names
from trisignal.assembly import telemetry
from trisignal.assembly.setup import setup
from trisignal.call import Call, Draft
from trisignal.engine import state

_INPUTS = (names.SYSTEM_INSTRUCTIONS, names.INPUT_MESSAGES, names.TOOL_CALL_ARGUMENTS, names.RETRIEVAL_QUERY)


class CallsBill(NamedTuple):
    """What model calls have used."""

    calls: int = 0
    tokens: int = 0
    usd: float = 0.0
    unpriced: int = 0
    """Calls whose price is not known: they cost something that is not in ``usd``."""

    def plus(self, other: CallsBill) -> CallsBill:
        """Both together."""
        usd, unpriced = self.usd + other.usd, self.unpriced + other.unpriced
        return CallsBill(self.calls + other.calls, self.tokens + other.tokens, usd, unpriced)

    @classmethod
    def of(cls, call: Call) -> CallsBill:
        """Of one call; nothing of what is not a model call."""
        if not call.model_call or not call.counted:
            return cls()
        tokens = call.usage.total if call.usage is not None else 0
        usd = call.cost.total_usd if call.cost is not None else 0.0
        return cls(1, tokens, usd, int(call.unpriced is not None))


def bill_lines(bills: Mapping[str, CallsBill]) -> Iterator[str]:
    """A table of the tests that made calls, the most expensive first, and their sum.

    Args:
        bills: Of each test, by its id.
    """
    made = sorted(
        ((name, bill) for name, bill in bills.items() if bill.calls), key=lambda pair: (-pair[1].usd, pair[0])
    )
    yield f"{'calls':>7} {'tokens':>10} {'USD':>12}"
    for name, bill in made:
        yield f"{bill.calls:>7} {bill.tokens:>10} {bill.usd:>12.6f}  {name}"
    total = CallsBill()
    for _, bill in made:
        total = total.plus(bill)
    yield f"{total.calls:>7} {total.tokens:>10} {total.usd:>12.6f}  in all, of {len(bills)} tests"
    if total.unpriced:
        yield f"{total.unpriced} calls have no known price, and are not in the sum"


class CallMeter:
    """Counts the calls of the running test, wherever they are recorded.

    The application's own setup() is used where it has one; else there is one of ours, which gives way to it.
    """

    name = "pytest"

    def __init__(self) -> None:
        self.bill = CallsBill()
        self._telemetry: telemetry.Telemetry | None = None
        self._instrumented = False

    def begin(self) -> None:
        """A test begins."""
        self.bill = CallsBill()
        testing.observers.append(self.take)
        self.watch()

    def watch(self) -> None:
        """See the calls of whatever setup() is in force."""
        if state.STATE.policy is None:
            self._telemetry = setup(registry=CollectorRegistry(), set_global=False)
            self._telemetry.automatic = True
            clients.instrument()
            self._instrumented = True
        if not testing.is_capturing() and not any(watcher is self for watcher in state.STATE.attached):
            state.attach(self)

    def close(self, draft: Draft | None = None, call: Call | None = None) -> None:
        """A call has ended; without one: the run has."""
        if call is not None:
            self.take(call)
            return
        state.detach(self)
        if self._telemetry is not None and telemetry.running() is self._telemetry:
            self._telemetry.shutdown()
        if self._instrumented:
            clients.uninstrument()

    def take(self, call: Call) -> None:
        """Add a call."""
        self.bill = self.bill.plus(CallsBill.of(call))

    def end(self) -> None:
        """A test has ended."""
        state.settle()
        testing.observers.remove(self.take)

    def detached(self) -> None:
        """Nothing runs that would have to stop."""


class RecordedCalls:
    """The calls of a block, and assertions on them; each answers this object, so that they can be chained.

    Attributes:
        seen: Spans, metrics and log lines of the block.
    """

    def __init__(self, seen: testing.Seen) -> None:
        self.seen = seen

    @property
    def all(self) -> list[Call]:
        """Every recorded operation: model calls, tools, agents, in the order of their ends."""
        return self.seen.calls

    @property
    def model_calls(self) -> list[Call]:
        """Calls of models."""
        return [call for call in self.all if call.model_call and call.counted]

    @property
    def tools(self) -> list[str]:
        """Names of the tools that ran, in the order of their ends."""
        return [call.name for call in self.all if call.operation == names.EXECUTE_TOOL]

    @property
    def usd(self) -> float:
        """What the model calls cost in US dollars."""
        return self._bill.usd

    @property
    def tokens(self) -> int:
        """Input and output tokens of the model calls."""
        return self._bill.tokens

    @property
    def _bill(self) -> CallsBill:
        bill = CallsBill()
        for call in self.all:
            bill = bill.plus(CallsBill.of(call))
        return bill

    def clear(self) -> None:
        """Forget what was recorded so far."""
        self.seen.clear()

    # --- assertions ----------------------------------------------------------------------

    def assert_calls(self, exactly: int | None = None, *, at_most: int | None = None, model: str = "") -> RecordedCalls:
        """How many model calls there were.

        Args:
            exactly: So many.
            at_most: So many, or fewer.
            model: Of this requested model only.
        """
        found = [call for call in self.model_calls if not model or call.request_model == model]
        _in_bounds(f"calls{f' of {model}' if model else ''}", len(found), exactly, at_most)
        return self

    def assert_tokens(self, exactly: int | None = None, *, at_most: int | None = None) -> RecordedCalls:
        """How many tokens they used, input and output together."""
        missing = [call.span_name for call in self.model_calls if call.usage is None and call.outcome == "ok"]
        assert not missing, f"no usage was reported for {missing}"
        _in_bounds("tokens", self.tokens, exactly, at_most)
        return self

    def assert_cost(self, *, at_most_usd: float) -> RecordedCalls:
        """What they cost; calls without a known price fail it."""
        unpriced = sorted({call.response_model or call.request_model for call in self.model_calls if call.unpriced})
        assert not unpriced, f"no price is known of {', '.join(unpriced)}"
        assert self.usd <= at_most_usd, f"the calls cost {self.usd:.6g} USD, and may cost {at_most_usd:.6g}"
        return self

    def assert_tools(self, *expected: str, any_order: bool = False) -> RecordedCalls:
        """Which tools ran.

        Args:
            *expected: Their names, in order, each as often as it ran.
            any_order: The order does not matter.
        """
        found = self.tools
        same = sorted(found) == sorted(expected) if any_order else found == list(expected)
        assert same, f"the tools {found} ran, and not {list(expected)}"
        return self

    def assert_outcome(self, outcome: str = "ok", *, error_kind: str = "") -> RecordedCalls:
        """How every model call ended.

        Args:
            outcome: ``ok``, ``error``, ``cancelled`` or ``abandoned``.
            error_kind: Kind of the error, e.g. ``rate_limit``.
        """
        found = [(call.outcome, call.error_kind or "") for call in self.model_calls]
        assert found, "there was no model call"
        assert all(one == outcome for one, _ in found), f"the calls ended as {found}, and not all as {outcome}"
        if error_kind:
            assert all(kind == error_kind for _, kind in found), f"the calls ended as {found}, and not as {error_kind}"
        return self

    def assert_content(self, text: str, *, where: str = "output") -> RecordedCalls:
        """That a text stands in the messages of some call, or in the arguments or the result of a tool.

        Args:
            text: The text; what a detector redacts is redacted in the messages.
            where: ``input``, ``output`` or ``any``.
        """
        assert where in ("input", "output", "any"), "where= is input, output or any"
        parts = [
            _plain(value)
            for call in self.all
            for name, value in call.content.items()
            if where == "any" or (name in _INPUTS) == (where == "input")
        ]
        assert any(text in part for part in parts), f"{text!r} stands nowhere in the {where} of {len(self.all)} calls"
        return self


def _plain(value: str) -> str:
    """The texts of a content attribute, which is JSON."""
    try:
        loaded = json.loads(value)
    except ValueError:
        return value
    return "\n".join(_texts(loaded))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield str(key)
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    else:
        yield str(value)


def _in_bounds(what: str, found: int, exactly: int | None, at_most: int | None) -> None:
    assert exactly is not None or at_most is not None, "give a number, or at_most="
    if exactly is not None:
        assert found == exactly, f"{found} {what}, and not {exactly}"
    if at_most is not None:
        assert found <= at_most, f"{found} {what}, and at most {at_most} are allowed"


@contextmanager
def recorded(**settings: Any) -> Iterator[RecordedCalls]:
    """Record the calls of a block, content included, with a setup() of its own.

    Args:
        **settings: Arguments of `trisignal.setup`.
    """
    before = clients.instrumented()
    with testing.capture(**{"capture_content": True, **settings}) as seen:
        clients.instrument()
        try:
            yield RecordedCalls(seen)
        finally:
            fresh = [name for name in clients.instrumented() if name not in before]
            if fresh or not before:
                clients.uninstrument(*(fresh if before else ()))
