"""The library's account of real traffic with Anthropic, against facts read from the raw bytes."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from clients.anthropic import facts, replay
from corpus.report import Comparison, Observation, compare_line, compare_metrics, table

RECORDED = os.environ.get("TRISIGNAL_CORPUS")
INTERACTIONS = [
    *replay.load(replay.MADE),
    *(replay.load(Path(RECORDED)) if RECORDED and Path(RECORDED).is_dir() else []),
]
BY_ID = {interaction.id: interaction for interaction in INTERACTIONS}
FACTS_THAT_MAY_DIFFER = 0.005


@pytest.fixture(scope="module")
def player() -> Iterator[replay.Replayer]:
    """Provide one server and its clients for all calls."""
    with replay.Replayer() as running:
        yield running


@functools.cache
def observed(player: replay.Replayer, id: str) -> list[Observation]:
    """Replay each exchange once, whichever tests ask for it."""
    return replay.observe(player, BY_ID[id])


def differing(pairs: Iterator[Comparison]) -> list[str]:
    """Return the comparisons that failed, as text."""
    return [str(pair) for pair in pairs if not pair.equal]


@pytest.mark.parametrize("id", BY_ID)
def test_every_call_is_told_once_with_its_exact_tokens(player: replay.Replayer, id: str) -> None:
    """However a call is made, it gives one span, one log line and one count, with the bytes' own tokens."""
    calls = observed(player, id)
    assert calls
    for call in calls:
        assert len(call.spans) == 1, call.call
        assert len(call.lines) == 1, call.call
        tokens = (pair for pair in replay.compare(call) if pair.name in facts.USAGE_NAMES)
        assert differing(tokens) == []
        assert differing(compare_metrics(call)) == []
        assert differing(compare_line(call)) == []


@pytest.mark.parametrize("id", BY_ID)
def test_the_application_notices_nothing(player: replay.Replayer, id: str) -> None:
    """Results, exceptions and the bytes sent are those of the bare client."""
    for call in observed(player, id):
        outcome = (call.result.error, call.result.items, call.result.digest)
        assert outcome == (call.bare.error, call.bare.items, call.bare.digest), call.call
        assert call.result.request is not None
        assert call.bare.request is not None
        assert call.result.request.body == call.bare.request.body, call.call


@pytest.mark.parametrize("id", BY_ID)
def test_the_replay_is_faithful(player: replay.Replayer, id: str) -> None:
    """The bare client sends what was recorded where it was sent, and fails when the recording does."""
    interaction = BY_ID[id]
    for call in observed(player, id):
        assert call.bare.request is not None
        assert call.bare.request.path.partition("?")[0] == interaction.shape
        assert call.bare.provider_failed == call.facts.failed, call.call
        if call.entry != "stream":
            assert json.loads(call.bare.request.body) == interaction.request, call.call


def test_the_facts_as_a_whole(player: replay.Replayer) -> None:
    """Over all calls: one span each, every token count exact, at least 99.5 % of all facts right."""
    calls = [call for id in BY_ID for call in observed(player, id)]
    pairs = [pair for call in calls for pair in replay.compare(call)]
    different = [pair for pair in pairs if not pair.equal]
    print(f"{len(BY_ID)} exchanges, {len(calls)} calls")
    print(table(pairs))
    print("\n".join(map(str, different)))
    assert [call.call for call in calls if len(call.spans) != 1] == []
    assert [pair for pair in different if pair.name in facts.USAGE_NAMES] == []
    assert len(different) <= FACTS_THAT_MAY_DIFFER * len(pairs)


@pytest.mark.skipif(not RECORDED, reason="TRISIGNAL_CORPUS names no folder of recorded traffic")
def test_the_recordings_are_there() -> None:
    """A folder that is named holds recordings, so that a wrong path cannot pass as success."""
    assert len(INTERACTIONS) > len(replay.load(replay.MADE))
