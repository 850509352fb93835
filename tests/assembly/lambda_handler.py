"""A handler of AWS Lambda, which succeeds, raises, or waits for a model that does not answer."""

from __future__ import annotations

import time
from typing import Any

import trisignal

trisignal.setup(service_name="lambda", logs="stderr")


@trisignal.flush_on_return(deadline_s=30, margin_s=5)
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """What the event says."""
    with trisignal.context(request_id=context.aws_request_id), trisignal.workflow(event["kind"]):
        with trisignal.llm(provider="openai", model="gpt-4o") as call:
            call.set_usage(input_tokens=1000, output_tokens=100)
            if event["kind"] == "hang":
                time.sleep(3600)
        if event["kind"] == "raise":
            raise RuntimeError("no")
    return {"answer": event["kind"]}
