"""Readers of wire formats take whatever a server sends: what is of the wrong type is as good as absent."""

from __future__ import annotations

import ast
import functools
import importlib
import pkgutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trisignal import formats
from trisignal.call import Draft
from trisignal.formats import Format, StreamState, latencies, mistral_conversations, view
from trisignal.semconv import serving


def _found() -> dict[str, tuple[Format, tuple[str, ...]]]:
    """Every format, with all the words that its module knows: the names of fields and what they may hold."""
    found = {}
    for module in pkgutil.iter_modules(formats.__path__, f"{formats.__name__}."):
        loaded = importlib.import_module(module.name)
        words: set[str] = set()
        for source in {loaded.__file__, *(getattr(loaded, part).__code__.co_filename for part in _functions(loaded))}:
            words |= _words(str(source))
        for name, value in vars(loaded).items():
            if isinstance(value, Format) and all(value is not known for known, _ in found.values()):
                found[f"{module.name.rpartition('.')[2]}.{name}"] = value, tuple(sorted(words))
    return found


@functools.cache
def _words(source: str) -> frozenset[str]:
    tree = ast.parse(Path(source).read_text(encoding="utf-8"))
    return frozenset(node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and _is_word(node.value))


def _functions(module: Any) -> list[str]:
    return [name for name, value in vars(module).items() if getattr(value, "__code__", None) is not None]


def _is_word(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) < 60 and " " not in value


FORMATS = _found()


@functools.cache
def _fields(words: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects of known fields that hold anything."""
    known = st.sampled_from(words)
    scalars = (
        st.none()
        | st.booleans()
        | st.integers()
        | st.sampled_from([10**400, -1, 1.5, float("nan"), float("inf"), "\ud800"])
        | known
    )
    values = st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(known, inner, max_size=5),
        max_leaves=25,
    )
    return st.dictionaries(known, values, min_size=1, max_size=8)


@pytest.mark.parametrize("name", FORMATS)
@settings(suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_reader_raises(name: str, data: st.DataObject) -> None:
    """Known fields that hold anything at all are read without an error, streamed or not."""
    form, words = FORMATS[name]
    fields = _fields(words)
    request, reply, chunks = data.draw(fields), data.draw(fields), data.draw(st.lists(fields, max_size=4))
    draft = Draft("chat")
    form.read_request(draft, request)
    form.read_response(draft, reply)
    form.recognises(reply)
    form.read_content(request, reply, None)
    state = StreamState(True)
    for chunk in chunks:
        assert isinstance(form.look(chunk), int)
        if form.ends is not None:
            form.ends(chunk)
        form.fold(draft, state, view(chunk))
    form.end(draft, state)
    form.read_content(request, None, state)
    assert all(count is None or 0 <= count < 2**63 for count in draft.usage or ())


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("chunk", [None, 7, "text", ["a"], {}], ids=repr)
def test_no_chunk_is_too_odd(name: str, chunk: Any) -> None:
    """A chunk that is not an object at all is taken too."""
    form, _ = FORMATS[name]
    draft, state = Draft("chat"), StreamState(True)
    form.look(chunk)
    form.fold(draft, state, view(chunk))
    form.end(draft, state)


@pytest.mark.parametrize("settings", [[1], ["model"], "text", 7, 10**400, [["a"]]])
def test_settings_of_a_conversation_that_are_no_object(settings: Any) -> None:
    """They are as good as absent, and the other facts of the request are read."""
    draft = Draft("chat")
    mistral_conversations.CONVERSATION.read_request(draft, {"model": "m", "completion_args": settings})
    assert draft.request_model == "m"


@pytest.mark.parametrize("time_s", [10**400, -1, float("nan"), float("inf"), "1", True, None, [1]])
def test_times_of_a_server_that_are_none(time_s: Any) -> None:
    """What is not a number from 0 to a day is not a time; the others count."""
    draft = Draft("chat")
    latencies.read_seconds(draft, {"time_info": {"queue_time": time_s, "prompt_time": 0.25}}, {})
    assert draft.fields == {serving.PREFILL_S: 0.25, serving.TOTAL_S: 0.25}
