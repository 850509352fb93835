"""Numbers and times as the pages show them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from trisignal.console import display

SHOWN: list[tuple[Callable[..., str], tuple[object, ...], str]] = [
    (display.seconds, (None,), "–"),
    (display.seconds, (0.0,), "0 s"),
    (display.seconds, (0.00025,), "250 µs"),
    (display.seconds, (0.004,), "4.0 ms"),
    (display.seconds, (0.045,), "45 ms"),
    (display.seconds, (0.31,), "0.31 s"),
    (display.seconds, (75.25,), "75.2 s"),
    (display.seconds, (125,), "2 min 05 s"),
    (display.seconds, (3 * 3600 + 4 * 60,), "3 h 04 min"),
    (display.dollars, (None,), "–"),
    (display.dollars, (0,), "$0"),
    (display.dollars, (0.0055,), "$0.0055"),
    (display.dollars, (12.4,), "$12.40"),
    (display.dollars, (1204.3,), "$1,204"),
    (display.dollars, (-0.5,), "−$0.50"),
    (display.count, (None,), "–"),
    (display.count, (1234567,), "1,234,567"),
    (display.per_second, (12.34,), "12.3/s"),
    (display.per_second, (0.05,), "3.0/min"),
    (display.per_second, (0.0005,), "1.8/h"),
    (display.percent, (None,), "–"),
    (display.percent, (0,), "0 %"),
    (display.percent, (0.0123,), "1.2 %"),
    (display.percent, (-0.5,), "−50 %"),
    (display.score, (None,), ""),
    (display.score, (0.5,), "0.50"),
    (display.clock, (1_700_000_000,), "22:13:20"),
    (display.clock, (1_700_000_000, 100_000), "11-14 22:13"),
    (display.moment, (None,), "–"),
    (display.moment, (1_700_000_000.9,), "2023-11-14 22:13:20"),
    (display.bytes_of, (None,), "–"),
    (display.bytes_of, (999,), "999 B"),
    (display.bytes_of, (1500,), "1.5 kB"),
    (display.bytes_of, (2_500_000,), "2.5 MB"),
    (display.bytes_of, (7_250_000_000,), "7.2 GB"),
]


@pytest.mark.parametrize(("show", "value", "text"), SHOWN)
def test_as_people_read_them(show: Callable[..., str], value: tuple[object, ...], text: str) -> None:
    """Each size has its unit, and what is unknown is not 0."""
    assert show(*value) == text


@pytest.mark.parametrize(
    ("after", "before", "shown"),
    [
        (None, 1.0, ("", "")),
        (1.0, None, ("", "")),
        (1.04, 1.0, ("steady", "")),
        (2.0, 1.0, ("+1", "up")),
        (0.0, 1.0, ("−1", "down")),
        (1.0, 0.0, ("+1", "up")),
    ],
)
def test_a_change_has_a_direction_where_it_is_large_enough(
    after: float | None, before: float | None, shown: tuple[str, str]
) -> None:
    """More is worse, little is steady, and without a number before there is nothing to compare."""
    assert display.change(after, before, "1", enough=0.05) == shown
