"""The library's account of real Mistral traffic, against facts read from the raw bytes."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from clients.mistral.replay import MistralPlayer, load
from corpus import facts, report

RECORDED = os.environ.get("TRISIGNAL_CORPUS")
BY_ID = {found.id: found for found in load(Path(RECORDED))} if RECORDED else {}
FACTS_THAT_MAY_DIFFER = 0.005

pytestmark = pytest.mark.skipif(not BY_ID, reason="TRISIGNAL_CORPUS names no folder of recorded traffic")


@pytest.fixture(scope="module")
def player() -> Iterator[MistralPlayer]:
    """Provide one server and its clients for all calls."""
    with MistralPlayer() as running:
        yield running


@functools.cache
def observed(player: MistralPlayer, id: str) -> list[report.Observation]:
    """Replay each exchange once, whichever tests ask for it."""
    return report.observe(player, BY_ID[id])


def differing(pairs: Iterable[report.Comparison]) -> list[str]:
    """Return the comparisons that failed, as text."""
    return [str(pair) for pair in pairs if not pair.equal]


def settings(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a body asks for apart from messages and tools, in which the client writes defaults out."""
    return {name: value for name, value in body.items() if isinstance(value, (str, int, float))}


@pytest.mark.parametrize("id", BY_ID)
def test_every_call_is_told_once_with_its_exact_tokens(player: MistralPlayer, id: str) -> None:
    """Each call gives one span, one log line and one count, with the bytes' own tokens."""
    calls = observed(player, id)
    if not calls:
        pytest.skip("this version of the client does not send this")
    assert len(calls) == 2
    for call in calls:
        assert len(call.spans) == 1, call.call
        assert len(call.lines) == 1, call.call
        assert differing(pair for pair in report.compare(call) if pair.name in facts.USAGE_NAMES) == []
        assert differing(report.compare_metrics(call)) == []
        assert differing(report.compare_line(call)) == []


@pytest.mark.parametrize("id", BY_ID)
def test_the_application_notices_nothing(player: MistralPlayer, id: str) -> None:
    """Results, exceptions and the bytes sent are those of the bare client, which says what was recorded."""
    for call in observed(player, id):
        outcome = (call.result.error, call.result.items, call.result.digest)
        assert outcome == (call.bare.error, call.bare.items, call.bare.digest), call.call
        assert call.result.request is not None
        assert call.bare.request is not None
        assert call.result.request.body == call.bare.request.body, call.call
        assert call.bare.provider_failed == call.facts.failed, call.call
        sent, recorded = settings(json.loads(call.bare.request.body)), settings(BY_ID[id].request)
        assert sent == {**sent, **{name: recorded[name] for name in recorded if name in sent}}, call.call


def test_the_facts_as_a_whole(player: MistralPlayer) -> None:
    """Over all calls: one span each, every token count exact, at least 99.5 % of all facts right."""
    calls = [call for id in BY_ID for call in observed(player, id)]
    pairs = [pair for call in calls for pair in report.compare(call)]
    different = [pair for pair in pairs if not pair.equal]
    print(f"{len(BY_ID)} exchanges, {len(calls)} calls")
    print(report.table(pairs))
    print("\n".join(map(str, different)))
    assert [call.call for call in calls if len(call.spans) != 1] == []
    assert len(different) <= FACTS_THAT_MAY_DIFFER * len(pairs)
