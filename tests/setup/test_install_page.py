"""The commands of docs/install.md, run as they stand on an index of dummy packages."""

import os
import re
import subprocess
import sys
from pathlib import Path

from support.dummy_index import add_torch
from support.dummy_project import make_dummy_project
from support.paths import ROOT

PAGE = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
PYTORCH = "https://download.pytorch.org/whl/cpu"


def commands(heading: str) -> str:
    """Return the first block of commands under a heading."""
    return re.search(rf"^## {heading}\n.*?^```bash\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[1]


def test_uv_installs_the_same_pins_and_starts_the_quickstart(tmp_path):
    clone, index, pytorch = tmp_path / "clone", tmp_path / "index", tmp_path / "pytorch"
    make_dummy_project(clone, index)
    add_torch(pytorch, "2.13.0+cpu", None)
    running = f"{sys.version_info[0]}.{sys.version_info[1]}"
    script = commands("With uv").replace(PYTORCH, pytorch.as_uri()).replace("--python 3.11", f"--python {running}")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_", "VIRTUAL_ENV"))}
    tools = f"{Path(sys.executable).parent}{os.pathsep}{Path(sys._base_executable).parent}"
    settings = {
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "UV_DEFAULT_INDEX": index.as_uri(),
        "UV_CACHE_DIR": str(tmp_path / "cache"),
        "UV_PYTHON_DOWNLOADS": "never",
    }
    command = ["bash", "-e", "-c", script]
    done = subprocess.run(command, cwd=clone, env=kept | settings, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "trained with torch 2.13.0+cpu" in done.stdout


def test_the_page_names_the_makefiles_torch_and_index():
    makefile = (ROOT / "Makefile").read_text()
    (torch,) = re.findall(r"^TORCH = (\S+)$", makefile, re.MULTILINE)
    assert f"uv pip install {torch} --default-index {PYTORCH}\n" in PAGE
    assert f"TORCH_CPU_INDEX ?= {PYTORCH}\n" in makefile
