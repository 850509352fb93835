"""Every replayed call, as the library reported it beside what the raw bytes say.

``python -m corpus.report``, with ``src`` and ``tests`` on the path, replays the invented exchanges, and the
recorded ones of the folder that ``TRISIGNAL_CORPUS`` names, and prints a table of facts and every difference.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from corpus import facts
from corpus.player import HELPER, MODES, Entry, Player, Result
from corpus.players import PLAYERS
from corpus.recordings import Recording, recordings
from opentelemetry.sdk.trace import ReadableSpan

import trisignal
from trisignal import testing

ABSENT = "(absent)"
_METRICS: dict[str, tuple[str, dict[str, str]]] = {
    "requests": ("llm_requests_total", {}),
    "requests ok": ("llm_requests_total", {"llm_outcome": "ok"}),
    "requests failed": ("llm_requests_total", {"llm_outcome": "error"}),
    "usage missing": ("llm_usage_missing_total", {}),
    "input tokens": ("gen_ai_client_token_usage_sum", {"gen_ai_token_type": "input"}),
    "output tokens": ("gen_ai_client_token_usage_sum", {"gen_ai_token_type": "output"}),
    "internal errors": ("trisignal_internal_errors_total", {}),
}


class Comparison(NamedTuple):
    """One fact of one call."""

    call: str
    name: str
    expected: Any
    actual: Any

    @property
    def equal(self) -> bool:
        """Whether both sides agree; a boolean equals no number."""
        same_kind = isinstance(self.expected, bool) == isinstance(self.actual, bool)
        return bool(same_kind and self.expected == self.actual)

    def __str__(self) -> str:
        """Name the fact, both values and the call."""
        return f"{self.name}: expected {self.expected!r}, is {self.actual!r}  [{self.call}]"


@dataclass(frozen=True)
class Observation:
    """One call: what the application got, bare and observed, and what the library reported."""

    call: str
    entry: Entry
    names: Sequence[str]
    bare: Result
    result: Result
    faithful: Sequence[tuple[str, Any, Any]]
    facts: facts.Facts
    spans: Sequence[ReadableSpan]
    lines: Sequence[Mapping[str, Any]]
    metrics: Mapping[str, float]

    @property
    def failed(self) -> bool:
        """Whether the application saw the call itself fail."""
        return bool(self.result.error)

    @property
    def interrupted(self) -> bool:
        """Whether the client's streaming helper gave up in the middle of an answer that had no fault."""
        return self.entry == HELPER and self.failed and not self.result.provider_failed


class LeftOut(NamedTuple):
    """A fact that is not compared, and why."""

    name: str
    applies: Callable[[Observation], bool]
    reason: str


_STOPS = "gen_ai.request.stop_sequences"
_GAVE_UP = (
    "the client's streaming helper raises when a reply was cut by its length, before the chunk with this fact is read"
)
NOT_COMPARED = (
    LeftOut(
        "gen_ai.response.id",
        lambda call: "gen_ai.response.id" in call.facts.open,
        "a stream whose chunks carry several ids has no id of its own; the conventions neither ask for nor forbid "
        "the id of an embeddings reply",
    ),
    LeftOut(
        _STOPS,
        lambda call: any(" " in word.strip() for word in call.facts.attributes.get(_STOPS, ())),  # type: ignore[union-attr]
        "a stop sequence of more than one word is content: its text is withheld while content is off",
    ),
    *(
        LeftOut(name, lambda call: call.interrupted, _GAVE_UP)
        for name in (*facts.USAGE_NAMES, *facts.RESPONSE_NAMES, "input tokens", "output tokens", "usage missing")
    ),
    *(
        LeftOut(name, lambda call: call.interrupted, "whether such a call failed is a matter of opinion")
        for name in ("error.type given", "span status", "requests ok", "requests failed")
    ),
)
"""Facts that may differ. Every other fact of every call must be right."""


def observe(player: Player, recording: Recording) -> list[Observation]:
    """Replay one exchange in every way, without and with the library, and collect what was reported.

    Calls that the client refuses to send are left out.
    """
    ways = [(entry, mode) for entry in player.entries(recording) for mode in MODES]
    bare = {way: player.play(recording, *way) for way in ways}
    observations: list[Observation] = []
    with testing.capture() as seen:
        trisignal.instrument(player.client)
        try:
            before = _metrics(seen)
            for entry, mode in ways:
                result = player.play(recording, entry, mode)
                if result.request is None:
                    continue
                after = _metrics(seen)
                observations.append(
                    Observation(
                        call=f"{player.client} {recording.id} {entry} {mode}",
                        entry=entry,
                        names=player.names,
                        bare=bare[entry, mode],
                        result=result,
                        faithful=list(player.faithful(recording, entry, bare[entry, mode])),
                        facts=player.facts(recording, entry, result.request.body),
                        spans=list(seen.spans),
                        lines=[line for line in seen.logs if "gen_ai.operation.name" in line],
                        metrics={name: after[name] - before[name] for name in after},
                    )
                )
                before = after
                seen.clear()
        finally:
            trisignal.uninstrument()
    return observations


def differences(call: Observation) -> list[Comparison]:
    """Return what is wrong with a call in any of its views."""
    return [pair for pair in _comparisons(call) if not pair.equal]


def _comparisons(call: Observation) -> Iterator[Comparison]:
    yield from _as_application(call)
    yield Comparison(call.call, "spans", 1, len(call.spans))
    yield Comparison(call.call, "log lines", 1, len(call.lines))
    yield from as_span(call)
    yield from _as_metrics(call)
    yield from _as_log_line(call)


def _as_application(call: Observation) -> Iterator[Comparison]:
    """Yield what the application got and sent, bare (expected) and observed; and whether the replay is faithful."""
    bare, result = call.bare, call.result
    for name in ("error", "items", "digest"):
        yield Comparison(call.call, f"result: {name}", getattr(bare, name), getattr(result, name))
    for name in ("method", "path", "body"):
        sent, expected = getattr(result.request, name), getattr(bare.request, name, ABSENT)
        yield Comparison(call.call, f"request: {name}", expected, sent)
    yield Comparison(call.call, "the provider failed", call.facts.failed, bare.provider_failed)
    for name, expected, actual in call.faithful:
        yield Comparison(call.call, f"replay: {name}", expected, actual)


def as_span(call: Observation) -> Iterator[Comparison]:
    """Yield every fact that the bytes or the span have; absent on both sides is none."""
    if len(call.spans) != 1:
        return
    span = call.spans[0]
    attributes = span.attributes or {}
    expected = call.facts.attributes
    title = f"{expected['gen_ai.operation.name']} {expected.get('gen_ai.request.model', '')}".strip()
    pairs = [
        *(Comparison(call.call, name, expected.get(name, ABSENT), attributes.get(name, ABSENT)) for name in call.names),
        Comparison(call.call, "span name", title, span.name),
        Comparison(call.call, "span kind", "CLIENT", span.kind.name),
        Comparison(call.call, "error.type given", call.failed, "error.type" in attributes),
        Comparison(call.call, "span status", "ERROR" if call.failed else "UNSET", span.status.status_code.name),
    ]
    yield from (pair for pair in _compared(call, pairs) if (pair.expected, pair.actual) != (ABSENT, ABSENT))


def _as_metrics(call: Observation) -> Iterator[Comparison]:
    """Yield what one call added to the metrics."""
    attributes = call.facts.attributes
    expected: dict[str, Any] = {
        "requests": 1,
        "requests ok": not call.failed,
        "requests failed": call.failed,
        "usage missing": not call.failed and not call.facts.has_usage,
        "input tokens": attributes.get("gen_ai.usage.input_tokens", 0),
        "output tokens": attributes.get("gen_ai.usage.output_tokens", 0),
        "internal errors": 0,
    }
    yield from _compared(
        call, [Comparison(call.call, name, float(value), call.metrics[name]) for name, value in expected.items()]
    )


def _as_log_line(call: Observation) -> Iterator[Comparison]:
    """Yield the facts of one call as the span (expected) and the log line have them."""
    if len(call.spans) != 1 or len(call.lines) != 1:
        return
    attributes = call.spans[0].attributes or {}
    line = call.lines[0]
    for name in (*call.names, "error.type"):
        value = line.get(name, ABSENT)
        actual = tuple(value) if isinstance(value, list) else value
        yield Comparison(call.call, f"log line: {name}", attributes.get(name, ABSENT), actual)


def _compared(call: Observation, pairs: Iterable[Comparison]) -> Iterator[Comparison]:
    left_out = {row.name for row in NOT_COMPARED if row.applies(call)}
    return (pair for pair in pairs if pair.name not in left_out)


def main() -> int:
    """Print the table of facts, what was not compared, and every difference; return 1 when there is one."""
    calls: list[Observation] = []
    for row in PLAYERS:
        with row.load()() as player:
            taken = [recording for recording in recordings() if row.takes(recording)]
            mine = [call for recording in taken for call in observe(player, recording)]
        print(f"{row.name}: {len(taken)} exchanges, {len(mine)} calls")
        calls += mine
    different = [pair for call in calls for pair in differences(call)]
    print(table(pair for call in calls for pair in as_span(call)))
    for left_out in NOT_COMPARED:
        print(f"{left_out.name}: not compared in {sum(map(left_out.applies, calls))} calls: {left_out.reason}")
    print(*different, sep="\n")
    return 1 if different else 0


def table(pairs: Iterable[Comparison]) -> str:
    """Return one line per fact: name, how often it was compared, how often it agreed."""
    compared: Counter[str] = Counter()
    equal: Counter[str] = Counter()
    for pair in pairs:
        compared[pair.name] += 1
        equal[pair.name] += pair.equal
    rows = [f"{name:42} {compared[name]:6} {equal[name]:6} {equal[name] / compared[name]:8.2%}" for name in compared]
    total, agreed = sum(compared.values()), sum(equal.values())
    share = agreed / total if total else 1.0
    return "\n".join([f"{'fact':42} {'calls':>6} {'equal':>6}", *rows, f"{'all':42} {total:6} {agreed:6} {share:8.2%}"])


def _metrics(seen: Any) -> dict[str, float]:
    return {name: seen.value(metric, **labels) for name, (metric, labels) in _METRICS.items()}


if __name__ == "__main__":
    sys.exit(main())
