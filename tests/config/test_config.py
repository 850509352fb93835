"""Settings: where they come from, what they may be, and what a wrong one says."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from thinning import examples

import trisignal
from trisignal import config
from trisignal.config import DESCRIPTIONS, DETECTORS, STANDARD_VARIABLES, Settings, load
from trisignal.errors import ConfigError, TrisignalError

VALUES: dict[str, tuple[Any, str, Any]] = {
    "service_name": ("chat", "chat", "chat"),
    "disabled": (True, "true", True),
    "set_global": (False, "off", False),
    "capture_content": ("span_and_event", "SPAN_AND_EVENT", "span_and_event"),
    "content_field_bytes": (1024, "1024", 1024),
    "content_span_bytes": (4096, " 4096 ", 4096),
    "redact": (["email", "card"], "email, card,", ("email", "card")),
    "redact_patterns": ({"id": "X[0-9]+"}, '{"id": "X[0-9]+"}', {"id": "X[0-9]+"}),
    "mask_keys": (["card", "*.ssn"], "card, *.ssn", ("card", "*.ssn")),
    "redactor_timeout_s": (2.5, "2.5", 2.5),
    "metric_profile": ("2026-10", "2026-10", "2026-10"),
    "metric_prefix": ("app_", "app_", "app_"),
    "metric_dimensions": (["tenant", "region"], "tenant,region", ("tenant", "region")),
    "slo_thresholds": ([0.25, 3], "0.25,3", (0.25, 3.0)),
    "max_label_sets": (10, "10", 10),
    "max_series": (500, "500", 500),
    "exemplars": (False, "no", False),
    "trace_sample_ratio": (0.5, "0.5", 0.5),
    "tail_sampling": (True, "yes", True),
    "tail_wait_s": (2.5, "2.5", 2.5),
    "tail_dear_usd": (0.25, "0.25", 0.25),
    "tail_max_traces": (10, "10", 10),
    "tail_max_spans": (100, "100", 100),
    "tail_max_mb": (16, "16", 16),
    "tail_max_s": (60, "60", 60.0),
    "log_sample_ratio": (0.25, "0.25", 0.25),
    "logs": ("stderr", "stderr", "stderr"),
    "emf_namespace": ("Answers", "Answers", "Answers"),
    "prices_file": ("prices.yaml", "prices.yaml", "prices.yaml"),
    "live_prices": (True, "1", True),
    "propagate_trace_context": (True, "on", True),
    "inject_stream_usage": (True, "yes", True),
    "bridge": (False, "false", False),
    "provider_hosts": ({"gpu:8000": "vllm"}, '{"gpu:8000": "vllm"}', {"gpu:8000": "vllm"}),
    "event_score_threshold": (0.75, "0.75", 0.75),
    "store": ("trisignal-store", "trisignal-store", "trisignal-store"),
    "store_days": (3, "3", 3),
    "store_mb": (64, "64", 64),
    "store_logs": (True, "yes", True),
}
"""Setting to an argument, a variable's text, and what both mean; none is the default."""

SWITCH = "true or false"
TEXTS = "a mapping of texts to texts"
WRONG: list[tuple[str, Any, str]] = [
    ("disabled", "perhaps", SWITCH),
    ("set_global", "global", SWITCH),
    ("capture_content", "all", "no_content, span_only, event_only, span_and_event, true, false"),
    ("content_field_bytes", "255", "a whole number, 256 or more"),
    ("content_span_bytes", "511", "a whole number, 512 or more"),
    ("redact", "email,mail", ", ".join(DETECTORS)),
    ("redact_patterns", "no json", "JSON"),
    ("mask_keys", "card,*.", "keys or paths of keys"),
    ("redactor_timeout_s", "0", "seconds above 0"),
    ("redact_patterns", "[1]", TEXTS),
    ("metric_profile", "1.42", "1.41, 2026-10"),
    ("metric_prefix", "9lives", "letters, digits and underscores"),
    ("metric_prefix", "a-b", "letters, digits and underscores"),
    ("metric_dimensions", "a-b", "letters, digits and underscores"),
    ("metric_dimensions", "grün", "letters, digits and underscores"),
    ("metric_dimensions", "__a", "letters, digits and underscores"),
    ("metric_dimensions", "tenant,le", "names other than the labels"),
    ("metric_dimensions", "gen_ai_request_model", "names other than the labels"),
    ("metric_dimensions", "user_id", "names other than"),
    ("slo_thresholds", "1,fast", "numbers of seconds"),
    ("slo_thresholds", "-1", "above 0"),
    ("slo_thresholds", "inf", "finite"),
    ("slo_thresholds", "nan", "finite"),
    ("max_label_sets", "0", "a whole number, 1 or more"),
    ("max_label_sets", "many", "a whole number, 1 or more"),
    ("max_label_sets", "1.5", "a whole number, 1 or more"),
    ("max_series", "99", "a whole number, 100 or more"),
    ("exemplars", "2", SWITCH),
    ("trace_sample_ratio", "1.01", "a number from 0 to 1"),
    ("trace_sample_ratio", "nan", "a number from 0 to 1"),
    ("trace_sample_ratio", "50%", "a number from 0 to 1"),
    ("tail_sampling", "maybe", SWITCH),
    ("tail_wait_s", "0", "seconds"),
    ("tail_dear_usd", "-1", "US dollars above 0"),
    ("tail_dear_usd", "much", "US dollars above 0"),
    ("tail_max_traces", "0", "a whole number, 1 or more"),
    ("log_sample_ratio", "-0.01", "a number from 0 to 1"),
    ("logs", "sdterr", "stderr, stdout, console, root, emf, or the path of a file"),
    ("logs", "json", "stderr, stdout, console, root, emf, or the path of a file"),
    ("live_prices", "maybe", SWITCH),
    ("propagate_trace_context", "maybe", SWITCH),
    ("inject_stream_usage", "maybe", SWITCH),
    ("bridge", "maybe", SWITCH),
    ("provider_hosts", '{"a": 1}', TEXTS),
    ("provider_hosts", "gpu=vllm", "JSON"),
    ("provider_hosts", '{"http://gpu:8000": "vllm"}', "without scheme"),
    ("provider_hosts", '{"gpu:8000/v1": "vllm"}', "without scheme"),
    ("provider_hosts", '{"": "vllm"}', "`host` or `host:port`"),
    ("event_score_threshold", "2", "a number from 0 to 1"),
    ("store_days", "0", "a whole number from 1 to 3650"),
    ("store_mb", "8", "a whole number, 16 or more"),
    ("store_logs", "maybe", SWITCH),
]
"""Setting, wrong text, and what the error must say of the allowed values."""


def value(loaded: config.Loaded, name: str) -> Any:
    """A setting's value."""
    return getattr(loaded.settings, name)


# --- completeness ----------------------------------------------------------------------------------------


def test_every_setting_is_tested_and_is_an_argument() -> None:
    """The table above, the settings and the arguments of setup() are the same names, all documented."""
    assert set(VALUES) == {field.name for field in fields(Settings)} == set(DESCRIPTIONS)
    objects = {"tracer_provider", "meter_provider", "logger_provider", "registry", "redactor", "price_source"}
    assert set(inspect.signature(trisignal.setup).parameters) - objects == set(VALUES)
    assert all(DESCRIPTIONS.values())


def test_the_defaults_are_those_of_the_environment_of_nobody() -> None:
    """With nothing given every setting has its default, which is allowed itself, and says so."""
    loaded = load({}, {})
    assert loaded.settings == Settings()
    assert set(loaded.sources.values()) == {"default"}
    assert load(asdict(loaded.settings), {}).settings == loaded.settings
    assert loaded.settings.capture_content == "no_content"
    assert not loaded.settings.propagate_trace_context
    assert not loaded.settings.inject_stream_usage


def test_settings_do_not_change() -> None:
    """What is in force is read-only."""
    with pytest.raises(AttributeError, match="cannot assign"):
        load({}, {}).settings.disabled = True


# --- order -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VALUES)
def test_each_setting_from_each_source(name: str, tmp_path: Path) -> None:
    """Argument, variable and file mean the same, and the source is told."""
    argument, text, meant = VALUES[name]
    file = tmp_path / "settings.json"
    file.write_text(json.dumps({name: argument}), encoding="utf-8")
    variable = f"TRISIGNAL_{name.upper()}"
    found = {
        "argument": load({name: argument}, {}),
        "environment": load({}, {variable: text}),
        "file": load({}, {"TRISIGNAL_CONFIG": str(file)}),
    }
    for source, loaded in found.items():
        assert (value(loaded, name), loaded.sources[name]) == (meant, source)
    assert value(load({}, {}), name) != meant


@pytest.mark.parametrize("name", VALUES)
def test_the_order_of_sources(name: str, tmp_path: Path) -> None:
    """Explicit beats environment beats file beats default; None and empty texts count as not given."""
    argument, text, meant = VALUES[name]
    default = json.loads(json.dumps(asdict(Settings())))[name]
    file = tmp_path / "settings.json"
    variable = f"TRISIGNAL_{name.upper()}"
    file.write_text(json.dumps({name: argument}), encoding="utf-8")
    environ = {"TRISIGNAL_CONFIG": str(file), variable: " "}
    assert load({name: None}, environ).sources[name] == "file"
    file.write_text(json.dumps({name: default}), encoding="utf-8")
    environ[variable] = text
    loaded = load({}, environ)
    assert (value(loaded, name), loaded.sources[name]) == (meant, "environment")
    loaded = load({name: default}, environ)
    assert (value(loaded, name), loaded.sources[name]) == (value(load({}, {}), name), "argument")


@pytest.mark.parametrize(("name", "variable"), STANDARD_VARIABLES.items())
def test_standard_variables(name: str, variable: str) -> None:
    """OpenTelemetry's own variables count, ours win over them, and errors name the one that was set."""
    _, text, meant = VALUES[name]
    loaded = load({}, {variable: text})
    assert (value(loaded, name), loaded.sources[name]) == (meant, "environment")
    ours = {"service_name": "other", "capture_content": "false", "disabled": "false"}[name]
    loaded = load({}, {variable: text, f"TRISIGNAL_{name.upper()}": ours})
    assert value(loaded, name) == value(load({}, {f"TRISIGNAL_{name.upper()}": ours}), name) != meant
    if name == "capture_content":
        with pytest.raises(ConfigError) as caught:
            load({}, {variable: "perhaps"})
        assert caught.value.setting == variable
    if name == "disabled":
        # By its specification anything but "true" is false.
        assert value(load({}, {variable: "perhaps"}), name) is False


def test_the_environment_is_the_process_own_unless_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """`load` reads the process's environment once, when it is called."""
    monkeypatch.setenv("TRISIGNAL_MAX_SERIES", "123")
    assert load().settings.max_series == 123
    assert load(environ={}).settings.max_series == 10_000


def test_unknown_variables_set_nothing() -> None:
    """A variable that is not a setting changes nothing: a newer version may know it."""
    assert load({}, {"TRISIGNAL_FUTURE": "x", "UNRELATED": "y"}).settings == Settings()


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (True, "span_only"),
        (False, "no_content"),
        ("true", "span_only"),
        ("0", "no_content"),
        ("Span_Only", "span_only"),
    ],
)
def test_capture_content_in_words(given: Any, meant: str) -> None:
    """Capture may be switched with a boolean, or named in any case."""
    loaded = load({"capture_content": given}, {})
    assert value(loaded, "capture_content") == meant
    assert loaded.settings.content_on_spans == (meant == "span_only")
    assert not loaded.settings.content_in_events


def test_detectors_can_be_switched_off() -> None:
    """An empty list of detectors is a choice, unlike an empty variable."""
    assert load({"redact": []}, {}).settings.redact == ()
    assert load({"redact": "default,national_phone"}, {}).settings.redact == (*DETECTORS, "national_phone")
    assert load({}, {"TRISIGNAL_REDACT": ""}).settings.redact == DETECTORS


# --- errors ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "text", "allowed"), WRONG)
def test_a_wrong_variable_is_named(name: str, text: str, allowed: str) -> None:
    """A wrong value names its variable, itself, where it came from and what may stand there."""
    variable = f"TRISIGNAL_{name.upper()}"
    with pytest.raises(ConfigError) as caught:
        load({}, {variable: text})
    error = caught.value
    assert isinstance(error, (TrisignalError, ValueError))
    assert (error.setting, error.value, error.source) == (variable, text, "environment")
    assert allowed in error.allowed
    for part in (variable, repr(text), "environment", error.allowed):
        assert part in str(error)


@pytest.mark.parametrize(("name", "text", "allowed"), WRONG)
def test_a_wrong_argument_is_named(name: str, text: str, allowed: str) -> None:
    """The same for arguments, which are called as the caller calls them."""
    with pytest.raises(ConfigError) as caught:
        load({name: text}, {})
    assert (caught.value.setting, caught.value.source) == (name, "argument")
    assert allowed in caught.value.allowed


def test_an_unknown_setting_is_refused(tmp_path: Path) -> None:
    """A misspelt name in arguments or file is an error that lists the settings."""
    file = tmp_path / "settings.json"
    file.write_text('{"capture_contents": true}', encoding="utf-8")
    sources: list[tuple[str, Mapping[str, Any], Mapping[str, str]]] = [
        ("argument", {"capture_contents": True}, {}),
        ("file", {}, {"TRISIGNAL_CONFIG": str(file)}),
    ]
    for source, explicit, environ in sources:
        with pytest.raises(ConfigError, match=r"capture_contents=True.*service_name, disabled") as caught:
            load(explicit, environ)
        assert caught.value.source == source


FOREIGN_WORDS = ("input should", "valid", "pydantic", "type=", "constraint", "regular expression")


@pytest.mark.parametrize("name", sorted(VALUES))
@pytest.mark.parametrize("given", [object(), 1j, b"x", float("nan"), -1, 10**400, [[]], [{}], {1: 2}, "\0", "?"])
def test_what_is_allowed_is_said_in_our_own_words(name: str, given: Any) -> None:
    """Whatever is given, the error says what may stand there, in words of this library."""
    refused = None
    try:
        load({name: given}, {})
    except ConfigError as error:
        refused = error
    assert refused is None or refused.setting == name
    assert refused is None or not [word for word in FOREIGN_WORDS if word in refused.allowed.lower()]


@pytest.mark.parametrize("name", ["prices_file", "store", "logs"])
@pytest.mark.parametrize("given", ["./a\0b", "./\ud800", b"./a", 5])
def test_what_can_be_no_path_is_refused_as_such(name: str, given: Any) -> None:
    """A path that no system has is an error that names the setting, before anything is opened."""
    with pytest.raises(ConfigError, match=name):
        load({name: given}, {})
    assert getattr(load({name: Path("a/here")}, {}).settings, name) == "a/here"


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("TRISIGNAL_LOG", "TRISIGNAL_LOGS"),
        ("TRISIGNAL_METRIC_DIMENSION", "TRISIGNAL_METRIC_DIMENSIONS"),
        ("TRISIGNAL_CAPTURE_CONTENTS", "TRISIGNAL_CAPTURE_CONTENT"),
        ("trisignal_max_series", "TRISIGNAL_MAX_SERIES"),
        ("TRISGNAL_DISABLED", "TRISIGNAL_DISABLED"),
        ("TRISIGNAL_FUTURE_THING", ""),
    ],
)
def test_misspelt_variables_are_found(variable: str, meant: str) -> None:
    """A variable that looks like ours and is none is named, with the one that is nearest."""
    environ = {variable: "x", "TRISIGNAL_LOGS": "stderr", "TRISIGNAL_METRICS_PORT": "9464", "TRIP": "1", "PATH": "/bin"}
    assert config.unknown_variables(environ) == {variable: meant}


# --- files -----------------------------------------------------------------------------------------------

FILES = {
    "settings.json": '{"max_series": 500, "redact": ["email"]}',
    "settings.yaml": "max_series: 500\nredact: [email]\n",
    "settings.YML": "max_series: 500\nredact: [email]\n",
    "settings.toml": 'max_series = 500\nredact = ["email"]\n',
}


@pytest.mark.parametrize("name", FILES)
def test_files_of_every_kind(tmp_path: Path, name: str) -> None:
    """JSON, YAML and TOML hold the same settings."""
    pytest.importorskip({"toml": "tomllib", "yaml": "yaml", "yml": "yaml"}.get(name[-4:].strip(".").lower(), "json"))
    (tmp_path / name).write_text(FILES[name], encoding="utf-8")
    loaded = load({}, {"TRISIGNAL_CONFIG": str(tmp_path / name)})
    assert (loaded.settings.max_series, loaded.settings.redact) == (500, ("email",))
    assert loaded.sources["redact"] == "file"


@pytest.mark.parametrize(
    ("name", "text", "allowed"),
    [
        ("absent.json", None, "a readable file"),
        ("broken.json", "{", "a valid json file"),
        ("broken.yaml", "a: [", "a valid yaml file"),
        ("broken.toml", "= 1", "a valid toml file"),
        ("list.json", "[]", "one table of settings"),
        ("empty.yaml", "", "one table of settings"),
        ("settings.ini", "[a]", ".json, .toml, .yaml or .yml"),
        ("binary.json", b"\xff\xfe\x00", "a valid json file"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, name: str, text: str | bytes | None, allowed: str) -> None:
    """A file that cannot be read is an error that names the file and what it may be."""
    path = tmp_path / name
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        load({}, {"TRISIGNAL_CONFIG": str(path)})
    assert (caught.value.setting, caught.value.value) == ("TRISIGNAL_CONFIG", str(path))
    assert allowed in caught.value.allowed


def test_a_wrong_value_in_a_file_is_named(tmp_path: Path) -> None:
    """A wrong value in a file is told like any other."""
    path = tmp_path / "settings.json"
    path.write_text('{"max_series": 5}', encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load({}, {"TRISIGNAL_CONFIG": str(path)})
    assert (caught.value.setting, caught.value.value, caught.value.source) == ("max_series", 5, "file")


# --- anything --------------------------------------------------------------------------------------------

ANYTHING = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.lists(st.text(max_size=4))


@settings(max_examples=examples(200))
@given(name=st.sampled_from(sorted(VALUES)), given=ANYTHING)
def test_any_value_is_taken_or_named(name: str, given: Any) -> None:
    """Every value of every setting is usable, or refused with a `ConfigError` that names the setting."""
    loaded = refused = None
    try:
        loaded = load({name: given}, {})
    except ConfigError as error:
        refused = error.setting
    assert refused in (None, name)
    if loaded is not None:
        assert loaded.sources[name] == ("default" if given is None else "argument")
        assert load(asdict(loaded.settings), {}).settings == loaded.settings
