"""The exceptions that trisignal raises, all at set-up time except `LimitExceeded`; and its warning.

Only `LimitExceeded` reaches a running application: before a call that a budget or a guard refuses.

TrisignalError
 +-- ConfigError            a setting has a wrong value
 +-- PriceFileError         a price override file is wrong
 +-- MetricCollisionError   a metric name is already taken in the registry
 +-- MissingExtraError      an optional dependency is not installed
 +-- ClientNotInstalledError  a client to be instrumented is not installed
 +-- LimitExceeded          a call was refused before it began
 |    +-- BudgetExceeded    a budget that refuses calls is used up
 |    +-- GuardExceeded     a guarded run has reached one of its limits
 +-- SourceError            a store or trace backend cannot answer
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

_URL = re.compile(r"([A-Za-z][\w+.\-]{1,20}://)[^\s/?#@\"']*@|([?#])[^\s\"'<>]*(?=$|[\s\"'<>])")
_MOST = 160
_redactors: list[Callable[[str], str]] = []


def redact_messages(redactor: Callable[[str], str]) -> None:
    """Let all messages of errors pass a redactor: what was given wrongly may be a secret.

    Args:
        redactor: Takes a text and returns what may be shown.
    """
    _redactors[:] = [redactor]


def shown(text: str, most: int = _MOST) -> str:
    """A text from outside as messages may quote it: without credentials and queries of URLs, without secrets, not long.

    Args:
        text: A value that was given, or an address.
        most: Characters after which it is cut.
    """
    if "://" in text:
        text = _URL.sub(lambda found: found[1] or f"{found[2]}…", text)
    for redactor in _redactors:
        try:
            text = redactor(text)
        except Exception:
            return "(not shown)"
    return text if len(text) <= most else f"{text[:most]}… ({len(text)} characters)"


def _quoted(value: object) -> str:
    try:
        return repr(shown(str.__str__(value))) if isinstance(value, str) else shown(repr(value))
    except Exception:
        return f"an object of class {type(value).__name__}"


class TrisignalError(Exception):
    """Base of every error that trisignal raises."""


class TrisignalWarning(UserWarning):
    """A request cannot be fulfilled, or will not have the effect that it seems to have.

    Shown on stderr once by Python itself, without any logging being set up. Switch it off like any
    warning: ``warnings.simplefilter("ignore", trisignal.errors.TrisignalWarning)``.
    """


class ConfigError(TrisignalError, ValueError):
    """A setting has a value that cannot be used.

    Args:
        setting: Name of the setting as the user wrote it (argument or variable).
        value: The rejected value.
        allowed: What may be given, in words.
        source: Where the value came from: ``argument``, ``environment``, ``file``.
    """

    def __init__(self, setting: str, value: object, allowed: str, source: str = "argument") -> None:
        super().__init__(f"{setting}={_quoted(value)} (from {source}) cannot be used; allowed: {allowed}")
        self.setting = setting
        self.value = value
        self.allowed = allowed
        self.source = source


class PriceFileError(TrisignalError, ValueError):
    """A price override file cannot be used.

    Args:
        path: The file.
        line: One-based line of the mistake; 0 when it concerns the whole file.
        problem: What is wrong and what is allowed instead.
    """

    def __init__(self, path: str, line: int, problem: str) -> None:
        where = f"{path}:{line}" if line else path
        super().__init__(f"{shown(where)}: {problem}")
        self.path = path
        self.line = line
        self.problem = problem


class MetricCollisionError(TrisignalError, ValueError):
    """The registry already holds metrics under names that trisignal needs.

    Args:
        names: The names that are taken.
    """

    def __init__(self, names: Sequence[str]) -> None:
        listed = ", ".join(names)
        super().__init__(
            f"the Prometheus registry already has {listed}; give trisignal names of its own with "
            'setup(metric_prefix="..."), or another registry with setup(registry=...)'
        )
        self.names = tuple(names)


class MissingExtraError(TrisignalError, ImportError):
    """A feature needs a package that is not installed.

    Args:
        feature: The requested feature.
        extra: The extra that brings the package.
    """

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs an extra: pip install 'trisignal[{extra}]'")
        self.feature = feature
        self.extra = extra


class ClientNotInstalledError(TrisignalError, ImportError):
    """A client that was to be instrumented is not installed.

    Args:
        client: Name of the client in the registry.
        module: Its import name.
        package: What installs it.
    """

    def __init__(self, client: str, module: str, package: str) -> None:
        super().__init__(
            f"cannot instrument {client!r}: the package {module!r} is not installed; pip install {package!r}"
        )
        self.client = client
        self.module = module
        self.package = package


UNAVAILABLE = "unavailable"
"""Resource of a refusal by a limit whose shared accounts cannot be reached."""


class LimitExceeded(TrisignalError):
    """A call was refused before it was sent, because a limit was reached.

    Args:
        message: What happened, in one sentence.
        name: Name of the budget or the guard.
        key: Name of the bound value that its accounts are kept by; "" for one of all calls.
        value: That value in this call, redacted.
        resource: What is used up: ``usd``, ``tokens``, ``calls`` …; ``unavailable`` where shared accounts cannot be
            reached.
        used: How much was used, in US dollars, tokens, calls, seconds, levels or repeats.
        limit: How much there was.
    """

    def __init__(self, message: str, name: str, key: str, value: str, resource: str, used: float, limit: float) -> None:
        super().__init__(message)
        self.name = name
        self.key = key
        self.value = value
        self.resource = resource
        self.used = used
        self.limit = limit


class BudgetExceeded(LimitExceeded):
    """A model call was refused before it was sent, because a budget is used up.

    Args:
        budget: Name of the budget.
        key: Name of the bound value that the budget is kept by; "" for one of all calls.
        value: That value in this call, redacted.
        resource: What is used up: ``usd`` or ``tokens``; ``unavailable`` where the shared accounts cannot be reached.
        used: How much was used in this period, in US dollars or tokens.
        limit: How much there was.
        resets_at_unix_s: When the next period begins, as Unix time in seconds.
    """

    def __init__(
        self, budget: str, key: str, value: str, resource: str, used: float, limit: float, resets_at_unix_s: float
    ) -> None:
        whose = f" of {key} {value!r}" if key else ""
        message = f"budget {budget!r}{whose} is used up: {used:.10g} of {limit:.10g} {resource}"
        if resource == UNAVAILABLE:
            message = f"budget {budget!r}{whose} refuses calls: its shared accounts cannot be reached"
        super().__init__(message, budget, key, value, resource, used, limit)
        self.budget = budget
        self.resets_at_unix_s = resets_at_unix_s

    def __reduce__(self) -> tuple[type[BudgetExceeded], tuple[object, ...]]:
        # Applications send it between processes; by default only the text would be passed on.
        values = (self.budget, self.key, self.value, self.resource, self.used, self.limit, self.resets_at_unix_s)
        return type(self), values


class GuardExceeded(LimitExceeded):
    """A model call, a tool call or an agent was refused before it began: its run has reached a limit.

    Args:
        guard: Name of the guard.
        key: Name of the bound value that the guard is kept by; "" where each run counts for itself.
        value: That value in this call, redacted.
        resource: Which limit: ``usd``, ``tokens``, ``calls``, ``tool_calls``, ``seconds``, ``depth`` or ``repeats``;
            ``unavailable`` where the shared accounts cannot be reached.
        used: How much the run has used.
        limit: How much there was.
        repeated: What came again and again, redacted; "" for any other limit.
    """

    def __init__(
        self, guard: str, key: str, value: str, resource: str, used: float, limit: float, repeated: str = ""
    ) -> None:
        whose = f" of {key} {value!r}" if key else ""
        what = f" ({repeated})" if repeated else ""
        message = f"guard {guard!r}{whose} has stopped the run: {used:.10g} of {limit:.10g} {resource}{what}"
        if resource == UNAVAILABLE:
            message = f"guard {guard!r}{whose} has stopped the run: its shared accounts cannot be reached"
        super().__init__(message, guard, key, value, resource, used, limit)
        self.guard = guard
        self.repeated = repeated

    def __reduce__(self) -> tuple[type[GuardExceeded], tuple[object, ...]]:
        # As for a budget.
        values = (self.guard, self.key, self.value, self.resource, self.used, self.limit, self.repeated)
        return type(self), values


class SourceError(TrisignalError):
    """A store or a trace backend cannot answer a question.

    Args:
        source: Which one: the folder, or the URL without credentials.
        problem: What is wrong, and how to fix it.
    """

    def __init__(self, source: str, problem: str) -> None:
        super().__init__(f"{shown(source)}: {shown(problem)}")
        self.source = source
        self.problem = problem
