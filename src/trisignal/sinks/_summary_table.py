"""A summary as a table: for terminals, and as HTML for notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trisignal.sinks._plain import plain

Summary = Any
"""`tally.Summary`, which imports this."""
Totals = Any

_WIDEST = 40
_NUMBERS = ("calls", "errors", "tokens in", "tokens out", "cost USD", "p50 s", "p95 s", "p99 s")


def cells(summary: Summary) -> tuple[list[str], list[list[str]], int]:
    """Head, rows and the number of columns with names.

    Args:
        summary: What is shown: split by what it is split by, else by model.
    """
    if summary.by:
        head = list(summary.by)
        rows = [[*group.values, *_numbers(group.totals)] for group in summary.groups]
    else:
        head = ["operation", "provider", "model"]
        rows = [[*model[:3], *_numbers(model.totals)] for model in summary.models]
    if len(rows) != 1:
        rows.append(["total", *[""] * (len(head) - 1), *_numbers(summary.total)])
    return [*head, *_NUMBERS], rows, len(head)


def _numbers(totals: Totals) -> list[str]:
    rate = totals.error_rate
    errors = f"{totals.error}" if not totals.error or rate is None else f"{totals.error} ({rate:.1%})"
    return [
        f"{totals.calls:,}", errors, f"{totals.input_tokens:,}", f"{totals.output_tokens:,}", f"{totals.cost_usd:,.4f}",
        *("" if quantile is None else f"{quantile:.3f}" for quantile in (totals.p50_s, totals.p95_s, totals.p99_s)),
    ]  # fmt: skip


def notes(total: Totals) -> list[str]:
    """What the numbers leave out.

    Args:
        total: Of all calls.
    """
    said = []
    if total.wasted_cost_usd:
        said.append(f"{total.wasted_cost_usd:,.4f} USD were spent on calls that were cancelled or abandoned")
    if total.unpriced:
        said.append(f"{total.unpriced:,} calls have no price and are not in the cost")
    if total.usage_missing:
        said.append(f"{total.usage_missing:,} successful calls have no token usage")
    return said


def as_text(summary: Summary) -> str:
    """The table for a terminal; nothing in it is interpreted.

    Args:
        summary: What is shown.
    """
    if not summary.total.calls:
        return "no model call has ended since setup()"
    head, rows, named = cells(summary)
    lines = [[_short(plain(cell)) for cell in line] for line in (head, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]

    def line_of(line: Sequence[str]) -> str:
        aligned = (
            cell.ljust(width) if column < named else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths))
        )
        return "  ".join(aligned).rstrip()

    rule = "  ".join("-" * width for width in widths)
    return "\n".join([line_of(lines[0]), rule, *map(line_of, lines[1:]), *notes(summary.total)])


def _short(text: str) -> str:
    return text if len(text) <= _WIDEST else text[: _WIDEST - 3] + "..."


def as_html(summary: Summary) -> str:
    """The table for a notebook; every text is escaped.

    Args:
        summary: What is shown.
    """
    from html import escape

    if not summary.total.calls:
        return f"<p>{escape(as_text(summary))}</p>"
    head, rows, named = cells(summary)

    def row(line: Sequence[str], tag: str) -> str:
        aligned = (
            f'<{tag} style="text-align: {"left" if column < named else "right"}">{escape(plain(cell))}</{tag}>'
            for column, cell in enumerate(line)
        )
        return f"<tr>{''.join(aligned)}</tr>"

    body = "".join(row(line, "td") for line in rows)
    below = "".join(f"<p>{escape(note)}</p>" for note in notes(summary.total))
    return f"<table><thead>{row(head, 'th')}</thead><tbody>{body}</tbody></table>{below}"
