"""Rows as CSV, FOCUS, Parquet and data frames."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import fields
from datetime import datetime, timedelta, timezone
from importlib import import_module
from io import StringIO
from typing import Any, get_args, get_type_hints

from trisignal.analysis.rows import SpanRow, Total
from trisignal.analysis.whole_file import whole_file
from trisignal.errors import SourceError

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_TOTALS = tuple(field.name for field in fields(Total) if field.name not in ("key", "step_unix_s"))
SPAN_COLUMNS = tuple(field.name for field in fields(SpanRow))


def cell(value: object) -> object:
    """A value for a CSV file: texts that a spreadsheet would run as a formula begin with an apostrophe."""
    if isinstance(value, str):
        return "'" + value if value.startswith(_FORMULA) else value
    if isinstance(value, float):
        return repr(round(value, 12))
    return "" if value is None else value


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A CSV file with a header; lines end in a line feed."""
    written = StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow([cell(name) for name in header])
    for row in rows:
        writer.writerow([cell(value) for value in row])
    return written.getvalue()


def spans_csv(rows: Iterable[SpanRow]) -> str:
    """Spans as CSV text; attributes are one cell of JSON."""
    return csv_text(SPAN_COLUMNS, ([_plain(row, name) for name in SPAN_COLUMNS] for row in rows))


def span_cells(row: SpanRow) -> list[object]:
    """The cells of one span, escaped, in the order of `SPAN_COLUMNS`."""
    return [cell(_plain(row, name)) for name in SPAN_COLUMNS]


def _plain(row: SpanRow, name: str) -> object:
    value = getattr(row, name)
    return json.dumps(dict(value), default=str) if name == "attributes" else value


def totals_csv(groups: Iterable[Total], by: Sequence[str], step: bool) -> str:
    """Totals as CSV text; the first columns are the dimensions."""
    header = (*(("step",) if step else ()), *by, *_TOTALS)
    return csv_text(
        header,
        (
            (
                *((_iso(group.step_unix_s or 0.0),) if step else ()),
                *group.key,
                *(getattr(group, name) for name in _TOTALS),
            )
            for group in groups
        ),
    )


FOCUS_COLUMNS = (
    "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd",
    "BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargeFrequency",
    "ChargePeriodEnd", "ChargePeriodStart", "ConsumedQuantity", "ConsumedUnit", "ContractedCost", "EffectiveCost",
    "InvoiceIssuerName", "ListCost", "PricingQuantity", "PricingUnit", "ProviderName", "PublisherName",
    "ServiceCategory", "ServiceName", "ServiceSubcategory", "SkuId", "Tags",
)  # fmt: skip
"""Columns of the FinOps Open Cost and Usage Specification, version 1.2, that a token bill fills."""


def focus_csv(
    groups: Iterable[Total], by: Sequence[str], step_s: float | None, period: tuple[datetime, datetime]
) -> str:
    """Totals as CSV text in the columns of FOCUS 1.2: one charge of category Usage per group.

    Args:
        groups: Totals by `by`.
        by: Dimensions; provider and model fill columns of their own, the others are tags.
        step_s: Length of the steps, which become the charge periods.
        period: Charge period of totals without steps.
    """
    return csv_text(FOCUS_COLUMNS, (_charge(group, by, step_s, period) for group in groups))


def _charge(
    group: Total, by: Sequence[str], step_s: float | None, period: tuple[datetime, datetime]
) -> tuple[object, ...]:
    named = dict(zip(by, group.key))
    provider, model = named.pop("provider", ""), named.pop("model", "")
    start, end = period
    if group.step_unix_s is not None and step_s:
        start = datetime.fromtimestamp(group.step_unix_s, timezone.utc)
        end = start + timedelta(seconds=step_s)
    month = start.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    next_month = (month + timedelta(days=32)).replace(day=1)
    tokens = group.input_tokens + group.output_tokens
    cost = group.cost_usd
    account = named.get("tenant", "")
    described = f"{group.spans} calls of {model or 'all models'}"
    return (
        cost, account, account, "USD", next_month.isoformat(), month.isoformat(), "Usage", None, described,
        "Usage-Based", end.isoformat(), start.isoformat(), tokens, "Tokens", cost, cost, provider, cost, tokens,
        "Tokens", provider, provider, "AI and Machine Learning", model or "LLM", "Generative AI", model,
        json.dumps(named, sort_keys=True),
    )  # fmt: skip


def frame(rows: Sequence[SpanRow], package: str) -> Any:
    """Spans as a data frame.

    Args:
        rows: The spans.
        package: ``pandas`` or ``polars``.

    Raises:
        SourceError: The package is not installed.
    """
    return _imported(package).DataFrame(columns_of(rows))


def columns_of(rows: Sequence[SpanRow]) -> dict[str, list[Any]]:
    """Spans column by column; attributes are JSON texts, so that a column has one type."""
    return {name: [_plain(row, name) for row in rows] for name in SPAN_COLUMNS}


def write_parquet(rows: Sequence[SpanRow], path: str) -> None:
    """Write spans to a Parquet file.

    Raises:
        SourceError: pyarrow is not installed.
    """
    write_parquet_stream([rows], path)


def write_parquet_stream(chunks: Iterable[Sequence[SpanRow]], path: str) -> int:
    """Write spans to a Parquet file chunk by chunk; it appears when it is whole.

    Returns:
        How many were written.

    Raises:
        SourceError: pyarrow is not installed.
        OSError: The file cannot be written.
    """
    arrow, parquet = _imported("pyarrow"), _imported("pyarrow.parquet")
    kinds = get_type_hints(SpanRow)
    types = {str: arrow.string(), float: arrow.float64(), int: arrow.int64(), bool: arrow.bool_()}
    columns = []
    for name in SPAN_COLUMNS:
        options = (kinds[name], *get_args(kinds[name]))
        columns.append((name, next((types[kind] for kind in options if kind in types), arrow.string())))
    schema = arrow.schema(columns)
    written = 0
    with whole_file(path) as beside, parquet.ParquetWriter(beside, schema) as writer:
        for chunk in chunks:
            writer.write_table(arrow.table(columns_of(chunk), schema=schema))
            written += len(chunk)
    return written


def _imported(package: str) -> Any:
    try:
        return import_module(package)
    except ImportError:
        name = package.partition(".")[0]
        raise SourceError(name, f"is not installed: pip install {name}") from None


def _iso(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, timezone.utc).isoformat()
