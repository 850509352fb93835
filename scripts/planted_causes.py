"""Print what `compare` says of planted causes: what it named first, and its share of the change.

Each cause is planted into the second of two made-up hours of 400 requests, in a store of its own; ten CPU seconds.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path[:0] = [str(Path(__file__).parents[1] / "tests")]

from analysis.planted import AFTER, BEFORE, PLANTS, traffic  # noqa: E402 - a folder of the tests
from store.filled import store  # noqa: E402 - the same

from trisignal import TraceAnalyzer  # noqa: E402 - the same

REQUESTS = 400


def main() -> int:
    """Print the table; exit status 1 where another cause came first."""
    wrong = 0
    print("| planted | measure | before | after | named first | carries | right |")
    print("| --- | --- | ---: | ---: | --- | ---: | --- |")
    for name, (plant, measure, dimension, value) in PLANTS.items():
        with TemporaryDirectory() as folder:
            store(Path(folder), traffic(REQUESTS, plant, seed=len(name)))
            with TraceAnalyzer(folder) as analyzer:
                answer = analyzer.compare(BEFORE, AFTER, measure=measure)  # type: ignore[arg-type]
        first = answer.causes[0]
        right = (first.dimension, first.value) == (dimension, value)
        wrong += not right
        before, after = answer.before or 0.0, answer.after or 0.0
        print(f"| {name} | {measure} | {before:.4g} | {after:.4g} | {first.dimension} `{first.value}` | "
              f"{first.share:.0%} | {'yes' if right else 'NO'} |")  # fmt: skip
    print(f"\n{len(PLANTS)} causes, {wrong} not named first")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
