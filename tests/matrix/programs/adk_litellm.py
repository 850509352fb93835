"""google-adk on OpenAI through litellm."""

from __future__ import annotations

from google.adk.models.lite_llm import LiteLlm
from matrix.programs import google_adk
from matrix.scenario import Scenario
from matrix.server import MODEL

PACKAGES = ("google-adk", "litellm")


def scenarios(url: str, *, native: bool) -> dict[str, Scenario]:
    """The runs."""
    model = LiteLlm(model=f"openai/{MODEL}", num_retries=0, stream_options={"include_usage": True})
    return google_adk.scenarios(url, native=native, model=model)
