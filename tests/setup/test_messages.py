"""What a message or a page tells to install can be installed: from a checkout, or beside an installed wheel."""

import re
import subprocess
import sys
import tomllib

import pytest
from support.paths import ROOT

from retrieval_index.backends import INSTALL, backend
from wapo_verl.cli import doctor
from wapo_verl.cpu import where
from wapo_verl.verl_plugin import start

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def tracked_texts():
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    shown = [ROOT / name for name in names if name.endswith((".py", ".md", ".toml", ".sh", "Makefile"))]
    return {path: path.read_text(encoding="utf-8") for path in shown if "setup/test_messages" not in str(path)}


def test_nothing_tells_to_install_this_package_from_an_index():
    told = re.compile(r"pip install[^\n`;&]*['\" ]wapo[-_]verl(\[|['\"]|\s|$)")
    assert not [str(path) for path, text in tracked_texts().items() if told.search(text)]


@pytest.mark.parametrize(("name", "package"), [("bm25s", "bm25s"), ("lucene", "jpype"), ("opensearch", "opensearchpy")])
def test_a_missing_back_end_is_told_with_the_line_that_installs_it(monkeypatch, name, package):
    for module in [module for module in sys.modules if module.startswith(f"retrieval_index.backends.{name}")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.delitem(sys.modules, "retrieval_index.backends.java", raising=False)
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(ValueError, match=re.escape(f"not installed; run: {INSTALL[name]}")):
        backend(name)


def test_the_lines_install_what_the_extras_name():
    assert all(requirement in INSTALL[name] for name in INSTALL for requirement in EXTRAS[name])


@pytest.mark.parametrize("name", list(INSTALL))
def test_the_page_on_back_ends_has_the_same_lines(name):
    page = (ROOT / "docs" / "retrieval_backends.md").read_text(encoding="utf-8")
    assert all(command in page for command in INSTALL[name].split(" && "))


def test_doctor_says_where_this_package_came_from():
    assert doctor.reinstall() == f"pip install --no-deps -e {ROOT}"


def test_a_cuda_build_on_a_machine_without_a_gpu_is_nothing_to_fix(monkeypatch):
    import torch

    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(where, "accelerator", lambda: None)
    monkeypatch.setattr(where, "running_ray", lambda: None)
    monkeypatch.setattr(start, "use_cpu", lambda: None)
    (build,) = [check for check in doctor.check_devices() if check.subject == "torch build"]
    assert build.result == "CUDA 13.0, which computes on the CPU too"
    assert not build.fix
