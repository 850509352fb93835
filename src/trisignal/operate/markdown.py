"""The review of a week as Markdown."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from unicodedata import category

from trisignal import semconv as names
from trisignal.operate.queries import label
from trisignal.operate.report import WEEK_S, Change, Kept, Labels, Objective, Review

_TOP = 10
_KIND = label(names.ERROR_KIND)
NONE = "–"


_MARKUP = re.compile(
    r"[\\`*\[\]<>#|~!&$@]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|(?<=http):(?=//)|(?<=https):(?=//)|(?<=www)\.|^[-+=]"
)
"""Characters that make markup, HTML or a link."""
_HIDDEN = ("Cc", "Cf", "Co", "Cs", "Zl", "Zp")


def text(value: object) -> str:
    """A text from outside as Markdown that shows it and nothing else: no markup, no HTML, no links, one line.

    Args:
        value: From anywhere.
    """
    given = "".join("\ufffd" if category(c) in _HIDDEN else c for c in str(value))
    return _MARKUP.sub(r"\\\g<0>", given)


def page(review: Review, more: Iterable[tuple[str, list[str]]] = ()) -> str:
    """The whole report.

    Args:
        review: What it says.
        more: Titles and lines of further parts.
    """
    first, last = (time.strftime("%Y-%m-%d %H:%M", time.gmtime(at)) for at in (review.end_s - WEEK_S, review.end_s))
    lines = [f"# LLM service review: {first} to {last} UTC", "", *_summary(review), ""]
    for title, part in (
        ("Objectives", _objectives(review.objectives)),
        ("What changed against the week before", _changes(review.changes)),
        ("Cost by model", _costs(review)),
        ("Errors by kind", _errors(review)),
        ("Alerts that fired", _alerts(review)),
        *more,
    ):
        lines += [f"## {title}", "", *part, ""]
    return "\n".join(lines).rstrip() + "\n"


def _summary(review: Review) -> Iterator[str]:
    if not review.requests:
        yield "No call to a model was seen in this week."
        return
    burning = [one for one in review.objectives if one.week.burn is not None]
    broken = [one.slo.name for one in burning if one.week.burn is not None and one.week.burn > 1]
    kept = f"{len(burning) - len(broken)} of {len(burning)} objectives were kept"
    yield f"{_count(review.requests)} calls; {kept}" + (f", not {', '.join(broken)}." if broken else ".")


def table(head: Sequence[str], rows: Sequence[Sequence[str]], words: int) -> Iterator[str]:
    """A table whose first columns are words and whose others are numbers."""
    yield f"| {' | '.join(head)} |"
    yield f"| {' | '.join('---' if place < words else '---:' for place in range(len(head)))} |"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _objectives(objectives: Sequence[Objective]) -> Iterator[str]:
    head = ("objective", "promised", "attained", "budget left", "burn, week", "burn, last day", "week before", "events")
    rows = [
        (one.slo.name.replace("_", " "), _share(one.slo.target), _share(one.week.attained), in_percent(one.week.left),
         _times(one.week.burn), _times(one.day.burn), _share(one.before.attained), _count(one.week.events))
        for one in objectives
    ]  # fmt: skip
    yield from table(head, rows, 1)
    yield ""
    yield "A burn of 1.0 uses the error budget up exactly; – stands for no traffic."
    for one in objectives:
        if one.missed:
            yield ""
            yield f"Too many {one.slo.title}:"
            yield ""
            yield from map(_missed, one.missed[:_TOP])


def _missed(kept: Kept) -> str:
    whose = ", ".join(f"{text(name)} {text(value) or '(none)'}" for name, value in kept.labels.items())
    return (f"- {whose}: {_share(kept.attained)} attained, {_count(kept.bad)} of {_count(kept.events)} bad, "
            f"burn {_times(kept.burn)}")  # fmt: skip


def _changes(changes: Sequence[Change]) -> Iterator[str]:
    forms = {"count": _count, "ratio": in_percent, "seconds": in_seconds, "usd": in_usd}
    rows = [
        (one.title, forms[one.form](one.now), forms[one.form](one.before), against(one.now, one.before))
        for one in changes
    ]  # fmt: skip
    yield from table(("", "this week", "week before", "change"), rows, 1)


def _costs(review: Review) -> Iterator[str]:
    if not review.costs:
        yield "No cost was recorded."
        return
    whole = sum(now for _, now, _ in review.costs)
    rows = [
        (_of(labels, "model"), _of(labels, "provider"), in_usd(now), in_percent(now / whole if whole else None),
         in_usd(before), against(now, before))
        for labels, now, before in review.costs[:_TOP]
    ]  # fmt: skip
    yield from table(("model", "provider", "cost", "share", "week before", "change"), rows, 2)
    if len(review.costs) > _TOP:
        rest = sum(now for _, now, _ in review.costs[_TOP:])
        yield ""
        yield f"{len(review.costs) - _TOP} more models: {in_usd(rest)}."


def _errors(review: Review) -> Iterator[str]:
    if not review.errors:
        yield "No call failed."
        return
    rows = [
        (_of(labels, _KIND), _of(labels, "provider"), _count(now), _count(before), against(now, before))
        for labels, now, before in review.errors[:_TOP]
    ]
    yield from table(("kind", "provider", "errors", "week before", "change"), rows, 2)


def _alerts(review: Review) -> Iterator[str]:
    if not review.fired:
        yield "None, or this Prometheus does not evaluate the rules."
        return
    rows = [(text(one.alert), text(one.severity), str(one.times), f"{one.minutes:,.0f} min") for one in review.fired]
    yield from table(("alert", "severity", "times", "firing"), rows, 2)


def _of(labels: Labels, name: str) -> str:
    return text(labels.get(name, "")) or "(unknown)"


def against(now: float | None, before: float | None) -> str:
    """How much a figure has changed, in percent."""
    if now is None or before is None or (not now and not before):
        return NONE
    return "new" if before == 0 else f"{now / before - 1:+.0%}"


def _share(value: float | None) -> str:
    if value is None:
        return NONE
    # Rounded down: 99.996 % of a promise of 100 % is not 100 %.
    return f"{int(value * 100_000 + 1e-6) / 1000:g} %"


def in_percent(value: float | None) -> str:
    """A share."""
    return NONE if value is None else f"{value * 100:.3g} %" if abs(value) < 1 else f"{value * 100:,.0f} %"


def _times(value: float | None) -> str:
    return NONE if value is None else f"{value:.1f}" if value >= 0.1 or not value else f"{value:.2g}"


def _count(value: float | None) -> str:
    return NONE if value is None else f"{value:,.0f}"


def in_seconds(value: float | None) -> str:
    """A duration."""
    return NONE if value is None else f"{value:.2f} s"


def in_usd(value: float | None) -> str:
    """An amount of US dollars."""
    return NONE if value is None else f"${value:,.2f}" if value >= 1 or not value else f"${value:.4g}"
