"""Keys, passwords and URLs that let in: each known form goes, and prose about them stays."""

from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from thinning import examples

from trisignal.policy.announced import VENDORS
from trisignal.policy.key_formats import FORMATS
from trisignal.policy.redact import PatternRedactor, is_harmless

REDACT = PatternRedactor()
LOWER, DIGITS, HEX = string.ascii_lowercase, string.digits, "0123456789abcdef"
ALNUM = string.ascii_letters + DIGITS
BODIES = {"a": ALNUM, "b": ALNUM, "p": ALNUM, "u": string.ascii_uppercase + DIGITS, "v": ALNUM, "w": ALNUM, "x": HEX}


def of(alphabet: str, size: int) -> st.SearchStrategy[str]:
    """Random text of one alphabet that holds a letter and a digit."""
    letters, digits = [c for c in alphabet if c.isalpha()], [c for c in alphabet if c.isdecimal()]
    rest = st.text(alphabet, min_size=size - 2, max_size=size - 2)
    return st.builds("{}{}{}".format, st.sampled_from(letters), rest, st.sampled_from(digits))


@pytest.mark.parametrize("row", FORMATS, ids=lambda row: row[0])
@given(st.data())
@settings(max_examples=5, deadline=None)
def test_every_format_is_found_in_prose(row: tuple[str, str, int, bool], data: st.DataObject) -> None:
    """A key of each format goes where it stands bare in a sentence, escaped text or JSON."""
    prefix, kind, least, _ = row
    body = data.draw(of(BODIES[kind], max(least, 24)))
    if prefix[0].isupper() and kind == "p":
        body = f"{body}.{body}"
    for around in ("please use {} for this", "x={};", '{{"v": "{}"}}', "line\\n{}\\nline", "({})"):
        redacted = REDACT(around.format(prefix + body))
        assert body not in redacted
        assert "[REDACTED:" in redacted


@pytest.mark.parametrize("prefix", [row[0] for row in FORMATS])
def test_no_key_passes_for_a_harmless_name(prefix: str) -> None:
    """The short cut for names knows every prefix."""
    assert not is_harmless(prefix + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4")


@pytest.mark.parametrize(
    "key",
    [
        "a1b2c3d4e5f6g7.atlasv1." + "a1b2c3d4e5" * 6, "Ab1Cd2_" + "a1B2c" * 5 + "a1B2_mmk", "s." + "a1B2c3D4" * 3,
        "pat" + "a1B2c3D4e5F6g7." + "0123abcd" * 8, "ab12" + "cdef0123" * 3 + "4567." + "a1B2c3D4e5F6g7H8", "aB3dE5gH." + "a1B2c3D4" * 4,
        "sc_a1b2c3d4e5.a1b2.acc_a1b2c3d4e5f6." + "a1b2c3d4" * 5, "A3-ABC123-ABC123-DEF45-AB123-CD456-EF789",
        "re_aB3dE5gH_" + "a1B2c3D4" * 3, "0123456789abcdef" * 2 + "-us12", "eyJ1c2VyIjoxMjN9.Z0abCd.a1B2c3D4e5F6g7H8i9J0k",
        "a" + "b1C2d3E4" * 6 + "xyz" + "JQQJ99" + "a1B2c3D4" * 3, "hooks.slack.com/services/T0000/B0000/aB3dE5gH7jK9mN1pQ3sT5vW7",
    ],
)  # fmt: skip
def test_shapes_go_bare_and_in_prose(key: str) -> None:
    """Formats without a prefix of their own are found where nothing stands around them, too."""
    for around in ("{}", "use {} now", '"{}"', "x={}"):
        assert key[-12:] not in REDACT(around.format(key))


@given(
    st.sampled_from(VENDORS),
    st.sampled_from(['{}_id = "{}"', "{}: {}", '"{}": "{}"', "{}_KEY={}", "{}-client => '{}'", "{} key is {}"]),
    st.one_of(of(LOWER + DIGITS, 20), of(HEX, 32), of(ALNUM, 40), st.uuids().map(str)),
)
@settings(max_examples=examples(400), deadline=None)
def test_random_values_after_the_name_of_a_vendor_go(vendor: str, form: str, value: str) -> None:
    """Formats without a prefix are known by the vendor's name before them."""
    assert value not in REDACT(form.format(vendor, value))


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("the password is hunter2", "hunter2"),
        ("the password is swordfish, ok?", "swordfish"),
        ("my password for the old server is: Tr0ub4dor&3", "Tr0ub4dor"),
        ("Password was changed to kleiner-hund9", "kleiner-hund9"),
        ("the passcode is 4711", "4711"),
        ('password="a,b;c d"', "b;c d"),
        ("PGPASSWORD=secret1 psql", "secret1"),
        ("**Password:** hunter2", "hunter2"),
        ("<password>hunter2</password>", "hunter2"),
        ("the password was hunter2", "hunter2"),
        ("new secret -> hunter2x", "hunter2x"),
        ("my PIN is 4711, remember", "4711"),
        ("user: ann pass: hunter2x", "hunter2x"),
        ("pw=hunter2x", "hunter2x"),
        ('{"a": "{\\\\\\"password\\\\\\": \\\\\\"hunter2\\\\\\"}"}', "hunter2"),
        ("password:\n  hunter2", "hunter2"),
        ("Passwort: Sommer2024!", "Sommer2024"),
        ("mot de passe : azerty12", "azerty12"),
        ('<add key="Password" value="pa55word!" />', "pa55word"),
        ("the secret is 3fa9c1d2e7", "3fa9c1d2e7"),
        ("Authorization: Basic dXNlcjpodW50ZXIy", "dXNlcjpodW50ZXIy"),
        ("sent Basic dXNlcjpodW50ZXIy to it", "dXNlcjpodW50ZXIy"),
        ("authorization: token 0123abcd4567", "0123abcd4567"),
        ("Proxy-Authorization: Bearer abc.def-123456", "abc.def-123456"),
        ("Cookie: theme=dark; sid=s3cr3tvalue", "s3cr3tvalue"),
        ('{"set-cookie": "session=abcd1234efgh; Path=/"}', "abcd1234efgh"),
        ("X-Api-Key: 0123456789abcdef", "0123456789abcdef"),
        ("curl -u ann:hunter2 https://x.example", "hunter2"),
        ("curl --user 'ann:hun ter2' https://x.example", "hun"),
        ("redis://:p4ss@host:6379/0", "p4ss"),
        ("postgresql+psycopg://u:p%40ss@h/db", "p%40ss"),
        ("https://0123456789abcdef0123456789abcdef@o1.ingest.example/2", "0123456789abcdef"),
        ("https://b.s3.example/x?X-Amz-Credential=AKIAABC%2F2024&X-Amz-Signature=0123abcd", "0123abcd"),
        ("https://a.blob.example/c?sv=2024-01-01&sig=aBc%2Fdef%3D&se=2025", "aBc%2Fdef"),
        ("https://storage.example/x?GoogleAccessId=a%40b&Expires=1&Signature=abc%2Bdef12", "abc%2Bdef12"),
        ("https://maps.example/api?key=a1b2c3d4e5f6a7b8c9", "a1b2c3d4e5f6a7b8c9"),
        ("https://x.example/cb#access_token=abc123def456", "abc123def456"),
        ("https://hooks.slack.com/services/T0000/B0000/aB3dE5gH7jK9mN1pQ3sT5vW7", "aB3dE5gH7jK9"),
        ("https://discord.com/api/webhooks/123456789012345678/aB3dE5gH7jK9-mN1pQ3sT5vW7x", "aB3dE5gH7jK9"),
        ("https://x.webhook.office.com/webhookb2/0a1b2c3d-0000@x/IncomingWebhook/0123456789abcdef01/y", "0123456789abcdef01"),
        ("https://chat.example.org/hooks/ab12cd34ef56gh78ij90kl12mn", "ab12cd34ef56"),
        ("https://api.telegram.org/bot123456789:AAF0aB3dE5gH7jK9mN1pQ3sT5vW7xY9zA1b/sendMessage", "AAF0aB3dE5gH7"),
        ("https://maker.ifttt.com/trigger/x/with/key/dQw4w9WgXcQdQw4w9WgXcQ", "dQw4w9WgXcQ"),
        ("eyJhbGciOiJkaXIifQ.eyJzdWIiOiIxMjM0In0.sig", "eyJzdWIi"),
        ("write to ann@mail.example.2 or", "ann@"),
        ("abc8Q~0123456789abcdefghijklmnopqrstuvwxy", "0123456789abcdef"),
    ],
)  # fmt: skip
def test_what_lets_in_goes(text: str, secret: str) -> None:
    """Announced passwords, headers, signed URLs and webhooks leave without what makes them work."""
    assert secret not in REDACT(text)


@pytest.mark.parametrize(
    "text",
    [
        "the password is required", "Your password is too short", "password: optional", "the token is expired",
        "a secret is something that nobody knows", "tokens: 128", "max_tokens=4096", '"max_tokens","stop_sequence"',
        "the access token is invalid or has expired", "Bearer of good news", "basic training", "Cookie policy: we use some",
        "together: Qwen2.5-7B-Instruct-Turbo", "mistral: Mixtral-8x22B-Instruct-v0.1", "fireworks: llama-v3p1-8b-instruct",
        "openai/gpt-4o-2024-08-06", "test_response_with_multiple_tool_calls_2", "sk-learn is a library", "patching the patient path",
        "You can find your API key at https://platform.example.com/account/api-keys.", "react hooks/useEffect and webhooks/",
        "https://shop.example/list?page=2&sort=price&code=summer", "a.b.c.d.e.f", "s.getTheVeryLongNameOfTheThing()",
        "compass: north1234", "the pin is red", "spin: 4711", "pass: true", "<token>the</token>",
        "npm i react@18.2.0 next@14.2.0-canary.3", "black@24.1", "re_compile_pattern_2_of_all", "us-east-1",
        "key: value", "auth: none", "the key idea is this", "linear: an equation", "x = torch.zeros(1)", "password=***", "pwd",
    ],
)  # fmt: skip
def test_prose_and_names_stay(text: str) -> None:
    """Text about secrets, names of models and identifiers are left as they are."""
    assert REDACT(text) == text


@pytest.mark.parametrize("at_ns", [1_732_966_453_123_456_789 + n for n in range(0, 400, 7)])
def test_times_in_nanoseconds_are_no_cards(at_ns: int) -> None:
    """No issuer's numbers begin as times do, so their check digit does not matter."""
    assert REDACT(f"at {at_ns} or {at_ns // 10**6}") == f"at {at_ns} or {at_ns // 10**6}"
