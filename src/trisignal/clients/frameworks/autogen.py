"""AutoGen: teams, which are workflows. Its agents and tools write spans themselves.

Messages between agents of a team carry the trace in which they were sent: with the workflow around them it is one.
"""

from __future__ import annotations

import importlib
from typing import Any

from trisignal import semconv as names
from trisignal.call import Draft
from trisignal.clients._patch import Patches
from trisignal.clients._provider import Args, Kwargs
from trisignal.clients.frameworks._framework import nested, run_wrapper


def _team(instance: Any, args: Args, kwargs: Kwargs) -> Draft | None:
    return nested(names.INVOKE_WORKFLOW, str(getattr(instance, "name", None) or type(instance).__name__))


class AutoGen:
    """Reader of the ``autogen_agentchat`` package."""

    def patch(self, patches: Patches) -> None:
        """Patch the method through which every team runs."""
        teams = importlib.import_module("autogen_agentchat.teams").BaseGroupChat
        patches.wrap(teams, "run_stream", run_wrapper(_team))


def provider() -> AutoGen:
    """The reader of the ``autogen_agentchat`` package."""
    return AutoGen()
