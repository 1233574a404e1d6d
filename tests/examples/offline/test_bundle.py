"""The bundle for machines without a network, of dummy wheels on an index in a folder. No GPU, no network."""

import os
import shutil
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

import pytest
from support.dummy_index import add_wheel

from examples.offline import bundle, install
from examples.offline.__main__ import size
from examples.offline.bundle import Target, download, lacking, pack, read_image, read_pins, resolve

OLD_SOURCE = "from setuptools import setup\nsetup(name='old-parser', version='4.9', py_modules=['old_parser'])\n"
OURS = "[project]\nname = 'ours'\nversion = '0.1'\n[tool.setuptools]\npy-modules = ['ours']\n"
PYTHON = ".".join(map(str, sys.version_info[:2]))


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """A folder with three small wheels."""
    index = tmp_path / "made"
    for name in ("one", "two", "three"):
        add_wheel(index, name, "1.0", {f"{name}.py": f"NAME = {name!r}\n" * 200})
    folder = tmp_path / "wheels"
    folder.mkdir()
    for wheel in index.rglob("*.whl"):
        shutil.copy(wheel, folder)
    return folder


def run_installer(out: Path, *arguments: str, python: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run it as on the machine, where pip reaches nothing."""
    variables = {"PATH": os.environ["PATH"], "PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_CONFIG_FILE": os.devnull}
    command = [str(python or sys.executable), str(out / "install.py"), *arguments]
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60, cwd=out)


def test_parts_have_the_size_and_are_the_archive(wheels: Path, tmp_path: Path) -> None:
    parts = pack(wheels, tmp_path / "out", 3000, {})
    sizes = [part.stat().st_size for part in parts]
    assert len(parts) > 3
    assert set(sizes[:-1]) == {3000}
    assert 0 < sizes[-1] <= 3000
    with tarfile.open(fileobj=install.Joined(install.whole_parts(tmp_path / "out")), mode="r|") as archive:
        archive.extractall(tmp_path / "again", filter="data")
    for wheel in wheels.iterdir():
        assert (tmp_path / "again" / wheel.name).read_bytes() == wheel.read_bytes()


def test_parts_of_an_earlier_bundle_go(wheels: Path, tmp_path: Path) -> None:
    many = pack(wheels, tmp_path / "out", 3000, {})
    (one,) = pack(wheels, tmp_path / "out", 10**6, {})
    assert [part for part in many if part.exists()] == [one]


def test_missing_and_damaged_parts_are_all_named_before_anything_is_written(wheels: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    parts = pack(wheels, out, 3000, {})
    parts[0].unlink()
    parts[1].write_bytes(parts[1].read_bytes()[:-1] + b"!")
    parts[2].write_bytes(parts[2].read_bytes()[:-1])
    done = run_installer(out, "--into", str(tmp_path / "site"))
    assert done.returncode == 1
    assert "missing: bundle.tar.000; damaged: bundle.tar.001, bundle.tar.002): copy these parts again" in done.stderr
    assert not (tmp_path / "site").exists()
    (out / install.SUMS).unlink()
    assert f"{install.SUMS} is missing" in run_installer(out).stderr


def test_what_the_machine_has_in_that_version_is_not_installed(wheels: Path, tmp_path: Path) -> None:
    pack(wheels, tmp_path / "out", 3000, {})
    machine = tmp_path / "machine"
    with_one = wheels / "one-1.0-py3-none-any.whl"
    shutil.unpack_archive(with_one, machine, "zip")
    (machine / "two-0.9.dist-info").mkdir()
    (machine / "two-0.9.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: two\nVersion: 0.9\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(machine))
        there = {name: install.is_there(name, "1.0") for name in ("one", "two", "three")}
    assert there == {"one": True, "two": False, "three": False}


def test_a_machine_that_lacks_what_the_image_file_named_is_refused(wheels: Path, tmp_path: Path) -> None:
    pack(wheels, tmp_path / "out", 3000, {"packaging": version("packaging"), "no-such-package": "1.0"})
    done = run_installer(tmp_path / "out", "--into", str(tmp_path / "site"))
    assert done.returncode == 1
    assert "this machine lacks no-such-package==1.0, which the bundle's image file named" in done.stderr
    assert not (tmp_path / "site").exists()


def test_a_damaged_image_file_says_what_to_do(tmp_path: Path) -> None:
    image = tmp_path / "image.txt"
    image.write_text("# pip freeze\nTorch==2.11.0+cu130\n-e git+https://host/x\nlocal @ file:///tmp/local.whl\n\n")
    assert read_image(image) == {"torch": "2.11.0"}
    image.write_text("torch 2.11.0\n")
    with pytest.raises(ValueError, match=r"image\.txt:1: 'torch 2\.11\.0' is no line of `pip freeze`"):
        read_image(image)
    image.write_text("\n")
    with pytest.raises(ValueError, match="write it with `pip freeze` on the machine"):
        read_image(image)


def test_pins_with_hashes_are_read(tmp_path: Path) -> None:
    (tmp_path / "pins.txt").write_text("# two\nOne_Package==1.0 \\\n    --hash=sha256:00\ntwo==2.0\n")
    assert read_pins(tmp_path / "pins.txt") == {"one-package": "1.0", "two": "2.0"}


def test_sizes() -> None:
    assert [size("60M"), size("1K"), size("7")] == [60 * 2**20, 1024, 7]
    for text in ("60MB", "0M", "-1", ""):
        with pytest.raises(ValueError, match="is no size"):
            size(text)


def test_a_wheel_built_here_for_this_python_is_not_carried() -> None:
    target = Target("3.12", 35, {})
    assert bundle._fits("a-1-cp312-cp312-manylinux_2_28_x86_64.whl", target)
    assert bundle._fits("a-1-cp38-abi3-manylinux_2_28_x86_64.whl", target)
    assert bundle._fits("a-1-py3-none-any.whl", target)
    assert not bundle._fits("a-1-cp311-cp311-linux_x86_64.whl", target)


@pytest.mark.slow
def test_from_an_index_to_a_command_on_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = tmp_path / "index"
    add_wheel(index, "torch", "2.11.0", {"torch.py": ""}, ("nvidia-blas==1",))
    add_wheel(index, "app", "1.0", {"app.py": "import helper, old_parser\nprint('app with helper', helper.VERSION)\n"},
              ("torch>=2", "helper>=1", "old-parser", "heavy"))  # fmt: skip
    for number in ("1.0", "2.0"):
        add_wheel(index, "helper", number, {"helper.py": f"VERSION = {number!r}\n"})
    add_wheel(index, "heavy", "1.0", {"heavy.py": ""})
    _add_source(index, tmp_path)
    ours = tmp_path / "ours"
    ours.mkdir()
    (ours / "pyproject.toml").write_text(OURS)
    (ours / "ours.py").write_text("")
    monkeypatch.setattr(bundle, "ROOT", ours)
    monkeypatch.setattr(bundle, "FROM_SOURCE", ("old-parser",))
    monkeypatch.setattr(bundle, "TORCH_NEEDS", ())
    for name in ("UV_DEFAULT_INDEX", "PIP_INDEX_URL"):
        monkeypatch.setenv(name, index.as_uri())

    nothing = resolve(["app"], Target(PYTHON, 35, {}), ["heavy", "nvidia-blas"], _folder(tmp_path / "a"))
    assert nothing == {"app": "1.0", "helper": "2.0", "old-parser": "4.9", "torch": "2.11.0"}

    target = Target(PYTHON, 35, {"torch": "2.11.0", "helper": "1.0"})
    needed = resolve(["app"], target, ["heavy"], _folder(tmp_path / "b"))
    assert needed == nothing | {"helper": "1.0"}, "the image's version was not kept"
    wanted = lacking(needed, target.image)
    assert wanted == {"app": "1.0", "old-parser": "4.9"}
    download(wanted, target, tmp_path / "wheels")
    assert sorted(wheel.name.split("-")[0] for wheel in (tmp_path / "wheels").iterdir()) == [
        "app",
        "old_parser",
        "ours",
    ]
    pack(tmp_path / "wheels", tmp_path / "out", 1000, {"packaging": version("packaging")})

    machine = tmp_path / "machine"
    add_wheel(machine, "helper", "1.0", {"helper.py": "VERSION = '1.0'\n"})
    site = tmp_path / "machine_site"
    shutil.unpack_archive(next(machine.rglob("*.whl")), site, "zip")
    command = f"import sys; sys.path.append({str(site)!r}); import app, ours; sys.exit(7)"
    done = run_installer(tmp_path / "out", "--into", str(tmp_path / "site"), sys.executable, "-c", command)
    assert done.returncode == 7, done.stderr
    assert "installed 3 packages" in done.stdout
    assert "app with helper 1.0" in done.stdout


def _folder(place: Path) -> Path:
    place.mkdir()
    return place


def _add_source(index: Path, place: Path) -> None:
    """Put a package that ships as source alone into the index."""
    project = place / "old-parser-4.9"
    project.mkdir()
    (project / "setup.py").write_text(OLD_SOURCE)
    (project / "old_parser.py").write_text("")
    (project / "PKG-INFO").write_text("Metadata-Version: 2.2\nName: old-parser\nVersion: 4.9\n")
    folder = index / "old-parser"
    folder.mkdir()
    with tarfile.open(folder / "old-parser-4.9.tar.gz", "w:gz") as archive:
        archive.add(project, project.name)
    (folder / "index.html").write_text('<!DOCTYPE html><a href="old-parser-4.9.tar.gz">old-parser-4.9.tar.gz</a>')
