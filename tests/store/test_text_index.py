"""The index of texts: answers with it are those without it, whatever happens to the spans."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from store.filled import NOW_S, call, item, store, writer

from trisignal.analysis.query import Query, Window
from trisignal.call import Call
from trisignal.store import keeping, text_index
from trisignal.store.folder import TEXTS, Folder
from trisignal.store.reader import StoreSource
from trisignal.store.text_indexing import Indexing, index_texts

EVER = Window(0.0, 4e9)
ALPHABET = 'abcXYZ019",:\\ \n-{}äÄΣσς€İ\u2028😀'
ROWS = 2_600


@pytest.fixture(autouse=True)
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments of 1,024 spans, which are settled at once."""
    monkeypatch.setattr(text_index, "SEGMENT_SHIFT", 10)
    monkeypatch.setattr(text_index, "SETTLED", 0)


def odd_call(number: int, chosen: random.Random) -> Call:
    """A call whose attributes, names and request id hold odd texts."""
    text = "".join(chosen.choices(ALPHABET, k=chosen.randrange(12)))
    bound = {
        "request_id": f"r-{chosen.getrandbits(40):x}-{text[:3].strip()}",
        "tenant": f"Tenant {text[3:6]}Ä{number % 7}",
    }
    return call(number, NOW_S + number / 100, bound=bound, closing={"said": text, f"key{text[:2]}": [number, text]})


def found(folder: Path, text: str) -> list[str]:
    """Span ids of a search."""
    return [row.span_id for row in StoreSource(folder).spans(Query(EVER, "spans", text=text, limit=5_000)).items]


def asked(folder: Path, chosen: random.Random) -> list[str]:
    """Texts that are there, in parts and in other letters, and some that are not."""
    rows = StoreSource(folder).spans(Query(EVER, "spans", limit=ROWS, attributes=True)).items
    texts = ["abcd", "zzzz", "", "äÄ", 'said":"', "r-", "ΣΣΣΣ", "\ud800abc"]
    for row in chosen.sample(rows, 25):
        whole = chosen.choice(
            (row.request_id, row.tenant, str(row.attributes["said"]), f'"said":"{row.name}', row.model)
        )
        at = chosen.randrange(max(1, len(whole) - 6))
        part = whole[at : at + chosen.randrange(1, 12)]
        texts.append(chosen.choice((part, part.upper(), part.lower(), part + '"', '"' + part, part + '",')))
    return [text for text in texts if text]


@pytest.mark.parametrize("seed", range(3))
def test_answers_do_not_depend_on_it(tmp_path: Path, seed: int) -> None:
    """Whatever is looked for, the same spans are found in the same order as when all are read."""
    chosen = random.Random(seed)
    store(tmp_path, [item(odd_call(number, chosen)) for number in range(ROWS)])
    texts = asked(tmp_path, chosen)
    before = {text: found(tmp_path, text) for text in texts}
    assert index_texts(Folder(str(tmp_path))) == (2_047, [])
    assert {text: found(tmp_path, text) for text in texts} == before
    assert index_texts(Folder(str(tmp_path))) == (0, [])


def test_it_leaves_most_spans_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text that one span has is looked for in its part, and in the spans that came since."""
    store(tmp_path, [item(call(number, closing={"said": f"word{number * 7919:x}"})) for number in range(ROWS)])
    index_texts(Folder(str(tmp_path)))
    read = []
    real = text_index.attributes.contains
    monkeypatch.setattr(text_index.attributes, "contains", lambda body, text: read.append(1) or real(body, text))
    assert len(found(tmp_path, f"word{1000 * 7919:x}")) == 1
    assert len(read) < ROWS - 2_047 + 3 * 128


def test_ids_that_are_given_again(tmp_path: Path) -> None:
    """After the last spans are gone and others have their ids, the index is not believed, and made anew."""
    store(tmp_path, [item(call(number, closing={"said": "earlier"})) for number in range(2_000)])
    folder = Folder(str(tmp_path))
    index_texts(folder)
    [file] = folder.files()
    with closing(sqlite3.connect(file.path)) as db, db:
        db.execute("DELETE FROM span WHERE id > 500")
        db.execute("DELETE FROM attrs WHERE id > 500")
    store(tmp_path, [item(call(5_000 + number, closing={"said": "afterwards"})) for number in range(2_000)])
    assert len(found(tmp_path, "afterwards")) == 2_000
    assert index_texts(folder)[0] == 2_047
    assert len(found(tmp_path, "afterwards")) == 2_000
    assert len(found(tmp_path, "earlier")) == 500


def test_a_purge_and_a_deletion_take_it_along(tmp_path: Path) -> None:
    """Nothing of a person, and nothing of a deleted day, stays in an index; it is for the owner only."""
    person = {"user_id": "person-4711"}
    store(tmp_path, [item(call(number, bound=person if number % 2 else {})) for number in range(1_100)])
    folder = Folder(str(tmp_path))
    index_texts(folder)
    [file] = folder.files()
    beside = Path(file.path + TEXTS)
    assert beside.stat().st_mode & 0o777 == 0o600
    keeping.purge(folder, "person-4711")
    assert not beside.exists()
    assert found(tmp_path, "person-4711") == []
    index_texts(folder)
    folder.delete(file)
    assert not beside.exists()


def test_one_that_cannot_be_read_is_not_used(tmp_path: Path) -> None:
    """A damaged index, or one of another version, costs time and no answer."""
    store(tmp_path, [item(call(number)) for number in range(1_100)])
    folder = Folder(str(tmp_path))
    [file] = folder.files()
    beside = Path(file.path + TEXTS)
    beside.write_bytes(b"no database " * 500)
    assert len(found(tmp_path, "small")) == 1_100
    assert "not a database" in index_texts(folder)[1][0]
    beside.unlink()
    index_texts(folder)
    with closing(sqlite3.connect(beside)) as db:
        db.execute("PRAGMA user_version = 99")
    assert len(found(tmp_path, "small")) == 1_100
    assert index_texts(folder)[0] == 1_023


def test_it_is_made_beside_a_writer_after_a_search(tmp_path: Path) -> None:
    """Who keeps it indexes on a thread from the first search on, while others write; its end waits for the thread."""
    target = writer(tmp_path)
    for number in range(1_500):
        target.offer(item(call(number)))
    assert target.flush(60)
    source = StoreSource(tmp_path)
    source.keep_text_index()
    assert source._indexing is not None
    assert source._indexing._thread is None
    source.spans(Query(EVER, "spans", text="small"))
    thread = source._indexing._thread
    assert thread is not None
    for number in range(1_500, 1_600):
        target.offer(item(call(number)))
    assert target.flush(60)
    thread.join(60)
    target.close(60)
    assert len(found(tmp_path, "small")) == 1_600
    assert index_texts(Folder(str(tmp_path))) == (0, [])
    source.close()
    stopped = Indexing(Folder(str(tmp_path)))
    stopped.close()
    stopped.start()
    assert stopped._thread is None
