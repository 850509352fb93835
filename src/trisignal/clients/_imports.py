"""Calls back when a module has been imported, be it a namespace package.

wrapt's hooks hang on the loader of a module. A namespace package has none: it is not a file but the sum of
folders of one name. Here it gets one for the moment of its import, and looks afterwards as it always does.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from threading import get_ident
from types import ModuleType

import wrapt

Hook = Callable[[ModuleType], None]


def when_imported(name: str, hook: Hook) -> None:
    """Call a hook once, after a module that is not imported yet has been.

    Args:
        name: Full name of the module.
        hook: Gets the module; must not raise, as that would fail the import.
    """
    done: list[bool] = []

    def once(module: ModuleType) -> None:
        if not done:
            done.append(True)
            hook(module)

    wrapt.register_post_import_hook(once, name)
    _FINDER.hooks.setdefault(name, []).append(once)
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)


class _NamespaceFinder:
    """Finds only those namespace packages for which a hook waits."""

    def __init__(self) -> None:
        self.hooks: dict[str, list[Hook]] = {}
        self._asking: set[tuple[int, str]] = set()

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """What the other finders know, where that is a namespace package with hooks."""
        asking = get_ident(), name
        if name not in self.hooks or asking in self._asking:
            return None
        self._asking.add(asking)
        try:
            for finder in list(sys.meta_path):
                spec = finder.find_spec(name, path, target) if hasattr(finder, "find_spec") else None
                if spec is not None:
                    break
            else:
                return None
        finally:
            self._asking.discard(asking)
        if spec.loader is not None or spec.submodule_search_locations is None:
            return None  # wrapt's hook sees it
        loaded = ModuleSpec(name, _Loader(spec, self.hooks.pop(name)), is_package=True)  # type: ignore[arg-type]
        loaded.submodule_search_locations = spec.submodule_search_locations
        return loaded


class _Loader:
    """Stands in for the loader that a namespace package lacks."""

    def __init__(self, spec: ModuleSpec, hooks: list[Hook]) -> None:
        self._spec = spec
        self._hooks = hooks

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Nothing special."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Make the module what it is without us, then call the hooks."""
        vars(module).update(vars(module_from_spec(self._spec)))
        for hook in self._hooks:
            hook(module)


_FINDER = _NamespaceFinder()
