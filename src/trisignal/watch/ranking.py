"""`healthiest`: providers in the order in which a router had better ask them, by what was observed lately.

It holds state of its own: what was observed per provider, and the last order of each list, which is what a new order
must clearly beat. Nothing is decided here: the application asks whom it likes.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import RLock
from time import monotonic
from typing import NamedTuple

from trisignal import _guard
from trisignal.call import Call, Draft
from trisignal.config.checks import positive
from trisignal.engine import state
from trisignal.engine.meters import clean
from trisignal.errors import ConfigError
from trisignal.semconv.values import text_of
from trisignal.watch.health import Health
from trisignal.watch.sliding_windows import SlidingWindow

WINDOW_S = 120.0
"""How far back calls count, in seconds."""
MARGIN = 0.2
"""A provider loses its place to one whose score is better by this part, and gets it back near equality."""
_BACK = 0.95
"""Part of the other's score at which the preferred one is first again."""
_FAULTS = frozenset({"rate_limit", "timeout", "overloaded", "server", "connection"})
"""Kinds of errors that say something of the provider; others would fail anywhere."""
_FEW = 5
"""Successful calls below which a latency is not compared."""
_LIMIT_AGE_S = 60.0
"""Rate limits that were reported earlier are of no use: most are per minute."""
_TIGHT = 0.1
"""Remaining part of a rate limit below which it counts."""
_DOWN = 0.01
_MOST_PROVIDERS = 256
_MOST_ORDERS = 256


class Standing(NamedTuple):
    """What is known of one provider."""

    calls: int
    """In the window."""
    faults: int
    """Those that failed by the provider's fault."""
    median_s: float | None
    """Of successful calls; None with too few of them."""
    headroom: float | None
    """Remaining part of the tightest rate limit, 0 to 1; None where none was reported lately."""
    up: bool | None
    """Result of the last probe of `trisignal.health`; None without one."""


class _Observed:
    __slots__ = ("calls", "limits", "limits_s", "successes")

    def __init__(self) -> None:
        self.calls = SlidingWindow(WINDOW_S)
        self.successes = SlidingWindow(WINDOW_S)
        self.limits: float | None = None
        self.limits_s = 0.0


class Ranking:
    """Observes the calls of this process."""

    name = "ranking"

    def __init__(self) -> None:
        # Reentrant: the garbage collector may end a call while the lock is held.
        self._lock = RLock()
        self._observed: dict[str, _Observed] = {}
        self._orders: dict[tuple[str, ...], tuple[str, ...]] = {}

    def close(self, draft: Draft, call: Call) -> None:
        """Add an ended call."""
        if not call.model_call or not call.counted or call.role == "server" or not call.provider:
            return
        now_s = monotonic()
        with self._lock:
            observed = self._observed.get(call.provider)
            if observed is None:
                if len(self._observed) >= _MOST_PROVIDERS:
                    return
                observed = self._observed[call.provider] = _Observed()
            if call.outcome in ("ok", "error"):
                fault = call.error_kind in _FAULTS
                if call.outcome == "ok" or fault:
                    observed.calls.add(now_s, call.duration_s, fault)
                observed.calls.forget(now_s)
            if call.outcome == "ok":
                observed.successes.add(now_s, call.duration_s)
                observed.successes.forget(now_s)
            shares = [one.remaining / one.limit for one in call.rate_limits if one.remaining is not None and one.limit]
            if shares:
                observed.limits, observed.limits_s = max(0.0, min(1.0, *shares)), now_s

    def standing(self, provider: str, probes: dict[str, bool | None]) -> Standing:
        """What is known of one provider now."""
        now_s = monotonic()
        with self._lock:
            observed = self._observed.get(provider)
            if observed is None:
                return Standing(0, 0, None, None, probes.get(provider))
            calls, successes = observed.calls.recent(now_s), observed.successes.recent(now_s)
            headroom = observed.limits if now_s - observed.limits_s <= _LIMIT_AGE_S else None
        median_s = successes.quantile(0.5) if successes.samples >= _FEW else None
        return Standing(calls.samples, calls.marked, median_s, headroom, probes.get(provider))

    def order(self, providers: tuple[str, ...], scores: dict[str, float], margin: float) -> list[str]:
        """Sort by score, with hysteresis against the last order of the same list."""
        with self._lock:
            before = self._orders.get(providers, providers)
            order = list(before)
            for _ in order:
                for at in range(len(order) - 1):
                    first, second = order[at], order[at + 1]
                    if _overtakes(second, first, providers, scores, margin):
                        order[at], order[at + 1] = second, first
            if len(self._orders) < _MOST_ORDERS or providers in self._orders:
                self._orders[providers] = tuple(order)
        return order

    def after_fork(self) -> None:
        """Another thread may have held the lock; what was observed holds for the child as well."""
        self._lock = RLock()

    def detached(self) -> None:
        """Nothing runs that would have to stop; what was observed belongs to what is shut down."""
        with self._lock:
            self._observed.clear()
            self._orders.clear()


def _overtakes(second: str, first: str, given: tuple[str, ...], scores: dict[str, float], margin: float) -> bool:
    """Whether a provider gets before the one that stands before it."""
    if given.index(second) < given.index(first):
        return scores[second] >= scores[first] * _BACK
    return scores[second] > scores[first] * (1 + margin)


RANKING = Ranking()


def score(standing: Standing, fastest_s: float | None) -> float:
    """A number from 0 to 1: the share of calls that the provider answered, lowered by what else is against it.

    Args:
        standing: What is known of it.
        fastest_s: The smallest median among those that are compared.
    """
    # One call more than there were, a good one: a single failure is not an outage.
    answered = (standing.calls - standing.faults + 1) / (standing.calls + 1)
    result = answered * answered
    if standing.headroom is not None and standing.headroom < _TIGHT:
        result *= 0.5 + 0.5 * standing.headroom / _TIGHT
    if standing.median_s is not None and fastest_s is not None and standing.median_s > 0:
        result *= 0.5 + 0.5 * min(1.0, fastest_s / standing.median_s)
    return result * _DOWN if standing.up is False else result


def standings(providers: Sequence[str]) -> dict[str, Standing]:
    """What `healthiest` knows of each provider.

    Args:
        providers: Ids, as in ``gen_ai.provider.name``.
    """
    if not any(watcher is RANKING for watcher in state.STATE.attached):
        state.attach(RANKING)
    probes: dict[str, bool | None] = {}
    for watcher in state.STATE.attached:
        if isinstance(watcher, Health):
            probes |= {provider: one.up for provider, one in watcher.status().items()}
    return {provider: RANKING.standing(clean(provider), probes) for provider in providers}


def healthiest(providers: Sequence[str], *, margin: float = MARGIN) -> list[str]:
    """Order providers by what was observed of them in the last two minutes; never raises once it has run.

    The given order is the order of preference: it stays while nothing speaks clearly against it. Counted are
    failures by the provider's fault, median latency, remaining rate limits, and probes of `health`. Observation begins
    with the first call of this function, so call it once at start; it is per process.

    Args:
        providers: Ids, as in ``gen_ai.provider.name``, the preferred one first.
        margin: How much better a score must be to overtake, as a part; 0.2 is 20 percent.

    Returns:
        The same ids, the healthiest first.

    Raises:
        ConfigError: An argument has a wrong value.
    """
    if isinstance(providers, str) or not all(isinstance(one, str) for one in providers):
        raise ConfigError("providers", providers, 'a list of ids of providers, e.g. ["openai", "anthropic"]')
    positive("margin", margin)
    given = tuple(dict.fromkeys(text_of(one) for one in providers))
    try:
        known = standings(given)
        fastest_s = min((one.median_s for one in known.values() if one.median_s is not None), default=None)
        scores = {provider: score(standing, fastest_s) for provider, standing in known.items()}
        return RANKING.order(given, scores, margin)
    except Exception as error:
        _guard.contain("healthiest", error)
        return list(given)
