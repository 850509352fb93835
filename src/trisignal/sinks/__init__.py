"""Sinks: each renders ended calls in one format. Only here are telemetry formats known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

from trisignal.call import Call, Draft
from trisignal.errors import LimitExceeded

F = TypeVar("F", bound=Callable[..., Any])


def idle(method: F) -> F:
    """Marks an ``open`` that does nothing, so that it need not be called with every call."""
    method.idle = True  # type: ignore[attr-defined]  # of functions
    return method


def is_idle(method: Callable[..., Any]) -> bool:
    """Whether a method is marked by `idle`."""
    return getattr(method, "idle", False) is True


class Sink(Protocol):
    """One output. Its methods run on the caller's thread and must be quick.

    A sink may also have ``abort(draft)``, called instead of ``close`` when policy failed or the end of
    a call was interrupted, maybe after it; ``after_fork()``, called in a forked child;
    ``refused(refusal)``, called with a `Refusal` for a call that does not begin; and
    ``takes_recorded = False``: it gets no calls that are read from another instrumentation's spans;
    ``takes_lines = True``: it also gets the requests of batch jobs, which have no span, latency or log line.
    """

    name: str

    def open(self, draft: Draft) -> Any:
        """A call begins; its first attributes are in ``draft.opening``.

        Returns:
            What `close` finds in ``draft.tokens`` under the sink itself; nothing when None.
        """

    def close(self, draft: Draft, call: Call) -> None:
        """A call has ended."""


class Verdict:
    """An evaluation or a user's feedback about an earlier call."""

    __slots__ = (
        "explanation",
        "higher_is_better",
        "label",
        "name",
        "prompt_name",
        "prompt_version",
        "ref",
        "request_model",
        "score",
    )

    def __init__(
        self,
        name: str,
        score: float | None,
        label: str,
        explanation: str,
        ref: Mapping[str, str] | None,
        higher_is_better: bool = True,
    ) -> None:
        self.name = name
        self.score = score
        self.higher_is_better = higher_is_better
        self.label = label
        self.explanation = explanation
        self.ref = ref or {}
        self.request_model = self.ref.get("model", "")
        self.prompt_name = self.ref.get("prompt_name", "")
        self.prompt_version = self.ref.get("prompt_version", "")

    def is_bad(self, threshold: float) -> bool:
        """Whether the score is worse than a threshold; as far from the other end where low scores are good."""
        if self.score is None:
            return False
        return self.score < threshold if self.higher_is_better else self.score > 1 - threshold


class Refusal(NamedTuple):
    """A call that did not begin, because a limit was reached; every text is redacted."""

    error: LimitExceeded
    """Which limit, and what is raised."""
    operation: str
    provider: str
    request_model: str
    name: str
    """Of the tool or the agent."""
    bound: Mapping[str, str]
    """Values bound by `context`."""


@runtime_checkable
class Meter(Protocol):
    """A sink that takes measurements which are not calls."""

    def count(self, key: str, labels: tuple[str, ...], amount: float = 1.0) -> None:
        """Add to a counter or up-down counter of `semconv.profile`."""

    def observe(self, key: str, labels: tuple[str, ...], value: float) -> None:
        """Record a value in a histogram."""

    def gauge(self, key: str, labels: tuple[str, ...], value: float) -> None:
        """Set a gauge."""
