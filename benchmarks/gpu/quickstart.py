"""Piece: ten steps of the quickstart in veRL, with Ray, FSDP2 and a real vLLM."""

from benchmarks.gpu.cases import Cases, Numbers, Setting, piece
from benchmarks.gpu.runs import checked, make_folders, trained

STEPS = 10


def overrides(steps: int) -> list[str]:
    """Return the run's own settings: the taxonomy is measured."""
    return [f"trainer.total_training_steps={steps}", "+wapo.taxonomy.log=true"]


def ten_steps(setting: Setting) -> Numbers:
    """Train, and look at every step."""
    steps = 2 if setting.small else STEPS
    rows = trained(make_folders(setting), setting.device, overrides(steps))
    assert any(row.values.get("taxonomy/tokens/pos_peak", 0) > 0 for row in rows), "no token was sorted"
    return checked(rows, steps, setting.device)


def run(cases: Cases, setting: Setting) -> None:
    """Run it."""
    cases.run("the quickstart's task, with the taxonomy", ten_steps, setting)


if __name__ == "__main__":
    piece(run)
