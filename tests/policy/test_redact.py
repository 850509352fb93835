"""Redaction: what must go, what must stay, and what it may cost."""

from __future__ import annotations

import random
import string
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from thinning import examples

from trisignal.errors import ConfigError
from trisignal.policy.announced import VENDORS, WORDS
from trisignal.policy.key_formats import FORMATS, SHAPES
from trisignal.policy.redact import ALL, MOST_PASSED, PatternRedactor, chain, redact_value

REDACT = PatternRedactor()
ALNUM = string.ascii_letters + string.digits


def luhn(body: str) -> str:
    """Digits with their check digit."""
    total = 0
    for place, char in enumerate(reversed(body)):
        digit = int(char) * (2 if place % 2 == 0 else 1)
        total += digit - 9 if digit > 9 else digit
    return body + str(-total % 10)


def body(length: int, alphabet: str = ALNUM) -> st.SearchStrategy[str]:
    """Random text of a fixed length."""
    return st.text(alphabet, min_size=length, max_size=length)


PREFIXED = {
    "sk-": 48, "sk-proj-": 48, "sk-ant-api03-": 60, "AIza": 35, "ghp_": 36, "gho_": 36, "github_pat_": 60,
    "glpat-": 20, "xoxb-": 40, "sk_live_": 24, "rk_live_": 24, "hf_": 34, "gsk_": 52, "xai-": 60, "pplx-": 48,
    "r8_": 37, "npm_": 36,
}  # fmt: skip
KEYS = st.one_of(
    *(body(size).map(lambda rest, prefix=prefix: prefix + rest) for prefix, size in PREFIXED.items()),
    st.builds("SG.{}.{}".format, body(22), body(43)),
    st.builds("{}{}".format, st.sampled_from(["AKIA", "ASIA"]), body(16, string.ascii_uppercase + "234567")),
)
CARDS = st.text(string.digits, min_size=15, max_size=15).map(lambda rest: luhn("4" + rest[1:]))
SECRETS = st.one_of(
    KEYS,
    CARDS,
    CARDS.map(lambda n: " ".join(n[i : i + 4] for i in range(0, 16, 4))),
    CARDS.map(lambda n: "-".join(n[i : i + 4] for i in range(0, 16, 4))),
    st.from_regex(r"[a-z][a-z0-9.]{0,10}[a-z]@[a-z]{2,10}\.(?:com|org|co\.uk)", fullmatch=True),
    st.sampled_from(
        ["GB29NWBK60161331926819", "DE89 3704 0044 0532 0130 00", "123-45-6789", "192.168.17.4", "2001:db8::8a2e:370:7334",
         "+1 415 555 2671", "(415) 555-2671", "+49 30 901820"]
    ),
)  # fmt: skip
AROUND = st.sampled_from(
    ["{}", "see {} there", '{{"v": "{}"}}', '{{\\"v\\": \\"{}\\"}}', "line\n{}\n", "line\\n{}\\nline", "<b>{}</b>",
     "&quot;{}&quot;", "?v={}&w=1", "%20{}%20", "是{}。", "({})", "v={}, w", "{}."]
)  # fmt: skip


@given(SECRETS, AROUND)
@settings(max_examples=examples(600), deadline=None)
def test_secrets_go_whatever_stands_around_them(secret: str, around: str) -> None:
    """JSON, escapes, URLs, markup and other scripts do not hide a secret."""
    assert secret not in REDACT(around.format(secret))


@given(st.lists(st.one_of(st.text(st.characters()), st.builds(str.format, AROUND, SECRETS)), max_size=6))
@settings(max_examples=examples(300), deadline=None)
def test_texts_that_come_again_are_redacted_and_counted_as_at_first(texts: list[str]) -> None:
    """A redactor that has seen a text before answers, and counts, like one that has not."""
    hits: list[tuple[str, int]] = []
    redactor = PatternRedactor(on_hit=lambda name, count: hits.append((name, count)))
    for text in texts * 2:
        fresh: list[tuple[str, int]] = []
        expected = PatternRedactor(on_hit=lambda name, count: fresh.append((name, count)))(text)
        hits.clear()
        assert redactor(text) == expected
        assert hits == fresh


def test_what_a_redactor_remembers_is_bounded_and_holds_no_text() -> None:
    """However many texts pass, few are remembered, and of what is longer than a word only a digest."""
    redactor = PatternRedactor()
    for number in range(MOST_PASSED + 500):
        redactor(f"word{number}")
        redactor(f"line {number} of a text in which there is nothing to hide")
    assert len(redactor._words) <= MOST_PASSED
    assert len(redactor._passed) <= MOST_PASSED
    assert all(len(mark) == 16 for mark in redactor._passed)
    assert redactor("word7") == "word7"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("https://bob:pa55word@db.example/x", "pa55word"),
        ("Authorization: Bearer abc.def-ghi123456", "abc.def-ghi123456"),
        ("api-key: 0123456789abcdef0123456789abcdef", "0123456789abcdef"),
        ('{"password": "hunter2!x"}', "hunter2!x"),
        ('{\\"password\\": \\"hunter2!x\\"}', "hunter2!x"),
        ("password=hunter2", "hunter2"),
        ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "wJalrXUtnFEMI"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcDEF-123", "eyJzdWIi"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIEabc\n-----END RSA PRIVATE KEY-----", "MIIEabc"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC", "b3BlbnNzaC"),
        ("user%40example.com", "example.com"),
    ],
)
def test_known_forms_are_found(text: str, secret: str) -> None:
    """Headers, assignments, URLs, tokens and key files are recognised."""
    assert secret not in REDACT(text)


IDS = st.one_of(
    st.builds(
        "{}{}".format,
        st.sampled_from(
            ["chatcmpl-", "resp_", "msg_", "call_", "toolu_", "fp_", "req_", "run-", "file-", "cmpl-", "gen-", "batch_"]
        ),
        st.one_of(body(24), body(32, "0123456789abcdef"), body(16, string.digits)),
    ),
    st.uuids().map(str),
    body(32, "0123456789abcdef").filter(lambda text: not text.isdecimal()),
    st.datetimes().map(lambda at: at.isoformat()),
    st.datetimes().map(lambda at: at.isoformat() + "Z"),
    st.dates().map(lambda at: f"gpt-4o-{at.isoformat()}"),
    st.dates().map(lambda at: f"claude-sonnet-4-{at:%Y%m%d}"),
    st.integers(1_500_000_000, 2_000_000_000).map(str),
    st.integers(1_500_000_000, 2_000_000_000).map("gen-{}-abc".format),
    st.decimals(0, 10**7, places=2).map("${:,}".format),
    st.tuples(st.integers(0, 99), st.integers(0, 99), st.integers(0, 99)).map("v{0[0]}.{0[1]}.{0[2]}".format),
)
"""What vendors and programs name things with."""


@given(IDS, st.sampled_from(["{}", "id {} end", '{{"id": "{}"}}', "id={}", "({})", "{}\n"]))
@settings(max_examples=examples(1500), deadline=None)
def test_identifiers_are_left_alone(name: str, around: str) -> None:
    """Ids, models, versions, times and prices are not private, however their digits fall."""
    text = around.format(name)
    assert REDACT(text) == text


@given(
    st.lists(
        st.one_of(
            SECRETS, IDS, st.sampled_from([" ", "-", ".", ":", "@", "=", "password=", "\\n", '"', "+", "a", "7"])
        ),
        max_size=8,
    )
)
@settings(max_examples=examples(1000), deadline=None)
def test_redacting_twice_is_redacting_once(parts: list[str]) -> None:
    """A placeholder is never a secret, nor makes one of what stands beside it."""
    once = REDACT("".join(parts))
    assert REDACT(once) == once


@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=300))
@settings(max_examples=examples(300), deadline=None)
def test_any_text_can_be_redacted(text: str) -> None:
    """Nothing raises, not even lone surrogates, and the result is stable."""
    once = REDACT(text)
    assert REDACT(once) == once


@pytest.mark.parametrize("text", ["999.1.1.1", "4111 1111 1111 1112", "GB29NWBK60161331926818", "000-12-3456"])
def test_wrong_check_digits_and_ranges_are_no_hits(text: str) -> None:
    """A number that cannot be what it looks like stays."""
    assert REDACT(text) == text


def test_hits_are_counted_by_detector() -> None:
    """One report per detector and text, with the number of hits."""
    seen: list[tuple[str, int]] = []
    redact = PatternRedactor(("email", "ip"), {"ticket": r"T-\d{4}"}, lambda name, count: seen.append((name, count)))
    assert redact("a@b.com c@d.com 10.1.2.3 T-1234") == (
        "[REDACTED:email] [REDACTED:email] [REDACTED:ip] [REDACTED:ticket]"
    )
    assert sorted(seen) == [("email", 2), ("ip", 1), ("ticket", 1)]


def test_wrong_settings_name_the_setting_and_what_is_allowed() -> None:
    """An unknown detector and a broken pattern are told at once."""
    with pytest.raises(ConfigError) as unknown:
        PatternRedactor(("emial",))
    assert unknown.value.setting == "redact"
    assert all(name in unknown.value.allowed for name in ALL)
    with pytest.raises(ConfigError) as broken:
        PatternRedactor((), {"x": "("})
    assert broken.value.setting == "redact_patterns"


def test_chained_redactors_run_in_order() -> None:
    """Each redactor gets what the one before returned."""
    assert chain(lambda text: text + "1", lambda text: text + "2")("0") == "012"


def test_values_are_walked_to_a_bounded_depth() -> None:
    """Texts and keys are redacted, numbers stay, bytes and deep nesting are told by a note."""
    value: Any = {"a@b.com": ["x@y.org", 7, 1.5, None, True, b"abc", ("c@d.net",)]}
    done = redact_value(value, REDACT)
    assert "@" not in str(done)
    assert done["[REDACTED:email]"][1:6] == [7, 1.5, None, True, "[bytes:3]"]
    deep: Any = "leaf@b.com"
    for _ in range(500):
        deep = [deep]
    assert "leaf@" not in str(redact_value(deep, REDACT))


MB = 1_000_000
HOSTILE = ("a", "@", "a@", "a.", "1 ", "1-", ":", "a:", "sk-", "eyJ", "-----BEGIN PRIVATE KEY-----", "7", "GB29", "GB29 ",
           "password=", "4111111111111111 ", "a@b.co ", "1.2.3.4 ", "1 a@-:eyJ.", "(", "+1", "://a:a", "key ", "11 ", "111 ",
           "123-", "f:", "::", "sk-a ", "%40", "\\n", "-----", "eyJa.", "[REDACTED:email]", "token is ", "hf_", "1.",
           "password", "é", "secret", "cookie: a=", "basic aaaaaaaa ", "curl -u ", "hook/", "hook.hook", "&key=aaaaaa", "?sig=",
           "password is ", "abcdefghijk1 ", "key=a1b2c3d4e5f6 ", "key key:key:a1b2c3d4e5f6g7 ", "adafruit_key=a1b2c3d4e5f6g7h8 ", "a_", "1Q~", "1234567890123456|", "_session=",
           "A" * 16 + " ", "a" * 32 + ".", "hook/a1a1a1a1a1a1a1a1 ", "://@", "ZXlK", "\\nsk-", "%20sk-a",
           "1Q~aaaaaaaaaaaa1", "aaaaaaaaaaaaaaaa1 1Q~1Q~", "key_http://apikey", "contrasexoxb-http://", "token", "api_key://",
           "key=aaaaaaaaaaaaaaaa/")  # fmt: skip


_FRAGMENTS = (
    *(prefix for prefix, *_ in FORMATS), *(shape.mark for shape in SHAPES), *(word for few in WORDS.values() for word in few),
    *VENDORS, *"aA1 .-_:=\"'\\/%@,;|<>{}()\n\t+~&?é", "->", " is ", " to ", "\\u0041", "%20", "://", "http://", "a1b2c3d4e5f6g7h8",
    "1234567890123456", "curl -u", "cookie: ", "basic ", "bearer ", "pin", "pass", "pw", "hook", "-----BEGIN ", "::", "eyJ", "GB29",
)  # fmt: skip
"""What detectors look for, to be put together at random."""


def _cpu_s(text: str) -> float:
    """CPU time of one redaction: the least of two, as other processes disturb."""
    taken: list[float] = []
    for _ in range(2):
        redactor = PatternRedactor()  # one that has seen the text before would not look at it again
        begun = time.process_time()
        redactor(text)
        taken.append(time.process_time() - begun)
    return min(taken)


@pytest.fixture(scope="module")
def prose_s() -> float:
    """CPU time of redacting a megabyte of ordinary text."""
    words = [
        "the",
        "engine",
        "of",
        "an",
        "old",
        "car",
        "said",
        "nothing",
        "and",
        "ran",
        "on",
        "while",
        "42",
        "others",
        "were",
        "at",
        "3.5",
        "per",
        "cent",
        "of",
        "what",
        "it",
        "had",
    ]
    chosen = random.Random(7)
    return _cpu_s(" ".join(chosen.choice(words) for _ in range(MB // 3))[:MB])


@pytest.mark.parametrize("unit", [HOSTILE[0], *(pytest.param(unit, marks=pytest.mark.slow) for unit in HOSTILE[1:])])
def test_a_hostile_text_costs_little(prose_s: float, unit: str) -> None:
    """The worst texts known take four times what ordinary ones take, and none takes twenty times."""
    assert _cpu_s((unit * (MB // len(unit) + 1))[:MB]) < 20 * prose_s


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 24))])
def test_a_text_of_whatever_detectors_look_for_costs_little(prose_s: float, seed: int) -> None:
    """No repetition of signs, prefixes and names put together at random takes the square of its length."""
    chosen = random.Random(seed)
    for _ in range(4):
        unit = "".join(chosen.choice(_FRAGMENTS) for _ in range(chosen.choice((1, 2, 2, 3, 3, 4, 6))))
        assert _cpu_s((unit * (MB // 5 // len(unit) + 1))[: MB // 5]) < 20 * prose_s, unit


SPELLINGS = {
    "email": ["ada.lovelace@example.org", "ada%40example.org", "a+b@mail.example.co.uk"],
    "phone": ["+49 30 901820", "%2B14155552671", "(415) 555-2671", "415-555-2671", "1-415-555-2671"],
    "card": ["4111 1111 1111 1111", "4111-1111-1111-1111", "4111111111111111", "378282246310005"],
    "iban": ["GB29NWBK60161331926819", "DE89 3704 0044 0532 0130 00"],
    "us_ssn": ["123-45-6789", "123 45 6789"],
    "ip": ["192.168.17.4", "2001:db8::8a2e:370:7334", "::ffff:10.9.8.7"[7:]],
    "jwt": ["eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcDEF-123"],
    "api_key": ["sk-proj-" + "a1B2c3D4" * 6, "ghp_" + "a1B2c3D4e5F6" * 3, "xapp-1-" + "A1B2C3D4" * 4, "dckr_pat_" + "a1B2c3D4" * 4],
}  # fmt: skip
SURROUNDINGS = [
    "{}", "at {} now", '"{}"', "\\u0022{}\\u0022", "\\u003c{}\\u003e", "%20{}%20", "%2c{}%2c", "%0a{}%0a", "\\n{}\\n",
    "a={}&b=1", "[{}]", "<td>{}</td>", "{},", "{};", "\u00e4\u00f6 {} \u6f22",
]  # fmt: skip


@pytest.mark.parametrize("around", SURROUNDINGS)
@pytest.mark.parametrize("detector", SPELLINGS)
def test_every_spelling_goes_in_every_surrounding(detector: str, around: str) -> None:
    """Escapes of JSON and of URLs, in upper and lower case, quotes and markup hide no spelling."""
    for secret in SPELLINGS[detector]:
        assert secret not in REDACT(around.format(secret))


@pytest.mark.parametrize("password", ["pa55word", "p@55word", "p%4055word"])
@pytest.mark.parametrize("host", ["localhost", "db.example"])
def test_a_password_in_a_url_goes_and_the_rest_stays(password: str, host: str) -> None:
    """User and password of a URL are one hit, an ``@`` in the password included."""
    redacted = REDACT(f"use postgres://bob:{password}@{host}/orders today")
    assert "55word" not in redacted
    assert redacted.startswith("use postgres://[REDACTED:")
    assert redacted.endswith("/orders today")


def test_a_placeholder_in_a_url_is_no_password() -> None:
    """What was redacted once stays as it is, and so does the text around it."""
    text = "go to https://[REDACTED:api_key]@localhost/x now"
    assert REDACT(text) == text


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("Server=db;Uid=app;Pwd=hunter2!x;", "hunter2!x"),
        ("AccountName=x;AccountKey=Zm9vYmFyYmF6cXV4MTIzNDU2Nzg5MA==;", "Zm9vYmFy"),
        ("see http://10.20.30.40:8080/admin", "10.20.30.40"),
    ],
)
def test_connection_strings_and_addresses_are_found(text: str, secret: str) -> None:
    """Passwords and keys of connection strings go, and so do the machines that URLs name."""
    assert secret not in REDACT(text)


@pytest.mark.parametrize(
    "name", ["gpt-4o-2024-08-06", "claude-3-5-sonnet-20241022", "us.anthropic.claude-3-5-sonnet-20241022-v2:0",
             "accounts/fireworks/models/llama-v3p1-8b-instruct", "@cf/meta/llama-3.1-8b-instruct", "gemini-2.5-flash-preview-09-2025"]
)  # fmt: skip
def test_names_of_models_stay(name: str) -> None:
    """Dates and versions in the name of a model are not private data."""
    assert REDACT(name) == name
