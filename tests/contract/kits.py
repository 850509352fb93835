"""All kits, found by convention: every `ClientKit` in ``clients/*/shapes.py``, and openai's."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path

from contract.shapes import ClientKit

from trisignal.clients import REGISTRY

_TESTS = Path(__file__).parent.parent
_CLIENTS = _TESTS / "clients"
_OWN = {"trisignal", *(path.stem for path in _TESTS.iterdir())}


def kits() -> list[ClientKit]:
    """Return one kit per name, of the clients that are installed: some environments are for one of them."""
    found: dict[str, ClientKit] = {}
    shapes = [f"clients.{path.parent.name}.shapes" for path in sorted(_CLIENTS.glob("*/shapes.py"))]
    for name in ("contract.openai_shapes", *shapes):
        try:
            module = importlib.import_module(name)
        except ImportError as missing:
            if (missing.name or "").partition(".")[0] in _OWN:
                raise
            continue
        found.update((kit.id, kit) for kit in vars(module).values() if isinstance(kit, ClientKit))
    return list(found.values())


def package_of(kit: ClientKit) -> str:
    """Return the import name of a kit's SDK."""
    return next(row.module for row in REGISTRY if row.name == kit.name)


def kits_under_faults() -> list[ClientKit]:
    """Return the kits that say what a good reply and a good stream look like, which all faults are made from."""
    return [kit for kit in kits() if {"create", "stream-read"} <= {shape.name for shape in kit.shapes}]


def stainless_kits() -> list[ClientKit]:
    """Return the kits of SDKs with the client structure of ``clients/_stainless.py``."""
    return [kit for kit in kits() if importlib.util.find_spec(f"{package_of(kit)}._base_client") is not None]
