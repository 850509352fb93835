"""Decorators and context managers: they record every kind of callable, and change none of it."""

from __future__ import annotations

import asyncio
import functools
import inspect
import pickle
import uuid
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from typing import Any

import pytest
from observed import NOWHERE, current
from opentelemetry.trace import StatusCode

import trisignal
from trisignal.testing import Seen, capture

OBSERVERS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "chat": (trisignal.llm, {"provider": "acme", "model": "m"}),
    "embeddings": (trisignal.embeddings, {"provider": "acme", "model": "m"}),
    "retrieval": (trisignal.retrieval, {"top_k": 3}),
    "execute_tool": (trisignal.tool, {"call_id": "call_1"}),
    "invoke_agent": (trisignal.agent, {"description": "plans"}),
    "invoke_workflow": (trisignal.workflow, {}),
    "stage": (trisignal.stage, {}),
}
MODEL_CALLS = ("chat", "embeddings")
NAMED = ("retrieval", "execute_tool", "invoke_agent", "invoke_workflow", "stage")
ERRORS = {
    ValueError: "error",
    RuntimeError: "error",
    TimeoutError: "error",
    KeyboardInterrupt: "cancelled",
    SystemExit: "cancelled",
    asyncio.CancelledError: "cancelled",
    GeneratorExit: "abandoned",
}


def work(value: Any = None) -> tuple[Any, tuple[str, str]]:
    """Doc of work."""
    return value, current()


async def awork(value: Any = None) -> tuple[Any, tuple[str, str]]:
    """Doc of awork."""
    await asyncio.sleep(0)
    return value, current()


def gwork(value: Any = None) -> Generator[Any, Any, Any]:
    """Doc of gwork."""
    yield value


async def agwork(value: Any = None) -> AsyncGenerator[Any, Any]:
    """Doc of agwork."""
    yield value


def span_name(operation: str, name: str) -> str:
    """The span's name in the conventions."""
    second = name if operation in NAMED else "m"
    return f"{operation} {second}" if second else operation


# --- every operation, in every way ----------------------------------------------------------


@pytest.mark.parametrize("operation", OBSERVERS)
def test_a_bare_decorator_records_the_function(seen: Seen, operation: str) -> None:
    """Without arguments an entity is named after the function, and a model call has no model."""
    observe, _ = OBSERVERS[operation]
    result, inside = observe(work)("x")
    assert (result, seen.span.name) == ("x", f"{operation} work" if operation in NAMED else operation)
    assert inside == (seen.calls[0].span_id,) * 2
    assert current() == NOWHERE


@pytest.mark.parametrize("operation", OBSERVERS)
async def test_a_decorator_with_arguments_records_coroutines(seen: Seen, operation: str) -> None:
    """Arguments may name the entity; inside of the coroutine the call is current, after it nothing."""
    observe, given = OBSERVERS[operation]
    decorated = (observe("own", **given) if operation in NAMED else observe(**given))(awork)
    result, inside = await decorated("x")
    assert (result, seen.span.name) == ("x", span_name(operation, "own"))
    assert inside == (seen.calls[0].span_id,) * 2
    assert current() == NOWHERE


@pytest.mark.parametrize("operation", OBSERVERS)
async def test_a_block_records_itself(seen: Seen, operation: str) -> None:
    """The same object is a context manager, sync and async, and may be used again."""
    observe, given = OBSERVERS[operation]
    observation = observe("own", **given) if operation in NAMED else observe(**given)
    with observation as call:
        assert current() == (call.ref["span_id"],) * 2
        assert current() != NOWHERE
    async with observation as call:
        assert current() == (call.ref["span_id"],) * 2
    assert current() == NOWHERE
    assert [span.name for span in seen.spans] == [span_name(operation, "own")] * 2
    assert [call.outcome for call in seen.calls] == ["ok", "ok"]


def test_arguments_become_facts_of_the_span(seen: Seen) -> None:
    """What the decorators are told is on the span under the conventions' names."""
    for operation, (observe, given) in OBSERVERS.items():
        observe(**given)(work)()
        span = seen.spans[-1]
        assert span.attributes is not None
        expected: dict[str, dict[str, Any]] = {
            "chat": {"gen_ai.provider.name": "acme", "gen_ai.request.model": "m"},
            "embeddings": {"gen_ai.provider.name": "acme", "gen_ai.request.model": "m"},
            "retrieval": {"gen_ai.retrieval.top_k": 3, "gen_ai.data_source.id": "work"},
            "execute_tool": {
                "gen_ai.tool.name": "work",
                "gen_ai.tool.call.id": "call_1",
                "gen_ai.tool.type": "function",
            },
            "invoke_agent": {"gen_ai.agent.name": "work", "gen_ai.agent.description": "plans"},
            "invoke_workflow": {"gen_ai.workflow.name": "work"},
            "stage": {},
        }
        assert expected[operation].items() <= span.attributes.items()


# --- methods and other callables --------------------------------------------------------------


class Base(ABC):
    """Something to inherit an abstract method from."""

    @trisignal.tool
    @abstractmethod
    def abstract(self) -> str:
        """To be overridden."""


class Methods(Base):
    """Methods of every kind, in both orders of decorators."""

    @trisignal.tool
    def instance(self, value: Any) -> Any:
        """An instance method."""
        return self, value

    @trisignal.tool
    async def ainstance(self, value: Any) -> Any:
        """An instance method that is a coroutine."""
        return self, value

    @classmethod
    @trisignal.tool
    def of_class(cls, value: Any) -> Any:
        """A class method, decorated below."""
        return cls, value

    @trisignal.tool
    @classmethod
    def of_class_above(cls, value: Any) -> Any:
        """A class method, decorated above."""
        return cls, value

    @staticmethod
    @trisignal.tool
    def static(value: Any) -> Any:
        """A static method, decorated below."""
        return value

    @trisignal.tool("named")
    @staticmethod
    def static_above(value: Any) -> Any:
        """A static method, decorated above."""
        return value


class Child(Methods):
    """Inherits all of them."""

    def abstract(self) -> str:
        """Overridden."""
        return "done"


async def test_methods_keep_their_instance_and_class(seen: Seen) -> None:
    """Instance, class and static methods get what they always get, through instance and class."""
    child = Child()
    assert child.instance("x") == (child, "x")
    assert Child.instance(child, "x") == (child, "x")
    assert await child.ainstance("x") == (child, "x")
    assert child.of_class("x") == Child.of_class("x") == (Child, "x")
    assert child.of_class_above("x") == Child.of_class_above("x") == (Child, "x")
    assert child.static("x") == Child.static("x") == "x"
    assert child.static_above("x") == Child.static_above("x") == "x"
    names = ["instance"] * 2 + ["ainstance"] + ["of_class"] * 2 + ["of_class_above"] * 2 + ["static"] * 2
    assert [call.name for call in seen.calls] == [*names, "named", "named"]
    with pytest.raises(TypeError, match="abstract"):
        Methods()  # type: ignore[abstract]  # what is tested


class Adder:
    """An object that can be called."""

    def __call__(self, value: int) -> int:
        return value + 1


class AsyncAdder:
    """An object whose call is a coroutine."""

    async def __call__(self, value: int) -> tuple[int, tuple[str, str]]:
        await asyncio.sleep(0)
        return value + 1, current()


async def test_other_callables_are_recorded(seen: Seen) -> None:
    """Partial functions, objects, lambdas, bound methods and builtins work, under their best name."""
    assert trisignal.tool(functools.partial(work, "x"))()[0] == "x"
    assert (await trisignal.tool(functools.partial(awork, "x"))())[0] == "x"
    assert list(trisignal.tool(functools.partial(gwork, "x"))()) == ["x"]
    assert trisignal.tool(Adder())(1) == 2
    assert trisignal.tool(len)([1, 2]) == 2
    assert trisignal.tool(lambda: 3)() == 3
    child = Child()
    assert trisignal.tool(child.abstract)() == "done"
    names = ["work", "awork", "gwork", "Adder", "len", "<lambda>", "abstract"]
    assert [call.name for call in seen.calls] == names
    seen.clear()
    assert await trisignal.tool(AsyncAdder())(1) == (2, (seen.calls[0].span_id,) * 2)


@pytest.mark.parametrize("function", [work, awork, gwork, agwork], ids=lambda f: str(f.__name__))
@pytest.mark.parametrize("observe", [trisignal.llm, trisignal.tool("other")], ids=["bare", "with-arguments"])
def test_a_decorated_function_looks_as_before(function: Any, observe: Any) -> None:
    """Name, documentation, signature and kind survive, and the original can be reached."""
    decorated = observe(function)
    for name in ("__name__", "__qualname__", "__doc__", "__module__", "__annotations__"):
        assert getattr(decorated, name) == getattr(function, name)
    assert inspect.signature(decorated) == inspect.signature(function)
    assert inspect.unwrap(decorated) is function
    kinds = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
    assert [kind(decorated) for kind in kinds] == [kind(function) for kind in kinds]
    assert inspect.isfunction(decorated)


@trisignal.tool
def picklable() -> int:
    """Can be sent to another process."""
    return 4


def test_a_decorated_function_can_be_pickled() -> None:
    """A function of a module is pickled by its name, decorated or not."""
    assert pickle.loads(pickle.dumps(picklable)) is picklable


# --- results and errors -----------------------------------------------------------------------


@pytest.mark.parametrize("observe", [trisignal.llm, trisignal.tool])
async def test_results_are_the_very_objects(seen: Seen, observe: Any) -> None:
    """What a function returns reaches its caller untouched, whatever it is."""
    shy: Any = type("Shy", (), {"__getattr__": lambda self, name: 1 / 0, "__bool__": lambda self: 1 / 0})()
    awaitable = asyncio.get_running_loop().create_future()
    awaitable.set_result(1)
    for result in (None, [], {"choices": 5}, {"usage": []}, object(), shy, iter([1]), awaitable, Exception()):
        assert observe(lambda r=result: r)() is result
    assert {call.outcome for call in seen.calls} == {"ok"}


def raise_(error: BaseException) -> None:
    """Raise an error."""
    raise error


async def araise(error: BaseException) -> None:
    """Raise an error from a coroutine."""
    await asyncio.sleep(0)
    raise error


@pytest.mark.parametrize(("kind", "outcome"), ERRORS.items(), ids=lambda v: getattr(v, "__name__", v))
async def test_errors_are_the_very_objects(seen: Seen, kind: type[BaseException], outcome: str) -> None:
    """Whatever is raised passes through as it is, after the call has ended with its outcome."""
    error = kind("private")
    cause = ValueError()
    error.__cause__ = cause

    def block() -> None:
        with trisignal.llm(model="m"):
            raise error

    acts: list[Callable[[], None]] = [functools.partial(trisignal.llm(raise_), error), block]
    for act in acts:
        with pytest.raises(kind) as caught:
            act()
        assert caught.value is error
    adecorated = trisignal.llm(araise)(error)
    with pytest.raises(kind) as caught:  # driven by hand: a loop has its own ways with some of these
        while True:
            adecorated.send(None)
    assert caught.value is error
    assert (error.__cause__, error.__context__) == (cause, None)
    assert [call.outcome for call in seen.calls] == [outcome] * 3
    assert current() == NOWHERE
    failed = outcome == "error"
    for span in seen.spans:
        assert span.status.status_code is (StatusCode.ERROR if failed else StatusCode.UNSET)
        assert (span.attributes or {}).get("error.type") == (kind.__name__ if failed else None)
        assert "private" not in span.to_json()
    assert "private" not in seen.log_text


def test_an_error_of_the_application_is_no_error_of_ours() -> None:
    """The application's errors are neither contained nor counted as ours."""
    with capture(strict=False) as seen:
        with pytest.raises(ZeroDivisionError):
            trisignal.tool(lambda: 1 / 0)()
        assert seen.value("trisignal_internal_errors_total") == 0


# --- off --------------------------------------------------------------------------------------


@pytest.fixture(name="off", params=["not set up", "disabled", "suppressed"])
def _off(request: pytest.FixtureRequest) -> Iterator[Callable[[], list[Any]]]:
    """Nothing may be recorded; answers what was recorded all the same."""
    if request.param == "not set up":
        yield list
        return
    with capture(disabled=request.param == "disabled") as seen:
        if request.param == "disabled":
            yield lambda: [*seen.spans, *seen.calls, *seen.logs, *seen.registry.collect()]
        else:
            with trisignal.suppress():
                yield lambda: [*seen.spans, *seen.calls, *seen.logs]


async def test_off_means_passing_through(off: Callable[[], list[Any]]) -> None:
    """Not set up, disabled or suppressed: everything works, and nothing is recorded."""
    for observe, given in OBSERVERS.values():
        for observation in (observe, observe(**given)):
            assert observation(work)("x") == ("x", NOWHERE)
            assert await observation(awork)("x") == ("x", NOWHERE)
            assert list(observation(gwork)("x")) == ["x"]
            assert [item async for item in observation(agwork)("x")] == ["x"]
        with observe(**given) as call:
            call.set_request(model="m")
            call.set_response({"usage": {}})
            call.set_model(request="a", response="b")
            call.set_usage(input_tokens=1)
            call.set_response_id("r")
            call.set_finish_reasons("stop")
            call.set_attribute("a", object())
            call.set_content(input=[], output=[])
            call.mark_first_token()
            assert (call.ref, call.trace_id, current()) == ({}, "", NOWHERE)
    with pytest.raises(ZeroDivisionError):
        trisignal.llm(lambda: 1 / 0)()
    assert off() == []


class Unnamed:
    """No text stands for it."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


@pytest.mark.parametrize("operation", NAMED)
@pytest.mark.parametrize(
    "name", [7, 1.5, b"n", ("a", "b"), uuid.UUID(int=7), Unnamed()], ids=lambda name: type(name).__name__
)
def test_whatever_is_no_function_is_a_name(operation: str, name: Any) -> None:
    """An application that names a step by a number, an id or an object of its own runs as without us."""
    with capture(strict=False) as seen:
        with OBSERVERS[operation][0](name):
            pass
        with trisignal.llm(provider="openai", model="m") as call:
            call.set_attribute(name, "x")
    assert len(seen.spans) == 2
