"""The documents' recipe for Presidio, run as it is printed, where Presidio and a small model of spaCy are installed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import trisignal
from trisignal.testing import capture

pytest.importorskip("presidio_analyzer")
spacy: Any = pytest.importorskip("spacy")

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "redaction.md"
MODELS = ("en_core_web_sm", "en_core_web_md", "en_core_web_lg")


@pytest.fixture(scope="module")
def recipe() -> str:
    """The recipe, with a model that is installed."""
    (block,) = (
        b for b in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL) if "presidio" in b
    )
    installed = [name for name in MODELS if spacy.util.is_package(name)] or [
        package.replace("-", "_") for package in spacy.util.get_installed_models() if package.startswith("en_core_web")
    ]
    if not installed:
        pytest.skip("no English model of spaCy is installed")
    return block.replace("en_core_web_sm", installed[0]).replace("trisignal.setup(", "settings = dict(")


@pytest.mark.filterwarnings("ignore")
def test_names_of_people_go_and_names_of_models_stay(recipe: str) -> None:
    """With the recipe a name and a city leave no trace in content, and metadata is as before."""
    found: dict[str, Any] = {"trisignal": trisignal}
    exec(recipe, found)
    with capture(**found["settings"], strict=True, redactor_timeout_s=60) as seen:
        with trisignal.llm(provider="openai", model="gpt-4o") as call:
            said = "Hello, my name is John Smith and I live in Berlin. Write to john@example.com."
            call.set_content(input=[{"role": "user", "parts": [{"type": "text", "content": said}]}])
            call.set_usage(input_tokens=20, output_tokens=5)
        attributes = seen.span.attributes or {}
        sent = str(attributes["gen_ai.input.messages"])
        assert attributes["gen_ai.request.model"] == "gpt-4o"
        assert seen.value("llm_redaction_failures_total") == 0
    assert "Smith" not in sent
    assert "Berlin" not in sent
    assert "[REDACTED:person]" in sent
    assert "[REDACTED:email]" in sent
