"""The library's account of real Bedrock traffic, against facts read from the raw bytes."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from clients.bedrock import facts, replay
from corpus.report import ABSENT, Comparison, table
from opentelemetry.sdk.trace import ReadableSpan

import trisignal
from trisignal import testing

RECORDED = os.environ.get("TRISIGNAL_CORPUS")
INTERACTIONS = replay.load(Path(RECORDED)) if RECORDED else []
BY_ID = {interaction.id: interaction for interaction in INTERACTIONS}
FACTS_THAT_MAY_DIFFER = 0.005
_MODES: tuple[replay.Mode, ...] = ("sync", "async")
pytestmark = pytest.mark.skipif(not RECORDED, reason="TRISIGNAL_CORPUS names no folder of recorded traffic")


@dataclass(frozen=True)
class Observation:
    """One call: what the application got, bare and observed, and what the library told about it."""

    call: str
    bare: replay.Result
    result: replay.Result
    facts: facts.Facts
    spans: Sequence[ReadableSpan]
    lines: Sequence[Mapping[str, Any]]
    metrics: Mapping[str, float]


@pytest.fixture(scope="module")
def player() -> Iterator[replay.Replayer]:
    """Provide one server and its clients for all calls."""
    with replay.Replayer() as running:
        yield running


_METRICS: dict[str, tuple[str, dict[str, str]]] = {
    "requests": ("llm_requests_total", {}),
    "requests ok": ("llm_requests_total", {"llm_outcome": "ok"}),
    "requests failed": ("llm_requests_total", {"llm_outcome": "error"}),
    "usage missing": ("llm_usage_missing_total", {}),
    "input tokens": ("gen_ai_client_token_usage_sum", {"gen_ai_token_type": "input"}),
    "output tokens": ("gen_ai_client_token_usage_sum", {"gen_ai_token_type": "output"}),
    "internal errors": ("trisignal_internal_errors_total", {}),
}


@functools.cache
def observed(player: replay.Replayer, id: str) -> list[Observation]:
    """Replay each exchange once in every way, without and with the library, whichever tests ask for it."""
    interaction = BY_ID[id]
    ways = [(entry, mode) for entry in interaction.entries for mode in _MODES]
    bare = {way: player.play(interaction, *way) for way in ways}
    told = facts.read(interaction.url, dict(interaction.request), interaction.status, interaction.body)
    found = []
    for entry, mode in ways:
        with testing.capture() as seen:
            trisignal.instrument("bedrock")
            try:
                result = player.play(interaction, entry, mode)
            finally:
                trisignal.uninstrument()
            metrics = {name: seen.value(metric, **labels) for name, (metric, labels) in _METRICS.items()}
            call = f"{id} {entry} {mode}"
            found.append(Observation(call, bare[entry, mode], result, told, list(seen.spans), list(seen.logs), metrics))
    return found


def compare(seen: Observation) -> Iterator[Comparison]:
    """Every fact of one call that the bytes or the library told; absent on both sides is none."""
    span = seen.spans[0]
    attributes, told = span.attributes or {}, seen.facts.told
    for name in facts.NAMES:
        pair = Comparison(seen.call, name, told.get(name, ABSENT), attributes.get(name, ABSENT))
        if pair.expected != ABSENT or pair.got != ABSENT:
            yield pair
    title = f"{told['gen_ai.operation.name']} {told['gen_ai.request.model']}"
    yield Comparison(seen.call, "span name", title, span.name)
    yield Comparison(seen.call, "error.type given", seen.facts.failed, "error.type" in attributes)


@pytest.mark.parametrize("id", BY_ID)
def test_every_call_is_told_once_with_its_exact_tokens(player: replay.Replayer, id: str) -> None:
    """However a reply is read, it gives one span, one log line and one count, with the bytes' own tokens."""
    for call in observed(player, id):
        assert len(call.spans) == 1, call.call
        assert len(call.lines) == 1, call.call
        wrong = [str(pair) for pair in compare(call) if not pair.equal and pair.name in facts.USAGE_NAMES]
        assert wrong == []
        failed = call.facts.failed
        assert call.metrics == {
            "requests": 1,
            "requests ok": not failed,
            "requests failed": failed,
            "usage missing": not failed and not call.facts.usage_told,
            "input tokens": call.facts.told.get("gen_ai.usage.input_tokens", 0),
            "output tokens": call.facts.told.get("gen_ai.usage.output_tokens", 0),
            "internal errors": 0,
        }


@pytest.mark.parametrize("id", BY_ID)
def test_span_and_log_line_agree(player: replay.Replayer, id: str) -> None:
    """Every fact has the same value, or the same absence, on the span and in the log line."""
    for call in observed(player, id):
        attributes, line = call.spans[0].attributes or {}, call.lines[0]
        for name in (*facts.NAMES, "error.type"):
            value = line.get(name)
            assert (tuple(value) if isinstance(value, list) else value) == attributes.get(name), name


@pytest.mark.parametrize("id", BY_ID)
def test_the_application_notices_nothing(player: replay.Replayer, id: str) -> None:
    """Results, exceptions and the bytes sent are those of the bare client, and it fails when the recording does."""
    for call in observed(player, id):
        bare, result = call.bare, call.result
        assert (result.error, result.items, result.digest) == (bare.error, bare.items, bare.digest), call.call
        assert bool(bare.error) == call.facts.failed
        assert bare.request is not None
        assert result.request is not None
        assert result.request.body == bare.request.body
        assert result.request.path == bare.request.path


def test_the_facts_as_a_whole(player: replay.Replayer) -> None:
    """Over all calls: one span each, every token count exact, at least 99.5 % of all facts right."""
    calls = [call for id in BY_ID for call in observed(player, id)]
    pairs = [pair for call in calls for pair in compare(call)]
    different = [pair for pair in pairs if not pair.equal]
    print(f"{len(BY_ID)} exchanges, {len(calls)} calls")
    print(table(pairs))
    print("\n".join(map(str, different)))
    assert BY_ID
    assert len(different) <= FACTS_THAT_MAY_DIFFER * len(pairs)
