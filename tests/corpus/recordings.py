"""Recorded exchanges with providers: the files of the corpus, and those that were invented for this suite."""

from __future__ import annotations

import base64
import functools
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FIXTURES = Path(__file__).parents[1] / "fixtures"
INVENTED = (FIXTURES / "openai", FIXTURES / "anthropic")
"""Folders of exchanges invented for this suite, in the file format of the corpus."""
FOLDER = os.environ.get("TRISIGNAL_CORPUS")
"""Folder of the recorded exchanges; None where there is none."""
_HOP_BY_HOP = frozenset({"content-encoding", "content-length", "transfer-encoding", "connection"})


@dataclass(frozen=True, eq=False)
class Recording:
    """One exchange: what was sent where, and what came back."""

    id: str
    provider: str
    url: str
    request: Mapping[str, Any]
    status: int
    headers: Mapping[str, str]
    body: bytes


@functools.cache
def load(folder: Path) -> tuple[Recording, ...]:
    """Read every exchange of a folder, in the order of the file names."""
    documents = [json.loads(path.read_bytes()) for path in sorted(folder.glob("*.json"))]
    return tuple(_recording(document) for document in documents if document.get("request"))


def _recording(document: Mapping[str, Any]) -> Recording:
    request, response = document["request"], document["response"]
    text = response.get("body_text")
    return Recording(
        id=document["id"],
        provider=document.get("provider", ""),
        url=request["url"],
        request=request["json"],
        status=response["status"],
        headers={name: value for name, value in response["headers"].items() if name.lower() not in _HOP_BY_HOP},
        body=base64.b64decode(response["body_base64"]) if text is None else text.encode(),
    )


def recordings() -> tuple[Recording, ...]:
    """Return the invented exchanges, and the recorded ones where ``TRISIGNAL_CORPUS`` names a folder of them."""
    folders = (*INVENTED, *((Path(FOLDER),) if FOLDER else ()))
    return tuple(recording for folder in folders for recording in load(folder))
