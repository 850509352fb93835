"""Reversible, idempotent patching of methods on classes, and of functions in modules.

Undo checks identity: if our wrapper is still the outermost one, what was there before is
put back (or the attribute is removed where it had been inherited). If another library has
wrapped ours, its wrapper stays and ours becomes a pass-through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
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


class Patch:
    """One patched attribute.

    Args:
        owner: Class or module that is patched.
        name: Attribute of it.
        wrapper: ``wrapper(wrapped, instance, args, kwargs)``.
    """

    __slots__ = ("active", "installed", "name", "original", "owner", "was_own")

    def __init__(self, owner: Owner, name: str, wrapper: Wrapper) -> None:
        self.owner = owner
        self.name = name
        self.active = True
        self.was_own = name in vars(owner)
        self.original = _found(owner, name)

        def switched(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if self.active:
                return wrapper(wrapped, instance, args, kwargs)
            return wrapped(*args, **kwargs)

        is_property = isinstance(self.original, property)
        self.installed: Any = self._property(switched) if is_property else Ours(self.original, switched)
        self.installed._self_patch = self
        setattr(owner, name, self.installed)

    def _property(self, wrapper: Wrapper) -> OurProperty:
        original = self.original

        def read(instance: Any) -> Any:
            return wrapper(lambda: original.fget(instance), instance, (), {})

        return OurProperty(read, original.fset, original.fdel, original.__doc__)

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

    def wrap(self, owner: Owner, name: str, wrapper: Wrapper) -> bool:
        """Patch one method or function; absent ones and ones that are ours already are left alone.

        Where another library has wrapped an inherited method on a subclass before, the subclass is patched too.

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
            patch = Patch(owner, name, wrapper)
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
