"""Signals that are not calls: queues, caches, evaluations, feedback, the process's summary."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from enum import Enum
from typing import Any, Literal

from trisignal import _context, _guard
from trisignal import semconv as names
from trisignal.engine import state
from trisignal.engine.meters import clean, count, observe
from trisignal.errors import ConfigError
from trisignal.observe.active_call import current_call
from trisignal.semconv.values import number, text_of
from trisignal.sinks import Verdict

ENQUEUED_KEY = "x-trisignal-enqueued-ns"
_RATINGS: Mapping[float, str] = {1: "positive", -1: "negative", 0: "neutral"}


class Queue:
    """Depth and wait of one queue, and the producer's trace and request id in the consumer.

    Args:
        name: Name of the queue, of few different values.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def put(self, carrier: MutableMapping[str, str] | None = None) -> MutableMapping[str, str]:
        """An item is being enqueued: raise the depth.

        Args:
            carrier: Mapping that travels with the item, e.g. message headers; a new dict
                when omitted.

        Returns:
            The carrier, holding trace context, request id and the time of this moment.
        """
        carrier = _context.inject(carrier)
        carrier[ENQUEUED_KEY] = str(state.STATE.unix_ns())
        if not state.is_off():
            count("queue_depth", (clean(self.name),), 1.0)
        return carrier

    @contextmanager
    def get(self, carrier: object) -> Iterator[None]:
        """An item was dequeued: lower the depth, record the wait, continue the producer's context.

        Args:
            carrier: What `put` returned, or a message that holds it, as for `trisignal.continue_from`.
        """
        headers = _context.read_carrier(carrier)
        if not state.is_off():
            count("queue_depth", (clean(self.name),), -1.0)
            try:
                waited_s = (state.STATE.unix_ns() - int(headers.get(ENQUEUED_KEY, ""))) * 1e-9
            except (TypeError, ValueError, OverflowError):
                waited_s = -1.0
            # Clocks of two machines differ: a negative wait is not a measurement.
            if waited_s >= 0:
                observe("queue_wait", (clean(self.name),), waited_s)
        with _context.continue_from(headers):
            yield


def queue(name: str) -> Queue:
    """Measure a queue.

    Args:
        name: Name of the queue, of few different values.
    """
    return Queue(name)


class Cache:
    """Hits and misses of one of the application's caches.

    Args:
        name: Name of the cache, of few different values.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def hit(self) -> None:
        """The answer came from the cache."""
        self.record(True)

    def miss(self) -> None:
        """The answer was not in the cache."""
        self.record(False)

    def record(self, hit: bool) -> None:
        """Record one look-up."""
        if state.is_off():
            return
        try:
            result = "hit" if hit else "miss"
        except Exception as error:  # what is compared here may be an array
            _guard.contain("cache.record", error)
            return
        count("cache_requests", (clean(self.name), result))


def cache(name: str) -> Cache:
    """Measure a cache.

    Args:
        name: Name of the cache, of few different values.
    """
    return Cache(name)


def evaluate(
    name: str,
    score: float,
    *,
    higher_is_better: bool = True,
    label: str = "",
    explanation: str = "",
    ref: Mapping[str, str] | None = None,
) -> None:
    """Record an evaluation of a call.

    Args:
        name: Name of the evaluation, e.g. ``faithfulness``.
        score: From 0 to 1.
        higher_is_better: False where a low score is good, as of ``toxicity``; the same in every call for one name.
        label: Verdict in one word, of few different values.
        explanation: Why; treated as content, so dropped unless content is captured.
        ref: `ActiveCall.ref` of the call; the current call when omitted.

    Raises:
        ConfigError: The score is not from 0 to 1, ``higher_is_better`` not a boolean, or ``ref`` not a mapping.
    """
    _check_ref(ref)
    plain = number(score)
    if plain is None or not 0.0 <= plain <= 1.0:
        raise ConfigError("score", score, "a number from 0 to 1")
    if type(higher_is_better) is not bool:
        raise ConfigError("higher_is_better", higher_is_better, "True, False")
    score = float(plain)
    if state.is_off():
        return
    verdict = _verdict(name, score, label, explanation, ref, higher_is_better)
    better = names.HIGHER if higher_is_better else names.LOWER
    observe("quality_score", (verdict.name, better, *_verdict_labels(verdict)), score)
    _publish(verdict)
    if ref is None and verdict.is_bad(state.STATE.settings.event_score_threshold):
        _mark_span(verdict)


def feedback(rating: Literal[-1, 0, 1] | bool, *, comment: str = "", ref: Mapping[str, str] | None = None) -> None:
    """Record a user's verdict on a call.

    Args:
        rating: +1 or True for good, -1 or False for bad, 0 for neither.
        comment: What the user wrote; treated as content, so dropped unless content is captured.
        ref: `ActiveCall.ref` of the call; the current call when omitted.

    Raises:
        ConfigError: The rating is not one of these, or ``ref`` is not a mapping.
    """
    _check_ref(ref)
    plain = number(rating)
    if type(plain) is bool:
        plain = 1 if plain else -1
    word = None if plain is None else _RATINGS.get(plain)
    if word is None:
        raise ConfigError("rating", rating, "1, 0, -1, True, False")
    if state.is_off():
        return
    verdict = _verdict("user_feedback", None, word, comment, ref)
    count("feedback", (word, *_verdict_labels(verdict)))
    _publish(verdict)


def _check_ref(ref: object) -> None:
    if ref is not None and not issubclass(type(ref), Mapping):
        raise ConfigError("ref", ref, "what `ActiveCall.ref` answered, a mapping of texts")


def _verdict(
    name: str,
    score: float | None,
    label: str,
    explanation: str,
    ref: Mapping[str, str] | None,
    higher_is_better: bool = True,
) -> Verdict:
    policy = state.STATE.policy
    found: dict[str, str] = {}
    try:
        given = current_call().ref if ref is None else ref
        # A reference comes back from wherever the application stored it: only texts are taken.
        found = {text_of(k): text_of(v) for k, v in given.items() if issubclass(type(v), (str, Enum))}
    except Exception as error:
        _guard.contain("verdict.ref", error)
    bound = _context.bound.get()
    for key in (_context.PROMPT_NAME, _context.PROMPT_VERSION):
        found.setdefault(key, bound.get(key, ""))
    explanation = policy.clean(explanation) if policy is not None and policy.captures else ""
    # Ids are kept as they are: a hexadecimal id may look like a card number to a detector.
    cleaned = {k: v if k in ("trace_id", "span_id") else clean(v) for k, v in found.items()}
    return Verdict(clean(name), score, clean(label), explanation, cleaned, higher_is_better)


def _verdict_labels(verdict: Verdict) -> tuple[str, ...]:
    """Labels beyond the evaluation's or the rating: of the call that was judged, or else of the judge's context."""
    ref, bound = verdict.ref, _context.bound.get()
    dimensions = state.STATE.settings.metric_dimensions
    values = (clean(ref.get(names.DIMENSION_PREFIX + name) or bound.get(name, "")) for name in dimensions)
    return (verdict.request_model, verdict.prompt_name, verdict.prompt_version, *values)


def _publish(verdict: Verdict) -> None:
    for take in state.STATE.verdicts:
        try:
            take(verdict)
        except Exception as error:
            _guard.contain("verdict", error)


def _mark_span(verdict: Verdict) -> None:
    """An event on the span of the call being judged, so that bad answers stand out in the trace."""
    draft = _context.current.get()
    if draft is None or draft.span is None:
        return
    attributes: dict[str, Any] = {names.EVALUATION_NAME: verdict.name, names.EVALUATION_SCORE: verdict.score}
    if verdict.label:
        attributes[names.EVALUATION_LABEL] = verdict.label
    if verdict.explanation:
        attributes[names.EVALUATION_EXPLANATION] = verdict.explanation
    draft.span.add_event(names.EVENT_EVALUATION, attributes)
