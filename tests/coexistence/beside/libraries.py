"""How each library is switched on, as its own documentation says, but with its backend on this machine.

A switch takes the addresses and returns the clients that an application would use from then on. It
imports its library itself, so that this table can be read where none of them is installed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

ORDERS = ("library_first", "trisignal_first", "bridge")
"""Which is switched on first; ``bridge`` is without `trisignal.instrument`."""


@dataclass(frozen=True)
class Addresses:
    """Where the calls go, and where a library sends what it records."""

    provider: str
    backend: str


@dataclass
class Clients:
    """The clients of an application; None where the library does not cover a vendor."""

    openai: Any = None
    aopenai: Any = None
    anthropic: Any = None
    aanthropic: Any = None
    around: Callable[[], AbstractContextManager[Any]] = nullcontext
    """What an application has open while it makes calls."""
    flush: Callable[[], Any] = lambda: None
    """Sends what the library has queued."""


Switch = Callable[[Addresses], Clients]


@dataclass(frozen=True)
class Library:
    """One row of the table."""

    title: str
    distribution: str
    """Distribution that has the library's version."""
    switch: Switch
    call: str
    """What the application calls to switch it on, for the page."""
    host_provider: bool = False
    """Whether the host sets a tracer provider first, as instrumentations ask for; others bring their own or none."""
    answer: dict[str, Any] = field(default_factory=dict)
    """What the backend answers to every request."""
    variables: dict[str, str] = field(default_factory=dict)
    """Environment of the program; ``{backend}`` is where the library's backend would be."""


def _openai(at: Addresses, module: Any = None) -> dict[str, Any]:
    if module is None:
        import openai as module
    given = {"api_key": "sk-none", "base_url": f"{at.provider}/v1", "max_retries": 0}
    return {"openai": module.OpenAI(**given), "aopenai": module.AsyncOpenAI(**given)}


def _anthropic(at: Addresses) -> dict[str, Any]:
    import anthropic

    given: dict[str, Any] = {"api_key": "sk-none", "base_url": at.provider, "max_retries": 0}
    return {"anthropic": anthropic.Anthropic(**given), "aanthropic": anthropic.AsyncAnthropic(**given)}


def _both(at: Addresses) -> dict[str, Any]:
    return {**_openai(at), **_anthropic(at)}


def _wrapped(at: Addresses, wrap_openai: Callable[[Any], Any], wrap_anthropic: Callable[[Any], Any]) -> dict[str, Any]:
    """The clients of both vendors in the wrappers of a library."""
    return {
        name: (wrap_openai if name.endswith("openai") else wrap_anthropic)(client) for name, client in _both(at).items()
    }


def logfire(at: Addresses) -> Clients:
    """Pydantic Logfire."""
    import logfire as library

    library.configure(send_to_logfire=False, console=False, inspect_arguments=False)
    library.instrument_openai()
    library.instrument_anthropic()
    return Clients(**_both(at), flush=library.force_flush)


def traceloop(at: Addresses) -> Clients:
    """OpenLLMetry's SDK."""
    from traceloop.sdk import Traceloop

    Traceloop.init(
        app_name="coexistence",
        api_endpoint=at.backend,
        api_key="none",
        telemetry_enabled=False,
        disable_batch=True,
    )
    return Clients(**_both(at))


def openinference(at: Addresses) -> Clients:
    """OpenInference's instrumentations."""
    from openinference.instrumentation.anthropic import AnthropicInstrumentor
    from openinference.instrumentation.openai import OpenAIInstrumentor

    OpenAIInstrumentor().instrument()
    AnthropicInstrumentor().instrument()
    return Clients(**_both(at))


def official(at: Addresses) -> Clients:
    """OpenTelemetry's own instrumentations."""
    from opentelemetry.instrumentation.genai.anthropic import AnthropicInstrumentor
    from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor

    OpenAIInstrumentor().instrument()
    AnthropicInstrumentor().instrument()
    return Clients(**_both(at))


def official_v2(at: Addresses) -> Clients:
    """OpenTelemetry's earlier instrumentation of OpenAI."""
    from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor

    OpenAIInstrumentor().instrument()
    return Clients(**_openai(at))


def langfuse(at: Addresses) -> Clients:
    """Langfuse's drop-in client."""
    import langfuse as library
    import langfuse.openai as drop_in

    client = library.Langfuse(public_key="pk-lf-none", secret_key="sk-lf-none", host=at.backend)
    return Clients(**_openai(at, drop_in), flush=client.flush)


def langsmith(at: Addresses) -> Clients:
    """LangSmith's wrappers."""
    import langsmith as library
    from langsmith.wrappers import wrap_anthropic, wrap_openai

    return Clients(**_wrapped(at, wrap_openai, wrap_anthropic), flush=library.Client().flush)


def sentry(at: Addresses) -> Clients:
    """Sentry's integrations of both clients, which are on where the clients are installed."""
    import sentry_sdk

    dsn = at.backend.replace("http://", "http://none@") + "/1"
    sentry_sdk.init(dsn=dsn, traces_sample_rate=1.0)
    # Version 3 has spans only: one without a parent is what a transaction was.
    begin = getattr(sentry_sdk, "start_transaction", None)
    return Clients(
        **_both(at),
        around=lambda: begin(op="task", name="coexistence") if begin else sentry_sdk.start_span(name="coexistence"),
        flush=sentry_sdk.flush,
    )


def mlflow(at: Addresses) -> Clients:
    """MLflow's autologging."""
    import mlflow as library

    library.set_tracking_uri(at.backend)
    library.openai.autolog()
    library.anthropic.autolog()
    return Clients(**_both(at), flush=getattr(library, "flush_trace_async_logging", lambda: None))


def ddtrace(at: Addresses) -> Clients:
    """Datadog's tracer."""
    from ddtrace import patch
    from ddtrace.llmobs import LLMObs

    LLMObs.enable(ml_app="coexistence", agentless_enabled=False)
    patch(openai=True, anthropic=True)
    return Clients(**_both(at), flush=LLMObs.flush)


def braintrust(at: Addresses) -> Clients:
    """Braintrust's wrappers."""
    import braintrust as library

    logger = library.init_logger(project="coexistence", api_key="none", app_url=at.backend)
    return Clients(**_wrapped(at, library.wrap_openai, library.wrap_anthropic), flush=logger.flush)


def opik(at: Addresses) -> Clients:
    """Comet's Opik."""
    import opik as library
    from opik.integrations.anthropic import track_anthropic
    from opik.integrations.openai import track_openai

    return Clients(**_wrapped(at, track_openai, track_anthropic), flush=library.flush_tracker)


def posthog(at: Addresses) -> Clients:
    """PostHog's drop-in clients."""
    from posthog import Posthog
    from posthog.ai import anthropic as claude
    from posthog.ai import openai as drop_in

    hog = Posthog("phc_none", host=at.backend)
    chat: dict[str, Any] = {"api_key": "sk-none", "base_url": f"{at.provider}/v1", "max_retries": 0}
    message = {**chat, "base_url": at.provider}
    return Clients(
        drop_in.OpenAI(posthog_client=hog, **chat),
        drop_in.AsyncOpenAI(posthog_client=hog, **chat),
        claude.Anthropic(posthog_client=hog, **message),
        claude.AsyncAnthropic(posthog_client=hog, **message),
        flush=hog.flush,
    )


def lmnr(at: Addresses) -> Clients:
    """Laminar."""
    from lmnr import Laminar

    host, _, port = at.backend.rpartition(":")
    Laminar.initialize(project_api_key="none", base_url=host, http_port=int(port), grpc_port=int(port), force_http=True)
    return Clients(**_both(at), flush=Laminar.flush)


def weave(at: Addresses) -> Clients:
    """Weights & Biases' Weave."""
    import weave as library

    client = library.init("none/coexistence")
    return Clients(**_both(at), flush=client.flush)


LIBRARIES = {
    "logfire": Library("Logfire", "logfire", logfire, "logfire.instrument_openai(), …"),
    "traceloop": Library("OpenLLMetry", "traceloop-sdk", traceloop, "Traceloop.init(…)"),
    "openinference": Library(
        "OpenInference",
        "openinference-instrumentation-openai",
        openinference,
        "OpenAIInstrumentor().instrument(), …",
        host_provider=True,
    ),
    "official": Library(
        "OpenTelemetry",
        "opentelemetry-instrumentation-genai-openai",
        official,
        "OpenAIInstrumentor().instrument(), …",
        host_provider=True,
    ),
    "official_v2": Library(
        "OpenTelemetry, earlier",
        "opentelemetry-instrumentation-openai-v2",
        official_v2,
        "OpenAIInstrumentor().instrument()",
        host_provider=True,
    ),
    "langfuse": Library("Langfuse", "langfuse", langfuse, "from langfuse.openai import OpenAI"),
    "langsmith": Library(
        "LangSmith",
        "langsmith",
        langsmith,
        "wrap_openai(client), …",
        variables={"LANGSMITH_TRACING": "true", "LANGSMITH_ENDPOINT": "{backend}", "LANGSMITH_API_KEY": "none"},
    ),
    "sentry": Library("Sentry", "sentry-sdk", sentry, "sentry_sdk.init(…)"),
    "mlflow": Library(
        "MLflow",
        "mlflow-tracing",
        mlflow,
        "mlflow.openai.autolog(), …",
        variables={"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"},
    ),
    "ddtrace": Library(
        "Datadog",
        "ddtrace",
        ddtrace,
        "LLMObs.enable(…)",
        variables={
            "DD_TRACE_AGENT_URL": "{backend}",
            "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
            "DD_REMOTE_CONFIGURATION_ENABLED": "false",
            "DD_CRASHTRACKING_ENABLED": "false",
        },
    ),
    "braintrust": Library(
        "Braintrust",
        "braintrust",
        braintrust,
        "braintrust.wrap_openai(client), …",
        variables={"BRAINTRUST_API_URL": "{backend}", "BRAINTRUST_API_KEY": "none", "BRAINTRUST_ORG_NAME": "none"},
    ),
    "opik": Library(
        "Opik",
        "opik",
        opik,
        "track_openai(client), …",
        variables={"OPIK_URL_OVERRIDE": "{backend}/api", "OPIK_SENTRY_ENABLE": "false", "OPIK_API_KEY": "none"},
    ),
    "posthog": Library("PostHog", "posthog", posthog, "from posthog.ai.openai import OpenAI, …"),
    "lmnr": Library("Laminar", "lmnr", lmnr, "Laminar.initialize(…)"),
    "weave": Library(
        "Weave",
        "weave",
        weave,
        "weave.init(…)",
        variables={
            "WANDB_API_KEY": "0" * 40,
            "WANDB_BASE_URL": "{backend}",
            "WF_TRACE_SERVER_URL": "{backend}",
            "WANDB_ERROR_REPORTING": "false",
        },
        answer={
            "data": {"project": {"name": "coexistence"}, "viewer": {"username": "none"}},
            "min_required_weave_python_version": "0.0.1",
            "id": "1",
            "digest": "none",
        },
    ),
}


def set_variables(library: Library, backend: str) -> None:
    """Set what a library reads from the environment.

    Args:
        library: Row of the table.
        backend: Address of the backend on this machine.
    """
    for name, value in library.variables.items():
        os.environ[name] = value.format(backend=backend)
