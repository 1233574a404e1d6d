"""The quickstart's own command, with fewer steps, so that the slow tests that look at its run stay within minutes."""

import shutil
import subprocess
import sys
from pathlib import Path

from examples.quickstart.command import Folders

STEPS = 14
QUESTIONS = 240
"""Held-out questions, all of which are asked before the first step and after the last."""


def run_quickstart(out: Path, warm_model: Path) -> None:
    """Train from the warm start; all that is written goes to `out`."""
    shutil.copytree(warm_model, Folders(out).model)
    overrides = [
        f"trainer.total_training_steps={STEPS}",
        f"trainer.test_freq={STEPS}",
        f"trainer.save_freq={STEPS}",
        f"trainer.rollout_data_dir={out / 'rollouts'}",
        "+wapo.taxonomy.log=true",  # which changes no update, and puts bins into the records
    ]
    command = [sys.executable, "-m", "examples.quickstart", "--seed", "0", "--out", str(out), *overrides]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
