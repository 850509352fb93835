"""A load test of the FastAPI example: plain and streamed questions, some of which are left early.

    python examples/fastapi_app.py --demo
    locust -f examples/locustfile.py --headless --users 20 --spawn-rate 5 --run-time 60s --host http://localhost:8000

Needs: pip install locust
"""

from __future__ import annotations

import random

from locust import HttpUser, between, task

HUNG_UP = 0.1
"""Part of the streams that the user leaves after the first words."""


class Asker(HttpUser):
    """Somebody who asks, reads and asks again."""

    wait_time = between(0.5, 2.0)

    def question(self) -> dict[str, str]:
        """A question that no cache has seen."""
        return {"question": f"Where is order {random.randrange(100_000)}?"}

    @task(3)
    def ask(self) -> None:
        """Wait for the whole answer."""
        self.client.get("/ask", params=self.question(), name="/ask")

    @task(2)
    def stream(self) -> None:
        """Read word by word, and sometimes hang up."""
        reply = self.client.get("/stream", params=self.question(), name="/stream", stream=True)
        for _ in reply.iter_content(chunk_size=None):
            if random.random() < HUNG_UP:
                break
        reply.close()
