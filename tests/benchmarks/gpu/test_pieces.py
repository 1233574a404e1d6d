"""Slow: the GPU suite's pieces that need no Ray, with sizes for a CPU; and, where there is a GPU, the suite itself."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.gpu.cases import Setting
from benchmarks.gpu.pieces import PIECES
from benchmarks.gpu.runner import Piece, run_piece

NAMES = {piece.name: piece for piece in PIECES}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["algorithms", "engine", "winners", "timings"])
def test_a_piece_runs_on_a_cpu(name: str, tmp_path: Path) -> None:
    patient = replace(NAMES[name], limit=600)  # its limit is a GPU's
    outcome = run_piece(patient, Setting("cpu", True, tmp_path), 600)
    assert outcome.result == "passed", "\n".join(outcome.last_lines)


@pytest.mark.gpu
@pytest.mark.parametrize("piece", PIECES, ids=NAMES)
def test_a_piece_runs_on_a_gpu(piece: Piece, tmp_path: Path) -> None:
    outcome = run_piece(piece, Setting("cuda", False, tmp_path), 600)
    assert outcome.result == "passed", "\n".join(outcome.last_lines)
