"""Limits that processes share: what they add up to, through Redis and through a file."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from measured import MEASURED
from waiting import until
from watch.redis_server import RedisServer

import trisignal
from trisignal.errors import BudgetExceeded, ConfigError, MissingExtraError
from trisignal.testing import capture
from trisignal.watch.limits import redis_accounts, shared_accounts
from trisignal.watch.limits.accounts import MARK, SECONDS, Accounts, Demand, MemoryAccounts, Unavailable
from trisignal.watch.limits.file_accounts import FILE, FileAccounts
from trisignal.watch.limits.periods import Period, period_of
from trisignal.watch.limits.redis_accounts import RedisAccounts

WORKER = Path(__file__).parent / "guarded_worker.py"
REPLY = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "gpt-4o-2024-08-06",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100},
}
DOLLARS = 0.0035
"""Price of `REPLY`."""


@trisignal.llm(provider="openai", model="gpt-4o")
def ask() -> dict[str, Any]:
    """A call of 1100 tokens."""
    return REPLY


@pytest.fixture(scope="module", name="redis")
def _redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A running server."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(name="shared", params=["redis", "folder"])
def _shared(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where accounts are shared."""
    if request.param == "folder":
        return str(tmp_path)
    server: RedisServer = request.getfixturevalue("redis")
    import redis

    with redis.Redis(unix_socket_path=server.socket) as client:
        client.flushall()
    return server.url


def start(shared: str, kind: str, path: Path, clock_s: int = 0) -> subprocess.Popen[str]:
    """A worker in a process of its own."""
    arguments = [sys.executable, str(WORKER), shared, kind, str(clock_s), str(path)]
    environ = {**MEASURED, "PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(arguments, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["guard", "budget"])
def test_three_processes_share_one_limit_though_one_is_killed_and_clocks_differ(
    kind: str, shared: str, tmp_path: Path
) -> None:
    """Sixty calls are allowed in all: of those no more are made, and at most the killed process's open one is lost."""
    made = tmp_path / "made"
    # By the clock of one process it is the day before: Redis has a clock of its own; on one machine there is only one.
    off_s = -86_400 if "unix" in shared else 0
    first = start(shared, kind, made)
    until(lambda: made.exists() and made.stat().st_size >= 5, "the first calls")
    first.kill()
    first.communicate()
    workers = [start(shared, kind, made, clock_s) for clock_s in (off_s, 0, 0)]
    outputs = [worker.communicate(timeout=120) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0], outputs
    limit = "60 of 60 calls" if kind == "guard" else "0.21 of 0.21 usd"
    assert all(limit in output for output, _ in outputs), outputs
    calls = made.stat().st_size
    # What was reserved for a call that was killed stays spent. Each of the others may have begun beside the last one.
    assert 59 <= calls <= (60 if kind == "guard" else 62)


def test_parallel_calls_overshoot_by_less_than_one_call_each(shared: str) -> None:
    """Fifty threads with room for ten calls: once it is known what a call uses, no more than that are let in."""
    with capture() as seen:
        with trisignal.Budget(usd=11 * DOLLARS - 0.001, action="raise", name="pool", shared=shared):
            ask()
            gate, made = threading.Barrier(50), []

            @trisignal.llm(provider="openai", model="gpt-4o")
            def slow() -> dict[str, Any]:
                made.append(1)
                done.wait(60)
                return REPLY

            done = threading.Event()
            refused: list[BudgetExceeded] = []

            def work() -> None:
                gate.wait(60)
                try:
                    slow()
                except BudgetExceeded as refusal:
                    refused.append(refusal)

            threads = [threading.Thread(target=work) for _ in range(50)]
            for thread in threads:
                thread.start()
            until(lambda: len(made) + len(refused) == 50, "all answers")
            done.set()
            for thread in threads:
                thread.join()
        assert len(made) == 10
        assert refused[0].resource == "usd"
        assert refused[0].used == pytest.approx(11 * DOLLARS)
        assert seen.value("llm_requests_total") == 11
        assert seen.value("llm_budget_refused_total", budget="pool") == 40
        assert seen.value("llm_shared_budget_used", budget="pool") == pytest.approx(11 * DOLLARS)


def test_a_failed_call_gives_back_what_it_had_reserved(shared: str) -> None:
    """A call that was not charged uses nothing of a shared budget."""

    @trisignal.llm(provider="openai", model="gpt-4o")
    def fail() -> None:
        raise OSError("broken")

    with capture(), trisignal.Budget(tokens=3000, action="raise", shared=shared) as budget:
        ask()
        for _ in range(5):
            with pytest.raises(OSError, match="broken"):
                fail()
        assert budget.spent().tokens == 1100
        assert budget.remaining().tokens == 1900


def test_a_block_around_a_call_is_the_same_call(shared: str) -> None:
    """A decorated function that calls a decorated function makes one call of the budget and of the guard."""

    @trisignal.llm(provider="openai", model="gpt-4o")
    def outer() -> Any:
        return ask()

    with capture(), trisignal.Budget(tokens=2200, action="raise", shared=shared) as budget:
        with trisignal.guard(calls=2, name="two", shared=shared) as run:
            outer()
            assert run.used["calls"] == 1
            outer()
            assert budget.spent().tokens == 2200
            with pytest.raises(trisignal.LimitExceeded):
                outer()


def test_budgets_that_only_warn_are_shared_too(shared: str, caplog: pytest.LogCaptureFixture) -> None:
    """Without ``action="raise"`` nothing is refused, and what is used up is logged once."""
    with capture(), caplog.at_level(logging.WARNING, "trisignal.budgets"):
        with trisignal.Budget(tokens=2000, key="tenant", shared=shared) as budget:
            with trisignal.context(tenant="acme"):
                for _ in range(4):
                    ask()
            assert budget.spent("acme").tokens == 4400
            assert budget.spent("globex").tokens == 0
    assert [record.getMessage().partition(";")[0] for record in caplog.records] == [
        "shared budget 'tenant_per_hour' of tenant 'acme' is used up: 2200 of 2000 tokens"
    ]


# --- while the accounts are away --------------------------------------------------------------


def test_what_is_used_while_redis_is_away_is_added_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``allow`` calls go on within what the process knows, and Redis learns of them when it is back."""
    monkeypatch.setattr(shared_accounts, "RETRY_S", 0.0)
    with RedisServer(tmp_path) as server, capture() as seen:
        with trisignal.Budget(tokens=5000, action="raise", name="house", shared=server.url) as budget:
            ask()
            server.stop()
            ask()
            ask()
            assert budget.spent().tokens == 3300
            ask()
            ask()
            with pytest.raises(BudgetExceeded, match="5500 of 5000 tokens"):
                ask()
            assert seen.value("llm_limits_unavailable_total") >= 3
            server.start()
            with pytest.raises(BudgetExceeded, match="5500 of 5000 tokens"):
                ask()
            other = RedisAccounts(server.url, "budget:house:hour", "hour")
            assert other.used("all", ("tokens",)) == {"tokens": 5500}
            other.close()


def test_refusing_while_redis_is_away(tmp_path: Path) -> None:
    """With ``refuse`` nothing is called that nobody counts."""
    shared = f"unix://{tmp_path}/nobody.sock"
    with capture() as seen:
        with trisignal.Budget(tokens=5000, action="raise", shared=shared, on_unavailable="refuse"):
            with pytest.raises(BudgetExceeded, match="refuses calls: its shared accounts cannot be reached") as caught:
                ask()
            assert caught.value.resource == "unavailable"
        with trisignal.guard(calls=5, name="agent", shared=shared, on_unavailable="refuse"):
            with pytest.raises(trisignal.GuardExceeded, match="cannot be reached"):
                ask()
        assert seen.value("llm_requests_total") == 0
        assert seen.value("llm_limits_unavailable_total") == 2


def test_wrong_addresses_are_named_at_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be an address of accounts is refused where it is given, credentials left out."""
    with capture():
        for shared in ("http://redis", 5, "store", "redis://:s3cret@h:port/0"):
            with pytest.raises(ConfigError, match="shared=") as caught:
                trisignal.Budget(usd=1, shared=shared)  # type: ignore[arg-type]
            assert "s3cret" not in str(caught.value)
        with pytest.raises(ConfigError, match="on_unavailable="):
            trisignal.Budget(usd=1, shared="redis://h", on_unavailable="maybe")  # type: ignore[arg-type]
        monkeypatch.setitem(sys.modules, "redis", None)
        with pytest.raises(MissingExtraError, match=r"trisignal\[redis\]"):
            trisignal.Budget(usd=1, shared="redis://h")


def test_the_store_holds_accounts_too(tmp_path: Path) -> None:
    """``store`` names the folder that setup() was given."""
    with capture(store=str(tmp_path)):
        with trisignal.Budget(tokens=5000, shared="store") as budget:
            ask()
            assert budget.spent().tokens == 1100
    assert (tmp_path / "limits.sqlite").exists()


# --- the backends agree -----------------------------------------------------------------------

RESOURCES = st.sampled_from(["usd", "calls", MARK + "a"])
AMOUNTS = st.dictionaries(RESOURCES, st.integers(0, 5).map(float), max_size=3)
STEPS = st.lists(
    st.tuples(AMOUNTS, AMOUNTS, AMOUNTS, st.one_of(st.none(), AMOUNTS)),
    min_size=1,
    max_size=8,
)


@settings(max_examples=25)
@given(STEPS)
def test_all_backends_answer_alike(redis: RedisServer, tmp_path_factory: pytest.TempPathFactory, steps: Any) -> None:
    """Memory, file and Redis admit, refuse and reserve the same."""
    import redis as package

    with package.Redis(unix_socket_path=redis.socket) as client:
        client.flushall()
    folder = tmp_path_factory.mktemp("accounts")
    backends: list[Accounts] = [
        MemoryAccounts("month"),
        FileAccounts(folder, "one", "month"),
        RedisAccounts(redis.url, "one", "month"),
    ]
    for limits, amounts, expected, used in steps:
        asked = Demand({resource: limit + 1 for resource, limit in limits.items()}, amounts, expected)
        answers = [backend.reserve("a", asked) for backend in backends]
        assert _plain(answers[1]) == _plain(answers[2]) == _plain(answers[0])
        if answers[0].over is None:
            for backend, answer in zip(backends, answers):
                changes = {resource: -amount for resource, amount in answer.reserved.items()}
                backend.settle("a", answer.stamp, changes, used)
        reads = [backend.used("a", ("usd", "calls")) for backend in backends]
        assert reads[1] == pytest.approx(reads[0])
        assert reads[2] == pytest.approx(reads[0])
    for backend in backends:
        backend.close()


def _plain(answer: Any) -> Any:
    over = None if answer.over is None else (answer.over.resource, round(answer.over.used, 6))
    values = [{name: round(value, 6) for name, value in part.items()} for part in (answer.used, answer.reserved)]
    return over, values, answer.stamp, answer.ends_s


@pytest.mark.parametrize("per", ["minute", "hour", "day", "week", "month"])
def test_periods_in_redis_are_those_of_the_calendar(redis: RedisServer, per: Period) -> None:
    """The script's arithmetic gives the same periods as Python's calendar, leap years included."""
    import redis as package

    clock = "tonumber(time[1]) + tonumber(time[2]) / 1000000"
    assert clock in redis_accounts._HEAD
    text = redis_accounts._HEAD.replace(clock, "tonumber(ARGV[4])") + "return {tostring(start), tostring(stop)}"
    backend = RedisAccounts(redis.url, "one", per)
    with package.Redis(unix_socket_path=redis.socket, decode_responses=True) as client:
        script = client.register_script(text)

        @settings(max_examples=60)
        @given(st.integers(0, 8_000_000_000))
        def same(unix_s: int) -> None:
            found = script(keys=["k"], args=[*backend._per, unix_s])
            assert [float(value) for value in found] == list(period_of(per, unix_s))

        same()
    backend.close()


def test_seconds_begin_with_the_first_call_of_a_shared_account(redis: RedisServer) -> None:
    """The age of an account is counted by the server from the first call that any process makes."""
    accounts = RedisAccounts(redis.url, "aged", None)
    ask_for = Demand({SECONDS: 1e-6}, {"calls": 1.0})
    assert accounts.reserve("a", ask_for).over is None
    over = until(lambda: accounts.reserve("a", ask_for).over, "time to pass")
    assert over.resource == SECONDS
    accounts.close()


def test_a_lost_file_is_named(tmp_path: Path) -> None:
    """What SQLite cannot do is said as what it is."""
    (tmp_path / "limits.sqlite").mkdir()
    accounts = FileAccounts(tmp_path, "one", None)
    with pytest.raises(Unavailable, match="unable to open"):
        accounts.reserve("a", Demand({}, {}))


def test_nothing_is_left_open(tmp_path: Path) -> None:
    """The file is closed with the accounts, when they are freed unclosed, and when it is not a database."""

    def is_open() -> bool:
        return any(os.path.realpath(f"/proc/self/fd/{fd}").startswith(str(path)) for fd in os.listdir("/proc/self/fd"))

    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("needs /proc")
    path = tmp_path.resolve() / FILE
    accounts = FileAccounts(tmp_path, "one", None)
    accounts.used("a", ("usd",))
    assert is_open()
    accounts.close()
    assert not is_open()
    accounts.used("a", ("usd",))
    del accounts
    assert not is_open()
    path.write_bytes(b"not a database" * 400)
    with pytest.raises(Unavailable, match="not a database") as kept:
        FileAccounts(tmp_path, "one", None).used("a", ("usd",))
    assert not is_open(), kept


def test_accounts_are_forgotten(tmp_path: Path) -> None:
    """Accounts that nobody uses are deleted from the file."""
    now = [1_700_000_000.0]
    accounts = FileAccounts(tmp_path, "one", None, forget_after_s=60, now_s=lambda: now[0])
    accounts.reserve("a", Demand({}, {"calls": 1.0}))
    now[0] += 3600
    accounts.reserve("b", Demand({}, {"calls": 1.0}))
    assert _calls(accounts.used("a", ("calls",))) == 0
    assert _calls(accounts.used("b", ("calls",))) == 1
    accounts.close()


def _calls(used: Mapping[str, float]) -> float:
    return used["calls"]
