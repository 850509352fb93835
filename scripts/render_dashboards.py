"""Draw the dashboards with real query results, for the documentation.

    python scripts/render_dashboards.py docs/images

Starts an application under load and a Prometheus that scrapes it, as the tests do, and draws each
dashboard's JSON from what Prometheus answers. Needs Prometheus and the dependency group ``docs``.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

import matplotlib as mpl  # noqa: E402 - after the path

mpl.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from operate.stand import Stand, running  # noqa: E402
from PIL import Image  # noqa: E402

from trisignal.operate import dashboards, objectives  # noqa: E402
from trisignal.operate.dashboards import grafana  # noqa: E402

WIDTH_IN, ROW_IN, DPI = 16.0, 0.36, 85
PAPER, CARD, INK, FAINT = "#f4f5f5", "#ffffff", "#24292e", "#8e8e8e"
GRID, EDGE = "#e6e6e6", "#dcdee0"
PALETTE = ("#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#5794f2", "#b877d9", "#705da0", "#37872d", "#fade2a")
NAMED = {"green": "#56a64b", "orange": "#ff780a", "red": "#e02f44", "purple": "#8f3bb8", "blue": "#8ab8ff"}
NOTE = "Drawn from the panels' queries, on made-up traffic. Grafana draws finer."
OBJECTIVES = {
    "availability": {"target": 0.99},
    "rate_limit": {"target": 0.995},
    "quality": {"target": 0.9, "score": 0.6},
    "hallucination": {"target": 0.95, "score": 0.5, "evaluation": "hallucination"},
}
"""Targets that the made-up traffic meets: it fails more often than a service should, to show errors."""
RATE_S, SETTLE_S = 30, 90
"""Window of rates, and how long the load runs before what is drawn, until there is enough for rates."""
COLUMNS, POINTS, MOST_LEGEND = 60, 240, 6
VARIABLE = re.compile(r"\$(\w+)")


class Line(NamedTuple):
    """One series of an answer."""

    labels: dict[str, str]
    name: str
    times: list[float]
    values: list[float]


class Window:
    """The time range that is drawn.

    Args:
        stand: What answers.
        seconds: How much of the past.
    """

    def __init__(self, stand: Stand, seconds: float) -> None:
        self.stand = stand
        # A busy machine scrapes late: the picture ends with the last scrape that came.
        self.end = stand.vector("max(max_over_time(timestamp(llm_requests_total)[2m:2s]))")[0][1]
        self.start = self.end - seconds

    def filled(self, expr: str) -> str:
        """A query with all variables replaced."""
        values = {"$__rate_interval": f"{RATE_S}s", "$__range": f"{self.end - self.start:.0f}s", "$__interval": "5s"}
        for name, value in values.items():
            expr = expr.replace(name, value)
        return VARIABLE.sub(".*", expr)

    def lines(self, panel: dict[str, Any], columns: int) -> list[Line]:
        """The answers to a panel's queries over time."""
        found = []
        for target in panel["targets"]:
            step = (self.end - self.start) / columns
            answer = self.stand.ask(
                "query_range", query=self.filled(target["expr"]), start=self.start, end=self.end, step=step
            )
            for series in answer["result"]:
                points = [(float(at), float(value)) for at, value in series["values"]]
                name = _legend(target.get("legendFormat", ""), series["metric"])
                found.append(Line(series["metric"], name, [p[0] for p in points], [p[1] for p in points]))
        return found

    def now(self, panel: dict[str, Any]) -> list[Line]:
        """The answers to a panel's queries at the end."""
        return [
            Line(labels, _legend(target.get("legendFormat", ""), labels), [self.end], [value])
            for target in panel["targets"]
            for labels, value in self.stand.vector(self.filled(target["expr"]))
        ]

    def dots(self, panel: dict[str, Any]) -> list[tuple[float, float]]:
        """Exemplars of a panel."""
        found = []
        for target in panel["targets"]:
            if target.get("exemplar"):
                query = self.filled(target["expr"])
                for series in self.stand.ask("query_exemplars", query=query, start=self.start, end=self.end):
                    found += [(float(one["timestamp"]), float(one["value"])) for one in series["exemplars"]]
        return found[:: max(1, len(found) // 60)]


def _legend(form: str, labels: dict[str, str]) -> str:
    name = re.sub(r"\{\{(\w+)\}\}", lambda match: labels.get(match[1], ""), form)
    # Matplotlib leaves out names that begin with an underscore.
    return name.replace("_", "\u2009_", 1) if name.startswith("_") else name or "(none)"


# --- numbers -------------------------------------------------------------------------


def shown(value: float, unit: str) -> str:
    """A number in Grafana's way."""
    if unit == "s":
        return _seconds(value)
    if unit == "percentunit":
        return f"{value * 100:.0f}%" if abs(value) >= 1 else f"{value * 100:.3g}%"
    if unit == "percent":
        return f"{value:.3g}%"
    if unit == "currencyUSD":
        return f"${value:.2f}" if value >= 1 else f"${value:.3g}"
    if unit == "bytes":
        return f"{value / 2**30:.3g} GiB" if value >= 2**30 else f"{value / 2**20:.3g} MiB"
    ending = {"reqps": " req/s", "cps": " c/s", "watt": " W", "celsius": " °C"}.get(unit, "")
    ending = f" {unit.removeprefix('suffix:').strip()}" if unit.startswith("suffix:") else ending
    return (f"{value / 1000:.3g} K" if abs(value) >= 1000 else f"{value:.3g}") + ending


def _seconds(value: float) -> str:
    for size, name in ((604800, "weeks"), (86400, "days"), (3600, "hours"), (60, "min")):
        if value >= 2 * size:
            return f"{value / size:.3g} {name}"
    return f"{value:.3g} s" if value >= 1 else f"{value * 1000:.3g} ms"


def _bound(le: str, unit: str) -> str:
    return "more" if le == "+Inf" else shown(float(le), unit)


# --- panels --------------------------------------------------------------------------


def _unit(panel: dict[str, Any]) -> str:
    return str(panel["fieldConfig"]["defaults"].get("unit", "short"))


def _steps(panel: dict[str, Any]) -> list[dict[str, Any]]:
    return list(panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", []))


def _fixed(panel: dict[str, Any]) -> dict[str, str]:
    """Colours that series always have."""
    found = {}
    for override in panel["fieldConfig"]["overrides"]:
        for one in override["properties"]:
            if one["id"] == "color":
                found[override["matcher"]["options"]] = NAMED[one["value"]["fixedColor"]]
    return found


def _time_axis(axes: Axes, window: Window) -> None:
    axes.set_xlim(window.start, window.end)
    step = max(60, round((window.end - window.start) / 4 / 60) * 60)
    first = -(-window.start // step) * step
    edge = (window.end - window.start) / 20  # a mark there would lie on those of the other axis
    marks = [first + step * number for number in range(int((window.end - edge - first) // step) + 1)]
    marks = [mark for mark in marks if mark > window.start + edge]
    axes.set_xticks(marks, [time.strftime("%H:%M", time.gmtime(mark)) for mark in marks])
    axes.tick_params(length=0, labelsize=7, colors=FAINT)


def draw_lines(axes: Axes, panel: dict[str, Any], window: Window) -> bool:
    """Lines or stacked areas."""
    lines = window.lines(panel, POINTS)
    defaults, unit, fixed = panel["fieldConfig"]["defaults"], _unit(panel), _fixed(panel)
    colours = [fixed.get(line.name) or PALETTE[number % len(PALETTE)] for number, line in enumerate(lines)]
    if defaults["custom"].get("stacking", {}).get("mode") == "normal":
        at = sorted({moment for line in lines for moment in line.times})
        values = [[dict(zip(line.times, line.values)).get(moment, 0.0) for moment in at] for line in lines]
        if lines:
            axes.stackplot(at, values, colors=colours, labels=[line.name for line in lines], alpha=0.75)
    else:
        for colour, line in zip(colours, lines):
            axes.plot(line.times, line.values, color=colour, linewidth=1.3, label=line.name)
    top = max([value for line in lines for value in line.values if value == value] or [1.0])
    if dots := window.dots(panel):
        near = [(moment, value) for moment, value in dots if value <= top * 1.3]
        axes.scatter([d[0] for d in near], [d[1] for d in near], marker="D", s=9, facecolor="none", edgecolor="#5794f2",
                     linewidth=0.7, zorder=3)  # fmt: skip
    for step in _steps(panel):
        if step["value"] is not None and step["value"] <= max(top * 1.6, float(defaults.get("max", 0))):
            axes.axhline(step["value"], color=NAMED.get(step["color"], step["color"]), linestyle="--", linewidth=0.9)
    axes.set_ylim(0, defaults.get("max", None))
    if "max" not in defaults:
        axes.set_ylim(0, max(axes.get_ylim()[1], top * 1.1, 1e-9))
    axes.grid(axis="y", color=GRID, linewidth=0.6)
    axes.set_yticks(axes.get_yticks(), [shown(mark, unit) for mark in axes.get_yticks()])
    axes.locator_params(axis="y", nbins=5)
    axes.yaxis.set_major_formatter(lambda value, _: shown(value, unit))
    _time_axis(axes, window)
    handles, names = axes.get_legend_handles_labels()
    if len(names) > MOST_LEGEND:
        handles, names = handles[:MOST_LEGEND], [*names[: MOST_LEGEND - 1], f"and {len(names) - MOST_LEGEND + 1} more"]
    if names:
        columns = 2 if panel["gridPos"]["w"] < 8 else 3
        names = [name if len(name) < 26 else name[:25] + "…" for name in names]
        axes.legend(handles, names, loc="upper left", bbox_to_anchor=(-0.02, -0.12), ncols=columns, fontsize=6.5,
                    frameon=False, labelcolor=INK, handlelength=1.2, columnspacing=1.0, borderaxespad=0)  # fmt: skip
    return bool(lines)


def draw_stat(axes: Axes, panel: dict[str, Any], window: Window) -> bool:
    """One number."""
    lines = window.now(panel)
    axes.axis("off")
    if lines:
        value, colour = lines[0].values[0], INK
        steps = _steps(panel)
        for step in steps if len(steps) > 1 else []:
            if step["value"] is None or value >= step["value"]:
                colour = NAMED.get(step["color"], step["color"])
        if panel["fieldConfig"]["defaults"].get("decimals") == 0:
            value = round(value)
        axes.text(0.5, 0.45, shown(value, _unit(panel)), ha="center", va="center", fontsize=19, color=colour,
                  transform=axes.transAxes)  # fmt: skip
    return bool(lines)


def draw_bars(axes: Axes, panel: dict[str, Any], window: Window) -> bool:
    """One bar per series, or per bucket."""
    lines = window.now(panel)
    if panel["targets"][0].get("format") == "heatmap":
        lines = _apart(lines)
    if not lines:
        return False
    names, values = [line.name for line in lines], [line.values[0] for line in lines]
    top = float(panel["fieldConfig"]["defaults"].get("max", max(values) or 1.0))
    good = panel["fieldConfig"]["defaults"].get("color", {}).get("mode") == "continuous-RdYlGr"
    colours = mpl.colormaps["RdYlGn" if good else "Blues"]([0.15 + 0.75 * max(0.0, min(1.0, v / top)) for v in values])
    axes.barh(range(len(values)), [min(max(value, 0.0), top) for value in values], color=colours, height=0.7)
    axes.set_yticks(range(len(names)), names, fontsize=7, color=INK)
    for at, value in enumerate(values):
        axes.text(top * 1.02, at, shown(value, _unit(panel)), va="center", fontsize=7, color=INK)
    axes.set_xlim(0, top * 1.18)
    axes.invert_yaxis()
    axes.set_xticks([])
    axes.tick_params(length=0)
    return True


def _apart(lines: list[Line]) -> list[Line]:
    """Cumulative buckets as counts of their own."""
    ordered = sorted(lines, key=lambda line: float(line.labels["le"]))
    found, below = [], dict.fromkeys((moment for line in lines for moment in line.times), 0.0)
    for line in ordered:
        values = [max(0.0, value - below.get(moment, 0.0)) for moment, value in zip(line.times, line.values)]
        below.update(zip(line.times, line.values))
        found.append(line._replace(values=values))
    return found


def draw_heatmap(axes: Axes, panel: dict[str, Any], window: Window) -> bool:
    """Buckets over time."""
    lines = _apart(window.lines(panel, COLUMNS))
    used = [number for number, line in enumerate(lines) if any(line.values)]
    if not used:
        return False
    lines = lines[max(0, used[0] - 1) : used[-1] + 1]
    at = sorted({moment for line in lines for moment in line.times})
    cells = [[dict(zip(line.times, line.values)).get(moment, 0.0) for moment in at] for line in lines]
    axes.pcolormesh(*_edges(at, len(lines), window), cells, cmap="Blues")
    unit = str(panel["options"]["yAxis"].get("unit", "short"))
    each = max(1, len(lines) // 8)
    marks = list(range(0, len(lines), each))
    axes.set_yticks(marks, [_bound(lines[mark].labels["le"], unit) for mark in marks], fontsize=7, color=FAINT)
    _time_axis(axes, window)
    return True


def _edges(at: list[float], rows: int, window: Window) -> tuple[list[float], list[float]]:
    """Where cells begin and end, whose middles are moments and whole numbers."""
    half = (window.end - window.start) / COLUMNS / 2
    return [*(moment - half for moment in at), at[-1] + half], [row - 0.5 for row in range(rows + 1)]


def draw_history(axes: Axes, panel: dict[str, Any], window: Window) -> bool:
    """One row of cells per series."""
    lines = window.lines(panel, COLUMNS)
    if not lines:
        return False
    at = sorted({moment for line in lines for moment in line.times})
    cells = [[dict(zip(line.times, line.values)).get(moment, float("nan")) for moment in at] for line in lines]
    axes.pcolormesh(*_edges(at, len(lines), window), cells, cmap="RdYlGn", vmin=0, vmax=1, edgecolors=CARD,
                    linewidth=0.4)  # fmt: skip
    axes.set_yticks(range(len(lines)), [line.name for line in lines], fontsize=7, color=INK)
    axes.invert_yaxis()
    _time_axis(axes, window)
    return True


def draw_table(axes: Axes, panel: dict[str, Any], window: Window) -> bool:
    """Rows of labels and numbers; those of logs and traces need data sources that are not here."""
    axes.axis("off")
    if panel["datasource"]["type"] != "prometheus" or panel["type"] != "table":
        needed = {"loki": "Loki", "tempo": "Tempo"}.get(panel["datasource"]["type"], "Grafana's alerting")
        axes.text(
            0.5, 0.5, f"from {needed}", ha="center", va="center", fontsize=9, color=FAINT, transform=axes.transAxes
        )
        return True
    [organized] = [one for one in panel["transformations"] if one["id"] == "organize"]
    titles: dict[str, str] = organized["options"]["renameByName"]
    labels = {name: title for name, title in titles.items() if not name.startswith("Value")}
    numbers = [title for name, title in titles.items() if name.startswith("Value")]
    units = {one["matcher"]["options"]: one["properties"][0]["value"] for one in panel["fieldConfig"]["overrides"]}
    rows: dict[tuple[str, ...], dict[int, float]] = {}
    for column, target in enumerate(panel["targets"]):
        for found, value in window.stand.vector(window.filled(target["expr"])):
            rows.setdefault(tuple(found.get(name, "") for name in labels), {})[column] = value
    shown_rows = sorted(rows.items(), key=lambda row: -row[1].get(0, float("-inf")))[:9]
    text = [
        [*key, *(shown(values[at], units[title]) if at in values else "" for at, title in enumerate(numbers))]
        for key, values in shown_rows
    ]
    if not text:
        return False
    made = axes.table(text, colLabels=[*labels.values(), *numbers], loc="upper left", edges="horizontal",
                      cellLoc="left", bbox=(0, 1 - 0.1 * (len(text) + 1), 1, 0.1 * (len(text) + 1)))  # fmt: skip
    for cell in made.get_celld().values():
        cell.set_text_props(ha="left")
    made.auto_set_font_size(False)
    made.set_fontsize(7.5)
    for cell in made.get_celld().values():
        cell.set_edgecolor(GRID)
        cell.get_text().set_color(INK)
    return True


DRAW: dict[str, Callable[[Axes, dict[str, Any], Window], bool]] = {
    "timeseries": draw_lines,
    "stat": draw_stat,
    "bargauge": draw_bars,
    "heatmap": draw_heatmap,
    "status-history": draw_history,
    "table": draw_table,
    "logs": draw_table,
    "alertlist": draw_table,
}


# --- pages ---------------------------------------------------------------------------


def draw(dashboard: dict[str, Any], window: Window, file: Path) -> None:
    """Draw one dashboard.

    Args:
        dashboard: Its JSON.
        window: What is drawn.
        file: Where to.
    """
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard["panels"]) + 2
    figure = plt.figure(figsize=(WIDTH_IN, height * ROW_IN), dpi=DPI, facecolor=PAPER)
    figure.text(0.012, 1 - 1.1 / height, dashboard["title"], fontsize=15, color=INK, va="center")
    chosen = [v.get("label") or v["name"] for v in dashboard["templating"]["list"] if v["type"] == "query"]
    figure.text(0.988, 1 - 1.1 / height, "    ".join(f"{name}: All" for name in chosen), fontsize=8.5, color=FAINT,
                ha="right", va="center")  # fmt: skip
    figure.text(0.5, 1 - 1.1 / height, NOTE, fontsize=8.5, color=FAINT, ha="center", va="center", style="italic")
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        left, bottom = 0.008 + at["x"] / 24 * 0.984, 1 - (at["y"] + at["h"] + 2) / height
        wide, tall = at["w"] / 24 * 0.984, at["h"] / height
        if panel["type"] == "row":
            figure.text(left + 0.004, bottom + tall / 2, panel["title"], fontsize=10, color=INK, va="center")
            continue
        _draw_panel(figure, panel, window, (left, bottom, wide, tall), height)
    figure.savefig(file, facecolor=PAPER)
    plt.close(figure)
    few = Image.open(file).convert("RGB").quantize(palette=_few_colours(), dither=Image.Dither.NONE)
    few.save(file, optimize=True)


def _few_colours() -> Image.Image:
    """A palette of what is drawn with, and how its edges fade into white; what a quantizer finds shifts the colours."""
    to_rgb = mpl.colors.to_rgb
    found = [
        tuple(1 - share * (1 - part) for part in to_rgb(colour))
        for colour in (PAPER, CARD, INK, FAINT, GRID, EDGE, *PALETTE, *NAMED.values())
        for share in (1, 0.75, 0.6, 0.4, 0.2)
    ]
    for name in ("Blues", "RdYlGn"):
        found += [mpl.colormaps[name](level / 47)[:3] for level in range(48)]
    made = Image.new("P", (1, 1))
    made.putpalette([round(part * 255) for colour in dict.fromkeys(found) for part in colour])
    return made


def _draw_panel(
    figure: Any, panel: dict[str, Any], window: Window, box: tuple[float, float, float, float], height: int
) -> None:
    left, bottom, wide, tall = box
    gap_x, gap_y = 0.0025, 0.12 / height
    look = {"facecolor": CARD, "edgecolor": EDGE, "linewidth": 0.8, "zorder": -1}
    corner, size = (left + gap_x, bottom + gap_y), (wide - 2 * gap_x, tall - 2 * gap_y)
    figure.add_artist(mpl.patches.Rectangle(corner, *size, transform=figure.transFigure, **look))
    figure.text(left + 0.008, bottom + tall - 0.55 / height, panel["title"], fontsize=8.5, color=INK, va="center")
    kind = panel["type"]
    names = {"bargauge": 0.1, "status-history": 0.1, "timeseries": 0.036, "heatmap": 0.036}.get(kind, 0.0)
    foot = {"timeseries": 2.15, "heatmap": 1.0, "status-history": 1.0}.get(kind, 0.4)
    axes = figure.add_axes(
        (left + 0.008 + names, bottom + foot / height, wide - 0.02 - names, tall - (foot + 1.2) / height),
        facecolor=CARD,
    )
    for side in axes.spines.values():
        side.set_visible(False)
    if not DRAW[kind](axes, panel, window):
        axes.cla()
        axes.axis("off")
        axes.text(0.5, 0.5, "No data", ha="center", va="center", fontsize=11, color=FAINT, transform=axes.transAxes)


def main() -> None:
    """Make the pictures."""
    parser = argparse.ArgumentParser(description="Draw the dashboards.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=300.0, help="How long the load runs.")
    chosen = parser.parse_args()
    plan = objectives.of({"dimensions": ["tenant"], "objectives": OBJECTIVES})
    variables = dashboards.Selection(plan).variables()
    with tempfile.TemporaryDirectory() as folder, running(plan, Path(folder), calm=True) as stand:
        time.sleep(chosen.seconds + SETTLE_S)
        window = Window(stand, chosen.seconds)
        for page in dashboards.pages(plan):
            file = chosen.folder / f"dashboard-{page.name}.png"
            draw(grafana.render(page, variables), window, file)
            print(file, file.stat().st_size)


if __name__ == "__main__":
    main()
