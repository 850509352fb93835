"""Counts what the detectors match in recorded traffic, for the table in docs/how-to/redaction.md.

    python scripts/detector_counts.py FOLDER

FOLDER holds one recording per file, as JSON with ``request`` and ``response``. Every text below these two is looked at
by every detector. A match counts as right where `RIGHT` says that it is what it looks like. The counts are written to
scripts/detector_counts.json; ``python scripts/docs_tables.py`` makes the table of them.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trisignal.policy import detectors

WRITTEN = Path(__file__).with_suffix(".json")
RIGHT = {
    "email": re.compile(r"@example\.com"),
    "ip": re.compile(r"127\.0\.0\.1"),
    "api_key": re.compile(r"(?<=hmac=)[\w\-]{43}"),
}
"""What the recordings do hold: addresses of examples and of the own machine, the signature of a picture's URL."""


def texts(value: Any) -> Iterator[str]:
    """Every text in a structure, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)


def main() -> None:
    """Count, and write."""
    right: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    recordings = seen = characters = 0
    for path in sorted(Path(sys.argv[1]).glob("*.json")):
        recording = json.loads(path.read_text(encoding="utf-8"))
        if "response" not in recording:
            continue
        recordings += 1
        for text in texts([recording.get("request"), recording.get("response")]):
            seen += 1
            characters += len(text)
            prepared = detectors.prepare(text)
            for name, find in detectors.BUILT_IN.items():
                for start, end in find(prepared):
                    known = RIGHT.get(name)
                    is_right = known is not None and known.search(text, max(0, start - 8), end + 8) is not None
                    (right if is_right else wrong)[name] += 1
                    if not is_right:
                        print(path.name, name, repr(text[max(0, start - 30) : end][:120]), file=sys.stderr)
    counts = {
        "recordings": recordings,
        "texts": seen,
        "characters": characters,
        "matches": {name: [right[name], wrong[name]] for name in detectors.BUILT_IN},
    }
    WRITTEN.write_text(json.dumps(counts, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
