"""Facts of every replayed call, as the library reported them beside what the raw bytes say.

``python -m corpus.report [FOLDER]``, with ``src`` and ``tests`` on the path, prints the table; without a
folder it takes the one named by ``TRISIGNAL_CORPUS``, else the exchanges made for this suite.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from corpus import facts, replay
from opentelemetry.sdk.trace import ReadableSpan

import trisignal
from trisignal import testing

MADE = Path(__file__).parents[1] / "fixtures" / "openai"
"""Exchanges invented for this suite, in the recordings' file format."""
ABSENT = "(absent)"
_SPAN_NAME, _SPAN_KIND, _SPAN_STATUS, _ERROR = "span name", "span kind", "span status", "error.type given"
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
    got: Any

    @property
    def equal(self) -> bool:
        """Whether library and bytes agree; a boolean equals no number."""
        same_kind = isinstance(self.expected, bool) == isinstance(self.got, bool)
        return bool(same_kind and self.expected == self.got)

    def __str__(self) -> str:
        """Name the fact, both values and the call."""
        return f"{self.name}: expected {self.expected!r}, got {self.got!r}  [{self.call}]"


@dataclass(frozen=True)
class Observation:
    """One call: what the application got, bare and observed, and what the library told about it."""

    call: str
    entry: replay.Entry
    bare: replay.Result
    result: replay.Result
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
        """Whether the client's streaming helper gave up in the middle of an answer that had no fault.

        It does so when a reply is cut by its length, before the chunk with the usage is read. What the
        library can know then is what was sent.
        """
        return self.entry == "stream" and self.failed and not self.result.provider_failed

    @property
    def usage_told(self) -> bool:
        """Whether the library was able to see the usage."""
        return self.facts.usage_told and not self.interrupted


def observe(player: replay.Replayer, interaction: replay.Interaction) -> list[Observation]:
    """Replay one exchange in every way, without and with the library, and collect what it told.

    Calls that the client refuses to send are left out.
    """
    ways: list[tuple[replay.Entry, replay.Mode]] = [
        (entry, mode) for entry in player.entries(interaction) for mode in replay.MODES
    ]
    bare = {way: player.play(interaction, *way) for way in ways}
    found: list[Observation] = []
    with testing.capture() as seen:
        trisignal.instrument(player.instrumented)
        try:
            before = _metrics(seen)
            for entry, mode in ways:
                result = player.play(interaction, entry, mode)
                if result.request is None:
                    continue
                after = _metrics(seen)
                found.append(
                    Observation(
                        call=f"{interaction.id} {entry} {mode}",
                        entry=entry,
                        bare=bare[entry, mode],
                        result=result,
                        facts=player.facts(interaction, result.request.body),
                        spans=list(seen.spans),
                        lines=[line for line in seen.logs if "gen_ai.operation.name" in line],
                        metrics={name: after[name] - before[name] for name in after},
                    )
                )
                before = after
                seen.clear()
        finally:
            trisignal.uninstrument()
    return found


def compare(seen: Observation) -> Iterator[Comparison]:
    """Yield every fact of one call that the bytes or the library told; absent on both sides is none."""
    if len(seen.spans) != 1:
        return
    span = seen.spans[0]
    attributes = span.attributes or {}
    told = seen.facts.told
    names = facts.REQUEST_NAMES if seen.interrupted else facts.NAMES
    for name in names:
        if name in seen.facts.open:
            continue
        pair = Comparison(seen.call, name, told.get(name, ABSENT), attributes.get(name, ABSENT))
        if pair.expected != ABSENT or pair.got != ABSENT:
            yield pair
    title = f"{told['gen_ai.operation.name']} {told.get('gen_ai.request.model', '')}".strip()
    yield Comparison(seen.call, _SPAN_NAME, title, span.name)
    yield Comparison(seen.call, _SPAN_KIND, "CLIENT", span.kind.name)
    if not seen.interrupted:
        yield Comparison(seen.call, _ERROR, seen.failed, "error.type" in attributes)
        status = "ERROR" if seen.failed else "UNSET"
        yield Comparison(seen.call, _SPAN_STATUS, status, span.status.status_code.name)


def compare_metrics(seen: Observation) -> Iterator[Comparison]:
    """Yield what one call added to the metrics."""
    expected: dict[str, Any] = {
        "requests": 1,
        "input tokens": seen.facts.told.get("gen_ai.usage.input_tokens", 0),
        "output tokens": seen.facts.told.get("gen_ai.usage.output_tokens", 0),
        "internal errors": 0,
    }
    if seen.interrupted:
        del expected["input tokens"], expected["output tokens"]
    else:
        expected["requests ok"] = not seen.failed
        expected["requests failed"] = seen.failed
        expected["usage missing"] = not seen.failed and not seen.usage_told
    for name, value in expected.items():
        yield Comparison(seen.call, name, float(value), seen.metrics[name])


def compare_line(seen: Observation) -> Iterator[Comparison]:
    """Yield the facts of one call as the span (expected) and the log line (got) show them."""
    if len(seen.spans) != 1 or len(seen.lines) != 1:
        return
    attributes = seen.spans[0].attributes or {}
    line = seen.lines[0]
    for name in (*facts.NAMES, "error.type"):
        value = line.get(name, ABSENT)
        got = tuple(value) if isinstance(value, list) else value
        yield Comparison(seen.call, name, attributes.get(name, ABSENT), got)


def main(arguments: Sequence[str]) -> int:
    """Print the table of facts and every difference; return 1 when there is one."""
    folder = Path(arguments[0] if arguments else os.environ.get("TRISIGNAL_CORPUS", str(MADE)))
    interactions = replay.load(folder)
    with replay.Replayer() as player:
        seen = [call for interaction in interactions for call in observe(player, interaction)]
    alone = sum(len(call.spans) == 1 for call in seen)
    pairs = [pair for call in seen for pair in (*compare(call), *compare_metrics(call), *compare_line(call))]
    different = [pair for pair in pairs if not pair.equal]
    print(f"{len(interactions)} exchanges, {len(seen)} calls, {alone} with exactly one span")
    print(table(pair for call in seen for pair in compare(call)))
    for pair in different:
        print(pair)
    return 1 if different or alone != len(seen) else 0


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
    sys.exit(main(sys.argv[1:]))
