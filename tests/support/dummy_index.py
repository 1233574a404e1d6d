"""Package indexes in folders, made of dummy wheels: every branch of the set-up can be driven without a network."""

import base64
import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path


def add_wheel(
    index: Path, name: str, version: str, files: Mapping[str, str | bytes], requires: tuple[str, ...] = ()
) -> str:
    """Put a wheel of pure Python into a folder that pip and uv read as an index.

    Args:
        index: The index's folder; made where it is missing.
        name: The distribution's name, normalised.
        version: Its version, a local part such as `+cpu` included.
        files: The content of each file by its path inside site-packages.
        requires: What it depends on, as in `Requires-Dist`.

    Returns:
        The wheel's SHA-256 in hexadecimal.
    """
    stem = f"{name.replace('-', '_')}-{version}"
    info = f"{stem}.dist-info"
    needs = "".join(f"Requires-Dist: {requirement}\n" for requirement in requires)
    everything = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    contents = {path: text.encode() if isinstance(text, str) else text for path, text in everything.items()}
    record = "".join(f"{path},sha256={_record_hash(content)},{len(content)}\n" for path, content in contents.items())
    folder = index / name
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, content in {**contents, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(path, content)
    links = "".join(f'<a href="{other.name}">{other.name}</a>\n' for other in sorted(folder.glob("*.whl")))
    (folder / "index.html").write_text(f"<!DOCTYPE html><html><body>{links}</body></html>", encoding="utf-8")
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


def add_torch(index: Path, version: str, cuda: str | None, requires: tuple[str, ...] = ()) -> None:
    """Put a dummy `torch` into an index: it can be imported, and says which CUDA it was built for."""
    files = {
        "torch/__init__.py": "from torch import version\n__version__ = version.__version__\n",
        "torch/version.py": f"__version__ = {version!r}\ncuda = {cuda!r}\n",
    }
    add_wheel(index, "torch", version, files, requires)


def _record_hash(content: bytes) -> str:
    digest = hashlib.sha256(content).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
