"""Run the suite for one GPU machine, and write benchmarks/gpu.md.

python -m benchmarks.gpu [PIECE ...] [--device cpu --small]
"""

import shlex
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.gpu.cases import Setting
from benchmarks.gpu.page import Machine, page, table
from benchmarks.gpu.pieces import PIECES
from benchmarks.gpu.runner import ROOT, Outcome, Piece, run_piece

PAGE = ROOT / "benchmarks" / "gpu.md"


def chosen(names: list[str]) -> list[Piece]:
    """Return the pieces of these names, in the suite's order; all where there are none."""
    unknown = set(names) - {piece.name for piece in PIECES}
    if unknown:
        raise typer.BadParameter(f"no piece {sorted(unknown)[0]!r}; there are {', '.join(p.name for p in PIECES)}")
    return [piece for piece in PIECES if not names or piece.name in names]


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Pieces; all by default.", metavar="PIECE")] = None,
    device: Annotated[str, typer.Option(help="cuda or cpu.")] = "cuda",
    small: Annotated[bool, typer.Option("--small", help="Sizes that show the code's path alone.")] = False,
    minutes: Annotated[float, typer.Option(help="For all pieces together.")] = 8.0,
    patience: Annotated[float, typer.Option(help="Times each piece's limit; more than 1 for a slow machine.")] = 1.0,
    out: Annotated[Path, typer.Option(help="Folder for logs and files.")] = Path("runs/gpu"),
    write: Annotated[Path | None, typer.Option(help="The page; by default benchmarks/gpu.md, on a GPU alone.")] = None,
) -> None:
    """Run pieces one after another; the page is written after each, so that an interrupted run leaves what it has."""
    pieces, outcomes, setting = chosen(names or []), list[Outcome](), Setting(device, small, out.absolute())
    console, machine = Console(), Machine.this()
    where = write or (PAGE if device == "cuda" else setting.out / PAGE.name)
    setting.out.mkdir(parents=True, exist_ok=True)
    command = shlex.join(["python", "-m", "benchmarks.gpu", *sys.argv[1:]])
    end = time.monotonic() + 60 * minutes
    for piece in (replace(each, limit=patience * each.limit) for each in pieces):
        console.print(
            f"{piece.name}: at most {piece.limit:.0f} s, output in {setting.out / piece.name}.log", highlight=False
        )
        outcomes.append(run_piece(piece, setting, end - time.monotonic()))
        console.print(f"  {outcomes[-1].result} after {outcomes[-1].seconds:.0f} s", highlight=False)
        where.write_text(page(outcomes, machine, command), encoding="utf-8")
    console.print(table(outcomes))
    console.print(f"written to {where}", highlight=False)
    sys.exit(int(any(outcome.result != "passed" for outcome in outcomes)))


if __name__ == "__main__":
    typer.run(main)
