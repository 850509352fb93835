"""A store folder as a source of the analyser."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone

from trisignal.analysis.query import Query, Window
from trisignal.analysis.rows import JudgedSpan, LogLine, Rows, Score, ScoreGroup, SpanRow, Total, TraceRecord
from trisignal.analysis.source import Capabilities, Holding
from trisignal.errors import SourceError
from trisignal.store import conditions, history, judging, loading, scanning, schema, text_index
from trisignal.store.connections import Connections, Reading
from trisignal.store.folder import DayFile, Folder
from trisignal.store.scanning import Block, Key
from trisignal.store.summing import Summing
from trisignal.store.text_indexing import Indexing

LIMIT_S = 10.0
"""Longest time of one question; what has been found by then is the answer, marked as partial."""
MOST_SPANS = 10_000
"""Spans of one trace."""
MOST_ROWS = 100_000


class StoreSource:
    """Reads what `trisignal.setup(store=...)` wrote; any number of readers beside any number of writers.

    Args:
        path: The folder.
        limit_s: Longest time of one question.

    Raises:
        SourceError: There is no such folder.
    """

    capabilities = Capabilities(max_rows=MOST_ROWS)

    def __init__(self, path: str | os.PathLike[str], limit_s: float = LIMIT_S) -> None:
        name = os.fspath(path)
        if not os.path.isdir(name):
            raise SourceError(name, "there is no such folder; trisignal.setup(store=...) makes it with the first call")
        self.folder = Folder(name)
        self._name = name
        self._connections = Connections(self.folder, limit_s)
        self._indexing: Indexing | None = None

    def keep_text_index(self) -> None:
        """From the first search by text on, keep an index of texts beside the files, on a thread of its own."""
        self._indexing = Indexing(self.folder)

    def holding(self) -> Holding:
        """What the folder holds."""
        reading = self._connections.reading()
        files = self.folder.files()
        spans, first, last = 0, None, None
        for file in files:
            with self._connections.open(file, reading) as db:
                if db is None:
                    continue
                [count] = db.execute("SELECT ifnull(sum(n), 0) FROM spread_hour").fetchone()
                low, high = db.execute("SELECT min(min_start), max(max_start) FROM block").fetchone()
                spans += count
                if low is not None:
                    first = low if first is None else min(first, low)
                    last = high if last is None else max(last, high)
        window = None if first is None or last is None else Window(first / 1e9, last / 1e9)
        damaged = self.folder.damaged()
        notes = [*reading.notes, *([f"{len(damaged)} damaged files were set aside"] if damaged else [])]
        return Holding(self._name, window, spans, sum(file.size_bytes() for file in files), tuple(notes))

    def spans(self, query: Query) -> Rows[SpanRow]:
        """Spans of a query."""
        most = min(query.offset + query.limit, MOST_ROWS)
        reading = self._connections.reading()
        files = self.folder.files()
        keys = self._first(files, query, most, reading)[query.offset :]
        if query.text and self._indexing is not None:
            self._indexing.start()
        spans: dict[Key, SpanRow] = {}
        for number in sorted({key.file for key in keys}):
            mine = [key for key in keys if key.file == number]
            with self._connections.open(files[number], reading) as db:
                if db is not None:
                    rows = loading.spans(db, [key.row for key in mine], with_attributes=query.attributes)
                    spans.update({key: rows[key.row] for key in mine if key.row in rows})
        return Rows(tuple(spans[key] for key in keys if key in spans), reading.partial, notes=tuple(reading.notes))

    def _first(self, files: Sequence[DayFile], query: Query, most: int, reading: Reading) -> list[Key]:
        """Where the first rows of a query are."""
        keys: list[Key] = []
        waiting: list[tuple[float, int, Block]] = []
        for number in range(len(files) - 1, -1, -1):
            with self._connections.open(files[number], reading) as db:
                condition = None if db is None else conditions.where(db, query)
                if db is None or condition is None:
                    continue
                indexed = scanning.indexed(db, number, query, condition, most)
                if indexed is not None:
                    keys = scanning.best(keys + indexed, most)
                    continue
                places = text_index.places(files[number], db, query.text) if query.text else None
                for block in scanning.blocks(db, number, query, places):
                    heapq.heappush(waiting, (-block.bound, -block.number - (number << 40), block))
        while waiting and not reading.is_over():
            block = waiting[0][2]
            if len(keys) >= most and keys[-1].rank >= block.bound:
                break
            keys = self._scan(files[block.file], waiting, keys, query, most, reading)
        reading.partial = reading.partial or (bool(waiting) and bool(reading.is_over()))
        return keys

    def _scan(
        self,
        file: DayFile,
        waiting: list[tuple[float, int, Block]],
        keys: list[Key],
        query: Query,
        most: int,
        reading: Reading,
    ) -> list[Key]:
        """Read blocks as long as the next one is in the same file and can hold one of the first rows."""
        number = waiting[0][2].file
        with self._connections.open(file, reading) as db:
            condition = None if db is None else conditions.where(db, query)
            if db is None or condition is None:
                waiting[:] = [one for one in waiting if one[2].file != number]
                heapq.heapify(waiting)
                return keys
            while waiting and waiting[0][2].file == number and not reading.is_over():
                block = waiting[0][2]
                if len(keys) >= most and keys[-1].rank >= block.bound:
                    break
                heapq.heappop(waiting)
                keys = scanning.best(keys + scanning.rows_of(db, block, query, condition, most), most)
        return keys

    def trace(self, trace_id: str) -> TraceRecord:
        """All of one trace; the first digits of its id are enough where no other trace begins with them."""
        reading = self._connections.reading()
        trace = self._resolved(trace_id, reading)
        if trace is None:
            return TraceRecord(())
        spans: list[SpanRow] = []
        scores: list[Score] = []
        logs: list[LogLine] = []
        for file in self.folder.files():
            with self._connections.open(file, reading) as db:
                if db is None:
                    continue
                ids = loading.trace_ids(db, trace, MOST_SPANS - len(spans) + 1)
                spans.extend(loading.spans(db, ids, with_attributes=True).values())
                scores.extend(judging.of_trace(db, ids[:MOST_SPANS], trace))
                lines = f"SELECT {loading.LOG_COLUMNS} FROM log WHERE trace = ? LIMIT ?"
                logs.extend(loading.logs(db, db.execute(lines, (trace, MOST_SPANS)).fetchall()))
        spans.sort(key=lambda span: (span.start_unix_s, -span.duration_s))
        partial = reading.partial or len(spans) > MOST_SPANS
        return TraceRecord(
            tuple(spans[:MOST_SPANS]),
            tuple(sorted(scores, key=lambda score: score.unix_s)),
            tuple(sorted(logs, key=lambda line: line.unix_s)),
            partial,
        )

    def _resolved(self, digits: str, reading: Reading) -> bytes | None:
        """The trace that begins with these digits."""
        try:
            low, high = bytes.fromhex(digits.ljust(32, "0")), bytes.fromhex(digits.ljust(32, "f"))
        except ValueError:
            return None
        if low == high or not digits:
            return low if digits else None
        traces: set[bytes] = set()
        for file in self.folder.files():
            with self._connections.open(file, reading) as db:
                if db is not None:
                    sql = "SELECT DISTINCT trace FROM span WHERE trace BETWEEN ? AND ? LIMIT 2"
                    traces.update(row[0] for row in db.execute(sql, (low, high)))
        return traces.pop() if len(traces) == 1 else None

    def every(self, query: Query, left_out: list[str] | None = None) -> Iterator[SpanRow]:
        """All spans of a window, file by file in the order in which they were written; for exports.

        Args:
            query: Its window, and whether attributes are wanted.
            left_out: Gets what could not be read.
        """
        since, until = scanning.nanoseconds(query)
        for file in self.folder.files():
            last = 0
            while True:
                reading = self._connections.reading()
                rows: list[SpanRow] = []
                with self._connections.open(file, reading) as db:
                    if db is not None:
                        sql = "SELECT id FROM span WHERE id > ? AND start >= ? AND start < ? ORDER BY id LIMIT 2000"
                        ids = [row[0] for row in db.execute(sql, (last, since, until))]
                        rows = list(loading.spans(db, ids, with_attributes=query.attributes).values())
                        last = ids[-1] if ids else last
                if left_out is not None:
                    left_out.extend(reading.notes or (["time ran out"] if reading.partial else []))
                if not rows:
                    break
                yield from rows

    def totals(
        self, query: Query, by: Sequence[str] = (), *, step_s: float | None = None, quantiles: bool = False
    ) -> Rows[Total]:
        """Sums over the spans of a query."""
        reading = self._connections.reading()
        summing = Summing(query, by, step_s, quantiles)
        for file in self.folder.files():
            with self._connections.open(file, reading) as db:
                if db is not None:
                    summing.add(db)
        self._add_history(summing, query, reading)
        return Rows(tuple(summing.totals()), reading.partial, notes=tuple(reading.notes))

    def dearest(self, query: Query, by: Sequence[str], most: int) -> tuple[tuple[str, ...], ...]:
        """The groups that cost most, of many: a quarter of the work of summing all of them up."""
        reading = self._connections.reading()
        summing = Summing(query, by, None, False, frozenset(("cost",)))
        for file in self.folder.files():
            with self._connections.open(file, reading) as db:
                if db is not None:
                    summing.add(db)
        return summing.largest("cost", most)

    def _add_history(self, summing: Summing, query: Query, reading: Reading) -> None:
        """Add the sums of deleted files, and say what is missing from before them."""
        past = history.file_of(self.folder)
        if not os.path.exists(past.path):
            return
        with self._connections.open(past, reading, optional=True) as db:
            if db is None:
                return
            last = db.execute(f"SELECT max(last_start) FROM {schema.roll(history.CUBE, history.STEP)}").fetchone()[0]
            if last is None or last < scanning.nanoseconds(query)[0]:
                return
            reading.partial = True
            until = datetime.fromtimestamp(last / 1e9, timezone.utc).strftime("%Y-%m-%d %H:%M")
            if summing.cubes.get(history.STEP) == history.CUBE:
                summing.add(db)
                reading.notes.append(f"spans before {until} UTC are deleted: whole hours of their sums are included")
            else:
                reading.notes.append(f"spans before {until} UTC are deleted, and no sums of this kind are kept")

    def scores(self, query: Query) -> Rows[JudgedSpan]:
        """Scores of spans, worst first."""
        most = min(query.offset + query.limit, MOST_ROWS)
        reading = self._connections.reading()
        judged: list[JudgedSpan] = []
        for file in self.folder.files():
            with self._connections.open(file, reading) as db:
                if db is not None:
                    judged.extend(judging.worst(db, query, most))
        judged.sort(key=lambda one: (one.score.rank, -one.score.unix_s))
        partial = reading.partial or len(judged) > most
        return Rows(tuple(judged[query.offset : most]), partial, notes=tuple(reading.notes))

    def spread(self, query: Query, by: Sequence[str], threshold: float) -> Rows[ScoreGroup]:
        """How scores are spread over tenths and groups."""
        reading = self._connections.reading()
        groups: list[ScoreGroup] = []
        for file in self.folder.files():
            with self._connections.open(file, reading) as db:
                if db is not None:
                    groups.extend(judging.spread(db, query, by, threshold))
        return Rows(tuple(groups), reading.partial, notes=tuple(reading.notes))

    def logs(self, query: Query) -> Rows[LogLine]:
        """Log lines in the window, newest first."""
        since, until = scanning.nanoseconds(query)
        wanted = query.where.get("request_id", ())
        named = f"AND request_id IN ({', '.join('?' * len(wanted))})" if wanted else ""
        sql = f"SELECT {loading.LOG_COLUMNS} FROM log WHERE at >= ? AND at < ? {named} ORDER BY at DESC LIMIT ?"
        most = min(query.offset + query.limit, MOST_ROWS)
        reading = self._connections.reading()
        lines: list[LogLine] = []
        for file in self.folder.files():
            with self._connections.open(file, reading) as db:
                if db is not None:
                    lines.extend(loading.logs(db, db.execute(sql, (since, until, *wanted, most)).fetchall()))
        lines.sort(key=lambda line: -line.unix_s)
        return Rows(tuple(lines[query.offset : most]), reading.partial, notes=tuple(reading.notes))

    def close(self) -> None:
        """Close the files."""
        if self._indexing is not None:
            self._indexing.close()
        self._connections.close()
