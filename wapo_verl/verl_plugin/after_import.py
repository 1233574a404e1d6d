"""Calls a function right after a module is imported, so that importing verl imports nothing that a process never uses.

Needs the standard library alone: this runs inside `import verl`, in every process.
"""

import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

Hook = Callable[[ModuleType], None]


class _HookFinder(MetaPathFinder):
    """Finds a module where every other finder would, and has its hooks called when it has been executed."""

    def __init__(self) -> None:
        self.hooks: dict[str, list[Hook]] = {}

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in self.hooks:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, (finder.find_spec(name, path, target) for finder in others)), None)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_and_call(module: ModuleType) -> None:
            execute(module)
            for hook in self.hooks[name]:
                hook(module)

        spec.loader.exec_module = execute_and_call  # type: ignore[method-assign]
        return spec


_FINDER = _HookFinder()


def after_import(name: str, hook: Hook) -> None:
    """Call `hook` with the module `name` right after it is imported; now, where it is. A second time does nothing."""
    hooks = _FINDER.hooks.setdefault(name, [])
    if hook in hooks:
        return
    hooks.append(hook)
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)
    if name in sys.modules:
        hook(sys.modules[name])
