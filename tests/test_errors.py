"""Texts of errors: they name what is wrong, and quote no secret."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from privacy.leaving import SECRETS

import trisignal
from trisignal import config
from trisignal.errors import ConfigError, PriceFileError, SourceError, TrisignalWarning, shown
from trisignal.operate import scrape

GIVEN = [secret for name, secret in SECRETS.items() if name != "ip"]
"""Addresses of machines are shown: they say where to look."""


def refusal(function: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    """What one of our errors says; "none" where there is none."""
    try:
        function(*args, **kwargs)
    except (ConfigError, scrape.Unreachable) as error:
        return str(error)
    return "none"


@pytest.mark.parametrize("secret", GIVEN)
@pytest.mark.parametrize(
    "shape", [lambda s: s, lambda s: [s], lambda s: {"k": s}, lambda s: f"x={s}", lambda s: (1, {s})]
)
def test_a_wrong_value_is_not_quoted_with_its_secret(secret: str, shape: Any) -> None:
    """Whatever was given, its message holds no secret, and the setting's name and what is allowed."""
    said = str(ConfigError("metric_profile", shape(secret), "1.41, 2026-10", "environment"))
    assert secret not in said
    assert "metric_profile=" in said
    assert "allowed: 1.41, 2026-10" in said


@pytest.mark.parametrize(
    ("url", "rest"),
    [
        ("https://ann:hunter2@prom.example:9090/api", "https://prom.example:9090/api"),
        ("https://prom.example/api?token=abc1", "https://prom.example/api?…"),
        ("postgres://ann:hunt er2@db/x", "postgres://ann:hunt er2@db/x"),
        ("see https://:pw@h/x and http://u@h/y#frag", "see https://h/x and http://h/y#…"),
    ],
)
def test_urls_are_shown_without_credentials_and_query(url: str, rest: str) -> None:
    """Scheme, host and path stay, so that the address is known again."""
    assert shown(url) == rest


def test_wrong_settings_of_every_kind_quote_nothing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Arguments, variables and files, and addresses of exporters, are named without their secrets."""
    secret = SECRETS["api_key"]
    for name in config.DESCRIPTIONS:
        for value in (secret, [secret], {secret: [secret]}, object()):
            assert secret not in refusal(config.load, {name: value}, {})
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://u:{secret}@127.0.0.1:1/")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", secret)
    with pytest.warns(TrisignalWarning) as warned, trisignal.setup():
        pass
    assert not [warning for warning in warned if secret in str(warning.message)]
    assert secret not in capfd.readouterr().err
    with pytest.raises(ConfigError) as caught:
        scrape.header([f"Authorization Bearer {secret} pw"])
    assert "Bearer" not in str(caught.value)


def test_other_errors_hide_too() -> None:
    """Addresses of stores, files and servers lose their credentials."""
    url = "http://ann:hunter2@h/x?key=abc1"
    for error in (SourceError(url, url), PriceFileError(url, 1, "wrong"), scrape.Unreachable(url, url)):
        assert "hunter2" not in str(error)
        assert "abc1" not in str(error)


@given(st.text())
def test_any_text_can_be_shown(text: str) -> None:
    """Nothing raises, and nothing grows without bound."""
    assert len(shown(text, 50)) < 200


@given(
    st.one_of(
        st.text(max_size=30),
        st.text(max_size=20).map("http://{}".format),
        st.sampled_from(["http://[", "http://a:b", "http://a:99999", "http:///x", "http://\x00/"]),
    )
)
def test_a_broken_url_is_one_error(url: str) -> None:
    """Any text given as an address is refused, or not reached, with one of our errors in one line."""
    assert refusal(scrape.fetch, url, timeout_s=0.01)
