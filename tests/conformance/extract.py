"""Writes ``conventions.json``: the facts of the GenAI conventions that the judge needs.

    python tests/conformance/extract.py FOLDER    # with genai.yaml and metrics-1.41.yaml

Source: open-telemetry/semantic-conventions-genai and semantic-conventions v1.41.1, Apache-2.0.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml


def _levels(attributes: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        name: {"level": told["level"], **({"at_start": True} if told.get("at_start") else {})}
        for name, told in attributes.items()
    }


def _span(told: dict[str, Any]) -> dict[str, Any]:
    attributes = _levels(told["attributes"])
    for refinement in told.get("refinements", {}).values():
        for name, extra in _levels(refinement.get("attributes", {})).items():
            # What one vendor requires is allowed on the others.
            attributes.setdefault(name, {"level": "recommended", **{k: v for k, v in extra.items() if k != "level"}})
    forbidden = [name.partition(" ")[0] for name in told.get("forbidden", [])]
    return {
        "operations": told["operation_names"],
        "kind": told["kind"],
        "name": told["name"],
        "attributes": attributes,
        "forbidden": forbidden,
    }


def _metric(told: dict[str, Any]) -> dict[str, Any]:
    return {
        "instrument": told["instrument"],
        "unit": told["unit"],
        "bounds": told.get("explicit_bucket_boundaries", []),
        "attributes": {name: item["level"] for name, item in told["attributes"].items()},
    }


def main(folder: str) -> None:
    """Read the conventions, write the facts."""
    genai = yaml.safe_load(Path(folder, "genai.yaml").read_text(encoding="utf-8"))
    released = yaml.safe_load(Path(folder, "metrics-1.41.yaml").read_text(encoding="utf-8"))
    metrics = {name: _metric(told) for name, told in genai["metrics"].items() if not name.startswith("mcp.")}
    facts = {
        "source": "open-telemetry/semantic-conventions-genai, open-telemetry/semantic-conventions v1.41.1; Apache-2.0",
        "schema_url": genai["schema_url"],
        "types": {
            name: told["type"] for part in ("attributes", "core_attributes_used") for name, told in genai[part].items()
        },
        "operations": genai["attributes"]["gen_ai.operation.name"]["values"],
        "spans": {name: _span(told) for name, told in genai["spans"].items() if not name.startswith("mcp.")},
        "metrics": {
            "1.41": {
                **{name: _metric(told) for name, told in released["metrics"].items()},
                **{name: metrics[name] for name in released["additions_from_genai_yaml"]},
            },
            "2026-10": metrics,
        },
    }
    target = Path(__file__).parent / "conventions.json"
    target.write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
