"""`python -m examples.offline`: make the bundle."""

from __future__ import annotations

import re
import tempfile
import tomllib
from pathlib import Path
from typing import Annotated

import typer

from examples.offline.bundle import NOT_IMPORTED, ROOT, Target, download, lacking, pack, read_image, read_pins, resolve

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def size(text: str) -> int:
    """Read a size such as 60M, in bytes.

    Raises:
        ValueError: for another text.
    """
    found = re.fullmatch(r"(\d+)([KMG]?)", text)
    if not found or not int(found[1]):
        raise ValueError(f"{text!r} is no size: write 60M, or 1G")
    return int(found[1]) * UNITS[found[2]]


def requirements(extra: list[str]) -> list[str]:
    """Return what this project needs on a GPU machine, what its GPU suite needs beside, and what was asked for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [*project["dependencies"], *project["optional-dependencies"]["gpu"], "hypothesis", *extra]


@app.command()
def main(
    out: Annotated[Path, typer.Option(help="Folder for the bundle.")],
    python_version: Annotated[str, typer.Option(help="Of the machine's Python.")] = "3.12",
    part: Annotated[str, typer.Option(help="The largest part, such as 60M.")] = "60M",
    image: Annotated[
        Path | None, typer.Option(help="What `pip freeze` wrote on the machine; else it has nothing.")
    ] = None,
    glibc: Annotated[int, typer.Option(help="The machine's glibc 2.N (`ldd --version`): the N.")] = 35,
    require: Annotated[list[str] | None, typer.Option(help="A further requirement; can be given again.")] = None,
    pins: Annotated[list[Path] | None, typer.Option(help="A file of pins to carry without what they ask for.")] = None,
    omit: Annotated[list[str] | None, typer.Option(help="A package to leave out, in place of the known ones.")] = None,
) -> None:
    """Pack every wheel that a machine without a network lacks for this project, in parts, with their installer."""
    try:
        target = Target(python_version, glibc, read_image(image))
        with tempfile.TemporaryDirectory() as folder:
            wheels = Path(folder) / "wheels"
            needed = resolve(requirements(require or []), target, NOT_IMPORTED if omit is None else omit, Path(folder))
            wanted = lacking(needed, target.image)
            for file in pins or []:
                wanted |= lacking(read_pins(file), target.image)
            print(f"{len(needed)} packages are needed, {len(wanted)} of them lack; they are fetched", flush=True)
            download(wanted, target, wheels)
            relied_on = {name: version for name, version in needed.items() if name not in wanted}
            parts = pack(wheels, out, size(part), relied_on)
    except (ValueError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    total = sum(file.stat().st_size for file in parts)
    print(f"{out}: {len(parts)} parts, {total / 1e6:.0f} MB; on the machine: python3 install.py [COMMAND]")


if __name__ == "__main__":
    app()
