"""What the store survives: crashes, other processes, full disks, damage, forks, hostile texts."""

from __future__ import annotations

import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from store.filled import NOW_S, Lost, call, item, judged, store, writer

import trisignal
from trisignal import testing
from trisignal.analysis.query import Query, Window
from trisignal.call import Usage
from trisignal.errors import SourceError
from trisignal.store import schema
from trisignal.store.reader import StoreSource

EVER = Window(0.0, 4e9)
_NOBODY = 65534
"""Id of the user that owns nothing."""
ROOT = Path(__file__).parents[1]

WRITE = """
import sys, time
from pathlib import Path
from store.filled import call, item, writer
target = writer(Path(sys.argv[1]))
number = first = int(sys.argv[2])
enough = Path(sys.argv[3])
while not enough.exists():
    for _ in range(50):
        target.offer(item(call(number, time.time())))
        number += 1
    target.flush(60)
    print(number - first, flush=True)
target.close(60)
print(number - first, flush=True)
"""


def child(folder: Path, first: int, enough: Path) -> subprocess.Popen[str]:
    """A process that writes until there is a file, and prints how many calls are certainly written."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT.parent / "src")))}
    command = [sys.executable, "-c", WRITE, str(folder), str(first), str(enough)]
    return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True)


def count(folder: Path, *, growing: bool = False) -> int:
    """How many spans there are, counted twice: by the sums, and row by row a little later."""
    source = StoreSource(folder)
    rows = source.totals(Query(EVER, "spans"))
    assert not rows.partial, rows.notes
    summed = sum(total.spans for total in rows.items)
    read = sum(1 for _ in source.every(Query(EVER, "spans")))
    source.close()
    assert summed <= read if growing else summed == read
    return summed


def file_of(folder: Path) -> Path:
    """The only day file."""
    [found] = [path for path in folder.glob("*.db") if ".damaged-" not in path.name and path.name != "history.db"]
    return found


# --- processes -----------------------------------------------------------------------


def test_a_killed_writer_leaves_whole_rows(tmp_path: Path) -> None:
    """After kill -9 in the middle of writing all that was flushed is there, and no row is torn."""
    process = child(tmp_path, 0, tmp_path / "never")
    assert process.stdout is not None
    for _ in range(5):
        certain = int(process.stdout.readline())
    process.kill()
    process.communicate()
    found = count(tmp_path)
    assert found >= certain
    with closing(sqlite3.connect(file_of(tmp_path))) as db, db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("SELECT count(*) FROM span s LEFT JOIN attrs a USING (id) WHERE a.id IS NULL").fetchone() == (
            0,
        )
    store(tmp_path, [item(call(10**6))])
    assert count(tmp_path) == found + 1


def test_two_writers_and_a_reader(tmp_path: Path) -> None:
    """Two processes write while a reader asks: nobody fails, nothing is lost, sums and rows agree."""
    folder, enough = tmp_path / "store", tmp_path / "enough"
    folder.mkdir()
    children = [child(folder, first, enough) for first in (0, 10**6)]
    for process in children:
        assert process.stdout is not None
        process.stdout.readline()  # it writes
    for _ in range(2):
        count(folder, growing=True)
    enough.touch()
    certain = [int(process.communicate()[0].split()[-1]) for process in children]
    assert [process.returncode for process in children] == [0, 0]
    assert count(folder) == sum(certain)


def test_many_readers_at_once(tmp_path: Path) -> None:
    """Fifty threads ask one source at once, while a writer goes on."""
    target = writer(tmp_path)
    target.offer(item(call(0)))
    assert target.flush(60)
    source = StoreSource(tmp_path, limit_s=60.0)
    wrong: list[Any] = []

    def ask() -> None:
        for _ in range(5):
            rows = source.spans(Query(EVER))
            totals = source.totals(Query(EVER), ("model",))
            if rows.partial or totals.partial or not rows.items:
                wrong.append((rows.notes, totals.notes))

    threads = [threading.Thread(target=ask) for _ in range(50)]
    for thread in threads:
        thread.start()
    for number in range(1, 200):
        target.offer(item(call(number)))
    for thread in threads:
        thread.join(60)
    target.close(60)
    source.close()
    assert wrong == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_writes_its_own(tmp_path: Path) -> None:
    """After a fork in the middle of writing, parent and child both go on, and nothing is stored twice."""
    with testing.capture(store=str(tmp_path)) as seen:
        with trisignal.llm(provider="openai", model="parent"):
            pass
        assert seen.telemetry.force_flush()
        with trisignal.llm(provider="openai", model="parent"):
            pass  # is in the queue when the process forks
        child_id = os.fork()
        if child_id == 0:
            code = 1
            try:
                with trisignal.llm(provider="openai", model="child"):
                    pass
                code = 0 if seen.telemetry.force_flush() else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child_id, 0)[1]) == 0
        with trisignal.llm(provider="openai", model="parent"):
            pass
        assert seen.telemetry.force_flush()
    totals = StoreSource(tmp_path).totals(Query(EVER), ("model",)).items
    assert {total.key[0]: total.spans for total in totals} == {"parent": 3, "child": 1}


def test_what_is_queued_is_written_at_the_end_of_the_process(tmp_path: Path) -> None:
    """A program that just ends has stored its calls."""
    program = (
        "import sys, trisignal\n"
        "trisignal.setup(store=sys.argv[1])\n"
        "with trisignal.llm(provider='openai', model='m'): pass\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, timeout=60)
    assert count(tmp_path) == 1


# --- files ---------------------------------------------------------------------------


def test_a_full_disk_costs_rows_and_nothing_else(tmp_path: Path) -> None:
    """When a file may not grow, rows are dropped and counted; when it may again, rows are stored again."""
    if os.fork() == 0:
        code = 1
        try:
            lost = Lost()
            target = writer(tmp_path, lost)
            target.offer(item(call(0)))
            assert target.flush(60)
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            before = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
            for number in range(1, 400):
                target.offer(item(call(number)))
            assert target.flush(60)
            assert lost.items == 399, lost.items
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            target.offer(item(call(1000)))
            assert target.flush(60)
            target.close(60)
            assert lost.items == 399
            assert count(tmp_path) == 2
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.wait()[1]) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_folder_that_is_read_only() -> None:
    """Rows are dropped and counted where the folder cannot be written to; what it holds is read all the same."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "store")
        store(folder, [item(call(number)) for number in range(20)])
        for path in folder.iterdir():
            path.chmod(0o444)
        folder.chmod(0o555)
        Path(place).chmod(0o755)
        if os.fork() == 0:
            code = 1
            try:
                if os.geteuid() == 0:  # root may write everywhere
                    os.setgid(_NOBODY)
                    os.setuid(_NOBODY)
                assert count(folder) == 20
                lost = Lost()
                target = writer(folder, lost)
                target.offer(item(call(100)))
                assert target.flush(60)
                target.close(60)
                assert lost.items == 1, lost.items
                assert count(folder) == 20
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
        folder.chmod(0o755)


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    """Rows are dropped and counted where the folder's name is taken by a file."""
    (tmp_path / "store").write_text("", encoding="utf-8")
    lost = Lost()
    target = writer(tmp_path / "store", lost)
    target.offer(item(call(1)))
    assert target.flush(60)
    target.close(60)
    assert lost.items == 1


def test_a_deleted_file_is_begun_anew(tmp_path: Path) -> None:
    """When somebody deletes the file under a running writer, the next rows go to a new one."""
    target = writer(tmp_path)
    target.offer(item(call(1)))
    assert target.flush(60)
    file_of(tmp_path).unlink()
    target.offer(item(call(2)))
    assert target.flush(60)
    [row] = StoreSource(tmp_path).spans(Query(EVER)).items
    target.close(60)
    assert row.span_id == call(2).span_id


def test_a_folder_that_is_removed_is_made_again(tmp_path: Path) -> None:
    """The whole folder may vanish under a running writer."""
    import shutil

    folder = tmp_path / "store"
    target = writer(folder)
    target.offer(item(call(1)))
    assert target.flush(60)
    shutil.rmtree(folder)
    target.offer(item(call(2)))
    assert target.flush(60)
    target.close(60)
    assert count(folder) == 1


@pytest.mark.parametrize("damage", ["no database", "overwritten", "no tables"])
def test_a_damaged_file_is_set_aside(tmp_path: Path, damage: str) -> None:
    """A file that is damaged is renamed, and writing goes on in a new one; readers say so."""
    store(tmp_path, [item(call(number)) for number in range(500)])
    path = file_of(tmp_path)
    if damage == "no database":
        path.write_bytes(b"this is not a database" * 1000)
    elif damage == "overwritten":
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(os.urandom(size - 4096))
    else:
        with closing(sqlite3.connect(path)) as db, db:
            db.execute("DROP TABLE span")
    before = StoreSource(tmp_path).spans(Query(EVER))
    assert before.partial
    assert path.name in before.notes[0]
    lost = Lost()
    target = writer(tmp_path, lost)
    target.offer(item(call(1000)))
    assert target.flush(60)
    target.close(60)
    assert lost.items == 1
    assert [path.name for path in tmp_path.glob("*.damaged-*.db")] == [f"{path.stem}.damaged-1.db"]
    source = StoreSource(tmp_path)
    assert [row.span_id for row in source.spans(Query(EVER)).items] == [call(1000).span_id]
    assert "damaged" in source.holding().notes[0]


def test_a_file_of_a_later_release_is_refused(tmp_path: Path) -> None:
    """A newer schema is neither read nor written, and the error says what to do."""
    store(tmp_path, [item(call(1))])
    with closing(sqlite3.connect(file_of(tmp_path))) as db, db:
        db.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    with pytest.raises(SourceError, match="upgrade trisignal"):
        StoreSource(tmp_path).spans(Query(EVER))
    lost = Lost()
    target = writer(tmp_path, lost)
    target.offer(item(call(2)))
    assert target.flush(60)
    target.close(60)
    assert lost.items == 1
    assert list(tmp_path.glob("*.damaged-*")) == []


def test_a_locked_file_costs_rows_and_no_time_of_callers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another process holds the lock for too long, callers go on and rows are dropped and counted."""
    monkeypatch.setattr(schema, "BUSY_MS", 50)
    monkeypatch.setattr(schema.connect, "__kwdefaults__", {**schema.connect.__kwdefaults__, "timeout_ms": 50})
    store(tmp_path, [item(call(1))])
    other = sqlite3.connect(file_of(tmp_path), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    lost = Lost()
    target = writer(tmp_path, lost)
    target.offer(item(call(2)))
    assert target.flush(60)
    assert lost.items == 1
    other.execute("ROLLBACK")
    target.offer(item(call(3)))
    assert target.flush(60)
    target.close(60)
    other.close()
    assert lost.items == 1
    assert count(tmp_path) == 2


def test_a_full_queue_drops_and_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More calls than the queue holds are dropped and counted, not waited for; so is too much content."""
    from trisignal.store import writer as module

    monkeypatch.setattr(module, "MOST_WAITING", 10)
    lost = Lost()
    target = writer(tmp_path, lost)
    with target._working:
        for number in range(50):
            target.offer(item(call(number)))
        waiting = len(target._queue)
    assert waiting <= 10
    assert target.flush(60)
    target.close(60)
    assert count(tmp_path) + lost.items == 50
    assert lost.items >= 39


def test_losses_are_on_the_metrics_page(tmp_path: Path) -> None:
    """What the store drops is counted in trisignal_dropped_total."""
    folder = tmp_path / "store"
    with testing.capture(store=str(folder), strict=False) as seen:
        folder.rmdir()
        folder.write_text("", encoding="utf-8")
        with trisignal.llm(provider="openai", model="m"):
            pass
        assert seen.telemetry.force_flush()
        assert seen.value("trisignal_dropped_total", queue="store") == 1


# --- clocks and retention ------------------------------------------------------------


def test_old_and_large_files_are_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files go by age and by size, oldest first; the newest one stays; their sums are in answers for a year."""
    from trisignal.store import upkeep
    from trisignal.store.folder import Folder

    day_s = 86_400
    for day in range(5):
        monkeypatch.setattr("time.time", lambda day=day: NOW_S + day * day_s)
        store(tmp_path, [item(call(day * 1000 + number, NOW_S + day * day_s)) for number in range(100)])
    folder = Folder(str(tmp_path))
    assert len(folder.files()) == 5
    upkeep.retain(folder, 3, 1 << 40)
    assert [file.day for file in folder.files()] == ["2026-12-02", "2026-12-03", "2026-12-04"]
    upkeep.retain(folder, 3, folder.files()[-1].size_bytes() + 10)
    assert [file.day for file in folder.files()] == ["2026-12-04"]
    assert len(StoreSource(tmp_path).spans(Query(EVER, limit=1000)).items) == 100
    rows = StoreSource(tmp_path).totals(Query(EVER), ("model", "tenant"), quantiles=True)
    assert [(total.key, total.spans, total.p50_s) for total in rows.items] == [
        (("small", ""), 500, pytest.approx(0.6, rel=0.05))
    ]
    assert rows.partial
    assert "sums are included" in rows.notes[0]
    late = StoreSource(tmp_path).totals(Query(Window(NOW_S + 4 * day_s - 60, NOW_S + 5 * day_s)), ("model",))
    assert [total.spans for total in late.items] == [100]
    assert not late.partial
    by_user = StoreSource(tmp_path).totals(Query(EVER), ("user_id",))
    assert [total.spans for total in by_user.items] == [100]
    assert "no sums of this kind" in by_user.notes[0]
    monkeypatch.setattr("time.time", lambda: NOW_S + 500 * day_s)
    upkeep.retain(folder, 1, 0)
    assert len(folder.files()) == 1


def test_a_file_is_archived_once(tmp_path: Path) -> None:
    """Two processes that delete the same file add its sums once, and no name of a person outlives the spans."""
    from trisignal.store import history
    from trisignal.store.folder import Folder

    store(tmp_path, [item(call(number, bound={"user_id": "person-4711"})) for number in range(10)])
    folder = Folder(str(tmp_path))
    [file] = folder.files()
    history.archive(folder, file)
    history.archive(folder, file)
    folder.delete(file)
    assert sum(total.spans for total in StoreSource(tmp_path).totals(Query(EVER)).items) == 10
    assert b"person-4711" not in (tmp_path / "history.db").read_bytes()
    assert (tmp_path / "history.db").stat().st_mode & 0o777 == 0o600


def test_a_day_has_several_files_when_it_is_large(tmp_path: Path) -> None:
    """No file grows without bound: a new part begins at an eighth of the limit, and the oldest part goes."""
    from trisignal.store.folder import Folder

    folder = Folder(str(tmp_path))
    folder.make()
    first = folder.current(NOW_S, 1 << 20)
    Path(first.path).write_bytes(b"x" * (1 << 18))
    second = folder.current(NOW_S, 1 << 20)
    assert (first.name, second.name) == ("2026-11-30.db", "2026-11-30.2.db")
    assert [file.name for file in folder.expired(NOW_S, 7, 1000)] == ["2026-11-30.db"]
    folder.delete(first)
    assert [file.name for file in folder.files()] == ["2026-11-30.2.db"]


def test_a_clock_that_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that start before the epoch, in the future, or end before they start are stored and found."""
    odd = [
        call(1, start_unix_ns=-5),
        call(2, NOW_S + 10 * 86_400),
        call(3, duration_s=-3.0),
        call(4, start_unix_ns=1 << 70),
    ]
    store(tmp_path, map(item, odd))
    monkeypatch.setattr("time.time", lambda: NOW_S - 20 * 86_400)
    store(tmp_path, [item(call(5, NOW_S - 20 * 86_400))])
    monkeypatch.undo()
    rows = StoreSource(tmp_path).spans(Query(Window(0.0, 1e10), limit=10)).items
    assert {row.span_id for row in rows} == {call(number).span_id for number in (1, 2, 3, 4, 5)}
    assert all(row.duration_s >= 0 for row in rows)


# --- hostile texts -------------------------------------------------------------------

HOSTILE = "<script>alert(1)</script>\x1b[31m\x00\ud800 =cmd|' /C calc'!A0 [bold]\u202e"


def test_hostile_texts_are_stored_as_they_are(tmp_path: Path) -> None:
    """Markup, escapes, NUL and lone surrogates anywhere in a call lose neither it nor its neighbours."""
    texts = {
        "span_name": HOSTILE,
        "provider": HOSTILE,
        "request_model": HOSTILE,
        "name": HOSTILE,
        "error_type": HOSTILE,
        "bound": {"tenant": HOSTILE, "user_id": HOSTILE, "request_id": HOSTILE, "odd": HOSTILE},
        "closing": {"a": HOSTILE, HOSTILE: "b" * (1 << 20), "c": (HOSTILE, 1 << 80)},
        "usage": Usage(1 << 80, -5, 3),
    }
    store(tmp_path, [item(call(1)), item(call(2, **texts)), item(call(3)), judged(HOSTILE, 0.5, call(2), HOSTILE)])
    rows = {row.span_id: row for row in StoreSource(tmp_path).spans(Query(EVER, attributes=True)).items}
    assert len(rows) == 3
    row = rows[call(2).span_id]
    safe = HOSTILE.replace("\ud800", "\\ud800")
    assert (row.name, row.tenant, row.request_id) == (safe, safe, safe)
    assert (row.input_tokens, row.output_tokens, row.quality) == ((1 << 63) - 1, 0, 0.5)
    assert len(row.attributes) >= 3


def test_one_row_that_cannot_be_stored_costs_only_itself(tmp_path: Path) -> None:
    """A call that no row can be made of is dropped and counted, and the rest of its batch is stored."""
    lost = Lost()
    target = writer(tmp_path, lost)
    for one in (call(1), call(2, trace_id="no hexadecimal"), call(3)):
        target.offer(item(one))
    assert target.flush(60)
    target.close(60)
    assert lost.items == 1
    assert count(tmp_path) == 2


def test_values_are_json_whatever_they_are(tmp_path: Path) -> None:
    """Attributes that hold themselves, or odd keys, are stored as texts."""
    round_: dict[Any, Any] = {1: 2}
    round_["self"] = round_
    store(tmp_path, [item(call(1, closing={"odd": round_, "set": {1}}))])
    [row] = StoreSource(tmp_path).spans(Query(EVER, attributes=True)).items
    assert json.dumps(dict(row.attributes))
