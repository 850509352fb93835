"""From a folder or a URL to a source."""

from __future__ import annotations

import os
from importlib import import_module
from importlib.metadata import entry_points

from trisignal.analysis.source import ENTRY_POINT_GROUP, TraceSource
from trisignal.errors import SourceError

FOLDER = ""
BUILT_IN = {
    FOLDER: "trisignal.store.reader:StoreSource",
    "clickhouse": "trisignal.analysis.clickhouse:ClickHouseSource",
    "elasticsearch": "trisignal.analysis.elasticsearch:ElasticsearchSource",
    "jaeger": "trisignal.analysis.jaeger:JaegerSource",
    "opensearch": "trisignal.analysis.elasticsearch:ElasticsearchSource",
    "tempo": "trisignal.analysis.tempo:TempoSource",
}
"""Scheme to ``module:callable`` of the sources that come with trisignal; "" stands for a folder."""


def is_source(place: str) -> bool:
    """Whether a text names a source: a folder that is there, or a URL of a known scheme."""
    scheme, separator, _ = place.partition("://")
    if not separator:
        return os.path.isdir(place)
    name = scheme.partition("+")[0].lower()
    return name in BUILT_IN or len(entry_points(group=ENTRY_POINT_GROUP, name=name)) > 0


def open_source(place: str | os.PathLike[str]) -> TraceSource:
    """Open a store folder, or what a URL names.

    Args:
        place: A folder, or a URL whose scheme is in `BUILT_IN` or in the entry-point group
            ``trisignal.sources``; ``tempo+https`` is looked up as ``tempo``.

    Raises:
        SourceError: There is no such source, or it cannot be opened.
    """
    url = os.fspath(place)
    scheme, separator, _ = url.partition("://")
    name = scheme.partition("+")[0].lower() if separator else FOLDER
    if name in BUILT_IN:
        module, _, function = BUILT_IN[name].partition(":")
        source: TraceSource = getattr(import_module(module), function)(url)
        return source
    offered = list(entry_points(group=ENTRY_POINT_GROUP, name=name))
    if not offered:
        known = sorted({*filter(None, BUILT_IN), *(one.name for one in entry_points(group=ENTRY_POINT_GROUP))})
        raise SourceError(scheme + "://", f"no source of this name; a folder, or one of: {', '.join(known) or 'none'}")
    opened: TraceSource = offered[0].load()(url)
    return opened
