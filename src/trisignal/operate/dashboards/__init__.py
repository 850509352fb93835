"""The dashboards: one file each, made from the same plan as the rules."""

from __future__ import annotations

from collections.abc import Callable

from trisignal.operate.dashboards import agents, cost, infrastructure, latency, overview, providers, quality
from trisignal.operate.dashboards.pages import Page
from trisignal.operate.dashboards.selection import Selection
from trisignal.operate.objectives import Plan

__all__ = ["DASHBOARDS", "Page", "Selection", "pages"]

DASHBOARDS: tuple[Callable[[Selection], Page], ...] = (
    overview.page,
    latency.page,
    cost.page,
    quality.page,
    providers.page,
    agents.page,
    infrastructure.page,
)
"""All of them, in the order in which a reader needs them."""


def pages(plan: Plan) -> list[Page]:
    """All dashboards of a plan."""
    return [page(Selection(plan)) for page in DASHBOARDS]
