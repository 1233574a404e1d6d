"""Piece: an update of the winners alone moves the weights as the full batch's does.

The cases are those of `tests/wapo_verl/training/update_worker.py`, which `make test` runs on the CPU.
"""

from pathlib import Path

import update_worker
from support.ranks import write_tiny_model

from benchmarks.gpu.cases import Cases, Numbers, Setting, at_most, piece
from benchmarks.gpu.worker import use

LIMIT = 0.02
"""The largest difference of a weight, in parts of how far the weights moved: Adam makes rounding larger."""


def compare(model: Path, case: update_worker.Case) -> Numbers:
    """Train two steps on the whole batch and on its winners, from the same weights."""
    full, ours = (update_worker.train(str(model), case, winners=winners) for winners in (False, True))
    moved = update_worker.largest_gap(full["weights"], full["start"])
    assert moved > 2e-4, "nothing moved, so the comparison would show nothing"
    assert ours["rows"] < full["rows"], "the winners alone were not fewer rows"
    assert ours["rate"] == full["rate"], "the learning rate went another way"
    gap = update_worker.largest_gap(full["weights"], ours["weights"])
    at_most("the weights' difference", gap / moved, LIMIT)
    return {"difference": gap, "moved": moved, "rows": ours["rows"], "of": full["rows"]}


def run(cases: Cases, setting: Setting) -> None:
    """Run every case; the small form leaves out what the CPU's own tests repeat."""
    use(setting.device)
    model = write_tiny_model(setting.out / "model")
    for case in update_worker.CASES[:3] if setting.small else update_worker.CASES:
        cases.run(case.name, compare, model, case)


if __name__ == "__main__":
    piece(run)
