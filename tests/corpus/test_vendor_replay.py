"""The library's account of real traffic through the vendors' own clients, against facts read from the raw bytes."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from corpus import facts, replay, report, vendors

RECORDED = os.environ.get("TRISIGNAL_CORPUS")
INTERACTIONS = replay.load(Path(RECORDED), vendors.shape_of) if RECORDED and Path(RECORDED).is_dir() else []
BY_ID = {
    interaction.id: (interaction, player)
    for interaction in INTERACTIONS
    if (player := vendors.player_of(interaction)) is not None
}
FACTS_THAT_MAY_DIFFER = 0.005

pytestmark = pytest.mark.skipif(not BY_ID, reason="TRISIGNAL_CORPUS names no folder of recorded traffic")


class Players:
    """One running player per client."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._running: dict[type[replay.Replayer], replay.Replayer] = {}

    @functools.cache
    def observed(self, id: str) -> list[report.Observation]:
        """Replay each exchange once, whichever tests ask for it."""
        interaction, kind = BY_ID[id]
        if kind not in self._running:
            self._running[kind] = self._stack.enter_context(kind())
        return report.observe(self._running[kind], interaction)


@pytest.fixture(scope="module")
def players() -> Iterator[Players]:
    """Provide the clients for all calls."""
    with ExitStack() as stack:
        yield Players(stack)


def differing(pairs: Iterable[report.Comparison]) -> list[str]:
    """Return the comparisons that failed, as text."""
    return [str(pair) for pair in pairs if not pair.equal]


def told_in(body: Any) -> Any:
    """Return a body without what says nothing: clients differ in whether they send it."""
    if isinstance(body, Mapping):
        return {name: told_in(value) for name, value in body.items() if value not in (None, "")}
    return [told_in(value) for value in body] if isinstance(body, list) else body


@pytest.mark.parametrize("id", BY_ID)
def test_every_call_is_told_once_with_its_exact_tokens(players: Players, id: str) -> None:
    """However a call is made, it gives one span, one log line and one count, with the bytes' own tokens."""
    calls = players.observed(id)
    assert calls
    for call in calls:
        assert len(call.spans) == 1, call.call
        assert len(call.lines) == 1, call.call
        assert differing(pair for pair in report.compare(call) if pair.name in facts.USAGE_NAMES) == []
        assert differing(report.compare_metrics(call)) == []
        assert differing(report.compare_line(call)) == []


@pytest.mark.parametrize("id", BY_ID)
def test_the_application_notices_nothing(players: Players, id: str) -> None:
    """Results, exceptions and the bytes sent are those of the bare client, which sends what was recorded."""
    interaction, _ = BY_ID[id]
    for call in players.observed(id):
        outcome = (call.result.error, call.result.items, call.result.digest)
        assert outcome == (call.bare.error, call.bare.items, call.bare.digest), call.call
        assert call.result.request is not None
        assert call.bare.request is not None
        assert call.result.request.body == call.bare.request.body, call.call
        assert call.bare.provider_failed == call.facts.failed, call.call
        assert told_in(json.loads(call.bare.request.body)) == told_in(interaction.request), call.call


def test_the_facts_as_a_whole(players: Players) -> None:
    """Over all calls: one span each, every token count exact, at least 99.5 % of all facts right."""
    calls = [call for id in BY_ID for call in players.observed(id)]
    pairs = [pair for call in calls for pair in report.compare(call)]
    different = [pair for pair in pairs if not pair.equal]
    print(f"{len(BY_ID)} exchanges, {len(calls)} calls")
    print(report.table(pairs))
    print("\n".join(map(str, different)))
    assert [call.call for call in calls if len(call.spans) != 1] == []
    assert [pair for pair in different if pair.name in facts.USAGE_NAMES] == []
    assert len(different) <= FACTS_THAT_MAY_DIFFER * len(pairs)
