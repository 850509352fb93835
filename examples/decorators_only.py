"""No vendor client at all: decorators around your own functions, and a metrics page of your own.

    python examples/decorators_only.py

Answers two questions with a made-up model: workflow, stage, retrieval, tool and a streamed
model call, an evaluation and a user's verdict. Prints the answers, the totals and a part of the
metrics page; the call log goes to stderr.
"""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator

import trisignal

ORDERS = {"1042": "on the van", "1043": "waiting for payment"}
SHOWN = ("llm_requests_total", "llm_unpriced_requests_total", "llm_feedback_total", "llm_quality_score_sum")
MANUAL = ["Orders ship on weekdays.", "A delivery can be moved until noon."]


@trisignal.tool("order_status")
def order_status(number: str) -> str:
    """What an agent would call; arguments and result stay in the process unless content is captured."""
    return ORDERS[number]


@trisignal.retrieval("manual", top_k=1)
def search(query: str) -> list[str]:
    """The part of the manual that fits best."""
    return [max(MANUAL, key=lambda text: len(set(text.lower().split()) & set(query.lower().split())))]


@trisignal.llm(provider="vllm", model="qwen3-8b")
def generate(prompt: str) -> Iterator[str]:
    """Your model: it streams text, and tells the tokens that it has used."""
    words = f"Your order is {order_status('1042')}.".split()
    for word in words:
        yield word + " "
    trisignal.current_call().set_usage(input_tokens=len(prompt.split()), output_tokens=len(words))


@trisignal.workflow("answer_question")
def answer(question: str) -> tuple[str, dict[str, str]]:
    """The answer, and a reference to this run for later verdicts. Its log line has the time of each stage."""
    with trisignal.stage("prompt"):
        prompt = f"{question} {' '.join(search(question))}"
    text = "".join(generate(prompt)).strip()
    trisignal.evaluate("mentions_order", 1.0 if "order" in text else 0.0)
    return text, trisignal.current_call().ref


def main() -> None:
    """Answer two questions and show what was recorded."""
    with trisignal.setup(service_name="orders", logs="stderr"):
        with trisignal.context(request_id="req-1", tenant="acme"):
            print(answer("Where is my order?")[0])
            text, ref = answer("Can the delivery be moved?")
            print(text)
        trisignal.feedback(+1, ref=ref)
        total = trisignal.summary().total
        print(f"{total.calls} model calls, {total.input_tokens} tokens in, {total.output_tokens} out")
        server = trisignal.serve_metrics()
        with urllib.request.urlopen(server.url) as page:
            for line in page.read().decode().splitlines():
                if line.startswith(SHOWN):
                    print(line)
        server.close()


if __name__ == "__main__":
    main()
