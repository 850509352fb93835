"""Override files: what they say, whom it concerns, and where the mistake is."""

from __future__ import annotations

import json
import sys
from datetime import date, datetime, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trisignal.errors import MissingExtraError, PriceFileError
from trisignal.policy.price_file import FilePrices
from trisignal.policy.price_table import Rates

AT = datetime(2026, 7, 1, 12, tzinfo=timezone.utc).timestamp()

GOOD = """\
providers:
  openai:
    gpt-4o:
      input: 2.5
      output: 10
      cache_read: 1.25
      per_request: 0.001
      tiers:
        batch: {input: 1.25, output: 5}
      above:
        400000: {input: 9}
        200000: {input: 5, output: 15}
    my-*:
      input: 1
    my-own:
      input: 2
  llm.example.com:
    my-own: {input: 3}
  "*":
    my-own: {input: 4}
    dated:
      - {input: 1}
      - {from: 2026-07-01, input: 2}
"""


def write(folder: Path, text: str, suffix: str = "yaml") -> str:
    path = folder / f"prices.{suffix}"
    path.write_text(text, encoding="utf-8")
    return str(path)


def ask(prices: FilePrices, provider: str, model: str, host: str = "", tier: str = "") -> Rates | None:
    return prices.rates(provider, host, model, tier, AT)


def test_a_file_gives_flat_and_stepped_prices(tmp_path: Path) -> None:
    """Prices, context steps in order of size, prices per call and tiers are read as written."""
    pytest.importorskip("yaml")
    prices = FilePrices(write(tmp_path, GOOD))
    standard = ask(prices, "openai", "GPT-4o")
    assert standard == Rates(
        input=((0, 2.5), (200_000, 5), (400_000, 9)),
        output=((0, 10), (200_000, 15)),
        cache_read=1.25,
        per_request=0.001,
    )
    assert ask(prices, "openai", "gpt-4o", tier="batch") == standard._replace(input=1.25, output=5)
    assert ask(prices, "openai", "gpt-4o", tier="flex") is None
    assert ask(prices, "anthropic", "gpt-4o") is None
    assert ask(prices, "anthropic", "dated") == Rates(input=2)
    assert prices.models == 6


@pytest.mark.parametrize(
    ("provider", "host", "model", "price"),
    [
        ("openai", "", "my-own", 2),
        ("openai", "", "my-other", 1),
        ("openai", "llm.example.com", "my-own", 3),
        ("", "https://llm.example.com:8443/v1", "my-own", 3),
        ("openai", "llm.example.com", "my-other", 1),
        ("vllm", "", "my-own", 4),
    ],
)
def test_the_closest_entry_counts(tmp_path: Path, provider: str, host: str, model: str, price: float) -> None:
    """Host before provider before any provider; a full name before a pattern."""
    pytest.importorskip("yaml")
    assert ask(FilePrices(write(tmp_path, GOOD)), provider, model, host) == Rates(input=price)


def test_provider_names_of_the_conventions_reach_vendor_keys(tmp_path: Path) -> None:
    """A key may be the name on the span or the plain name of the vendor."""
    text = '{"providers": {"azure": {"m": {"input": 1}}, "gcp.gemini": {"m": {"input": 2}}}}'
    prices = FilePrices(write(tmp_path, text, "json"))
    assert ask(prices, "azure.ai.openai", "m") == Rates(input=1)
    assert ask(prices, "gcp.gemini", "m") == Rates(input=2)


MODEL = "providers:\n  openai:\n    gpt-4o:\n"


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        (f"{MODEL}      inptu: 1\n", 4, "unknown key 'inptu'; allowed: input, output"),
        (f"{MODEL}      input: 1\n      output: -2\n", 5, "'output' must be US dollars"),
        (f"{MODEL}      input: cheap\n", 4, "not 'cheap'"),
        (f"{MODEL}      input: true\n", 4, "not True"),
        (f"{MODEL}      input: .nan\n", 4, "not nan"),
        (f"{MODEL}      cache_read: 1\n", 3, "at least one of input, output, per_request"),
        (f"{MODEL}      input: 1\n      input: 2\n", 5, "'input' is given twice"),
        (f"{MODEL}      input: 1\n      tiers:\n        batch: 5\n", 6, "'batch' must be a mapping"),
        (f"{MODEL}      input: 1\n      tiers:\n        flex: {{from: 1}}\n", 6, "unknown key 'from'"),
        (f"{MODEL}      input: 1\n      above:\n        many: {{input: 2}}\n", 6, "a number of input tokens"),
        (f"{MODEL}      input: 1\n      above:\n        10: {{output: 2}}\n", 6, "below 10 tokens too"),
        (f"{MODEL}      - {{input: 1}}\n      - {{input: 2}}\n", 5, "a later 'from' day"),
        (f"{MODEL}      - {{input: 1}}\n      - {{from: soon, input: 2}}\n", 5, "a day such as 2026-07-01"),
        (f"{MODEL}      - {{input: 1}}\n      - {{from: 2026-13-45, input: 2}}\n", 5, "not '2026-13-45'"),
        ("providers: &p\n  openai: *p\n", 0, "is not YAML"),
        ("providers: !!int x\n", 0, "is not YAML"),
        (f"{MODEL}      []\n", 3, "'gpt-4o' needs prices"),
        ("providers:\n  openai:\n", 2, "'openai' must be a mapping"),
        ("prices:\n  openai: {}\n", 1, "unknown key 'prices'; allowed: providers"),
        ("", 0, "the file must be a mapping with the keys providers"),
        ("- 1\n", 0, "the file must be a mapping"),
        ("providers:\n  openai: {\n", 3, "is not YAML"),
        ("providers:\n  ? [a]\n  : 1\n", 2, "is not YAML"),
    ],
)
def test_a_mistake_is_told_with_its_line(tmp_path: Path, text: str, line: int, problem: str) -> None:
    """Every mistake in a YAML file names the file, the line and what is allowed."""
    pytest.importorskip("yaml")
    path = write(tmp_path, text)
    with pytest.raises(PriceFileError) as caught:
        FilePrices(path)
    assert caught.value.path == path
    assert caught.value.line == line
    assert problem in caught.value.problem


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        (
            '{"providers": {\n"openai": {\n"gpt-4o": {"input": 1,\n"out:{}put": 2}}}}',
            4,
            "unknown key 'out:{}put'",
        ),
        ('{"providers": {"openai": {"m": [\n{"input": 1},\n{"input": 2}]}}}', 3, "a later 'from' day"),
        ('{"providers": {"openai": {"m": {"input": 1,\n"input": 2}}}}', 2, "'input' is given twice"),
        ('{"providers": {"openai": {"m": {\n"input": "a \\" b",\n"output": 1}}}}', 2, "must be US dollars"),
        ('{"providers":\n [}', 2, "is not JSON"),
    ],
)
def test_a_mistake_in_json_is_told_with_its_line(tmp_path: Path, text: str, line: int, problem: str) -> None:
    """JSON files get the same lines as YAML ones."""
    with pytest.raises(PriceFileError) as caught:
        FilePrices(write(tmp_path, text, "json"))
    assert caught.value.line == line
    assert problem in caught.value.problem


keys = st.sampled_from(["input", "output", "above", "tiers", "from", "batch", "1000"]) | st.text()
leaves = st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.just("2026-07-01")


@given(st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(keys, inner), max_leaves=8))
def test_any_json_is_accepted_or_refused_cleanly(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    """Whatever a file holds, it gives prices or a `PriceFileError` with a line, nothing else."""
    text = json.dumps({"providers": {"a": {"m": value}}}, indent=1)
    models = line = 0
    try:
        models = FilePrices(write(tmp_path_factory.mktemp("prices"), text, "json")).models
    except PriceFileError as error:
        line = error.line
    assert models == 1 or 0 < line <= text.count("\n") + 1


@given(st.lists(st.dates(date(2020, 1, 1), date(2030, 1, 1)), min_size=1, unique=True), st.floats(0, 1))
def test_the_last_day_that_has_come_counts(
    tmp_path_factory: pytest.TempPathFactory, days: list[date], share: float
) -> None:
    """Of dated prices the latest one that has begun applies, until the next one begins."""
    days.sort()
    entries = [{"from": day.isoformat(), "input": index} for index, day in enumerate(days)]
    text = json.dumps({"providers": {"a": {"m": entries}}})
    prices = FilePrices(write(tmp_path_factory.mktemp("prices"), text, "json"))
    starts = [datetime(day.year, day.month, day.day, tzinfo=timezone.utc).timestamp() for day in days]
    for index, start in enumerate(starts):
        end = starts[index + 1] if index + 1 < len(starts) else start + 86_400
        rates = prices.rates("a", "", "m", "", start + (end - start) * share * 0.999)
        assert rates is not None
        assert rates.input == index
        assert rates.valid_until_unix_s == (end if index + 1 < len(starts) else float("inf"))


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    """A missing file and one that is not text are refused with the name of the file."""
    with pytest.raises(PriceFileError, match=r"none\.yaml: cannot be read"):
        FilePrices(str(tmp_path / "none.yaml"))
    binary = tmp_path / "binary.json"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PriceFileError, match="not UTF-8"):
        FilePrices(str(binary))


def test_yaml_without_its_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A YAML file without PyYAML says what to install."""
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(MissingExtraError, match=r"trisignal\[yaml\]"):
        FilePrices(write(tmp_path, GOOD))


def test_a_unit_of_whole_calls_is_enough(tmp_path: Path) -> None:
    """A model that bills images or seconds of video has no other price; a fee of a tool alone is none of the model's."""
    units = '{"image:hd:512x512": 0.08}'
    source = FilePrices(write(tmp_path, f"providers:\n  openai:\n    painter: {{tools: {units}}}\n"))
    assert source.rates("openai", "", "painter", "", AT) == Rates(tools={"image:hd:512x512": 0.08})
    with pytest.raises(PriceFileError, match="a unit in 'tools'"):
        FilePrices(write(tmp_path, "providers:\n  openai:\n    painter: {tools: {web_search: 0.01}}\n"))
