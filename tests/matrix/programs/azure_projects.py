"""azure-ai-projects: the OpenAI client that a project hands out."""

from __future__ import annotations

from typing import Any

from azure.ai.projects import AIProjectClient
from azure.core.credentials import AccessToken
from matrix.scenario import Scenario
from matrix.server import MODEL, REFUSED

PACKAGES = ("azure-ai-projects", "openai")


class Credential:
    """A credential of nobody."""

    def get_token(self, *scopes: str, **more: Any) -> AccessToken:
        """A token that is never looked at."""
        return AccessToken("none", 4_000_000_000)


def scenarios(url: str, *, native: bool) -> dict[str, Scenario]:
    """The runs."""
    project = AIProjectClient("https://none.services.ai.azure.com/api/projects/none", Credential())
    client = project.get_openai_client(base_url=f"{url}/v1", api_key="sk-none", max_retries=0)

    def stream() -> None:
        for _ in client.responses.create(model=MODEL, input="Which days?", stream=True):
            pass

    return {
        "plain": Scenario(lambda: client.responses.create(model=MODEL, input="Which days?"), agents=()),
        "streamed": Scenario(stream, agents=()),
        "with an error": Scenario(lambda: client.responses.create(model=MODEL, input=REFUSED), agents=(), fails=True),
    }
