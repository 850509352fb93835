"""Purging, retention and late scores: across files, beside running writers and beside other programs."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from store.filled import NOW_S, Lost, call, item, judged, store, writer

from trisignal.analysis.analyzer import TraceAnalyzer
from trisignal.analysis.query import Query, Window
from trisignal.call import Usage
from trisignal.store import keeping, schema, upkeep
from trisignal.store.folder import Folder
from trisignal.store.reader import StoreSource
from trisignal.store.transaction import LogItem

EVER = Window(0.0, 4e9)
MIDNIGHT_S = NOW_S // 86_400 * 86_400 + 86_400
SECRET = "person-4711"


def spans_of(folder: Path, by: str = "model") -> dict[str, int]:
    """Spans by a dimension, from the sums."""
    rows = StoreSource(folder).totals(Query(EVER, "spans"), (by,))
    return {total.key[0]: total.spans for total in rows.items}


# --- purge ---------------------------------------------------------------------------


def test_a_person_who_comes_back_after_a_purge_can_be_purged_again(tmp_path: Path) -> None:
    """A writer that goes on during a purge stores the person's next calls under the id, not under its replacement."""
    target = writer(tmp_path)
    target.offer(item(call(1, bound={"user_id": SECRET})))
    assert target.flush(60)
    assert keeping.purge(Folder(str(tmp_path)), SECRET).spans == 1
    target.offer(item(call(2, bound={"user_id": SECRET})))
    assert target.flush(60)
    assert spans_of(tmp_path, "user_id") == {SECRET: 1}
    assert keeping.purge(Folder(str(tmp_path)), SECRET).spans == 1
    target.close(60)


def test_a_purge_follows_a_trace_over_midnight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What belongs to a person's trace goes from the next day's file as well: spans, log lines, waiting scores."""
    monkeypatch.setattr("time.time", lambda: MIDNIGHT_S - 5)
    first = call(1, MIDNIGHT_S - 5, bound={"user_id": SECRET})
    store(tmp_path, [item(first)])
    monkeypatch.setattr("time.time", lambda: MIDNIGHT_S + 5)
    later = call(2, MIDNIGHT_S + 5, trace_id=first.trace_id, closing={"said": SECRET})
    unknown = call(3, trace_id=first.trace_id)
    line = LogItem(first.trace_id, first.span_id, 1, "WARNING", "app", f"about {SECRET}", "", "")
    other = call(4, MIDNIGHT_S + 5, bound={"user_id": "somebody"})
    store(tmp_path, [item(later), judged("tone", 0.1, unknown, f"by {SECRET}"), line, item(other)])
    purged = keeping.purge(Folder(str(tmp_path)), SECRET)
    assert (purged.spans, purged.logs, purged.files, purged.unreached) == (2, 1, 2, ())
    held = [row.user_id for row in StoreSource(tmp_path).every(Query(EVER, "spans"))]
    assert held == ["somebody"]
    for path in tmp_path.glob("*.db*"):
        assert f"about {SECRET}".encode() not in path.read_bytes()


# --- other programs ------------------------------------------------------------------


def test_files_of_other_programs_stay(tmp_path: Path) -> None:
    """A folder may hold databases and texts whose names look like days: they are neither written nor deleted."""
    today = time.strftime("%Y-%m-%d", time.gmtime())
    for name in ("2020-01-01.db", "2020-01-02.2.db", f"{today}.db"):
        with closing(sqlite3.connect(tmp_path / name)) as db, db:
            db.execute("CREATE TABLE precious (a)")
    (tmp_path / "2020-01-03.db").write_text("no database", encoding="utf-8")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    lost = Lost()
    target = writer(tmp_path, lost, days=2)
    target.offer(item(call(1, time.time())))
    assert target.flush(60)
    target.close(60)
    assert upkeep.retain(Folder(str(tmp_path)), 1, 0) == []
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    assert lost.items == 0
    assert spans_of(tmp_path) == {"small": 1}
    assert any("another program" in note for note in StoreSource(tmp_path).holding().notes)


# --- clocks --------------------------------------------------------------------------


def test_sums_survive_a_clock_that_steps_back_over_midnight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A day that is deleted, begun again and deleted again is in the history twice, with what it held each time."""
    for number, at_s in enumerate((MIDNIGHT_S - 10, MIDNIGHT_S + 5, MIDNIGHT_S - 5, MIDNIGHT_S + 20)):
        monkeypatch.setattr("time.time", lambda at_s=at_s: at_s)
        store(tmp_path, [item(call(number, at_s))])
        upkeep.retain(Folder(str(tmp_path)), 1, 1 << 40)
    assert spans_of(tmp_path) == {"small": 4}


# --- the history ---------------------------------------------------------------------


def with_history(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store with a deleted day, whose sums are in the history, and one that is there."""
    for number, at_s in enumerate((MIDNIGHT_S - 10, MIDNIGHT_S + 86_410)):
        monkeypatch.setattr("time.time", lambda at_s=at_s: at_s)
        store(folder, [item(call(number, at_s))])
        upkeep.retain(Folder(str(folder)), 1, 1 << 40)


def test_a_history_of_a_later_release_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Day files answer as before; the answer says what it is without, and so does whoever deletes a day."""
    with_history(tmp_path, monkeypatch)
    with closing(sqlite3.connect(tmp_path / "history.db")) as db:
        db.execute("PRAGMA user_version = 99")
    rows = StoreSource(tmp_path).totals(Query(EVER, "spans"), ("model",))
    assert [total.spans for total in rows.items] == [1]
    assert rows.partial
    assert "history.db is left out (it has schema 99" in rows.notes[0]
    assert TraceAnalyzer(str(tmp_path)).compare((0.0, MIDNIGHT_S), (MIDNIGHT_S, 4e9)).calls_after == 1
    assert "it has schema 99" in keeping.info(Folder(str(tmp_path)))[0].problem
    later_s = MIDNIGHT_S + 3 * 86_400
    monkeypatch.setattr("time.time", lambda: later_s)
    store(tmp_path, [item(call(3, later_s))])
    upkeep.retain(Folder(str(tmp_path)), 1, 1 << 40)
    assert "its sums are not kept (it has schema 99" in caplog.text
    assert spans_of(tmp_path) == {"small": 1}


def test_a_damaged_history_is_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new one is begun, with the sums of the days that are deleted from then on."""
    with_history(tmp_path, monkeypatch)
    for path in tmp_path.glob("history.db-*"):
        path.unlink()
    (tmp_path / "history.db").write_bytes(b"no database " * 1000)
    assert spans_of(tmp_path) == {"small": 1}
    later_s = MIDNIGHT_S + 3 * 86_400
    monkeypatch.setattr("time.time", lambda: later_s)
    store(tmp_path, [item(call(3, later_s))])
    upkeep.retain(Folder(str(tmp_path)), 1, 1 << 40)
    assert (tmp_path / "history.damaged-1.db").exists()
    assert spans_of(tmp_path) == {"small": 2}


# --- scores --------------------------------------------------------------------------


def test_a_score_before_its_call_and_before_midnight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A score that waits in yesterday's file finds the call that ended today."""
    monkeypatch.setattr("time.time", lambda: MIDNIGHT_S - 2)
    late = call(1, MIDNIGHT_S - 1)
    store(tmp_path, [judged("tone", 0.4, late)])
    monkeypatch.setattr("time.time", lambda: MIDNIGHT_S + 2)
    store(tmp_path, [item(late)])
    [row] = StoreSource(tmp_path).spans(Query(EVER)).items
    assert row.quality == 0.4


def test_a_call_that_is_judged_twice_is_judged_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The later score of an evaluation counts, on the same day and on the next, in totals and in distributions."""
    monkeypatch.setattr("time.time", lambda: MIDNIGHT_S - 100)
    one, two = call(1, MIDNIGHT_S - 200), call(2, MIDNIGHT_S - 200)
    store(tmp_path, [item(one), item(two), judged("tone", 0.9, one), judged("tone", 0.2, one)])
    monkeypatch.setattr("time.time", lambda: MIDNIGHT_S + 100)
    store(tmp_path, [judged("tone", 0.1, two), judged("tone", 0.8, two)])
    analyzer = TraceAnalyzer(str(tmp_path))
    window = {"since": MIDNIGHT_S - 3600, "until": MIDNIGHT_S + 3600}
    assert analyzer.quality(**window).histogram == (0, 0, 1, 0, 0, 0, 0, 0, 1, 0)
    assert [judged.score.score for judged in analyzer.lowest_quality(threshold=1.0, **window).items] == [0.2, 0.8]
    [total] = analyzer.totals(**window).groups
    assert (total.judged, total.quality) == (2, pytest.approx(1.0))


# --- numbers -------------------------------------------------------------------------


def test_numbers_that_add_up_to_more_than_fits(tmp_path: Path) -> None:
    """Calls that report absurd numbers of tokens cost neither their batch nor an answer."""
    lost = Lost()
    target = writer(tmp_path, lost)
    for number in range(5):
        target.offer(item(call(number, usage=Usage(1 << 62, 1 << 62))))
    target.offer(item(call(9)))
    assert target.flush(60)
    target.close(60)
    rows = StoreSource(tmp_path).totals(Query(EVER))
    assert (lost.items, rows.partial) == (0, False)
    assert [total.spans for total in rows.items] == [6]
    assert rows.items[0].input_tokens >= 1 << 63


# --- processes -----------------------------------------------------------------------


def test_what_cannot_be_stored_nor_set_aside_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged file that cannot be renamed costs the rows, which are counted, and no flush waits."""
    store(tmp_path, [item(call(1))])
    [path] = tmp_path.glob("*.db")
    path.write_bytes(b"no database" * 1000)
    lost = Lost()
    target = writer(tmp_path, lost)

    def refuse(_path: str) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(target.folder, "set_aside", refuse)
    target.offer(item(call(2)))
    assert target.flush(60)
    assert lost.items == 1
    monkeypatch.undo()
    target.offer(item(call(3)))
    assert target.flush(60)
    target.close(60)
    assert spans_of(tmp_path) == {"small": 1}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_children_that_are_forked_during_transactions_write(tmp_path: Path) -> None:
    """A fork waits for the transaction that runs: in the child the file would stay locked for ever."""
    target = writer(tmp_path)
    stopped = threading.Event()

    def feed() -> None:
        number = 0
        while not stopped.is_set():
            if len(target._queue) < 500:
                number += 1
                target.offer(item(call(number, time.time())))
            else:
                time.sleep(0.0005)

    feeding = threading.Thread(target=feed)
    feeding.start()
    codes = []
    for child in range(5):
        process = os.fork()
        if process == 0:
            code = 1
            try:
                target.after_fork()
                target.offer(item(call(10**7 + child, time.time(), request_model="child")))
                code = 0 if target.flush(60) else 2
            finally:
                os._exit(code)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
    stopped.set()
    feeding.join()
    target.close(60)
    assert codes == [0] * 5
    assert spans_of(tmp_path)["child"] == 5


def test_two_processes_bring_a_file_up_to_date(tmp_path: Path) -> None:
    """Who waited for the other's upgrade does not do it again."""
    store(tmp_path, [item(call(1))])
    [path] = tmp_path.glob("*.db")
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("ALTER TABLE score DROP COLUMN lower")
        db.execute(f"PRAGMA user_version = {schema.WITHOUT_DIRECTION}")
    failed = []
    ready = threading.Barrier(4)

    def prepare() -> None:
        with closing(schema.connect(str(path))) as db:
            ready.wait(60)
            try:
                schema.prepare(db)
            except sqlite3.Error as error:
                failed.append(error)

    threads = [threading.Thread(target=prepare) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []
