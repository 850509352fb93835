"""The library's account of real traffic of Cohere's API, against facts read from the raw bytes."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from clients.cohere.facts import shape_of
from clients.cohere.replay import Cohere
from corpus import facts, replay, report

RECORDED = os.environ.get("TRISIGNAL_CORPUS")
INTERACTIONS = replay.load(Path(RECORDED), shape_of) if RECORDED and Path(RECORDED).is_dir() else []
BY_ID = {interaction.id: interaction for interaction in INTERACTIONS}
FACTS_THAT_MAY_DIFFER = 0.005

pytestmark = pytest.mark.skipif(not BY_ID, reason="TRISIGNAL_CORPUS names no folder of recorded traffic")


@pytest.fixture(scope="module")
def player() -> Iterator[Cohere]:
    """Provide one server and its clients for all calls."""
    with Cohere() as running:
        yield running


@functools.cache
def observed(player: Cohere, id: str) -> list[report.Observation]:
    """Replay each exchange once, whichever tests ask for it."""
    return report.observe(player, BY_ID[id])


def differing(pairs: Iterable[report.Comparison]) -> list[str]:
    """Return the comparisons that failed, as text."""
    return [str(pair) for pair in pairs if not pair.equal]


def told_in(body: Any) -> Any:
    """Return a body without what says nothing: clients differ in whether they send it."""
    if isinstance(body, Mapping):
        return {name: told_in(value) for name, value in body.items() if value not in (None, "", False)}
    return [told_in(value) for value in body] if isinstance(body, list) else body


@pytest.mark.parametrize("id", BY_ID)
def test_every_call_is_told_once_with_its_exact_tokens(player: Cohere, id: str) -> None:
    """However a call is made, it gives one span, one log line and one count, with the bytes' own tokens."""
    calls = observed(player, id)
    assert calls
    for call in calls:
        assert len(call.spans) == 1, call.call
        assert len(call.lines) == 1, call.call
        assert differing(pair for pair in report.compare(call) if pair.name in facts.USAGE_NAMES) == []
        assert differing(report.compare_metrics(call)) == []
        assert differing(report.compare_line(call)) == []


@pytest.mark.parametrize("id", BY_ID)
def test_the_application_notices_nothing(player: Cohere, id: str) -> None:
    """Results, exceptions and the bytes sent are those of the bare client, which sends what was recorded."""
    for call in observed(player, id):
        outcome = (call.result.error, call.result.items, call.result.digest)
        assert outcome == (call.bare.error, call.bare.items, call.bare.digest), call.call
        assert call.result.request is not None
        assert call.bare.request is not None
        assert call.result.request.body == call.bare.request.body, call.call
        assert call.bare.provider_failed == call.facts.failed, call.call
        assert told_in(json.loads(call.bare.request.body)) == told_in(BY_ID[id].request), call.call


def test_the_facts_as_a_whole(player: Cohere) -> None:
    """Over all calls: one span each, every token count exact, at least 99.5 % of all facts right."""
    calls = [call for id in BY_ID for call in observed(player, id)]
    pairs = [pair for call in calls for pair in report.compare(call)]
    different = [pair for pair in pairs if not pair.equal]
    print(f"{len(BY_ID)} exchanges, {len(calls)} calls")
    print(report.table(pairs))
    print("\n".join(map(str, different)))
    assert [call.call for call in calls if len(call.spans) != 1] == []
    assert [pair for pair in different if pair.name in facts.USAGE_NAMES] == []
    assert len(different) <= FACTS_THAT_MAY_DIFFER * len(pairs)
