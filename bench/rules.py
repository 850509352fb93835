"""``python -m bench.rules``: what the rules of ``trisignal rules`` cost a real Prometheus.

A Prometheus without targets is given the series of so many models and workers by remote write: as much of the past as
the rules' windows reach, and a quarter of an hour of the future, so that nothing is scraped or written while it
evaluates. Then it loads the rules. Its CPU time is what counts, as its neighbours' load does not change that; the time
that Prometheus itself reports for each group is shown beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from trisignal import semconv as names
from trisignal.operate import objectives, rule_files, slos
from trisignal.operate.queries import label

SCRAPE_S, SLOW_S = 15, 120
AHEAD_S = 900
"""How far the samples reach into the future: longer than loading and measuring take."""
SLAB_S, POST_BYTES = 1800, 4_000_000
"""Samples are sent in order of time, so many seconds of every series at once."""
NEAR_S, FAR_S, RECORDED_S = 1200, 6 * 3600 + 600, 3 * 86_400
"""History of what is read over minutes, of what is read over hours, and of recorded series."""
MEASURED_S, SHORTER_S, LARGE, WINDOW_S = 240, 120, 200, 15
"""How long is measured: twice as long as the slowest groups' interval, and once where there are many models."""
POSTING = 3
"""Requests on their way at once."""
GOALS = {50: 1.5, 1000: 15.0}
"""CPU seconds per 15 seconds, by models with 4 workers each."""


class Series(NamedTuple):
    """One series: its labels as protobuf, how fast it grows, and how far back it goes."""

    labels: bytes
    pace: int
    history_s: int
    step_s: int = SCRAPE_S


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _labels(name: str, **labels: str) -> bytes:
    pairs = sorted({"__name__": name, **labels}.items())
    return b"".join(_field(1, _field(1, k.encode()) + _field(2, v.encode())) for k, v in pairs)


def _snappy(content: bytes) -> bytes:
    """Snappy's format without any compression: literals only."""
    parts = [_varint(len(content))]
    for start in range(0, len(content), 1 << 24):
        piece = content[start : start + (1 << 24)]
        parts += [b"\xfc", struct.pack("<I", len(piece) - 1), piece]
    return b"".join(parts)


def _histogram(metric: names.Metric, read_far: Sequence[float], **labels: str) -> Iterator[Series]:
    name = metric.prometheus_name
    for place, bound in enumerate((*metric.bounds, float("inf"))):
        le = "+Inf" if bound == float("inf") else str(float(bound))
        yield Series(_labels(name + "_bucket", le=le, **labels), place // 3, FAR_S if bound in read_far else NEAR_S)
    yield Series(_labels(name + "_count", **labels), 7, FAR_S)
    yield Series(_labels(name + "_sum", **labels), 7, 4200)


def _calls(table: dict[str, names.Metric], where: dict[str, str], bad: bool) -> Iterator[Series]:
    """What one worker shows of one model."""

    def counter(key: str, pace: int, history_s: int = FAR_S, **labels: str) -> Series:
        return Series(_labels(table[key].prometheus_name, **where, **labels), pace, history_s)

    for outcome in ("ok", "error", "cancelled", "abandoned"):
        yield counter("requests", 7 if outcome == "ok" else int(bad), llm_outcome=outcome)
    for kind in ("rate_limit", "server"):
        yield counter("errors", int(bad), llm_error_kind=kind, error_type="500")
    for outcome in ("ok", "error"):
        yield from _histogram(table["inference_duration"], (5.0, 30.0), **where, llm_outcome=outcome)
    for key, read in (
        ("first_token", (2.56,)),
        ("first_answer", ()),
        ("chunk_interval", ()),
        ("request_cost", (0.05,)),
    ):
        yield from _histogram(table[key], read, **where)
    for side in ("input", "output"):
        yield from _histogram(table["tokens"], (), **where, gen_ai_token_type=side)
    for bucket in ("input", "cache_read", "output"):
        yield counter("cost", 5, 4200, llm_cost_bucket=bucket, gen_ai_response_model="m")
    for key in ("cost_reported", "cost_listed"):
        yield counter(key, 5)
    for key, labels in (("retries", {"llm_error_kind": "server"}), ("usage_missing", {}), ("wasted_cost", {})):
        yield counter(key, 0, 4200, **labels)
    for result in ("hit", "miss"):
        yield counter("prompt_cache", 6, 2400, result=result)
    for key in ("ratelimit_remaining", "ratelimit_limit"):
        yield counter(key, 0, NEAR_S, resource="requests")


def world(models: int, workers: int) -> list[Series]:
    """All series of a service, and those recorded of it."""
    table = names.profile("1.41")
    found: list[Series] = []
    for model in range(models):
        what = {
            "job": "chat-api",
            label(names.PROVIDER): f"provider-{model % 5}",
            label(names.REQUEST_MODEL): f"m-{model}",
        }
        for worker in range(workers):
            where = {**what, "instance": f"worker-{worker}", label(names.OPERATION): "chat"}
            found += _calls(table, where, bad=model % 7 == 0)
        short = {"job": "chat-api", "provider": f"provider-{model % 5}", "model": f"m-{model}"}
        for slo in slos.slos(objectives.RulesPlan()):
            for part in ("events", "bad"):
                found.append(Series(_labels(f"llm:slo_{part}:rate30m", slo=slo.name, **short), 6, RECORDED_S, SLOW_S))
            found.append(Series(_labels("llm:slo_errors:ratio_rate30m", slo=slo.name, **short), 0, 4200, SLOW_S))
        found.append(Series(_labels("llm:cost:hourly_usd", **short), 6, RECORDED_S, SLOW_S))
        found.append(Series(_labels("llm:cost:daily_usd", **short), 6, RECORDED_S, SLOW_S))
    clock = Series(_labels("llm:rules:evaluated_at_seconds"), -1, RECORDED_S, SLOW_S)
    return [*found, clock]


def _samples(pace: int, times: Sequence[int], begin: int) -> bytes:
    out = bytearray()
    for moment in times:
        value = float(moment) if pace < 0 else (moment - begin) * pace * 0.05
        content = b"\x09" + struct.pack("<d", value) + b"\x10" + _varint(moment * 1000)
        out += _field(2, content)
    return bytes(out)


class Prometheus:
    """A Prometheus that takes remote write and reloads its rules; a context manager."""

    def __init__(self, folder: Path) -> None:
        self._rules = folder / "rules.json"
        self._rules.write_text('{"groups": []}')
        config = folder / "prometheus.json"
        config.write_text(json.dumps({"global": {"evaluation_interval": "15s"}, "rule_files": [str(self._rules)]}))
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        program = shutil.which("prometheus") or sys.exit("Prometheus is not installed (Debian: prometheus)")
        options = (
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--web.enable-remote-write-receiver",
            "--web.enable-lifecycle",
            "--log.level=error",
        )
        self.process = subprocess.Popen([program, *options])

    def __enter__(self) -> Prometheus:
        for _ in range(600):
            with suppress(OSError):
                self.send("/-/ready", None)
                return self
            time.sleep(0.1)
        raise SystemExit("Prometheus did not start")

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def send(self, path: str, body: bytes | None, **headers: str) -> bytes:
        """Ask it; a body makes it a POST."""
        request = urllib.request.Request(self.url + path, data=body, headers=headers)
        with urllib.request.urlopen(request, timeout=300) as reply:
            return bytes(reply.read())

    def write(self, series: Sequence[Series]) -> int:
        """Send the samples of all series; how many."""
        now = int(time.time()) // SLOW_S * SLOW_S
        alike: dict[tuple[int, int, int], list[bytes]] = {}
        for one in series:
            alike.setdefault((one.pace, one.history_s, one.step_s), []).append(one.labels)
        sent = 0
        with ThreadPoolExecutor(POSTING) as pool:
            for start in range(now - RECORDED_S, now + AHEAD_S, SLAB_S):
                stop = min(start + SLAB_S, now + AHEAD_S)
                posts = []
                for (pace, history_s, step_s), every in alike.items():
                    begin = max(start, now - history_s)
                    end = min(stop, now) if step_s == SLOW_S else stop  # the rules go on recording
                    times = range(-(-begin // step_s) * step_s, end, step_s)
                    if not times:
                        continue
                    content = _samples(pace, times, now - RECORDED_S)
                    at_once = max(1, POST_BYTES // (len(content) + len(every[0])))
                    slices = (every[first : first + at_once] for first in range(0, len(every), at_once))
                    posts += [pool.submit(self._post, some, content) for some in slices]
                    sent += len(times) * len(every)
                for post in posts:  # a series' samples come in order
                    post.result()
        return sent

    def _post(self, every: list[bytes], content: bytes) -> None:
        headers = {"Content-Encoding": "snappy", "X-Prometheus-Remote-Write-Version": "0.1.0"}
        body = b"".join(_field(1, labels + content) for labels in every)
        self.send("/api/v1/write", _snappy(body), **headers)

    def load(self, rules: dict[str, Any]) -> None:
        """Begin to evaluate rules."""
        self._rules.write_text(json.dumps(rules))
        self.send("/-/reload", b"")

    def cpu_s(self) -> float:
        """CPU time that it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def groups(self) -> list[dict[str, Any]]:
        """What it reports of each group."""
        found: list[dict[str, Any]] = json.loads(self.send("/api/v1/rules", None))["data"]["groups"]
        return found

    def iterations(self) -> dict[str, float]:
        """How often each group has been evaluated."""
        text = self.send("/metrics", None).decode()
        found: dict[str, float] = {}
        for name in ("prometheus_rule_group_iterations_total", "prometheus_rule_group_iterations_missed_total"):
            sign = -1 if "missed" in name else 1
            for file, value in re.findall(rf'{name}{{rule_group="([^"]*)"}} (\S+)', text):
                group = file.rpartition(";")[2]
                found[group] = found.get(group, 0.0) + sign * float(value)
        return found

    def recorded(self) -> int:
        """Series that the rules have recorded, as they are now."""
        answer = json.loads(self.send("/api/v1/query?query=count(%7B__name__%3D~%22llm:.%2B%22%7D)", None))
        return int(answer["data"]["result"][0]["value"][1])


def run(models: int, workers: int, rules: dict[str, Any]) -> float:
    """Measure one size and print it; CPU seconds per 15 seconds."""
    with TemporaryDirectory() as folder, Prometheus(Path(folder)) as prometheus:
        series = world(models, workers)
        began = time.monotonic()
        sent = prometheus.write(series)
        print(f"\n{models} models x {workers} workers: {len(series)} series, {sent} samples "
              f"(loaded in {time.monotonic() - began:.0f} s)", flush=True)  # fmt: skip
        prometheus.load(rules)
        time.sleep(SLOW_S / 2)
        before, since, done = prometheus.cpu_s(), time.monotonic(), prometheus.iterations()
        time.sleep(SHORTER_S if models > LARGE else MEASURED_S)
        passed_s = time.monotonic() - since
        cpu_s = (prometheus.cpu_s() - before) / passed_s * WINDOW_S
        done = {group: n - done.get(group, 0.0) for group, n in prometheus.iterations().items()}
        part = _evaluated(prometheus.groups(), done, passed_s)
        _report(prometheus, models, cpu_s / part)
        if part < 1:
            print(f"{part:.0%} of what was due could be evaluated: CPU was {cpu_s:.2f} s, and is scaled up")
    return cpu_s / part


def _evaluated(groups: list[dict[str, Any]], done: dict[str, float], passed_s: float) -> float:
    """How much of what was due was evaluated, by the groups' own times: a server that is too slow leaves some out."""
    due_s = sum(group["evaluationTime"] * passed_s / group["interval"] for group in groups)
    spent_s = sum(
        group["evaluationTime"] * min(done.get(group["name"], 0.0), passed_s / group["interval"]) for group in groups
    )
    return min(1.0, spent_s / due_s * 1.1) if due_s else 1.0  # a window may hold one evaluation less than is due


def _report(prometheus: Prometheus, models: int, cpu_s: float) -> None:
    groups = prometheus.groups()
    total_s = 0.0
    print(f"{'group':36} {'every':>6} {'seconds':>9} {'per 15 s':>9}")
    for group in sorted(groups, key=lambda one: -one["evaluationTime"] / one["interval"]):
        share_s = group["evaluationTime"] * WINDOW_S / group["interval"]
        total_s += share_s
        print(f"{group['name']:36} {group['interval']:5g}s {group['evaluationTime']:9.3f} {share_s:9.3f}")
        for rule in group["rules"]:
            if rule["health"] != "ok":
                print(f"   {rule['name']}: {rule.get('lastError') or rule['health']}")
    recorded = prometheus.recorded()
    goal = f"; goal {GOALS[models]:g} s" if models in GOALS else ""
    print(f"evaluation as reported: {total_s:.2f} s per 15 s; CPU of Prometheus: {cpu_s:.2f} s per 15 s{goal}")
    print(f"recorded series: {recorded}, {recorded / models:.0f} per model")


def main() -> int:
    """Run the benchmark; exit status 1 where a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.rules", description=__doc__)
    parser.add_argument("--models", type=int, nargs="+", default=[50], help="how many, one run each (default: 50)")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--rules", default="", metavar="FILE", help="a rule file in JSON instead of the default plan's")
    given = parser.parse_args()
    rules = json.loads(Path(given.rules).read_text()) if given.rules else rule_files.plain(objectives.RulesPlan())
    missed = [n for n in given.models if run(n, given.workers, rules) > GOALS.get(n, float("inf"))]
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
