"""Reads veRL's source without importing it: is a name there, and which parameters does it take?

The source is that of the `verl` which is imported, whatever its metadata say. Importing the trainer and the engines to
look at them would cost the driver seconds, and pull in what other hardware needs.
"""

import ast
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

Parameters = tuple[tuple[str, bool], ...]
"""Each parameter's name, with its stars, and whether it may be left out."""

_NOT_A_FUNCTION: Parameters = ()
_Found = tuple[str, ast.stmt | None]


class VerlSource:
    """The source of one veRL.

    Attributes:
        root: the folder of the package `verl`.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._modules: dict[str, _Module | None] = {}
        self._attributes: dict[ast.ClassDef, set[str]] = {}

    def parameters(self, module: str, name: str) -> Parameters | None:
        """Return the parameters of a function or a method; () for anything else that is there, None for what is not.

        Args:
            module: dotted name, beginning with "verl".
            name: a name of that module, a class's member after a dot ("Class.method"). Members are also what a class
                inherits within veRL, and what its methods set on `self`.
        """
        first, *rest = name.split(".")
        found = self._find(module, first)
        if found is None:
            return None
        where, node = found
        if rest:
            return self._member(where, node, rest[0]) if isinstance(node, ast.ClassDef) else None
        return _parameters(node)

    def _module(self, name: str) -> "_Module | None":
        if name not in self._modules:
            base = self.root.joinpath(*name.split(".")[1:])
            files = [file for file in (base.with_suffix(".py"), base / "__init__.py") if file.is_file()]
            self._modules[name] = _Module(name, files[0]) if files else None
        return self._modules[name]

    def _find(self, module: str, name: str) -> _Found | None:
        """Return the module that defines a name and its statement, through the imports that hand it on.

        The statement is None for a name that comes from outside veRL, and for a module.
        """
        source = self._module(module)
        if source is None:
            return None
        if name in source.defined:
            return module, source.defined[name]
        if name in source.imported:
            origin, original = source.imported[name]
            is_module = not original or origin.split(".")[0] != "verl"
            return (origin, None) if is_module else self._find(origin, original)
        handed_on = (self._find(origin, name) for origin in source.starred)
        submodule = (module, None) if self._module(f"{module}.{name}") else None
        return next((found for found in handed_on if found), submodule)

    def _member(self, module: str, node: ast.ClassDef, name: str) -> Parameters | None:
        for statement in node.body:
            if name in _names(statement):
                return _parameters(statement)
        if node not in self._attributes:
            self._attributes[node] = _set_on_self(node)
        if name in self._attributes[node]:
            return _NOT_A_FUNCTION
        for base in node.bases:
            found = self._find(module, base.id) if isinstance(base, ast.Name) else None
            if found and isinstance(found[1], ast.ClassDef):
                inherited = self._member(found[0], found[1], name)
                if inherited is not None:
                    return inherited
        return None


class _Module:
    """One parsed file."""

    def __init__(self, name: str, file: Path) -> None:
        self.name = name
        self._package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        self._statements = list(_statements(ast.parse(file.read_text()).body))

    @cached_property
    def defined(self) -> dict[str, ast.stmt]:
        """Name -> the statement that defines it; the last one wins."""
        return {name: statement for statement in self._statements for name in _names(statement)}

    @cached_property
    def imported(self) -> dict[str, tuple[str, str]]:
        """Name -> the module it is imported from, and its name there ("" for a module itself)."""
        found: dict[str, tuple[str, str]] = {}
        for statement in self._statements:
            if isinstance(statement, ast.Import):
                found |= {(each.asname or each.name.split(".")[0]): (each.name, "") for each in statement.names}
            elif isinstance(statement, ast.ImportFrom):
                origin = self._absolute(statement)
                found |= {(each.asname or each.name): (origin, each.name) for each in statement.names}
        return found

    @cached_property
    def starred(self) -> list[str]:
        """The modules of veRL that all names are imported from."""
        origins = [
            self._absolute(statement)
            for statement in self._statements
            if isinstance(statement, ast.ImportFrom) and statement.names[0].name == "*"
        ]
        return [origin for origin in origins if origin.split(".")[0] == "verl"]

    def _absolute(self, statement: ast.ImportFrom) -> str:
        if not statement.level:
            return statement.module or ""
        parents = self._package.split(".")[: len(self._package.split(".")) - statement.level + 1]
        return ".".join([*parents, *filter(None, [statement.module])])


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements of a module's top level, those under `if` and `try` included."""
    for statement in body:
        if isinstance(statement, ast.If | ast.Try):
            handlers = statement.handlers if isinstance(statement, ast.Try) else []
            for inner in (statement.body, *(handler.body for handler in handlers), statement.orelse):
                yield from _statements(inner)
        else:
            yield statement


def _names(statement: ast.stmt) -> list[str]:
    """Return the names that a statement binds, imports aside."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _set_on_self(node: ast.ClassDef) -> set[str]:
    return {
        each.attr
        for each in ast.walk(node)
        if isinstance(each, ast.Attribute)
        and isinstance(each.ctx, ast.Store)
        and isinstance(each.value, ast.Name)
        and each.value.id == "self"
    }


def _parameters(node: ast.stmt | None) -> Parameters:
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return _NOT_A_FUNCTION
    given = node.args
    positional = [*given.posonlyargs, *given.args]
    required = len(positional) - len(given.defaults)
    return (
        *((each.arg, place >= required) for place, each in enumerate(positional)),
        *(((f"*{given.vararg.arg}", True),) if given.vararg else ()),
        *((each.arg, default is not None) for each, default in zip(given.kwonlyargs, given.kw_defaults, strict=True)),
        *(((f"**{given.kwarg.arg}", True),) if given.kwarg else ()),
    )
