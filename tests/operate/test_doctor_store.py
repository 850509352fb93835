"""What the doctor says of a trace store."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import trisignal
from trisignal.operate.doctor import examine, store
from trisignal.operate.doctor.findings import Finding
from trisignal.testing import capture


def said(level: str) -> list[str]:
    """What the check finds, of one level."""
    return [one.said for one in store.check() if one.level == level]


def test_a_healthy_store(tmp_path: Path) -> None:
    """Spans, files, size and age of a store in use are reported, and nothing is doubted."""
    with capture(store=str(tmp_path / "store")) as seen:
        with trisignal.llm(provider="openai", model="m"):
            pass
        assert seen.telemetry.force_flush()
        [line] = said("ok")
        assert "1 spans in 1 files" in line
        assert "the last one 0 s ago" in line or " s ago" in line
        assert said("error") == []
        assert any(isinstance(one, Finding) and one.check == store.CHECK for one in examine())


def test_no_store_is_no_finding() -> None:
    """Where no store is configured nothing is said of one."""
    with capture():
        assert list(store.check()) == []


def test_faults_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network file system, a folder that is open to others, a damaged file and a full store are named."""
    folder = tmp_path / "store"
    folder.mkdir(mode=0o755)
    os.chmod(folder, 0o755)
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/sda / ext4 rw 0 0\nserver:/x {tmp_path} nfs4 rw 0 0\n", encoding="utf-8")
    monkeypatch.setattr(store, "MOUNTS", mounts)
    with capture(store=str(folder), store_mb=16):
        (folder / "2026-01-01.db").write_bytes(b"x" * (16 << 20))
        errors, warnings = said("error"), said("warning")
        assert any("nfs4" in line for line in errors)
        assert any("0755" in line for line in warnings)
        assert any("2026-01-01.db" in line for line in warnings)
        assert any("at its limit of 16 MiB" in line for line in said("info"))
    assert store.file_system(str(folder)) == "nfs4"
    assert store.file_system("/") == "ext4"
