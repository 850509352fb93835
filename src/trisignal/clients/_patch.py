"""Reversible, idempotent patching of methods on classes, and of functions in modules.

Undo checks identity: if our wrapper is still the outermost one, what was there before is
put back (or the attribute is removed where it had been inherited). If somebody wrapped on
top of us, their wrapper stays and ours becomes a pass-through.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import wrapt

Wrapper = Callable[[Any, Any, tuple[Any, ...], dict[str, Any]], Any]


class Ours(wrapt.FunctionWrapper):  # type: ignore[type-arg]  # generic in its stubs only
    """Marks a wrapper as ours; ``_self_patch`` tells whether it still is one."""

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


def _active(wrapped: Any) -> bool:
    """Whether a patch of ours works anywhere below the wrappers of others."""
    while wrapped is not None:
        patch = getattr(wrapped, "_self_patch", None) if isinstance(wrapped, (Ours, OurProperty)) else None
        if patch is not None and patch.active:
            return True
        wrapped = getattr(wrapped, "__wrapped__", None)
    return False


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

        made = self._property(switched) if isinstance(self.original, property) else Ours(self.original, switched)
        self.installed: Any = made
        self.installed._self_patch = self
        setattr(owner, name, self.installed)

    def _property(self, wrapper: Wrapper) -> OurProperty:
        original = self.original

        def read(instance: Any) -> Any:
            return wrapper(lambda: original.fget(instance), instance, (), {})

        return OurProperty(read, original.fset, original.fdel, original.__doc__)

    def undo(self) -> None:
        """Take the patch back as far as others allow."""
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
        self._made: list[Patch] = []

    def wrap(self, owner: Owner, name: str, wrapper: Wrapper) -> bool:
        """Patch one method or function; absent ones and ones that are ours already are left alone.

        Returns:
            Whether a patch was made.
        """
        if isinstance(owner, ModuleType) and name not in vars(owner):
            return False  # one that is made on demand is patched where it comes from
        if not hasattr(owner, name) or _active(vars(owner).get(name)):
            return False
        self._made.append(Patch(owner, name, wrapper))
        return True

    def undo(self) -> None:
        """Undo all patches, latest first."""
        while self._made:
            self._made.pop().undo()

    def __bool__(self) -> bool:
        return bool(self._made)
