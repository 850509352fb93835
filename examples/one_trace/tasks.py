"""The task, which asks the model server; nothing in it knows of traces. Imported by the worker and the web application.

celery -A tasks worker
"""

from __future__ import annotations

import os

import trisignal

trisignal.setup(store=os.environ["STORE"], provider_hosts={os.environ["MODEL_HOST"]: "vllm"})
trisignal.instrument("openai")
trisignal.instrument_queues("celery")

from celery import Celery  # noqa: E402 - what is instrumented may come before or after
from openai import OpenAI  # noqa: E402

app = Celery("tasks", broker=os.environ["BROKER"], backend=os.environ["BROKER"])
app.conf.update(broker_connection_retry_on_startup=True, worker_hijack_root_logger=False)


@app.task(name="answer")
def answer(question: str) -> str:
    """The model's answer."""
    client = OpenAI(base_url=f"http://{os.environ['MODEL_HOST']}/v1", api_key="none", max_retries=0)
    reply = client.chat.completions.create(model="qwen3-8b", messages=[{"role": "user", "content": question}])
    return str(reply.choices[0].message.content)
