"""What the doctor says of settings: each with its source, and what deserves a second look."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trisignal.operate.doctor import settings
from trisignal.testing import capture


def said(level: str) -> str:
    """Everything that is found, of one level."""
    return "\n".join(one.said for one in settings.check() if one.level == level)


def test_settings_have_their_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not the default is listed with where it comes from, before `setup()` and after it."""
    monkeypatch.setenv("TRISIGNAL_STORE_DAYS", "3")
    monkeypatch.setenv("TRISIGNAL_STORE_DAY", "3")
    assert "store_days = 3 (from environment)" in said("ok")
    assert "TRISIGNAL_STORE_DAY is not known" in said("warning")
    monkeypatch.delenv("TRISIGNAL_STORE_DAY")
    with capture(store_days=4):
        assert "store_days = 4" in said("ok")


def test_a_wrong_setting_is_the_only_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is what `setup()` would raise."""
    monkeypatch.setenv("TRISIGNAL_STORE_DAYS", "many")
    [found] = settings.check()
    assert found.level == "error"
    assert "TRISIGNAL_STORE_DAYS" in found.said
    assert found.do == "correct it: setup() raises the same"


def test_what_deserves_a_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that is switched off, content without a detector and a service without a name."""
    monkeypatch.setenv("TRISIGNAL_DISABLED", "true")
    assert "trisignal is disabled: no call is recorded" in said("error")
    with capture(capture_content="span_only", redact=()):
        assert "content is captured and no detector redacts it" in said("warning")
    with capture(capture_content="span_only", redact=("email",)):
        assert "content is captured (span_only), redacted by email" in said("info")
    with capture(service_name=""):
        assert "the service has no name" in said("warning")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=shop")
    assert "the service has no name" not in said("warning")


def test_a_log_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It can be written, or it is said why not; asking makes no file."""
    path = tmp_path / "new" / "calls.log"
    monkeypatch.setenv("TRISIGNAL_LOGS", str(path))
    assert f"the log file {path} can be written" in said("ok")
    assert not path.parent.exists()
    monkeypatch.setenv("TRISIGNAL_LOGS", str(tmp_path))
    assert f"the log file {tmp_path} cannot be written (it is a folder)" in said("error")
    path = tmp_path / "calls.log"
    path.touch()
    monkeypatch.setenv("TRISIGNAL_LOGS", str(path))
    assert "can be written" in said("ok")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write to any
    assert "cannot be written (permission denied)" in said("error")


def test_a_price_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read: how many models it has, or what is wrong with it."""
    path = tmp_path / "prices.json"
    monkeypatch.setenv("TRISIGNAL_PRICES_FILE", str(path))
    assert str(path) in said("error")
    path.write_text('{"providers": {"acme": {"small": {"input": 1, "output": 2}}}}')
    assert f"{path}: 1 models, no mistake" in said("ok"), said("error")
