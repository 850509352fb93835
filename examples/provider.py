"""A provider for trying things out: answers OpenAI's API on this machine, no key needed.

    python examples/provider.py

It prints the two lines to paste into the terminal where your program will run.
"""

from __future__ import annotations

import threading

from trisignal.cli._demo_provider import DemoProvider


def main() -> None:
    """Serve until the process is interrupted."""
    with DemoProvider() as provider:
        print(f"export OPENAI_BASE_URL={provider.base_url}")
        print("export OPENAI_API_KEY=demo", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print()


if __name__ == "__main__":
    main()
