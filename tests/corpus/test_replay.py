"""The library's account of real traffic through real clients, against facts read from the raw bytes."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from corpus import report
from corpus.player import Player
from corpus.players import PLAYERS, Row
from corpus.recordings import FOLDER, INVENTED, Recording, load, recordings

Play = Callable[[Row], Player]


def _cases() -> list[Any]:
    return [
        pytest.param(row, recording, id=f"{row.name}-{recording.id}")
        for row in PLAYERS
        for recording in recordings()
        if row.takes(recording)
    ]


@pytest.fixture(scope="module")
def player_of() -> Iterator[Play]:
    """Provide the players, each started when it is first asked for."""
    with ExitStack() as stack:
        yield functools.cache(lambda row: stack.enter_context(row.load()()))


@pytest.mark.parametrize(("row", "recording"), _cases())
def test_exchange(player_of: Play, row: Row, recording: Recording) -> None:
    """However a recorded call is made, the application notices nothing, and span, metrics and log line are right."""
    _skip_unless_installed(row)
    player = player_of(row)
    calls = report.observe(player, recording)
    if not calls and player.may_refuse:
        pytest.skip("this version of the client does not send this")
    assert calls
    differences = [str(pair) for call in calls for pair in report.differences(call)]
    assert not differences, "\n".join(differences)


def _skip_unless_installed(row: Row) -> None:
    """Some environments are for one client."""
    try:
        spec = importlib.util.find_spec(row.package)
    except ModuleNotFoundError:
        spec = None
    if spec is None:
        pytest.skip(f"{row.package} is not installed")


@pytest.mark.skipif(not FOLDER, reason="TRISIGNAL_CORPUS names no folder of recorded traffic")
def test_the_recordings_are_there() -> None:
    """A folder that is named holds recordings of every player's, so that a wrong path cannot pass as success."""
    recorded = recordings()[sum(len(load(folder)) for folder in INVENTED) :]
    assert {row.name for row in PLAYERS if not any(map(row.takes, recorded))} == set()
