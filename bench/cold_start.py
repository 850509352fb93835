"""What trisignal adds to the start of a function's instance: CPU time of new processes, in milliseconds.

``python -m bench.cold_start [ROUNDS]`` prints the table of ``docs/how-to/aws-lambda.md``. All programs of its rows are
run once per round, in turn, and medians are shown. CPU time, as other work on the machine disturbs it less than time on
the clock; an instance with a whole core needs about as long.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys

CALL = """
with trisignal.llm(provider="openai", model="gpt-4o") as call:
    call.set_usage(input_tokens=100, output_tokens=10)
"""
SETUP = 'import trisignal\ntelemetry = trisignal.setup(service_name="f", logs="emf")\n'
OTLP = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
HTTP = {**OTLP, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
PROGRAMS: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("Python alone", "", {}),
    ("`import openai`, for comparison", "import openai\n", {}),
    ("`import trisignal`", "import trisignal\n", {}),
    ('`setup(logs="emf")`', SETUP, {}),
    ("the same and the first call", SETUP + CALL, {}),
    ("spans over OTLP, `http/protobuf`", SETUP + CALL, HTTP),
    ("spans over OTLP, gRPC", SETUP + CALL, OTLP),
)


def cpu_ms(program: str, environ: dict[str, str]) -> float:
    """CPU time of one new process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Nothing listens where spans go: what is left in the queue is not part of a start.
    ended = program + "\nimport os, sys\nsys.stdout.flush()\nos._exit(0)\n"
    subprocess.run([sys.executable, "-c", ended], env=environ, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime) * 1000


def main(rounds: int) -> None:
    """Print the table."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "TRISIGNAL_"))}
    times: dict[str, list[float]] = {name: [] for name, _, _ in PROGRAMS}
    for turn in range(rounds + 1):
        for name, program, variables in PROGRAMS:
            taken = cpu_ms(program, {**clean, **variables})
            if turn:  # the first writes bytecode
                times[name].append(taken)
    base = statistics.median(times["Python alone"])
    print("| a new process | CPU, ms | over Python alone |")
    print("| --- | --- | --- |")
    for name, taken_ms in times.items():
        median = statistics.median(taken_ms)
        print(f"| {name} | {median:.0f} | {median - base:.0f} |")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
