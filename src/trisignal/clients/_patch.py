"""Reversible, idempotent patching of methods on classes, and of functions in modules.

Undo checks identity: if our wrapper is still the outermost one, what was there before is
put back (or the attribute is removed where it had been inherited). If another library has
wrapped ours, its wrapper stays and ours becomes a pass-through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import update_wrapper
from inspect import isasyncgenfunction, iscoroutinefunction, isgeneratorfunction, signature
from types import FunctionType, MethodType, ModuleType
from typing import Any

import wrapt

Wrapper = Callable[[Any, Any, tuple[Any, ...], dict[str, Any]], Any]


class Ours(wrapt.FunctionWrapper):  # type: ignore[type-arg]  # generic in its stubs only
    """Marks a wrapper as ours; ``_self_patch`` says whether it is active."""

    _self_patch: Patch


class OurProperty(property):
    """The same for a property: reading it is the call that is wrapped."""

    _self_patch: Patch


Owner = type | ModuleType
_MARK = "_self_patch"


def _found(owner: Owner, name: str) -> Any:
    """An attribute as it stands in a class body, so that static and class methods stay such."""
    if isinstance(owner, ModuleType):
        return vars(owner)[name]
    return next(vars(cls)[name] for cls in owner.__mro__ if name in vars(cls))


def _layers(wrapped: Any) -> Iterator[Any]:
    """An attribute and everything that it wraps, from the outside in."""
    while wrapped is not None:
        yield wrapped
        wrapped = getattr(wrapped, "__wrapped__", None)


def _active(wrapped: Any) -> Patch | None:
    """The patch of ours that works anywhere below the wrappers of other libraries."""
    for layer in _layers(wrapped):
        # What was read from a class by name is bound: ours is its parent.
        ours = layer if isinstance(layer, (Ours, OurProperty)) else getattr(layer, "_self_parent", None)
        if isinstance(ours, (Ours, OurProperty)) and ours._self_patch.active:
            return ours._self_patch
        plain = getattr(layer, _MARK, None) if isinstance(layer, (FunctionType, MethodType)) else None
        if isinstance(plain, Patch) and plain.active:
            return plain
    return None


def _bypassing(owner: type, name: str, original: Any) -> Iterator[type]:
    """Subclasses on which another library has put its own wrapper around what our patch of the base replaces.

    Such a wrapper keeps the function that it found on the base, so a call never reaches the patch there. A
    subclass that overrides the method and calls ``super()`` reaches it, and is not meant.
    """
    subclasses: list[type] = type.__subclasses__(owner)
    for cls in subclasses:
        if name in vars(cls):
            layers = list(_layers(vars(cls)[name]))
            if any(layer is original for layer in layers) and _active(layers[0]) is None:
                yield cls
        yield from _bypassing(cls, name, original)


def _is_plain(original: Any) -> bool:
    """Whether a function may be replaced by another one: a generator, say, would have to be one as well."""
    return type(original) is FunctionType and not isgeneratorfunction(original) and not isasyncgenfunction(original)


class Patch:
    """One patched attribute.

    Args:
        owner: Class or module that is patched.
        name: Attribute of it.
        wrapper: ``wrapper(wrapped, instance, args, kwargs)``.
        hot: The method runs with every call of a model: where it is a plain function, or a coroutine function, so is
            what replaces it, at a third of what wrapt's object costs.
    """

    __slots__ = ("active", "installed", "name", "original", "owner", "was_own")

    def __init__(self, owner: Owner, name: str, wrapper: Wrapper, *, hot: bool = False) -> None:
        self.owner = owner
        self.name = name
        self.active = True
        self.was_own = name in vars(owner)
        self.original = _found(owner, name)

        def switched(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if self.active:
                return wrapper(wrapped, instance, args, kwargs)
            return wrapped(*args, **kwargs)

        self.installed: Any
        if isinstance(self.original, property):
            self.installed = self._property(switched)
        elif hot and _is_plain(self.original):
            self.installed = self._function(wrapper)
        else:
            self.installed = Ours(self.original, switched)
        self.installed._self_patch = self
        setattr(owner, name, self.installed)

    def _property(self, wrapper: Wrapper) -> OurProperty:
        original = self.original

        def read(instance: Any) -> Any:
            return wrapper(lambda: original.fget(instance), instance, (), {})

        return OurProperty(read, original.fset, original.fdel, original.__doc__)

    def _function(self, wrapper: Wrapper) -> Any:
        """A function like the original one: of its kind, under its name, with its signature."""
        original = self.original

        def method(instance: Any, /, *args: Any, **kwargs: Any) -> Any:
            if self.active:
                return wrapper(original.__get__(instance), instance, args, kwargs)
            return original(instance, *args, **kwargs)

        async def amethod(instance: Any, /, *args: Any, **kwargs: Any) -> Any:
            if self.active:
                return await wrapper(original.__get__(instance), instance, args, kwargs)
            return await original(instance, *args, **kwargs)

        function = update_wrapper(amethod if iscoroutinefunction(original) else method, original)
        function.__signature__ = signature(original)  # type: ignore[attr-defined]  # for those who do not follow __wrapped__
        return function

    def undo(self) -> None:
        """Undo the patch as far as the wrappers of other libraries allow."""
        self.active = False
        if vars(self.owner).get(self.name) is not self.installed:
            return
        if self.was_own:
            setattr(self.owner, self.name, self.original)
        else:
            delattr(self.owner, self.name)


class Patches:
    """All patches of one client, undone together."""

    def __init__(self) -> None:
        self._patches: list[Patch] = []
        self.provider: Any = None
        """Whose they are: modules of the client that are imported later are patched by the same."""

    def wrap(self, owner: Owner, name: str, wrapper: Wrapper, *, hot: bool = False) -> bool:
        """Patch one method or function; absent ones and ones that are ours already are left alone.

        Where another library has wrapped an inherited method on a subclass before, the subclass is patched too.

        Args:
            owner: Class or module that is patched.
            name: Attribute of it.
            wrapper: ``wrapper(wrapped, instance, args, kwargs)``.
            hot: The method runs with every call of a model.

        Returns:
            Whether there is a new patch.
        """
        if isinstance(owner, ModuleType) and name not in vars(owner):
            return False  # one that is created on demand is patched where it comes from
        if not hasattr(owner, name):
            return False
        before = len(self._patches)
        patch = _active(vars(owner).get(name))
        if patch is None:
            patch = Patch(owner, name, wrapper, hot=hot)
            self._patches.append(patch)
        if isinstance(owner, type):
            self._patches += [Patch(cls, name, wrapper) for cls in _bypassing(owner, name, patch.original)]
        return len(self._patches) > before

    def undo(self) -> None:
        """Undo all patches, latest first."""
        while self._patches:
            self._patches.pop().undo()

    def __bool__(self) -> bool:
        return bool(self._patches)
