"""Nothing that came from a model, a row or a file of a user is unpickled, evaluated or unpacked to the disk. No GPU.

Held against the source of everything that is installed. A use that is safe stands in `ALLOWED` with its reason.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest
from support.paths import ROOT

INSTALLED = ("wapo_verl", "envs", "retrieval_index", "recipes")

MODULES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "jsonpickle", "marshal", "shelve", "code"}
"""Importing one of these is the offence: reading their files runs what is in them, or text becomes code."""

CALLS = {"eval", "exec", "compile", "__import__", "parse_expr", "sympify", "lambdify"}
"""Functions that run, or may run, text as code; sympy's do by `eval`."""

METHODS = {
    *("read_pickle", "extractall", "unpack_archive", "unsafe_load", "full_load", "load_module"),
    *("exec_module", "parse_expr", "sympify", "lambdify"),
}
"""The same as attributes of any object, and those that write an archive's files to the disk or ask a shell."""

NEEDS = {"load": {"torch": ("weights_only", True), "np": ("allow_pickle", False), "numpy": ("allow_pickle", False)}}
"""`torch.load` and `numpy.load` unpickle unless they are told not to; the keyword must stand there."""

FORBIDDEN_KEYWORDS = {"trust_remote_code", "shell", "allow_pickle"}
"""May only be False."""

ALLOWED: dict[str, str] = {
    "wapo_verl/environments/registry.py: import_module": "an environment's folder or an installed entry point, never a "
    "row's text: a row's data_source is looked up among those names",
    "wapo_verl/cli/doctor.py: import_module": "names that stand in the same file",
    "wapo_verl/verl_plugin/loading.py: import_module": "a name that stands in the same file",
    "wapo_verl/verl_plugin/start.py: import_module": "names that stand in the same room",
    "retrieval_index/backends/__init__.py: import_module": "a manifest's back end, looked up among those there are",
}
"""Every offence that is none, "file: name", and why."""


def offences(tree: ast.AST) -> Iterator[str]:
    """Yield the name of each thing in a module that could run or unpack what is not ours."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (name.name for name in names if name.name.split(".")[0] in MODULES)
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in MODULES:
                yield module
            case ast.Call():
                yield from _of_call(node)


def _of_call(call: ast.Call) -> Iterator[str]:
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    for name in FORBIDDEN_KEYWORDS & given.keys():
        if not (isinstance(given[name], ast.Constant) and given[name].value is False):
            yield name
    match call.func:
        case ast.Name(id=name) if name in CALLS:
            yield name
        case ast.Name(id="import_module") | ast.Attribute(attr="import_module") if not isinstance(
            call.args[0], ast.Constant
        ):
            yield "import_module"
        case ast.Attribute(attr=name) if name in METHODS:
            yield name
        case ast.Attribute(attr="extract", value=ast.Name(id="archive" | "tar" | "zip")):
            yield "extract"
        case ast.Attribute(attr="load", value=ast.Name(id="yaml")):
            yield "yaml.load"
        case ast.Attribute(attr="system" | "popen", value=ast.Name(id="os")):
            yield "os.system"
        case ast.Attribute(attr=name, value=ast.Name(id=module)) if module in NEEDS.get(name, {}):
            keyword, wanted = NEEDS[name][module]
            value = given.get(keyword)
            if not (isinstance(value, ast.Constant) and value.value is wanted):
                yield f"{module}.{name}"


def test_nothing_from_outside_is_run_unpickled_or_unpacked() -> None:
    found = {
        f"{file.relative_to(ROOT)}: {name}"
        for folder in INSTALLED
        for file in sorted((ROOT / folder).rglob("*.py"))
        for name in offences(ast.parse(file.read_text(encoding="utf-8")))
    }
    assert found - ALLOWED.keys() == set(), (
        "give it another way, or a reason in ALLOWED why nothing from outside gets there"
    )
    assert ALLOWED.keys() - found == set(), "no longer there: take it out of ALLOWED"


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from cloudpickle import loads",
        "eval(answer)",
        "compile(answer, '', 'exec')",
        "sympy.sympify(answer)",
        "yaml.load(text, Loader=yaml.Loader)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "AutoModel.from_pretrained(path, trust_remote_code=flag)",
        "archive.extractall(folder)",
        "subprocess.run(row['command'], shell=True)",
        "os.system(text)",
        "importlib.import_module(row['data_source'])",
    ],
)
def test_each_way_to_run_text_is_noticed(text: str) -> None:
    assert len(list(offences(ast.parse(text)))) >= 1


@pytest.mark.parametrize(
    "text",
    [
        "model.eval()",
        "torch.load(path, weights_only=True)",
        "np.load(p, allow_pickle=False)",
        "re.compile('a')",
        "yaml.safe_load(t)",
    ],
)
def test_what_is_safe_is_not_an_offence(text: str) -> None:
    assert list(offences(ast.parse(text))) == []
