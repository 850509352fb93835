"""instrument(): names, what cannot be patched, namespace packages, and clients of other packages."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from measured import MEASURED

import trisignal
from trisignal import clients, testing
from trisignal.clients import _imports, _registry
from trisignal.errors import ClientNotInstalledError, ConfigError, TrisignalWarning

SOURCE = str(Path(trisignal.__file__).parents[1])


@pytest.fixture(name="folder")
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path, whose modules are forgotten afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    forget = _registry.rows.cache_clear
    forget()
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__path__", "")) + str(sys.modules[name].__spec__):
            del sys.modules[name]
    forget()


def write(folder: Path, files: dict[str, str]) -> None:
    """Write files below a folder."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(textwrap.dedent(text), encoding="utf-8")


# --- names -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("gemini", "google-genai"),
        ("google_genai", "google-genai"),
        ("google.genai", "google-genai"),
        ("vertexai", "google-genai"),
        ("azure", "openai"),
        ("azure-openai", "openai"),
        ("AzureOpenAI", "openai"),
        ("sglang", "openai"),
        ("OpenAI", "openai"),
        ("opneai", "openai"),
        ("openrouter", "openai"),
        ("claude", "anthropic"),
        ("Anthropic", "anthropic"),
        ("boto3", "bedrock"),
        ("aws", "bedrock"),
        ("mistralai", "mistral"),
        ("huggingface", "huggingface_hub"),
        ("huggingface-hub", "huggingface_hub"),
        ("llamaindex", "llama-index"),
        ("llama_index", "llama-index"),
        ("openai_agents", "openai-agents"),
        ("agents", "openai-agents"),
        ("langchain_core", "langchain"),
        ("cerebras-cloud-sdk", "cerebras"),
        ("tritonclient", "triton"),
    ],
)
def test_a_name_that_is_nearly_one_is_answered_with_the_right_one(given: str, meant: str) -> None:
    """What people call a client is an error that begins with its name here."""
    for function in (trisignal.instrument, trisignal.uninstrument):
        with pytest.raises(ConfigError) as caught:
            function(given)
        assert caught.value.allowed.startswith(f"{meant!r} is probably meant; ")


@pytest.mark.parametrize("given", ["nothing like it", "", None, 3, ["openai"], "openai,anthropic", object()])
def test_other_names_are_refused_with_the_list(given: Any) -> None:
    """Whatever is not a name is an error that lists them."""
    with pytest.raises(ConfigError, match="one or more of openai, anthropic") as caught:
        trisignal.instrument(given)
    assert caught.value.setting == "instrument"


def test_the_clients_own_module_or_class_names_it() -> None:
    """Giving the module or the class of a client is answered with its name."""
    openai = pytest.importorskip("openai")
    for given in (openai, openai.OpenAI):
        with pytest.raises(ConfigError, match="'openai' is probably meant"):
            trisignal.instrument(given)


def test_a_missing_client_is_answered_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that is named and not installed is an error with its pip install line."""
    monkeypatch.setattr(clients, "_installed", lambda module: False)
    for name, package in (("cerebras", "cerebras-cloud-sdk"), ("mistral", "mistralai"), ("openai", "openai")):
        with pytest.raises(ClientNotInstalledError, match=f"pip install '{package}'"):
            trisignal.instrument(name)


@pytest.mark.parametrize("text", ["openai", " groq , OpenAI,", "*", "trisignal", "all,*"])
def test_the_standard_variable_switches_clients_off(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What OTEL_PYTHON_DISABLED_INSTRUMENTATIONS names is not patched; where it was named in code, that is said."""
    pytest.importorskip("openai")
    monkeypatch.setenv("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", text)
    trisignal.instrument()
    assert "openai" not in clients.instrumented()
    with pytest.warns(TrisignalWarning, match="leaves openai alone"):
        trisignal.instrument("openai")
    assert "openai" not in clients.instrumented()
    monkeypatch.setenv("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "flask,botocore")
    trisignal.instrument("openai")
    assert "openai" in clients.instrumented()
    trisignal.instrument()
    assert list(clients.refused()) == ["bedrock"]


# --- what cannot be patched ------------------------------------------------------------------------------


def rows(monkeypatch: pytest.MonkeyPatch, *added: clients.Row) -> None:
    """Add rows to the registry."""
    known = {**{row.name: row for row in clients.REGISTRY}, **{row.name: row for row in added}}
    monkeypatch.setattr(clients, "rows", lambda: known)
    monkeypatch.setattr(_registry, "rows", lambda: known)


READER = """
    class Reader:
        def patch(self, patches):
            {body}
    def provider():
        return Reader()
"""


@pytest.mark.parametrize(
    ("body", "reason"),
    [("raise AttributeError('no such class')", "AttributeError: no such class"), ("pass", "none of the methods")],
)
def test_what_cannot_be_patched_is_said(body: str, reason: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that was asked for and cannot be patched is warned of when it is imported, and the import succeeds."""
    write(folder, {"oddsdk.py": "", "oddreader.py": READER.format(body=body)})
    rows(monkeypatch, clients.Row("odd", "oddsdk", "oddreader:provider", ">=1"))
    trisignal.instrument("odd")
    with pytest.warns(TrisignalWarning, match="calls of odd are not recorded"):
        importlib.import_module("oddsdk")
    assert reason in clients.refused()["odd"]
    assert "odd" not in clients.instrumented()


# --- namespace packages ----------------------------------------------------------------------------------

NAMESPACE = {
    "spacesdk/inner/__init__.py": "",
    "spacesdk/inner/client.py": "class Client:\n    def ask(self):\n        return 1\n",
    "spacereader.py": """
        import importlib
        class Reader:
            def patch(self, patches):
                client = importlib.import_module("spacesdk.inner.client").Client
                patches.wrap(client, "ask", lambda wrapped, instance, args, kwargs: wrapped() + 1)
        def provider():
            return Reader()
    """,
}


@pytest.mark.parametrize("imported", ["spacesdk", "spacesdk.inner", "spacesdk.inner.client"])
def test_a_namespace_package_is_patched_when_it_is_imported(
    imported: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client without an __init__ of its own is patched late, and the package looks as without us."""
    write(folder, NAMESPACE)
    plain = importlib.import_module("spacesdk")
    looks = {key: type(value) for key, value in vars(plain).items()}
    del sys.modules["spacesdk"]
    rows(monkeypatch, clients.Row("space", "spacesdk", "spacereader:provider", ">=1"))
    trisignal.instrument("space")
    importlib.import_module(imported)
    module = sys.modules["spacesdk"]
    assert {key: type(value) for key, value in vars(module).items() if key != "inner"} == looks
    assert type(module.__spec__.loader) is type(plain.__spec__.loader)
    assert list(module.__path__) == [str(folder / "spacesdk")]
    assert importlib.import_module("spacesdk.inner.client").Client().ask() == 2
    trisignal.uninstrument("space")
    assert importlib.import_module("spacesdk.inner.client").Client().ask() == 1


def test_folders_that_are_added_later_belong_to_the_namespace(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second folder of the same namespace that joins the path later is found."""
    write(folder, NAMESPACE)
    rows(monkeypatch, clients.Row("space", "spacesdk", "spacereader:provider", ">=1"))
    trisignal.instrument("space")
    importlib.import_module("spacesdk")
    write(folder, {"other/spacesdk/late.py": "HERE = True"})
    monkeypatch.syspath_prepend(str(folder / "other"))
    assert importlib.import_module("spacesdk.late").HERE


def test_nothing_else_is_found_by_the_hook() -> None:
    """Modules that nobody waits for are not the hook's business."""
    assert _imports._FINDER.find_spec("json") is None
    assert _imports._FINDER.find_spec("trisignal_no_such_module") is None


# --- without setup() -------------------------------------------------------------------------------------


def run(script: str, **variables: str) -> str:
    """What a script of its own process writes to stderr; it must succeed."""
    environ = {**MEASURED, "PYTHONPATH": SOURCE, "PATH": os.environ["PATH"], **variables}
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    return done.stderr


def test_instrument_without_setup_is_said_once() -> None:
    """A program that only instruments is told so on stderr, with logging or without, and at the latest at its end."""
    assert run("import trisignal; trisignal.instrument()").count("trisignal.setup() was not") == 1
    call = """
        import trisignal, warnings
        from trisignal.clients._provider import sync_wrapper
        warnings.simplefilter("error")
        trisignal.instrument()
        for _ in range(3):
            assert sync_wrapper(None)(lambda: 5, None, (), {}) == 5
    """
    assert run(call).count("trisignal.setup() was not") == 1


@pytest.mark.parametrize(
    "script",
    [
        "import trisignal; trisignal.instrument(); trisignal.setup(); trisignal.instrument()",
        "import trisignal; trisignal.setup(); trisignal.instrument(); trisignal.uninstrument()",
        "import trisignal; trisignal.setup(disabled=True); trisignal.instrument()",
        "import trisignal; from trisignal import testing\ntrisignal.instrument()\nwith testing.capture(): pass",
    ],
)
def test_setup_before_or_after_instrument_is_fine(script: str) -> None:
    """Both orders are right, and nothing is said."""
    assert run(script) == ""


# --- clients of other packages ---------------------------------------------------------------------------

MADE_UP = {
    "acmesdk/__init__.py": """
        class Client:
            def complete(self, model, prompt):
                return {"text": prompt.upper(), "tokens": 7}
    """,
    "acmesignal/__init__.py": """
        from trisignal.clients import Row
        ROW = Row("acme", "acmesdk", "acmesignal.reader:provider", ">=2.1", package="acme-sdk", aliases=("roadrunner",))
        NOT_A_ROW = "acme"
    """,
    "acmesignal/reader.py": """
        from trisignal.call import Draft, Usage
        from trisignal.clients._provider import sync_wrapper
        class Acme:
            def patch(self, patches):
                import acmesdk
                patches.wrap(acmesdk.Client, "complete", sync_wrapper(self))
            def begin(self, instance, args, kwargs):
                return Draft("chat", provider="acme", request_model=kwargs["model"])
            def adjust(self, draft, instance, args, kwargs):
                return args, kwargs
            def answer(self, draft, result):
                draft.usage = Usage(0, result["tokens"])
                return True
            def failed(self, draft, error):
                pass
        def provider():
            return Acme()
    """,
    "acmesignal-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: acmesignal\nVersion: 1.0\n",
}


def entry_points(folder: Path, *lines: str) -> None:
    """Declare entry points of the made-up distribution."""
    text = f"[{_registry.GROUP}]\n" + "\n".join(lines) + "\n"
    write(folder, {**MADE_UP, "acmesignal-1.0.dist-info/entry_points.txt": text})
    importlib.invalidate_caches()


def test_a_client_of_another_package_is_a_row_like_any_other(folder: Path) -> None:
    """An entry point adds a client: it is found by name and alias, patched late, recorded, and taken back."""
    entry_points(folder, "acme = acmesignal:ROW")
    assert clients.rows()["acme"].module == "acmesdk"
    with pytest.raises(ConfigError, match="'acme' is probably meant"):
        trisignal.instrument("roadrunner")
    with testing.capture() as seen:
        trisignal.instrument("acme")
        client = importlib.import_module("acmesdk").Client()
        assert client.complete(model="road-1", prompt="hi") == {"text": "HI", "tokens": 7}
        trisignal.uninstrument("acme")
        client.complete(model="road-1", prompt="hi")
    [call] = seen.calls
    assert (call.provider, call.request_model, call.usage and call.usage.output) == ("acme", "road-1", 7)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("acme = acmesignal:MISSING", "cannot be loaded: AttributeError"),
        ("acme = nowhere:ROW", "cannot be loaded: ModuleNotFoundError"),
        ("acme = acmesignal:NOT_A_ROW", "is not a trisignal.clients.Row"),
    ],
)
def test_a_broken_entry_point_costs_only_itself(line: str, said: str, folder: Path) -> None:
    """What is wrong with one entry point is said, and the other clients are there."""
    entry_points(folder, line)
    with pytest.warns(TrisignalWarning, match=said):
        assert set(clients.rows()) == {row.name for row in clients.REGISTRY}
