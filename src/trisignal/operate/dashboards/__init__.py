"""The dashboards: one file each, made from the same plan as the rules."""

from __future__ import annotations

from collections.abc import Callable

from trisignal.operate.dashboards import (
    agents,
    calls,
    cost,
    infrastructure,
    latency,
    overview,
    providers,
    quality,
    slo,
    tenants,
)
from trisignal.operate.dashboards.pages import DashboardPage
from trisignal.operate.dashboards.selection import Selection
from trisignal.operate.objectives import RulesPlan

__all__ = ["DASHBOARDS", "DashboardPage", "Selection", "pages"]

DASHBOARDS: tuple[Callable[[Selection], DashboardPage], ...] = (
    overview.page,
    slo.page,
    latency.page,
    calls.page,
    cost.page,
    tenants.page,
    quality.page,
    providers.page,
    agents.page,
    infrastructure.page,
)
"""All of them, in the order in which a reader needs them."""


def pages(plan: RulesPlan) -> list[DashboardPage]:
    """All dashboards of a plan; one without rows has nothing to show."""
    made = (page(Selection(plan)) for page in DASHBOARDS)
    return [page for page in made if page.rows]
