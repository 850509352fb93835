"""Charts as SVG text: no script, no inline style, so that a strict content-security policy holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from trisignal.console import display

WIDTH, HEIGHT = 360, 128
BROAD = 1140
"""Width of a chart that has the page to itself: text keeps its size."""
LEFT, BOTTOM, TOP = 46, 18, 8
MOST_SERIES = 5
"""Lines that a reader can tell apart; what is more is summed up as ``other``."""


@dataclass(frozen=True, slots=True)
class ChartLine:
    """One line of a chart."""

    name: str
    values: Sequence[float | None]
    """One per step; None leaves a gap."""


def top_of(most: float) -> float:
    """The smallest round number that is not below the largest value."""
    if most <= 0:
        return 1.0
    power = 10 ** math.floor(math.log10(most))
    return float(next(factor * power for factor in (1, 2, 4, 5, 8, 10) if factor * power >= most * 0.9999))


def lines(
    series: Sequence[ChartLine],
    starts: Sequence[float],
    text: Callable[[float | None], str],
    *,
    title: str,
    width: int = WIDTH,
) -> Markup:
    """A line chart over time.

    Args:
        series: At most `MOST_SERIES` lines, each with a value per start.
        starts: Unix seconds at which the steps start.
        text: Writes a value at the axis.
        title: For those who do not see the picture.
        width: Units of the picture from left to right.
    """
    known = [value for line in series for value in line.values if value is not None]
    if not known or len(starts) < 2:
        return Markup('<p class="empty">Nothing recorded in this window.</p>')
    top = top_of(max(known))
    span = starts[-1] - starts[0]
    parts = [
        f'<svg class="chart" viewBox="0 0 {width} {HEIGHT}" role="img" aria-label="{escape(title)}">',
        f"<title>{escape(title)}</title>",
    ]
    for part in (0.0, 0.5, 1.0):
        y = _y(part)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{width}" y1="{y}" y2="{y}"/>')
        parts.append(
            f'<text class="axis" x="{LEFT - 6}" y="{y + 3.5}" text-anchor="end">{escape(text(top * part))}</text>'
        )
    for index, line in enumerate(series):
        for points in _pieces(line.values, top, width):
            if len(points) == 1:
                x, y = points[0]
                parts.append(f'<circle class="fill{index + 1}" cx="{x}" cy="{y}" r="1.8"/>')
            else:
                joined = " ".join(f"{x},{y}" for x, y in points)
                parts.append(f'<polyline class="line{index + 1}" points="{joined}"/>')
    for part in (0.0, 1 / 3, 2 / 3, 1.0):
        anchor = "start" if part == 0 else "end" if part == 1 else "middle"
        at = display.clock(starts[0] + span * part, span)
        label = at if span > 86_400 else at[:5] if span >= 600 else at
        x = LEFT + (width - LEFT - 2) * part
        parts.append(f'<text class="axis" x="{x:.1f}" y="{HEIGHT - 4}" text-anchor="{anchor}">{label}</text>')
    parts.append("</svg>")
    return Markup("".join(parts))


def both(
    series: Sequence[ChartLine], starts: Sequence[float], text: Callable[[float | None], str], *, title: str
) -> Markup:
    """The same chart for broad and for narrow windows, of which one is shown: its text has one size in both."""
    broad = lines(series, starts, text, title=title, width=BROAD)
    return Markup('<div class="roomy">{}</div><div class="narrow">{}</div>').format(
        broad, lines(series, starts, text, title=title)
    )


def _y(part: float) -> float:
    return round(HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * part, 1)


def _pieces(values: Sequence[float | None], top: float, width: int) -> list[list[tuple[float, float]]]:
    """Points of a line, cut where nothing is known."""
    pieces: list[list[tuple[float, float]]] = [[]]
    last = max(1, len(values) - 1)
    for index, value in enumerate(values):
        if value is None:
            if pieces[-1]:
                pieces.append([])
            continue
        pieces[-1].append((round(LEFT + (width - LEFT - 2) * index / last, 1), _y(max(0.0, value) / top)))
    return [piece for piece in pieces if piece]


def bars(counts: Sequence[int], names: Sequence[str], *, title: str, marked: int = 0) -> Markup:
    """A histogram.

    Args:
        counts: One per bar.
        names: One per bar.
        title: For those who do not see the picture.
        marked: How many of the first bars are to stand out.
    """
    most = max(counts, default=0)
    if not most:
        return Markup('<p class="empty">Nothing was scored in this window.</p>')
    wide = (WIDTH - 8) / len(counts)
    parts = [f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">']
    parts.append(f"<title>{escape(title)}</title>")
    for index, (number, name) in enumerate(zip(counts, names)):
        tall = (HEIGHT - BOTTOM - 20) * number / most
        x, y = 4 + wide * index, HEIGHT - BOTTOM - tall
        kind = "fill5" if index < marked else "fill1"
        parts.append(
            f'<rect class="{kind}" x="{x + 2:.1f}" y="{y:.1f}" width="{wide - 4:.1f}" height="{tall:.1f}" rx="2"/>'
        )
        middle = x + wide / 2
        if number:
            parts.append(f'<text class="axis" x="{middle:.1f}" y="{y - 4:.1f}" text-anchor="middle">{number:,}</text>')
        parts.append(f'<text class="axis" x="{middle:.1f}" y="{HEIGHT - 4}" text-anchor="middle">{escape(name)}</text>')
    parts.append("</svg>")
    return Markup("".join(parts))


def shares(parts_of: Sequence[tuple[str, float]], width: float) -> Markup:
    """A stacked bar: where the time of one request went.

    Args:
        parts_of: CSS class and share, 0 to 1.
        width: Length of the bar, 0 to 1 of the longest one.
    """
    full = max(2.0, 140 * min(1.0, width))
    out, x = (
        [
            '<svg class="shares" viewBox="0 0 140 12" aria-hidden="true">'
            f'<rect class="rest" width="{full:.1f}" height="12" rx="2"/>'
        ],
        0.0,
    )
    for kind, share in parts_of:
        wide = full * max(0.0, min(1.0, share))
        if wide >= 0.3:
            out.append(f'<rect class="{kind}" x="{x:.1f}" width="{wide:.1f}" height="12"/>')
        x += wide
    return Markup("".join(out) + "</svg>")


def stacked(parts_of: Sequence[tuple[str, float]], *, title: str) -> Markup:
    """A bar as wide as its place, of parts side by side.

    Args:
        parts_of: CSS class and size of each part, in any unit.
        title: For those who do not see the picture.
    """
    whole = sum(size for _, size in parts_of) or 1.0
    out, x = [f'<svg class="stacked" viewBox="0 0 1000 16" preserveAspectRatio="none" role="img" '
              f'aria-label="{escape(title)}"><title>{escape(title)}</title>'], 0.0  # fmt: skip
    for kind, size in parts_of:
        wide = 1000 * size / whole
        # A part that is too short to be seen keeps a hairline.
        out.append(f'<rect class="{kind}" x="{min(x, 996):.1f}" width="{max(wide, 4):.1f}" height="16"/>')
        x += wide
    return Markup("".join(out) + "</svg>")


def lane(kind: str, start: float, length: float, first_token: float | None) -> Markup:
    """One bar of a waterfall.

    Args:
        kind: CSS class.
        start: 0 to 1 of the trace.
        length: 0 to 1 of the trace.
        first_token: 0 to 1 of the trace; None without one.
    """
    # Wide units, as the picture is stretched to the column's width.
    x, wide = 1000 * max(0.0, min(1.0, start)), max(4.0, 1000 * length)
    tick = ""
    if first_token is not None:
        at = 1000 * max(0.0, min(1.0, first_token))
        tick = f'<rect class="tick" x="{at:.0f}" y="0" width="3" height="20"/>'
    x = min(x, 1000 - min(wide, 1000))
    return Markup(
        f'<svg class="lane" viewBox="0 0 1000 20" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="{kind}" x="{x:.0f}" y="4" width="{min(wide, 1000):.0f}" height="12"/>{tick}</svg>'
    )
