"""Lines for people: one per call, indented under the workflow or agent that it belongs to."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from time import monotonic, strftime
from typing import NamedTuple

from trisignal import semconv as names
from trisignal.call import Call, Draft
from trisignal.policy.sample import keep
from trisignal.sinks._plain import plain

LONGEST_WAIT_S = 2.0
"""Lines wait for the end of what they belong to, so that they can stand below it; not longer than this, by the next."""
MOST_WAITING = 100
MOST_OPEN = 10_000
_NAME_WIDTH = 36
_COLORS = {"ok": "32", "error": "31", "cancelled": "33", "abandoned": "33"}

Write = Callable[[list["ConsoleLine"]], None]


class ConsoleLine(NamedTuple):
    """One line before it is coloured."""

    start_ns: int
    depth: int
    outcome: str
    """How the call ended; "" for a heading of what still runs."""
    time: str
    name: str
    facts: str


class _Root:
    """An open call that runs inside of no other one."""

    __slots__ = ("heading", "name", "oldest_s", "start_ns", "waiting")

    def __init__(self, name: str, start_ns: int) -> None:
        self.name = name
        self.start_ns = start_ns
        self.waiting: list[ConsoleLine] = []
        self.oldest_s = 0.0
        self.heading = False
        """A heading has been written."""


class ConsoleSink:
    """Writes a line per call for people to read.

    Args:
        write: Gets lines that belong together.
        ratio: Share of the lines of successful calls that are kept, 0 to 1, decided by trace id.
    """

    name = "console"

    def __init__(self, write: Write, ratio: float) -> None:
        self._write = write
        self._ratio = ratio
        self.after_fork()

    def after_fork(self) -> None:
        """A forked child writes its own calls."""
        self._lock = Lock()
        self._open: dict[int, tuple[_Root, int]] = {}
        """By span id: what a call runs inside of, and how deep."""
        self._by_trace: dict[int, _Root] = {}
        """For calls that are known by their finished spans only."""

    def open(self, draft: Draft) -> None:
        """Remember what runs inside of what."""
        if draft.span is None or draft.operation == names.STAGE:
            return
        trace_id, span_id, *_ = draft.span.get_span_context()
        if not span_id or len(self._open) >= MOST_OPEN:
            return
        with self._lock:
            around = self._around(draft)
            if around is None:
                root = _Root(f"{draft.operation} {draft.name or draft.request_model}".strip(), draft.start_unix_ns)
                self._open[span_id] = root, 0
                self._by_trace.setdefault(trace_id, root)
            else:
                self._open[span_id] = around[0], around[1] + 1

    def _around(self, draft: Draft) -> tuple[_Root, int] | None:
        parent = getattr(draft.span, "parent", None)
        found = self._open.get(getattr(parent, "span_id", 0))
        outer = draft.parent
        while found is None and outer is not None:
            # Spans of another instrumentation may lie between.
            found = self._open.get(outer.key[1]) if outer.key is not None else None
            outer = outer.parent
        return found

    def close(self, draft: Draft, call: Call) -> None:
        """Write the line of a call, or keep it until what is around has ended."""
        if call.operation == names.STAGE:
            return
        trace_id = int(call.trace_id or "0", 16)
        lines: list[ConsoleLine] = []
        with self._lock:
            root, depth = self._open.pop(int(call.span_id or "0", 16), (None, -1))
            if root is None:
                root = self._by_trace.get(trace_id)
                depth = 0 if root is None else 1
            if call.outcome != "ok" or self._ratio >= 1.0 or keep(call.trace_id, self._ratio):
                line = ConsoleLine(call.start_unix_ns, depth, call.outcome, _time(), call.span_name, _facts(call))
                lines = self._due(root, line)
            if root is not None and depth == 0:
                if self._by_trace.get(trace_id) is root:
                    del self._by_trace[trace_id]
                lines += sorted(root.waiting)
                root.waiting = []
        if lines:
            self._write(lines)

    def _due(self, root: _Root | None, line: ConsoleLine) -> list[ConsoleLine]:
        """What is to be written now that a line has come."""
        if root is None or line.depth == 0:
            return [line]
        if not root.waiting:
            root.oldest_s = monotonic()
        root.waiting.append(line)
        waited = monotonic() - root.oldest_s > LONGEST_WAIT_S
        if not root.heading and not waited and len(root.waiting) < MOST_WAITING:
            return []
        due, root.waiting = sorted(root.waiting), []
        if not root.heading:
            root.heading = True
            due.insert(0, ConsoleLine(root.start_ns, 0, "", _time(), root.name, "..."))
        return due

    def flush(self) -> None:
        """Write what waits, at the end."""
        with self._lock:
            roots = {id(root): root for root, _ in self._open.values()}.values()
            self._open, self._by_trace = {}, {}
        for root in roots:
            if root.waiting:
                heading = ConsoleLine(root.start_ns, 0, "", _time(), root.name, "...")
                self._write([heading, *sorted(root.waiting)])


def _time() -> str:
    return strftime("%H:%M:%S")


def _facts(call: Call) -> str:
    parts = [f"{call.duration_s:.2f} s"]
    usage = call.usage
    if usage is not None and (usage.input is not None or usage.output is not None):
        parts.append(f"{_count(usage.input)} in, {_count(usage.output)} out")
    if call.cost is not None:
        parts.append(f"${call.cost.total_usd:.6f}".rstrip("0").rstrip("."))
    times = call.chunk_times
    if times is not None and times.first_token_ns:
        parts.append(f"first token {max(times.first_token_ns - call.start_ns, 0) / 1e9:.2f} s")
    if call.error_kind is not None:
        parts.append(f"{call.error_kind}: {call.error_type}")
    return ", ".join(parts)


def _count(tokens: int | None) -> str:
    return "?" if tokens is None else str(tokens)


def render(lines: list[ConsoleLine], *, color: bool) -> str:
    """Lines as text.

    Args:
        lines: In their order.
        color: Colour how the calls ended, for a terminal.
    """
    return "\n".join(_render(line, color) for line in lines)


def _render(line: ConsoleLine, color: bool) -> str:
    name = "  " * line.depth + plain(line.name)
    outcome = f"{line.outcome or 'runs':<9}"
    if color:
        outcome = f"\x1b[{_COLORS.get(line.outcome, '2')}m{outcome}\x1b[0m"
    return f"{line.time}  {name:<{_NAME_WIDTH}}  {outcome}  {plain(line.facts)}"
