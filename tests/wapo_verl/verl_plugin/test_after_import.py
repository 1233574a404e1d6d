"""Hooks run right after the module they wait for, once, whoever imports it. Nothing of veRL is needed."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from wapo_verl.verl_plugin.after_import import after_import

NAME = "waited_for_module"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module that nobody has imported yet."""
    name = f"{NAME}_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text("VALUE = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield name
    sys.modules.pop(name, None)


def test_a_hook_sees_the_whole_module_before_its_importer_does(module: str) -> None:
    def hook(loaded: ModuleType) -> None:
        loaded.VALUE += 1

    after_import(module, hook)
    assert module not in sys.modules
    scope: dict[str, int] = {}
    exec(f"from {module} import VALUE", scope)
    assert scope["VALUE"] == 2
    assert importlib.reload(sys.modules[module]).VALUE == 2


def test_of_a_module_that_is_there_it_runs_at_once_and_never_twice(module: str) -> None:
    seen: list[str] = []

    def hook(loaded: ModuleType) -> None:
        seen.append(loaded.__name__)

    importlib.import_module(module)
    after_import(module, hook)
    after_import(module, hook)
    importlib.import_module(module)
    assert seen == [module]


def test_the_module_is_found_loaded_and_named_as_without_it(module: str, tmp_path: Path) -> None:
    after_import(module, lambda _: None)
    loaded = importlib.import_module(module)
    assert loaded.__file__ == str(tmp_path / f"{module}.py")
    assert loaded.__spec__ is not None
    assert loaded.__spec__.loader is loaded.__loader__
    assert type(loaded.__loader__).__name__ == "SourceFileLoader"


def test_a_module_that_is_not_there_is_still_not_there() -> None:
    after_import("no_such_module_anywhere", lambda _: pytest.fail("it was never imported"))
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("no_such_module_anywhere")
