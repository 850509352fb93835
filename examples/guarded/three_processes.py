"""Three workers whose agents loop, stopped by one limit that they share; then the whole run as one trace.

    python examples/guarded/three_processes.py STORE [redis://localhost:6379/0]
    trisignal console STORE

The limit of twelve model calls is that of the session, however many processes serve it. Without a Redis it is kept in a
file of the store's folder. The model is played by a provider on this machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

CALLS, WORKERS = 12, 3


def work(number: str, store: str, shared: str) -> None:
    """Search for ever, in the context that the parent has passed on."""
    import trisignal

    with trisignal.setup(service_name=f"worker-{number}", store=store):
        trisignal.instrument("openai")
        from openai import OpenAI

        client = OpenAI(max_retries=0)

        @trisignal.tool
        def search(query: str) -> str:
            return f"Nothing about {query}."

        @trisignal.agent("seeker")
        @trisignal.guard(calls=CALLS, key="session", name="sessions", shared=shared)
        def seek(question: str) -> None:
            messages: list = [{"role": "user", "content": question}]
            while True:
                message = client.chat.completions.create(model="gpt-4o", messages=messages).choices[0].message
                messages.append(message)
                for call in message.tool_calls or ():
                    result = search(**json.loads(call.function.arguments))
                    messages.append({"role": "tool", "tool_call_id": call.id, "content": result})

        with trisignal.continue_from(json.loads(os.environ["CARRIER"])):
            try:
                seek("Where is my umbrella?")
            except trisignal.GuardExceeded as stopped:
                print(f"worker-{number}: {stopped}")


def main() -> None:
    """Start the workers in one trace, and say what reached the provider."""
    from looping_provider import LoopingProvider

    import trisignal

    store = sys.argv[1]
    shared = sys.argv[2] if len(sys.argv) > 2 else "store"
    with LoopingProvider("search") as provider, trisignal.setup(service_name="parent", store=store):
        with trisignal.context(session="s-1", request_id="order-7"), trisignal.workflow("lost and found") as flow:
            environ = {
                **os.environ, "CARRIER": json.dumps(trisignal.inject()),
                "OPENAI_BASE_URL": provider.url, "OPENAI_API_KEY": "none",
            }  # fmt: skip
            commands = [[sys.executable, __file__, "worker", str(number), store, shared] for number in range(WORKERS)]
            workers = [subprocess.Popen(command, env=environ) for command in commands]
            ends = [worker.wait() for worker in workers]
        if any(ends):
            sys.exit("a worker has failed")
        print(f"{provider.requests} of {CALLS} requests reached the provider; trace {flow.trace_id}")


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        work(*sys.argv[2:5])
    else:
        main()
