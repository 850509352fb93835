"""What a program of a framework hands to the driver."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Scenario:
    """One run of a framework, and what must be seen of it."""

    run: Callable[[], Any]
    """Makes the run; what it returns is awaited if it can be."""
    agents: tuple[str, ...] = ("planner",)
    """Names of the agents that run, each once; empty where the framework has none."""
    tools: tuple[str, ...] = ()
    """Names of the tools that run, each once."""
    fails: bool = False
    """Whether the model server refuses, which the framework may raise."""
    tool_fails: bool = False
    """Whether a tool fails, and nothing else."""
