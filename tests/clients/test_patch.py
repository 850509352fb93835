"""Patching can be undone in any order, whoever else patches the same methods."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import pytest
import wrapt
from hypothesis import given
from hypothesis import strategies as st

from trisignal.clients._patch import Ours, Patches

NAMES = ("own", "own_static", "own_class", "inherited", "inherited_static", "inherited_class")
Log = list[str]


def classes() -> tuple[type[Any], type[Any], type[Any]]:
    """A fresh base, child and grandchild; the child is what gets patched."""

    class Base:
        def inherited(self, value: Any) -> Any:
            return self, value

        @staticmethod
        def inherited_static(value: Any) -> Any:
            return value

        @classmethod
        def inherited_class(cls, value: Any) -> Any:
            return cls, value

        async def coroutine(self, value: Any) -> Any:
            return self, value

    class Child(Base):
        def own(self, value: Any) -> Any:
            return self, value

        @staticmethod
        def own_static(value: Any) -> Any:
            return value

        @classmethod
        def own_class(cls, value: Any) -> Any:
            return cls, value

    class Grandchild(Child):
        def own(self, value: Any) -> Any:
            return super().own(value)

    return Base, Child, Grandchild


def noting(log: Log, word: str) -> Callable[..., Any]:
    """A wrapper that notes that it was called, and passes on."""

    def wrapper(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        log.append(word)
        return wrapped(*args, **kwargs)

    return wrapper


class Foreign:
    """Another library's patch: undoes itself where it is the outermost one, else passes through."""

    def __init__(self, owner: type, name: str, log: Log, word: str) -> None:
        self._place = owner, name
        self._before = vars(owner).get(name)
        self.on = True

        def wrapper(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
            if self.on:
                log.append(word)
            return wrapped(*args, **kwargs)

        original = self._before if self._before is not None else getattr(owner, name)
        self._mine = wrapt.FunctionWrapper(original, wrapper)
        setattr(owner, name, self._mine)

    def undo(self) -> None:
        """Take it back as far as others allow."""
        owner, name = self._place
        self.on = False
        if vars(owner).get(name) is self._mine:
            if self._before is None:
                delattr(owner, name)
            else:
                setattr(owner, name, self._before)


@pytest.fixture(params=[False, True], ids=["wrapt", "function"])
def hot(request: pytest.FixtureRequest) -> bool:
    """Whether what replaces a plain function is one, too."""
    return bool(request.param)


def results(owner: type[Any]) -> list[Any]:
    """What the methods answer, as told by their instance, class and value."""
    made = owner()
    return [
        made.own(1) == (made, 1),
        owner.own(made, 1) == (made, 1),
        made.own_static(2) == owner.own_static(2) == 2,
        made.own_class(3) == owner.own_class(3) == (owner, 3),
        made.inherited(4) == (made, 4),
        made.inherited_static(5) == owner.inherited_static(5) == 5,
        made.inherited_class(6) == owner.inherited_class(6) == (owner, 6),
    ]


@pytest.mark.parametrize("name", NAMES)
def test_methods_of_every_kind_stay_what_they_are(name: str, hot: bool) -> None:
    """Patched or not, own or inherited, a method gets the instance or class that it is called on."""
    _, child, grandchild = classes()
    log: Log = []
    patches = Patches()
    assert patches.wrap(child, name, noting(log, "ours"), hot=hot)
    assert results(child) == [True] * 7
    assert results(grandchild) == [True] * 7
    assert log
    patches.undo()


@pytest.mark.parametrize("name", NAMES)
def test_undo_leaves_nothing(name: str, hot: bool) -> None:
    """The very originals are back, and an inherited method is inherited again."""
    _, child, _ = classes()
    before = dict(vars(child))
    patches = Patches()
    patches.wrap(child, name, noting([], "ours"), hot=hot)
    assert vars(child)[name] is not before.get(name)
    assert patches
    patches.undo()
    assert dict(vars(child)) == before
    assert not patches
    assert results(child) == [True] * 7


def test_coroutine_functions_stay_coroutine_functions(hot: bool) -> None:
    """Frameworks that look at a method see what it was."""
    _, child, _ = classes()
    patches = Patches()
    patches.wrap(child, "coroutine", noting([], "ours"), hot=hot)
    assert inspect.iscoroutinefunction(child.coroutine)
    made = child()
    assert asyncio.run(made.coroutine(1)) == (made, 1)
    assert patches.wrap(child, "own", noting([], "ours"), hot=hot)
    plain = classes()[1].own
    assert inspect.signature(child.own) == inspect.signature(plain)
    assert inspect.getfullargspec(child.own) == inspect.getfullargspec(plain)
    assert (child.own.__name__, child.own.__module__) == (plain.__name__, plain.__module__)
    assert inspect.isfunction(child.own)


def test_absent_methods_are_left_alone() -> None:
    """What another version of a package does not have is not patched."""
    _, child, _ = classes()
    before = dict(vars(child))
    patches = Patches()
    assert not patches.wrap(child, "absent", noting([], "ours"))
    assert (dict(vars(child)), bool(patches)) == (before, False)


@pytest.mark.parametrize("covered", [False, True], ids=["outermost", "under a foreign wrapper"])
def test_a_method_is_patched_once(covered: bool, hot: bool) -> None:
    """Patching again changes nothing, whoever has wrapped the method in between."""
    _, child, _ = classes()
    log: Log = []
    patches = Patches()
    assert patches.wrap(child, "own", noting(log, "ours"), hot=hot)
    if covered:
        Foreign(child, "own", log, "foreign")
    assert not patches.wrap(child, "own", noting(log, "ours"), hot=hot)
    child().own(1)
    assert log == ["foreign", "ours"][not covered :]


def test_what_foreign_undo_brings_back_can_be_patched_again(hot: bool) -> None:
    """A wrapper of ours that was undone, and that somebody put back in place, is not a patch."""
    _, child, _ = classes()
    log: Log = []
    patches = Patches()
    patches.wrap(child, "own", noting(log, "first"), hot=hot)
    foreign = Foreign(child, "own", log, "foreign")
    patches.undo()
    foreign.undo()
    assert patches.wrap(child, "own", noting(log, "second"), hot=hot)
    child().own(1)
    assert log == ["second"]


def test_patches_are_undone_latest_first() -> None:
    """Several patches of one client are undone together."""
    _, child, _ = classes()
    before = dict(vars(child))
    patches = Patches()
    for name in NAMES:
        patches.wrap(child, name, noting([], "ours"))
    assert sum(isinstance(value, Ours) for value in vars(child).values()) == len(NAMES)
    patches.undo()
    assert dict(vars(child)) == before


OPERATIONS = st.lists(st.sampled_from(["ours", "undo", "foreign"]) | st.integers(min_value=0, max_value=4), max_size=14)


@given(name=st.sampled_from(NAMES[:3]) | st.just("inherited"), operations=OPERATIONS, hot=st.booleans())
def test_any_order_of_patching_and_undoing(name: str, operations: list[Any], hot: bool) -> None:
    """Each active wrapper, foreign or ours, sees each call exactly once, and results never change.

    Numbers undo that foreign wrapper. At the end, with everything undone from the outside in, nothing
    of anybody's is called any more.
    """
    _, child, _ = classes()
    log: Log = []
    patches, foreign = Patches(), list[Foreign]()
    for operation in operations:
        if operation == "ours":
            patches.wrap(child, name, noting(log, "ours"), hot=hot)
        elif operation == "undo":
            patches.undo()
        elif operation == "foreign":
            foreign.append(Foreign(child, name, log, f"foreign {len(foreign)}"))
        elif operation < len(foreign):
            foreign[operation].undo()
        log.clear()
        getattr(child(), name)(1)
        wanted = [f"foreign {number}" for number, other in enumerate(foreign) if other.on]
        assert sorted(log) == sorted(wanted + ["ours"] * bool(patches))
        assert results(child) == [True] * 7
    patches.undo()
    for other in reversed(foreign):
        other.undo()
    log.clear()
    assert results(child) == [True] * 7
    assert log == []


@given(operations=OPERATIONS, hot=st.booleans())
def test_a_foreign_wrapper_on_a_subclass_does_not_hide_the_base(operations: list[Any], hot: bool) -> None:
    """A call is seen by our patch of the base and by another library's of a subclass, whichever came first."""
    name = "inherited"
    base, child, _ = classes()
    log: Log = []
    patches, foreign = Patches(), list[Foreign]()
    for operation in operations:
        if operation == "ours":
            patches.wrap(base, name, noting(log, "ours"), hot=hot)
        elif operation == "undo":
            patches.undo()
        elif operation == "foreign":
            foreign.append(Foreign(child, name, log, f"foreign {len(foreign)}"))
        for owner, others in ((child, foreign), (base, [])):
            log.clear()
            getattr(owner(), name)(1)
            wanted = [f"foreign {number}" for number, _ in enumerate(others)]
            assert sorted(log) == sorted(wanted + ["ours"] * bool(patches))
        assert results(child) == [True] * 7
    patches.undo()
    for other in reversed(foreign):
        other.undo()
    log.clear()
    assert results(child) == [True] * 7
    assert log == []


def test_an_override_that_calls_super_is_not_patched() -> None:
    """A subclass of the application that calls ``super()`` reaches the patch of the base, once."""
    _, child, grandchild = classes()
    log: Log = []
    patches = Patches()
    patches.wrap(child, "own", noting(log, "ours"))
    grandchild().own(1)
    assert log == ["ours"]


@given(operations=st.lists(st.sampled_from(["ours", "foreign"]), min_size=1, max_size=6), name=st.sampled_from(NAMES))
def test_undone_in_reverse_everything_is_as_before(operations: list[str], name: str) -> None:
    """Whatever was stacked up, undone from the outside in, leaves the class exactly as it was."""
    _, child, _ = classes()
    before = dict(vars(child))
    stack: list[Any] = []
    for operation in operations:
        if operation == "foreign":
            stack.append(Foreign(child, name, [], "foreign"))
        else:
            stack.append(Patches())
            stack[-1].wrap(child, name, noting([], "ours"))
    while stack:
        stack.pop().undo()
    assert dict(vars(child)) == before
