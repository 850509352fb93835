"""Everything that is checked: ``nox -l`` lists it, ``nox -s tests-3.12`` runs one session.

CI runs these sessions and nothing else. ``uv`` makes the environments where it is installed.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["lint", "types", "tests", "tests_bare", "docs", "examples"]
nox.options.error_on_missing_interpreters = False

PROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PROJECT)
TEST = nox.project.dependency_groups(PROJECT, "test")

OLDEST_CLIENT = ["openai==1.40.0", "httpx<0.28", "numpy"]
"""openai 1.40 passes httpx an argument that later versions do not have, and reads embeddings with numpy."""
CLIENTS = (
    "openai", "anthropic", "google-genai", "boto3", "aiobotocore", "mistralai", "cohere", "groq", "together",
    "cerebras-cloud-sdk", "ollama", "huggingface_hub", "tritonclient",
)  # fmt: skip
"""What the session ``versions`` tests in its oldest version, each in an environment of its own."""

BARE = """
import io, json, logging, subprocess, sys
import trisignal
from trisignal import errors
for extra in ("click", "rich", "orjson", "structlog", "yaml", "openai", "genai_prices"):
    try:
        __import__(extra)
    except ImportError:
        continue
    sys.exit(f"{extra} is installed: this is no bare install")
out = io.StringIO()
with trisignal.setup(service_name="bare", logs=logging.StreamHandler(out)):
    with trisignal.llm(provider="openai", model="gpt-4o") as call:
        call.set_usage(input_tokens=100, output_tokens=10)
    total = trisignal.summary().total
    assert (total.calls, total.unpriced) == (1, 0), total
assert json.loads(out.getvalue())["total_tokens"] == 110
for error, act in (
    (errors.ClientNotInstalledError, lambda: trisignal.instrument("openai")),
    (errors.MissingExtraError, lambda: trisignal.setup(prices_file="prices.yaml")),
    (errors.MissingExtraError, lambda: trisignal.setup(live_prices=True)),
):
    try:
        act()
    except error as raised:
        print("told:", raised)
    else:
        sys.exit(f"{error.__name__} was not raised")
done = subprocess.run(["trisignal", "prices"], capture_output=True, text=True)
assert done.returncode == 2 and "pip install 'trisignal[cli]'" in done.stderr, done
print("told:", done.stderr.strip())
"""


@nox.session
def lint(session: nox.Session) -> None:
    """Style and format."""
    session.install(*nox.project.dependency_groups(PROJECT, "lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Two type checkers, and how much of the public interface has types."""
    session.install("-e", ".", *TEST, "pyright[nodejs]", "types-PyYAML")
    session.run("mypy")
    session.run("pyright")
    # From elsewhere: in the checkout it takes the folder itself for the package.
    with session.chdir(session.create_tmp()):
        session.run("pyright", "--verifytypes", "trisignal", "--ignoreexternal")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The test suite; further arguments go to pytest."""
    session.install("-e", ".", *TEST)
    session.install("--no-deps", "arq")  # it asks for an older redis than Celery does, and works with the newer one
    session.run("pytest", "-n", "auto", "--dist", "worksteal", "-m", "not e2e and not nightly", *session.posargs)


@nox.session
def tests_bare(session: nox.Session) -> None:
    """Without any extra: the library works, and what is missing is told with the line that installs it."""
    session.install(".")
    Path(session.create_tmp(), "prices.yaml").write_text("providers: {}\n", encoding="utf-8")
    session.chdir(session.create_tmp())
    session.run("python", "-c", BARE)


@nox.session(python="3.11")
def tests_oldest(session: nox.Session) -> None:
    """The oldest versions that are supported, of the client and of each dependency."""
    oldest = [one.replace(">=", "==") for one in PROJECT["project"]["dependencies"]]
    # Those of the test tools that stand in the way, or pull in newer versions, stay out.
    apart = (*CLIENTS, "httpx", "genai-prices", "fastapi")
    tools = [one for one in TEST if not one.startswith(apart)]
    session.install("-e", ".", *oldest, *OLDEST_CLIENT, *tools)
    tests = [
        "tests/contract",
        "tests/sinks",
        *(f"tests/test_{name}.py" for name in ("context", "logs", "middleware")),
    ]
    session.run("pytest", *(session.posargs or tests))


@nox.session
def coexistence(session: nox.Session) -> None:
    """Frameworks and other instrumentations beside trisignal, each in an environment of its own."""
    session.install("-e", ".", *TEST, "uv")
    folder = Path(session.create_tmp(), "environments").resolve()
    session.run("python", "scripts/environments.py", str(folder))
    session.run("pytest", "tests/coexistence", env={"TRISIGNAL_ENVIRONMENTS": str(folder)})


@nox.session(python="3.11")
def e2e(session: nox.Session) -> None:
    """Real servers: Prometheus, Alertmanager (Debian's packages, see .ci/run), gunicorn, collectors."""
    session.install("-e", ".", *TEST, *nox.project.dependency_groups(PROJECT, "e2e"))
    session.run("pytest", "-m", "e2e", "tests/e2e", "tests/queues", *session.posargs)


@nox.session(python="3.11")
def backends(session: nox.Session) -> None:
    """What Phoenix and MLflow make of the spans, the analyser on ClickHouse, models in the process; gigabytes each."""
    session.install("-e", ".", *TEST, "uv")
    folder = Path(session.create_tmp(), "backends").resolve()
    names = ("phoenix", "mlflow", "chdb", "optional", "local_models")
    session.run("python", "scripts/environments.py", str(folder), *names)
    session.run(
        "pytest",
        "-m",
        "nightly",
        "tests/e2e",
        "tests/analysis",
        "tests/coexistence/test_optional.py",
        *session.posargs,
        env={"TRISIGNAL_BACKENDS": str(folder)},
    )
    models = [
        str(folder / "local_models" / "bin" / "python"),
        "-m",
        "pytest",
        "tests/clients/methods/test_real_models.py",
    ]
    session.run(*models, env={"HF_HUB_OFFLINE": "1"}, external=True)


@nox.session(python="3.11")
def frameworks(session: nox.Session) -> None:
    """Agent frameworks on a model server of this machine, each in an environment of its own; fails on new faults.

    Then what Phoenix and MLflow add up of their spans.
    """
    session.install("-e", ".", *TEST, *nox.project.dependency_groups(PROJECT, "e2e"), "uv")
    folder = Path(session.create_tmp(), "frameworks").resolve()
    session.run("python", "scripts/frameworks.py", str(folder), "--check", *session.posargs)
    backends = folder.with_name("backends")
    session.run("python", "scripts/environments.py", str(backends), "phoenix", "mlflow")
    where = {"TRISIGNAL_BACKENDS": str(backends), "TRISIGNAL_FRAMEWORKS": str(folder)}
    session.run("pytest", "-m", "nightly", "-k", "adds_up", "tests/e2e/test_backends.py", env=where)


@nox.session
def versions(session: nox.Session) -> None:
    """Every client from its oldest supported version to the newest; writes the table of the documentation."""
    session.install("-e", ".", *TEST, "uv")
    folder = Path(session.create_tmp(), "versions").resolve()
    session.run("python", "scripts/versions.py", str(folder), *session.posargs)


@nox.session(python="3.11")
def coverage(session: nox.Session) -> None:
    """Lines and branches of ``src`` that the tests run, subprocesses included; fails below what is asked for."""
    session.install("-e", ".", *TEST, *nox.project.dependency_groups(PROJECT, "e2e"))
    session.run("coverage", "erase")
    for tests in (["-n", "auto", "-m", "not e2e and not nightly"], ["-m", "e2e", "tests/e2e", "tests/queues"]):
        session.run("coverage", "run", "-m", "pytest", *tests, *session.posargs)
    session.run("coverage", "combine")
    session.run("coverage", "report")


@nox.session
def docs(session: nox.Session) -> None:
    """The generated tables are current, every block runs, and the site builds without a warning."""
    session.install("-e", ".", *TEST, *nox.project.dependency_groups(PROJECT, "docs"))
    session.run("python", "scripts/docs_tables.py", "--check")
    session.run("pytest", "tests/test_docs.py")
    session.run("mkdocs", "build", "--strict")


@nox.session
def examples(session: nox.Session) -> None:
    """The examples run, and their metrics are right."""
    session.install("-e", ".", *TEST)
    session.run("pytest", "tests/test_examples.py")


@nox.session
def bench(session: nox.Session) -> None:
    """What a call costs; ``nox -s bench -- --quick --gate`` fails where a goal is missed."""
    session.install("-e", ".", *TEST)
    session.run("python", "-m", "bench", *session.posargs)
    if "--gate" in session.posargs:
        # Skipped where Valgrind is not installed.
        session.run("python", "-m", "pytest", "-q", "tests/test_instructions.py", "tests/test_call_counts.py")


@nox.session(python="3.12")
def prices(session: nox.Session) -> None:
    """Make the shipped price table and its report anew, from the newest genai-prices and litellm."""
    session.install("-e", ".", "genai-prices")
    session.install("--no-deps", "litellm")  # only its price map is read, as a file
    session.run("python", "scripts/build_prices.py", *session.posargs)


@nox.session
def package(session: nox.Session) -> None:
    """Build the wheel and test it, with the sources out of reach."""
    session.install("build")
    folder = Path(session.create_tmp()).resolve()
    built = folder / "dist"
    shutil.rmtree(built, ignore_errors=True)
    session.run("python", "-m", "build", "--wheel", "--outdir", str(built))
    (wheel,) = built.glob("*.whl")
    session.install(str(wheel), *TEST)
    tree = folder / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir()
    for name in ("tests", "examples", "docs", "scripts", "bench"):
        shutil.copytree(name, tree / name)
    for page in (*map(str, Path().glob("*.md")), "LICENSE", "NOTICE", "mkdocs.yml", "pyproject.toml"):
        shutil.copy(page, tree)
    session.chdir(tree)
    session.run("pytest", "-o", "pythonpath=tests", "-m", "not e2e and not nightly", *session.posargs)
