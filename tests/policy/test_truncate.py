"""Truncation: within the budget, still JSON, redacted before it is cut."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from thinning import examples

from trisignal.policy.redact import PatternRedactor
from trisignal.policy.truncate import render, shorten

MARKER = re.compile(r"…\[(?:\d+ \w+, )?\d+ bytes cut\]")
REDACT = PatternRedactor()

SECRETS = st.one_of(
    st.from_regex(r"[a-z]{3,20}@[a-z]{3,12}\.(?:com|org)", fullmatch=True),
    st.from_regex(r"sk-proj-[A-Za-z0-9]{40}", fullmatch=True),
    st.from_regex(r"ghp_[A-Za-z0-9]{36}", fullmatch=True),
    st.just("4111 1111 1111 1111"),
    st.just("AKIAIOSFODNN7EXAMPLE"),
)
TEXTS = st.text(alphabet=st.characters(exclude_categories=()), max_size=400) | st.sampled_from(
    ["", "plain words", '"quoted" \\ and \n control \x00', "é…漢字🙂" * 60, "word " * 500, "\ud800 alone"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(TEXTS, inner, max_size=6),
    max_leaves=25,
)
MESSAGES = st.lists(
    st.builds(
        lambda role, text: {"role": role, "parts": [{"type": "text", "content": text}]},
        st.sampled_from(["system", "user", "assistant"]),
        TEXTS,
    ),
    max_size=12,
)


def same(text: str) -> str:
    """A redactor that finds nothing."""
    return text


def message(text: str, role: str = "user") -> dict[str, Any]:
    """A message of one text part."""
    return {"role": role, "parts": [{"type": "text", "content": text}]}


@given(VALUES | MESSAGES, st.integers(256, 4096))
@settings(max_examples=examples(300), deadline=None)
def test_any_content_becomes_valid_json_of_its_type_within_the_budget(value: Any, budget: int) -> None:
    """Whatever the content, the result parses, has the same top-level type and fits."""
    text, cut = render(value, same, budget)
    assert len(text.encode()) <= budget
    parsed = json.loads(text, parse_constant=pytest.fail)
    for kind in (list, dict, str):
        assert isinstance(parsed, kind) == isinstance(value, kind) or not isinstance(value, kind)
    assert cut >= 0


@given(MESSAGES, st.integers(256, 4096))
@settings(max_examples=examples(200), deadline=None)
def test_a_marker_stands_for_a_cut_and_only_for_a_cut(value: Any, budget: int) -> None:
    """A result holds a marker exactly when bytes were cut."""
    text, cut = render(value, same, budget)
    assert (cut > 0) == bool(MARKER.search(text))


@given(st.dictionaries(st.text("abcdef", min_size=1, max_size=8), TEXTS, min_size=1), st.integers(256, 2048))
@settings(max_examples=examples(200), deadline=None)
def test_a_cut_dict_says_so(value: Any, budget: int) -> None:
    """An object that did not fit holds a marker; one that did keeps all its entries."""
    text, cut = render(value, same, budget)
    assert (cut > 0) == bool(MARKER.search(text))
    if not cut:
        assert len(json.loads(text)) == len(value)


@given(SECRETS, st.integers(0, 3000), st.integers(0, 9000), st.sampled_from([256, 300, 512, 1024, 2048]))
@settings(max_examples=examples(300), deadline=None)
def test_no_secret_survives_wherever_the_cut_falls(secret: str, before: int, after: int, budget: int) -> None:
    """Not even half of a secret is shown when the cut goes through it."""
    words = "lorem ipsum " * 1000
    content = words[:before] + " " + secret + " " + words[:after]
    for value in ([message(content)], {"note": content}, content, [message("a"), message(content), message("b")]):
        text, _ = render(value, REDACT, budget)
        assert secret[:12] not in text


def test_a_secret_at_the_end_of_what_was_looked_at_does_not_show() -> None:
    """A long text that redaction makes short does not bring its unredacted end into view."""
    pem = "-----BEGIN PRIVATE KEY-----\n" + "MIIEvQIBADANBgkq" * 280 + "\n-----END PRIVATE KEY-----\n"
    key = "sk-proj-" + "Ab3" * 20
    for pad in range(0, 900, 7):
        text, cut = render([message(pem + "x " * (pad // 2) + key + " tail" * 4000)], REDACT, 512)
        assert "Ab3Ab" not in text
        assert cut > 0, pad


def test_a_text_that_redaction_makes_short_still_tells_what_was_not_shown() -> None:
    """What lies beyond the part that was looked at counts as cut."""
    text, cut = render(["bob@example.com " * 20_000], lambda _: "gone", 1024)
    assert cut > 0
    assert MARKER.search(text)


def test_the_first_and_the_newest_messages_stay() -> None:
    """Of a long conversation the middle goes, and one message says how many went."""
    talk = [message("be brief", "system")] + [message(f"turn {n} " + "x y " * 50) for n in range(100)]
    text, cut = render(talk, same, 2048)
    parsed = json.loads(text)
    assert parsed[0] == talk[0]
    assert parsed[-1] == talk[-1]
    told = [item for item in parsed if item["role"] == "trisignal"]
    assert len(told) == 1
    words = told[0]["parts"][0]["content"]
    assert f"…[{len(talk) - (len(parsed) - 1)} messages, {cut} bytes cut]" == words


def test_the_newest_message_shows_even_if_the_first_is_huge() -> None:
    """A large system prompt does not push the question out."""
    talk = [message("s p " * 50_000, "system"), message("old"), message("what now?")]
    parsed = json.loads(render(talk, same, 2048)[0])
    assert parsed[-1] == talk[-1]
    assert parsed[0]["role"] == "system"


def test_dropped_items_are_not_redacted() -> None:
    """The work follows the budget: most of a huge conversation never meets the redactor."""
    seen: list[int] = []

    def count(text: str) -> str:
        seen.append(len(text))
        return text

    render([message("a b c " * 500) for _ in range(2000)], count, 8192)
    assert sum(seen) < 100_000


def test_one_message_of_many_parts_is_not_redacted_whole() -> None:
    """The bound holds inside a message too."""
    seen: list[int] = []

    def count(text: str) -> str:
        seen.append(len(text))
        return text

    parts = [{"type": "text", "content": "a b c " * 500} for _ in range(2000)]
    text, cut = render([{"role": "user", "parts": parts}], count, 8192)
    assert json.loads(text)
    assert cut > 0
    assert sum(seen) < 200_000


@pytest.mark.parametrize("place", ["blob", "url", "long"])
def test_media_is_told_by_hash_and_size(place: str) -> None:
    """Base64 media never shows, and does not use up the budget."""
    data = "iVBORw0KGgoAAAANSUhEUgAAAAUA" * 4000
    part: dict[str, Any] = {
        "blob": {"type": "blob", "modality": "image", "content": data},
        "url": {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}},
        "long": {"type": "image", "source": {"data": data}},
    }[place]
    text, cut = render([{"role": "user", "parts": [part, {"type": "text", "content": "what is it?"}]}], same, 1024)
    assert re.search(r"\[media sha256:[0-9a-f]{16} \d+ bytes\]", text)
    assert "what is it?" in text
    assert data[:64] not in text
    assert cut == 0


def test_media_inside_a_text_is_told_too() -> None:
    """A data URL in the middle of a text is media as well."""
    data = "iVBORw0KGgoAAAANSUhEUgAAAAUA" * 4000
    text, _ = render([message(f"see ![x](data:image/png;base64,{data}) please")], same, 1024)
    assert data[:64] not in text
    assert "please" in text


def test_keys_that_redaction_makes_equal_keep_their_values() -> None:
    """Two keys that are both redacted do not become one."""
    text, _ = render({"bob@example.com": "first", "eve@example.com": "second"}, REDACT, 1024)
    assert "example.com" not in text
    assert "first" in text
    assert "second" in text


def test_a_structure_that_contains_itself_ends() -> None:
    """A cycle is cut by depth, within the budget."""
    loop: list[Any] = ["x"]
    loop.append(loop)
    text, _ = render(loop, same, 512)
    assert len(text) <= 512
    json.loads(text)


def test_a_redactor_that_raises_is_not_contained() -> None:
    """Failing closed is the caller's part, so the error reaches it."""

    def broken(text: str) -> str:
        raise RuntimeError(text)

    with pytest.raises(RuntimeError):
        render([message("x")], broken, 512)


@given(st.text(max_size=300), st.integers(0, 400))
@settings(max_examples=examples(300), deadline=None)
def test_shorten_stays_within_the_budget_and_marks_the_cut(text: str, budget: int) -> None:
    """The marker is counted in the budget, and nothing that fits is touched."""
    short, cut = shorten(text, budget)
    size = len(text.encode())
    assert len(short.encode()) <= budget
    assert (cut > 0) == (size > budget)
    if cut and budget >= 40:
        assert short.endswith(f"…[{cut} bytes cut]")
    if not cut:
        assert short == text


@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=300), st.integers(40, 400))
@settings(max_examples=examples(300), deadline=None)
def test_shorten_copes_with_lone_surrogates(text: str, budget: int) -> None:
    """What cannot be encoded does not raise and does not break the budget."""
    short, _ = shorten(text, budget)
    assert len(short.encode("utf-8", "replace")) <= budget


@pytest.mark.parametrize("size", range(880, 1100))
def test_a_short_first_message_stays_beside_a_last_one_that_fills_the_budget(size: int) -> None:
    """The first message is only pushed out by its own size, never by how well the last one fits."""
    talk = [message("be brief", "system"), message("old"), message("old"), message("x" * size)]
    parsed = json.loads(render(talk, same, 1126)[0])
    assert parsed[0] == talk[0]
    assert parsed[-1]["role"] == "user"
